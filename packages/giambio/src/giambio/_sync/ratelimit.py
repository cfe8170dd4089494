# SPDX-License-Identifier: Apache-2.0
"""Rate limits: so many operations in so much time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from giambio._numbers import check_numbers
from giambio.exceptions import WouldBlock
from giambio_kernel import (
    AsyncScheduler,
    WaitQueue,
    checkpoint,
    checkpoint_due,
    current_scheduler,
    park,
    sleep_until,
    unpark,
)

if TYPE_CHECKING:
    from types import TracebackType

INFINITY = float("inf")


class RateLimitStatistics(NamedTuple):
    """What is known of a `RateLimit` in this run."""

    available: float
    """How much could be done at once now."""
    seconds_until_next: float
    """How long until one operation is possible, if nobody else waits; 0 if it is now."""
    tasks_waiting: int
    """How many tasks wait."""


class _Run:
    """What is known of one limit in one run. Another run may have another clock."""

    __slots__ = ("full_again", "turn_taken", "waiters")

    def __init__(self) -> None:
        # When the whole burst will be possible again; a moment in the past if it is now. Each
        # operation moves it later by what it takes.
        self.full_again = -INFINITY
        # Invariant: whether a task has the turn to wait for the clock; the others wait for the turn.
        self.turn_taken = False
        self.waiters: WaitQueue = {}


class RateLimit:
    """Lets so many operations through in so much time, first come first served.

    Example::

        limit = RateLimit(10, per=1.0)

        async with limit:
            await fetch(url)

    By default they are spread evenly: ten per second is one every 100 ms, and at most ten in any
    second. With a *burst* so many may come at once after a quiet time, and in any span of *per*
    seconds at most ``n + burst - 1``.

    There is nothing to give back, so leaving the block does nothing. Each run counts for itself, on
    its own clock.

    Args:
        n: How many operations.
        per: In how many seconds of the loop's clock.
        burst: How many of them may be done at once.

    Raises:
        ValueError: *n* or *per* is not a positive finite number, or *burst* is less than 1.

    Source: the generic cell rate algorithm, ITU-T I.371, in its virtual scheduling form.
    """

    __slots__ = ("__weakref__", "_burst", "_interval", "_n", "_per", "_runs")

    def __init__(self, n: float, *, per: float = 1.0, burst: float = 1) -> None:
        check_numbers(n=n, per=per, burst=burst)
        if not 0 < n < INFINITY:
            raise ValueError(f"n must be a positive number, not {n!r}")
        if not 0 < per < INFINITY:
            raise ValueError(f"per must be a positive number of seconds, not {per!r}")
        if not 1 <= burst < INFINITY:
            raise ValueError(f"burst must be at least 1, not {burst!r}")
        self._n = n
        self._per = per
        self._burst = burst
        self._interval = per / n
        self._runs: WeakKeyDictionary[AsyncScheduler, _Run] = WeakKeyDictionary()

    def __repr__(self) -> str:
        waiting = sum(len(run.waiters) + run.turn_taken for run in self._runs.values())
        return (
            f"<RateLimit at {id(self):#x}, {self._n:g} per {self._per:g} s, burst {self._burst:g}, "
            f"{waiting} waiting>"
        )

    def acquire_nowait(self, amount: float = 1) -> None:
        """Let an operation through if it need not wait.

        Args:
            amount: How many operations it counts for.

        Raises:
            WouldBlock: It would have to wait, for the clock or for others who came before.
            ValueError: *amount* is not positive, or more than *burst*.
        """
        self._check(amount)
        run = self._run()
        if run.turn_taken or self._possible_at(run, amount) > current_scheduler().clock():
            raise WouldBlock(f"{self!r} lets nothing through now")
        self._take(run, amount)

    async def acquire(self, amount: float = 1) -> None:
        """Wait until an operation may be done.

        Args:
            amount: How many operations it counts for: for a limit in bytes per second, the bytes.

        Raises:
            ValueError: *amount* is not positive, or more than *burst*, so that it never could.

        Checkpoint: always. If it raises, the operation does not count.
        """
        self._check(amount)
        if checkpoint_due():
            await checkpoint()
        run = self._run()
        if run.turn_taken:
            await park(run.waiters, self)
        run.turn_taken = True
        try:
            clock = current_scheduler().clock
            while (when := self._possible_at(run, amount)) > clock():
                await sleep_until(when)
            self._take(run, amount)
        finally:
            run.turn_taken = unpark(run.waiters) is not None

    async def __aenter__(self) -> None:
        """Wait until one operation may be done; see `acquire`."""
        await self.acquire()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def statistics(self) -> RateLimitStatistics:
        """Return what may be done now, and how many tasks wait.

        Raises:
            RuntimeError: Not called from inside a loop.
        """
        run = self._run()
        now = current_scheduler().clock()
        missing = max(0.0, run.full_again - now) / self._interval
        return RateLimitStatistics(
            max(0.0, self._burst - missing),
            max(0.0, self._possible_at(run, 1) - now),
            len(run.waiters) + run.turn_taken,
        )

    def _check(self, amount: float) -> None:
        if not 0 < amount <= self._burst:
            raise ValueError(
                f"amount must be more than 0 and at most the burst of {self!r}, not {amount!r}"
            )

    def _run(self) -> _Run:
        scheduler = current_scheduler()
        run = self._runs.get(scheduler)
        if run is None:
            run = self._runs[scheduler] = _Run()
        return run

    def _possible_at(self, run: _Run, amount: float) -> float:
        return run.full_again - (self._burst - amount) * self._interval

    def _take(self, run: _Run, amount: float) -> None:
        start = max(run.full_again, current_scheduler().clock())
        run.full_again = start + amount * self._interval
