# SPDX-License-Identifier: Apache-2.0
"""Two tasks in the root pool of the run, joined by hand."""

from __future__ import annotations

import giambio


async def child(sleep: int, ident: int) -> None:
    start = giambio.clock()  # the time as giambio sees it
    print(f"[child {ident}] Gonna sleep for {sleep} seconds!")
    await giambio.sleep(sleep)
    end = giambio.clock() - start
    print(f"[child {ident}] I woke up! Slept for {end} seconds")


async def main() -> None:
    print("[parent] Spawning children")
    task = giambio.spawn(child, 1, 1)
    task2 = giambio.spawn(child, 2, 2)
    start = giambio.clock()
    print("[parent] Children spawned, awaiting completion")
    await task.join()
    await task2.join()
    end = giambio.clock() - start
    print(f"[parent] Execution terminated in {end} seconds")


if __name__ == "__main__":
    giambio.run(main)
