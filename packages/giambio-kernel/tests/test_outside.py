# SPDX-License-Identifier: Apache-2.0
"""Wake-ups from threads and signals, Ctrl+C, and forks."""

from __future__ import annotations

import contextvars
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from giambio_kernel import (
    AsyncScheduler,
    CancelledError,
    CancelScope,
    DeadlockError,
    SelectorPoller,
    VirtualClock,
    checkpoint,
    copy_context_outside,
    current_scheduler,
    current_task,
    reschedule,
    siblings,
    sleep,
    sleep_forever,
    spawn_task,
    suspend,
)


def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread


def refuse(task, error):
    return False


@pytest.mark.parametrize("poller", [None, SelectorPoller])
def test_no_wake_up_of_a_flood_from_threads_is_lost(poller):
    calls = 2000

    async def main():
        scheduler = current_scheduler()
        task = current_task()
        received = []

        def receive(n):
            received.append(n)
            if len(received) == 4 * calls:
                reschedule(task)

        def flood(n):
            for _ in range(calls):
                scheduler.call_soon_threadsafe(receive, n)

        with scheduler.open_wakeup():
            threads = [in_thread(flood, n) for n in range(4)]
            await suspend(refuse)
        for thread in threads:
            thread.join()
        assert sorted(received) == sorted(list(range(4)) * calls)

    AsyncScheduler(poller=poller and poller()).start(main)


def test_a_wake_up_between_the_last_look_and_the_sleep_is_not_lost():
    """Ping-pong with a thread: each message finds the loop about to sleep."""

    async def main():
        scheduler = current_scheduler()
        task = current_task()
        work = threading.Semaphore(0)

        def ping():
            for n in range(500):
                work.acquire()
                scheduler.call_soon_threadsafe(reschedule, task, n)

        thread = in_thread(ping)
        with scheduler.open_wakeup():
            for n in range(500):
                work.release()
                assert await suspend(refuse) == n
        thread.join()

    AsyncScheduler().start(main)


def test_a_burst_of_wake_ups_costs_one_write():
    writes = []

    async def main():
        await sleep_forever()

    with AsyncScheduler() as loop:
        loop.start(main, loop=False)
        loop.tick()
        notify = loop._inbox.notify
        type(loop._inbox).notify = lambda inbox: (writes.append(1), notify())
        try:
            for _ in range(100):
                loop.call_soon_threadsafe(int)
        finally:
            type(loop._inbox).notify = notify.__func__
    assert len(writes) == 1


def test_calls_after_the_end_are_refused():
    async def main():
        return current_scheduler()

    loop = AsyncScheduler().start(main)
    with pytest.raises(RuntimeError, match="was closed"):
        loop.call_soon_threadsafe(int)
    with pytest.raises(RuntimeError, match="was closed|is closed"):
        loop._inbox.call_soon(int, ())
    loop._inbox.notify()  # a late thread: nothing happens


def test_a_thread_that_is_late_may_come_while_the_pipe_is_being_closed(monkeypatch):
    def notify_and_close(fd):
        loop._inbox.notify()
        close(fd)
        loop._inbox.notify()

    loop = AsyncScheduler()
    loop.start(checkpoint, loop=False)
    close = os.close
    monkeypatch.setattr(os, "close", notify_and_close)
    loop.close()


def test_another_thread_cannot_drive_close_or_cancel_a_loop_that_runs():
    async def main():
        scope = current_task().scope
        for use in (scheduler.run, scheduler.tick, scheduler.close, scope.cancel):
            in_thread(refused, use).join()
        await sleep(1)  # it lives on

    def refused(use):
        with pytest.raises(RuntimeError, match="belongs to another thread"):
            use()
        refusals.append(use)

    refusals = []
    scheduler = AsyncScheduler(clock=VirtualClock())
    scheduler.start(main)
    assert len(refusals) == 4


def test_an_open_wake_up_means_that_the_program_is_not_deadlocked():
    async def main():
        scheduler = current_scheduler()
        task = current_task()
        with scheduler.open_wakeup() as wakeup:
            thread = in_thread(lambda: (time.sleep(0.01), wakeup.call_soon(reschedule, task, "ok")))
            assert await suspend(refuse) == "ok"
            thread.join()
        wakeup.close()  # twice is fine
        assert scheduler._outside_waits == 0

    AsyncScheduler().start(main)


def test_a_virtual_clock_does_not_overtake_work_in_a_thread():
    async def main():
        scheduler = current_scheduler()
        task = current_task()
        with scheduler.open_wakeup(busy=True) as wakeup, CancelScope(seconds=1000) as scope:
            thread = in_thread(lambda: (time.sleep(0.02), wakeup.call_soon(reschedule, task)))
            await suspend(refuse)
            thread.join()
        assert not scope.timed_out
        assert scheduler.clock() == 0.0

    AsyncScheduler(clock=VirtualClock()).start(main)


def test_the_loop_is_not_visible_in_a_thread():
    async def main():
        var.set("inherited")
        context = copy_context_outside()
        thread = in_thread(context.run, look)
        thread.join()
        assert seen == ["inherited", "only inside a running loop" in seen[1] and seen[1]]

    def look():
        seen.append(var.get())
        try:
            current_task()
        except RuntimeError as error:
            seen.append(str(error))

    var = contextvars.ContextVar("var")
    seen = []
    AsyncScheduler().start(main)


class TestCtrlC:
    """Ctrl+C is raised in the main task at a checkpoint; the second one at once."""

    def test_it_is_raised_in_the_main_task_where_it_waits(self):
        events = []

        async def other():
            try:
                await sleep_forever()
            finally:
                events.append("other cleaned up")

        async def main():
            spawn_task(other)
            await checkpoint()
            signal.raise_signal(signal.SIGINT)
            try:
                await sleep_forever()
            except KeyboardInterrupt:
                events.append("main interrupted")
                raise

        with pytest.raises(KeyboardInterrupt):
            AsyncScheduler().start(main)
        assert events == ["main interrupted", "other cleaned up"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_it_wakes_a_loop_that_sleeps(self):
        async def main():
            timer.start()
            await sleep(100)

        timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            AsyncScheduler().start(main)
        timer.join()

    def test_it_is_raised_at_a_checkpoint_and_not_in_between(self):
        async def main():
            signal.raise_signal(signal.SIGINT)
            reached.append("after the signal")
            with pytest.raises(KeyboardInterrupt):
                await checkpoint()
            await checkpoint()  # it was delivered; the main task may go on
            return "went on"

        reached = []
        assert AsyncScheduler().start(main) == "went on"
        assert reached == ["after the signal"]

    def test_in_the_last_step_it_is_raised_after_the_clean_up(self):
        async def main():
            current_scheduler().add_cleanup(clean_up)
            signal.raise_signal(signal.SIGINT)

        async def clean_up():
            await checkpoint()
            events.append("cleaned up")

        events = []
        with pytest.raises(KeyboardInterrupt):
            AsyncScheduler().start(main)
        assert events == ["cleaned up"]

    @pytest.mark.parametrize("moment", ["on_task_exit", "on_exit"])
    def test_in_the_very_last_moments_it_is_raised_by_whoever_drives(self, moment):
        async def main():
            await checkpoint()
            events.append("ran to its end")

        def interrupt(*_):
            events.append("interrupted")
            signal.raise_signal(signal.SIGINT)

        events = []
        debugger = type("Interrupting", (), {moment: staticmethod(interrupt)})()
        with pytest.raises(KeyboardInterrupt):
            AsyncScheduler(debugger=debugger).start(main)
        assert events == ["ran to its end", "interrupted"]

    def test_when_what_was_run_for_holds_it_is_raised_there_and_the_tasks_go_on(self):
        async def main():
            while True:
                await checkpoint()
                steps.append("step")

        def interrupted_at_three():
            if len(steps) == 3:
                signal.raise_signal(signal.SIGINT)
            return len(steps) == 3

        steps = []
        loop = AsyncScheduler()
        task = loop.start(main, loop=False)
        with pytest.raises(KeyboardInterrupt):
            loop.run_until(interrupted_at_three)
        loop.run_until(lambda: len(steps) == 5)
        task.cancel()
        loop.close()
        assert task.cancelled()

    def test_leaving_a_scope_does_not_lose_it(self):
        async def main():
            with CancelScope():
                signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                await checkpoint()

        AsyncScheduler().start(main)

    def test_it_passes_shields(self):
        async def main():
            with CancelScope(shield=True):
                signal.raise_signal(signal.SIGINT)
                with pytest.raises(KeyboardInterrupt):
                    await sleep_forever()

        AsyncScheduler().start(main)

    def test_a_main_task_that_ends_without_a_checkpoint_is_interrupted_all_the_same(self):
        async def main():
            signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            AsyncScheduler().start(main)

    def test_when_main_has_ended_it_cancels_the_rest(self):
        async def other():
            await checkpoint()
            await checkpoint()
            signal.raise_signal(signal.SIGINT)
            try:
                await sleep_forever()
            except CancelledError:
                events.append("cancelled")
                raise

        async def main():
            spawn_task(other)

        events = []
        with pytest.raises(KeyboardInterrupt):
            AsyncScheduler().start(main)
        assert events == ["cancelled"]

    def test_when_that_does_not_help_the_next_one_breaks_off(self):
        async def other():
            try:
                await suspend(refuse)
            finally:
                events.append("closed")

        async def main():
            current_scheduler().open_wakeup()
            spawn_task(other)
            thread.start()

        def interrupt():
            for _ in range(2):
                time.sleep(0.03)
                os.kill(os.getpid(), signal.SIGINT)

        events = []
        thread = threading.Thread(target=interrupt)
        with pytest.raises(KeyboardInterrupt):
            AsyncScheduler().start(main)
        thread.join()
        assert events == ["closed"]

    def test_it_cancels_a_clean_up_that_hangs(self):
        async def hang():
            signal.raise_signal(signal.SIGINT)
            await sleep_forever()

        async def main():
            current_scheduler().add_cleanup(hang)

        with pytest.raises(KeyboardInterrupt):
            AsyncScheduler().start(main)

    def test_it_goes_before_an_error(self):
        async def failing():
            raise ValueError("beside")

        async def main():
            spawn_task(failing)
            signal.raise_signal(signal.SIGINT)
            await sleep_forever()

        with pytest.raises(KeyboardInterrupt) as caught:
            AsyncScheduler().start(main)
        assert [str(error) for error in siblings(caught.value)] == ["beside"]

    def test_a_second_one_is_raised_in_the_code_that_does_not_come_to_a_checkpoint(self):
        async def main():
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            await checkpoint()  # nothing is pending any more

        AsyncScheduler().start(main)

    def test_a_second_one_is_not_raised_in_a_hook_that_the_kernel_calls_halfway(self):
        """The hook is called by a task's own step, while a cancellation is on its way."""

        class Debugger:
            def before_cancel(self, task):
                if task is not task.scheduler.main_task:
                    signal.raise_signal(signal.SIGINT)
                    signal.raise_signal(signal.SIGINT)
                    events.append("the hook went on")

        async def child():
            try:
                await sleep_forever()
            finally:
                events.append("child cleaned up")

        async def main():
            with CancelScope() as scope:
                for _ in range(2):
                    spawn_task(child, scope=scope)
                await checkpoint()
                try:
                    scope.cancel()
                except KeyboardInterrupt:
                    events.append("raised in the middle")

        events = []
        with pytest.raises(KeyboardInterrupt):
            AsyncScheduler(debugger=Debugger()).start(main)
        assert events[:2] == ["the hook went on"] * 2
        assert "raised in the middle" not in events

    def test_one_before_the_run_begins_leaves_nothing_open(self):
        class Debugger:
            def on_start(self):
                signal.raise_signal(signal.SIGINT)

        async def main():
            pass

        scheduler = AsyncScheduler(debugger=Debugger())
        with pytest.raises(KeyboardInterrupt):
            scheduler.start(main)
        assert scheduler.done()

    def test_a_loop_can_be_closed_in_good_order_after_a_second_one_broke_off_run_until(self):
        async def other():
            try:
                await sleep_forever()
            finally:
                with CancelScope(shield=True):
                    await sleep(1)
                events.append("other cleaned up")

        async def main():
            spawn_task(other)
            await suspend(refuse)

        def interrupt():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

        events = []
        loop = AsyncScheduler(clock=VirtualClock())
        loop.start(main, loop=False)
        loop.tick()
        loop.tick()
        loop.call_soon_threadsafe(interrupt)
        with pytest.raises(KeyboardInterrupt):
            loop.run_until(lambda: False)
        assert events == []
        with pytest.raises(DeadlockError):  # of the main task, which refuses to end
            loop.close()
        assert events == ["other cleaned up"]

    def test_a_second_one_breaks_off_a_run_whose_main_task_cannot_be_interrupted(self):
        async def main():
            try:
                await suspend(refuse)
            finally:
                events.append("closed")

        def interrupt():
            time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)

        events = []
        thread = threading.Thread(target=interrupt)

        async def start():
            current_scheduler().open_wakeup()
            thread.start()
            await main()

        with pytest.raises(KeyboardInterrupt):
            AsyncScheduler().start(start)
        thread.join()
        assert events == ["closed"]

    def test_a_handler_of_somebody_else_is_left_alone(self):
        seen = []
        previous = signal.signal(signal.SIGINT, lambda *args: seen.append(1))
        try:

            async def main():
                signal.raise_signal(signal.SIGINT)
                await checkpoint()

            AsyncScheduler().start(main)
        finally:
            signal.signal(signal.SIGINT, previous)
        assert seen == [1]

    def test_a_handler_installed_during_the_run_is_left_in_place(self):
        def handler(signum, frame):
            pass

        async def main():
            signal.signal(signal.SIGINT, handler)

        try:
            AsyncScheduler().start(main)
            assert signal.getsignal(signal.SIGINT) is handler
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def test_a_loop_in_another_thread_does_not_touch_signals(self):
        async def main():
            handlers.append(signal.getsignal(signal.SIGINT))

        handlers = []
        in_thread(AsyncScheduler().start, main).join()
        assert handlers == [signal.default_int_handler]

    def test_a_real_program_ends_as_python_programs_do(self):
        program = textwrap.dedent(
            """
            import giambio_kernel as kernel

            async def other():
                try:
                    await kernel.sleep_forever()
                finally:
                    print("cleaned up", flush=True)

            async def main():
                kernel.spawn_task(other)
                await kernel.checkpoint()
                print("ready", flush=True)
                await kernel.sleep_forever()

            kernel.AsyncScheduler().start(main)
            """
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert out == "cleaned up\n"
        assert err.rstrip().endswith("KeyboardInterrupt\nin task: main")
        assert process.returncode == -signal.SIGINT


def test_a_storm_of_signals_is_survived():
    count = 0

    def handler(signum, frame):
        nonlocal count
        count += 1

    previous = signal.signal(signal.SIGUSR1, handler)
    try:

        async def main():
            thread = in_thread(lambda: [os.kill(os.getpid(), signal.SIGUSR1) for _ in range(2000)])
            while thread.is_alive():
                await sleep(0.001)
            thread.join()
            await sleep(0.001)

        AsyncScheduler().start(main)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert count > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_cannot_go_on_with_the_parents_loop():
    program = textwrap.dedent(
        """
        import os, sys
        import giambio_kernel as kernel

        async def main():
            if os.fork() == 0:
                try:
                    await kernel.sleep(1)
                finally:
                    print("child: clean-up of the parent's tasks is the parent's", flush=True)
            os.wait()
            await kernel.sleep(0.01)
            print("parent: goes on", flush=True)

        try:
            kernel.AsyncScheduler().start(main)
        except RuntimeError as error:
            print("child:", error, flush=True)
            os._exit(0)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("child: this process was forked from one that runs a giambio loop")
    assert lines[1:] == ["parent: goes on"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_has_a_loop_of_its_own_and_its_own_ctrl_c():
    """As the child of ``multiprocessing``, which is forked in the middle of a task and stays there."""
    program = textwrap.dedent(
        """
        import os, signal
        import giambio_kernel as kernel

        async def in_child():
            reading, writing = os.pipe()
            os.write(writing, b"x")
            await kernel.wait_readable(reading)
            print("child: has waited", flush=True)
            signal.raise_signal(signal.SIGINT)
            await kernel.sleep_forever()

        async def main():
            if os.fork() == 0:
                try:
                    kernel.AsyncScheduler().start(in_child)
                except KeyboardInterrupt:
                    print("child: interrupted", flush=True)
                back = signal.getsignal(signal.SIGINT) is signal.default_int_handler
                os._exit(0 if back else 1)
            assert os.wait()[1] == 0
            await kernel.sleep(0.01)
            try:
                kernel.AsyncScheduler().start(in_child)
            except RuntimeError as error:
                print("parent:", error, flush=True)

        signal.signal(signal.SIGINT, signal.default_int_handler)
        kernel.AsyncScheduler().start(main)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    *of_child, of_parent = done.stdout.splitlines()
    assert of_child == ["child: has waited", "child: interrupted"]
    assert of_parent.startswith("parent: task 'main' cannot start a run inside of a run")
