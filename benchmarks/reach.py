# SPDX-License-Identifier: Apache-2.0
"""What giambio wants to reach in a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.results import Figures


@dataclass(frozen=True)
class Reach:
    """A target: as a multiple of another contender, as a figure, or as being ahead of somebody."""

    times: float | None = None
    base: str = "bare"
    at_most: float | None = None
    ahead_of: str | None = None

    def text(self, unit: str) -> str:
        """Return the target in a few signs."""
        words = []
        if self.times is not None:
            words.append(f"≤ {self.times:g} × {self.base}")
        if self.at_most is not None:
            words.append(f"≤ {self.at_most:g} {unit}")
        if self.ahead_of is not None:
            words.append(f"< {self.ahead_of}")
        return ", ".join(words)

    def met(self, figures: Figures) -> bool | None:
        """Say whether giambio reached it; ``None`` if what is needed was not measured."""
        answers: list[bool | None] = []
        if self.times is not None:
            answers.append(_at_most(figures.ratio("giambio", self.base), self.times))
        if self.at_most is not None:
            answers.append(_at_most(figures.median("giambio"), self.at_most))
        if self.ahead_of is not None:
            answers.append(_at_most(figures.ratio("giambio", self.ahead_of), 1.0))
        if None in answers:
            return None
        return all(answers)


def _at_most(figure: float | None, limit: float) -> bool | None:
    return None if figure is None else figure <= limit
