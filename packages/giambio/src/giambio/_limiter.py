# SPDX-License-Identifier: Apache-2.0
"""Capacity limiters: so many tokens, and who has borrowed them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from giambio_kernel import Task, WaitQueue, checkpoint, checkpoint_due, current_task, park, unpark

from .exceptions import WouldBlock

if TYPE_CHECKING:
    from types import TracebackType


class CapacityLimiterStatistics(NamedTuple):
    """What is known of a `CapacityLimiter`."""

    total_tokens: float
    borrowed_tokens: int
    borrowers: tuple[object, ...]
    tasks_waiting: int


class CapacityLimiter:
    """So many tokens to borrow, each by one borrower at a time, first come first served.

    Unlike a semaphore it knows its borrowers and can be resized. The borrower is the current task
    unless another object is named.

    Args:
        total_tokens: How many tokens there are; infinity sets no limit.

    Raises:
        ValueError: *total_tokens* is negative or not a number.
    """

    __slots__ = ("_borrowers", "_total", "_waiters")

    # Invariant: nobody waits while a token is free.

    def __init__(self, total_tokens: float) -> None:
        self._borrowers: dict[object, None] = {}
        # Each waiting task with the borrower that it wants the token for.
        self._waiters: WaitQueue = {}
        self._total = 0.0
        self.total_tokens = total_tokens

    def __repr__(self) -> str:
        return (
            f"<CapacityLimiter at {id(self):#x}, {len(self._borrowers)} of {self._total:g} "
            f"borrowed, {len(self._waiters)} waiting>"
        )

    @property
    def total_tokens(self) -> float:
        """How many tokens there are.

        Can be set at any time. With more, waiting tasks go on; with fewer, no token is taken away,
        and none is given out until enough have come back.
        """
        return self._total

    @total_tokens.setter
    def total_tokens(self, total_tokens: float) -> None:
        if not total_tokens >= 0:
            raise ValueError(f"total_tokens must be at least 0, not {total_tokens!r}")
        self._total = total_tokens
        self._hand_out()

    @property
    def borrowed_tokens(self) -> int:
        """How many tokens are borrowed."""
        return len(self._borrowers)

    @property
    def available_tokens(self) -> float:
        """How many tokens are free."""
        return max(0, self._total - len(self._borrowers))

    def holders(self) -> tuple[Task[Any], ...]:
        """The tasks among the borrowers."""
        return tuple(borrower for borrower in self._borrowers if isinstance(borrower, Task))

    def acquire_nowait(self) -> None:
        """Borrow a token for the current task if one is free. See `acquire_on_behalf_of_nowait`."""
        self.acquire_on_behalf_of_nowait(current_task())

    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        """Borrow a token if one is free.

        Args:
            borrower: Who borrows it: any hashable object.

        Raises:
            WouldBlock: No token is free.
            RuntimeError: The borrower has one already.
        """
        self._check_new(borrower)
        if len(self._borrowers) >= self._total:
            raise WouldBlock(f"{self!r} has no free token")
        self._borrowers[borrower] = None

    async def acquire(self) -> None:
        """Wait until a token is free, and borrow it for the current task.

        Raises:
            RuntimeError: The current task has one already.

        Checkpoint: always. If it raises, no token was borrowed.
        """
        await self.acquire_on_behalf_of(current_task())

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Wait until a token is free, and borrow it.

        Args:
            borrower: Who borrows it: any hashable object.

        Raises:
            RuntimeError: The borrower has one already, or waits for one.

        Checkpoint: always. If it raises, no token was borrowed.
        """
        self._check_new(borrower)
        if checkpoint_due():
            await checkpoint()
            self._check_new(borrower)
        if len(self._borrowers) < self._total:
            self._borrowers[borrower] = None
        else:
            await park(self._waiters, self, borrower)

    def release(self) -> None:
        """Give back the token of the current task. See `release_on_behalf_of`."""
        self.release_on_behalf_of(current_task())

    def release_on_behalf_of(self, borrower: object) -> None:
        """Give back a token; the task that has waited longest gets it.

        Args:
            borrower: Who has borrowed it.

        Raises:
            RuntimeError: The borrower has none.
        """
        try:
            del self._borrowers[borrower]
        except KeyError:
            raise RuntimeError(f"{borrower!r} has no token of {self!r} to give back") from None
        self._hand_out()

    def _check_new(self, borrower: object) -> None:
        if borrower in self._borrowers:
            raise RuntimeError(f"{borrower!r} already has a token of {self!r}")

    def _hand_out(self) -> None:
        while self._waiters and len(self._borrowers) < self._total:
            self._borrowers[next(iter(self._waiters.values()))] = None
            unpark(self._waiters)

    __aenter__ = acquire

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def statistics(self) -> CapacityLimiterStatistics:
        """Return how many tokens there are, who has them and how many tasks wait."""
        return CapacityLimiterStatistics(
            self._total, len(self._borrowers), tuple(self._borrowers), len(self._waiters)
        )
