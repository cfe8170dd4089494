# SPDX-License-Identifier: Apache-2.0
"""When a hosted loop needs its next tick, and ticking for a while."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING

from giambio._numbers import check_seconds
from giambio_kernel import SystemClock

if TYPE_CHECKING:
    from giambio_kernel import AsyncScheduler, Clock


def seconds_to_wait(loop: AsyncScheduler, clock: Clock | None = None) -> float | None:
    """Return how long a host may wait for the loop's descriptor before the next tick is due.

    It is what `select.select` and `selectors.BaseSelector.select` take::

        while loop.tick():
            selector.select(seconds_to_wait(loop))  # loop.fileno() is registered there

    Args:
        loop: A started loop, between two ticks.
        clock: The clock that the loop was made with, if it is not the system's. How long a moment
            of it is away in real seconds only the clock itself knows.

    Returns:
        Real seconds: zero if a task is ready now, and ``None`` if there is nothing to wait for but
        the descriptor.
    """
    deadline = loop.next_deadline()
    if deadline == inf:
        return None
    wait = max(0.0, deadline - loop.clock()) if clock is None else clock.real_seconds(deadline)
    return None if wait == inf else wait


class SharedClock:
    """The clock of another loop, which drives this one."""

    __slots__ = ("now",)

    def __init__(self, loop: AsyncScheduler) -> None:
        self.now = loop.clock

    def real_seconds(self, deadline: float) -> float:
        """Return the seconds of the other loop's clock until *deadline*."""
        return max(0.0, deadline - self.now())

    def jump(self, deadline: float) -> bool:
        """If the other loop's clock jumps, that is its own affair."""
        return False


class Pace:
    """`seconds_to_wait`, for loops with something to do when every task is blocked.

    A clock that jumps does so in a tick that finds every task blocked, and a deadlock is found by
    such a tick, too. So when its tasks have come to a standstill, such a loop is given one more.
    """

    __slots__ = ("_clock", "_jumps", "_loop", "_raises_deadlock", "_tried")

    def __init__(self, loop: AsyncScheduler, clock: Clock, *, raises_deadlock: bool) -> None:
        self._loop = loop
        self._clock = clock
        self._jumps = not isinstance(clock, SystemClock | SharedClock)
        self._raises_deadlock = raises_deadlock
        # The deadline of the standstill that a tick was given for, since the last `woken`.
        self._tried: float | None = None

    def woken(self) -> None:
        """Something has come from outside; the next standstill is another one."""
        self._tried = None

    def seconds(self) -> float | None:
        """Return how long to wait for the next tick; see `seconds_to_wait`."""
        deadline = self._loop.next_deadline()
        useful = self._raises_deadlock if deadline == inf else self._jumps
        if useful and deadline != self._tried:
            self._tried = deadline
            return 0.0
        return seconds_to_wait(self._loop, self._clock)


def run_for(loop: AsyncScheduler, seconds: float, *, wait: bool = False) -> bool:
    """Tick a loop for so long, the part of a frame that it may have.

    Args:
        loop: A started loop.
        seconds: How long, in real seconds. There is always one tick, also for zero, and none is
            cut short: a task that computes for a second takes a second.
        wait: Whether to stay for the whole time, and be there when something comes. By default
            this returns as soon as no task is ready, which leaves the rest of the frame to others.

    Returns:
        Whether work remains, as `AsyncScheduler.tick` does.

    Raises:
        ValueError: *seconds* is negative or not a number.
        RuntimeError: As for `AsyncScheduler.tick`: nothing was started, this is another thread, or
            a task of this loop calls.
    """
    check_seconds("seconds", seconds)
    end = time.monotonic() + seconds
    left = seconds
    while loop.tick(left if wait else 0.0):
        left = end - time.monotonic()
        if left <= 0.0 or not (wait or loop.next_deadline() <= loop.clock()):
            return True
    return False
