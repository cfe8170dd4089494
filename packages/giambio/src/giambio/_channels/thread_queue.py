# SPDX-License-Identifier: Apache-2.0
"""A queue between tasks and ordinary threads: awaits on one side, blocking calls on the other.

All that both sides touch is guarded by one mutex, which is never held while anybody waits. The threads
wait on conditions of that mutex. The tasks wait in queues that only the loop's thread serves: a thread
that changes something while tasks wait leaves a call to `_serve` with the loop, one for a burst.
"""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import Any, Generic, NamedTuple, Self, TypeVar
from weakref import WeakSet

from giambio._closing import ClosedByWith
from giambio._selection import Case, selecting, settle, settle_all
from giambio.exceptions import EndOfChannel, ResourceClosed, WouldBlock
from giambio_kernel import (
    PARKED,
    AsyncScheduler,
    Trap,
    WaitQueue,
    break_all,
    checkpoint,
    checkpoint_due,
    current_scheduler,
    enqueue,
    trap,
    unpark,
)

from .blocking_side import BlockingSide
from .queues import check_maxsize

T = TypeVar("T")

INFINITY = float("inf")


class ThreadQueueStatistics(NamedTuple):
    """What is known of a `ThreadQueue`."""

    items: int
    """How many items are in it."""
    maxsize: int
    """How many it holds; 0 for any number."""
    tasks_waiting_to_put: int
    """How many tasks wait for room."""
    tasks_waiting_to_get: int
    """How many tasks wait for an item."""
    threads_waiting_to_put: int
    """How many threads wait for room."""
    threads_waiting_to_get: int
    """How many threads wait for an item."""
    closed: bool
    """Whether nothing more can be put."""


class ThreadQueue(ClosedByWith, Generic[T]):
    """A queue that tasks and ordinary threads may use, in both directions.

    Tasks await: ``await queue.get()``. Threads, those of `run_in_thread` or any others, use the methods
    of `blocking`: ``queue.blocking.put(item)``. Items come out in the order in which they went in.
    Tasks are served in the order in which they came, and so are threads, but not each with regard to
    the other: a thread that comes just then may take what a task waits for.

    It may be made anywhere; its tasks must all be of one run. At the end of that run it is closed, so
    that no thread is left waiting: threads can still get what is in it. Used with ``with``, by a task
    or a thread, it is closed at the end of the block.

    Args:
        maxsize: How many items it holds; putting more waits. Zero or less sets no limit.

    Raises:
        TypeError: *maxsize* is not a whole number.

    Attributes:
        blocking: What threads use.
    """

    __slots__ = (
        "__weakref__", "_closed", "_getters", "_items", "_maxsize", "_mutex", "_not_empty",
        "_not_full", "_putters", "_room", "_scheduler", "_serve_is_due", "_thread",
        "_threads_getting", "_threads_putting", "blocking",
    )  # fmt: skip

    def __init__(self, maxsize: int = 0) -> None:
        check_maxsize(maxsize)
        self._maxsize = max(0, maxsize)
        self._mutex = threading.Lock()
        self._not_empty = threading.Condition(self._mutex)
        self._not_full = threading.Condition(self._mutex)
        # Everything below is guarded by the mutex, except that a task which is cancelled leaves its
        # queue without it.
        self._items: deque[T] = deque()
        self._room: float = maxsize if maxsize > 0 else INFINITY
        self._getters: WaitQueue = {}
        # Each waiting task with the item that it puts.
        self._putters: WaitQueue = {}
        self._threads_getting = self._threads_putting = 0
        self._closed = False
        # Whether a call to `_serve` is on its way.
        self._serve_is_due = False
        # The run that its tasks are in, and the thread of that, once there is one.
        self._scheduler: AsyncScheduler | None = None
        self._thread = 0
        self.blocking: BlockingSide[T] = BlockingSide(self)

    def __repr__(self) -> str:
        of = f" of {self._maxsize}" if self._maxsize else ""
        closed = ", closed" if self._closed else ""
        return (
            f"<ThreadQueue at {id(self):#x}, {len(self._items)}{of} items, waiting to put: "
            f"{len(self._putters)} tasks, {self._threads_putting} threads; to get: "
            f"{len(self._getters)} tasks, {self._threads_getting} threads{closed}>"
        )

    def __len__(self) -> int:
        return len(self._items)

    def __bool__(self) -> bool:
        """A queue is true, also when it is empty."""
        return True

    @property
    def closed(self) -> bool:
        """Whether nothing more can be put."""
        return self._closed

    # For tasks

    async def put(self, item: T) -> None:
        """Put an item into the queue, waiting until there is room for it.

        Args:
            item: The item.

        Raises:
            ResourceClosed: The queue is closed, or was meanwhile.
            RuntimeError: A task of another run uses the queue.

        Checkpoint: always. If it raises, the item was not put.
        """
        if checkpoint_due():
            await checkpoint()
        try:
            self.put_nowait(item)
        except WouldBlock:
            with self._join_run().open_wakeup():
                await self._wait_to_put(item)

    @trap
    def _wait_to_put(self, item: T) -> Trap[None]:
        # Once more under the mutex, because a thread may have made room meanwhile.
        with self._mutex:
            if self._try_put(item):
                return
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
            RuntimeError: A task of another run uses the queue, or this is no task.
        """
        self._join_run()
        with self._mutex:
            if not self._try_put(item):
                raise WouldBlock(f"{self!r} is full")

    async def get(self) -> T:
        """Take an item out of the queue, waiting until there is one.

        Raises:
            EndOfChannel: The queue is closed and empty.
            RuntimeError: A task of another run uses the queue.

        Checkpoint: always. If it raises, no item was taken.
        """
        if checkpoint_due():
            await checkpoint()
        try:
            return self.get_nowait()
        except WouldBlock:
            with self._join_run().open_wakeup():
                return await self._wait_to_get()

    @trap
    def _wait_to_get(self) -> Trap[T]:
        item: T
        with self._mutex:
            if (self._items and not self._getters) or self._closed:
                item = self._take()
                return item
            enqueue(self._getters, self)
        task = yield PARKED
        if task.wake_error is not None:
            raise task.take_wake_error()
        item = task.wake_value
        return item

    def get_nowait(self) -> T:
        """Take an item out of the queue if there is one and nobody else waits for it.

        Raises:
            WouldBlock: There is none.
            EndOfChannel: The queue is closed and empty.
            RuntimeError: A task of another run uses the queue, or this is no task.
        """
        self._join_run()
        with self._mutex:
            if (self._items and not self._getters) or self._closed:
                return self._take()
            raise WouldBlock(f"{self!r} is empty")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Take an item; see `get`. The iteration stops when the queue is closed and empty."""
        try:
            return await self.get()
        except EndOfChannel:
            raise StopAsyncIteration from None

    def select_case(self) -> Case:
        """Return the case of getting an item, for `select`."""
        return Case(self, self.get_nowait, self._getters, on_wait=self._look_again, outside=True)

    def select_sending(self, item: T) -> Case:
        """Return the case of putting *item*, for `sending`."""
        return Case(
            self,
            partial(self.put_nowait, item),
            self._putters,
            item,
            on_wait=self._look_again,
            outside=True,
        )

    def _look_again(self) -> None:
        # Between the attempt and now, a thread may have changed something and seen nobody wait.
        self._join_run().call_soon_threadsafe(self._serve)

    # For both

    def close(self, *, drain: bool = True) -> list[T]:
        """Close the queue: nothing can be put any more. From any thread; closing twice is fine.

        Whoever waits to put an item gets `ResourceClosed`, and keeps it.

        Args:
            drain: Whether what is in the queue can still be got, and only then is it at its end.

        Returns:
            What nobody will get any more; nothing if it is drained.
        """
        with self._mutex:
            self._closed = True
            self._room = -1
            left: list[T] = []
            if not drain:
                left.extend(self._items)
                self._items.clear()
            self._not_empty.notify_all()
            self._not_full.notify_all()
            here = threading.get_ident() == self._thread
            if not here:
                self._ask_to_serve()
        if here:
            self._serve()
        return left

    def statistics(self) -> ThreadQueueStatistics:
        """Return how full it is and who waits."""
        return ThreadQueueStatistics(
            len(self._items),
            self._maxsize,
            len(self._putters),
            len(self._getters),
            self._threads_putting,
            self._threads_getting,
            self._closed,
        )

    def _try_put(self, item: T) -> bool:
        """With the mutex, in the loop: put an item if there is room and nobody waits for it."""
        if self._closed:
            raise self._closed_error()
        if self._putters or len(self._items) >= self._room:
            return False
        self._items.append(item)
        self._not_empty.notify()
        self._match()
        return True

    def _take(self) -> T:
        """With the mutex, in the loop: take the first item, or raise that there will be none."""
        if not self._items:
            raise self._end()
        item = self._items.popleft()
        self._not_full.notify()
        self._match()
        return item

    # In the loop, on behalf of threads

    def _join_run(self) -> AsyncScheduler:
        """Make sure that the current task may use it."""
        try:
            scheduler = current_scheduler()
        except RuntimeError:
            raise RuntimeError(
                f"only a task can do this with {self!r}; a thread must use queue.blocking"
            ) from None
        if self._scheduler is not scheduler:
            with self._mutex:
                if self._scheduler is not None:
                    raise RuntimeError(
                        f"{self!r} is used by tasks of another run; make one for each, or use "
                        "'await giambio.run_in_thread(queue.blocking.get)'"
                    )
                self._scheduler = scheduler
                self._thread = threading.get_ident()
            _close_at_end(self, scheduler)
        return scheduler

    def _ask_to_serve(self) -> None:
        """With the mutex, from a thread: let the loop see to the tasks that wait, if any do."""
        if (self._getters or self._putters) and not self._serve_is_due:
            assert self._scheduler is not None
            self._serve_is_due = True
            try:
                self._scheduler.call_soon_threadsafe(self._serve)
            except RuntimeError:
                pass  # the run has ended, and its tasks with it

    def _serve(self) -> None:
        """In the loop: see to the tasks that wait."""
        with self._mutex:
            self._serve_is_due = False
            self._match()

    def _match(self) -> None:
        """With the mutex, in the loop: hand over what can be handed over."""
        items, getters, putters = self._items, self._getters, self._putters
        while True:
            if items and getters:
                if selecting:
                    settle(getters)
                unpark(getters, items.popleft())
                self._not_full.notify()
            elif putters and len(items) < self._room:
                if selecting:
                    settle(putters)
                items.append(next(iter(putters.values())))
                unpark(putters)
                self._not_empty.notify()
            else:
                break
        if self._closed:
            if selecting:
                settle_all(putters)
                settle_all(getters)
            break_all(putters, self._closed_error)
            break_all(getters, self._end)

    def _closed_error(self) -> ResourceClosed:
        return ResourceClosed(f"{self!r} was closed; nothing can be put into it any more")

    def _end(self) -> EndOfChannel:
        return EndOfChannel(f"{self!r} was closed and is empty")


_QUEUES_KEY = object()


def _close_at_end(queue: ThreadQueue[Any], scheduler: AsyncScheduler) -> None:
    """Close the queue at the end of the run, so that no thread waits for tasks that are gone."""
    queues: WeakSet[ThreadQueue[Any]] | None = scheduler.locals.get(_QUEUES_KEY)
    if queues is None:
        queues = scheduler.locals[_QUEUES_KEY] = WeakSet()
        scheduler.add_cleanup(_close_all, queues)
    queues.add(queue)


def _close_all(queues: WeakSet[ThreadQueue[Any]]) -> None:
    for queue in list(queues):
        queue.close()
