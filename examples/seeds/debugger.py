# SPDX-License-Identifier: Apache-2.0
"""A debugger that prints everything that the loop does with two sleeping children."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import giambio
from giambio.debug import BaseDebugger

if TYPE_CHECKING:
    from giambio import Task


class Debugger(BaseDebugger):
    """A simple debugger."""

    def on_start(self) -> None:
        print("## Started running")

    def on_exit(self) -> None:
        print("## Finished running")

    def on_task_schedule(self, task: Task[Any], delay: float) -> None:
        print(f">> A task named '{task.name}' was scheduled to run in {delay:.2f} seconds")

    def on_task_spawn(self, task: Task[Any]) -> None:
        print(f">> A task named '{task.name}' was spawned")

    def on_task_exit(self, task: Task[Any]) -> None:
        print(f"<< Task '{task.name}' exited")

    def before_task_step(self, task: Task[Any]) -> None:
        print(f"-> About to run a step for '{task.name}'")

    def after_task_step(self, task: Task[Any]) -> None:
        print(f"<- Ran a step for '{task.name}'")

    def before_sleep(self, task: Task[Any], seconds: float) -> None:
        print(f"# About to put '{task.name}' to sleep for {seconds:.2f} seconds")

    def after_sleep(self, task: Task[Any], seconds: float) -> None:
        print(f"# Task '{task.name}' slept for {seconds:.2f} seconds")

    def before_io(self, timeout: float) -> None:
        print(f"!! About to check for I/O for up to {timeout:.2f} seconds")

    def after_io(self, timeout: float) -> None:
        print(f"!! Done I/O check (timeout {timeout:.2f} seconds)")

    def before_cancel(self, task: Task[Any]) -> None:
        print(f"// About to cancel '{task.name}'")

    def after_cancel(self, task: Task[Any]) -> None:
        print(f"// Cancelled '{task.name}'")


async def child() -> None:
    print("[child] Child spawned!! Sleeping for 2 seconds")
    await giambio.sleep(2)
    print("[child] Had a nice nap!")


async def child1() -> None:
    print("[child 1] Child spawned!! Sleeping for 2 seconds")
    await giambio.sleep(2)
    print("[child 1] Had a nice nap!")


async def main() -> None:
    start = giambio.clock()
    async with giambio.create_pool() as pool:
        pool.spawn(child)
        pool.spawn(child1)
        print("[main] Children spawned, awaiting completion")
    print(f"[main] Children execution complete in {giambio.clock() - start:.2f} seconds")


if __name__ == "__main__":
    giambio.run(main, debugger=Debugger())
