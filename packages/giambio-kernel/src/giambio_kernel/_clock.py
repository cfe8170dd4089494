# SPDX-License-Identifier: Apache-2.0
"""What time it is: on the system's clock, or on one that only moves when a test lets it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

INFINITY = float("inf")


def no_number(name: str, value: object) -> TypeError:
    """Return the error to raise for a time that cannot be compared with numbers."""
    return TypeError(f"{name} must be a number, not {value!r}; math.inf sets no limit")


def check_seconds(name: str, seconds: float) -> None:
    """Raise an error unless *seconds* is a length of time; infinity is one."""
    try:
        if seconds >= 0.0:
            return
    except TypeError:
        raise no_number(name, seconds) from None
    raise ValueError(f"{name} must be at least 0, not {seconds!r}")


def check_moment(name: str, moment: float) -> None:
    """Raise an error unless *moment* is a time of the clock; an infinite one is."""
    try:
        if moment <= INFINITY:
            return
    except TypeError:
        raise no_number(name, moment) from None
    raise ValueError(f"{name} must be a number, not nan")


def check_finite(name: str, value: float) -> None:
    """Raise an error unless *value* is a finite number of at least zero."""
    try:
        if 0.0 <= value < INFINITY:
            return
    except TypeError:
        raise TypeError(f"{name} must be a number, not {value!r}") from None
    raise ValueError(f"{name} must be a finite number of at least 0, not {value!r}")


class Clock(Protocol):
    """Tells the time, and says what to do when there is nothing to do but wait."""

    def now(self) -> float:
        """Return the time in seconds since some fixed moment; it never goes back."""
        ...

    def real_seconds(self, deadline: float) -> float:
        """Return how long to really wait until *deadline*, in seconds; ``inf`` for never."""
        ...

    def jump(self, deadline: float) -> bool:
        """React to the fact that nothing can happen before *deadline*.

        Called when every task is blocked. Returns whether the clock moved to *deadline*.
        """
        ...


class SystemClock:
    """The monotonic clock of the operating system."""

    __slots__ = ()

    # As a static method the loop reads the C function with no call of ours around it.
    now: Callable[[], float] = staticmethod(time.monotonic)

    def real_seconds(self, deadline: float) -> float:
        """Return the seconds from now to *deadline*, at least zero."""
        return max(0.0, deadline - time.monotonic())

    def jump(self, deadline: float) -> bool:
        """Real time cannot jump."""
        return False


class VirtualClock:
    """A clock for tests: it starts at zero and stands still unless told otherwise.

    Args:
        rate: How many virtual seconds pass in a real one. Zero stops the clock.
        autojump: Whether to jump to the next deadline as soon as every task is blocked, so that a
            test that sleeps for a year takes no time. It does not jump while a worker thread is
            busy, because what the thread does is not over yet.

    Raises:
        ValueError: *rate* is negative or not a finite number.
    """

    def __init__(self, rate: float = 0.0, *, autojump: bool = True) -> None:
        self.autojump = autojump
        self._virtual_base = 0.0
        self._real_base = time.monotonic()
        self.rate = rate

    def __repr__(self) -> str:
        return f"<VirtualClock now={self.now():.6g} rate={self._rate:g} autojump={self.autojump}>"

    @property
    def rate(self) -> float:
        """How many virtual seconds pass in a real one. Can be set, as long as it is a finite number."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        check_finite("rate", rate)
        if hasattr(self, "_rate"):
            self._virtual_base = self.now()
        self._real_base = time.monotonic()
        self._rate: float = rate

    def now(self) -> float:
        """Return the virtual time in seconds."""
        if not self._rate:
            return self._virtual_base
        return self._virtual_base + self._rate * (time.monotonic() - self._real_base)

    def advance(self, seconds: float) -> None:
        """Move the clock forward.

        Args:
            seconds: By how much. What is due by then happens when the loop next looks.

        Raises:
            ValueError: *seconds* is negative or not a finite number.
        """
        check_finite("seconds", seconds)
        self._virtual_base += seconds

    def real_seconds(self, deadline: float) -> float:
        """Return the real seconds until *deadline*; ``inf`` if the clock stands still before it."""
        missing = deadline - self.now()
        if missing <= 0.0:
            return 0.0
        return missing / self._rate if self._rate else INFINITY

    def jump(self, deadline: float) -> bool:
        """Move to *deadline* if the clock jumps by itself."""
        if not self.autojump or deadline == INFINITY:
            return False
        self._virtual_base += max(0.0, deadline - self.now())
        return True
