# SPDX-License-Identifier: Apache-2.0
"""Semaphores: a number of permits that tasks take and give back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from giambio.exceptions import WouldBlock
from giambio_kernel import Trap, WaitQueue, get_running, replenish, trap, unpark

if TYPE_CHECKING:
    from types import TracebackType


class SemaphoreStatistics(NamedTuple):
    """What is known of a `Semaphore`."""

    value: int
    """How many permits are free."""
    max_value: int | None
    """How many there can be; None for any number."""
    tasks_waiting: int
    """How many tasks wait for one."""


class Semaphore:
    """So many permits, given out in the order in which tasks came for them.

    Nobody owns a permit: any task may release, also more often than it acquired. To have that
    checked, use `CapacityLimiter`, which knows its borrowers and can be resized, or a *max_value*.

    Args:
        value: How many permits there are at first.
        max_value: How many there may be; releasing more is an error. ``None`` sets no limit.

    Raises:
        TypeError: *value* or *max_value* is not a whole number.
        ValueError: *value* is negative, or more than *max_value*.
    """

    __slots__ = ("__weakref__", "_max", "_value", "wait_queue")

    # Invariant: nobody waits while a permit is free. A permit goes from hand to hand, so a task that
    # comes later cannot overtake.

    def __init__(self, value: int, max_value: int | None = None) -> None:
        for number in (value, 0 if max_value is None else max_value):
            if not isinstance(number, int):
                raise TypeError(f"permits are counted in whole numbers, not {number!r}")
        if value < 0:
            raise ValueError(f"value must be at least 0, not {value!r}")
        if max_value is not None and value > max_value:
            raise ValueError(f"value must be at most max_value, {max_value!r}, not {value!r}")
        self._value = value
        self._max = max_value
        self.wait_queue: WaitQueue = {}

    def __repr__(self) -> str:
        of = "" if self._max is None else f" of {self._max}"
        return (
            f"<Semaphore at {id(self):#x}, {self._value}{of} free, {len(self.wait_queue)} waiting>"
        )

    @property
    def value(self) -> int:
        """How many permits are free."""
        return self._value

    @property
    def max_value(self) -> int | None:
        """How many permits there may be; ``None`` for any number."""
        return self._max

    def acquire_nowait(self) -> None:
        """Take a permit if one is free.

        Raises:
            WouldBlock: None is free.
        """
        if not self._value:
            raise WouldBlock(f"{self!r} has no free permit")
        self._value -= 1

    @trap
    def acquire(self) -> Trap[None]:
        """Wait until a permit is free, and take it.

        Checkpoint: always. If it raises, no permit was taken.
        """
        task = get_running().current  # outside of a loop this says so
        if self._value:
            scheduler = task.scheduler
            scheduler.credit = credit = scheduler.credit - 1
            if credit < 0 or task.stopping:
                yield from replenish().__await__()
            if self._value:
                self._value -= 1
                return
        yield self
        if task.wake_error is not None:
            raise task.take_wake_error()

    def release(self) -> None:
        """Give a permit to the task that has waited longest, or leave it free.

        Raises:
            ValueError: All *max_value* permits are free already.
        """
        if self.wait_queue:
            unpark(self.wait_queue)
        elif self._value == self._max:
            raise ValueError(f"{self!r} was released more often than acquired")
        else:
            self._value += 1

    __aenter__ = acquire

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def statistics(self) -> SemaphoreStatistics:
        """Return how many permits are free and how many tasks wait."""
        return SemaphoreStatistics(self._value, self._max, len(self.wait_queue))
