# SPDX-License-Identifier: Apache-2.0
"""Barriers: all go on together, and who is cancelled has not come."""

from __future__ import annotations

import pytest

import giambio
from giambio import Barrier, ResourceBroken
from giambio.testing import assert_checkpoints, cancel_sweep, wait_all_tasks_blocked


def test_all_go_on_when_the_last_has_come_each_with_a_number(run):
    async def arrive(seconds):
        await giambio.sleep(seconds)
        position = await barrier.wait()
        return giambio.clock(), position

    async def main():
        nonlocal barrier
        barrier = Barrier(3)
        async with giambio.create_pool() as pool:
            tasks = [pool.spawn(arrive, seconds) for seconds in (3, 1, 2)]
        assert [task.result() for task in tasks] == [(3, 2), (3, 0), (3, 1)]

    barrier = None
    run(main)


def test_it_can_be_used_again_and_again_and_rounds_do_not_mix(run):
    rounds = []

    async def work(n):
        for number in range(3):
            await giambio.sleep(n)
            async with barrier as position:
                rounds.append((number, position))

    async def main():
        nonlocal barrier
        barrier = Barrier(2)
        async with giambio.create_pool() as pool:
            pool.spawn(work, 1)
            pool.spawn(work, 2)

    barrier = None
    run(main)
    assert [number for number, _ in rounds] == [0, 0, 1, 1, 2, 2]
    for number in range(3):
        assert sorted(position for n, position in rounds if n == number) == [0, 1]


def test_a_barrier_for_one_holds_nobody_and_is_a_checkpoint(run):
    async def main():
        barrier = Barrier(1)
        with assert_checkpoints():
            assert await barrier.wait() == 0

    run(main)


def test_who_is_cancelled_has_not_come(run):
    async def main():
        barrier = Barrier(2)
        async with giambio.create_pool() as pool:
            with giambio.skip_after(1):
                await barrier.wait()
            assert barrier.statistics() == (2, 0, False)
            first = pool.spawn(barrier.wait)
            await wait_all_tasks_blocked()
            assert not first.done()
            assert await barrier.wait() == 1

    run(main)


def test_aborting_tells_those_who_wait_and_those_who_come_later(run):
    async def arrive(barrier):
        with pytest.raises(ResourceBroken, match="no fuel"):
            await barrier.wait()

    async def main():
        barrier = Barrier(3)
        async with giambio.create_pool() as pool:
            pool.spawn(arrive, barrier)
            pool.spawn(arrive, barrier)
            await wait_all_tasks_blocked()
            barrier.abort("no fuel")
            pool.spawn(arrive, barrier)
        assert barrier.broken
        assert barrier.statistics() == (3, 0, True)
        assert repr(barrier) == f"<Barrier at {id(barrier):#x}, broken>"

    run(main)


def test_after_a_reset_it_is_as_new(run):
    async def main():
        barrier = Barrier(2)
        barrier.abort()
        with pytest.raises(ResourceBroken, match="the barrier was aborted"):
            await barrier.wait()
        barrier.reset()
        assert not barrier.broken
        async with giambio.create_pool() as pool:

            async def arrive():
                with pytest.raises(ResourceBroken, match="the barrier was reset"):
                    await barrier.wait()

            pool.spawn(arrive)
            await wait_all_tasks_blocked()
            barrier.reset()
        async with giambio.create_pool() as pool:
            pool.spawn(barrier.wait)
            pool.spawn(barrier.wait)

    run(main)


def test_an_abort_while_a_checkpoint_is_passed_is_noticed(run):
    async def main():
        barrier = Barrier(1)

        async def abort():
            barrier.abort()

        giambio.current_task().scheduler.credit = 0
        async with giambio.create_pool() as pool:
            pool.spawn(abort)
            with pytest.raises(ResourceBroken):
                await barrier.wait()

    run(main)


def test_its_repr_and_statistics_say_how_many_are_there(run):
    async def main():
        barrier = Barrier(2)
        assert barrier.parties == 2
        async with giambio.create_pool() as pool:
            pool.spawn(barrier.wait)
            await wait_all_tasks_blocked()
            assert repr(barrier) == f"<Barrier at {id(barrier):#x}, 1 of 2 there>"
            assert barrier.statistics() == (2, 1, False)
            await barrier.wait()

    run(main)


@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError)])
def test_how_many_it_takes_is_checked(wrong, error):
    with pytest.raises(error, match=f"not {wrong!r}"):
        Barrier(wrong)


def test_nobody_is_left_behind_wherever_a_task_is_cancelled():
    async def program():
        barrier = Barrier(2)
        passed = []

        async def victim():
            await barrier.wait()
            passed.append("victim")
            await giambio.checkpoint()

        async def other():
            await barrier.wait()
            passed.append("other")

        try:
            async with giambio.create_pool() as pool:
                pool.spawn(victim)
                pool.spawn(other)
                await wait_all_tasks_blocked()
                if not passed:
                    await barrier.wait()  # in the place of who was cancelled
        finally:
            assert barrier.statistics().tasks_waiting == 0
        assert passed in (["other"], ["victim", "other"], ["other", "victim"])

    assert cancel_sweep(program, target="victim").checkpoints >= 2
    cancel_sweep(program)
