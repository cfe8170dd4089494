# SPDX-License-Identifier: Apache-2.0
"""Starting a run, driving it, and how it ends."""

from __future__ import annotations

import errno
import gc
import os
import select
import sys
import threading

import pytest

from giambio_kernel import (
    AsyncScheduler,
    CancelScope,
    DeadlockError,
    InternalError,
    SelectorPoller,
    Task,
    TaskCancelled,
    TaskState,
    VirtualClock,
    add_siblings,
    checkpoint,
    current_scheduler,
    current_task,
    park,
    reschedule,
    siblings,
    sleep,
    sleep_forever,
    spawn_task,
    suspend,
    unpark,
)


async def nothing():
    pass


def test_run_returns_the_result_of_main(run):
    async def main(a, b):
        await checkpoint()
        return a + b

    assert run(main, 3, 4) == 7


def test_run_raises_the_error_of_main_itself(run):
    error = ValueError("no")

    async def main():
        raise error

    with pytest.raises(ValueError, match="no") as caught:
        run(main)
    assert caught.value is error


def test_an_error_carries_the_path_of_its_task_and_no_frames_of_the_loop(run):
    async def main():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no") as caught:
        run(main)
    assert caught.value.__notes__ == ["in task: main"]
    names = [entry.name for entry in caught.traceback]
    assert names[-1] == "main"
    assert "_run_steps" not in names
    assert "begin" not in names


def test_run_waits_for_all_tasks(run):
    ended = []

    async def child(n):
        await sleep(n)
        ended.append(n)

    async def main():
        for n in (3, 1, 2):
            spawn_task(child, n)
        return "result"

    assert run(main) == "result"
    assert ended == [1, 2, 3]


def test_a_failing_task_outside_of_pools_cancels_the_run_which_raises_its_error(run):
    events = []

    async def failing():
        await sleep(1)
        raise KeyError("mine")

    async def main():
        spawn_task(failing)
        try:
            await sleep_forever()
        finally:
            events.append("main cleaned up")

    with pytest.raises(KeyError, match="mine"):
        run(main)
    assert events == ["main cleaned up"]


class NoDescriptor:
    """Finds no module, because no descriptor is left to read it."""

    def find_spec(self, name, path=None, target=None):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), name)


def test_no_error_is_lost_where_no_descriptor_is_left(monkeypatch):
    # To show the second one in full a module is imported, which many programs had not needed before.
    first, second = ValueError("first"), ValueError("second")
    with monkeypatch.context() as exhausted:
        exhausted.delitem(sys.modules, "traceback", raising=False)
        exhausted.setattr(sys, "meta_path", [NoDescriptor()])
        add_siblings(first, [second])
    assert siblings(first) == (second,)
    assert first.__notes__ == ["beside it happened:\n  ValueError('second')"]


def test_of_several_errors_the_first_is_raised_and_the_others_are_its_siblings(run):
    async def failing(error):
        raise error

    first, second = ValueError("first"), KeyError("second")

    async def main():
        spawn_task(failing, first)
        spawn_task(failing, second)

    with pytest.raises(ValueError, match="first") as caught:
        run(main)
    assert siblings(caught.value) == (second,)
    assert "KeyError: 'second'" in "".join(caught.value.__notes__)


def test_exit_goes_before_an_ordinary_error(run):
    async def failing(error):
        raise error

    ordinary = ValueError("ordinary")

    async def main():
        spawn_task(failing, ordinary)
        spawn_task(failing, SystemExit(3))

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert siblings(caught.value) == (ordinary,)


def test_a_cancelled_main_task_is_an_ordinary_error_of_the_run(run):
    async def main():
        current_task().cancel("enough")
        await checkpoint()

    with pytest.raises(TaskCancelled, match="'main' was cancelled: enough") as caught:
        run(main)
    assert caught.value.task.name == "main"


def test_a_run_inside_of_a_run_is_refused(run):
    async def main():
        AsyncScheduler().start(nothing)

    with pytest.raises(RuntimeError, match="inside of a run: await the function"):
        run(main)


def test_another_thread_may_run_its_own_loop_meanwhile(run):
    results = []

    async def main():
        thread = threading.Thread(
            target=lambda: results.append(AsyncScheduler().start(nothing)),
        )
        thread.start()
        thread.join()

    run(main)
    assert results == [None]


def test_a_scheduler_is_used_once():
    scheduler = AsyncScheduler()
    scheduler.start(nothing)
    with pytest.raises(RuntimeError, match="started before; make a new one"):
        scheduler.start(nothing)
    with pytest.raises(RuntimeError, match="was closed"):
        scheduler.run()
    scheduler.close()


def test_running_what_was_not_started_is_a_clear_error():
    scheduler = AsyncScheduler()
    for use in (scheduler.run, scheduler.tick, scheduler.fileno):
        with pytest.raises(RuntimeError, match=r"call start\(main\) first"):
            use()
    scheduler.close()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (3, "expected an async function, not 3"),
        ([nothing], r"; a \* before it passes what is in it"),  # so in gather([f, g])
        (lambda: None, "is not an async function: calling it gave None"),
        (nothing(), "was called already"),
    ],
)
def test_what_is_no_async_function_is_refused_at_once(wrong, message):
    with pytest.raises(TypeError, match=message):
        AsyncScheduler().start(wrong, *((1,) if "called" in message else ()))


def test_an_async_generator_function_is_refused_at_once():
    async def generator():
        yield 1

    with pytest.raises(TypeError, match="async generator function: iterate it"):
        AsyncScheduler().start(generator)


def test_awaiting_another_librarys_primitive_names_it(run):
    class Foreign:
        def __await__(self):
            yield "foreign request"

    events = []

    async def main():
        try:
            await Foreign()
        finally:
            await checkpoint()  # the task is as alive as ever
            events.append("cleaned up")

    with pytest.raises(InternalError, match="task 'main' awaited 'foreign request'") as caught:
        run(main)
    assert events == ["cleaned up"]
    assert caught.traceback[-1].name == "__await__"


def test_calling_asyncio_says_whose_loop_it_needs(run):
    import asyncio

    async def main():
        await asyncio.sleep(1)

    with pytest.raises(RuntimeError, match="no running event loop") as caught:
        run(main)
    assert any("giambio.hosting.await_asyncio()" in note for note in caught.value.__notes__)


def test_other_errors_are_not_blamed_on_asyncio(run):
    import asyncio

    async def main():
        asyncio.Future(loop=1)  # an error of the program, made in C, so that main is the last frame

    with pytest.raises(Exception) as caught:
        run(main)
    assert not any("under giambio" in note for note in caught.value.__notes__)


def test_awaiting_asyncio_is_a_clear_error(run):
    import asyncio

    async def main():
        await asyncio.sleep(0)

    with pytest.raises(InternalError, match="awaited None, which is not giambio's"):
        run(main)


def test_outside_of_a_loop_every_request_says_so():
    for use in (
        current_task,
        current_scheduler,
        lambda: spawn_task(nothing),
        lambda: CancelScope().__enter__(),
        lambda: suspend(lambda task, error: None).send(None),
        lambda: sleep(1).send(None),
    ):
        with pytest.raises(RuntimeError, match="only inside a running loop"):
            use()


def test_forgetting_to_await_gives_pythons_own_warning():
    with pytest.warns(RuntimeWarning, match="coroutine 'sleep' was never awaited"):
        sleep(1)
        gc.collect()


class TestTicking:
    """A loop driven by hand."""

    def test_ticks_run_what_was_ready_when_they_began(self):
        events = []

        async def child():
            events.append("child")

        async def main():
            events.append("main 1")
            spawn_task(child)
            await checkpoint()
            events.append("main 2")

        with AsyncScheduler() as loop:
            task = loop.start(main, loop=False)
            assert task.state is TaskState.NEW
            assert events == []
            assert loop.tick()
            assert events == ["main 1"]
            assert not loop.tick()
            assert events == ["main 1", "child", "main 2"]
            assert task.result() is None
            assert loop.done()
            assert not loop.tick()

    def test_a_tick_does_not_wait_by_default(self):
        async def main():
            await sleep(3600)

        with AsyncScheduler() as loop:
            loop.start(main, loop=False)
            for _ in range(3):
                assert loop.tick()

    def test_a_tick_waits_for_time_as_long_as_it_may(self):
        async def main():
            await sleep(0.002)

        with AsyncScheduler() as loop:
            task = loop.start(main, loop=False)
            loop.tick()
            while loop.tick(None):
                pass
            assert task.done()

    def test_the_error_of_a_task_is_not_the_ticks(self):
        async def main():
            raise ValueError("mine")

        loop = AsyncScheduler()
        task = loop.start(main, loop=False)
        while loop.tick():
            pass
        assert repr(task) == "<Task 'main' failed: ValueError('mine')>"
        with pytest.raises(ValueError, match="mine"):
            task.result()
        loop.close()

    def test_a_loop_that_was_not_closed_is_warned_about_and_closed(self):
        before = os.listdir("/dev/fd")
        loop = AsyncScheduler()
        loop.start(sleep_forever, loop=False)
        loop.tick()
        with pytest.warns(ResourceWarning, match="running, 1 task> was not closed"):
            del loop
            gc.collect()
        assert os.listdir("/dev/fd") == before

    def test_an_error_that_nobody_saw_is_raised_by_close(self):
        async def failing():
            raise ValueError("mine")

        async def main():
            spawn_task(failing)

        loop = AsyncScheduler()
        loop.start(main, loop=False)
        while loop.tick():
            pass
        with pytest.raises(ValueError, match="mine"):
            loop.close()
        loop.close()

    def test_an_error_of_main_that_was_looked_at_is_not_raised_again_by_close(self):
        async def main():
            raise ValueError("mine")

        loop = AsyncScheduler()
        task = loop.start(main, loop=False)
        while loop.tick():
            pass
        assert isinstance(task.exception(), ValueError)
        loop.close()

    def test_close_cancels_what_is_left_and_runs_its_clean_up(self):
        events = []

        async def main():
            try:
                await sleep_forever()
            finally:
                with CancelScope(shield=True):
                    await sleep(0.001)
                events.append("cleaned up")

        loop = AsyncScheduler()
        task = loop.start(main, loop=False)
        loop.tick()
        loop.close()
        assert events == ["cleaned up"]
        assert task.cancelled()
        loop.close()

    def test_close_before_the_first_tick_runs_main_to_its_first_checkpoint(self):
        events = []

        async def main():
            events.append("began")
            await checkpoint()
            events.append("never")

        loop = AsyncScheduler()
        loop.start(main, loop=False)
        loop.close()
        assert events == ["began"]

    def test_the_descriptor_tells_of_calls_from_threads(self):
        events = []

        async def main():
            await sleep_forever()

        with AsyncScheduler() as loop:
            loop.start(main, loop=False)
            loop.tick()
            assert not select.select([loop.fileno()], [], [], 0)[0]
            thread = threading.Thread(
                target=loop.call_soon_threadsafe, args=(events.append, "called")
            )
            thread.start()
            thread.join()
            assert select.select([loop.fileno()], [], [], 10)[0]
            loop.tick()
            assert events == ["called"]
            assert not select.select([loop.fileno()], [], [], 0)[0]

    def test_the_descriptor_tells_of_what_the_host_does_itself(self):
        async def main():
            return await suspend(lambda task, error: None)

        with AsyncScheduler() as loop:
            task = loop.start(main, loop=False)
            loop.tick()
            reschedule(task, "from the host")
            assert select.select([loop.fileno()], [], [], 0)[0]
            assert loop.next_deadline() <= loop.clock()
            loop.tick()
            assert task.result() == "from the host"

    def test_the_next_deadline_is_that_of_the_first_timer(self):
        clock = VirtualClock(autojump=False)

        async def main():
            await sleep(5)

        with AsyncScheduler(clock=clock) as loop:
            assert loop.next_deadline() == float("inf")
            loop.start(main, loop=False)
            assert loop.next_deadline() == 0.0  # main is ready
            loop.tick()
            assert loop.next_deadline() == 5.0
            clock.advance(5)
            assert not loop.tick()

    def test_a_task_cannot_tick_its_own_loop(self):
        async def main():
            current_scheduler().tick()

        loop = AsyncScheduler()
        task = loop.start(main, loop=False)
        loop.tick()
        with pytest.raises(RuntimeError, match="driven by one of its own tasks"):
            task.result()
        loop.close()

    def test_a_task_cannot_close_its_own_loop(self, run):
        async def main():
            current_scheduler().close()

        with pytest.raises(RuntimeError, match="cannot be closed by its own tasks"):
            run(main)

    def test_another_thread_cannot_tick_or_touch(self):
        errors = []

        async def main():
            await suspend(lambda task, error: None)

        with AsyncScheduler() as loop:
            task = loop.start(main, loop=False)
            loop.tick()

            def meddle():
                for use in (loop.tick, lambda: reschedule(task), lambda: task.cancel()):
                    try:
                        use()
                    except RuntimeError as error:
                        errors.append(str(error))

            thread = threading.Thread(target=meddle)
            thread.start()
            thread.join()
        assert len(errors) == 3
        assert all("another thread" in error for error in errors)

    def test_two_loops_take_turns_in_one_thread(self):
        events = []

        async def main(name):
            for n in range(2):
                events.append(f"{name}{n}")
                await checkpoint()

        with AsyncScheduler() as one, AsyncScheduler() as two:
            one.start(main, "a", loop=False)
            two.start(main, "b", loop=False)
            while one.tick() | two.tick():
                pass
        assert events == ["a0", "b0", "a1", "b1"]

    @pytest.mark.parametrize("wrong", [-1, float("nan")])
    def test_a_timeout_must_be_a_time(self, wrong):
        with pytest.raises(ValueError, match="timeout must be at least 0"):
            AsyncScheduler().tick(wrong)


class TestRunUntil:
    """How a test runner spans several things over one loop."""

    def test_it_stops_when_the_condition_holds_and_leaves_the_tasks_alone(self):
        async def main():
            await sleep(1)
            seen.append(1)
            await sleep(1)
            seen.append(2)

        seen = []
        with AsyncScheduler(clock=VirtualClock()) as loop:
            task = loop.start(main, loop=False)
            loop.run_until(lambda: seen)
            assert seen == [1]
            assert not task.done()
            loop.run_until(task.done)
            assert seen == [1, 2]

    def test_it_says_when_the_condition_can_never_hold(self):
        with AsyncScheduler() as loop:
            loop.start(nothing, loop=False)
            with pytest.raises(RuntimeError, match="the condition does not hold"):
                loop.run_until(lambda: False)


class TestCleanUpAtTheEnd:
    """Work that needs the loop after all tasks have ended."""

    def test_clean_ups_run_last_in_first_out_while_the_loop_lives(self, run):
        events = []

        async def asynchronous(n):
            await sleep(1)
            events.append(n)

        async def main():
            scheduler = current_scheduler()
            scheduler.add_cleanup(asynchronous, 1)
            scheduler.add_cleanup(events.append, 2)
            spawn_task(asynchronous, 0)

        run(main)
        assert events == [0, 2, 1]

    def test_a_failing_clean_up_does_not_keep_the_others_from_running(self, run):
        events = []

        def failing():
            raise ValueError("clean-up")

        async def main():
            current_scheduler().add_cleanup(events.append, "first")
            current_scheduler().add_cleanup(failing)

        with pytest.raises(ValueError, match="clean-up"):
            run(main)
        assert events == ["first"]

    def test_they_run_after_an_error_too(self, run):
        events = []

        async def main():
            current_scheduler().add_cleanup(events.append, "cleaned")
            raise ValueError("main")

        with pytest.raises(ValueError, match="main"):
            run(main)
        assert events == ["cleaned"]


def test_an_error_of_a_call_from_outside_fails_the_run(run):
    async def main():
        current_scheduler().call_soon_threadsafe(lambda: 1 // 0)
        await sleep_forever()

    with pytest.raises(ZeroDivisionError):
        run(main)


def test_a_run_that_breaks_off_leaves_nobody_in_a_queue(run):
    class Broken:
        def choose(self, ready):
            if len(queue) == 2:
                raise LookupError("the policy is broken")
            return 0

    async def wait():
        with CancelScope() as scope:
            try:
                await park(queue, "a primitive")
            finally:
                granted.append(unpark(queue))  # as who was given a lock gives it to the next
                scope.cancel()  # as a pool does that is closed

    async def busy():
        while True:
            await checkpoint()

    async def main():
        for task in (wait, wait, busy, busy):
            spawn_task(task)

    queue, granted = {}, []
    with pytest.raises(LookupError):
        run(main, policy=Broken())
    assert queue == {}
    assert granted == [None, None]


def test_a_run_leaves_no_descriptor_behind(run):
    before = os.listdir("/dev/fd")
    run(nothing)
    with pytest.raises(ZeroDivisionError):
        run(lambda: _divide())
    assert os.listdir("/dev/fd") == before


async def _divide():
    return 1 // 0


def test_tasks_and_scopes_leave_no_cycles_for_the_garbage_collector(run):
    async def main():
        with CancelScope(seconds=1):
            await spawn_task(nothing).join()
        with CancelScope(seconds=1) as scope:
            scope.cancel()
            await sleep(5)

    def living(kind):
        return [each for each in gc.get_objects() if type(each) is kind]

    gc.collect()
    gc.disable()
    try:
        tasks, scopes = set(living(Task)), set(living(CancelScope))  # what other tests have left
        run(main)
        assert [task.name for task in living(Task) if task not in tasks] == ["main"]  # its loop's
        assert not set(living(CancelScope)) - scopes
    finally:
        gc.enable()


class TestSpawningFromOutside:
    """What a host may do, and when it is told that it is too late."""

    def test_between_ticks_a_host_may_spawn(self):
        events = []

        async def child():
            assert current_scheduler() is loop
            events.append("ran")

        async def main():
            await sleep(0)
            await sleep(0)

        with AsyncScheduler() as loop:
            loop.start(main, loop=False)
            loop.tick()
            loop.spawn(child)
            while loop.tick():
                pass
        assert events == ["ran"]

    def test_after_the_end_it_is_refused_without_a_word_about_unawaited_coroutines(self):
        loop = AsyncScheduler()
        loop.start(nothing)
        with pytest.raises(RuntimeError, match="has ended"):
            loop.spawn(nothing)
        with pytest.raises(RuntimeError, match="has ended"):
            loop.add_cleanup(print)
        gc.collect()

    def test_from_another_thread_it_is_refused(self):
        errors = []

        def meddle():
            try:
                loop.spawn(nothing)
            except RuntimeError as error:
                errors.append(str(error))

        with AsyncScheduler() as loop:
            loop.start(sleep_forever, loop=False)
            loop.tick()
            thread = threading.Thread(target=meddle)
            thread.start()
            thread.join()
        assert "another thread" in errors[0]
        gc.collect()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clock": VirtualClock}, r"pass an instance of the clock: VirtualClock\(\)"),
        ({"clock": 3}, r"3 is no clock: it has no now\(\)"),
        ({"poller": SelectorPoller}, r"pass an instance of the poller: SelectorPoller\(\)"),
        ({"policy": "random"}, r"'random' is no policy: it has no choose\(\)"),
        ({"debugger": print}, "print> is no debugger: it has none of the methods"),
        ({"debugger": [object()]}, "is no debugger"),
    ],
)
def test_what_is_no_clock_poller_policy_or_debugger_is_refused_by_name(options, message):
    with pytest.raises(TypeError, match=message):
        AsyncScheduler(**options)


def test_several_debuggers_may_come_in_any_collection():
    class Debugger:
        def on_start(self):
            started.append(self)

    started = []
    given = {Debugger(), Debugger()}
    AsyncScheduler(debugger=given).start(nothing)
    assert set(started) == given


@pytest.mark.parametrize("index", [7, None, 0.5])
def test_a_policy_that_chooses_no_task_is_named(run, index):
    class Policy:
        def choose(self, ready):
            return index

        def __repr__(self):
            return "<my policy>"

    async def main():
        spawn_task(nothing)
        await checkpoint()

    with pytest.raises(InternalError, match=f"<my policy> chose {index} of 2 ready tasks"):
        run(main, policy=Policy())


def test_a_loop_that_is_dropped_with_its_tasks_says_only_that(capsys):
    """Python closes the coroutines, and there is no loop around their scopes any more."""

    async def main():
        with CancelScope(), CancelScope(seconds=5) as scope:
            scope.cancel()
            with CancelScope(shield=True):
                await sleep(1)

    loop = AsyncScheduler()
    loop.start(main, loop=False)
    loop.tick()
    with pytest.warns(ResourceWarning, match="was not closed"):
        del loop
        gc.collect()
    assert capsys.readouterr().err == ""


def test_a_loop_that_cannot_be_opened_leaves_nothing_behind():
    class NoPoller:
        edge_triggered = False

        def __init__(self):
            self.closed = False

        def poll(self, timeout):
            return ()

        def add(self, fd, mask, edge):
            raise OSError("no")

        def close(self):
            self.closed = True

    with pytest.raises(OSError, match="no"):
        AsyncScheduler(poller=NoPoller()).start(nothing)
    gc.collect()


def test_closing_a_loop_that_waits_for_ever_does_not_hang():
    async def main():
        await suspend(lambda task, error: False)

    loop = AsyncScheduler(deadlock="wait")
    loop.start(main, loop=False)
    loop.tick()
    with pytest.raises(DeadlockError):
        loop.close()
    assert repr(loop) == "<AsyncScheduler closed, 0 tasks>"
