# SPDX-License-Identifier: Apache-2.0
"""Cancelling a program at every checkpoint it passes, one after the other.

A program is run again and again on a virtual clock, each time with one cancellation at one point of the
k-th checkpoint; see `Phase`. Mistakes show in different phases: what an operation does before it looks
whether it was cancelled, on entry; a wait that is not undone, while it is parked; items and permits
that get lost, when they were granted and the task has not run since.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, TypeAlias

from ._arguments import as_classes, as_errors, as_main, check_number
from ._canceller import Canceller, Phase, SweepPoint
from ._failure import counted, indented
from ._network import MemoryNetwork, as_network
from ._program import Finding, Kind, Oracles, Program
from ._recipe import Recipe, ReplayMismatch, checksum, how_to_replay, name_of
from ._strategies import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from ._canceller import Site

CancelAt: TypeAlias = "Literal['every checkpoint', 'every site'] | int | Iterable[int]"


_MAX_STEPS = 100_000


class SweepReport(NamedTuple):
    """What a sweep that found nothing did."""

    checkpoints: int
    """How many checkpoints the program passes when it is left alone."""
    runs: int
    """How often it was run."""

    def __str__(self) -> str:
        """Say it in a sentence."""
        checkpoints = counted(self.checkpoints, "checkpoint")
        return f"nothing found at {checkpoints}, in {counted(self.runs, 'run')}"


class SweepFailure(AssertionError):
    """A program does not stand being cancelled somewhere.

    Attributes:
        point: Where.
        place: Where that is in the program.
        replay: A string for `giambio.testing.replay` that makes it fail again in the same way.
        kind: What is wrong, in the words of a report.
    """

    def __init__(
        self, message: str, point: SweepPoint, place: str, replay: str = "", kind: str = ""
    ) -> None:
        super().__init__(message)
        self.point = point
        self.place = place
        self.replay = replay
        self.kind = kind


def cancel_sweep(
    fn: Callable[..., Coroutine[Any, Any, Any]],
    *args: Any,
    cancel_at: CancelAt = "every checkpoint",
    target: str | None = None,
    network: MemoryNetwork | Literal["memory"] | None = None,
    seed: int = 0,
    replay: str | None = None,
    check: Callable[[], object] | None = None,
    always: Callable[[], object] | None = None,
    leftovers: bool = True,
    watch: Iterable[type] = (),
    allow: type[BaseException] | tuple[type[BaseException], ...] = (),
    max_steps: int = _MAX_STEPS,
    through: tuple[type[BaseException], ...] = (),
    label: str | None = None,
    replay_with: str | None = None,
) -> SweepReport:
    """Run a program once for each point where it can be cancelled, and cancel it there.

    After each run it must have ended in one of three ways: it was cancelled; or it ended as it does
    when left alone, without having met the cancellation; or it raised an error that is allowed.
    Nothing may hang, and nothing may be left open or left behind that is not when it is left alone:
    locks held, permits missing, items lost, sockets, files and async generators open, coroutines
    never awaited.

    Args:
        fn: The program, an async function. It is called anew for each run, so all that it works
            with must be made inside of it.
        *args: Its arguments.
        cancel_at: At which checkpoints: ``"every checkpoint"``; ``"every site"``, which is the first
            and the last one at each place of the program, for those with long loops; or the number
            of one, from 1, or several numbers.
        target: The name of the task to cancel, the first one of that name; by default the program
            itself is cancelled, with a scope around it.
        network: ``"memory"`` for a network in memory with a latency of up to 10 ms, or a
            `MemoryNetwork`, which each run gets a fresh copy of. Then the program is cut off from
            the outside world; by default it is not.
        seed: What the `random` module, and the network, begin with in each run.
        replay: Instead of all that, make this failure happen again; see `replay`.
        check: Called after each run; what it raises is a failure.
        always: Called after each step; what it raises is a failure.
        leftovers: Whether what is left open or left behind is a failure.
        watch: Classes of the program that are to be watched for that; see `explore`.
        allow: Errors that the program may raise when it is cancelled.
        max_steps: How many steps a run may take before it is taken to hang.
        through: Errors that are no failures and are raised as they are, such as pytest's Skipped.
        label: What the program is called; by default as the function.
        replay_with: How to see the failure again, for the report, with ``{replay}`` for the string.

    Returns:
        How many checkpoints there are and how many runs were made.

    Raises:
        SweepFailure: What went wrong, at which checkpoint, and where that is in the program.
        ValueError, TypeError: An argument makes no sense; there is no such task, for example.
        ReplayMismatch: The string given as *replay* does not fit.
        BaseException: What the program raises when it is left alone.
    """
    check_number("seed", seed, 0)
    if target is not None and not isinstance(target, str):
        raise TypeError(f"target must be the name of a task, not {target!r}")
    allow = as_errors("allow", allow)
    oracles = Oracles(check, always, leftovers, as_classes("watch", watch))
    program = Program(
        as_main(fn, args),
        oracles,
        isolated=False,
        network=as_network(network),
        max_steps=max_steps,
        through=as_errors("through", through),
    )
    usual = max_steps == _MAX_STEPS
    how = replay_with or how_to_replay(
        fn, args, oracles, network=network, max_steps=None if usual else max_steps, label=label
    )
    label = label or name_of(fn)
    with program:
        if replay is None:
            return _Sweep(program, target, seed, allow, label, how).go(cancel_at)
        recipe = Recipe.decode(replay)
        recipe.check_label(label)
        sweep = _Sweep(program, recipe.target or None, recipe.seed, allow, label, how)
        return sweep.replay(recipe)


class _Sweep:
    """One sweep."""

    def __init__(
        self,
        program: Program,
        target: str | None,
        seed: int,
        allow: tuple[type[BaseException], ...],
        label: str,
        replay_with: str,
    ) -> None:
        self._program = program
        self._target = target
        self._seed = seed
        self._allow = allow
        self._label = label
        self._replay_with = replay_with

    def go(self, cancel_at: CancelAt) -> SweepReport:
        sites = self._leave_alone()
        runs = 1
        for point in _points(sites, _selected(sites, cancel_at)):
            self._cancel_at(point, sites[point.checkpoint - 1].place)
            runs += 1
        return SweepReport(len(sites), runs)

    def replay(self, recipe: Recipe) -> SweepReport:
        sites = self._leave_alone()
        assert recipe.checkpoint is not None
        point = SweepPoint(recipe.checkpoint, tuple(Phase)[recipe.phase])
        at = point.checkpoint - 1
        if at >= len(sites) or not self._cancel_at(point, sites[at].place):
            raise ReplayMismatch(
                f"{self._label} has changed since this replay string was made: there is no "
                f"{point} any more",
                has_changed=True,
            )
        return SweepReport(len(sites), 2)

    def _leave_alone(self) -> list[Site]:
        """Run the program as it is, and return the checkpoints that it passes."""
        canceller = Canceller(self._target, None)
        main = canceller.around(self._program.main)
        # The same function as in the other runs, so that all of them take the same steps.
        finding = self._program.run(
            Recorder(), seed=self._seed, debuggers=[canceller], main=main, is_normal=True
        )
        if finding is not None:
            raise finding.error or AssertionError(f"{self._label}: {finding}")
        if self._target is not None and not canceller.sites:
            names = ", ".join(map(repr, canceller.names)) or "none"
            raise ValueError(
                f"the program has no task named {self._target!r} that passes a checkpoint; the "
                f"names of tasks that it spawns: {names}"
            )
        return canceller.sites

    def _cancel_at(self, point: SweepPoint, place: str) -> bool:
        """Run the program with one cancellation. Returns whether it came to that."""
        canceller = Canceller(self._target, point)
        finding = self._program.run(
            Recorder(),
            seed=self._seed,
            debuggers=[canceller],
            main=canceller.around(self._program.main),
        )
        if not canceller.fired:
            return False
        if finding is None and canceller.was_swallowed():
            finding = Finding(Kind.SWALLOWED, "it was raised, and the program went on")
        if finding is not None and not isinstance(finding.error, self._allow):
            self._fail(finding, point, place)
        return True

    def _fail(self, finding: Finding, point: SweepPoint, place: str) -> NoReturn:
        recipe = Recipe(
            checksum(self._label),
            self._seed,
            (),
            checkpoint=point.checkpoint,
            phase=tuple(Phase).index(point.phase),
            target=self._target or "",
        )
        string = recipe.encode()
        who = f"task {self._target!r} of {self._label}" if self._target else self._label
        raise SweepFailure(
            "\n".join(
                [
                    f"{who} fails when it is cancelled at {point}, {place}:",
                    *indented(str(finding)),
                    f"To see it again: {self._replay_with.format(replay=string)}",
                ]
            ),
            point,
            place,
            string,
            finding.kind.value,
        ) from finding.error


def _selected(sites: list[Site], cancel_at: CancelAt) -> list[int]:
    """Return the numbers of the checkpoints to cancel at."""
    if cancel_at == "every checkpoint":
        return list(range(1, len(sites) + 1))
    if cancel_at == "every site":
        first: dict[Site, int] = {}
        last: dict[Site, int] = {}
        for number, site in enumerate(sites, 1):
            first.setdefault(site, number)
            last[site] = number
        return sorted({*first.values(), *last.values()})
    numbers = list(cancel_at) if isinstance(cancel_at, Iterable) else [cancel_at]
    if not numbers:
        raise ValueError("cancel_at names no checkpoint, so nothing would be cancelled")
    for number in numbers:
        if not isinstance(number, int):
            raise TypeError(
                f"cancel_at must be 'every checkpoint', 'every site' or numbers, not {cancel_at!r}"
            )
        if not 1 <= number <= len(sites):
            raise ValueError(f"there is no checkpoint {number}: the program passes {len(sites)}")
    return numbers


def _points(sites: list[Site], numbers: list[int]) -> Iterator[SweepPoint]:
    for number in numbers:
        yield SweepPoint(number, Phase.ENTRY)
        yield SweepPoint(number, Phase.PARKED)
        if sites[number - 1].waited:
            yield SweepPoint(number, Phase.GRANTED)
