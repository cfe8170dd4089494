# SPDX-License-Identifier: Apache-2.0
"""Queues that give out their items in another order than that of putting."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .queues import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class LifoQueue(Queue[T]):
    """A queue, last in first out: a stack. See `Queue`."""

    __slots__ = ()

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self._items = _Stack()


class PriorityQueue(Queue[T]):
    """A queue that gives out the least item first, and equal ones in the order of putting. See `Queue`.

    Args:
        maxsize: How many items it holds; putting more waits. Zero or less sets no limit.
        key: A function of an item that says what to compare. By default the items themselves.
    """

    __slots__ = ()

    def __init__(self, maxsize: int = 0, *, key: Callable[[T], Any] | None = None) -> None:
        super().__init__(maxsize)
        self._items = _Heap(key)


class _Stack(deque[T]):
    """A deque that is read from the end at which it is written."""

    popleft = deque.pop


class _Heap(Generic[T]):
    """The least item first."""

    __slots__ = ("_count", "_entries", "_key")

    def __init__(self, key: Callable[[T], Any] | None) -> None:
        self._key = key
        # What to compare, then a number that grows, so that equal items stay in order and are never
        # compared themselves.
        self._entries: list[tuple[Any, int, T]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, item: T) -> None:
        self._count += 1
        rank = item if self._key is None else self._key(item)
        try:
            heappush(self._entries, (rank, self._count, item))
        except BaseException:
            # It cannot be compared with the others, and stands among them.
            self._entries = [entry for entry in self._entries if entry[1] != self._count]
            heapify(self._entries)
            raise

    def popleft(self) -> T:
        first = self._entries[0]
        try:
            heappop(self._entries)
        except BaseException:
            self._entries.append(first)
            raise
        return first[2]
