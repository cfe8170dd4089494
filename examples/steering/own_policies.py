# SPDX-License-Identifier: Apache-2.0
"""Two schedulers of our own: one runs what is most urgent, the other gives every pool its share.

A policy is asked only when there is a choice, and sees the ready tasks in the order in which they became
ready. It must not starve anybody for ever, or say that it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import giambio

priority: ContextVar[int] = ContextVar("priority", default=0)
"""How urgent a task is. Set where it is spawned, or by the task itself; inherited by its children."""


class MostUrgentFirst:
    """Runs the task with the highest `priority`; first come, first served among equals.

    What is urgent can keep the rest waiting for as long as it is ready.
    """

    def choose(self, ready: Sequence[giambio.Task[Any]]) -> int:
        return max(range(len(ready)), key=lambda n: (ready[n].context.get(priority, 0), -n))


class FairSharePerPool:
    """Gives each pool the same number of steps, however many tasks it has.

    A pool that was idle meanwhile does not catch up on what it did not use.
    """

    def __init__(self) -> None:
        # The steps of the pools that have ready tasks.
        self._used: dict[giambio.CancelScope, int] = {}

    def choose(self, ready: Sequence[giambio.Task[Any]]) -> int:
        # Whoever comes starts with what the least served of those who are here has had.
        present = {task.pool for task in ready}
        floor = min((steps for pool, steps in self._used.items() if pool in present), default=0)
        self._used = {pool: self._used.get(pool, floor) for pool in present}
        index = min(range(len(ready)), key=lambda n: self._used[ready[n].pool])
        self._used[ready[index].pool] += 1
        return index


async def work(name: str, steps: int, log: list[str]) -> None:
    for _ in range(steps):
        log.append(name)
        await giambio.checkpoint()


async def urgent_and_not() -> str:
    log: list[str] = []
    async with giambio.create_pool() as pool:
        pool.spawn(work, "b", 3, log)
        priority.set(1)
        pool.spawn(work, "A", 3, log)
    return "".join(log)


async def many_against_one() -> str:
    log: list[str] = []

    async def customer(name: str, tasks: int) -> None:
        async with giambio.create_pool() as pool:
            for _ in range(tasks):
                pool.spawn(work, name, 12 // tasks, log)

    await giambio.gather(customer("m", 4), customer("1", 1))
    return "".join(log)


def main() -> None:
    print("first come:  ", giambio.run(urgent_and_not))
    print("most urgent: ", giambio.run(urgent_and_not, policy=MostUrgentFirst()))
    print("first come:  ", giambio.run(many_against_one))
    print("fair share:  ", giambio.run(many_against_one, policy=FairSharePerPool()))


if __name__ == "__main__":
    main()
