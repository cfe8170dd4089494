# SPDX-License-Identifier: Apache-2.0
"""A debugger of one's own: how often each task ran, and how much of the processor it took."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Any

import giambio
from giambio.debug import BaseDebugger


class TimePerTask(BaseDebugger):
    """Adds up the steps of tasks, by their names."""

    def __init__(self) -> None:
        self.steps: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)
        self.began = 0.0

    def before_task_step(self, task: giambio.Task[Any]) -> None:
        self.began = time.thread_time()

    def after_task_step(self, task: giambio.Task[Any]) -> None:
        self.steps[task.name] += 1
        self.seconds[task.name] += time.thread_time() - self.began

    # A step in which the task ends has no `after_task_step`.
    on_task_exit = after_task_step

    def on_exit(self) -> None:
        for name, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
            print(f"{name:10} {self.steps[name]:5} steps {seconds * 1000:8.1f} ms")


async def thinks() -> None:
    for _ in range(10):
        sum(range(50_000))
        await giambio.checkpoint()


async def naps() -> None:
    for _ in range(5):
        await giambio.sleep(0.001)


async def main() -> None:
    async with giambio.create_pool() as pool:
        pool.spawn(thinks)
        pool.spawn(naps)


if __name__ == "__main__":
    giambio.run(main, debugger=TimePerTask())
