# SPDX-License-Identifier: Apache-2.0
"""Rows about memory inside the process. Memory of connections is in `wire`."""

# mypy: disable-error-code="import-untyped"
# (curio has no types)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.machine import memory
from benchmarks.reach import Reach
from benchmarks.row import LoopRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.contenders import Contender


class SleepingTask(LoopRow):
    """How much the process grows for each task that sleeps: what the operating system has to give.

    Unlike what Python counts, this includes what libraries written in C allocate for themselves.
    """

    key = "memory-task"
    title = "memory per sleeping task"
    unit = "B"
    reach = Reach(times=2.0)
    size = granule = 20_000
    repeats = 1
    fresh = True

    @staticmethod
    def _once(contender: Contender, work: Callable[[int], Any], n: int) -> float:
        # What is imported, or grows, with the first tasks does not count.
        contender.run(work, 100)
        grown: float = contender.run(work, n)
        return grown

    async def bare(self, n: int) -> float:
        from benchmarks.bare import Pool, checkpoint, sleep

        before = memory()
        async with Pool() as pool:
            sleepers = [pool.spawn(sleep, 3600) for _ in range(n)]
            await checkpoint()
            grown = memory() - before
            for sleeper in sleepers:
                sleeper.cancel()
        return grown

    async def giambio(self, n: int) -> float:
        from giambio import checkpoint, create_pool, sleep

        before = memory()
        async with create_pool() as pool:
            for _ in range(n):
                pool.spawn(sleep, 3600)
            await checkpoint()
            grown = memory() - before
            pool.cancel()
        return grown

    async def asyncio(self, n: int) -> float:
        from asyncio import create_task, sleep, wait

        before = memory()
        sleepers = [create_task(sleep(3600)) for _ in range(n)]
        await sleep(0)
        grown = memory() - before
        for sleeper in sleepers:
            sleeper.cancel()
        await wait(sleepers)
        return grown

    async def curio(self, n: int) -> float:
        from curio import TaskGroup, sleep

        before = memory()
        async with TaskGroup() as group:
            for _ in range(n):
                await group.spawn(sleep, 3600)
            await sleep(0)
            grown = memory() - before
            await group.cancel_remaining()
        return grown

    async def trio(self, n: int) -> float:
        from trio import open_nursery, sleep
        from trio.lowlevel import checkpoint

        before = memory()
        async with open_nursery() as nursery:
            for _ in range(n):
                nursery.start_soon(sleep, 3600)
            # After the first one they all have had their turn: trio does not keep an order.
            await checkpoint()
            await checkpoint()
            grown = memory() - before
            nursery.cancel_scope.cancel()
        return grown


ROWS = (SleepingTask(),)
