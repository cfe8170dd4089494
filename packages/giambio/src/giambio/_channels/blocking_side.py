# SPDX-License-Identifier: Apache-2.0
"""The side of a `ThreadQueue` that threads use: calls that block the thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from giambio._numbers import check_numbers
from giambio.exceptions import EndOfChannel, TooSlowError
from giambio_kernel import AsyncScheduler, get_running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .thread_queue import ThreadQueue

T = TypeVar("T")


class BlockingSide(Generic[T]):
    """What threads use of a `ThreadQueue`: its ``blocking``.

    ``for item in queue.blocking`` gets items until the queue is closed and empty.
    """

    __slots__ = ("_queue",)

    def __init__(self, queue: ThreadQueue[T]) -> None:
        self._queue = queue

    def __repr__(self) -> str:
        return f"<blocking side of {self._queue!r}>"

    def put(self, item: T, timeout: float | None = None) -> None:
        """Put an item into the queue, blocking the thread until there is room for it.

        Args:
            item: The item.
            timeout: How long to wait at most, in real seconds. Zero does not wait, ``None`` and
                infinity wait as long as it takes.

        Raises:
            TooSlowError: There was no room in time. The item was not put.
            ResourceClosed: The queue is closed, or was meanwhile.
            ValueError: *timeout* is negative or not a number.
            RuntimeError: This is a task, whose loop would stop for everybody.
        """
        queue = self._queue
        self._refuse_in_loop("put")
        seconds = _waitable(timeout)
        with queue._mutex:
            queue._threads_putting += 1
            try:
                queue._not_full.wait_for(
                    lambda: queue._closed or len(queue._items) < queue._room, seconds
                )
            except BaseException:  # Ctrl+C; if this thread was notified, another one can go on
                queue._not_full.notify()
                raise
            finally:
                queue._threads_putting -= 1
            if queue._closed:
                raise queue._closed_error()
            if len(queue._items) >= queue._room:
                raise TooSlowError(f"{queue!r} had no room within {timeout:g} s")
            queue._items.append(item)
            queue._not_empty.notify()
            queue._ask_to_serve()

    def get(self, timeout: float | None = None) -> T:
        """Take an item out of the queue, blocking the thread until there is one.

        Args:
            timeout: How long to wait at most, in real seconds. Zero does not wait, ``None`` and
                infinity wait as long as it takes.

        Raises:
            TooSlowError: There was no item in time.
            EndOfChannel: The queue is closed and empty.
            ValueError: *timeout* is negative or not a number.
            RuntimeError: This is a task, whose loop would stop for everybody.
        """
        queue = self._queue
        self._refuse_in_loop("get")
        seconds = _waitable(timeout)
        with queue._mutex:
            queue._threads_getting += 1
            try:
                queue._not_empty.wait_for(lambda: queue._items or queue._closed, seconds)
            except BaseException:
                queue._not_empty.notify()
                raise
            finally:
                queue._threads_getting -= 1
            if not queue._items:
                if queue._closed:
                    raise queue._end()
                raise TooSlowError(f"{queue!r} had no item within {timeout:g} s")
            item = queue._items.popleft()
            queue._not_full.notify()
            queue._ask_to_serve()
            return item

    def __iter__(self) -> Iterator[T]:
        while True:
            try:
                yield self.get()
            except EndOfChannel:
                return

    def close(self, *, drain: bool = True) -> list[T]:
        """Close the queue. See `ThreadQueue.close`."""
        return self._queue.close(drain=drain)

    def _refuse_in_loop(self, verb: str) -> None:
        scheduler = _loop_of_this_step()
        if scheduler is None:
            return
        if self._queue._scheduler in (None, scheduler):
            instead = f"a task must use 'await queue.{verb}()'"
        else:
            instead = f"a task of another run must use 'await giambio.run_in_thread(queue.blocking.{verb})'"
        raise RuntimeError(f"blocking.{verb}() would stop the loop and all its tasks: {instead}")


def _waitable(timeout: float | None) -> float | None:
    """Return what a condition of `threading` can wait for: with NaN it would spin for ever."""
    if timeout is None:
        return None
    check_numbers(timeout=timeout)
    if not timeout >= 0:
        raise ValueError(f"timeout must be at least 0, or None, not {timeout!r}")
    return min(timeout, threading.TIMEOUT_MAX)


def _loop_of_this_step() -> AsyncScheduler | None:
    """Return the loop that would stop if this thread did; None if this is no task."""
    scheduler: object = get_running()  # or what stands for none
    if not isinstance(scheduler, AsyncScheduler) or scheduler.current_task() is None:
        return None
    try:
        scheduler.touch()
    except RuntimeError:  # a thread that was given a copy of a task's context
        return None
    return scheduler
