# SPDX-License-Identifier: Apache-2.0
"""Policies of time: when to do something again, and how long to clean up. On the loop's clock."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

from giambio_kernel import current_scheduler, sleep_until

from ._numbers import check_numbers, check_seconds
from ._timeouts import Timeout


class Tick(NamedTuple):
    """One of the moments of `every`."""

    number: int
    """Which one it is, from 0. Those that were missed count."""
    due: float
    """When it was due, on the loop's clock: the start and *number* periods."""
    missed: int
    """How many before it were missed, because what was done at the last one took too long."""


class every:  # noqa: N801
    """Do something at regular moments, without drift.

    Example::

        async for tick in every(60):
            await report()

    The first tick comes at once, the others one period apart from each other, counted from the start
    of the loop and not from the end of what is done in it. If that takes longer than a period, the
    tick that was due last comes at once, those before it are left out, and the next one comes when
    it is due.

    It can be used any number of times; each ``async for`` starts anew.

    Args:
        period: How far the ticks are apart, in seconds of the loop's clock.
        delay: How long to wait for the first one, in seconds.
        catch_up: Whether ticks that were missed come at once, one after the other, instead.

    Raises:
        ValueError: *period* is not positive and finite, or *delay* is negative or not a number.

    Checkpoint: always.
    """

    __slots__ = ("_catch_up", "_delay", "_period")

    def __init__(self, period: float, *, delay: float = 0.0, catch_up: bool = False) -> None:
        check_numbers(period=period)
        if not 0 < period < math.inf:
            raise ValueError(f"period must be positive and finite, not {period!r}")
        check_seconds("delay", delay)
        self._period = period
        self._delay = delay
        self._catch_up = catch_up

    def __repr__(self) -> str:
        delay = f", delay={self._delay:g}" if self._delay else ""
        catch_up = ", catch_up=True" if self._catch_up else ""
        return f"every({self._period:g}{delay}{catch_up})"

    def __aiter__(self) -> Ticks:
        start = current_scheduler().clock() + self._delay
        return Ticks(start, self._period, catch_up=self._catch_up)


class Ticks:
    """The ticks of one loop over `every`."""

    __slots__ = ("_catch_up", "_number", "_period", "_start")

    def __init__(self, start: float, period: float, *, catch_up: bool) -> None:
        self._start = start
        self._period = period
        self._catch_up = catch_up
        # Which tick is next. Its moment is computed from that, so that no errors add up.
        self._number = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Tick:
        """Wait for the next tick.

        Checkpoint: always. If it raises, the tick is still to come.
        """
        due = self._start + self._number * self._period
        missed = 0
        if not self._catch_up:
            late = current_scheduler().clock() - due
            if late >= self._period:
                missed = int(late / self._period)
                due = self._start + (self._number + missed) * self._period
        await sleep_until(due)
        number = self._number + missed
        self._number = number + 1
        return Tick(number, due, missed)


class cleanup(Timeout):  # noqa: N801
    """Let a block clean up although the task is cancelled, but only for so long.

    Example::

        try:
            await talk(connection)
        finally:
            with cleanup(timeout=5):
                await connection.say_goodbye()

    In a cancelled task every await raises, so a clean-up that has to wait needs a shield; and
    without a deadline a shield may keep the program from ending. This is both. When time is over the
    rest of the block is skipped silently, for what ended the block before matters more; then
    ``timed_out`` is true. With ``async with`` it is also a pool.

    Args:
        timeout: How long it may take, in seconds of the loop's clock. Zero ends it at its first
            checkpoint, infinity never.

    Raises:
        ValueError: *timeout* is negative or not a number.
    """

    __slots__ = ()
    label = "cleanup"

    def __init__(self, timeout: float) -> None:
        check_seconds("timeout", timeout)
        super().__init__(seconds=timeout, shield=True)
