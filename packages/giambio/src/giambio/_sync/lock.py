# SPDX-License-Identifier: Apache-2.0
"""Locks: one task at a time, first come first served."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NoReturn

from giambio.exceptions import ResourceBroken, WouldBlock
from giambio_kernel import (
    Task,
    Trap,
    WaitQueue,
    break_all,
    current_task,
    get_running,
    replenish,
    trap,
    unpark,
)

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


class LockStatistics(NamedTuple):
    """What is known of a `Lock`."""

    locked: bool
    """Whether a task holds it."""
    owner: Task[Any] | None
    """The task that holds it."""
    tasks_waiting: int
    """How many tasks wait for it."""


class Lock:
    """Lets one task at a time into a piece of code, in the order in which they came.

    Use it with ``async with lock``. It belongs to the task that acquired it: acquiring it twice, and
    releasing it from another task, are errors. If its owner ends without releasing it, whatever it
    protects may be half done; so whoever waits for it, and whoever comes later, gets
    `ResourceBroken`.
    """

    __slots__ = ("__weakref__", "_owner", "_watched", "wait_queue")

    # Invariant: while somebody waits there is an owner, and it has not ended. A lock is handed over,
    # never up for grabs, so a task that comes later cannot overtake.
    _owner: Task[Any] | None
    # Whether the owner's end is watched. ``async with`` releases whatever happens, so it need not pay
    # for that; `acquire` cannot know.
    _watched: bool

    def __init__(self) -> None:
        self._owner = None
        self._watched = False
        self.wait_queue: WaitQueue = {}

    def __repr__(self) -> str:
        owner = self._owner
        if owner is None:
            return f"<{type(self).__name__} at {id(self):#x}, free>"
        ended = ", which has ended" if owner.done() else ""
        return (
            f"<{type(self).__name__} at {id(self):#x}, held by {owner.name!r}{ended}, "
            f"{len(self.wait_queue)} waiting>"
        )

    def locked(self) -> bool:
        """Whether a task holds it."""
        return self._owner is not None

    def holders(self) -> tuple[Task[Any], ...]:
        """The task that holds it."""
        return () if self._owner is None else (self._owner,)

    def acquire_nowait(self) -> None:
        """Acquire the lock if it is free.

        Raises:
            WouldBlock: Another task holds it.
            ResourceBroken: The task that held it has ended without releasing it.
            RuntimeError: The current task holds it.
        """
        task = current_task()
        owner = self._owner
        if owner is not None:
            if owner is task:
                self._refuse_twice(task)
            if owner.done():
                raise self._broken()
            raise WouldBlock(f"{self!r} is not free")
        self._owner = task
        self._watch()

    @trap
    def __aenter__(self) -> Trap[None]:
        """Acquire the lock; see `acquire`."""
        scheduler = get_running()
        owner = self._owner
        if owner is None:
            scheduler.credit = credit = scheduler.credit - 1
            if credit < 0 or scheduler.current.stopping:
                yield from replenish().__await__()
            owner = self._owner
            if owner is None:
                self._owner = scheduler.current
                return
        if owner is scheduler.current:
            self._refuse_twice(owner)
        if owner.scheduler is not scheduler:
            self._refuse_other_loop(owner)
        if not self.wait_queue and owner.done():
            raise self._broken()
        task = yield self
        if task.wake_error is not None:
            raise task.take_wake_error()

    async def acquire(self) -> None:
        """Wait until the lock is free, and acquire it.

        ``async with lock`` does the same and cannot forget to release it; it also costs less,
        because here the lock has to watch for the end of the task.

        Raises:
            RuntimeError: The current task holds it, or one of another loop.
            ResourceBroken: The task that held it has ended without releasing it.

        Checkpoint: always. If it raises, the lock was not acquired.
        """
        await self.__aenter__()
        self._watch()

    def release(self) -> None:
        """Hand the lock to the task that has waited longest, or free it.

        Raises:
            RuntimeError: The current task does not hold it.
        """
        if self._owner is not get_running().current:
            self._refuse_release()
        if self._watched:
            self._watched = False
            self._owner.remove_done_callback(self._owner_ended)
        self._owner = unpark(self.wait_queue) if self.wait_queue else None

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # `release` without the call; nobody watches.
        if self._owner is not get_running().current:
            self._refuse_release()
        self._owner = unpark(self.wait_queue) if self.wait_queue else None

    def statistics(self) -> LockStatistics:
        """Return who holds it and how many tasks wait."""
        return LockStatistics(self._owner is not None, self._owner, len(self.wait_queue))

    # When it is used wrongly

    def _watch(self) -> None:
        assert self._owner is not None
        self._watched = True
        self._owner.add_done_callback(self._owner_ended)

    def _owner_ended(self, task: Task[Any]) -> None:
        if self._owner is task:
            break_all(self.wait_queue, self._broken)

    def _broken(self) -> ResourceBroken:
        assert self._owner is not None
        return ResourceBroken(
            f"task {self._owner.name!r} ended without releasing {self!r}, so nobody can acquire it "
            "any more; use 'async with', which cannot forget to"
        )

    def _refuse_twice(self, task: Task[Any]) -> NoReturn:
        raise RuntimeError(f"task {task.name!r} already holds {self!r}; it would wait for itself")

    def _refuse_other_loop(self, owner: Task[Any]) -> NoReturn:
        raise RuntimeError(
            f"{self!r} belongs to task {owner.name!r} of another loop, which could not hand it over; "
            "between threads use threading.Lock"
        )

    def _refuse_release(self) -> NoReturn:
        task = current_task()
        owner = self._owner
        if owner is not None and owner.done():
            # An async generator that was left open in a task that has ended is closed by another.
            self._owner_ended(owner)
        raise RuntimeError(f"task {task.name!r} cannot release {self!r}: it does not hold it")
