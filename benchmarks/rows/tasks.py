# SPDX-License-Identifier: Apache-2.0
"""Rows about tasks: letting others run, starting and ending, cancelling, a whole run."""

# mypy: disable-error-code="import-untyped"
# (curio has no types)

from __future__ import annotations

from itertools import repeat

from benchmarks.reach import Reach
from benchmarks.row import LoopRow


class Switch(LoopRow):
    """Some tasks do nothing but let each other run. An operation is one such switch."""

    unit = "ns"
    reach = Reach(times=1.8)
    size = 100_000

    def __init__(self, tasks: int) -> None:
        self.tasks = self.granule = tasks
        self.key = f"switch-{tasks}"
        self.title = f"switch, {tasks:,} task{'s' * (tasks > 1)}"

    async def bare(self, n: int) -> float:
        from benchmarks.bare import Pool, checkpoint

        async def child() -> None:
            for _ in repeat(None, n // self.tasks):
                await checkpoint()

        async with Pool() as pool:
            start = self.clock()
            for _ in range(self.tasks):
                pool.spawn(child)
        return self.clock() - start

    async def giambio(self, n: int) -> float:
        from giambio import checkpoint, create_pool

        async def child() -> None:
            for _ in repeat(None, n // self.tasks):
                await checkpoint()

        async with create_pool() as pool:
            start = self.clock()
            for _ in range(self.tasks):
                pool.spawn(child)
        return self.clock() - start

    async def asyncio(self, n: int) -> float:
        from asyncio import TaskGroup, sleep

        async def child() -> None:
            for _ in repeat(None, n // self.tasks):
                await sleep(0)

        async with TaskGroup() as group:
            start = self.clock()
            for _ in range(self.tasks):
                group.create_task(child())
        return self.clock() - start

    async def curio(self, n: int) -> float:
        from curio import TaskGroup, sleep

        async def child() -> None:
            for _ in repeat(None, n // self.tasks):
                await sleep(0)

        async with TaskGroup() as group:
            start = self.clock()
            for _ in range(self.tasks):
                await group.spawn(child)
        return self.clock() - start

    async def trio(self, n: int) -> float:
        from trio import open_nursery
        from trio.lowlevel import checkpoint

        async def child() -> None:
            for _ in repeat(None, n // self.tasks):
                await checkpoint()

        async with open_nursery() as nursery:
            start = self.clock()
            for _ in range(self.tasks):
                nursery.start_soon(child)
        return self.clock() - start


class Spawn(LoopRow):
    """A pool starts 100 tasks that return at once, and waits for them. An operation is one task.

    With 1,000 the memory of the machine would be measured along with the library.
    """

    key = "spawn"
    title = "spawn + join in a pool"
    unit = "µs"
    reach = Reach(times=2.2)
    size = 20_000
    granule = 100

    async def bare(self, n: int) -> float:
        from benchmarks.bare import Pool

        start = self.clock()
        for _ in range(n // 100):
            async with Pool() as pool:
                for i in range(100):
                    pool.spawn(_child, i)
        return self.clock() - start

    async def giambio(self, n: int) -> float:
        from giambio import create_pool

        start = self.clock()
        for _ in range(n // 100):
            async with create_pool() as pool:
                for i in range(100):
                    pool.spawn(_child, i)
        return self.clock() - start

    async def asyncio(self, n: int) -> float:
        from asyncio import TaskGroup

        start = self.clock()
        for _ in range(n // 100):
            async with TaskGroup() as group:
                for i in range(100):
                    group.create_task(_child(i))
        return self.clock() - start

    async def curio(self, n: int) -> float:
        from curio import TaskGroup

        start = self.clock()
        for _ in range(n // 100):
            async with TaskGroup() as group:
                for i in range(100):
                    await group.spawn(_child, i)
        return self.clock() - start

    async def trio(self, n: int) -> float:
        from trio import open_nursery

        start = self.clock()
        for _ in range(n // 100):
            async with open_nursery() as nursery:
                for i in range(100):
                    nursery.start_soon(_child, i)
        return self.clock() - start


async def _child(i: int) -> int:
    return i


class Cancel(LoopRow):
    """10,000 tasks sleep; they are cancelled together and awaited. An operation is one task."""

    key = "cancel-10000"
    title = "cancel 10,000 sleepers, each"
    unit = "µs"
    reach = Reach(times=2.5)
    size = granule = 10_000

    async def bare(self, n: int) -> float:
        from benchmarks.bare import Pool, checkpoint, sleep

        async with Pool() as pool:
            sleepers = [pool.spawn(sleep, 3600) for _ in range(n)]
            await checkpoint()
            start = self.clock()
            for sleeper in sleepers:
                sleeper.cancel()
        return self.clock() - start

    async def giambio(self, n: int) -> float:
        from giambio import checkpoint, create_pool, sleep

        async with create_pool() as pool:
            for _ in range(n):
                pool.spawn(sleep, 3600)
            await checkpoint()
            start = self.clock()
            pool.cancel()
        return self.clock() - start

    async def asyncio(self, n: int) -> float:
        from asyncio import create_task, sleep, wait

        sleepers = [create_task(sleep(3600)) for _ in range(n)]
        await sleep(0)
        start = self.clock()
        for sleeper in sleepers:
            sleeper.cancel()
        await wait(sleepers)
        return self.clock() - start

    async def curio(self, n: int) -> float:
        from curio import TaskGroup, sleep

        async with TaskGroup() as group:
            for _ in range(n):
                await group.spawn(sleep, 3600)
            await sleep(0)
            start = self.clock()
            await group.cancel_remaining()
        return self.clock() - start

    async def trio(self, n: int) -> float:
        from trio import open_nursery, sleep
        from trio.lowlevel import checkpoint

        async with open_nursery() as nursery:
            for _ in range(n):
                nursery.start_soon(sleep, 3600)
            # After the first one they all have had their turn: trio does not keep an order.
            await checkpoint()
            await checkpoint()
            start = self.clock()
            nursery.cancel_scope.cancel()
        return self.clock() - start


class Run(LoopRow):
    """A loop is made, runs a task that does nothing, and is closed. An operation is one such run."""

    key = "run"
    title = "`run` of a no-op"
    unit = "µs"
    reach = Reach(at_most=30, ahead_of="asyncio")
    size = 200

    def bare(self, n: int) -> float:
        from benchmarks.bare import run

        start = self.clock()
        for _ in range(n):
            run(_nothing)
        return self.clock() - start

    def giambio(self, n: int) -> float:
        from giambio import run

        start = self.clock()
        for _ in range(n):
            run(_nothing)
        return self.clock() - start

    def asyncio(self, n: int) -> float:
        from asyncio import run

        start = self.clock()
        for _ in range(n):
            run(_nothing())
        return self.clock() - start

    def uvloop(self, n: int) -> float:
        from uvloop import run

        start = self.clock()
        for _ in range(n):
            run(_nothing())
        return self.clock() - start

    def curio(self, n: int) -> float:
        from curio import run

        start = self.clock()
        for _ in range(n):
            run(_nothing)
        return self.clock() - start

    def trio(self, n: int) -> float:
        from trio import run

        start = self.clock()
        for _ in range(n):
            run(_nothing)
        return self.clock() - start


async def _nothing() -> None:
    pass


ROWS = (Switch(1), Switch(2), Switch(1_000), Spawn(), Cancel(), Run())
