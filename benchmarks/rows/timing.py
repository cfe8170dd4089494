# SPDX-License-Identifier: Apache-2.0
"""Rows about time: sleeping, and timeouts that do not expire."""

# mypy: disable-error-code="import-untyped"
# (curio has no types)

from __future__ import annotations

from itertools import repeat
from random import Random
from time import process_time

from benchmarks.reach import Reach
from benchmarks.row import LoopRow


class Timers(LoopRow):
    """1,000 tasks sleep again and again, 1 to 20 ms. An operation is one sleep; its processor time."""

    key = "timers"
    title = "timers, CPU per sleep"
    unit = "µs"
    reach = Reach(times=2.0)
    size = 10_000
    granule = 1_000
    repeats = 2
    clock = staticmethod(process_time)

    @staticmethod
    def pauses(n: int) -> list[list[float]]:
        """Return how long each task sleeps each time, the same for everybody."""
        random = Random(1)
        return [[random.uniform(0.001, 0.02) for _ in range(n // 1_000)] for _ in range(1_000)]

    async def bare(self, n: int) -> float:
        from benchmarks.bare import Pool, sleep

        async def sleeper(pauses: list[float]) -> None:
            for pause in pauses:
                await sleep(pause)

        async with Pool() as pool:
            for pauses in self.pauses(n):
                pool.spawn(sleeper, pauses)
            start = self.clock()
        return self.clock() - start

    async def giambio(self, n: int) -> float:
        from giambio import create_pool, sleep

        async def sleeper(pauses: list[float]) -> None:
            for pause in pauses:
                await sleep(pause)

        async with create_pool() as pool:
            for pauses in self.pauses(n):
                pool.spawn(sleeper, pauses)
            start = self.clock()
        return self.clock() - start

    async def asyncio(self, n: int) -> float:
        from asyncio import TaskGroup, sleep

        async def sleeper(pauses: list[float]) -> None:
            for pause in pauses:
                await sleep(pause)

        async with TaskGroup() as group:
            for pauses in self.pauses(n):
                group.create_task(sleeper(pauses))
            start = self.clock()
        return self.clock() - start

    async def curio(self, n: int) -> float:
        from curio import TaskGroup, sleep

        async def sleeper(pauses: list[float]) -> None:
            for pause in pauses:
                await sleep(pause)

        async with TaskGroup() as group:
            for pauses in self.pauses(n):
                await group.spawn(sleeper, pauses)
            start = self.clock()
        return self.clock() - start

    async def trio(self, n: int) -> float:
        from trio import open_nursery, sleep

        async def sleeper(pauses: list[float]) -> None:
            for pause in pauses:
                await sleep(pause)

        async with open_nursery() as nursery:
            for pauses in self.pauses(n):
                nursery.start_soon(sleeper, pauses)
            start = self.clock()
        return self.clock() - start


class QuickTimeout(LoopRow):
    """A timeout of 30 s around an async function that returns at once."""

    key = "timeout"
    title = "timeout around a quick operation"
    unit = "µs"
    reach = Reach(times=1.2)
    size = 30_000

    async def bare(self, n: int) -> float:
        from benchmarks.bare import Timeout

        start = self.clock()
        for _ in repeat(None, n):
            with Timeout(30):
                await _quick()
        return self.clock() - start

    async def giambio(self, n: int) -> float:
        from giambio import with_timeout

        start = self.clock()
        for _ in repeat(None, n):
            with with_timeout(30):
                await _quick()
        return self.clock() - start

    async def asyncio(self, n: int) -> float:
        from asyncio import timeout

        start = self.clock()
        for _ in repeat(None, n):
            async with timeout(30):
                await _quick()
        return self.clock() - start

    async def curio(self, n: int) -> float:
        from curio import timeout_after

        start = self.clock()
        for _ in repeat(None, n):
            async with timeout_after(30):
                await _quick()
        return self.clock() - start

    async def trio(self, n: int) -> float:
        from trio import fail_after

        start = self.clock()
        for _ in repeat(None, n):
            with fail_after(30):
                await _quick()
        return self.clock() - start


async def _quick() -> None:
    pass


class SwitchTimeout(LoopRow):
    """A timeout of 30 s around letting the others run."""

    key = "timeout-switch"
    title = "timeout around a switch"
    unit = "µs"
    reach = Reach(times=1.5)
    size = 30_000

    async def bare(self, n: int) -> float:
        from benchmarks.bare import Timeout, checkpoint

        start = self.clock()
        for _ in repeat(None, n):
            with Timeout(30):
                await checkpoint()
        return self.clock() - start

    async def giambio(self, n: int) -> float:
        from giambio import checkpoint, with_timeout

        start = self.clock()
        for _ in repeat(None, n):
            with with_timeout(30):
                await checkpoint()
        return self.clock() - start

    async def asyncio(self, n: int) -> float:
        from asyncio import sleep, timeout

        start = self.clock()
        for _ in repeat(None, n):
            async with timeout(30):
                await sleep(0)
        return self.clock() - start

    async def curio(self, n: int) -> float:
        from curio import sleep, timeout_after

        start = self.clock()
        for _ in repeat(None, n):
            async with timeout_after(30):
                await sleep(0)
        return self.clock() - start

    async def trio(self, n: int) -> float:
        from trio import fail_after
        from trio.lowlevel import checkpoint

        start = self.clock()
        for _ in repeat(None, n):
            with fail_after(30):
                await checkpoint()
        return self.clock() - start


ROWS = (Timers(), QuickTimeout(), SwitchTimeout())
