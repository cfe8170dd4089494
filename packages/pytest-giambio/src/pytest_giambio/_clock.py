# SPDX-License-Identifier: Apache-2.0
"""The clock of a runner: the system's, or a virtual one, as each test likes it."""

from __future__ import annotations

import time

from giambio.testing import VirtualClock


class RunnerClock:
    """Changes from real to virtual time and back. It never goes back: what a test skips is skipped.

    Args:
        virtual: Whether to begin with virtual time, at zero; otherwise with the system's.

    Attributes:
        of_tests: The virtual clock.
        virtual: The same while time is virtual; otherwise None.
        given_up: Once true, the loop breaks off when it next looks at its clock, and closes the
            coroutines of its tasks. For tasks that do not end when they are cancelled.
    """

    def __init__(self, *, virtual: bool = False) -> None:
        self.of_tests = VirtualClock()
        self.virtual = self.of_tests if virtual else None
        # What tests on virtual time have skipped.
        self._ahead = 0.0
        self.given_up = False

    def be_virtual(self, virtual: bool) -> None:
        """Change to virtual time or to the system's. Deadlines keep their moments."""
        if virtual is (self.virtual is not None):
            return
        now = self.now()
        if virtual:
            self.virtual = self.of_tests
            self.virtual.advance(max(0.0, now - self.virtual.now()))
        else:
            self.virtual = None
            self._ahead = now - time.monotonic()

    def reset(self) -> None:
        """Forget how the last test had set up the virtual clock."""
        self.of_tests.rate = 0.0
        self.of_tests.autojump = True

    def now(self) -> float:
        """Return the time in seconds."""
        if self.given_up:
            raise LoopGivenUp
        if self.virtual is not None:
            return self.virtual.now()
        return time.monotonic() + self._ahead

    def real_seconds(self, deadline: float) -> float:
        """Return how long to really wait until *deadline*."""
        if self.virtual is not None:
            return self.virtual.real_seconds(deadline)
        return max(0.0, deadline - self.now())

    def jump(self, deadline: float) -> bool:
        """Move to *deadline* if time is virtual."""
        return self.virtual is not None and self.virtual.jump(deadline)


class LoopGivenUp(BaseException):
    """Breaks off a loop whose tasks do not end."""
