# SPDX-License-Identifier: Apache-2.0
"""Rows: the lines of the table, each a piece of work that every library does in its own words."""

from __future__ import annotations

import gc
from inspect import iscoroutinefunction
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.contenders import CONTENDERS, Contender

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.reach import Reach
    from benchmarks.session import Session

INSIDE: Final = "Inside the process"
WIRE: Final = "On the wire"

# After so many seconds no measurement is repeated. It is the slow contenders that this saves time on.
_PATIENCE = 0.5

# From what is measured, seconds or bytes, to what is shown.
_FACTORS = {"ns": 1e9, "µs": 1e6, "ms": 1e3, "B": 1.0}


class SkipRow(Exception):
    """This contender cannot do this row; the message says why."""


class Row:
    """One line of the table.

    Attributes:
        key: What the command line and the JSON file call it.
        title: What the table calls it.
        unit: What the figures are in; less is better.
        section: The table that it is a line of.
        reach: What giambio wants to reach, if that was decided.
    """

    key: str
    title: str
    unit: str
    section: str = INSIDE
    reach: Reach | None = None

    def contenders(self) -> tuple[Contender, ...]:
        """Return who can take part, whether or not it is installed here."""
        raise NotImplementedError

    def play(self, contender: Contender, session: Session) -> float:
        """Measure one contender once: its part in a round.

        Raises:
            SkipRow: It cannot do this.
        """
        raise NotImplementedError

    def shown(self, raw: float) -> float:
        """Convert seconds or bytes to the unit of the row."""
        return raw * _FACTORS[self.unit]


class LoopRow(Row):
    """A row that is measured inside of a process, where the library runs its loop.

    A subclass has a method for each library, named after it, that takes a number of operations, does
    them, and returns the seconds they took in all. It is a coroutine function, which is run by the
    library's own `run`, or a plain function. Whoever has no method does not take part.

    Attributes:
        size: How many operations make one measurement.
        granule: The number of operations is a multiple of this.
        repeats: How many measurements are made in a round. The least of them counts, because whatever
            disturbs a measurement makes it longer.
        fresh: Whether each round needs a new process; otherwise a process is kept for each library.
    """

    size: int
    granule: int = 1
    repeats: int = 3
    fresh: bool = False
    clock: Callable[[], float] = staticmethod(perf_counter)

    def contenders(self) -> tuple[Contender, ...]:
        return tuple(one for one in CONTENDERS if self._work(one) is not None)

    def play(self, contender: Contender, session: Session) -> float:
        return session.ask(contender, self)

    def measure(self, contender: Contender, scale: float) -> float:
        """Measure in this process. Called by the worker.

        Args:
            contender: The library to measure.
            scale: What to multiply the number of operations with; with zero it is one granule.

        Returns:
            Seconds for each operation.
        """
        work = self._work(contender)
        assert work is not None
        n = max(1, round(self.size * scale / self.granule)) * self.granule
        began = perf_counter()
        least = self._once(contender, work, n)
        for _ in range(self.repeats - 1):
            if perf_counter() - began > _PATIENCE:
                break
            least = min(least, self._once(contender, work, n))
        return least / n

    @staticmethod
    def _once(contender: Contender, work: Callable[[int], Any], n: int) -> float:
        # What one measurement leaves behind must not be swept up in the next one.
        gc.collect()
        seconds: float = contender.run(work, n) if iscoroutinefunction(work) else work(n)
        return seconds

    def _work(self, contender: Contender) -> Callable[[int], Any] | None:
        work = getattr(self, contender.library, None)
        return work if work is not None else getattr(self, contender.like, None)
