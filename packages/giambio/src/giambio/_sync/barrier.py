# SPDX-License-Identifier: Apache-2.0
"""Barriers: places where tasks wait until enough of them are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from giambio.exceptions import ResourceBroken
from giambio_kernel import (
    WaitQueue,
    break_all,
    checkpoint,
    checkpoint_due,
    park,
    reschedule,
    touch_all,
)

if TYPE_CHECKING:
    from types import TracebackType


class BarrierStatistics(NamedTuple):
    """What is known of a `Barrier`."""

    parties: int
    """How many tasks it takes."""
    tasks_waiting: int
    """How many are there."""
    broken: bool
    """Whether it was aborted."""


class Barrier:
    """Holds tasks back until so many have come, then lets all of them go on, and can be used again.

    A task that is cancelled while it waits has not come: the others wait for another one.

    Args:
        parties: How many tasks it takes.

    Raises:
        TypeError: *parties* is not a whole number.
        ValueError: *parties* is less than 1.
    """

    __slots__ = ("__weakref__", "_broken", "_parties", "_waiters")

    # Invariant: fewer than `parties` tasks wait.

    def __init__(self, parties: int) -> None:
        if not isinstance(parties, int):
            raise TypeError(f"tasks are counted in whole numbers, not {parties!r}")
        if parties < 1:
            raise ValueError(f"parties must be at least 1, not {parties!r}")
        self._parties = parties
        self._waiters: WaitQueue = {}
        # Why it was aborted.
        self._broken: str | None = None

    def __repr__(self) -> str:
        state = "broken" if self.broken else f"{len(self._waiters)} of {self._parties} there"
        return f"<Barrier at {id(self):#x}, {state}>"

    @property
    def parties(self) -> int:
        """How many tasks it takes."""
        return self._parties

    @property
    def broken(self) -> bool:
        """Whether it was aborted and not reset since."""
        return self._broken is not None

    async def wait(self) -> int:
        """Wait until enough tasks have come.

        Returns:
            As the how-manieth of them this one came, from 0 to ``parties - 1``: a number for each, so
            that one can be chosen to do what is to be done once.

        Raises:
            ResourceBroken: The barrier was aborted, or was reset while the task waited.

        Checkpoint: always. If it is cancelled, the task has not come.
        """
        if checkpoint_due():
            await checkpoint()
        if self._broken is not None:
            raise ResourceBroken(self._broken)
        if len(self._waiters) + 1 < self._parties:
            position: int = await park(self._waiters, self)
            return position
        touch_all(self._waiters)
        for position, task in enumerate(self._waiters):
            reschedule(task, position)
        self._waiters.clear()
        return self._parties - 1

    async def __aenter__(self) -> int:
        """Wait until enough tasks have come; see `wait`."""
        return await self.wait()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def abort(self, reason: str = "the barrier was aborted") -> None:
        """Break the barrier: tasks that wait, and that come later, get `ResourceBroken`.

        For a task that finds that it will never get there.

        Args:
            reason: What the error says.
        """
        touch_all(self._waiters)
        self._broken = reason
        break_all(self._waiters, lambda: ResourceBroken(reason))

    def reset(self) -> None:
        """Make the barrier as new. Tasks that wait get `ResourceBroken`."""
        touch_all(self._waiters)
        self._broken = None
        break_all(self._waiters, lambda: ResourceBroken("the barrier was reset"))

    def statistics(self) -> BarrierStatistics:
        """Return how many tasks it takes and how many are there."""
        return BarrierStatistics(self._parties, len(self._waiters), self.broken)
