# SPDX-License-Identifier: Apache-2.0
"""Rows about threads."""

# mypy: disable-error-code="import-untyped"
# (curio has no types)

from __future__ import annotations

from itertools import repeat

from benchmarks.reach import Reach
from benchmarks.row import LoopRow


class ThreadCall(LoopRow):
    """A task calls a function in a thread and waits for it, again and again."""

    key = "thread"
    title = "thread offload, one call at a time"
    unit = "µs"
    reach = Reach(times=2.0)
    size = 1_000

    async def bare(self, n: int) -> float:
        from benchmarks.bare import Worker

        worker = Worker()
        start = self.clock()
        for _ in repeat(None, n):
            await worker.call(_nothing)
        taken = self.clock() - start
        worker.close()
        return taken

    async def giambio(self, n: int) -> float:
        from giambio import run_in_thread

        start = self.clock()
        for _ in repeat(None, n):
            await run_in_thread(_nothing)
        return self.clock() - start

    async def asyncio(self, n: int) -> float:
        from asyncio import to_thread

        start = self.clock()
        for _ in repeat(None, n):
            await to_thread(_nothing)
        return self.clock() - start

    async def curio(self, n: int) -> float:
        from curio import run_in_thread

        start = self.clock()
        for _ in repeat(None, n):
            await run_in_thread(_nothing)
        return self.clock() - start

    async def trio(self, n: int) -> float:
        from trio.to_thread import run_sync

        start = self.clock()
        for _ in repeat(None, n):
            await run_sync(_nothing)
        return self.clock() - start


def _nothing() -> None:
    pass


ROWS = (ThreadCall(),)
