# SPDX-License-Identifier: Apache-2.0
"""Tasks: spawning, joining, what they tell of themselves."""

from __future__ import annotations

import contextvars
import dataclasses
import gc
import threading
import warnings

import pytest

from giambio_kernel import (
    AsyncScheduler,
    CancelledError,
    CancelScope,
    InternalError,
    Sleep,
    Task,
    TaskCancelled,
    TaskState,
    VirtualClock,
    checkpoint,
    current_scheduler,
    current_task,
    reschedule,
    sleep,
    sleep_forever,
    spawn_task,
    suspend,
    wait_all_tasks_blocked,
)


async def returns(value):
    return value


async def raises(error):
    raise error


def test_tasks_run_in_the_order_of_spawning(run):
    order = []

    async def child(n):
        order.append(n)
        await checkpoint()
        order.append(n)

    async def main():
        for n in range(3):
            spawn_task(child, n)
        assert order == []  # spawning does not switch

    run(main)
    assert order == [0, 1, 2, 0, 1, 2]


def test_join_returns_the_result_to_any_number_of_joiners_also_later(run):
    async def joiner(task):
        return await task.join()

    async def main():
        task = spawn_task(returns, 7)
        joiners = [spawn_task(joiner, task) for _ in range(3)]
        assert [await each.join() for each in joiners] == [7, 7, 7]
        assert await task.join() == 7

    run(main)


def test_join_raises_the_tasks_own_exception(run):
    error = ValueError("mine")

    class Keeper(CancelScope):
        def on_task_done(self, task, raised):
            assert raised is error

    async def main():
        with Keeper() as scope:
            task = spawn_task(raises, error, scope=scope)
            for _ in range(2):
                with pytest.raises(ValueError, match="mine") as caught:
                    await task.join()
                assert caught.value is error
        assert task.exception() is error
        assert not task.cancelled()

    run(main)


def test_joining_a_cancelled_task_is_an_ordinary_error(run):
    async def main():
        task = spawn_task(sleep_forever)
        await checkpoint()
        task.cancel("not needed")
        with pytest.raises(TaskCancelled, match="'sleep_forever' was cancelled: not needed"):
            await task.join()
        assert task.cancelled()
        assert task.exception() is None

    run(main)


def test_cancelling_a_join_leaves_the_task_alone(run):
    async def main():
        task = spawn_task(sleep, 10)
        with CancelScope(seconds=1) as scope:
            await task.join()
        assert scope.timed_out
        assert not task.done()
        assert task._watchers == {}

    run(main)


def test_a_task_cannot_join_itself(run):
    async def main():
        await current_task().join()

    with pytest.raises(RuntimeError, match="'main' cannot wait for its own end"):
        run(main)


def test_a_task_of_another_loop_cannot_be_joined(run):
    async def main():
        async def inner():
            await outer.join()

        outer = current_task()
        errors = []

        def in_thread():
            try:
                AsyncScheduler().start(inner)
            except RuntimeError as error:
                errors.append(str(error))

        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        assert errors == ["task 'main' belongs to another loop than the current task"]

    run(main)


def test_the_outcome_of_a_living_task_is_not_there_yet(run):
    async def main():
        task = spawn_task(sleep, 1)
        for look in (task.result, task.exception):
            with pytest.raises(RuntimeError, match=r"has not ended yet; await task.join\(\)"):
                look()

    run(main)


def test_a_task_goes_through_its_states(run):
    async def child():
        states.append(task.state)
        await checkpoint()
        await sleep(1)

    states = []

    async def main():
        nonlocal task
        task = spawn_task(child)
        states.append(task.state)
        await checkpoint()
        states.append(task.state)
        await checkpoint()
        await checkpoint()
        states.append(task.state)
        await task.join()
        states.append(task.state)

    task = None
    run(main)
    assert states == [
        TaskState.NEW,
        TaskState.RUNNING,
        TaskState.READY,
        TaskState.WAITING,
        TaskState.DONE,
    ]


def test_a_task_says_what_it_waits_for_and_since_when(run):
    async def main():
        started = current_scheduler().clock()
        sleeper = spawn_task(sleep, 5)
        waiter = spawn_task(sleeper.join)
        await wait_all_tasks_blocked()
        assert sleeper.waiting_on == Sleep(until=started + 5)
        assert waiter.waiting_on is sleeper
        assert waiter.waiting_since == started
        assert repr(waiter).startswith("<Task 'join' waiting on <Task 'sleep'")
        assert current_task().waiting_on is None
        assert current_task().waiting_since is None

    run(main)


def test_names_can_be_given_and_changed(run):
    async def main():
        task = spawn_task(returns, 1)
        assert task.name == "returns"
        task.name = "other"
        assert spawn_task(returns, 1, name="given").name == "given"
        assert repr(task) == "<Task 'other' new>"
        await task.join()
        assert repr(task) == "<Task 'other' done>"

    run(main)


def test_a_task_knows_its_family(run):
    async def main():
        me = current_task()
        assert me.parent is None
        assert current_scheduler().main_task is me
        outside = spawn_task(returns, 1)
        assert outside.parent is me
        with CancelScope() as scope:
            inside = spawn_task(checkpoint, scope=scope)
            assert inside.parent is me
            assert inside.pool is scope
            assert inside.scope is scope
            assert scope.tasks == (inside,)
            assert scope.owner is me
            await inside.join()
            assert scope.tasks == ()
        assert outside.scheduler is current_scheduler()
        assert current_scheduler().current_task() is me

    run(main)


def test_a_coroutine_can_be_spawned_as_well(run):
    async def main():
        assert await spawn_task(returns(3)).join() == 3
        with pytest.raises(TypeError, match="was called already"):
            spawn_task(returns(3), 4)

    run(main)


def test_nothing_can_be_spawned_in_a_closed_scope(run):
    async def main():
        with CancelScope() as scope:
            pass
        with pytest.raises(RuntimeError, match="is not open, so nothing can be spawned in it"):
            spawn_task(returns, 1, scope=scope)

    run(main)


def test_a_spawned_task_inherits_a_copy_of_the_context(run):
    var = contextvars.ContextVar("var", default=0)

    async def child():
        seen = var.get()
        var.set(2)
        return seen

    async def main():
        var.set(1)
        assert await spawn_task(child).join() == 1
        assert var.get() == 1

    run(main)
    assert var.get() == 0


def test_a_coroutine_that_has_begun_cannot_be_spawned(run):
    async def main():
        coroutine = sleep(1)
        task = spawn_task(coroutine)
        await checkpoint()
        for _ in range(2):
            with pytest.raises(
                RuntimeError, match="sleep' was spawned or awaited before.*pass the fun"
            ):
                spawn_task(coroutine)
            await task.join()

    run(main)


def test_a_coroutine_that_is_spawned_twice_says_so(run):
    async def child():
        await sleep(1)

    async def main():
        coroutine = child()
        spawn_task(coroutine)
        await spawn_task(coroutine).join()

    with pytest.raises(RuntimeError, match="child' was spawned or awaited before"):
        run(main)


def test_a_task_may_share_the_context_of_the_task_that_spawns_it(run):
    var = contextvars.ContextVar("var", default=0)

    async def child():
        var.set(1)

    async def main():
        await spawn_task(child, context=current_task().context).join()
        return var.get()

    assert run(main) == 1


def test_a_task_runs_in_the_context_it_is_given(run):
    var = contextvars.ContextVar("var", default=0)
    context = contextvars.copy_context()
    context.run(var.set, 5)

    async def child():
        var.set(var.get() + 1)
        assert current_task() is not None
        await checkpoint()
        var.set(var.get() + 1)

    async def main():
        task = spawn_task(child, context=context)
        assert task.context is context
        await task.join()

    run(main)
    assert context[var] == 7


def test_a_delayed_task_starts_when_it_is_time(run):
    async def child():
        return current_scheduler().clock()

    async def main():
        start = current_scheduler().clock()
        task = spawn_task(child, delay=3)
        assert task.state is TaskState.NEW
        assert await task.join() == start + 3
        with pytest.raises(ValueError, match="delay must be at least 0"):
            spawn_task(child, delay=-1)

    run(main)


def test_a_delayed_task_that_is_cancelled_starts_at_once_and_cleans_up(run):
    events = []

    async def child():
        try:
            events.append(current_scheduler().clock())
            await checkpoint()
        finally:
            events.append("cleaned up")

    async def main():
        task = spawn_task(child, delay=3)
        await checkpoint()
        task.cancel()
        with pytest.raises(TaskCancelled):
            await task.join()

    run(main)
    assert events == [0.0, "cleaned up"]


class TestAwaitingATask:
    """``await spawn(...)``: waits for the start, never for the end."""

    def test_it_returns_the_task_at_once(self, run):
        async def main():
            spawned = spawn_task(sleep, 100)
            assert await spawned is spawned
            assert current_scheduler().clock() == 0.0
            spawned.cancel()

        run(main)

    def test_it_names_join_when_the_task_has_started(self, run):
        async def main():
            task = spawn_task(sleep, 1)
            await checkpoint()
            with pytest.raises(RuntimeError, match=r"already started.*await task\.join\(\)"):
                await task

        run(main)

    def test_it_waits_for_the_start_of_a_task_on_hold(self, run):
        events = []

        async def child():
            events.append("started")
            await sleep(1)
            events.append("ended")

        async def main():
            task = current_scheduler().spawn(child, hold=lambda task, error: False)
            waiter = spawn_task(await_it, task)
            await wait_all_tasks_blocked()
            assert events == []
            reschedule(task)
            await waiter.join()
            assert events == ["started"]

        async def await_it(task):
            assert await task is task

        run(main)
        assert events == ["started", "ended"]

    def test_giving_up_waiting_leaves_the_task_on_hold(self, run):
        async def main():
            task = current_scheduler().spawn(returns, 1, hold=lambda task, error: False)
            with CancelScope(seconds=1) as scope:
                await task
            assert scope.timed_out
            assert task.state is TaskState.NEW
            reschedule(task)
            assert await task.join() == 1

        run(main)


class TestCancellingATask:
    """`Task.cancel`: that task alone, at every checkpoint from then on."""

    def test_it_is_raised_where_the_task_waits(self, run):
        async def child():
            with pytest.raises(CancelledError, match="because") as caught:
                await sleep_forever()
            assert caught.value.reason == "because"
            raise caught.value

        async def main():
            task = spawn_task(child)
            await checkpoint()
            task.cancel("because")
            task.cancel("again")
            with pytest.raises(TaskCancelled):
                await task.join()
            task.cancel()  # too late, and no harm

        run(main)

    def test_it_is_raised_at_every_checkpoint(self, run):
        raised = []

        async def child():
            for _ in range(3):
                try:
                    await sleep_forever()
                except CancelledError as error:
                    raised.append(error)

        async def main():
            task = spawn_task(child)
            await checkpoint()
            task.cancel()
            await task.join()
            assert not task.cancelled()  # it returned all the same

        run(main)
        assert len(raised) == 3

    def test_before_the_first_step_the_task_gets_to_its_first_checkpoint(self, run):
        events = []

        async def child():
            events.append("started")
            try:
                await checkpoint()
            finally:
                events.append("cleaned up")

        async def main():
            task = spawn_task(child)
            task.cancel()
            with pytest.raises(TaskCancelled):
                await task.join()

        run(main)
        assert events == ["started", "cleaned up"]

    def test_scopes_inside_of_the_task_are_cancelled_with_it(self, run):
        async def child():
            with CancelScope() as inner:
                try:
                    await sleep_forever()
                finally:
                    assert not inner.cancel_called

        async def main():
            task = spawn_task(child)
            await checkpoint()
            task.cancel()
            with pytest.raises(TaskCancelled):
                await task.join()

        run(main)

    def test_a_shield_inside_of_the_task_holds(self, run):
        async def child():
            with CancelScope(shield=True):
                await sleep(1)
            events.append("shielded part done")
            await checkpoint()

        events = []

        async def main():
            task = spawn_task(child)
            await checkpoint()
            task.cancel()
            with pytest.raises(TaskCancelled):
                await task.join()

        run(main)
        assert events == ["shielded part done"]

    def test_its_siblings_go_on(self, run):
        async def main():
            with CancelScope() as scope:
                one = spawn_task(sleep, 1, scope=scope)
                two = spawn_task(sleep, 1, scope=scope)
                await checkpoint()
                one.cancel()
                await two.join()
                assert one.cancelled()
                assert not two.cancelled()

        run(main)

    def test_a_stray_cancelled_error_is_a_clear_error(self, run):
        async def main():
            raise CancelledError("by hand")

        with pytest.raises(InternalError, match="nothing had cancelled it") as caught:
            run(main)
        assert isinstance(caught.value.__cause__, CancelledError)


def test_a_task_that_ends_inside_of_a_scope_is_told_so(run):
    async def child():
        CancelScope().__enter__()

    async def main():
        spawn_task(child)

    with pytest.raises(RuntimeError, match="ended inside of <CancelScope"):
        run(main)


def test_the_stack_of_a_task_goes_through_coroutines_and_async_generators(run):
    async def generator():
        await inner()
        yield

    async def inner():
        await sleep(1)

    async def outer():
        async for _ in generator():
            pass

    async def main():
        task = spawn_task(outer)
        await wait_all_tasks_blocked()
        names = [frame.f_code.co_name for frame in task.stack()]
        assert names == ["outer", "generator", "inner", "sleep"]
        assert current_task().stack() == []
        await task.join()
        assert task.stack() == []

    run(main)


def test_done_callbacks_are_called_once_and_can_be_removed(run):
    called = []

    async def main():
        task = spawn_task(returns, 1)
        task.add_done_callback(called.append)
        task.add_done_callback(called.append)
        never = lambda task: called.append("never")
        task.add_done_callback(never)
        task.remove_done_callback(never)
        task.remove_done_callback(never)
        await task.join()
        assert called == [task]
        task.add_done_callback(called.append)
        assert called == [task, task]

    run(main)


def test_all_living_tasks_are_listed_parents_first(run):
    async def child(n):
        with CancelScope() as scope:
            if n:
                await spawn_task(child, n - 1, scope=scope, name=f"child {n - 1}").join()
            await sleep(1)

    async def main():
        spawn_task(child, 2, name="child 2")
        await wait_all_tasks_blocked()
        names = [task.name for task in current_scheduler().tasks()]
        assert names == ["main", "child 2", "child 1", "child 0"]

    run(main)


def test_a_value_and_an_error_are_passed_by_reschedule(run):
    async def waiter():
        first = await suspend(lambda task, error: None, "something")
        with pytest.raises(KeyError):
            await suspend(lambda task, error: None, "something")
        return first

    async def main():
        task = spawn_task(waiter)
        with pytest.raises(RuntimeError, match="does not wait, so it cannot be rescheduled"):
            reschedule(task)
        await checkpoint()
        reschedule(task, "value")
        with pytest.raises(RuntimeError, match="does not wait"):
            reschedule(task)
        await checkpoint()
        reschedule(task, error=KeyError())
        assert await task.join() == "value"

    run(main)


def test_every_task_is_run_in_its_own_context_in_every_step(run):
    var = contextvars.ContextVar("var")

    async def child(n):
        var.set(n)
        for _ in range(3):
            await checkpoint()
            assert var.get() == n

    async def main():
        for n in range(3):
            spawn_task(child, n)

    run(main)


def test_a_task_cannot_be_awaited_by_hand_made_tasks():
    task = Task()
    with pytest.raises(AttributeError):
        task.done()


def test_an_unstarted_coroutine_of_a_refused_spawn_does_not_warn(run):
    async def main():
        with CancelScope() as scope:
            pass
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(RuntimeError):
                spawn_task(returns(1), scope=scope)
            gc.collect()

    run(main)


def test_virtual_time_is_told_to_tasks():
    async def main():
        await sleep(86400 * 365)
        return current_scheduler().clock()

    assert AsyncScheduler(clock=VirtualClock()).start(main) == 86400 * 365


def test_an_error_that_refuses_to_be_changed_is_raised_all_the_same(run):
    @dataclasses.dataclass(frozen=True)
    class Frozen(Exception):
        number: int

    async def main():
        raise Frozen(1)

    with pytest.raises(Frozen) as caught:
        run(main)
    assert caught.value.number == 1
    assert not hasattr(caught.value, "__notes__")
