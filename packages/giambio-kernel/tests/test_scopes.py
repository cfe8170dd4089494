# SPDX-License-Identifier: Apache-2.0
"""Cancel scopes: who is cancelled, when it is delivered, who catches it."""

from __future__ import annotations

import contextlib

import pytest

from giambio_kernel import (
    AsyncScheduler,
    CancelledError,
    CancelScope,
    TimedScope,
    VirtualClock,
    checkpoint,
    checkpoint_due,
    checkpoint_if_cancelled,
    current_effective_deadline,
    current_scheduler,
    current_task,
    reschedule,
    shielded_checkpoint,
    sleep,
    sleep_forever,
    sleep_until,
    spawn_task,
    suspend,
    wait_all_tasks_blocked,
)

INFINITY = float("inf")


async def cancelled_after(scope, seconds):
    await sleep(seconds)
    scope.cancel()


def test_a_cancelled_scope_is_left_silently_and_says_so(run):
    async def main():
        with CancelScope() as scope:
            scope.cancel("why not")
            assert scope.cancel_called
            assert not scope.cancelled_caught
            await sleep_forever()
        assert scope.cancelled_caught
        assert scope.reason == "why not"
        assert not scope.timed_out
        await checkpoint()  # outside, all is well

    run(main)


def test_a_scope_that_was_not_cancelled_says_so(run):
    async def main():
        with CancelScope() as scope:
            await checkpoint()
        assert not scope.cancel_called
        assert not scope.cancelled_caught
        assert not scope.timed_out
        assert scope.reason is None

    run(main)


def test_a_block_that_ends_without_a_checkpoint_was_not_cut_short(run):
    async def main():
        with CancelScope() as scope:
            scope.cancel()
        assert scope.cancel_called
        assert not scope.cancelled_caught

    run(main)


def test_every_checkpoint_raises_until_the_scope_is_left(run):
    async def main():
        with CancelScope() as scope:
            scope.cancel()
            for checkpoint_of_some_kind in (
                checkpoint,
                checkpoint_if_cancelled,
                sleep_forever,
                lambda: sleep(0),
                lambda: sleep(1),
                lambda: sleep_until(0),
                lambda: sleep_until(9e9),
                lambda: suspend(lambda task, error: None),
            ):
                with pytest.raises(CancelledError):
                    await checkpoint_of_some_kind()
            await shielded_checkpoint()  # this one is for those who must not be cancelled
        assert not scope.cancelled_caught

    run(main)


def test_a_cancellation_that_a_wait_refuses_counts_only_when_it_is_raised(run):
    async def main():
        with CancelScope() as scope:
            task = current_task()
            current_scheduler().spawn(cancel, scope, task)
            await suspend(lambda task, error: False)
            assert scope.deliveries == 0
            with pytest.raises(CancelledError):
                await checkpoint()
            assert scope.deliveries == 1

    async def cancel(scope, task):
        scope.cancel()
        reschedule(task)

    run(main)


def test_a_task_that_ignores_its_cancellation_starves_nobody(run):
    events = []

    async def stubborn():
        with CancelScope() as scope:
            scope.cancel()
            while len(events) < 3:
                with contextlib.suppress(CancelledError):
                    await checkpoint_if_cancelled()

    async def other():
        for n in range(3):
            events.append(n)
            await checkpoint()

    async def main():
        spawn_task(stubborn)
        spawn_task(other)

    run(main)
    assert events == [0, 1, 2]


def test_a_cancellation_reaches_plain_awaited_functions(run):
    """Cancelling works "100% of the time", also without spawning."""

    async def outer():
        await inner()

    async def inner():
        await sleep_forever()

    async def main():
        with CancelScope() as scope:
            spawn_task(cancelled_after, scope, 1)
            await outer()
        assert scope.cancelled_caught

    run(main)


def test_a_cancellation_that_comes_while_the_task_is_ready_is_seen_at_this_checkpoint(run):
    async def main():
        with CancelScope() as scope:
            spawn_task(cancelled_after, scope, 0)
            await checkpoint()
            await checkpoint()
            raise AssertionError("not reached")
        assert scope.cancelled_caught

    run(main)


def test_what_was_granted_before_the_cancellation_is_returned(run):
    """Happened or cancelled, never both, also when both come in the same tick."""

    async def waiter(scope):
        with scope:
            granted = await suspend(lambda task, error: events.append("aborted"))
            events.append(granted)
            await checkpoint()
            events.append("not reached")

    events = []

    async def main():
        scope = CancelScope()
        task = spawn_task(waiter, scope)
        await checkpoint()
        reschedule(task, "granted")
        scope.cancel()
        await task.join()
        assert scope.cancelled_caught

    run(main)
    assert events == ["granted"]


def test_what_was_cancelled_before_it_was_granted_is_not_granted(run):
    async def waiter(scope):
        with scope:
            await suspend(lambda task, error: None)

    async def main():
        scope = CancelScope()
        task = spawn_task(waiter, scope)
        await checkpoint()
        scope.cancel()
        with pytest.raises(RuntimeError, match="does not wait"):
            reschedule(task, "granted")
        await task.join()

    run(main)


def test_a_refused_abort_keeps_the_task_waiting(run):
    async def waiter(scope):
        with scope:
            assert await suspend(lambda task, error: False) == "granted"
            with pytest.raises(CancelledError):
                await checkpoint()

    async def main():
        scope = CancelScope()
        task = spawn_task(waiter, scope)
        await checkpoint()
        scope.cancel()
        await wait_all_tasks_blocked()
        reschedule(task, "granted")
        await task.join()

    run(main)


def test_the_abort_gets_the_error_and_finds_what_is_waited_on(run):
    calls = []

    def abort(task, error):
        calls.append((task.name, task.waiting_on, error.reason))

    async def main():
        with CancelScope() as scope:
            spawn_task(cancelled_after, scope, 1)
            await suspend(abort, "a thing")

    run(main)
    assert calls == [("main", "a thing", None)]


class TestNesting:
    """Scopes inside of scopes."""

    def test_an_inner_scope_is_cancelled_with_the_outer_one_which_catches(self, run):
        async def main():
            with CancelScope() as outer:
                with CancelScope() as inner:
                    outer.cancel()
                    await sleep_forever()
                raise AssertionError("not reached")
            assert outer.cancelled_caught
            assert not inner.cancelled_caught

        run(main)

    def test_an_outer_scope_goes_on_when_the_inner_one_is_cancelled(self, run):
        async def main():
            with CancelScope() as outer:
                with CancelScope() as inner:
                    inner.cancel()
                    await sleep_forever()
                await checkpoint()
            assert inner.cancelled_caught
            assert not outer.cancel_called

        run(main)

    def test_when_both_are_cancelled_the_outer_one_catches(self, run):
        async def main():
            with CancelScope() as outer, CancelScope() as inner:
                inner.cancel("inner")
                outer.cancel("outer")
                with pytest.raises(CancelledError) as caught:
                    await checkpoint()
                assert caught.value.scope is outer
                assert caught.value.reason == "outer"
                raise caught.value
            assert outer.cancelled_caught
            assert not inner.cancelled_caught

        run(main)

    def test_an_outer_scope_cancelled_while_the_inner_one_unwinds_catches(self, run):
        async def main():
            with CancelScope() as outer:
                with CancelScope() as inner:
                    inner.cancel()
                    try:
                        await sleep_forever()
                    finally:
                        outer.cancel()
                raise AssertionError("not reached")
            assert outer.cancelled_caught

        run(main)

    def test_a_scope_inside_of_a_cancelled_one_begins_cancelled(self, run):
        async def main():
            with CancelScope() as outer:
                outer.cancel()
                with CancelScope():
                    await checkpoint()
                raise AssertionError("not reached")
            assert outer.cancelled_caught

        run(main)

    def test_tasks_of_a_scope_are_cancelled_with_it_at_any_depth(self, run):
        ended = []

        async def child(n):
            with CancelScope() as scope:
                if n:
                    spawn_task(child, n - 1, scope=scope)
                try:
                    await sleep_forever()
                finally:
                    ended.append(n)
                    while scope.tasks:
                        await shielded_checkpoint()

        async def main():
            with CancelScope() as scope:
                spawn_task(child, 3, scope=scope)
                await wait_all_tasks_blocked()
                scope.cancel()
                while scope.tasks:
                    await shielded_checkpoint()

        run(main)
        assert sorted(ended) == [0, 1, 2, 3]

    def test_deep_nesting_does_not_exhaust_the_stack(self, run):
        async def main():
            with contextlib.ExitStack() as stack:
                outermost = stack.enter_context(CancelScope())
                for _ in range(5000):
                    stack.enter_context(CancelScope())
                outermost.cancel()
                await sleep_forever()
            assert outermost.cancelled_caught

        run(main)


class TestShields:
    """Scopes that cancellation from outside does not enter."""

    def test_a_shielded_scope_is_not_cancelled_with_its_parent(self, run):
        async def main():
            with CancelScope() as outer:
                outer.cancel()
                with CancelScope(shield=True):
                    await sleep(1)
                with pytest.raises(CancelledError):
                    await checkpoint()

        run(main)

    def test_a_shielded_scope_can_be_cancelled_itself(self, run):
        async def main():
            with CancelScope() as outer:
                outer.cancel()
                with CancelScope(shield=True) as inner:
                    inner.cancel()
                    await sleep_forever()
                assert inner.cancelled_caught
                with pytest.raises(CancelledError):
                    await checkpoint()

        run(main)

    def test_a_task_in_a_shielded_scope_of_another_is_shielded(self, run):
        async def main():
            with CancelScope() as outer, CancelScope(shield=True) as inner:
                task = spawn_task(sleep, 1, scope=inner)
                outer.cancel()
                await task.join()
                assert not task.cancelled()

        run(main)

    def test_raising_the_shield_stops_further_delivery(self, run):
        async def main():
            with CancelScope() as outer, CancelScope() as inner:
                outer.cancel()
                with pytest.raises(CancelledError):
                    await checkpoint()
                inner.shield = True
                await sleep(1)
                assert inner.shield

        run(main)

    def test_lowering_the_shield_lets_the_cancellation_in(self, run):
        async def lower(scope):
            await sleep(1)
            scope.shield = False

        async def main():
            with CancelScope() as outer:
                outer.cancel()
                with CancelScope(shield=True) as inner, CancelScope():
                    spawn_task(lower, inner)
                    await sleep_forever()
            assert outer.cancelled_caught
            assert current_scheduler().clock() == 1

        run(main)


class TestDeadlines:
    """Scopes that cancel themselves when it is time."""

    def test_seconds_count_from_entry(self, run):
        async def main():
            scope = CancelScope(seconds=2)
            assert scope.deadline == INFINITY
            assert scope.seconds == 2
            await sleep(5)
            with scope:
                assert scope.deadline == 7
                await sleep_forever()
            assert scope.timed_out
            assert scope.cancelled_caught
            assert scope.reason == "the deadline has passed"
            assert current_scheduler().clock() == 7

        run(main)

    def test_of_seconds_and_a_deadline_the_earlier_counts(self, run):
        async def main():
            with CancelScope(seconds=5, deadline=2):
                await sleep_forever()
            assert current_scheduler().clock() == 2
            with CancelScope(seconds=5, deadline=100):
                await sleep_forever()
            assert current_scheduler().clock() == 7

        run(main)

    @pytest.mark.parametrize("scope", [lambda: CancelScope(seconds=0), lambda: TimedScope(0)])
    def test_zero_seconds_cancel_at_the_first_checkpoint(self, run, scope):
        async def main():
            with scope() as zero:
                reached.append(1)
                await checkpoint()
                reached.append(2)
            assert zero.timed_out

        reached = []
        run(main)
        assert reached == [1]

    def test_a_deadline_in_the_past_cancels_at_the_first_checkpoint(self, run):
        async def main():
            await sleep(5)
            with CancelScope(deadline=3) as scope:
                await checkpoint()
            assert scope.timed_out

        run(main)

    @pytest.mark.parametrize("wrong", [-1, float("nan")])
    def test_seconds_must_be_a_time(self, wrong):
        for kind in (lambda: CancelScope(seconds=wrong), lambda: TimedScope(wrong)):
            with pytest.raises(ValueError, match="seconds must be at least 0"):
                kind()

    def test_a_deadline_must_be_a_number(self):
        with pytest.raises(ValueError, match="not nan"):
            CancelScope(deadline=float("nan"))
        with pytest.raises(ValueError, match="not nan"):
            CancelScope().deadline = float("nan")
        with pytest.raises(
            TypeError, match="deadline must be a number, not None; math.inf sets no"
        ):
            CancelScope(deadline=None)
        with pytest.raises(TypeError, match="deadline must be a number, not '3'"):
            CancelScope().deadline = "3"

    def test_it_interrupts_a_task_that_never_waits(self, run):
        """A deadline is noticed although the task is always ready."""
        clock = VirtualClock(autojump=False)

        async def main():
            with CancelScope(seconds=5) as scope:
                for _ in range(1000):
                    await checkpoint()
                    clock.advance(1)
            assert scope.timed_out

        run(main, clock=clock)

    def test_it_interrupts_operations_that_finish_at_once(self, run):
        clock = VirtualClock(autojump=False)

        async def main():
            with CancelScope(seconds=5) as scope:
                while True:
                    if checkpoint_due():
                        await checkpoint()
                    clock.advance(0.1)
            assert scope.timed_out

        run(main, clock=clock)

    def test_a_shorter_deadline_inside_and_outside(self, run):
        async def main():
            clock = current_scheduler().clock
            with CancelScope(seconds=10) as outer:
                with CancelScope(seconds=3) as inner:
                    await sleep_forever()
                assert inner.timed_out
                assert clock() == 3
                with CancelScope(seconds=100) as inner:
                    await sleep_forever()
                raise AssertionError("not reached")
            assert outer.timed_out
            assert not inner.timed_out
            assert clock() == 10

        run(main)

    def test_when_both_expire_at_once_the_outer_one_catches(self, run):
        async def main():
            with CancelScope(seconds=5) as outer:
                with CancelScope(seconds=5) as inner:
                    await sleep_forever()
                raise AssertionError("not reached")
            assert outer.timed_out
            assert inner.timed_out
            assert not inner.cancelled_caught

        run(main)

    @pytest.mark.parametrize(("moved_to", "ends_at"), [(3, 3), (20, 20), (0.5, 1), (-INFINITY, 1)])
    def test_it_can_be_moved_by_another_task_while_the_block_waits(self, run, moved_to, ends_at):
        async def mover(scope):
            await sleep(1)
            scope.deadline = moved_to

        async def main():
            with CancelScope(seconds=10) as scope:
                spawn_task(mover, scope)
                await sleep_forever()
            assert scope.timed_out
            assert current_scheduler().clock() == ends_at

        run(main)

    def test_it_can_be_moved_before_entry(self, run):
        async def main():
            scope = CancelScope(seconds=10)
            scope.deadline = 4
            with scope:
                await sleep_forever()
            assert current_scheduler().clock() == 4

        run(main)

    def test_it_can_be_moved_by_the_task_itself_and_taken_away(self, run):
        async def main():
            with CancelScope(seconds=10) as scope:
                await sleep(9)
                scope.deadline += 10
                await sleep(9)
                scope.deadline = INFINITY
                await sleep(100)
            assert not scope.timed_out

        run(main)

    def test_moving_an_outer_deadline_from_inside_of_an_inner_scope(self, run):
        async def main():
            with CancelScope(seconds=10) as outer:
                with CancelScope(seconds=50) as inner:
                    outer.deadline = 20
                    await sleep(15)
                await sleep_forever()
            assert outer.timed_out
            assert not inner.timed_out
            assert current_scheduler().clock() == 20

        run(main)

    def test_moving_it_after_the_cancellation_changes_nothing(self, run):
        async def main():
            with CancelScope(seconds=1) as scope:
                try:
                    await sleep_forever()
                finally:
                    scope.deadline = 100
            assert scope.timed_out
            assert current_scheduler().clock() == 1

        run(main)

    def test_it_fires_while_the_task_is_shielded_and_is_delivered_after(self, run):
        async def main():
            with CancelScope(seconds=1) as scope:
                with CancelScope(shield=True):
                    await sleep(5)
                assert scope.timed_out
                await checkpoint()
                raise AssertionError("not reached")
            assert current_scheduler().clock() == 5

        run(main)

    def test_it_counts_for_the_tasks_of_the_scope(self, run):
        async def main():
            with CancelScope(seconds=1) as scope:
                task = spawn_task(sleep_forever, scope=scope)
                while scope.tasks:
                    with CancelScope(shield=True):
                        await sleep(0.25)
            assert task.cancelled()
            assert current_scheduler().clock() == 1.25

        run(main)

    def test_thousands_may_expire_in_one_tick(self, run):
        expired = []

        async def child(n):
            with CancelScope(seconds=5 + n % 3):
                await sleep_forever()
            expired.append(n % 3)

        async def main():
            for n in range(3000):
                spawn_task(child, n)

        run(main)
        assert expired == [0] * 1000 + [1] * 1000 + [2] * 1000

    def test_a_timeout_in_a_loop_costs_no_timer_each_time(self, run):
        async def main():
            timers = current_scheduler()._timers
            for _ in range(10000):
                with CancelScope(seconds=1000):
                    await checkpoint()
            assert len(timers._heap) < 200

        run(main)

    def test_the_effective_deadline_is_that_of_the_scopes_around(self, run):
        async def child():
            return current_effective_deadline()

        async def main():
            assert current_effective_deadline() == INFINITY
            with CancelScope(deadline=10) as outer:
                with CancelScope(deadline=20):
                    assert current_effective_deadline() == 10
                    with CancelScope(deadline=30, shield=True):
                        assert current_effective_deadline() == 30
                assert await spawn_task(child, scope=outer).join() == 10
                outer.cancel()
                assert current_effective_deadline() == -INFINITY

        run(main)


class TestBeforeEntry:
    """A scope may be made and cancelled in one task and entered in another."""

    def test_cancelling_before_entry_counts_at_the_first_checkpoint(self, run):
        async def child(scope):
            with scope:
                reached.append(1)
                await checkpoint()
                reached.append(2)

        reached = []

        async def main():
            scope = CancelScope()
            scope.cancel()
            await spawn_task(child, scope).join()
            assert scope.cancelled_caught

        run(main)
        assert reached == [1]

    def test_the_task_that_enters_it_is_the_one_that_is_cancelled(self, run):
        async def child(scope):
            with scope:
                await sleep_forever()

        async def main():
            scope = CancelScope()
            task = spawn_task(child, scope)
            await checkpoint()
            assert scope.owner is task
            scope.cancel()
            await task.join()
            assert scope.owner is None

        run(main)

    def test_its_deadline_may_be_set_from_outside(self, run):
        async def child(scope):
            with scope:
                await sleep_forever()

        async def main():
            scope = CancelScope()
            task = spawn_task(child, scope)
            await wait_all_tasks_blocked()
            scope.deadline = 4
            await task.join()
            assert current_scheduler().clock() == 4

        run(main)


class TestMisuse:
    """What is clearly wrong gives a clear error and does not harm the loop."""

    def test_entering_twice(self, run):
        async def main():
            with CancelScope() as scope:
                with pytest.raises(RuntimeError, match="entered before: .* used only once"):
                    scope.__enter__()
            with pytest.raises(RuntimeError, match="entered before"):
                scope.__enter__()

        run(main)

    def test_leaving_one_that_was_not_entered_or_was_left(self, run):
        async def main():
            with pytest.raises(RuntimeError, match="cannot be left: it was never entered"):
                CancelScope().__exit__(None, None, None)
            with CancelScope() as scope:
                pass
            with pytest.raises(RuntimeError, match="cannot be left: it was left before"):
                scope.__exit__(None, None, None)

        run(main)

    def test_leaving_an_outer_one_before_an_inner_one(self, run):
        async def main():
            outer = CancelScope()
            inner = CancelScope(seconds=1)
            outer.__enter__()
            inner.__enter__()
            with pytest.raises(RuntimeError, match="was left while <CancelScope open.*reverse"):
                outer.__exit__(None, None, None)
            assert current_task().scope is not inner
            await sleep(5)  # the inner one, and its deadline, are gone, too

        run(main)

    def test_leaving_it_in_another_task_names_the_generator(self, run):
        async def generator():
            with CancelScope(seconds=100):
                yield 1

        async def consume(source):
            async for _ in source:
                pass

        async def main():
            source = generator()
            await source.__anext__()
            with pytest.raises(
                RuntimeError, match="left in task 'consume', but.*'main'.*generator"
            ):
                await spawn_and_join(consume, source)
            await sleep(200)  # main is no longer in that scope

        class Keeper(CancelScope):
            def on_task_done(self, task, error):
                pass

        async def spawn_and_join(fn, *args):
            with Keeper() as scope:
                await spawn_task(fn, *args, scope=scope).join()

        run(main)

    def test_leaving_a_scope_under_others_in_another_task_keeps_the_others(self, run):
        async def leaver(scope):
            scope.__exit__(None, None, None)

        class Keeper(CancelScope):
            def on_task_done(self, task, error):
                assert isinstance(error, RuntimeError)

        async def main():
            with Keeper() as keeper:
                scope = CancelScope()
                scope.__enter__()
                with CancelScope(seconds=5) as inner:
                    spawn_task(leaver, scope, scope=keeper)
                    await sleep_forever()
                assert inner.timed_out
                assert current_task().scope is keeper

        run(main)


def test_a_group_loses_its_cancellations_and_keeps_its_errors(run):
    async def cancelled():
        try:
            await checkpoint()
        except CancelledError as error:
            return error
        raise AssertionError("not reached")

    async def main():
        with CancelScope() as scope:
            scope.cancel()
            raise BaseExceptionGroup("both", [await cancelled(), await cancelled()])
        assert scope.cancelled_caught
        with pytest.raises(ExceptionGroup) as caught, CancelScope() as scope:
            scope.cancel()
            raise BaseExceptionGroup("both", [await cancelled(), ValueError("kept")])
        assert [str(error) for error in caught.value.exceptions] == ["kept"]
        with pytest.raises(ExceptionGroup), CancelScope() as scope:
            scope.cancel()
            raise ExceptionGroup("none", [ValueError("kept")])

    run(main)


def test_an_error_passes_through_a_cancelled_scope(run):
    async def main():
        with pytest.raises(KeyError), CancelScope() as scope:
            scope.cancel()
            raise KeyError
        assert not scope.cancelled_caught

    run(main)


def test_repr_says_what_matters(run):
    async def main():
        assert repr(CancelScope(seconds=1.5, shield=True)) == (
            "<CancelScope new, seconds=1.5, shielded>"
        )
        with CancelScope(deadline=3) as scope:
            assert repr(scope) == "<CancelScope open in 'main', deadline=3>"
            scope.cancel("because")
        assert repr(scope) == "<CancelScope closed, deadline=3, cancelled: because>"
        with CancelScope(seconds=0) as scope:
            pass
        assert "timed out" in repr(scope)

    run(main)


def test_a_subclass_is_told_when_it_caught_its_cancellation(run):
    class Failing(CancelScope):
        def on_caught(self, error):
            raise KeyError("too late") from error

    async def main():
        with pytest.raises(KeyError) as caught, Failing(seconds=1):
            await sleep_forever()
        assert isinstance(caught.value.__cause__, CancelledError)

    run(main)


def test_the_real_clock_works_as_well():
    async def main():
        start = current_scheduler().clock()
        with CancelScope(seconds=0.005) as scope:
            await sleep_forever()
        assert scope.timed_out
        assert current_scheduler().clock() - start >= 0.005

    AsyncScheduler().start(main)


@pytest.mark.parametrize("watchful", [True, False])
def test_a_scope_that_is_not_watchful_hears_of_failures_and_of_the_last_task_only(run, watchful):
    heard = []

    class Listening(CancelScope):
        def on_task_done(self, task, error):
            heard.append((task.name, error and str(error)))

    Listening.watchful = watchful

    async def fail():
        raise ValueError("failed")

    async def main():
        with Listening() as scope:
            for name, fn in [("a", checkpoint), ("b", fail), ("c", checkpoint), ("d", checkpoint)]:
                spawn_task(fn, scope=scope, name=name)
            await wait_all_tasks_blocked()

    run(main)
    assert heard == [
        ("b", "failed"),
        *([("a", None), ("c", None)] if watchful else []),
        ("d", None),
    ]
