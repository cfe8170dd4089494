# SPDX-License-Identifier: Apache-2.0
"""Rounds: who is measured when.

In a round every contender plays every row once. All contenders of a row come one after the other, and
in the next round in the opposite order, so that none is always measured first. A round is over before the
next one begins: what disturbs the machine for a minute spoils one round of all, which a median forgives,
and not all rounds of one.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.machine import cores, stay_on
from benchmarks.results import Figures
from benchmarks.row import SkipRow
from benchmarks.worker import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.contenders import Contender
    from benchmarks.row import Row
    from benchmarks.session import Session


def play(
    rows: Iterable[Row],
    rounds: int,
    session: Session,
    *,
    takes_part: Callable[[Contender], bool] = lambda contender: True,
    progress: Callable[[str], object] = lambda line: None,
) -> dict[str, Figures]:
    """Play all rounds.

    Args:
        rows: The rows.
        rounds: How many rounds.
        session: What the rows are played in.
        takes_part: Says whether a contender takes part.
        progress: Told what is going on.

    Returns:
        The figures of each row, by its key.
    """
    program = [(row, _contenders(row, takes_part)) for row in rows]
    found = {row.key: Figures() for row, _ in program}
    choice = cores()
    try:
        for number in range(rounds):
            if choice:
                session.core = choice[number % len(choice)]
                stay_on(session.core)
            for row, contenders in program:
                for contender in contenders[:: -1 if number % 2 else 1]:
                    progress(f"round {number + 1} of {rounds}: {row.title}: {contender.name}")
                    _play_once(row, contender, session, found[row.key])
    finally:
        stay_on(*choice)
    return found


def _contenders(row: Row, takes_part: Callable[[Contender], bool]) -> tuple[Contender, ...]:
    return tuple(one for one in row.contenders() if takes_part(one))


def _play_once(row: Row, contender: Contender, session: Session, figures: Figures) -> None:
    results = figures.rounds.setdefault(contender.name, [])
    if contender.name in figures.absent:
        results.append(None)
        return
    try:
        missing = contender.missing()
        if missing is not None:
            raise SkipRow(missing)
        results.append(row.shown(row.play(contender, session)))
    except (SkipRow, MeasurementError) as reason:
        figures.absent[contender.name] = str(reason)
        results.append(None)
        if isinstance(reason, MeasurementError):
            print(f"{row.title}: {contender.name}: {reason}", file=sys.stderr)
