# SPDX-License-Identifier: Apache-2.0
"""The ticks of the loop are the user's own: ``start(..., loop=False)`` sets up and does not run."""

from __future__ import annotations

import giambio


async def child(n: int) -> int:
    for _ in range(n):
        await giambio.sleep(0)
    return n


async def main() -> list[int]:
    async with giambio.create_pool() as pool:
        tasks = [pool.spawn(child, n) for n in range(4)]
    return [task.result() for task in tasks]


if __name__ == "__main__":
    with giambio.AsyncScheduler() as scheduler:
        task = scheduler.start(main, loop=False)
        ticks = 1
        while scheduler.tick():
            ticks += 1  # between two ticks there is time for whatever else there is to do
        print(f"{task.result()} after {ticks} ticks")
