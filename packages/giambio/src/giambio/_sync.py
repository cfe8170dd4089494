# SPDX-License-Identifier: Apache-2.0
"""Synchronisation: events and locks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar, overload

from giambio_kernel import (
    PARKED,
    Signal,
    Task,
    WaitQueue,
    current_task,
    enqueue,
    outcome,
    replenish,
    running,
    trap,
    unpark,
    wake,
)

from .exceptions import WouldBlock

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType
    from typing import Any

T = TypeVar("T")


class EventStatistics(NamedTuple):
    """What is known of an `Event`."""

    tasks_waiting: int


class Event(Generic[T]):
    """Something that happens once, and hands a value to everybody who waits for it.

    It cannot be cleared; a new event says better which occurrence is meant.
    """

    __slots__ = ("_is_set", "_value", "_waiters")

    def __init__(self) -> None:
        self._is_set = False
        self._value: Any = None
        # Made for the first one to wait; many an event has nobody waiting.
        self._waiters: WaitQueue | None = None

    def __repr__(self) -> str:
        state = "set" if self._is_set else f"{len(self._waiters or ())} waiting"
        return f"<Event at {id(self):#x}, {state}>"

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._is_set

    @overload
    def trigger(self: Event[None]) -> None: ...

    @overload
    def trigger(self, value: T) -> None: ...

    def trigger(self, value: Any = None) -> None:
        """Let it happen and wake all who wait, first come first served.

        Args:
            value: What `wait` returns. If it has happened before, nothing changes.
        """
        if not self._is_set:
            self._is_set = True
            self._value = value
            if self._waiters is not None:
                wake(self._waiters, value)
                self._waiters = None

    def set(self) -> None:
        """Let it happen: ``trigger(None)``."""
        if not self._is_set:
            self._is_set = True
            if self._waiters is not None:
                wake(self._waiters, None)
                self._waiters = None

    @trap
    def wait(self) -> Generator[Signal, Task[Any], T]:
        """Wait until it happens; if it has, no longer than for a turn of the others.

        Returns:
            The value given to `trigger`.

        Checkpoint: always.
        """
        if not self._is_set:
            if self._waiters is None:
                self._waiters = {}
            enqueue(self._waiters, self)
            value: T = outcome((yield PARKED))
            return value
        scheduler = running.get()
        scheduler.credit -= 1
        if scheduler.credit < 0 or scheduler.current.stopping:
            yield from replenish().__await__()
        value = self._value
        return value

    def statistics(self) -> EventStatistics:
        """Return how many tasks wait."""
        return EventStatistics(len(self._waiters or ()))


class LockStatistics(NamedTuple):
    """What is known of a `Lock`."""

    locked: bool
    owner: Task[Any] | None
    tasks_waiting: int


class Lock:
    """Lets one task at a time into a piece of code, in the order in which they came.

    Use it with ``async with lock``. It belongs to the task that acquired it: acquiring it twice, and
    releasing it from another task, are errors.
    """

    __slots__ = ("_owner", "_waiters")

    # Invariant: while somebody waits there is an owner. A lock is handed over, never up for grabs,
    # so a task that comes later cannot overtake.
    _owner: Task[Any] | None

    def __init__(self) -> None:
        self._owner = None
        self._waiters: WaitQueue = {}

    def __repr__(self) -> str:
        if self._owner is None:
            return f"<Lock at {id(self):#x}, free>"
        return (
            f"<Lock at {id(self):#x}, held by {self._owner.name!r}, {len(self._waiters)} waiting>"
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
            RuntimeError: The current task holds it.
        """
        task = current_task()
        if self._owner is None:
            self._owner = task
        elif self._owner is task:
            raise RuntimeError(f"task {task.name!r} already holds {self!r}")
        else:
            raise WouldBlock(f"{self!r} is not free")

    @trap
    def acquire(self) -> Generator[Signal, Task[Any], None]:
        """Wait until the lock is free, and acquire it.

        Raises:
            RuntimeError: The current task holds it.

        Checkpoint: always. If it raises, the lock was not acquired.
        """
        scheduler = running.get()
        if self._owner is None:
            scheduler.credit -= 1
            if scheduler.credit < 0 or scheduler.current.stopping:
                yield from replenish().__await__()
            if self._owner is None:
                self._owner = scheduler.current
                return
        if self._owner is scheduler.current:
            raise RuntimeError(f"task {self._owner.name!r} already holds {self!r}")
        enqueue(self._waiters, self)
        outcome((yield PARKED))

    def release(self) -> None:
        """Hand the lock to the task that has waited longest, or free it.

        Raises:
            RuntimeError: The current task does not hold it.
        """
        if self._owner is not running.get().current:
            raise RuntimeError(
                f"task {current_task().name!r} cannot release {self!r}: it does not hold it"
            )
        self._owner = unpark(self._waiters) if self._waiters else None

    __aenter__ = acquire

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def statistics(self) -> LockStatistics:
        """Return who holds it and how many tasks wait."""
        return LockStatistics(self._owner is not None, self._owner, len(self._waiters))
