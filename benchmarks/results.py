# SPDX-License-Identifier: Apache-2.0
"""Results: what was measured in each round, and what follows from it.

The speed of a machine that others use, too, changes by a factor of two within minutes. So a ratio is
computed from the two measurements of each round, which are less than seconds apart, and the median of
these is reported; it is steadier than the ratio of the medians.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.row import Row


@dataclass
class Figures:
    """The figures of one row, by the names of the contenders.

    Attributes:
        rounds: The result of each round, in the unit of the row; ``None`` where there is none.
        absent: Why a contender has no results, or no more from some round on.
    """

    rounds: dict[str, list[float | None]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float | None:
        """Return the median of a contender's rounds; ``None`` if it has none."""
        known = [one for one in self.rounds.get(name, ()) if one is not None]
        return median(known) if known else None

    def ratio(self, name: str, base: str) -> float | None:
        """Return the median of the ratios of two contenders, round by round."""
        pairs = zip(self.rounds.get(name, ()), self.rounds.get(base, ()), strict=False)
        ratios = [one / other for one, other in pairs if one is not None and other]
        return median(ratios) if ratios else None

    def best(self, names: Iterable[str]) -> str | None:
        """Return who of some has the least median."""
        medians = {name: found for name in names if (found := self.median(name)) is not None}
        return min(medians, key=medians.__getitem__) if medians else None


@dataclass
class Results:
    """Everything that a run of the benchmarks found out.

    Attributes:
        date: The day, as ``2026-01-31``.
        machine: Facts about the machine; see `machine.facts`.
        versions: The versions of the libraries.
        settings: With how many rounds, and how much work, it was measured.
        figures: The figures of each row, by its key.
    """

    date: str
    machine: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    figures: dict[str, Figures] = field(default_factory=dict)

    def as_json(self, rows: dict[str, Row]) -> dict[str, Any]:
        """Return what goes into a JSON file: the rounds, and the medians and ratios for readers."""
        return {
            "date": self.date,
            "machine": self.machine,
            "versions": self.versions,
            "settings": self.settings,
            "rows": [_row_as_json(rows[key], figures) for key, figures in self.figures.items()],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Results:
        """Make results again of what was written to a file."""
        figures = {row["key"]: Figures(row["rounds"], row["absent"]) for row in data["rows"]}
        return cls(data["date"], data["machine"], data["versions"], data["settings"], figures)


def _row_as_json(row: Row, figures: Figures) -> dict[str, Any]:
    reach = row.reach
    return {
        "key": row.key,
        "title": row.title,
        "unit": row.unit,
        "reach": None if reach is None else reach.text(row.unit),
        "met": None if reach is None else reach.met(figures),
        "median": {name: figures.median(name) for name in figures.rounds},
        "giambio_to": {
            name: figures.ratio("giambio", name) for name in figures.rounds if name != "giambio"
        },
        "rounds": figures.rounds,
        "absent": figures.absent,
    }
