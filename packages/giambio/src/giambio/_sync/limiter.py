# SPDX-License-Identifier: Apache-2.0
"""Capacity limiters: so many tokens, and who has borrowed them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from giambio._numbers import check_count
from giambio.exceptions import ResourceBroken, WouldBlock
from giambio_kernel import (
    PARKED,
    Task,
    Trap,
    WaitQueue,
    break_all,
    current_task,
    enqueue,
    get_running,
    replenish,
    reschedule,
    touch_all,
    trap,
    unpark,
)

if TYPE_CHECKING:
    from types import TracebackType


class CapacityLimiterStatistics(NamedTuple):
    """What is known of a `CapacityLimiter`."""

    total_tokens: float
    """How many tokens there are."""
    borrowed_tokens: int
    """How many of them are borrowed."""
    borrowers: tuple[object, ...]
    """Who has borrowed them."""
    tasks_waiting: int
    """How many tasks wait for one."""


class CapacityLimiter:
    """So many tokens to borrow, each by one borrower at a time, first come first served.

    Unlike a semaphore it knows its borrowers and can be resized. The borrower is the current task
    unless another object is named. A token is lost if the task that borrowed it ends without giving
    it back; when all are lost, whoever waits and whoever comes later gets `ResourceBroken`.

    Args:
        total_tokens: How many tokens there are; infinity sets no limit.

    Raises:
        ValueError: *total_tokens* is negative, a fraction, or not a number.
    """

    __slots__ = ("__weakref__", "_borrowers", "_lost", "_total", "_waiters")

    # Invariant: nobody waits while a token is free, or when all are lost.

    def __init__(self, total_tokens: float) -> None:
        self._borrowers: dict[object, None] = {}
        # Those of the borrowers that are known to be tasks that have ended.
        self._lost: dict[Task[Any], None] = {}
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

        Raises:
            ValueError: Set to a number that is negative or a fraction.
        """
        return self._total

    @total_tokens.setter
    def total_tokens(self, total_tokens: float) -> None:
        check_count("total_tokens", total_tokens, 0)
        touch_all(self._waiters)
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
        """The tasks that have borrowed, if all borrowers are tasks; otherwise nobody knows who."""
        tasks = tuple(borrower for borrower in self._borrowers if isinstance(borrower, Task))
        return tasks if len(tasks) == len(self._borrowers) else ()

    def acquire_nowait(self) -> None:
        """Borrow a token for the current task if one is free. See `acquire_on_behalf_of_nowait`."""
        self.acquire_on_behalf_of_nowait(current_task())

    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        """Borrow a token if one is free.

        Args:
            borrower: Who borrows it: any hashable object.

        Raises:
            WouldBlock: No token is free.
            ResourceBroken: All tokens are lost.
            RuntimeError: The borrower has one already.
        """
        if borrower in self._borrowers:
            raise self._has_one(borrower)
        if len(self._borrowers) >= self._total:
            if self._all_lost():
                raise self._broken()
            raise WouldBlock(f"{self!r} has no free token")
        self._lend(borrower)

    async def __aenter__(self) -> None:
        """Borrow a token for the current task; see `acquire`."""
        await self._acquire_for(get_running().current)

    async def acquire(self) -> None:
        """Wait until a token is free, and borrow it for the current task.

        ``async with limiter`` does the same and cannot forget to give it back.

        Raises:
            RuntimeError: The current task has one already.
            ResourceBroken: All tokens are lost.

        Checkpoint: always. If it raises, no token was borrowed.
        """
        await self.__aenter__()
        current_task().add_done_callback(self._borrower_ended)

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Wait until a token is free, and borrow it.

        Args:
            borrower: Who borrows it: any hashable object.

        Raises:
            RuntimeError: The borrower has one already, or got one in another task meanwhile.
            ResourceBroken: All tokens are lost.

        Checkpoint: always. If it raises, no token was borrowed.
        """
        await self._acquire_for(borrower)
        if isinstance(borrower, Task):
            borrower.add_done_callback(self._borrower_ended)

    @trap
    def _acquire_for(self, borrower: object) -> Trap[None]:
        if borrower in self._borrowers:
            raise self._has_one(borrower)
        if len(self._borrowers) < self._total:
            scheduler = get_running()
            scheduler.credit = credit = scheduler.credit - 1
            if credit < 0 or scheduler.current.stopping:
                yield from replenish().__await__()
                if borrower in self._borrowers:
                    raise self._has_one(borrower)
            if len(self._borrowers) < self._total:
                self._borrowers[borrower] = None
                return
        if self._all_lost():
            raise self._broken()
        enqueue(self._waiters, self, borrower)
        task = yield PARKED
        if task.wake_error is not None:
            raise task.take_wake_error()

    def release(self) -> None:
        """Give back the token of the current task. See `release_on_behalf_of`."""
        self.release_on_behalf_of(current_task())

    def release_on_behalf_of(self, borrower: object) -> None:
        """Give back a token; the task that has waited longest gets it.

        Args:
            borrower: Who has borrowed it.

        Raises:
            RuntimeError: The borrower has none; or who waits for it belongs to a loop in another
                thread, and then it was not given back.
        """
        if borrower not in self._borrowers:
            self._look_for_lost()
            raise RuntimeError(f"{borrower!r} has no token of {self!r} to give back")
        if self._waiters:
            next(iter(self._waiters)).scheduler.touch()  # before anything has happened
        del self._borrowers[borrower]
        if isinstance(borrower, Task):
            borrower.remove_done_callback(self._borrower_ended)
            self._lost.pop(borrower, None)
        if self._waiters:
            self._hand_out()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release_on_behalf_of(get_running().current)

    def statistics(self) -> CapacityLimiterStatistics:
        """Return how many tokens there are, who has them and how many tasks wait."""
        return CapacityLimiterStatistics(
            self._total, len(self._borrowers), tuple(self._borrowers), len(self._waiters)
        )

    def _lend(self, borrower: object) -> None:
        self._borrowers[borrower] = None
        if isinstance(borrower, Task):
            borrower.add_done_callback(self._borrower_ended)

    def _hand_out(self) -> None:
        waiters, borrowers = self._waiters, self._borrowers
        while waiters and len(borrowers) < self._total:
            task, borrower = next(iter(waiters.items()))
            if borrower in borrowers:  # it waited in two tasks
                reschedule(task, error=self._has_one(borrower))
                del waiters[task]
            else:
                unpark(waiters)
                borrowers[borrower] = None
        if self._all_lost():
            break_all(waiters, self._broken)

    def _has_one(self, borrower: object) -> RuntimeError:
        return RuntimeError(f"{borrower!r} already has a token of {self!r}")

    # Borrowers that ended

    def _borrower_ended(self, task: Task[Any]) -> None:
        if task in self._borrowers:
            self._lost[task] = None
            if self._all_lost():
                break_all(self._waiters, self._broken)

    def _look_for_lost(self) -> None:
        """Notice borrowers that ended unwatched: in an async generator that others have to close."""
        for borrower in self._borrowers:
            if isinstance(borrower, Task) and borrower.done():
                self._borrower_ended(borrower)

    def _all_lost(self) -> bool:
        """Whether no token will ever come back."""
        return len(self._lost) == len(self._borrowers) >= self._total > 0

    def _broken(self) -> ResourceBroken:
        names = ", ".join(repr(task.name) for task in self._lost)
        return ResourceBroken(
            f"all tokens of {self!r} are lost: their borrowers ended without giving them back, "
            f"{names}; use 'async with', which cannot forget to"
        )
