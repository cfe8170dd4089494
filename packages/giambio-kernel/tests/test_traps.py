# SPDX-License-Identifier: Apache-2.0
"""The trap decorator, the fair queue, and waiting until all are blocked."""

from __future__ import annotations

import gc
import inspect
import re
import threading
import types
from pathlib import Path

import pytest

import giambio_kernel
from giambio_kernel import (
    PARKED,
    CancelScope,
    Hooks,
    InternalError,
    break_all,
    checkpoint,
    current_scheduler,
    current_task,
    enqueue,
    outcome,
    park,
    reschedule,
    sleep,
    sleep_until,
    spawn_task,
    suspend,
    trap,
    traps,
    unpark,
    unpark_all,
    wait_all_tasks_blocked,
    wake,
)

ALL_TRAPS = [
    function
    for name, function in vars(giambio_kernel).items()
    if isinstance(function, types.FunctionType) and inspect.iscoroutinefunction(function)
]


class TestTheDecorator:
    """A trap is a generator inside and a coroutine function outside."""

    @pytest.mark.parametrize("function", ALL_TRAPS, ids=lambda function: function.__name__)
    def test_traps_are_real_coroutine_functions(self, function):
        assert inspect.iscoroutinefunction(function)
        assert function.__doc__
        assert "Checkpoint:" in function.__doc__
        assert function.__module__.startswith("giambio_kernel")

    def test_it_keeps_what_belongs_to_the_function(self):
        @trap
        def example(a: int, b: int = 2, *, c: int = 3):
            """Documented."""
            yield from ()
            return a + b + c

        assert example.__name__ == "example"
        assert example.__qualname__.endswith("<locals>.example")
        assert example.__doc__ == "Documented."
        assert example.__module__ == __name__
        assert inspect.signature(example).parameters["c"].default == 3
        coroutine = example(1)
        assert inspect.iscoroutine(coroutine)
        with pytest.raises(StopIteration) as stopped:
            coroutine.send(None)
        assert stopped.value.value == 6

    def test_it_sees_closures(self, run):
        queue = {}

        @trap
        def wait():
            enqueue(queue, "queue")
            return outcome((yield PARKED))

        async def main():
            task = spawn_task(wait)
            await checkpoint()
            unpark(queue, "value")
            assert await task.join() == "value"

        run(main)

    def test_forgetting_to_await_warns(self):
        for function in (checkpoint, wait_all_tasks_blocked):
            with pytest.warns(RuntimeWarning, match=f"'{function.__name__}' was never awaited"):
                function()
                gc.collect()

    def test_on_an_interpreter_that_checks_flags_it_falls_back_to_the_standard_way(
        self, run, monkeypatch
    ):
        def refuse(*args):
            raise ValueError("bad flags")

        monkeypatch.setattr(traps.types, "FunctionType", refuse)

        @trap
        def give_way():
            yield traps.AGAIN

        monkeypatch.undo()

        async def main():
            await give_way()

        run(main)


def test_only_functions_marked_as_traps_yield_to_the_loop():
    """Whoever reads the word yield with a signal finds the decorator above it."""
    for path in Path(giambio_kernel.__file__).parent.glob("*.py"):
        text = path.read_text()
        for match in re.finditer(r"^(?!#).*yield (AGAIN|PARKED)", text, re.MULTILINE):
            before = text[: match.start()]
            header = before.rfind("\ndef ") if "    @trap" not in before else before.rfind("@trap")
            decorated = before[:header].rstrip().endswith("@trap") or '"""' in match.group()
            assert decorated or "@trap" in before[header - 10 :], (path.name, match.group())


class TestWaitQueue:
    """First come, first served, and nobody is both granted and cancelled."""

    def test_tasks_are_unparked_in_the_order_of_parking(self, run):
        order = []

        async def waiter(queue, n):
            order.append((n, await park(queue, "queue")))

        async def main():
            queue = {}
            for n in range(4):
                spawn_task(waiter, queue, n)
            await wait_all_tasks_blocked()
            assert len(queue) == 4
            assert unpark(queue, "first").name == "waiter"
            await wait_all_tasks_blocked()
            assert order == [(0, "first")]
            unpark_all(queue, "rest")
            assert not queue
            await wait_all_tasks_blocked()
            assert order == [(0, "first"), (1, "rest"), (2, "rest"), (3, "rest")]
            assert unpark(queue) is None
            unpark_all(queue)

        run(main)

    def test_a_cancelled_task_leaves_the_queue(self, run):
        async def main():
            queue = {}
            with CancelScope(seconds=1) as scope:
                await park(queue, "queue")
            assert scope.timed_out
            assert queue == {}
            with CancelScope() as scope:
                scope.cancel()
                await park(queue, "queue")
            assert scope.cancelled_caught
            assert queue == {}

        run(main)

    def test_a_task_that_was_unparked_is_not_cancelled_any_more(self, run):
        async def waiter(scope):
            with scope:
                results.append(await park(queue, "queue"))
                await checkpoint()
                results.append("not reached")

        queue, results = {}, []

        async def main():
            scope = CancelScope()
            task = spawn_task(waiter, scope)
            await wait_all_tasks_blocked()
            unpark(queue, "granted")
            scope.cancel()
            await task.join()
            assert scope.cancelled_caught

        run(main)
        assert results == ["granted"]

    def test_offers_are_there_for_who_unparks(self, run):
        async def main():
            queue = {}
            task = spawn_task(park, queue, "queue", "offer")
            await wait_all_tasks_blocked()
            assert list(queue.values()) == ["offer"]
            unpark(queue)
            await task.join()

        run(main)

    def test_a_queue_can_be_broken_with_an_error_for_each(self, run):
        async def waiter():
            with pytest.raises(KeyError) as caught:
                await park(queue, "queue")
            errors.append(caught.value)

        queue, errors = {}, []

        async def main():
            spawn_task(waiter)
            spawn_task(waiter)
            await wait_all_tasks_blocked()
            break_all(queue, KeyError)

        run(main)
        assert len(errors) == 2
        assert errors[0] is not errors[1]

    def test_a_queue_that_is_thrown_away_need_not_be_emptied(self, run):
        async def main():
            queue = {}
            task = spawn_task(park, queue, "queue")
            await wait_all_tasks_blocked()
            wake(queue, "value")
            assert await task.join() == "value"

        run(main)

    def test_ten_thousand_waiters_cost_no_more_each_than_ten(self, run):
        """Cancelling from the middle does not search."""

        async def main():
            queue = {}
            with CancelScope() as scope:
                tasks = [spawn_task(park, queue, "queue", scope=scope) for _ in range(10_000)]
                await wait_all_tasks_blocked()
                for task in tasks[1:-1]:
                    task.cancel()
                await wait_all_tasks_blocked()
                assert list(queue) == [tasks[0], tasks[-1]]
                unpark_all(queue)
                await wait_all_tasks_blocked()

        run(main)

    def test_a_long_queue_stays_in_order_while_its_gap_is_closed(self, run):
        async def waiter(number):
            while True:
                woken.append(await park(queue, "queue", number))

        async def main():
            tasks = [spawn_task(waiter, number) for number in range(2000)]
            await wait_all_tasks_blocked()
            expected = list(range(2000))
            for turn in range(5000):
                if turn % 7 == 0 and len(expected) > 600:  # one in the middle gives up
                    tasks[expected.pop(len(expected) // 2)].cancel()
                number = expected.pop(0)
                assert unpark(queue, number) is tasks[number]
                await checkpoint()  # it parks again, at the end
                await checkpoint()
                expected.append(number)
                assert len(queue) == len(expected)
            assert list(queue.values()) == expected
            for task in tasks:
                task.cancel()

        queue = {}
        woken = []
        run(main)
        assert len(woken) == 5000


class Gate:
    """A primitive that yields itself."""

    def __init__(self):
        self.wait_queue = {}

    @trap
    def wait(self):
        return outcome((yield self))


class OldestFirst:
    """The policy that changes nothing, so that the loop takes its other path."""

    def choose(self, ready):
        return 0


def test_an_abort_that_wakes_the_task_itself_has_refused(run):
    def grant(task, error):
        reschedule(task, "granted")

    async def main():
        with CancelScope(seconds=1) as scope:
            assert await suspend(grant) == "granted"
            await checkpoint()
        return scope.cancelled_caught

    assert run(main)


@pytest.mark.parametrize(
    "options",
    [{}, {"debugger": Hooks(())}, {"policy": OldestFirst()}],
    ids=["plain", "with a debugger", "with a policy"],
)
class TestYieldingWhatOneWaitsOn:
    """The loop puts a task that yields a primitive into the queue of that."""

    def test_it_waits_there_in_order_until_it_is_unparked(self, run, options):
        order = []

        async def waiter(n):
            order.append((n, await gate.wait()))

        gate = Gate()

        async def main():
            tasks = [spawn_task(waiter, n) for n in range(3)]
            await wait_all_tasks_blocked()
            assert list(gate.wait_queue) == tasks
            assert [task.waiting_on for task in tasks] == [gate] * 3
            assert all(task.waiting_since == 0.0 for task in tasks)
            unpark(gate.wait_queue, "alone")
            await wait_all_tasks_blocked()
            unpark_all(gate.wait_queue, "together")

        run(main, **options)
        assert order == [(0, "alone"), (1, "together"), (2, "together")]

    def test_who_was_cancelled_before_does_not_wait(self, run, options):
        async def main():
            with CancelScope() as scope:
                scope.cancel()
                await gate.wait()
            assert scope.cancelled_caught
            assert gate.wait_queue == {}

        gate = Gate()
        run(main, **options)

    def test_a_deadline_that_comes_meanwhile_takes_it_out(self, run, options):
        async def main():
            with CancelScope(seconds=1) as scope:
                await gate.wait()
            assert scope.timed_out
            assert gate.wait_queue == {}
            assert current_scheduler().clock() == 1.0

        gate = Gate()
        run(main, **options)

    @pytest.mark.parametrize("queue", [None, "no queue", [], object()])
    def test_a_queue_that_is_none_is_refused_and_the_loop_lives_on(self, run, options, queue):
        async def main():
            with pytest.raises(InternalError, match="awaited .*Gate object"):
                await gate.wait()
            await sleep(1)

        gate = Gate()
        gate.wait_queue = queue
        run(main, **options)

    def test_a_foreign_request_that_fails_when_asked_is_refused(self, run, options):
        class Foreign:
            @property
            def wait_queue(self):
                raise ValueError("not for you")

            def __await__(self):
                yield self

        async def main():
            with pytest.raises(InternalError, match="Foreign object"):
                await Foreign()
            await sleep(1)

        run(main, **options)


def test_unparking_a_task_of_a_loop_in_another_thread_is_refused_and_changes_nothing():
    """Also a task that is the only one, which is found by another way."""
    refused = []
    gate = Gate()

    def foreign():
        for wake_up in (unpark, unpark_all):
            try:
                wake_up(gate.wait_queue, "stolen")
            except RuntimeError as error:
                refused.append(str(error))

    async def main():
        for waiters in (1, 2):
            tasks = [spawn_task(gate.wait) for _ in range(waiters)]
            await wait_all_tasks_blocked()
            thread = threading.Thread(target=foreign)
            thread.start()
            thread.join()
            assert list(gate.wait_queue) == tasks
            unpark_all(gate.wait_queue, "given")
            assert [await task.join() for task in tasks] == ["given"] * waiters

    giambio_kernel.AsyncScheduler().start(main)
    assert len(refused) == 4
    assert all("belongs to another thread" in message for message in refused)


class TestWaitAllTasksBlocked:
    """How a test waits without sleeping."""

    def test_it_lets_all_others_run_until_they_wait(self, run):
        steps = []

        async def child():
            for n in range(200):
                await checkpoint()
                steps.append(n)
            await sleep(1)
            steps.append("slept")

        async def main():
            spawn_task(child)
            await wait_all_tasks_blocked()
            assert steps == list(range(200))
            assert current_scheduler().clock() == 0.0

        run(main)

    def test_all_who_wait_for_it_are_woken_together(self, run):
        order = []

        async def waiter(n):
            await wait_all_tasks_blocked()
            order.append(n)

        async def main():
            for n in range(3):
                spawn_task(waiter, n)
            await wait_all_tasks_blocked()
            order.append("main")

        run(main)
        assert order == ["main", 0, 1, 2]

    def test_it_can_be_cancelled(self, run):
        async def main():
            with CancelScope() as scope:
                scope.cancel()
                await wait_all_tasks_blocked()
            assert scope.cancelled_caught
            await wait_all_tasks_blocked()

        run(main)


def test_sleeping_until_a_moment(run):
    async def main():
        clock = current_scheduler().clock
        await sleep_until(7)
        assert clock() == 7
        await sleep_until(3)  # the past
        assert clock() == 7
        with pytest.raises(ValueError, match="not nan"):
            await sleep_until(float("nan"))
        with CancelScope(seconds=1) as scope:
            await sleep_until(float("inf"))
        assert scope.timed_out

    run(main)


def test_the_placeholder_outside_of_a_loop_explains_itself():
    from giambio_kernel._current import NOWHERE

    assert repr(NOWHERE) == "<outside of any loop>"
    with pytest.raises(RuntimeError, match="only inside a running loop"):
        NOWHERE.anything = 1
    with pytest.raises(AttributeError):
        NOWHERE.__anything__


def test_the_current_task_is_there_only_in_a_step():
    contexts = []

    async def main():
        import contextvars

        contexts.append(contextvars.copy_context())
        return current_task()

    giambio_kernel.AsyncScheduler().start(main)
    for function in (current_task, current_scheduler):
        with pytest.raises(RuntimeError, match="only inside a running loop"):
            contexts[0].run(function)


def test_the_signature_of_a_trap_is_that_of_a_coroutine_function():
    for function in ALL_TRAPS:
        assert "Generator" not in str(inspect.signature(function)), function
