# SPDX-License-Identifier: Apache-2.0
"""Queues: items pass from the tasks that put them to those that get them."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

from giambio._closing import ClosedByWith
from giambio._selection import Case, selecting, settle, settle_all
from giambio.exceptions import EndOfChannel, ResourceClosed, WouldBlock
from giambio_kernel import (
    PARKED,
    Trap,
    WaitQueue,
    break_all,
    checkpoint,
    checkpoint_due,
    enqueue,
    get_running,
    park,
    replenish,
    reschedule,
    touch_all,
    trap,
    unpark,
    unpark_all,
)

T = TypeVar("T")

INFINITY = float("inf")


class QueueStatistics(NamedTuple):
    """What is known of a queue."""

    items: int
    """How many items are in it."""
    maxsize: int
    """How many it holds; 0 for any number."""
    unfinished: int
    """For how many items `Queue.task_done` was not called yet."""
    tasks_waiting_to_put: int
    """How many tasks wait for room."""
    tasks_waiting_to_get: int
    """How many tasks wait for an item."""
    closed: bool
    """Whether nothing more can be put."""


def check_maxsize(maxsize: int) -> None:
    """Refuse what would hold another number of items than it says."""
    if not isinstance(maxsize, int):
        raise TypeError(f"maxsize must be a whole number, not {maxsize!r}; zero sets no limit")


class _Store(Protocol[T]):
    """Where the items of a queue are, named as in a deque, which is the fastest."""

    def append(self, item: T, /) -> None: ...
    def popleft(self) -> T: ...
    def __len__(self) -> int: ...


class Queue(ClosedByWith, Generic[T]):
    """A queue, first in first out.

    Items can be put and got by any number of tasks. ``async for item in queue`` gets items until the
    queue was closed and is empty. Used with ``with``, by who puts, it is closed at the end of the
    block.

    Args:
        maxsize: How many items it holds; putting more waits. Zero or less sets no limit, which lets
            a slow consumer fill the memory.

    Raises:
        TypeError: *maxsize* is not a whole number.
    """

    __slots__ = (
        "__weakref__", "_closed", "_getters", "_items", "_joiners", "_maxsize", "_putters", "_room",
        "_unfinished",
    )  # fmt: skip

    # Invariants: nobody waits to get while there is an item, nor to put while there is room.
    _items: _Store[T]
    _getters: WaitQueue
    # Each waiting task with the item that it puts.
    _putters: WaitQueue
    # How many items there may be. When the queue is closed, -1, so that a put need not look twice.
    _room: float
    # How many items were put and not yet reported done.
    _unfinished: int

    def __init__(self, maxsize: int = 0) -> None:
        check_maxsize(maxsize)
        self._maxsize = max(0, maxsize)
        self._room = maxsize if maxsize > 0 else INFINITY
        self._items = deque()
        self._getters = {}
        self._putters = {}
        self._joiners: WaitQueue = {}
        self._unfinished = 0
        self._closed = False

    def __repr__(self) -> str:
        of = f" of {self._maxsize}" if self._maxsize else ""
        closed = ", closed" if self._closed else ""
        joined = ""
        if self._joiners:
            joined = f", {len(self._joiners)} for {self._unfinished} unfinished to be done"
        return (
            f"<{type(self).__name__} at {id(self):#x}, {len(self._items)}{of} items, "
            f"{len(self._putters)} waiting to put, {len(self._getters)} to get{joined}{closed}>"
        )

    def __len__(self) -> int:
        return len(self._items)

    def __bool__(self) -> bool:
        """A queue is true, also when it is empty."""
        return True

    @property
    def maxsize(self) -> int:
        """How many items it holds; 0 for any number."""
        return self._maxsize

    def qsize(self) -> int:
        """Return how many items are in it."""
        return len(self._items)

    def empty(self) -> bool:
        """Whether getting an item would have to wait."""
        return not self._items

    def full(self) -> bool:
        """Whether putting an item would have to wait."""
        return not self._closed and len(self._items) >= self._room

    # Putting and getting

    @trap
    def put(self, item: T) -> Trap[None]:
        """Put an item into the queue, waiting until there is room for it.

        Args:
            item: The item.

        Raises:
            ResourceClosed: The queue is closed, or was meanwhile.

        Checkpoint: always. If it raises, the item was not put.
        """
        scheduler = get_running()
        scheduler.credit = credit = scheduler.credit - 1
        if credit < 0 or scheduler.current.stopping:
            yield from replenish().__await__()
        if self._getters:
            if selecting:
                settle(self._getters)
            unpark(self._getters, item)
            self._unfinished += 1
        elif len(self._items) < self._room:
            self._items.append(item)
            self._unfinished += 1
        else:
            if self._closed:
                raise self._closed_error()
            enqueue(self._putters, self, item)
            task = yield PARKED
            if task.wake_error is not None:
                raise task.take_wake_error()

    def put_nowait(self, item: T) -> None:
        """Put an item into the queue if there is room for it.

        Args:
            item: The item.

        Raises:
            WouldBlock: There is no room.
            ResourceClosed: The queue is closed.
        """
        if self._getters:
            if selecting:
                settle(self._getters)
            unpark(self._getters, item)
        elif len(self._items) < self._room:
            self._items.append(item)
        elif self._closed:
            raise self._closed_error()
        else:
            raise WouldBlock(f"{self!r} is full")
        self._unfinished += 1

    @trap
    def get(self) -> Trap[T]:
        """Take an item out of the queue, waiting until there is one.

        Returns:
            The item that was put first, of those that are there.

        Raises:
            EndOfChannel: The queue is closed and empty.

        Checkpoint: always. If it raises, no item was taken.
        """
        scheduler = get_running()
        scheduler.credit = credit = scheduler.credit - 1
        if credit < 0 or scheduler.current.stopping:
            yield from replenish().__await__()
        item: T
        if self._items:
            return self._swap() if self._putters else self._items.popleft()
        if self._closed:
            raise self._end()
        enqueue(self._getters, self)
        task = yield PARKED
        if task.wake_error is not None:
            raise task.take_wake_error()
        item = task.wake_value
        return item

    def get_nowait(self) -> T:
        """Take an item out of the queue if there is one.

        Raises:
            WouldBlock: There is none.
            EndOfChannel: The queue is closed and empty.
        """
        if self._items:
            return self._swap() if self._putters else self._items.popleft()
        if self._closed:
            raise self._end()
        raise WouldBlock(f"{self!r} is empty")

    def _swap(self) -> T:
        """Take the first item, and give its place to the one that has waited longest to be put."""
        putters = self._putters
        next(iter(putters)).scheduler.touch()  # before anything has happened
        first = self._items.popleft()
        while putters:
            task, item = next(iter(putters.items()))
            if selecting:
                settle(putters)
            try:
                self._items.append(item)
            except Exception as error:
                # It cannot be compared, which is no fault of whoever gets another one.
                del putters[task]
                reschedule(task, error=error)
            else:
                self._unfinished += 1
                unpark(putters)
                break
        return first

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Take an item; see `get`. The iteration stops when the queue is closed and empty."""
        try:
            return await self.get()
        except EndOfChannel:
            raise StopAsyncIteration from None

    # Its end

    def close(self, *, drain: bool = True) -> list[T]:
        """Close the queue: nothing can be put any more. Closing twice is fine.

        Tasks that wait to put an item get `ResourceClosed`, and keep it.

        Args:
            drain: Whether what is in the queue can still be got, and only then is it at its end. If
                not, it is at its end now; what was in it counts as done for `join`.

        Returns:
            What nobody will get any more; nothing if it is drained.

        Raises:
            RuntimeError: Tasks of a loop in another thread wait for it. Then it was not closed.
        """
        touch_all(self._putters)
        touch_all(self._getters)
        if not drain:
            touch_all(self._joiners)
        self._closed = True
        self._room = -1
        if selecting:
            settle_all(self._putters)
            settle_all(self._getters)
        break_all(self._putters, self._closed_error)
        break_all(self._getters, self._end)
        left: list[T] = []
        if not drain:
            while self._items:
                left.append(self._items.popleft())
            self._finish(len(left))
        return left

    @property
    def closed(self) -> bool:
        """Whether nothing more can be put."""
        return self._closed

    def _closed_error(self) -> ResourceClosed:
        return ResourceClosed(f"{self!r} was closed; nothing can be put into it any more")

    def _end(self) -> EndOfChannel:
        return EndOfChannel(f"{self!r} was closed and is empty")

    # Whether the work is done

    def task_done(self) -> None:
        """Report that an item that was got has been dealt with. See `join`.

        Raises:
            ValueError: This was called more often than items were put.
            RuntimeError: Tasks of a loop in another thread wait in `join`, and this is the last item.
        """
        if not self._unfinished:
            raise ValueError(f"task_done() was called more often than items were put into {self!r}")
        if self._joiners and self._unfinished == 1:
            touch_all(self._joiners)
        self._finish(1)

    def _finish(self, count: int) -> None:
        self._unfinished -= count
        if not self._unfinished:
            unpark_all(self._joiners)

    async def join(self) -> None:
        """Wait until `task_done` was called for each item that was put.

        Checkpoint: always.
        """
        if not self._unfinished:
            if checkpoint_due():
                await checkpoint()
        else:
            await park(self._joiners, self)

    def statistics(self) -> QueueStatistics:
        """Return how full it is and how many tasks wait."""
        return QueueStatistics(
            len(self._items),
            self._maxsize,
            self._unfinished,
            len(self._putters),
            len(self._getters),
            self._closed,
        )

    # As an argument of `select`

    def select_case(self) -> Case:
        """Return the case of getting an item, for `select`."""
        return Case(self, self.get_nowait, self._getters)

    def select_sending(self, item: T) -> Case:
        """Return the case of putting *item*, for `sending`."""
        return Case(self, partial(self.put_nowait, item), self._putters, item)
