# SPDX-License-Identifier: Apache-2.0
"""One primitive inside of another: what was taken first is given back if the second is not got."""

from __future__ import annotations

from itertools import product

import pytest

import giambio
from giambio import CapacityLimiter, Condition, Lock, RWLock, Semaphore
from giambio.testing import cancel_sweep

KINDS = {
    "lock": (Lock, lambda lock: lock, (False, None, 0)),
    "semaphore": (lambda: Semaphore(1, 1), lambda semaphore: semaphore, (1, 1, 0)),
    "limiter": (lambda: CapacityLimiter(1), lambda limiter: limiter, (1, 0, (), 0)),
    "reading": (RWLock, lambda lock: lock.read, ((), None, 0, 0)),
    "writing": (RWLock, lambda lock: lock.write, ((), None, 0, 0)),
    "condition": (Condition, lambda condition: condition, (0, (False, None, 0))),
}


@pytest.mark.parametrize(("outer", "inner"), [*product(KINDS, KINDS)])
def test_everything_is_given_back_wherever_a_task_is_cancelled(outer, inner):
    make_outer, outer_side, outer_free = KINDS[outer]
    make_inner, inner_side, inner_free = KINDS[inner]

    async def program():
        first, second = make_outer(), make_inner()

        async def other():
            async with inner_side(second):
                await giambio.checkpoint()

        async def victim():
            async with outer_side(first), inner_side(second):
                await giambio.checkpoint()

        try:
            async with giambio.create_pool() as pool:
                pool.spawn(other)
                pool.spawn(victim)
                pool.spawn(victim)
        finally:
            assert first.statistics() == outer_free
            assert second.statistics() == inner_free

    assert cancel_sweep(program, target="victim").checkpoints >= 3
