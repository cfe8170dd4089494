# SPDX-License-Identifier: Apache-2.0
"""Queues: items pass from the tasks that put them to those that get them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from giambio_kernel import (
    PARKED,
    Signal,
    Task,
    WaitQueue,
    enqueue,
    outcome,
    replenish,
    running,
    trap,
    unpark,
)

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

T = TypeVar("T")


class Queue(Generic[T]):
    """A queue, first in first out.

    Args:
        maxsize: How many items it holds; putting more waits. Zero or less sets no limit.
    """

    __slots__ = ("_getters", "_items", "_putters", "maxsize")

    # Invariants: nobody waits to get while there is an item, nor to put while there is room.

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self._items: deque[T] = deque()
        self._getters: WaitQueue = {}
        self._putters: WaitQueue = {}

    def __len__(self) -> int:
        return len(self._items)

    @trap
    def put(self, item: T) -> Generator[Signal, Task[Any], None]:
        scheduler = running.get()
        scheduler.credit -= 1
        if scheduler.credit < 0 or scheduler.current.stopping:
            yield from replenish().__await__()
        if self._getters:
            unpark(self._getters, item)
        elif 0 < self.maxsize <= len(self._items):
            enqueue(self._putters, self, item)
            outcome((yield PARKED))
        else:
            self._items.append(item)

    @trap
    def get(self) -> Generator[Signal, Task[Any], T]:
        scheduler = running.get()
        scheduler.credit -= 1
        if scheduler.credit < 0 or scheduler.current.stopping:
            yield from replenish().__await__()
        if not self._items:
            enqueue(self._getters, self)
            item: T = outcome((yield PARKED))
            return item
        item = self._items.popleft()
        putters = self._putters
        if putters:
            # The first to wait goes on, and its item takes the free place.
            self._items.append(next(iter(putters.values())))
            unpark(putters)
        return item
