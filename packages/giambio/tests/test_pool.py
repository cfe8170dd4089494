# SPDX-License-Identifier: Apache-2.0
"""Pools: who is waited for, what is raised, who is cancelled."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import traceback

import pytest

import giambio
from giambio import CancelledError, TaskCancelled, TaskState, siblings
from giambio.lowlevel import CancelScope, suspend
from giambio.testing import cancel_sweep, wait_all_tasks_blocked


async def sleeper(seconds, result=None):
    await giambio.sleep(seconds)
    return result


async def failing(error, seconds=0):
    await giambio.sleep(seconds)
    raise error


async def stubborn(error, events=None):
    """Raises when it is cancelled."""
    try:
        await giambio.sleep_forever()
    finally:
        raise error


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    number: int = 1


class Unchangeable(Exception):
    def __setattr__(self, name, value):
        raise NotImplementedError(name)

    add_note = __setattr__


class Unprintable(Exception):
    @property
    def __notes__(self):
        raise NotImplementedError


class TestTheBlock:
    """It ends when all tasks have ended."""

    def test_it_waits_for_all_tasks(self, run):
        ended = []

        async def child(n):
            await giambio.sleep(n)
            ended.append(n)

        async def main():
            async with giambio.create_pool() as pool:
                for n in (3, 1, 2):
                    pool.spawn(child, n)
            assert ended == [1, 2, 3]
            assert giambio.clock() == 3

        run(main)

    def test_spawn_passes_arguments_and_returns_the_task_without_switching(self, run):
        async def child(a, *, b):
            return a, b

        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn(child, 1, b=2)
                assert task.state is TaskState.NEW
                assert pool.tasks == (task,)
                assert task.pool is pool
            assert task.result() == (1, 2)

        run(main)

    def test_a_coroutine_can_be_spawned_as_well(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn(sleeper(1, "x"))
            assert task.result() == "x"

        run(main)

    def test_tasks_may_spawn_siblings_while_the_block_waits(self, run):
        events = []

        async def child(n):
            await giambio.sleep(1)
            if n:
                pool.spawn(child, n - 1)
            events.append(n)

        pool = None

        async def main():
            nonlocal pool
            async with giambio.create_pool() as pool:
                pool.spawn(child, 3)

        run(main)
        assert events == [3, 2, 1, 0]

    def test_its_end_is_a_checkpoint_also_when_it_is_empty(self, run):
        from giambio.testing import assert_checkpoints, assert_no_checkpoints

        async def main():
            pool = giambio.create_pool()
            with assert_no_checkpoints():
                await pool.__aenter__()
            with assert_checkpoints():
                await pool.__aexit__(None, None, None)

        run(main)

    def test_a_task_spawned_at_the_very_last_moment_is_waited_for(self, run):
        """Between the end of the last task and the end of the block, others run."""
        events = []

        async def late():
            await giambio.sleep(1)
            events.append("late")

        async def child():
            pass

        async def outsider(pool, task):
            await task.join()
            pool.spawn(late)

        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn(child)
                giambio.spawn(outsider, pool, task)
            assert events == ["late"]

        run(main)

    def test_nothing_can_be_spawned_before_or_after(self, run):
        async def main():
            pool = giambio.create_pool()
            with pytest.raises(RuntimeError, match="is not open: spawn inside of its 'async with'"):
                pool.spawn(sleeper, 1)
            async with pool:
                assert pool.accepts_tasks
            assert not pool.accepts_tasks
            for spawn in (pool.spawn, pool.service):
                with pytest.raises(RuntimeError, match="is not open"):
                    spawn(sleeper, 1)
            with pytest.raises(RuntimeError, match="is not open"):
                pool.spawn_after(1, sleeper, 1)
            with pytest.raises(RuntimeError, match="is not open"):
                pool.spawn(sleeper(1))
            gc.collect()  # an un-awaited coroutine would warn

        run(main)

    def test_it_needs_async_with(self, run):
        async def main():
            with pytest.raises(RuntimeError, match="entered with 'async with'"):
                with giambio.create_pool():
                    pass

        run(main)

    def test_it_is_used_once(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                pass
            with pytest.raises(RuntimeError, match="used only once"):
                async with pool:
                    pass

        run(main)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [(3, "expected an async function"), (print, "is not an async function")],
    )
    def test_what_is_no_async_function_is_refused(self, run, wrong, message):
        async def main():
            async with giambio.create_pool() as pool:
                for spawn in (pool.spawn, pool.service, lambda fn: pool.spawn_after(1, fn)):
                    with pytest.raises(TypeError, match=message):
                        spawn(wrong)
                with pytest.raises(TypeError, match="was called already"):
                    pool.spawn(sleeper(1), 2)

        run(main)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"errors": "last"}, "errors must be 'first' or 'group'"),
            ({"limit": 0}, "limit must be a whole number from 1"),
            ({"limit": 1.5}, "limit must be a whole number from 1"),
            ({"limit": float("nan")}, "limit must be a whole number from 1"),
        ],
    )
    def test_bad_options_are_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            giambio.create_pool(**options)

    def test_a_delayed_task_starts_later_and_is_waited_for(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn_after(5, sleeper, 1, result="x")
                with pytest.raises(ValueError, match="seconds must be at least 0"):
                    pool.spawn_after(-1, sleeper, 1)
            assert task.result() == "x"
            assert giambio.clock() == 6

        run(main)


class TestErrors:
    """The first one leaves the block as itself, when all have ended."""

    def test_the_error_of_a_task_is_raised_itself(self, run):
        error = ValueError("mine")

        async def main():
            with pytest.raises(ValueError, match="mine") as caught:
                async with giambio.create_pool() as pool:
                    pool.spawn(failing, error)
            assert caught.value is error
            assert siblings(error) == ()
            assert error.__notes__ == ["in task: main > pool > failing"]
            assert error.__cause__ is None
            assert error.__context__ is None

        run(main)

    def test_the_error_of_the_body_is_raised_itself(self, run):
        error = ValueError("mine")

        async def main():
            with pytest.raises(ValueError, match="mine") as caught:
                async with giambio.create_pool() as pool:
                    task = pool.spawn(sleeper, 100)
                    raise error
            assert caught.value is error
            assert task.cancelled()
            assert giambio.clock() == 0

        run(main)

    def test_the_first_error_cancels_the_others_and_the_body(self, run):
        async def main():
            with pytest.raises(ValueError, match="first"):
                async with giambio.create_pool() as pool:
                    task = pool.spawn(sleeper, 100)
                    pool.spawn(failing, ValueError("first"), 1)
                    try:
                        await giambio.sleep(50)
                    except CancelledError as cancelled:
                        assert cancelled.reason == "task 'failing' failed with ValueError"
                        raise
            assert task.cancelled()
            assert giambio.clock() == 1

        run(main)

    def test_what_has_failed_so_far_can_be_seen_from_inside(self, run):
        error = ValueError("mine")

        async def main():
            with pytest.raises(ValueError, match="mine"):
                async with giambio.create_pool() as pool:
                    assert pool.errors == ()
                    pool.spawn(failing, error)
                    try:
                        await giambio.sleep(50)
                    finally:
                        assert pool.errors == (error,)
            assert pool.errors == ()
            with giambio.skip_after(1) as scope:
                assert scope.errors == ()

        run(main)

    def test_errors_of_stopping_tasks_are_siblings_and_are_printed(self, run):
        first, second, third = ValueError("first"), KeyError("second"), OSError("third")

        async def main():
            with pytest.raises(ValueError, match="first") as caught:
                async with giambio.create_pool() as pool:
                    pool.spawn(stubborn, second)
                    pool.spawn(stubborn, third)
                    pool.spawn(failing, first, 1)
            assert siblings(caught.value) == (second, third)
            printed = "".join(traceback.format_exception(caught.value))
            assert "KeyError: 'second'" in printed
            assert "OSError: third" in printed

        run(main)

    def test_a_flood_of_siblings_does_not_bury_the_error(self, run):
        async def main():
            with pytest.raises(ValueError, match="first") as caught:
                async with giambio.create_pool() as pool:
                    for n in range(1000):
                        pool.spawn(stubborn, KeyError(n))
                    pool.spawn(failing, ValueError("first"), 1)
            assert len(siblings(caught.value)) == 1000
            assert len(caught.value.__notes__) < 10
            assert caught.value.__notes__[-1].startswith("and 995 more errors")

        run(main)

    @pytest.mark.parametrize("number", [1, 2, 5])
    def test_the_shape_does_not_depend_on_how_many_fail(self, run, number):
        async def fail_at_once(n):
            raise ValueError(n)

        async def main():
            try:
                async with giambio.create_pool() as pool:
                    for n in range(number):
                        pool.spawn(fail_at_once, n)
            except ValueError as error:
                assert error.args == (0,)
                assert len(siblings(error)) == number - 1

        run(main)

    @pytest.mark.parametrize("number", [1, 3])
    def test_a_group_is_raised_where_it_is_declared(self, run, number):
        async def fail_at_once(n):
            raise ValueError(n)

        async def main():
            caught = []
            try:
                async with giambio.create_pool(errors="group") as pool:
                    for n in range(number):
                        pool.spawn(fail_at_once, n)
            except* ValueError as group:
                caught.extend(group.exceptions)
            assert [error.args[0] for error in caught] == list(range(number))

        run(main)

    def test_the_same_error_seen_twice_counts_once(self, run):
        error = ValueError("once")

        async def joiner(task):
            await task.join()

        async def main():
            with pytest.raises(ValueError, match="once") as caught:
                async with giambio.create_pool() as pool:
                    task = pool.spawn(failing, error)
                    pool.spawn(joiner, task)
                    await task.join()
            assert caught.value is error
            assert siblings(error) == ()

        run(main)

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_interrupt_and_exit_go_before_ordinary_errors(self, run, kind):
        ordinary = ValueError("ordinary")

        async def main():
            with pytest.raises(kind) as caught:
                async with giambio.create_pool() as pool:
                    pool.spawn(failing, ordinary)
                    pool.spawn(stubborn, kind())
            assert siblings(caught.value) == (ordinary,)

        run(main)

    def test_a_cancelled_task_is_no_error(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn(giambio.sleep_forever)
                other = pool.spawn(sleeper, 1)
                await giambio.checkpoint()
                task.cancel("not needed")
            assert task.cancelled()
            assert other.done()

        run(main)

    def test_joining_a_cancelled_task_in_the_body_is_an_error_of_the_body(self, run):
        async def main():
            with pytest.raises(TaskCancelled):
                async with giambio.create_pool() as pool:
                    task = pool.spawn(giambio.sleep_forever)
                    task.cancel()
                    await task.join()

        run(main)

    def test_errors_pass_through_nested_pools_with_the_path_of_their_task(self, run):
        async def inner():
            async with giambio.create_pool() as pool:
                pool.spawn(failing, ValueError("deep")).name = "leaf"

        async def main():
            with pytest.raises(ValueError, match="deep") as caught:
                async with giambio.create_pool() as pool:
                    pool.spawn(inner)
            assert caught.value.__notes__ == ["in task: main > pool > inner > pool > leaf"]

        run(main)

    def test_an_error_handled_inside_keeps_its_context(self, run):
        async def child():
            try:
                raise KeyError("original")
            except KeyError:
                raise ValueError("follow-up")

        async def main():
            with pytest.raises(ValueError, match="follow-up") as caught:
                async with giambio.create_pool() as pool:
                    pool.spawn(child)
                    await giambio.sleep_forever()
            assert isinstance(caught.value.__context__, KeyError)

        run(main)


@pytest.mark.parametrize("kind", [Frozen, Unchangeable, Unprintable])
class TestErrorsThatRefuse:
    """They are raised as themselves, although nothing can be attached to them."""

    def test_in_a_pool_with_their_siblings(self, run, kind):
        async def main():
            async with giambio.create_pool() as pool:
                pool.spawn(stubborn, second)
                pool.spawn(stubborn, third)
                await wait_all_tasks_blocked()
                pool.spawn(failing, first)

        first, second, third = kind(), kind(), ValueError()
        with pytest.raises(kind) as caught:
            run(main)
        assert caught.value is first
        assert siblings(first) == (second, third)

    def test_in_a_run_with_their_siblings(self, run, kind):
        async def main():
            giambio.spawn(stubborn, second)
            await wait_all_tasks_blocked()
            raise first

        first, second = kind(), kind()
        with pytest.raises(kind) as caught:
            run(main)
        assert caught.value is first
        assert siblings(first) == (second,)

    def test_in_a_retry(self, run, kind):
        async def main():
            async for attempt in giambio.retry(tries=2, on=kind):
                with attempt:
                    raise kind

        with pytest.raises(kind):
            run(main)


def test_a_shield_that_is_set_while_a_task_unwinds_makes_no_error_of_it(run):
    async def main():
        async def child():
            try:
                await giambio.sleep_forever()
            finally:
                pool.shield = True

        with CancelScope() as outer:
            async with giambio.create_pool() as pool:
                task = pool.spawn(child)
                await giambio.checkpoint()
                outer.cancel()
                with giambio.cleanup(10):
                    await wait_all_tasks_blocked()
            assert task.cancelled()
            await giambio.checkpoint()
        assert outer.cancelled_caught

    run(main)


def test_the_path_of_an_error_from_deep_below_is_short(run):
    async def nest(depth):
        async with giambio.create_pool() as pool:
            if not depth:
                raise ValueError
            pool.spawn(nest, depth - 1)

    with pytest.raises(ValueError) as caught:
        run(nest, 200)
    (path,) = caught.value.__notes__
    assert path.startswith("in task: nest > pool > nest")
    assert path.endswith("nest > pool > nest")
    assert "> … 361 more … >" in path


def test_a_group_leaves_the_cancellation_of_its_pool_in_it(run):
    async def main():
        async with giambio.create_pool() as pool:
            pool.cancel()
            try:
                await giambio.checkpoint()
            except CancelledError as cancelled:
                raise BaseExceptionGroup("both", [cancelled, ValueError()]) from None

    with pytest.raises(ExceptionGroup) as caught:
        run(main)
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


class TestCancellation:
    """From inside, from outside, and together with errors."""

    def test_cancelling_a_pool_of_four_cancels_four(self, run):
        """The first giambio cancelled the first of them."""
        cancelled = []

        async def child(n):
            try:
                await giambio.sleep_forever()
            except CancelledError:
                cancelled.append(n)
                raise

        async def main():
            async with giambio.create_pool() as pool:
                for n in range(4):
                    pool.spawn(child, n)
                await giambio.checkpoint()
                pool.cancel("all of you")
            assert pool.cancel_called
            assert pool.reason == "all of you"

        run(main)
        assert cancelled == [0, 1, 2, 3]

    def test_a_cancelled_pool_is_left_silently(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                pool.spawn(giambio.sleep_forever)
                pool.cancel()
                await giambio.sleep_forever()
            assert pool.cancelled_caught
            assert pool.scope is pool
            await giambio.checkpoint()

        run(main)

    def test_cancelling_it_while_it_waits_makes_it_wait_for_the_clean_up(self, run):
        async def child():
            try:
                await giambio.sleep_forever()
            finally:
                with giambio.CancelScope(shield=True):
                    await giambio.sleep(5)

        async def canceller(pool):
            await giambio.sleep(1)
            pool.cancel()

        async def main():
            async with giambio.create_pool() as outer:
                async with giambio.create_pool() as pool:
                    pool.spawn(child)
                    outer.spawn(canceller, pool)
                assert giambio.clock() == 6

        run(main)

    def test_a_cancellation_from_outside_passes_through_and_nothing_else(self, run):
        async def main():
            with giambio.CancelScope(seconds=1) as outer:
                async with giambio.create_pool() as pool:
                    pool.spawn(giambio.sleep_forever)
                raise AssertionError("not reached")
            assert outer.cancelled_caught
            assert not pool.cancelled_caught

        run(main)

    def test_errors_win_over_a_cancellation_which_is_delivered_at_the_next_checkpoint(self, run):
        async def main():
            with giambio.CancelScope(seconds=1) as outer:
                with pytest.raises(KeyError, match="in the clean-up"):
                    async with giambio.create_pool() as pool:
                        pool.spawn(stubborn, KeyError("in the clean-up"))
                reached.append(1)
                await giambio.checkpoint()
                reached.append(2)
            assert outer.cancelled_caught

        reached = []
        run(main)
        assert reached == [1]

    def test_a_cancellation_that_comes_when_the_last_task_has_ended_is_delivered(self, run):
        async def child():
            pass

        async def main():
            with giambio.CancelScope() as outer:
                async with giambio.create_pool() as pool:
                    pool.spawn(child).add_done_callback(lambda task: outer.cancel())
                raise AssertionError("not reached")
            assert outer.cancelled_caught

        run(main)

    def test_a_task_cancelled_before_its_first_step_cleans_up(self, run):
        events = []

        async def child():
            try:
                events.append("started")
                await giambio.checkpoint()
            finally:
                events.append("cleaned up")

        async def main():
            async with giambio.create_pool() as pool:
                pool.spawn(child)
                pool.cancel()

        run(main)
        assert events == ["started", "cleaned up"]

    def test_a_pool_can_be_shielded_and_have_a_deadline_set(self, run):
        async def main():
            with giambio.CancelScope() as outer:
                async with giambio.create_pool() as pool:
                    pool.shield = True
                    pool.deadline = giambio.clock() + 5
                    pool.spawn(giambio.sleep_forever)
                    outer.cancel()
                assert pool.timed_out
                assert giambio.clock() == 5

        run(main)


class TestGeneratorsThatYieldInPools:
    """One should not, but no task is left behind, and no loop breaks."""

    def test_closing_the_generator_waits_for_the_tasks(self, run):
        async def child():
            try:
                await giambio.sleep_forever()
            finally:
                with giambio.cleanup(10):
                    await giambio.sleep(3)
                events.append(giambio.clock())

        async def numbers():
            async with giambio.create_pool() as pool:
                pool.spawn(child)
                yield 1

        async def main():
            async with contextlib.aclosing(numbers()) as generator:
                async for _ in generator:
                    await giambio.checkpoint()
                    break
            events.append("closed")

        events = []
        run(main)
        assert events == [3.0, "closed"]

    def test_closing_the_generator_raises_the_errors_of_the_tasks(self, run):
        async def numbers():
            async with giambio.create_pool() as pool:
                pool.spawn(stubborn, ValueError("in its clean-up"))
                yield 1

        async def main():
            async with contextlib.aclosing(numbers()) as generator:
                async for _ in generator:
                    await giambio.checkpoint()
                    break

        with pytest.raises(ValueError, match="in its clean-up"):
            run(main)

    def test_a_coroutine_that_is_closed_does_not_wait_and_loses_no_error(self, run):
        async def owner():
            async with giambio.create_pool() as pool:
                pool.spawn(stubborn, ValueError("of nobody"))
                await giambio.sleep_forever()

        async def main():
            coroutine = owner()
            coroutine.send(None)
            giambio.current_task().undo_wait = None
            await giambio.checkpoint()
            coroutine.close()
            await giambio.sleep(1)

        with pytest.raises(ValueError, match="of nobody"):
            run(main)

    def test_a_pool_that_is_left_inside_of_another_ends_with_a_clear_error(self, run):
        async def numbers():
            async with giambio.create_pool() as outer:
                outer.spawn(giambio.sleep_forever)
                yield 1

        async def main():
            generator = numbers()
            await anext(generator)
            async with giambio.create_pool() as pool:
                pool.spawn(giambio.sleep_forever)
                await generator.aclose()

        with pytest.raises(RuntimeError) as caught:
            run(main)
        texts = []
        error = caught.value
        while error is not None:
            texts.append(str(error))
            error = error.__cause__ or error.__context__
        assert any("Scopes must be left in the reverse order" in text for text in texts)


class TestLimit:
    """At most so many tasks run at a time."""

    def test_more_tasks_wait_for_their_turn_in_order(self, run):
        running, most, order = 0, 0, []

        async def child(n):
            nonlocal running, most
            running += 1
            most = max(most, running)
            order.append(n)
            await giambio.sleep(1)
            running -= 1

        async def main():
            async with giambio.create_pool(limit=3) as pool:
                for n in range(10):
                    pool.spawn(child, n)
                assert len(pool.tasks) == 10
            assert giambio.clock() == 4

        run(main)
        assert most == 3
        assert order == list(range(10))

    def test_a_task_that_starts_later_takes_no_place_before(self, run):
        started = []

        async def child(name):
            started.append((name, giambio.clock()))
            await giambio.sleep(3)

        async def main():
            async with giambio.create_pool(limit=1) as pool:
                pool.spawn_after(5, child, "later")
                for name in ("a", "b", "c", "d"):
                    pool.spawn(child, name)

        run(main)
        # Nothing holds up the one that starts later; while it runs, it counts.
        assert started == [("a", 0), ("b", 3), ("later", 5), ("c", 8), ("d", 11)]

    def test_one_that_is_cancelled_before_its_start_is_not_counted_either(self, run):
        started = []

        async def child(name):
            started.append((name, giambio.clock()))
            await giambio.sleep(3)

        async def main():
            async with giambio.create_pool(limit=1) as pool:
                delayed = [pool.spawn_after(5, child, "later") for _ in range(3)]
                for name in ("a", "b", "c"):
                    pool.spawn(child, name)
                for task in delayed:
                    task.cancel()

        run(main)
        own = [(name, when) for name, when in started if name != "later"]
        assert own == [("a", 0), ("b", 3), ("c", 6)]

    def test_a_deadlock_report_says_that_a_start_is_awaited(self, run):
        async def main():
            async with giambio.create_pool(limit=1) as pool:
                pool.spawn(giambio.Event().wait)
                await pool.spawn(sleeper, 1)

        with pytest.raises(
            giambio.DeadlockError, match="main: waits for the start of task 'sleeper'"
        ):
            run(main)

    def test_awaiting_spawn_is_where_a_producer_is_slowed_down(self, run):
        times = []

        async def main():
            async with giambio.create_pool(limit=2) as pool:
                for _ in range(6):
                    task = await pool.spawn(sleeper, 1)
                    times.append(giambio.clock())
                    assert task.pool is pool
            assert giambio.clock() == 3

        run(main)
        assert times == [0, 0, 1, 1, 2, 2]

    def test_a_held_task_that_is_cancelled_starts_in_its_turn_and_stops(self, run):
        events = []

        async def child():
            events.append("started")
            await giambio.sleep(1)
            events.append("not reached")

        async def main():
            async with giambio.create_pool(limit=1) as pool:
                pool.spawn(sleeper, 5)
                held = pool.spawn(child)
                await giambio.checkpoint()
                held.cancel()
                await wait_all_tasks_blocked()
                assert events == []
                assert not held.done()
            assert events == ["started"]
            assert held.cancelled()

        run(main)

    def test_cancelling_the_pool_ends_the_held_tasks_too(self, run):
        async def main():
            async with giambio.create_pool(limit=2) as pool:
                tasks = [pool.spawn(giambio.sleep_forever) for _ in range(10)]
                await wait_all_tasks_blocked()
                pool.cancel()
            assert all(task.cancelled() for task in tasks)

        run(main)

    def test_giving_up_waiting_for_a_start_leaves_the_task_in_the_queue(self, run):
        async def main():
            async with giambio.create_pool(limit=1) as pool:
                pool.spawn(sleeper, 5)
                task = pool.spawn(sleeper, 1, "held")
                with giambio.skip_after(1) as scope:
                    await task
                assert scope.timed_out
                assert task.state is TaskState.NEW
            assert task.result() == "held"

        run(main)

    def test_awaiting_a_task_that_has_started_names_join(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn(sleeper, 1)
                await giambio.sleep(0.5)
                with pytest.raises(RuntimeError, match=r"await task\.join\(\)"):
                    await task

        run(main)


class TestServices:
    """Tasks that live as long as the ordinary ones do."""

    def test_they_are_stopped_last_in_first_out_each_before_the_next(self, run):
        events = []

        async def service(name):
            try:
                await giambio.sleep_forever()
            finally:
                with giambio.CancelScope(shield=True):
                    await giambio.sleep(1)
                events.append((name, giambio.clock()))

        async def main():
            async with giambio.create_pool() as pool:
                for name in "abc":
                    task = pool.service(service, name)
                    assert task.name == "service"
                pool.spawn(sleeper, 10)
            assert giambio.clock() == 13

        run(main)
        assert events == [("c", 11), ("b", 12), ("a", 13)]

    def test_they_outlive_the_ordinary_tasks_when_the_pool_is_cancelled(self, run):
        events = []

        async def service():
            try:
                await giambio.sleep_forever()
            finally:
                events.append("service stopped")

        async def ordinary():
            try:
                await giambio.sleep_forever()
            finally:
                with giambio.CancelScope(shield=True):
                    await giambio.sleep(1)  # still served
                events.append("ordinary stopped")

        async def main():
            async with giambio.create_pool() as pool:
                pool.service(service)
                pool.spawn(ordinary)
                await wait_all_tasks_blocked()
                pool.cancel()

        run(main)
        assert events == ["ordinary stopped", "service stopped"]

    def test_one_may_end_by_itself(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                ended = pool.service(sleeper, 1, "result")
                stopped = pool.service(sleeper, 100)
                coroutine = pool.service(sleeper(100))
                pool.spawn(sleeper, 5)
            assert ended.result() == "result"
            assert stopped.cancelled()
            assert coroutine.cancelled()
            assert giambio.clock() == 5

        run(main)

    def test_one_may_be_stopped_earlier(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                service = pool.service(giambio.sleep_forever)
                pool.spawn(sleeper, 5)
                await giambio.sleep(1)
                service.cancel()
                await giambio.sleep(1)
                assert service.cancelled()

        run(main)

    def test_one_started_in_a_cancelled_pool_serves_all_the_same(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                pool.cancel()
                service = pool.service(sleeper, 1)
                with giambio.CancelScope(shield=True):
                    await giambio.sleep(2)
                assert service.done()
                assert not service.cancelled()

        run(main)

    def test_the_error_of_one_is_an_error_of_the_pool(self, run):
        async def main():
            with pytest.raises(ValueError, match="service"):
                async with giambio.create_pool() as pool:
                    pool.service(failing, ValueError("service"), 1)
                    pool.spawn(sleeper, 100)
            assert giambio.clock() == 1

        run(main)

    def test_a_pool_of_services_alone_stops_them_at_once(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                pool.service(giambio.sleep_forever)
            assert giambio.clock() == 0

        run(main)

    def test_they_do_not_count_for_the_limit(self, run):
        async def main():
            async with giambio.create_pool(limit=1) as pool:
                pool.service(giambio.sleep_forever)
                pool.service(giambio.sleep_forever)
                await pool.spawn(sleeper, 1)

        run(main)


class TestStart:
    """Starting a task and waiting until it is ready."""

    def test_it_returns_the_value_when_the_task_says_so(self, run):
        events = []

        async def server(port, *, task_status, host="here"):
            await giambio.sleep(1)
            task_status.started((host, port))
            await giambio.sleep(5)
            events.append("ended")

        async def main():
            async with giambio.create_pool() as pool:
                assert await pool.start(server, 80) == ("here", 80)
                assert giambio.clock() == 1
                assert await pool.start(server, 81, host="there") == ("there", 81)
            assert events == ["ended", "ended"]

        run(main)

    @pytest.mark.parametrize("stubborn", [False, True])
    def test_a_deadlock_is_raised_where_the_main_task_waits_for_it(self, run, stubborn):
        """The task is cancelled first, as for any other error; if that does not help, the run fails."""

        async def server(*, task_status):
            try:
                await giambio.Event().wait()
            finally:
                if stubborn:
                    with giambio.lowlevel.CancelScope(shield=True):
                        await giambio.Event().wait()

        async def main():
            async with giambio.create_pool() as pool:
                with pytest.raises(giambio.DeadlockError, match="server: waits for <Event"):
                    await pool.start(server)
                await giambio.sleep(1)
            return "went on"

        if stubborn:
            with pytest.raises(giambio.DeadlockError):
                run(main)
        else:
            assert run(main) == "went on"

    def test_its_repr_says_of_whom_and_whether_it_was_said(self, run):
        async def server(*, task_status):
            states.append(repr(task_status))
            task_status.started()
            states.append(repr(task_status))

        async def main():
            states.append(repr(giambio.TaskStatus()))
            async with giambio.create_pool() as pool:
                await pool.start(server)

        states = []
        run(main)
        assert states == [
            "<TaskStatus, not started>",
            "<TaskStatus of 'server', not started>",
            "<TaskStatus of 'server', started>",
        ]

    def test_saying_it_twice_is_an_error(self, run):
        async def server(*, task_status):
            task_status.started()
            with pytest.raises(RuntimeError, match="called twice"):
                task_status.started()

        async def main():
            async with giambio.create_pool() as pool:
                assert await pool.start(server) is None

        run(main)

    def test_an_error_before_is_raised_there_and_not_counted_by_the_pool(self, run):
        error = ValueError("no port")

        async def server(*, task_status):
            await giambio.sleep(1)
            raise error

        async def main():
            async with giambio.create_pool() as pool:
                with pytest.raises(ValueError, match="no port") as caught:
                    await pool.start(server)
                assert caught.value is error
                await giambio.sleep(1)
            assert not pool.cancel_called

        run(main)

    def test_an_error_afterwards_is_one_of_the_pool(self, run):
        async def server(*, task_status):
            task_status.started()
            raise ValueError("later")

        async def main():
            with pytest.raises(ValueError, match="later"):
                async with giambio.create_pool() as pool:
                    await pool.start(server)
                    await giambio.sleep_forever()

        run(main)

    def test_ending_without_a_word_is_an_error(self, run):
        async def server(*, task_status):
            pass

        async def main():
            async with giambio.create_pool() as pool:
                with pytest.raises(RuntimeError, match="'server' ended without calling"):
                    await pool.start(server)

        run(main)

    def test_cancelling_the_start_cancels_the_task_and_waits_for_it(self, run):
        events = []

        async def server(*, task_status):
            try:
                await giambio.sleep_forever()
            finally:
                with giambio.CancelScope(shield=True):
                    await giambio.sleep(1)
                task_status.started("too late")
                events.append("cleaned up")

        async def main():
            async with giambio.create_pool() as pool:
                with giambio.skip_after(5) as scope:
                    await pool.start(server)
                assert scope.timed_out
                assert events == ["cleaned up"]
                assert giambio.clock() == 6

        run(main)

    def test_a_start_that_the_limit_holds_up_can_be_cancelled(self, run):
        events = []

        async def server(*, task_status):
            events.append("started")
            await giambio.sleep(1)
            events.append("not reached")

        async def main():
            async with giambio.create_pool(limit=1) as pool:
                pool.spawn(sleeper, 5)
                later = pool.spawn(sleeper, 1)
                with giambio.skip_after(2) as scope:
                    await pool.start(server)
                assert scope.timed_out
                assert giambio.clock() == 2
                assert events == ["started"]
                assert later.state is TaskState.NEW  # the limit holds for it as before

        run(main)

    def test_a_task_cancelled_by_others_is_told(self, run):
        async def server(*, task_status):
            giambio.current_task().cancel("by itself")
            await giambio.checkpoint()

        async def main():
            async with giambio.create_pool() as pool:
                with pytest.raises(TaskCancelled):
                    await pool.start(server)

        run(main)


def test_started_after_the_end_of_the_task_says_so(run):
    async def main():
        statuses = []

        async def keep(*, task_status):
            statuses.append(task_status)

        async with giambio.create_pool() as pool:
            with pytest.raises(RuntimeError, match="ended without calling"):
                await pool.start(keep)
            with pytest.raises(RuntimeError, match="after the end of the task"):
                statuses[0].started()

    run(main)


class TestTheRootPool:
    """`giambio.spawn`: tasks that belong to the run."""

    def test_the_run_waits_for_them(self, run):
        events = []

        async def child(a, b):
            await giambio.sleep(a)
            events.append((a, b))

        async def main():
            giambio.spawn(child, 2, b=3)
            task = await giambio.spawn(child(1, 1))
            assert await task.join() is None

        run(main)
        assert events == [(1, 1), (2, 3)]

    def test_an_error_fails_the_run_as_itself(self, run):
        error = ValueError("mine")

        async def main():
            giambio.spawn(failing, error)
            await giambio.sleep_forever()

        with pytest.raises(ValueError, match="mine") as caught:
            run(main)
        assert caught.value is error

    def test_outside_of_a_run_it_is_a_clear_error(self):
        with pytest.raises(RuntimeError, match="only inside a running loop"):
            giambio.spawn(sleeper, 1)
        with pytest.raises(RuntimeError, match="only inside a running loop"):
            giambio.spawn(sleeper(1))
        gc.collect()


def test_ctrl_c_in_a_program_that_waits_in_a_pool(run):
    import signal

    events = []

    async def child():
        try:
            await giambio.sleep_forever()
        finally:
            events.append("child cleaned up")

    async def interrupter():
        signal.raise_signal(signal.SIGINT)
        await giambio.sleep_forever()

    async def main():
        try:
            async with giambio.create_pool() as pool:
                pool.spawn(child)
                pool.spawn(interrupter)
        except KeyboardInterrupt:
            events.append("main interrupted")
            raise

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert events == ["child cleaned up", "main interrupted"]


def test_an_ordinary_function_is_not_called_twice(run):
    calls = []

    async def main():
        async with giambio.create_pool() as pool:
            with pytest.raises(TypeError, match=r"append is not an async function"):
                pool.spawn(calls.append, 1)

    run(main)
    assert calls == [1]


class TestCtrlCAtAnyMoment:
    """It is the main task's, whichever step it comes in, and never an error of the loop."""

    async def _task(self):
        async def brief():
            pass

        async with giambio.create_pool() as pool:
            pool.spawn(brief)

    async def _services(self):
        async with giambio.create_pool() as pool:
            pool.service(giambio.sleep_forever)
            pool.service(giambio.sleep_forever)
            await giambio.sleep(0)

    async def _limited(self):
        async with giambio.create_pool(limit=1) as pool:
            await pool.spawn(sleeper, 0)
            await pool.spawn(sleeper, 0)

    @pytest.mark.parametrize("hook", ["before_task_step", "after_task_step", "on_task_exit"])
    @pytest.mark.parametrize("program", ["_task", "_services", "_limited"])
    def test_in_every_step(self, run, program, hook):
        import signal

        for number in range(1, 50):
            steps = []

            def step(self, task, steps=steps, number=number):
                steps.append(task)
                if len(steps) == number:
                    signal.raise_signal(signal.SIGINT)

            debugger = type("Interrupter", (), {hook: step})()
            try:
                run(getattr(self, program), debugger=debugger)
            except KeyboardInterrupt:
                continue
            assert len(steps) < number  # there are no more steps to come in
            assert number > 1
            return
        pytest.fail("it never ended by itself")


def test_a_deadlock_in_a_pool_is_reported_and_the_pool_cleans_up(run):
    events = []

    async def child(event):
        try:
            await event.wait()
        finally:
            events.append("cleaned up")

    async def main():
        event = giambio.Event()
        with pytest.raises(giambio.DeadlockError, match="child: waits for <Event"):
            async with giambio.create_pool() as pool:
                pool.spawn(child, event)
        return "went on"

    assert run(main) == "went on"
    assert events == ["cleaned up"]


def test_sweep_nested_pools_with_everything_in_them():
    async def server(*, task_status):
        await giambio.sleep(1)
        task_status.started(1)
        await giambio.sleep(1)

    async def service():
        await giambio.sleep_forever()

    async def program():
        async with giambio.create_pool(limit=2) as pool:
            pool.service(service)
            assert await pool.start(server) == 1
            for n in range(3):
                await pool.spawn(sleeper, n)
            async with giambio.create_pool() as inner:
                inner.spawn_after(1, sleeper, 1)
                task = inner.spawn(sleeper, 2, "result")
                assert await task.join() == "result"

    assert cancel_sweep(program).checkpoints >= 8
    assert cancel_sweep(program, target="server", allow=TaskCancelled).checkpoints == 2


def test_a_loop_that_is_dropped_unfinished_lets_go_of_pools_that_wait():
    """What is left of its coroutines is closed by Python, and nobody comes to end their tasks."""

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(giambio.sleep_forever)

    loop = giambio.AsyncScheduler()
    loop.start(main, loop=False)
    loop.tick()
    loop.tick()
    with pytest.warns(ResourceWarning, match="was not closed"):
        del loop
        gc.collect()


def test_a_task_that_cannot_be_stopped_does_not_keep_a_deadlock_going(run):
    async def stubborn():
        await suspend(lambda task, error: False, "what never comes")

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(stubborn)

    with pytest.raises(giambio.DeadlockError, match="what never comes"):
        run(main)
