# SPDX-License-Identifier: Apache-2.0
"""A loop in a plain ``while``: every tick is ours, and between two of them we do what we like."""

from __future__ import annotations

import selectors

import giambio
from giambio.hosting import seconds_to_wait


async def count_down(start: int) -> str:
    for number in range(start, 0, -1):
        print(number)
        await giambio.sleep(0.01)
    return "lift-off"


def main() -> None:
    with giambio.AsyncScheduler() as loop, selectors.DefaultSelector() as selector:
        task = loop.start(count_down, 3, loop=False)
        selector.register(loop.fileno(), selectors.EVENT_READ)
        ticks = 1
        while loop.tick():
            # What else this selector watches is served here. Nothing spins: it waits until the
            # loop has something to do.
            selector.select(seconds_to_wait(loop))
            ticks += 1
        print(task.result(), "after", "few" if ticks < 20 else "many", "ticks")


if __name__ == "__main__":
    main()
