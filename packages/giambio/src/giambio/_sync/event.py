# SPDX-License-Identifier: Apache-2.0
"""Events: something that happens once, and a value that it hands to all who wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar, overload

from giambio._selection import Case, selecting, settle_all
from giambio.exceptions import WouldBlock
from giambio_kernel import Trap, WaitQueue, get_running, replenish, trap, wake

if TYPE_CHECKING:
    from typing import Any

T = TypeVar("T")


class EventStatistics(NamedTuple):
    """What is known of an `Event`."""

    tasks_waiting: int
    """How many tasks wait for it."""


class Event(Generic[T]):
    """Something that happens once, and hands a value to everybody who waits for it.

    It cannot be cleared; a new event says better which occurrence is meant.
    """

    __slots__ = ("_value", "wait_queue")

    # Who waits for it. Invariant: None exactly if it has happened.
    wait_queue: WaitQueue | None
    # Set when it happens, not before.
    _value: Any

    def __init__(self) -> None:
        self.wait_queue = {}

    def __repr__(self) -> str:
        state = "set" if self.wait_queue is None else f"{len(self.wait_queue)} waiting"
        return f"<Event at {id(self):#x}, {state}>"

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self.wait_queue is None

    @overload
    def trigger(self: Event[None]) -> None: ...

    @overload
    def trigger(self, value: T) -> None: ...

    def trigger(self, value: Any = None) -> None:
        """Let it happen and wake all who wait, first come first served.

        Args:
            value: What `wait` returns. If it has happened before, nothing changes.

        Raises:
            RuntimeError: Tasks of a loop in another thread wait for it. Then it has not happened;
                use ``call_soon_threadsafe`` of their loop.
        """
        waiters = self.wait_queue
        if waiters is not None:
            if waiters:
                wake(waiters, value)
                if selecting:
                    settle_all(waiters)
            self._value = value
            self.wait_queue = None

    def set(self) -> None:
        """Let it happen: ``trigger(None)``."""
        # Written out: an event that says nothing is the common one.
        waiters = self.wait_queue
        if waiters is not None:
            if waiters:
                wake(waiters, None)
                if selecting:
                    settle_all(waiters)
            self._value = None
            self.wait_queue = None

    @trap
    def wait(self) -> Trap[T]:
        """Wait until it happens; if it has, no longer than for a turn of the others.

        Returns:
            The value given to `trigger`.

        Raises:
            RuntimeError: Not called from inside a loop.

        Checkpoint: always.
        """
        task = get_running().current  # outside of a loop this says so
        if self.wait_queue is not None:
            yield self
            if task.wake_error is not None:
                raise task.take_wake_error()
            return task.wake_value  # type: ignore[no-any-return]
        scheduler = task.scheduler
        scheduler.credit = credit = scheduler.credit - 1
        if credit < 0 or task.stopping:
            yield from replenish().__await__()
        return self._value  # type: ignore[no-any-return]

    def wait_nowait(self) -> T:
        """Return the value if it has happened.

        Raises:
            WouldBlock: It has not.
        """
        if self.wait_queue is not None:
            raise WouldBlock(f"{self!r} has not happened yet")
        value: T = self._value
        return value

    def select_case(self) -> Case:
        """Return the case of waiting for it, for `select`."""
        waiters = self.wait_queue
        return Case(self, self.wait_nowait, {} if waiters is None else waiters)

    def statistics(self) -> EventStatistics:
        """Return how many tasks wait."""
        return EventStatistics(len(self.wait_queue or ()))
