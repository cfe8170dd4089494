# SPDX-License-Identifier: Apache-2.0
"""Loops that others drive: by hand, in a host, and inside of a task."""

from __future__ import annotations

import asyncio
import gc
import heapq
import os
import selectors
import signal
import socket
import threading
import time
import warnings
from math import inf

import pytest

import giambio
from giambio import hosting
from giambio.testing import VirtualClock, cancel_sweep, wait_all_tasks_blocked
from giambio_kernel import AsyncScheduler, SystemClock, current_scheduler


class FakeHost:
    """A host on a real selector, whose time stands still until `advance` moves it."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.now = 0.0
        self.calls = []
        self.asked = 0
        self.cancelled = set()

    def watch(self, fd, callback):
        self.selector.register(fd, selectors.EVENT_READ, callback)

    def unwatch(self, fd):
        self.selector.unregister(fd)

    def call_later(self, seconds, callback):
        self.asked += 1
        heapq.heappush(self.calls, (self.now + seconds, self.asked, callback))
        return self.asked

    def cancel_call(self, handle):
        self.cancelled.add(handle)

    def turn(self):
        """Make one pass, as any loop does. Returns whether there was something to do."""
        due = []
        while self.calls and self.calls[0][0] <= self.now:
            due.append(heapq.heappop(self.calls))
        busy = False
        for key, _ in self.selector.select(0):
            busy = True
            key.data()
        for _, number, callback in due:
            if number not in self.cancelled:
                busy = True
                callback()
        return busy

    def settle(self):
        """Go on until there is nothing to do before time passes."""
        for _ in range(10_000):
            if not self.turn():
                return
        raise AssertionError("the hosted loop spins")

    def advance(self, seconds):
        self.now += seconds
        self.settle()

    def pending(self):
        return [when for when, number, _ in sorted(self.calls) if number not in self.cancelled]

    def close(self):
        assert not self.selector.get_map()
        assert not self.pending()
        self.selector.close()


@pytest.fixture
def host():
    host = FakeHost()
    yield host
    host.close()


class HostClock(SystemClock):
    """The host's time, so that both agree on what is due."""

    def __init__(self, host):
        self.now = lambda: host.now

    def real_seconds(self, deadline):
        return max(0.0, deadline - self.now())


def start(host, func, *args, **options):
    options.setdefault("clock", HostClock(host))
    return hosting.start_in(host, func, *args, **options)


def once(fn, *args):
    """An asynchronous version of a plain function."""

    async def call():
        return fn(*args)

    return call


class TestRunFor:
    """A part of a frame for the loop."""

    def test_without_a_budget_it_makes_one_pass(self):
        steps = []

        async def main():
            for n in range(5):
                steps.append(n)
                await giambio.checkpoint()

        with AsyncScheduler() as loop:
            loop.start(main, loop=False)
            for n in range(5):
                assert hosting.run_for(loop, 0)
                assert steps == list(range(n + 1))
            assert not hosting.run_for(loop, 0)
            assert not hosting.run_for(loop, 0)  # it has ended, and stays so

    def test_it_returns_when_nothing_is_ready_whatever_is_left(self):
        async def main():
            for _ in range(100):
                await giambio.checkpoint()
            await giambio.sleep(3600)

        with AsyncScheduler() as loop:
            loop.start(main, loop=False)
            before = time.monotonic()
            assert hosting.run_for(loop, 600)
            assert time.monotonic() - before < 300
            assert loop.next_deadline() > loop.clock()

    def test_it_can_stay_for_the_whole_time(self):
        async def main():
            await giambio.sleep(0.002)
            woken.append(1)
            await giambio.sleep(3600)

        woken = []
        with AsyncScheduler() as loop:
            loop.start(main, loop=False)
            before = time.monotonic()
            assert hosting.run_for(loop, 0.01, wait=True)
            assert time.monotonic() - before >= 0.01
            assert woken

    def test_waiting_ends_with_the_run(self):
        with AsyncScheduler() as loop:
            task = loop.start(once(int), loop=False)
            assert not hosting.run_for(loop, 600, wait=True)
            assert task.result() == 0

    @pytest.mark.parametrize("wrong", [-1, float("nan")])
    def test_the_budget_must_be_a_time(self, wrong):
        with AsyncScheduler() as loop:
            loop.start(once(int), loop=False)
            with pytest.raises(ValueError, match="seconds must be at least 0, not"):
                hosting.run_for(loop, wrong)

    def test_a_task_cannot_drive_its_own_loop(self):
        async def main():
            hosting.run_for(loop, 1)

        with AsyncScheduler() as loop:
            task = loop.start(main, loop=False)
            loop.tick()
            with pytest.raises(RuntimeError, match="cannot be driven by one of its own tasks"):
                task.result()


class TestSecondsToWait:
    """What a loop of one's own gives to ``select``."""

    def test_it_says_now_later_and_never(self):
        async def main():
            with giambio.skip_after(50):
                await giambio.sleep_forever()
            await giambio.sleep_forever()

        with AsyncScheduler() as loop:
            loop.start(main, loop=False)
            assert hosting.seconds_to_wait(loop) == 0.0
            loop.tick()
            assert 0.0 < hosting.seconds_to_wait(loop) <= 50
        with AsyncScheduler() as loop:
            loop.start(giambio.sleep_forever, loop=False)
            loop.tick()
            assert hosting.seconds_to_wait(loop) is None

    def test_only_the_clock_knows_how_long_a_moment_of_it_is_away(self):
        for rate, expected in ((100.0, 0.5), (0.0, None)):
            clock = VirtualClock(rate, autojump=False)
            with AsyncScheduler(clock=clock) as loop:
                loop.start(giambio.sleep, 50, loop=False)
                loop.tick()
                wait = hosting.seconds_to_wait(loop, clock)
                assert wait == expected or 0.0 < wait <= expected


class TestHosted:
    """A run in a host that calls back."""

    def test_it_runs_to_its_end_and_gives_the_result(self, host):
        async def main(a, b):
            await giambio.sleep(5)
            return a + b

        ended = []
        hosted = start(host, main, 3, 4, on_done=ended.append)
        host.settle()
        assert not hosted.done()
        assert repr(hosted) == "<Hosted 'main' running, 1 ticks>"
        with pytest.raises(RuntimeError, match="has not ended yet"):
            hosted.result()
        host.advance(4.999)
        assert not ended
        host.advance(0.001)
        assert ended == [hosted]
        assert hosted.done()
        assert hosted.result() == 7
        assert repr(hosted) == "<Hosted 'main' ended, 2 ticks>"
        hosted.close()
        hosted.cancel()

    def test_waiting_costs_no_tick(self, host):
        async def main():
            async with giambio.create_pool() as pool:
                pool.spawn(giambio.sleep_forever)
                pool.spawn(giambio.sleep, 1000)
                pool.spawn(giambio.Event().wait)

        with start(host, main) as hosted:
            host.settle()
            ticks, asked = hosted.ticks, host.asked
            for _ in range(100):
                host.advance(1)
            assert hosted.ticks == ticks
            assert host.asked == asked
            assert host.pending() == [1000]

    def test_a_timer_that_stays_the_same_is_not_asked_for_again(self, host):
        async def main():
            with giambio.skip_after(1000):
                async for _ in receiver:
                    pass

        sender, receiver = giambio.open_memory_channel(0)
        with start(host, main):
            host.settle()
            asked = host.asked
            for n in range(20):
                sender.send_nowait(n)
                host.settle()
            assert host.asked == asked
            assert host.pending() == [1000]

    def test_a_deadline_that_comes_earlier_is_asked_for(self, host):
        async def main():
            with giambio.skip_after(1000) as scope:
                scopes.append(scope)
                await giambio.sleep_forever()
            return giambio.clock()

        scopes = []
        hosted = start(host, main)
        host.settle()
        scopes[0].deadline = 10
        host.settle()
        assert host.pending() == [10]
        host.advance(10)
        assert hosted.result() == 10

    def test_plain_functions_of_the_host_wake_it(self, host):
        async def main():
            async with giambio.create_pool() as pool:
                pools.append(pool)
                got.append(await event.wait())
                got.append(await receiver.receive())
                await giambio.sleep_forever()

        pools, got = [], []
        event = giambio.Event()
        sender, receiver = giambio.open_memory_channel(0)
        hosted = start(host, main)
        host.settle()
        event.trigger("set")
        host.settle()
        sender.send_nowait("sent")
        host.settle()
        assert got == ["set", "sent"]
        pools[0].spawn(once(got.append, "spawned"))
        host.settle()
        assert got == ["set", "sent", "spawned"]
        pools[0].cancel()
        host.settle()
        assert hosted.result() is None

    def test_sockets_and_threads_wake_it(self, host):
        async def main():
            async with giambio.wrap_socket(ours) as sock:
                got.append(await sock.receive(100))
                got.append(await giambio.run_in_thread(work.wait, 60))

        got = []
        work = threading.Event()
        ours, theirs = socket.socketpair()
        hosted = start(host, main)
        host.settle()
        with theirs:
            theirs.sendall(b"hello")
            host.settle()
            assert got == [b"hello"]
            work.set()
            while not hosted.done():
                host.selector.select(60)
                host.settle()
        assert got == [b"hello", True]

    def test_the_host_gets_its_turn_between_passes_however_much_is_ready(self, host):
        async def main():
            for _ in range(100):
                await giambio.checkpoint()

        hosted = start(host, main, budget=0)
        turns = 0
        while not hosted.done():
            turns += 1
            host.turn()
        assert turns >= 100
        assert hosted.ticks == 101

    def test_a_budget_saves_the_host_turns(self, host):
        async def main():
            for _ in range(100):
                await giambio.checkpoint()

        hosted = start(host, main, budget=60)
        host.turn()
        assert hosted.done()
        assert hosted.ticks == 101

    @pytest.mark.parametrize("wrong", [-1, float("nan")])
    def test_the_budget_must_be_a_time(self, host, wrong):
        with pytest.raises(ValueError, match="budget must be at least 0, not"):
            start(host, giambio.sleep_forever, budget=wrong)

    def test_the_error_of_main_is_that_of_the_run(self, host):
        async def main():
            raise error

        error = ValueError("mine")
        hosted = start(host, main)
        host.settle()
        assert repr(hosted) == "<Hosted 'main' failed: ValueError('mine'), 1 ticks>"
        for _ in range(2):
            with pytest.raises(ValueError, match="mine") as caught:
                hosted.result()
            assert caught.value is error
        hosted.close()  # it was seen

    def test_an_error_that_nobody_asked_for_is_raised_by_close_once(self, host):
        async def failing():
            raise ValueError("mine")

        async def main():
            giambio.spawn(failing)
            await giambio.sleep_forever()

        hosted = start(host, main)
        host.settle()
        with pytest.raises(ValueError, match="mine"):
            hosted.close()
        hosted.close()

    def test_an_error_that_nobody_ever_asks_for_is_warned_about(self, host):
        async def main():
            raise ValueError("mine")

        hosted = start(host, main)
        host.settle()
        with pytest.warns(RuntimeWarning, match=r"result of <Hosted 'main' failed: ValueError"):
            del hosted
            gc.collect()

    def test_a_cancelled_main_task_is_an_ordinary_error(self, host):
        hosted = start(host, giambio.sleep_forever)
        host.settle()
        hosted.task.cancel("enough")
        host.settle()
        with pytest.raises(giambio.TaskCancelled, match="enough"):
            hosted.result()

    def test_cancel_lets_the_host_go_on_until_all_is_cleaned_up(self, host):
        async def main():
            try:
                await giambio.sleep_forever()
            finally:
                with giambio.CancelScope(shield=True):
                    await giambio.sleep(10)
                events.append("cleaned up")

        events = []
        hosted = start(host, main)
        host.settle()
        hosted.cancel("enough")
        hosted.cancel("twice is fine")
        host.settle()
        assert not hosted.done()
        host.advance(10)
        assert events == ["cleaned up"]
        with pytest.raises(giambio.TaskCancelled, match="enough"):
            hosted.result()

    def test_cancel_may_come_from_another_thread(self, host):
        hosted = start(host, giambio.sleep_forever)
        host.settle()
        thread = threading.Thread(target=hosted.cancel)
        thread.start()
        thread.join()
        host.settle()
        assert hosted.done()

    def test_close_in_the_middle_cleans_up_at_once_and_is_not_told_of(self, host):
        async def main():
            try:
                await giambio.sleep(1000)
            finally:
                await giambio.shielded_checkpoint() if False else None
                events.append("cleaned up")

        events = []
        hosted = start(host, main, on_done=events.append)
        host.settle()
        hosted.close()
        hosted.close()
        assert events == ["cleaned up"]
        assert hosted.done()
        with pytest.raises(giambio.TaskCancelled, match="the loop was closed"):
            hosted.result()

    def test_a_host_that_stops_before_the_first_tick(self, host):
        async def main():
            events.append("began")
            await giambio.checkpoint()
            events.append("went on")

        events = []
        with start(host, main):
            pass
        assert events == ["began"]

    def test_its_own_task_cannot_close_it(self, host):
        async def main():
            hosted.close()

        hosted = start(host, main)
        host.settle()
        with pytest.raises(RuntimeError, match="cannot be closed by its own tasks; use its cancel"):
            hosted.result()

    def test_its_own_task_can_cancel_it(self, host):
        async def main():
            hosted.cancel("by myself")
            await giambio.sleep_forever()

        hosted = start(host, main)
        host.settle()
        with pytest.raises(giambio.TaskCancelled, match="by myself"):
            hosted.result()

    def test_a_host_that_refuses_to_watch_leaves_nothing_behind(self, host):
        def refuse(fd, callback):
            raise OSError("no more descriptors")

        host.watch = refuse
        before = os.listdir("/dev/fd")
        with pytest.raises(OSError, match="no more descriptors"):
            start(host, giambio.sleep_forever)
        assert os.listdir("/dev/fd") == before

    def test_a_host_that_fails_ends_the_run_with_its_error(self, host):
        async def main():
            try:
                await giambio.sleep(10)
            finally:
                events.append("cleaned up")

        def fail(seconds, callback):
            raise OSError("no more timers")

        events = []
        hosted = start(host, main, on_done=events.append)
        host.call_later = fail
        host.settle()
        assert events == ["cleaned up", hosted]
        with pytest.raises(OSError, match="no more timers"):
            hosted.result()

    def test_what_on_done_raises_is_the_hosts_affair_and_the_run_has_ended(self, host):
        def on_done(hosted):
            raise KeyError("callback")

        hosted = start(host, once(int), on_done=on_done)
        with pytest.raises(KeyError, match="callback"):
            host.settle()
        assert hosted.result() == 0

    def test_a_late_callback_of_the_host_does_nothing(self, host):
        hosted = start(host, giambio.sleep_forever)
        host.settle()
        readable, timer = hosted._on_readable, hosted._on_timer
        hosted.close()
        readable()
        timer()
        assert hosted.ticks == 1

    def test_a_task_that_runs_the_host_again_is_one_step_and_nothing_spins(self, host):
        """What a modal dialogue does."""

        async def main():
            current_scheduler().call_soon_threadsafe(int)  # so that there is something to handle
            host.settle()
            events.append("dialogue closed")
            await giambio.sleep(1)
            return "done"

        async def waker():
            await giambio.sleep(1)

        events = []

        async def both():
            return (await giambio.gather(main(), waker()))[0]

        hosted = start(host, both)
        host.settle()
        assert events == ["dialogue closed"]
        host.advance(1)
        assert hosted.result() == "done"

    def test_a_timer_that_comes_up_while_a_task_runs_the_host_is_not_lost(self, host):
        async def main():
            await giambio.gather(child(), dialogue())
            return giambio.clock()

        async def child():
            await giambio.sleep(5)

        async def dialogue():
            await giambio.sleep(1)
            host.advance(10)

        hosted = start(host, main)
        host.settle()
        host.advance(1)
        assert hosted.result() == 11

    def test_a_clock_that_jumps_jumps_in_a_host_too(self, host):
        async def main():
            for _ in range(10):
                await giambio.sleep(3600)
            return giambio.clock()

        for budget in (0, 60):
            hosted = start(host, main, clock=VirtualClock(), budget=budget)
            host.settle()
            assert hosted.result() == 36_000

    def test_a_clock_that_stands_still_waits_without_spinning(self, host):
        clock = VirtualClock(autojump=False)
        hosted = start(host, giambio.sleep, 10, clock=clock)
        host.settle()
        ticks = hosted.ticks
        host.settle()
        assert hosted.ticks == ticks
        clock.advance(10)
        hosted.loop.call_soon_threadsafe(int)  # whoever moves the clock says so
        host.settle()
        assert hosted.done()

    def test_a_clock_does_not_overtake_a_thread(self, host):
        async def main():
            await giambio.run_in_thread(work.wait, 60)
            return giambio.clock()

        async def both():
            async with giambio.create_pool() as pool:
                pool.service(giambio.sleep, 1000)
                return await main()

        work = threading.Event()
        hosted = start(host, both, clock=VirtualClock())
        host.settle()
        assert not hosted.done()
        work.set()
        while not hosted.done():
            host.selector.select(60)
            host.settle()
        assert hosted.result() == 0

    def test_a_deadlock_waits_unless_asked_to_raise(self, host):
        async def main():
            await giambio.Event().wait()

        with start(host, main) as hosted:
            host.settle()
            assert not hosted.done()
        hosted = start(host, main, deadlock="raise")
        host.settle()
        with pytest.raises(giambio.DeadlockError, match="waits for <Event"):
            hosted.result()

    def test_a_run_that_is_forgotten_is_warned_about_and_closed(self):
        class Forgetful(FakeHost):
            def watch(self, fd, callback):
                pass

        host = Forgetful()
        before = os.listdir("/dev/fd")
        hosted = start(host, giambio.sleep_forever)
        hosted.loop.tick()
        host.calls.clear()
        with pytest.warns(ResourceWarning, match="running, 1 task> was not closed"):
            del hosted
            gc.collect()
        assert os.listdir("/dev/fd") == before
        host.selector.close()

    def test_ctrl_c_is_the_hosts_affair(self, host):
        async def main():
            signal.raise_signal(signal.SIGINT)

        hosted = start(host, main)
        host.settle()
        with pytest.raises(KeyboardInterrupt):
            hosted.result()


class TestAsyncioAsHost:
    """asyncio drives one of our loops, in the same thread and without another one."""

    @pytest.fixture(params=["asyncio", "uvloop"])
    def in_asyncio(self, request):
        if request.param == "uvloop":
            uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
            factory = uvloop.new_event_loop
        else:
            factory = asyncio.new_event_loop

        def in_asyncio(main):
            with asyncio.Runner(loop_factory=factory) as runner:
                return runner.run(main())

        return in_asyncio

    def test_both_make_progress(self, in_asyncio):
        async def ours():
            for n in range(3):
                events.append(f"giambio {n}")
                await giambio.checkpoint()
            await giambio.sleep(0.001)
            return "result"

        async def main():
            ended = asyncio.get_running_loop().create_future()
            with hosting.start_in(
                hosting.AsyncioHost(), ours, on_done=ended.set_result, budget=0
            ) as hosted:
                for n in range(3):
                    events.append(f"asyncio {n}")
                    await asyncio.sleep(0)
                assert await ended is hosted
                return hosted.result()

        events = []
        threads = threading.active_count()
        assert in_asyncio(main) == "result"
        assert threading.active_count() == threads
        assert sorted(events[:4]) == ["asyncio 0", "asyncio 1", "giambio 0", "giambio 1"] or (
            sorted(events[:3]) == ["asyncio 0", "asyncio 1", "giambio 0"]
        )

    def test_waiting_costs_no_tick(self, in_asyncio):
        async def main():
            with hosting.start_in(hosting.AsyncioHost(), giambio.sleep, 3600) as hosted:
                for _ in range(10):
                    await asyncio.sleep(0)
                ticks = hosted.ticks
                assert ticks <= 2
                for _ in range(200):
                    await asyncio.sleep(0)
                assert hosted.ticks == ticks

        in_asyncio(main)

    def test_sockets_of_both(self, in_asyncio):
        async def echo(sock):
            async with giambio.wrap_socket(sock) as client:
                while data := await client.receive(1000):
                    await client.send_all(data)

        async def main():
            ours, theirs = socket.socketpair()
            with hosting.start_in(hosting.AsyncioHost(), echo, ours) as hosted:
                reader, writer = await asyncio.open_connection(sock=theirs)
                for n in range(50):
                    writer.write(b"%d\n" % n)
                    assert await reader.readline() == b"%d\n" % n
                writer.close()
                await writer.wait_closed()
                while not hosted.done():  # noqa: ASYNC110
                    await asyncio.sleep(0)
                assert hosted.ticks < 200

        in_asyncio(main)

    def test_a_callback_that_raises_is_told_to_asyncio(self):
        async def main():
            asyncio.get_running_loop().set_exception_handler(lambda loop, told: errors.append(told))
            hosted = hosting.start_in(
                hosting.AsyncioHost(), once(int), on_done=lambda hosted: 1 / 0
            )
            while not errors:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert isinstance(errors[0]["exception"], ZeroDivisionError)
            assert hosted.result() == 0

        errors = []
        asyncio.run(main())

    def test_an_asyncio_that_has_ended_can_be_left(self):
        async def main():
            return hosting.start_in(hosting.AsyncioHost(), giambio.sleep_forever)

        hosted = asyncio.run(main())
        hosted.close()
        assert hosted.done()

    def test_it_needs_a_loop(self):
        with pytest.raises(RuntimeError, match="no running event loop"):
            hosting.AsyncioHost()

    def test_a_forgotten_run_is_warned_about(self):
        async def main():
            hosting.start_in(hosting.AsyncioHost(), giambio.sleep, 3600)
            await asyncio.sleep(0)

        with pytest.warns(ResourceWarning, match="running, 1 task> was not closed"):
            asyncio.run(main())
            gc.collect()


class TestRunInside:
    """A run inside of a run."""

    def test_it_returns_the_result(self, run):
        async def inner(a, b):
            await giambio.sleep(5)
            return a + b

        async def main():
            result = await hosting.run_inside(inner, 3, 4)
            return result, giambio.clock()

        assert run(main) == (7, 5)

    def test_the_inner_loop_may_have_a_clock_of_its_own(self, run):
        async def inner():
            await giambio.sleep(3600)
            return giambio.clock()

        async def main():
            inside = await hosting.run_inside(inner, clock=VirtualClock())
            return inside, giambio.clock()

        assert run(main) == (3600, 0)

    def test_both_make_progress(self, run):
        async def count(name):
            for n in range(3):
                events.append(f"{name} {n}")
                await giambio.checkpoint()

        async def main():
            await giambio.gather(count("outer"), hosting.run_inside(count, "inner"))

        events = []
        run(main)
        assert sorted(events) == [f"{name} {n}" for name in ("inner", "outer") for n in range(3)]
        assert events.index("inner 0") < events.index("outer 2")

    def test_plain_functions_wake_tasks_of_the_other_loop(self, run):
        async def inner():
            to_outer.trigger("from inside")
            return await to_inner.wait()

        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn(hosting.run_inside, inner)
                assert await to_outer.wait() == "from inside"
                await wait_all_tasks_blocked()
                to_inner.trigger("from outside")
                return await task.join()

        to_outer, to_inner = giambio.Event(), giambio.Event()
        assert run(main) == "from outside"

    def test_waiting_costs_no_tick(self, run, monkeypatch):
        async def main():
            async with giambio.create_pool() as pool:
                pool.spawn(hosting.run_inside, giambio.sleep, 3600)
                await wait_all_tasks_blocked()
                before = len(ticks)
                for _ in range(100):
                    await giambio.checkpoint()
                assert len(ticks) == before
            return len(ticks) - before

        ticks = []
        tick = AsyncScheduler.tick
        monkeypatch.setattr(
            AsyncScheduler, "tick", lambda loop, *args: (ticks.append(1), tick(loop, *args))[1]
        )
        assert run(main) <= 2

    def test_the_error_is_raised_as_itself(self, run):
        async def inner():
            raise ValueError("mine")

        async def main():
            with pytest.raises(ValueError, match="mine"):
                await hosting.run_inside(inner)
            return "went on"

        assert run(main) == "went on"

    def test_a_cancelled_inner_main_task_is_an_ordinary_error(self, run):
        async def inner():
            giambio.current_task().cancel("enough")
            await giambio.checkpoint()

        async def main():
            with pytest.raises(giambio.TaskCancelled, match="enough"):
                await hosting.run_inside(inner)

        run(main)

    def test_cancelling_it_cancels_what_is_inside_and_waits_for_the_clean_up(self, run):
        async def inner():
            try:
                await giambio.sleep(1000)
            finally:
                with giambio.CancelScope(shield=True):
                    await needed.wait()  # it takes the outer loop to clean up
                events.append("cleaned up")

        async def main():
            async with giambio.create_pool() as pool:
                pool.spawn_after(5, once(needed.set))
                with giambio.skip_after(1) as scope:
                    await hosting.run_inside(inner)
                events.append(giambio.clock())
                assert scope.cancelled_caught

        needed, events = giambio.Event(), []
        run(main)
        assert events == ["cleaned up", 5]

    def test_a_result_that_came_all_the_same_is_returned(self, run):
        async def inner():
            try:
                await giambio.sleep(1000)
            except giambio.CancelledError:
                return "saved"

        async def main():
            with giambio.skip_after(1) as scope:
                got.append(await hosting.run_inside(inner))
                await giambio.checkpoint()
                got.append("not reached")
            assert scope.cancelled_caught

        got = []
        run(main)
        assert got == ["saved"]

    def test_it_can_be_cancelled_anywhere(self):
        async def inner():
            async with giambio.create_pool() as pool:
                pool.spawn(giambio.sleep, 1)
                await giambio.sleep(2)

        async def main():
            await hosting.run_inside(inner)

        assert cancel_sweep(main).checkpoints > 3

    def test_runs_can_be_nested_as_deep_as_linux_nests_epoll(self, run):
        async def nest(depth):
            if not depth:
                await giambio.sleep(1)
                return 0
            return 1 + await hosting.run_inside(nest, depth - 1)

        assert run(nest, 4) == 4

    def test_an_interrupt_of_the_outer_main_task_closes_the_inner_run(self, run):
        async def inner():
            try:
                await giambio.sleep_forever()
            finally:
                events.append("cleaned up")

        async def main():
            async with giambio.create_pool() as pool:
                pool.spawn_after(1, once(signal.raise_signal, signal.SIGINT))
                await hosting.run_inside(inner)

        events = []
        with pytest.raises(KeyboardInterrupt):
            run(main)
        assert events == ["cleaned up"]

    def test_outside_of_a_loop_it_says_so(self):
        coroutine = hosting.run_inside(giambio.sleep, 1)
        with pytest.raises(RuntimeError, match="only inside a running loop"):
            coroutine.send(None)


def test_two_hosts_in_one_thread_do_not_meet():
    """A loop in a loop in a loop: asyncio carries ours, and ours carries another one of ours."""

    async def innermost():
        await giambio.sleep(0.001)
        return "innermost"

    async def ours():
        return await hosting.run_inside(innermost)

    async def main():
        ended = asyncio.get_running_loop().create_future()
        hosting.start_in(hosting.AsyncioHost(), ours, on_done=ended.set_result)
        return (await ended).result()

    assert asyncio.run(main()) == "innermost"


def test_no_warning_is_due_to_the_tests_themselves():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
    assert inf > 0


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (None, r"None is no host: it has no watch\(\)"),
        (hosting.AsyncioHost, r"pass an instance of the host: AsyncioHost"),
    ],
)
def test_what_is_no_host_is_refused_by_name(host, message):
    with pytest.raises(TypeError, match=message):
        hosting.start_in(host, giambio.sleep, 0)


def test_a_run_in_asyncio_says_where_it_belongs():
    with pytest.raises(RuntimeError, match=r"asyncio\.run\(giambio\.hosting\.run_in_asyncio\(main"):
        giambio.run(hosting.run_in_asyncio, giambio.sleep, 0)
