# SPDX-License-Identifier: Apache-2.0
"""A poller of our own: one that asks another poller, and counts what it is asked.

The same protocol puts a loop on whatever can wait for descriptors. `SelectorPoller` takes any selector of
the standard library.
"""

from __future__ import annotations

import selectors
from collections import Counter
from collections.abc import Iterable

import giambio
from giambio.socket import socketpair
from giambio_kernel import AsyncScheduler, Poller, SelectorPoller


class CountingPoller:
    """Another poller, and how often it was asked for what."""

    def __init__(self, inner: Poller) -> None:
        self.inner = inner
        self.edge_triggered = inner.edge_triggered
        self.calls: Counter[str] = Counter()

    def poll(self, timeout: float | None) -> Iterable[tuple[int, int]]:
        self.calls["poll"] += 1
        return self.inner.poll(timeout)

    def add(self, fd: int, mask: int, edge: bool) -> None:
        self.calls["add"] += 1
        self.inner.add(fd, mask, edge)

    def change(self, fd: int, mask: int, edge: bool) -> None:
        self.calls["change"] += 1
        self.inner.change(fd, mask, edge)

    def remove(self, fd: int) -> None:
        self.calls["remove"] += 1
        self.inner.remove(fd)

    def fileno(self) -> int:
        return self.inner.fileno()

    def close(self) -> None:
        self.inner.close()


async def ping_pong(rounds: int) -> None:
    left, right = socketpair()

    async def echo() -> None:
        async with right:
            while data := await right.receive(100):
                await right.send_all(data)

    async with giambio.create_pool() as pool, left:
        pool.spawn(echo)
        for _ in range(rounds):
            await left.send_all(b"ping")
            assert await left.receive(100) == b"ping"


def main() -> None:
    poller = CountingPoller(SelectorPoller(selectors.PollSelector()))
    AsyncScheduler(poller=poller).start(ping_pong, 1000)
    for name in "add", "poll":
        print(name, "at most" if poller.calls[name] < 5000 else "more than", "5000 times")


if __name__ == "__main__":
    main()
