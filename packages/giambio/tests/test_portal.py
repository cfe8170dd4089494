# SPDX-License-Identifier: Apache-2.0
"""Portals: calls from threads that giambio did not start."""

from __future__ import annotations

import concurrent.futures
import contextvars
import gc
import threading
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

import giambio
from giambio import (
    CancelScope,
    DeadlockError,
    ResourceClosed,
    TaskCancelled,
    open_portal,
    run_in_thread,
    start_blocking_portal,
)
from giambio._threads.portal import _Call, _Status
from giambio.testing import assert_checkpoints, cancel_sweep, wait_all_tasks_blocked
from giambio_kernel import current_scheduler, current_task, reschedule, suspend


@pytest.fixture
def foreign():
    """Return a function that starts a thread of the test's own; it must end without an error."""
    pool = concurrent.futures.ThreadPoolExecutor()
    started = []

    def start(function, *args):
        started.append(pool.submit(function, *args))
        return started[-1]

    yield start
    pool.shutdown()
    for future in started:
        future.result(10)


async def double(n, *, plus=0):
    await giambio.sleep(1)
    return 2 * n + plus


async def fail(error):
    await giambio.sleep(0)
    raise error


async def joined(future):
    """Wait for a foreign thread, of which a virtual clock knows nothing."""
    scheduler = current_scheduler()
    task = current_task()
    with scheduler.open_wakeup() as wakeup:
        future.add_done_callback(lambda future: wakeup.call_soon(reschedule, task))
        await suspend(lambda task, error: False)
    return future.result()


class TestOpenPortal:
    """A loop that lets threads in."""

    def test_an_async_function_runs_in_the_loop(self, run, foreign):
        async def main():
            async with open_portal() as portal:
                assert await joined(foreign(lambda: portal.run(double, 3, plus=1))) == 7

        run(main)

    def test_a_plain_function_runs_in_the_loop(self, run, foreign):
        async def main():
            async with open_portal() as portal:
                ident = await joined(foreign(portal.run_sync, threading.get_ident))
                assert ident == threading.get_ident()
                task = await joined(foreign(portal.run_sync, giambio.current_task))
                assert task.name == "_call_plainly"
                assert task.pool is portal._pool

        run(main)

    def test_errors_cross_and_do_not_disturb_the_loop(self, run, foreign):
        error = ValueError("x")

        def function(portal):
            with pytest.raises(ValueError, match="x") as caught:
                portal.run(fail, error)
            assert caught.value is error
            with pytest.raises(SystemExit):
                portal.run(fail, SystemExit(3))
            with pytest.raises(TypeError, match="is not an async function"):
                portal.run(int)
            with pytest.raises(TypeError, match=r"use portal.run\(\)"):
                portal.run_sync(giambio.sleep, 1)
            return portal.run(double, 1)

        async def main():
            async with open_portal() as portal:
                assert await joined(foreign(function, portal)) == 2
            gc.collect()

        run(main)

    def test_context_variables_of_the_thread_are_seen(self, run, foreign):
        variable = contextvars.ContextVar("variable", default="unset")

        async def look():
            await giambio.checkpoint()
            seen = variable.get()
            variable.set("changed in the loop")
            return seen

        def function(portal):
            variable.set("set in the thread")
            return portal.run(look), variable.get()

        async def main():
            async with open_portal() as portal:
                seen = await joined(foreign(function, portal))
            assert seen == ("set in the thread", "set in the thread")

        run(main)

    def test_a_spawned_task_goes_on_and_its_future_is_one_of_the_standard_library(
        self, run, foreign
    ):
        def function(portal):
            futures = [portal.spawn(double, n) for n in range(3)]
            futures.append(portal.spawn(fail, ValueError("x")))
            assert not concurrent.futures.wait(futures, 10).not_done
            assert [future.result() for future in futures[:3]] == [0, 2, 4]
            with pytest.raises(ValueError, match="x"):
                futures[3].result()

        async def main():
            async with open_portal() as portal:
                await joined(foreign(function, portal))
                assert "open, 0 calls" in repr(portal)
            assert "closed" in repr(portal)

        run(main)

    def test_a_task_is_cancelled_from_the_side_of_the_thread(self, run, foreign):
        events = []

        async def wait():
            events.append("begun")
            try:
                await giambio.sleep_forever()
            finally:
                events.append("cleaned up")

        def function(portal):
            future = portal.spawn(wait)
            portal.run(wait_all_tasks_blocked)
            assert events == ["begun"]
            assert future.cancel()
            with pytest.raises(concurrent.futures.CancelledError):
                future.result(10)
            assert concurrent.futures.wait([future], 10).done

        async def main():
            async with open_portal() as portal:
                await joined(foreign(function, portal))

        run(main)
        assert events == ["begun", "cleaned up"]

    def test_a_task_that_is_cancelled_before_it_began_never_begins(self, run, foreign):
        async def main():
            async with open_portal() as portal:
                future = portal.spawn(fail, AssertionError())
                assert future.cancel()
                await joined(foreign(concurrent.futures.wait, [future], 10))
                assert future.cancelled()
                assert "0 calls" in repr(portal)

        run(main)

    def test_cancelling_what_has_ended_changes_nothing(self, run, foreign):
        def function(portal):
            future = portal.spawn(double, 1)
            assert future.result(10) == 2
            assert not future.cancel()

        async def main():
            async with open_portal() as portal:
                await joined(foreign(function, portal))

        run(main)

    def test_it_waits_for_what_has_begun_and_takes_nothing_more(self, run, foreign):
        closed = threading.Event()

        def function(portal):
            future = portal.spawn(double, 3)
            begun.set()
            assert closed.wait(10)
            for call in (portal.run, portal.run_sync, portal.spawn, portal.start):
                with pytest.raises(ResourceClosed, match="the portal is closed"):
                    call(int)
            return future.result(10)

        begun = threading.Event()

        async def main():
            async with open_portal() as portal:
                thread = foreign(function, portal)
                await run_in_thread(begun.wait, 10)
                await wait_all_tasks_blocked()
                portal.close()
                portal.close()  # twice is fine
                assert portal.closed
                closed.set()
                assert await joined(thread) == 6

        run(main)

    def test_a_call_that_was_made_is_not_lost_when_the_block_ends(self, run):
        async def main():
            async with open_portal() as portal:
                future = portal.spawn(double, 1)  # it would begin at the next look of the loop
            return future.result(0)

        assert run(main) == 2

    def test_an_error_in_the_block_cancels_the_calls(self, run, foreign):
        def function(portal):
            with pytest.raises(TaskCancelled, match="the body of the pool failed with ValueError"):
                portal.run(giambio.sleep_forever)

        async def main():
            with pytest.raises(ValueError, match="x"):
                async with open_portal() as portal:
                    thread = foreign(function, portal)
                    while not portal._calls:
                        await giambio.sleep(0)
                    await wait_all_tasks_blocked()
                    raise ValueError("x")
            await joined(thread)

        run(main)

    def test_an_outer_cancellation_reaches_the_calls(self, run, foreign):
        def function(portal):
            with pytest.raises(TaskCancelled, match="enough"):
                portal.run(giambio.sleep_forever)

        async def main():
            with CancelScope() as scope:
                async with open_portal() as portal:
                    thread = foreign(function, portal)
                    while not portal._calls:
                        await giambio.sleep(0)
                    await wait_all_tasks_blocked()
                    scope.cancel("enough")
            assert scope.cancelled_caught
            await joined(thread)

        run(main)

    def test_an_open_portal_means_that_the_program_is_not_deadlocked(self, run, foreign):
        async def main():
            event = giambio.Event()
            release = threading.Event()

            def function(portal):
                assert release.wait(10)
                portal.run_sync(event.set)

            async with open_portal() as portal:
                thread = foreign(function, portal)
                release.set()
                await event.wait()
                await joined(thread)
            with pytest.raises(DeadlockError):
                await giambio.Event().wait()

        run(main)

    def test_it_cannot_be_used_from_its_own_loop_nor_twice(self, run):
        async def main():
            async with open_portal() as portal:
                for call in (portal.run, portal.run_sync, portal.start):
                    with pytest.raises(RuntimeError, match="a portal is for other threads"):
                        call(int)
                with pytest.raises(RuntimeError, match="used only once"):
                    await portal.__aenter__()

        run(main)

    def test_calls_before_it_is_entered_are_refused(self):
        with pytest.raises(ResourceClosed):
            open_portal().spawn(double, 1)

    def test_calls_are_refused_when_the_loop_breaks_off(self, foreign):
        async def main():
            async with open_portal() as portal:
                thread.append(foreign(function, portal))
                await giambio.sleep_forever()

        def function(portal):
            with pytest.raises(ResourceClosed, match="the loop broke off"):
                portal.run(wait)
            with pytest.raises(ResourceClosed):
                portal.run(wait)

        class Broken(giambio.AsyncScheduler):
            def _poll(self, timeout, *, tell=False):
                if self.broken:
                    raise OSError("broken")
                super()._poll(timeout, tell=tell)

        async def wait():
            scheduler.broken = True
            await giambio.sleep(0.001)

        thread = []
        scheduler = Broken()
        scheduler.broken = False
        with pytest.raises(OSError, match="broken"):
            scheduler.start(main)
        thread[0].result(10)

    def test_a_call_that_the_loop_had_not_seen_when_it_broke_off_is_refused(self):
        futures = []

        async def main():
            async with open_portal() as portal:
                # The next look takes this up, and there is none.
                futures.append(portal.spawn(double, 1))
                scheduler.broken = True
                await giambio.sleep(1)

        class Broken(giambio.AsyncScheduler):
            broken = False

            def _look(self, *args):
                if self.broken:
                    raise OSError("broken")
                super()._look(*args)

        scheduler = Broken()
        with pytest.raises(OSError, match="broken"):
            scheduler.start(main)
        with pytest.raises(ResourceClosed, match="the loop broke off"):
            futures[0].result(0)

    def test_a_loop_that_is_gone_is_no_reason_to_hang(self, run, foreign, monkeypatch):
        """Whatever a thread does with a portal at the moment in which its loop closes."""

        def closed(scheduler, *args):
            raise RuntimeError("closed")

        def function(portal):
            pending = concurrent.futures.Future()
            pending.cancel()
            call = _Call(portal, int, (), {})
            with monkeypatch.context() as patch:
                patch.setattr(giambio.AsyncScheduler, "call_soon_threadsafe", closed)
                with pytest.raises(ResourceClosed):
                    portal.run(double, 1)
                call._cancel(SimpleNamespace(cancel=None), pending)

        async def main():
            async with open_portal() as portal:
                await joined(foreign(function, portal))

        run(main)

    def test_its_end_is_a_checkpoint(self, run):
        async def main():
            portal = open_portal()
            await portal.__aenter__()
            with assert_checkpoints():
                await portal.__aexit__(None, None, None)

        run(main)

    def test_a_thread_of_the_loop_itself_may_use_it(self, run):
        """While it waits for the loop, a virtual clock does not wait for it."""

        async def main():
            async with open_portal() as portal:
                assert await run_in_thread(portal.run, double, 3) == 6
                assert giambio.clock() == 1

        run(main)

    def test_cancelling_at_every_checkpoint_leaves_nothing_behind(self):
        async def main():
            async with open_portal() as portal:

                def function():
                    try:
                        portal.run(double, 1)
                        portal.run_sync(int)
                    except (TaskCancelled, ResourceClosed):
                        pass

                await run_in_thread(function)

        cancel_sweep(main)


class TestStart:
    """Tasks that say when they are ready."""

    def test_it_waits_until_the_task_is_ready(self, run, foreign):
        async def serve(port, *, task_status):
            await giambio.sleep(1)
            task_status.started(port)
            with pytest.raises(RuntimeError, match="called twice"):
                task_status.started(port)
            await giambio.sleep(1)
            return "ended"

        def function(portal):
            future, port = portal.start(serve, 80)
            assert port == 80
            return future.result(10)

        async def main():
            async with open_portal() as portal:
                assert await joined(foreign(function, portal)) == "ended"

        run(main)

    def test_a_task_that_ends_before_is_an_error(self, run, foreign):
        async def never(error, *, task_status):
            if error:
                raise error

        def function(portal):
            with pytest.raises(ValueError, match="x"):
                portal.start(never, ValueError("x"))
            with pytest.raises(RuntimeError, match="without calling task_status.started"):
                portal.start(never, None)

        async def main():
            async with open_portal() as portal:
                await joined(foreign(function, portal))

        run(main)

    def test_a_future_that_is_cancelled_before_ends_the_wait(self):
        status = _Status()
        future = concurrent.futures.Future()
        future.cancel()
        status.ended(future)
        assert status.future.cancelled()

    def test_a_task_that_is_cancelled_before_is_an_error(self, run, foreign):
        async def never(*, task_status):
            await giambio.sleep_forever()

        def function(portal):
            with pytest.raises(TaskCancelled):
                portal.start(never)

        async def main():
            async with open_portal() as portal:
                thread = foreign(function, portal)
                while not portal._calls:
                    await giambio.sleep(0)
                await wait_all_tasks_blocked()
                portal._pool.cancel()
            await joined(thread)

        run(main)


@asynccontextmanager
async def managed(events):
    events.append(("enter", giambio.current_task()))
    try:
        with CancelScope():  # both ends must be in one task
            await giambio.checkpoint()
            yield "value"
    except ValueError as error:
        events.append(("error", str(error)))
    finally:
        events.append(("exit", giambio.current_task()))


class TestEnter:
    """Async context managers in plain blocks."""

    def test_both_ends_run_in_one_task(self, run, foreign):
        events = []

        def function(portal):
            with portal.enter(managed(events)) as value:
                assert value == "value"

        async def main():
            async with open_portal() as portal:
                await joined(foreign(function, portal))

        run(main)
        assert [name for name, _ in events] == ["enter", "exit"]
        assert events[0][1] is events[1][1]

    def test_an_error_goes_in_and_may_be_suppressed(self, run, foreign):
        events = []

        def function(portal):
            with portal.enter(managed(events)):
                raise ValueError("x")
            with pytest.raises(KeyError):
                with portal.enter(managed(events)):
                    raise KeyError

        async def main():
            async with open_portal() as portal:
                await joined(foreign(function, portal))

        run(main)
        assert [name for name, _ in events] == ["enter", "error", "exit", "enter", "exit"]

    def test_it_is_left_when_the_portal_is_cancelled(self, run, foreign):
        events = []
        inside = threading.Event()
        cancelled = threading.Event()

        def function(portal):
            with pytest.raises(TaskCancelled):
                with portal.enter(managed(events)):
                    inside.set()
                    assert cancelled.wait(10)

        async def main():
            async with open_portal() as portal:
                thread = foreign(function, portal)
                await run_in_thread(inside.wait, 10)
                portal._pool.cancel()
            cancelled.set()
            await joined(thread)

        run(main)
        assert [name for name, _ in events] == ["enter", "exit"]

    def test_a_manager_may_suppress_its_cancellation(self, run, foreign):
        class Manager:
            async def __aenter__(self):
                return self

            async def __aexit__(self, *exc_info):
                return True

        inside = threading.Event()
        cancelled = threading.Event()

        def function(portal):
            with portal.enter(Manager()):
                inside.set()
                assert cancelled.wait(10)

        async def main():
            async with open_portal() as portal:
                thread = foreign(function, portal)
                await run_in_thread(inside.wait, 10)
                portal._pool.cancel()
            cancelled.set()
            await joined(thread)

        run(main)


class TestStartBlockingPortal:
    """A loop in a thread, for programs without one."""

    def test_a_program_without_a_loop_uses_one(self):
        with start_blocking_portal(clock=giambio.testing.VirtualClock()) as portal:
            assert portal.run(double, 3) == 6
            assert portal.run_sync(threading.get_ident) != threading.get_ident()
            future = portal.spawn(double, 4)
        assert future.result(0) == 8
        assert not any(thread.name == "giambio portal" for thread in threading.enumerate())
        with pytest.raises(ResourceClosed):
            portal.run(double, 1)

    def test_an_error_in_the_block_cancels_what_runs(self):
        with pytest.raises(ValueError, match="x"):
            with start_blocking_portal() as portal:
                future = portal.spawn(giambio.sleep_forever)
                portal.run(giambio.checkpoint)
                raise ValueError("x")
        with pytest.raises(TaskCancelled, match="the block that used the portal has failed"):
            future.result(0)

    def test_bad_options_are_reported_at_once(self):
        with pytest.raises(TypeError, match="nonsense"):
            with start_blocking_portal(nonsense=1):
                pass

    def test_a_thread_that_cannot_be_started_is_an_error(self, monkeypatch):
        def start(thread):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            with start_blocking_portal():
                pass

    def test_an_error_of_the_loop_itself_comes_at_the_end(self):
        def spoil():
            giambio.spawn(fail, ValueError("x"))

        with pytest.raises(ValueError, match="x"):
            with start_blocking_portal() as portal:
                portal.run_sync(spoil)
                with pytest.raises(TaskCancelled):
                    portal.run(giambio.sleep_forever)

    @pytest.mark.parametrize("where", ["run", "start", "end"])
    def test_ctrl_c_in_the_blocking_thread_ends_everything(self, monkeypatch, where):
        """The wait is interrupted, the task is cancelled, and the thread of the loop ends."""
        events = []

        def interrupt(self, *args):
            monkeypatch.undo()
            raise KeyboardInterrupt

        async def wait():
            try:
                await giambio.sleep_forever()
            finally:
                events.append("cleaned up")

        with pytest.raises(KeyboardInterrupt):
            manager = start_blocking_portal()
            if where == "start":
                monkeypatch.setattr(manager._ready, "wait", lambda: interrupt(manager))
            with manager as portal:
                if where == "run":
                    monkeypatch.setattr(concurrent.futures.Future, "result", interrupt)
                    portal.run(wait)
                portal.spawn(wait)
                portal.run(giambio.checkpoint)
                monkeypatch.setattr(threading.Thread, "join", interrupt)
        assert not any(thread.name == "giambio portal" for thread in threading.enumerate())
        assert len(events) <= 1

    def test_the_loop_may_not_be_used_to_wait_for_itself(self):
        def inside(portal):
            portal.run(giambio.checkpoint)

        with start_blocking_portal() as portal:
            with pytest.raises(RuntimeError, match="for other threads"):
                portal.run_sync(inside, portal)

    def test_a_manager_is_left_after_the_loop_has_ended(self):
        def spoil():
            giambio.spawn(fail, ValueError("x"))

        with pytest.raises(ValueError, match="x"):
            with start_blocking_portal() as portal:
                manager = portal.enter(managed([]))
                manager.__enter__()
                portal.run_sync(spoil)
                (thread,) = [
                    each for each in threading.enumerate() if each.name == "giambio portal"
                ]
                thread.join()
                with pytest.raises(TaskCancelled):
                    manager.__exit__(None, None, None)

    def test_managers_and_started_tasks_work_through_it(self):
        events = []
        with start_blocking_portal(clock=giambio.testing.VirtualClock()) as portal:
            with portal.enter(managed(events)) as value:
                assert value == "value"
        assert [name for name, _ in events] == ["enter", "exit"]
