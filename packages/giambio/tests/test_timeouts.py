# SPDX-License-Identifier: Apache-2.0
"""Timeouts, as plain scopes and as pools."""

from __future__ import annotations

import pytest

import giambio
from giambio import CancelledError, TooSlowError
from giambio.testing import cancel_sweep


def test_a_block_that_takes_too_long_raises(run):
    async def main():
        with pytest.raises(TooSlowError, match="the block did not end within 2 s") as caught:
            with giambio.with_timeout(2) as scope:
                await giambio.sleep(5)
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value.__cause__, CancelledError)  # where it was interrupted
        assert scope.timed_out
        assert giambio.clock() == 2

    run(main)


def test_a_block_that_ends_in_time_raises_nothing(run):
    async def main():
        with giambio.with_timeout(2) as scope:
            await giambio.sleep(1)
        assert not scope.timed_out
        with giambio.with_timeout_at(5) as scope:
            await giambio.sleep(1)
        assert not scope.timed_out

    run(main)


def test_skip_after_leaves_the_block_silently(run):
    """In the first giambio it raised all the same."""

    async def main():
        event = giambio.Event()
        with giambio.skip_after(3) as scope:
            await event.wait()
            raise AssertionError("not reached")
        assert scope.timed_out
        assert giambio.clock() == 3
        await giambio.sleep(1)

    run(main)


@pytest.mark.parametrize("kind", [giambio.with_timeout_at, giambio.skip_at])
def test_clock_times_may_be_given(run, kind):
    async def main():
        await giambio.sleep(1)
        try:
            with kind(4) as scope:
                await giambio.sleep(100)
        except TooSlowError as error:
            assert str(error) == "the block did not end"
        assert scope.timed_out
        assert giambio.clock() == 4

    run(main)


def test_with_async_with_it_is_a_pool_whose_tasks_count(run):
    async def main():
        async with giambio.skip_after(2) as pool:
            task = pool.spawn(giambio.sleep_forever)
        assert pool.timed_out
        assert task.cancelled()
        with pytest.raises(TooSlowError):
            async with giambio.with_timeout(2) as pool:
                pool.spawn(giambio.sleep, 100)
        async with giambio.with_timeout(2) as pool:
            task = pool.spawn(giambio.sleep, 1)
        assert task.done()

    run(main)


def test_an_error_of_a_task_wins_over_the_timeout(run):
    async def child():
        try:
            await giambio.sleep_forever()
        finally:
            raise KeyError("in the clean-up")

    async def main():
        with pytest.raises(KeyError):
            async with giambio.with_timeout(1) as pool:
                pool.spawn(child)

    run(main)


def test_with_plain_with_it_takes_no_tasks_and_says_so(run):
    async def main():
        with giambio.with_timeout(1) as scope:
            with pytest.raises(RuntimeError, match="entered with 'with'.*use|'async with'"):
                scope.spawn(giambio.sleep, 1)
            with pytest.raises(RuntimeError, match="'async with'"):
                scope.service(giambio.sleep, 1)

    run(main)


def test_zero_ends_the_block_at_its_first_checkpoint(run):
    async def main():
        reached = []
        with giambio.skip_after(0):
            reached.append(1)
            await giambio.checkpoint()
            reached.append(2)
        assert reached == [1]
        with pytest.raises(TooSlowError):
            with giambio.with_timeout(0):
                await giambio.sleep(0)

    run(main)


def test_a_block_that_comes_to_its_end_all_the_same_raises_nothing(run):
    async def main():
        with giambio.with_timeout(1) as scope:
            with giambio.CancelScope(shield=True):
                await giambio.sleep(5)
        assert scope.timed_out

    run(main)


def test_cancelling_it_by_hand_is_no_timeout(run):
    async def main():
        with giambio.with_timeout(5) as scope:
            scope.cancel()
            await giambio.checkpoint()
        assert scope.cancelled_caught
        assert not scope.timed_out

    run(main)


def test_the_deadline_can_be_moved(run):
    """In the first giambio it was fixed when the pool was made."""

    async def main():
        with giambio.skip_after(5) as scope:
            await giambio.sleep(4)
            scope.deadline += 5
            await giambio.sleep(4)
            scope.deadline = giambio.clock() + 1
            await giambio.sleep(4)
        assert scope.timed_out
        assert giambio.clock() == 9

    run(main)


def test_nested_timeouts_raise_in_the_block_that_expired(run):
    async def main():
        with giambio.with_timeout(10):
            with pytest.raises(TooSlowError):
                with giambio.with_timeout(1):
                    await giambio.sleep(5)
            with pytest.raises(TooSlowError), giambio.with_timeout(3):
                with giambio.with_timeout(100):
                    await giambio.sleep(50)

    run(main)


@pytest.mark.parametrize("wrong", [-1, float("nan")])
def test_what_is_no_time_is_refused(wrong):
    for kind in (giambio.with_timeout, giambio.skip_after):
        with pytest.raises(ValueError, match="seconds must be at least 0"):
            kind(wrong)
    if wrong != wrong:
        for kind in (giambio.with_timeout_at, giambio.skip_at):
            with pytest.raises(ValueError, match="not nan"):
                kind(wrong)


@pytest.mark.parametrize("kind", [giambio.with_timeout_at, giambio.skip_at])
def test_a_moment_that_is_no_number_is_refused_before_the_block_is_entered(run, kind):
    """It was found out halfway into the block, and the task stood in it for the rest of its life."""

    async def main():
        with pytest.raises(TypeError, match="deadline must be a number, not None"):
            with kind(None):
                pytest.fail("it has no deadline")

    run(main)


def test_an_infinite_timeout_never_ends(run):
    async def main():
        with giambio.with_timeout(float("inf")) as scope:
            await giambio.sleep(1e9)
        assert not scope.timed_out

    run(main)


def test_sweep_timeouts_around_operations():
    async def program():
        with giambio.skip_after(1):
            await giambio.sleep(5)
        with giambio.with_timeout(5):
            await giambio.sleep(1)
        async with giambio.skip_after(1) as pool:
            pool.spawn(giambio.sleep, 5)

    assert cancel_sweep(program).checkpoints >= 3


@pytest.mark.parametrize("timeout", [giambio.with_timeout, giambio.skip_after])
def test_what_is_no_number_is_refused_with_the_way_to_say_never(timeout):
    with pytest.raises(TypeError, match=r"must be a number, not None; math\.inf sets no limit"):
        timeout(None)
