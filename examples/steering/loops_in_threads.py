# SPDX-License-Identifier: Apache-2.0
"""Two loops in two threads, whose tasks talk to each other.

A portal is a way into a loop. What is started through it is a task over there; the future of its outcome can
be awaited over here, and cancelling one side cancels the other.
"""

from __future__ import annotations

import threading

import giambio


class Counter:
    """Lives in its own loop; its tasks need no locks among themselves."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    async def count(self, word: str) -> int:
        self.counts[word] = self.counts.get(word, 0) + 1
        await giambio.sleep(0.001)
        return self.counts[word]


async def read(text: str, counter: Counter, portal: giambio.Portal) -> None:
    async with giambio.create_pool(limit=3) as pool:
        for word in text.split():
            await pool.spawn(giambio.await_future, portal.spawn(counter.count, word))


def main() -> None:
    counter = Counter()
    with giambio.start_blocking_portal() as portal:  # a loop in a thread of its own
        readers = [
            threading.Thread(target=giambio.run, args=(read, text, counter, portal))
            for text in ("the tortoise and the hare", "the hare sleeps")
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    for word in sorted(counter.counts):
        print(word, counter.counts[word])


if __name__ == "__main__":
    main()
