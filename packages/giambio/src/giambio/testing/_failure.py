# SPDX-License-Identifier: Apache-2.0
"""What explorations report: that they found nothing, or what they found and how to see it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._places import Place
    from ._program import Finding
    from ._trace import Precedence, Step, Trace


class Report(NamedTuple):
    """What an exploration did that found nothing."""

    runs: int
    """How often the program was run."""
    schedules: int
    """How many different schedules these runs had."""
    exhausted: bool
    """Whether these are all the schedules that there are, with the random numbers of this seed."""
    delays: int | None
    """All schedules that delay tasks up to so often were run; None if that was not what was tried."""
    decisions: int
    """How often there was a choice of the next task, in the first run."""
    seed: int
    """What random numbers began with."""

    def __str__(self) -> str:
        if self.exhausted:
            found = f"all {self.schedules} schedules" if self.schedules > 1 else "the only schedule"
        else:
            found = counted(self.schedules, "schedule")
            if self.delays is not None and self.delays >= 0:
                found += f", among them all with at most {counted(self.delays, 'delay')}"
        return f"nothing found in {found} (seed {self.seed})"


class Turn(NamedTuple):
    """One of two tasks whose order matters."""

    task: str
    """What the task is called, with a number if several have that name."""
    place: Place | None
    """Where it goes on; None if that is in the library."""
    starts: bool
    """Whether this is its first step."""

    def __str__(self) -> str:
        if self.place is None:
            return "(in the library)"
        where = f"{self.place.short_file}:{self.place.line} in {self.place.function}"
        return f"{where}    {self.place.source}".rstrip()


class Deviation(NamedTuple):
    """One of the places where a schedule is not first come, first served."""

    first: Turn
    then: Turn


class ExplorationFailure(AssertionError):
    """A program fails in some order of its tasks.

    Attributes:
        replay: A string for `giambio.testing.replay` that makes it fail again in the same way.
        order: Where that order is not first come, first served. Empty if it fails in any order.
        kind: What is wrong, in words: ``"it raises"``, for example.
    """

    def __init__(
        self, message: str, replay: str, kind: str = "", order: Sequence[Deviation] = ()
    ) -> None:
        super().__init__(message)
        self.replay = replay
        self.kind = kind
        self.order: tuple[Deviation, ...] = tuple(order)


def deviations(precedences: Sequence[Precedence], trace: Trace) -> list[Deviation]:
    """Return precedences in the words of the program, in the order in which they happened.

    Args:
        precedences: What the schedule consists of.
        trace: A run with that schedule, in which the places of these steps were wanted.
    """
    moments = {step: number for number, step in enumerate(trace.places)}

    def turn(step: Step) -> Turn:
        return Turn(trace.label(step.task), trace.places.get(step), step.number == 1)

    ordered = sorted(precedences, key=lambda each: moments.get(each.first, len(moments)))
    return [Deviation(turn(first), turn(then)) for first, then in ordered]


def describe(
    finding: Finding,
    order: Sequence[Deviation],
    *,
    what: str,
    found: str,
    faults: Sequence[object],
    replay: str,
) -> str:
    """Return the whole report of a failure.

    Args:
        finding: What is wrong.
        order: The schedule.
        what: What the test is called.
        found: How it was found, after "fails".
        faults: What the network did.
        replay: How to see it again.
    """
    lines = [f"{what} fails {found}", *indented(str(finding))]
    place = finding.place()
    if place is not None:
        lines.append(f"  at {place}    {place.source}".rstrip())
    lines.append("")
    if order:
        lines.append("It fails when tasks run first come, first served, except that")
        width = max(len(turn.task) for deviation in order for turn in deviation) + len("before ")
        for number, (first, then) in enumerate(order, 1):
            lines.append(f"{number:3}. {first.task:{width}}  {first}")
            lines.append(f"     {'before ' + then.task:{width}}  {then}")
    else:
        lines.append("It fails when tasks run first come, first served.")
    if faults:
        lines += ["", "What the network did to it:", *(f"  {fault}" for fault in faults)]
    lines += ["", f"To see it again: {replay}"]
    return "\n".join(lines)


def counted(number: int, noun: str) -> str:
    """Return a number of things, in words."""
    return f"{number} {noun}{'s' * (number != 1)}"


def indented(text: str) -> list[str]:
    """Return the lines of a text that is part of another one."""
    return [f"  {line}" for line in text.splitlines()]
