# SPDX-License-Identifier: Apache-2.0
"""A blocking function in a thread that reports its progress to the loop, and can be stopped.

python threads_and_progress.py
"""

from __future__ import annotations

import time

import giambio


def export(rows: int, progress: giambio.Queue[int]) -> str:
    """Blocking code, such as a library's; it knows giambio by two calls."""
    for row in range(rows):
        time.sleep(0.001)  # the work
        giambio.from_thread.check_cancelled()
        if row % 10 == 0:
            giambio.from_thread.run(progress.put, row)
    return f"{rows} rows exported"


async def show(progress: giambio.Queue[int]) -> None:
    while True:
        print("row", await progress.get())


async def main(rows: int = 50) -> None:
    progress: giambio.Queue[int] = giambio.Queue(2)
    async with giambio.create_pool() as pool:
        pool.service(show, progress)
        with giambio.with_timeout(60):
            print(await giambio.run_in_thread(export, rows, progress))


if __name__ == "__main__":
    giambio.run(main)
