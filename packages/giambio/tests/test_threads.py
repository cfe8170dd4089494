# SPDX-License-Identifier: Apache-2.0
"""Blocking functions in threads: outcomes, cancellation, calling back, the threads themselves."""

from __future__ import annotations

import contextvars
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest

import giambio
from giambio import (
    CancelledError,
    CancelScope,
    DeadlockError,
    default_thread_limiter,
    from_thread,
    run_in_thread,
)
from giambio._threads import cache as _threadcache
from giambio._threads.calls import Request, ThreadCall
from giambio.testing import (
    assert_checkpoints,
    cancel_sweep,
    wait_all_tasks_blocked,
)
from giambio_kernel import SelectorPoller


class Gate:
    """A function that blocks a thread until it is opened, and says when it has been entered."""

    def __init__(self, result=None):
        self.entered = threading.Event()
        self._open = threading.Event()
        self._result = result

    def __call__(self):
        self.entered.set()
        assert self._open.wait(10)
        return self._result

    def open(self):
        self._open.set()

    async def wait_entered(self):
        await run_in_thread(self.entered.wait, 10, limiter=giambio.CapacityLimiter(1))


class BreakablePoller(SelectorPoller):
    """Breaks the loop when it is told to."""

    broken = False

    def poll(self, timeout):
        ready = super().poll(timeout)
        if self.broken:
            raise OSError("broken")
        return ready


def raiser(error):
    raise error


class TestTheOutcome:
    """What the function does with what it was given."""

    def test_the_result_comes_back_from_another_thread(self, run):
        def function(a, *, b):
            return threading.get_ident(), a, b

        async def main():
            ident, a, b = await run_in_thread(function, 1, b=2)
            assert ident != threading.get_ident()
            assert (a, b) == (1, 2)

        run(main)

    @pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
    def test_the_error_comes_back_as_the_same_object(self, run, error):
        async def main():
            with pytest.raises(type(error)) as caught:
                await run_in_thread(raiser, error)
            assert caught.value is error

        run(main)

    def test_a_stop_iteration_does_not_end_the_loop(self, run):
        async def main():
            with pytest.raises(RuntimeError, match="StopIteration"):
                await run_in_thread(next, iter(()))

        run(main)

    def test_context_variables_go_in_and_do_not_come_out(self, run):
        variable = contextvars.ContextVar("variable", default="unset")

        def function():
            seen = variable.get()
            variable.set("changed")
            return seen

        async def main():
            variable.set("inherited")
            assert await run_in_thread(function) == "inherited"
            assert variable.get() == "inherited"

        run(main)

    def test_the_loop_is_not_visible_in_the_thread(self, run):
        async def main():
            with pytest.raises(RuntimeError, match="only inside a running loop"):
                await run_in_thread(giambio.clock)
            assert await run_in_thread(giambio.run, giambio.sleep, 0) is None

        run(main)

    def test_what_is_no_plain_function_is_refused(self, run):
        async def main():
            with pytest.raises(TypeError, match="expected a function to call in a thread, not 3"):
                await run_in_thread(3)
            with pytest.raises(TypeError, match=r"not <coroutine.*; its arguments come after it"):
                await run_in_thread(giambio.sleep(1))
            with pytest.raises(TypeError, match=r"sleep\(\) is an async function: await it"):
                await run_in_thread(giambio.sleep, 1)
            gc.collect()  # a coroutine that was never awaited would warn

        run(main)

    def test_it_needs_a_loop(self):
        with pytest.raises(RuntimeError, match="only inside a running loop"):
            run_in_thread(int).send(None)

    def test_nothing_keeps_what_was_given_and_returned(self, run):
        class Thing:
            pass

        def fail(thing):
            raise ValueError("x", thing)

        async def main():
            thing = Thing()
            reference = weakref.ref(thing)
            assert await run_in_thread(lambda thing: thing, thing) is thing
            with pytest.raises(ValueError, match="x"):
                await run_in_thread(fail, thing)
            del thing
            return reference

        gc.disable()  # not even a cycle
        try:
            assert run(main)() is None
        finally:
            gc.enable()

    def test_it_is_a_checkpoint(self, run):
        async def main():
            with assert_checkpoints():
                await run_in_thread(int)

        run(main)


class TestTheLimiter:
    """How many threads there are at a time."""

    def test_so_many_calls_are_made_at_a_time(self, run):
        running = 0
        most = 0
        lock = threading.Lock()

        def function():
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            threading.Event().wait(0.001)
            with lock:
                running -= 1

        async def main():
            limiter = giambio.CapacityLimiter(3)
            async with giambio.create_pool() as pool:
                for _ in range(20):
                    pool.spawn(run_in_thread, function, limiter=limiter)
            assert limiter.borrowed_tokens == 0

        run(main)
        assert most == 3

    def test_the_default_one_belongs_to_the_run_and_can_be_resized(self, run):
        async def main():
            limiter = default_thread_limiter()
            assert limiter is default_thread_limiter()
            assert limiter.total_tokens == 40
            limiter.total_tokens = 1
            gate = Gate()
            async with giambio.create_pool() as pool:
                pool.spawn(run_in_thread, gate)
                pool.spawn(run_in_thread, int)
                await gate.wait_entered()
                assert limiter.statistics().tasks_waiting == 1
                assert "thread running" in repr(limiter.statistics().borrowers[0])
                gate.open()
            return limiter

        assert run(main) is not run(main)

    def test_a_thread_that_cannot_be_started_is_an_error_and_costs_no_token(self, run, monkeypatch):
        def start(thread):
            raise RuntimeError("can't start new thread")

        async def main():
            _threadcache._idle.clear()
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", start)
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    await run_in_thread(int)
            assert default_thread_limiter().borrowed_tokens == 0
            with pytest.raises(DeadlockError):  # no handle was left open
                await giambio.Event().wait()

        run(main)


class TestCancellation:
    """A thread cannot be stopped from outside. What can be done instead."""

    def test_the_wait_goes_on_and_the_cancellation_comes_afterwards(self, run):
        events = []

        async def main():
            gate = Gate("result")
            async with giambio.create_pool() as pool:

                async def call():
                    events.append(await run_in_thread(gate))
                    await giambio.checkpoint()
                    events.append("not reached")

                task = pool.spawn(call)
                await gate.wait_entered()
                task.cancel()
                await wait_all_tasks_blocked()
                assert not task.done()
                gate.open()
            assert task.cancelled()

        run(main)
        assert events == ["result"]

    def test_a_call_that_is_cancelled_before_it_begins_is_not_made(self, run):
        async def main():
            with CancelScope() as scope:
                scope.cancel()
                await run_in_thread(pytest.fail)
            assert scope.cancelled_caught
            limiter = giambio.CapacityLimiter(1)
            await limiter.acquire()
            with giambio.skip_after(1) as scope:
                await run_in_thread(pytest.fail, limiter=limiter)
            assert scope.cancelled_caught

        run(main)

    def test_an_abandoned_thread_is_left_to_itself_and_keeps_its_token(self, run):
        gate = Gate("dropped")

        async def main():
            limiter = giambio.CapacityLimiter(1)
            with CancelScope() as scope:
                async with giambio.create_pool() as pool:
                    pool.spawn(run_in_thread, gate, limiter=limiter, abandon_on_cancel=True)
                    await run_in_thread(gate.entered.wait, 10)
                    scope.cancel("enough")
            assert scope.cancelled_caught
            assert limiter.borrowed_tokens == 1
            with giambio.skip_after(5) as scope:  # and a virtual clock does not wait for it
                await run_in_thread(int, limiter=limiter)
            assert scope.timed_out
            gate.open()
            await run_in_thread(int, limiter=limiter)
            with pytest.raises(DeadlockError):  # no handle was left open
                await giambio.Event().wait()

        run(main)

    def test_an_abandoned_thread_may_outlive_the_loop(self, run):
        gate = Gate("dropped")

        async def main():
            with giambio.skip_after(0.001) as scope:
                await run_in_thread(gate, abandon_on_cancel=True)
            assert scope.timed_out

        giambio.run(main)
        gate.open()
        # It returns to the cache, and a later loop gets it.
        assert run(run_in_thread, lambda: 1) == 1

    @pytest.mark.parametrize("abandon", [True, False])
    def test_the_end_and_the_cancellation_in_the_same_tick(self, run, monkeypatch, abandon):
        """The outcome was there first, so it is returned."""
        finish = ThreadCall._finish

        def finish_and_cancel(call):
            host = call._host
            finish(call)
            host.cancel()

        async def main():
            results = []

            async def call():
                results.append(await run_in_thread(lambda: "result", abandon_on_cancel=abandon))
                await giambio.checkpoint()

            monkeypatch.setattr(ThreadCall, "_finish", finish_and_cancel)
            async with giambio.create_pool() as pool:
                task = pool.spawn(call)
            assert results == ["result"]
            assert task.cancelled()

        run(main)

    @pytest.mark.parametrize("abandon", [True, False])
    def test_the_cancellation_and_the_end_in_the_same_tick(self, run, monkeypatch, abandon):
        finish = ThreadCall._finish

        def cancel_and_finish(call):
            call._host.cancel()
            finish(call)

        async def main():
            limiter = giambio.CapacityLimiter(1)

            async def call():
                return await run_in_thread(
                    lambda: "result", abandon_on_cancel=abandon, limiter=limiter
                )

            monkeypatch.setattr(ThreadCall, "_finish", cancel_and_finish)
            async with giambio.create_pool() as pool:
                task = pool.spawn(call)
            assert task.cancelled() if abandon else task.result() == "result"
            assert limiter.borrowed_tokens == 0
            with pytest.raises(DeadlockError):  # no handle was left open
                await giambio.Event().wait()

        run(main)

    def test_no_checkpoint_of_it_loses_anything(self):
        made = []

        async def main():
            limiter = default_thread_limiter()
            before = len(made)
            try:
                result = await run_in_thread(made.append, 1)
            except CancelledError:
                assert len(made) == before
                raise
            assert result is None
            assert len(made) == before + 1
            assert limiter.borrowed_tokens == 0
            await giambio.checkpoint()

        report = cancel_sweep(main)
        assert report.checkpoints == 3

    def test_abandoning_at_every_checkpoint_leaves_nothing_behind(self):
        async def main():
            await run_in_thread(int, abandon_on_cancel=True)
            await run_in_thread(int, abandon_on_cancel=True)

        cancel_sweep(main)


class TestCheckCancelled:
    """A function that asks whether it is still wanted."""

    def test_it_is_silent_until_the_host_is_cancelled(self, run):
        looked = threading.Event()

        def function():
            for _ in range(3):
                from_thread.check_cancelled()
            looked.set()
            while True:
                from_thread.check_cancelled()

        async def main():
            with CancelScope() as scope:
                async with giambio.create_pool() as pool:
                    pool.spawn(run_in_thread, function)
                    await run_in_thread(looked.wait, 10)
                    scope.cancel("enough")
            assert scope.cancelled_caught
            assert default_thread_limiter().borrowed_tokens == 0

        run(main)

    def test_the_function_may_go_on_and_return(self, run):
        gate = Gate()

        def function():
            gate()
            with pytest.raises(CancelledError, match="enough"):
                from_thread.check_cancelled()
            return "result"

        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn(run_in_thread, function)
                await gate.wait_entered()
                task.cancel("enough")
                gate.open()
            assert task.result() == "result"

        run(main)

    def test_an_abandoned_thread_is_told_so(self, run):
        gate = Gate()
        told = threading.Event()

        def function():
            try:
                gate()
                from_thread.check_cancelled()
            except CancelledError as error:
                assert error.reason == "enough"
                told.set()
                raise

        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn(run_in_thread, function, abandon_on_cancel=True)
                await gate.wait_entered()
                task.cancel("enough")
            gate.open()
            assert await run_in_thread(told.wait, 10)

        run(main)

    def test_ctrl_c_stops_it_and_is_raised_in_the_main_task(self, run):
        def function():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            while True:
                from_thread.check_cancelled()

        async def main():
            with pytest.raises(KeyboardInterrupt):
                await run_in_thread(function)
            return "went on"

        assert run(main) == "went on"

    def test_a_cancelled_error_out_of_nowhere_is_reported_as_such(self, run):
        async def main():
            await run_in_thread(raiser, CancelledError("mine"))

        with pytest.raises(giambio.exceptions.InternalError, match="nothing had cancelled it"):
            run(main)


class TestCallingBack:
    """`from_thread.run` and `run_sync`."""

    def test_an_async_function_runs_in_the_host(self, run):
        async def double(n, *, plus=0):
            await giambio.sleep(1)
            return giambio.current_task(), 2 * n + plus

        def function():
            return from_thread.run(double, 3, plus=1)

        async def main():
            host, result = await run_in_thread(function)
            assert host is giambio.current_task()
            assert result == 7
            assert giambio.clock() == 1  # the virtual clock was free to jump

        run(main)

    def test_a_plain_function_runs_in_the_loop(self, run):
        def function(pool, event):
            assert from_thread.run_sync(threading.get_ident) == threading.main_thread().ident
            task = from_thread.run_sync(pool.spawn, giambio.sleep, 2)
            from_thread.run_sync(event.trigger, "value")
            return task

        async def main():
            event = giambio.Event()
            async with giambio.create_pool() as pool:
                task = await run_in_thread(function, pool, event)
                assert await event.wait() == "value"
            assert task.done()

        run(main)

    def test_errors_cross_both_ways(self, run):
        error = ValueError("x")

        async def fail():
            await giambio.sleep(0)
            raise error

        def function():
            for ask, fn, args in (
                (from_thread.run, fail, ()),
                (from_thread.run_sync, raiser, (error,)),
            ):
                with pytest.raises(ValueError, match="x") as caught:
                    ask(fn, *args)
                assert caught.value is error
            from_thread.run(fail)

        async def main():
            with pytest.raises(ValueError, match="x") as caught:
                await run_in_thread(function)
            assert caught.value is error

        run(main)

    def test_context_variables_of_the_thread_are_seen(self, run):
        variable = contextvars.ContextVar("variable", default="unset")

        async def look():
            await giambio.checkpoint()
            seen = variable.get()
            variable.set("changed in the loop")
            return seen

        def function():
            variable.set("set in the thread")
            assert from_thread.run(look) == "set in the thread"
            assert from_thread.run_sync(variable.get) == "set in the thread"
            return variable.get()

        async def main():
            variable.set("set in the host")
            assert await run_in_thread(function) == "set in the thread"
            assert variable.get() == "set in the host"
            await giambio.checkpoint()
            assert variable.get() == "set in the host"

        run(main)

    def test_the_wrong_kind_of_function_is_refused(self, run):
        def function():
            with pytest.raises(TypeError, match="is not an async function"):
                from_thread.run(int)
            with pytest.raises(TypeError, match=r"use from_thread.run\(\)"):
                from_thread.run_sync(giambio.sleep, 1)

        async def main():
            await run_in_thread(function)
            gc.collect()

        run(main)

    def test_it_is_refused_in_other_threads_and_in_tasks(self, run):
        async def inner():
            for ask in (from_thread.run, from_thread.run_sync):
                with pytest.raises(RuntimeError, match="would block the loop of task 'inner'"):
                    ask(int)

        async def main():
            with pytest.raises(RuntimeError, match="other threads use a portal"):
                from_thread.check_cancelled()
            await run_in_thread(giambio.run, inner)

        with pytest.raises(RuntimeError, match="other threads use a portal"):
            from_thread.run(giambio.sleep, 1)
        run(main)

    def test_it_is_cancelled_with_the_host(self, run):
        events = []

        async def wait():
            try:
                await giambio.sleep_forever()
            finally:
                events.append("loop")

        def function():
            try:
                from_thread.run(wait)
            finally:
                events.append("thread")

        async def main():
            with giambio.skip_after(5) as scope:
                await run_in_thread(function)
            assert scope.cancelled_caught
            assert giambio.clock() == 5

        run(main)
        assert events == ["loop", "thread"]

    def test_a_cancelled_host_goes_on_serving_until_the_function_returns(self, run):
        gate = Gate()

        def function():
            gate()
            with pytest.raises(CancelledError):
                from_thread.run(giambio.checkpoint)
            assert from_thread.run_sync(int) == 0
            return "result"

        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn(run_in_thread, function)
                await gate.wait_entered()
                task.cancel()
                gate.open()
            assert task.result() == "result"

        run(main)

    def test_an_abandoned_thread_is_refused(self, run):
        gate = Gate()
        refused = []

        def function():
            gate()
            for ask in (from_thread.run, from_thread.run_sync):
                try:
                    ask(giambio.checkpoint)
                except CancelledError as error:
                    refused.append(error.reason)

        async def main():
            limiter = giambio.CapacityLimiter(1)
            async with giambio.create_pool() as pool:
                task = pool.spawn(run_in_thread, function, abandon_on_cancel=True, limiter=limiter)
                await gate.wait_entered()
                task.cancel("enough")
            gate.open()
            await run_in_thread(int, limiter=limiter)

        run(main)
        assert refused == ["enough", "enough"]

    def test_a_request_is_refused_when_the_loop_has_ended(self):
        gate = Gate()
        refused = threading.Event()

        def function():
            gate()
            try:
                from_thread.run(giambio.checkpoint)
            except CancelledError:
                refused.set()

        async def main():
            with giambio.skip_after(0.001):
                await run_in_thread(function, abandon_on_cancel=True)

        giambio.run(main)
        gate.open()
        assert refused.wait(10)

    @pytest.mark.parametrize("begun", [True, False])
    def test_a_request_is_refused_when_the_loop_breaks_off(self, monkeypatch, begun):
        """No thread hangs because nobody is there to answer."""
        refused = threading.Event()
        poller = BreakablePoller()

        async def request():
            poller.broken = True
            await giambio.sleep(0.001)

        def function():
            if not begun:
                poller.broken = True  # the loop wakes for the request, and breaks before it serves
            try:
                from_thread.run(request)
            except CancelledError:
                refused.set()

        async def main():
            await run_in_thread(function)

        with pytest.raises(OSError, match="broken"):
            giambio.AsyncScheduler(poller=poller).start(main)
        assert refused.wait(10)

    def test_a_request_that_crosses_with_the_leaving_host_is_answered_once(self, run):
        class Taken(list):
            def append(self, request):
                request.refuse(CancelledError("the host took it along"))

        async def main():
            scheduler = giambio.current_task().scheduler
            call = ThreadCall(scheduler, int, (), {}, default_thread_limiter(), False)
            call._requests = Taken()
            return call

        call = run(main)
        with pytest.raises(CancelledError, match="the host took it along"):
            call.ask(Request(int, (), {}, is_async=False))
        call._requests = []
        with pytest.raises(CancelledError, match="waits no more"):
            call.ask(Request(int, (), {}, is_async=False))

    def test_a_deadlock_is_found_although_a_thread_waits(self, run):
        async def main():
            with pytest.raises(DeadlockError):
                await run_in_thread(from_thread.run, giambio.Event().wait)

        run(main)

    def test_cancelling_at_every_checkpoint_leaves_nothing_behind(self):
        async def work():
            await giambio.sleep(1)
            await giambio.checkpoint()

        def function():
            from_thread.run(work)
            from_thread.run_sync(int)

        async def main():
            await run_in_thread(function)
            await run_in_thread(function, abandon_on_cancel=True)

        cancel_sweep(main)

    def test_serving_leaves_the_context_of_the_host_alone(self, run):
        async def main():
            context = giambio.current_task().context
            await run_in_thread(from_thread.run, giambio.checkpoint)
            assert giambio.current_task().context is context

        run(main)


class TestTheThreads:
    """Where they come from and where they go."""

    def test_a_thread_is_used_again_also_by_another_loop(self, run):
        async def main():
            return {await run_in_thread(threading.get_ident) for _ in range(20)}

        assert run(main) == run(main)
        assert len(run(main)) == 1

    def test_an_idle_thread_ends_after_a_while(self, run, monkeypatch):
        monkeypatch.setattr(_threadcache, "_IDLE_SECONDS", 0.01)
        _threadcache._idle.clear()
        thread = run(run_in_thread, threading.current_thread)
        thread.join(10)
        assert not thread.is_alive()
        assert not _threadcache._idle

    def test_a_thread_that_is_taken_while_it_wants_to_end_stays(self, run, monkeypatch):
        monkeypatch.setattr(_threadcache, "_IDLE_SECONDS", 0.001)
        _threadcache._idle.clear()
        thread = run(run_in_thread, threading.current_thread)
        try:
            worker = _threadcache._idle.pop()
        except IndexError:
            pytest.skip("it has ended already")
        thread.join(0.05)
        assert thread.is_alive()
        done = threading.Event()

        class Job:
            work = done.set

            def tell(self):
                pass

        worker.give(Job())
        assert done.wait(10)

    def test_the_interpreter_ends_with_idle_and_with_busy_threads(self):
        script = """
            import threading, giambio
            from giambio import run_in_thread

            async def main():
                async with giambio.create_pool() as pool:
                    for _ in range(5):
                        pool.spawn(run_in_thread, threading.Event().wait, 0.01)
                with giambio.skip_after(0.01):
                    await run_in_thread(threading.Event().wait, abandon_on_cancel=True)
                print("end")

            giambio.run(main)
        """
        assert python(script) == "end\n"

    @pytest.mark.filterwarnings("ignore:.*fork")
    def test_a_forked_child_uses_threads_of_its_own(self):
        script = """
            import os, warnings, giambio
            from giambio import run_in_thread

            warnings.simplefilter("ignore")
            giambio.run(run_in_thread, int)
            pid = os.fork()
            if not pid:
                assert giambio.run(run_in_thread, lambda: 42) == 42
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            assert giambio.run(run_in_thread, lambda: 43) == 43
            print("end")
        """
        assert python(script) == "end\n"

    def test_the_modules_are_imported_when_used(self):
        script = """
            import sys, giambio
            assert "giambio._threads.calls" not in sys.modules
            giambio.from_thread, giambio.run_in_thread
            slow = {"asyncio", "concurrent.futures", "inspect", "logging", "traceback", "subprocess"}
            print(sorted(slow & sys.modules.keys()))
        """
        assert python(script) == "[]\n"


def test_a_waiting_task_says_what_it_waits_for(run):
    async def main():
        gate = Gate()
        async with giambio.create_pool() as pool:
            task = pool.spawn(run_in_thread, gate)
            await gate.wait_entered()
            assert "thread running" in repr(task)
            call = task.waiting_on
            gate.open()
        assert repr(call) == "<thread that has returned>"

    run(main)


def python(script):
    """Run a script in an interpreter of its own, which must end well and say nothing of errors."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
