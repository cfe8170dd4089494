# SPDX-License-Identifier: Apache-2.0
"""A primitive of our own, on what giambio's are built on: a latch that opens after so many arrivals."""

from __future__ import annotations

from typing import Any

import giambio
from giambio.lowlevel import (
    Trap,
    WaitQueue,
    checkpoint,
    checkpoint_due,
    outcome,
    trap,
    unpark_all,
)


class Latch:
    """Opens when `arrive` has been called so often, and stays open."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self.wait_queue: WaitQueue = {}

    def __repr__(self) -> str:  # what a deadlock report shows
        return f"<Latch, {self._missing} missing>"

    def arrive(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            unpark_all(self.wait_queue)

    async def wait(self) -> None:
        if self._missing > 0:
            await self._park()
        elif checkpoint_due():  # every operation is a checkpoint, also one that need not wait
            await checkpoint()

    @trap
    def _park(self) -> Trap[Any]:
        # The loop puts the task into our queue. Cancelled, it leaves that by itself; woken, it is out
        # of it already.
        return outcome((yield self))


async def runner(name: str, latch: Latch) -> None:
    print(name, "is ready")
    latch.arrive()
    await latch.wait()
    print(name, "runs")


async def main() -> None:
    latch = Latch(2)
    async with giambio.create_pool() as pool:
        pool.spawn(runner, "tortoise", latch)
        pool.spawn(runner, "hare", latch)


if __name__ == "__main__":
    giambio.run(main)
