# SPDX-License-Identifier: Apache-2.0
"""Semaphores: permits out are permits in, and they go to whoever has waited longest."""

from __future__ import annotations

import pytest

import giambio
from giambio import Semaphore, WouldBlock
from giambio.testing import (
    assert_checkpoints,
    assert_no_checkpoints,
    cancel_sweep,
    wait_all_tasks_blocked,
)


def test_so_many_are_inside_at_a_time_in_the_order_of_coming(run):
    events = []

    async def work(n):
        async with semaphore:
            events.append((giambio.clock(), n))
            await giambio.sleep(1)

    async def main():
        nonlocal semaphore
        semaphore = Semaphore(2)
        async with giambio.create_pool() as pool:
            for n in range(5):
                pool.spawn(work, n)
        assert semaphore.value == 2

    semaphore = None
    run(main)
    assert events == [(0, 0), (0, 1), (1, 2), (1, 3), (2, 4)]


def test_a_permit_goes_from_hand_to_hand_and_nobody_overtakes(run):
    async def main():
        semaphore = Semaphore(0)
        async with giambio.create_pool() as pool:
            pool.spawn(semaphore.acquire)
            await wait_all_tasks_blocked()
            semaphore.release()  # the waiter has it from now on, although it has not run
            assert semaphore.value == 0
            with pytest.raises(WouldBlock, match=r"<Semaphore at .*, 0 free, 0 waiting> has no"):
                semaphore.acquire_nowait()

    run(main)


def test_any_task_may_release_and_add_permits(run):
    async def main():
        semaphore = Semaphore(0)
        with assert_no_checkpoints():
            semaphore.release()
            semaphore.release()
            semaphore.acquire_nowait()
        with assert_checkpoints():
            await semaphore.acquire()
        assert semaphore.value == 0

    run(main)


def test_releasing_above_the_maximum_is_an_error_and_adds_nothing(run):
    async def main():
        semaphore = Semaphore(1, max_value=2)
        assert semaphore.max_value == 2
        semaphore.release()
        with pytest.raises(ValueError, match=r"2 of 2 free.* released more often than acquired"):
            semaphore.release()
        assert semaphore.value == 2

    run(main)


def test_its_repr_and_statistics_say_what_is_free_and_how_many_wait(run):
    async def main():
        semaphore = Semaphore(1, max_value=3)
        at = f"<Semaphore at {id(semaphore):#x}"
        assert repr(semaphore) == f"{at}, 1 of 3 free, 0 waiting>"
        async with giambio.create_pool() as pool:
            for _ in range(3):
                pool.spawn(semaphore.acquire)
            await wait_all_tasks_blocked()
            assert repr(semaphore) == f"{at}, 0 of 3 free, 2 waiting>"
            assert semaphore.statistics() == (0, 3, 2)
            semaphore.release()
            semaphore.release()
        assert semaphore.statistics() == (0, 3, 0)
        unbounded = Semaphore(7)
        assert repr(unbounded) == f"<Semaphore at {id(unbounded):#x}, 7 free, 0 waiting>"
        assert unbounded.statistics().max_value is None

    run(main)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((-1,), ValueError, "at least 0, not -1"),
        ((3, 2), ValueError, "at most max_value, 2, not 3"),
        ((1.5,), TypeError, r"whole numbers, not 1\.5"),
        ((1, 2.5), TypeError, r"whole numbers, not 2\.5"),
    ],
)
def test_how_many_permits_there_are_is_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        Semaphore(*arguments)


def test_a_permit_that_is_taken_while_a_checkpoint_is_passed_is_waited_for(run):
    """Between finding a permit and taking it others may run; then there may be none."""

    async def main():
        semaphore = Semaphore(1)
        giambio.current_task().scheduler.credit = 0
        async with giambio.create_pool() as pool:
            pool.spawn(semaphore.acquire)
            late = pool.spawn(giambio.sleep, 1)
            late.add_done_callback(lambda task: semaphore.release())
            await semaphore.acquire()
            assert giambio.clock() == 1

    run(main)


def test_permits_out_are_permits_in_wherever_a_task_is_cancelled():
    async def program(use):
        semaphore = Semaphore(2, max_value=2)
        inside = 0

        async def work():
            nonlocal inside
            for _ in range(2):
                async with use(semaphore):
                    inside += 1
                    assert inside <= 2
                    try:
                        await giambio.checkpoint()
                    finally:
                        inside -= 1

        async def victim():
            await work()

        try:
            async with giambio.create_pool() as pool:
                pool.spawn(work)
                pool.spawn(work)
                pool.spawn(victim)
                pool.spawn(work)
        finally:
            assert semaphore.statistics() == (2, 2, 0)

    for use in (lambda semaphore: semaphore, ByHand):
        assert cancel_sweep(program, use, target="victim").checkpoints > 3
        cancel_sweep(program, use)


class ByHand:
    """``async with`` by way of `acquire` and `release`."""

    def __init__(self, semaphore):
        self.semaphore = semaphore

    async def __aenter__(self):
        await self.semaphore.acquire()

    async def __aexit__(self, *exc_info):
        self.semaphore.release()
