# SPDX-License-Identifier: Apache-2.0
"""A task that blocks the loop, one that waits busily, and the tools that find them."""

from __future__ import annotations

import time

import giambio
from giambio.debug import BusyWaitDetector, SlowStepWatchdog


async def blocks() -> None:
    await giambio.checkpoint()
    time.sleep(0.3)  # should have been: await giambio.sleep(0.3)


async def waits_busily(task: giambio.Task[None]) -> None:
    while not task.done():
        await giambio.sleep(0.0001)  # should have been: await task.join()


async def main() -> None:
    async with giambio.create_pool() as pool:
        pool.spawn(blocks)
        pool.spawn(waits_busily, pool.spawn(giambio.sleep, 0.5))


if __name__ == "__main__":
    tools = [SlowStepWatchdog(0.05), BusyWaitDetector(turns=20, longest_step=0.01)]
    giambio.run(main, debugger=tools)
