# SPDX-License-Identifier: Apache-2.0
"""The report: results as Markdown, and their place in the README."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from benchmarks import ROOT
from benchmarks.contenders import CONTENDERS
from benchmarks.row import INSIDE, WIRE
from benchmarks.wire.contenders import WIRE_CONTENDERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.contenders import Contender
    from benchmarks.results import Figures, Results
    from benchmarks.row import Row

_SECTIONS = {INSIDE: CONTENDERS, WIRE: WIRE_CONTENDERS}

README = os.path.join(ROOT, "benchmarks", "README.md")
_BEGIN = "<!-- The following is written by `python -m benchmarks --update-readme`. -->"
_END = "<!-- The end of what is written by it. -->"


def markdown(results: Results, rows: dict[str, Row]) -> str:
    """Return the tables, with a sentence about where and when they come from."""
    played = [rows[key] for key in results.figures]
    parts = [_preamble(results)]
    for section, contenders in _SECTIONS.items():
        lines = [row for row in played if row.section == section]
        if lines:
            parts.append(f"### {section}")
            parts.append(_table(lines, results.figures, contenders))
    absences = "\n".join(_absences(played, results.figures))
    if absences:
        parts.append(f"Not measured:\n\n{absences}")
    return "\n\n".join(parts) + "\n"


def update_readme(text: str) -> None:
    """Put *text* between the marks in the README."""
    with open(README) as file:
        before, rest = file.read().split(_BEGIN)
    _, after = rest.split(_END)
    with open(README, "w") as file:
        file.write(f"{before}{_BEGIN}\n\n{text}\n{_END}{after}")


def _preamble(results: Results) -> str:
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"{results.date}, {machine['implementation']} {machine['python']} on {machine['system']}, "
        f"{machine['architecture']}, {machine['cores']} cores; "
        f"{results.settings['rounds']} rounds"
        f"{', quick' if results.settings['quick'] else ''}; {versions}."
    )


def _table(
    rows: Iterable[Row], figures: dict[str, Figures], contenders: tuple[Contender, ...]
) -> str:
    floors = [one.name for one in contenders if not one.is_peer and one.name != "giambio"]
    peers = [one.name for one in contenders if one.is_peer]
    heads = ["row", "unit", *floors, "**giambio**", "× bare", "reach", "reached", "× best peer"]
    heads += peers
    lines = [heads, ["---", "---", *["--:"] * len(floors), "--:", "--:", "---", "---", "---"]]
    lines[1] += ["--:"] * len(peers)
    for row in rows:
        of_row = figures[row.key]
        lines.append(
            [
                row.title,
                row.unit,
                *(_number(of_row.median(name)) for name in floors),
                f"**{_number(of_row.median('giambio'))}**",
                _ratio(of_row.ratio("giambio", "bare")),
                row.reach.text(row.unit) if row.reach else "",
                _reached(row, of_row),
                _best_peer(of_row, peers),
                *(_number(of_row.median(name)) for name in peers),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(figure: float | None) -> str:
    """Three digits are all that can be trusted."""
    if figure is None:
        return "-"
    return f"{figure:.2f}" if figure < 10 else f"{figure:.1f}" if figure < 100 else f"{figure:,.0f}"


def _ratio(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.2f}"


def _reached(row: Row, figures: Figures) -> str:
    if row.reach is None:
        return ""
    met = row.reach.met(figures)
    if met is None:
        return "-"
    words = "yes" if met else "**no**"
    if row.reach.times is not None and row.reach.base != "bare":
        words += f", {_ratio(figures.ratio('giambio', row.reach.base))}"
    return words


def _best_peer(figures: Figures, peers: list[str]) -> str:
    best = figures.best(peers)
    if best is None or figures.median("giambio") is None:
        return "-"
    return f"{_ratio(figures.ratio('giambio', best))} {best}"


def _absences(rows: Iterable[Row], figures: dict[str, Figures]) -> Iterable[str]:
    """Yield a line for each reason, with all that it holds for."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, reason in figures[row.key].absent.items():
            by_reason.setdefault((name, reason), []).append(row.title)
    for (name, reason), titles in by_reason.items():
        yield f"- {name}: {reason} ({'; '.join(titles)})"
