# SPDX-License-Identifier: Apache-2.0
"""Exploring: the same test under many schedules."""

from __future__ import annotations

import time
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, get_args

from ._arguments import as_classes, as_errors, as_main, check_number, check_seconds
from ._failure import ExplorationFailure, Report, describe, deviations
from ._network import MemoryNetwork, as_network
from ._program import Finding, Oracles, Program
from ._recipe import Recipe, ReplayMismatch, checksum, how_to_replay, name_of
from ._shrink import Smaller
from ._strategies import (
    AtRandom,
    ByPriority,
    ExhaustiveSearch,
    LastComeFirstServed,
    Recorder,
    Starving,
    portfolio,
)
from ._trace import FirstComeFirstServed, InThisOrder, SamePicks, Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence

Strategy: TypeAlias = Literal["auto", "fifo", "lifo", "random", "pct", "starve", "exhaustive"]


_MAX_STEPS = 20_000


class NotDeterministic(RuntimeError):
    """Two runs of a program differ although its tasks ran in the same order, so none can be repeated.

    It depends on something that giambio does not decide: an iteration over a set of objects, the time
    or a file of the system, or something outside of the function that the run before has changed.
    """


def explore(
    fn: Callable[..., Coroutine[Any, Any, Any]],
    *args: Any,
    runs: int = 1000,
    strategy: Strategy = "auto",
    seed: int | None = None,
    replay: str | None = None,
    network: MemoryNetwork | Literal["memory"] | None = None,
    max_steps: int = _MAX_STEPS,
    seconds: float | None = None,
    check: Callable[[], object] | None = None,
    always: Callable[[], object] | None = None,
    leftovers: bool = True,
    watch: Iterable[type] = (),
    check_determinism: bool = True,
    through: tuple[type[BaseException], ...] = (),
    label: str | None = None,
    replay_with: str | None = None,
) -> Report:
    """Run a test in many orders of its tasks, and fail if it fails in one of them.

    Each run has a loop and a virtual clock of its own, and every operation is a place where another
    task may go on. A failure is made small: what remains is the shortest list found of "this task
    before that one", each with its line.

    Besides errors, these are failures: a deadlock; a run that does not end; and what a run leaves
    behind, but does not when tasks run first come, first served: locks held, permits missing, items
    lost, sockets or async generators left open, coroutines never awaited.

    Nothing of the outside world can be used. Sockets need ``network="memory"``; a function given to
    `run_in_thread` is called in the loop's own thread, in a step of its own; everything else that
    waits for the system is refused with `EscapedSimulation`. What the test must do itself: not depend
    on the order of sets, on the system's time, on `uuid` or `secrets`. The `random` module is seeded.

    Args:
        fn: An async function. It is called anew for each run, so whatever it works with must be made
            inside of it.
        *args: Its arguments.
        runs: How many schedules to try.
        strategy: Which ones. ``"auto"``: all, if they seem to be no more than *runs*; otherwise last
            come first served, then mostly ``"random"``, some ``"pct"`` (random priorities), and a
            few that ``"starve"`` a task. ``"exhaustive"``: all, with the fewest delays first.
            ``"fifo"``, ``"lifo"``: this one alone.
        seed: What random choices begin with, from 0; a new one if omitted. It is in the report.
        replay: Instead of all that, make this failure happen again; see `replay`.
        network: ``"memory"`` for a network in memory with a latency of up to 10 ms, or a
            `MemoryNetwork`, which each run gets a fresh copy of.
        max_steps: After how many steps a run is taken to be endless.
        seconds: Stop after so many seconds of real time, even if there are runs left.
        check: Called after each run; what it raises is a failure.
        always: Called after each step; what it raises is a failure.
        leftovers: Whether what is left behind is a failure.
        watch: Classes of the program that are to be watched for that like giambio's own: those with
            ``holders()``, ``statistics()``, ``value``, or with ``put`` and ``get``, or ``send`` and
            ``receive``, and a length.
        check_determinism: Whether to run the first schedule twice and compare.
        through: Errors that are no failures and are raised as they are, such as pytest's Skipped.
            `KeyboardInterrupt` and `SystemExit` always are.
        label: What the test is called; by default as the function.
        replay_with: How to see the failure again, for the report, with ``{replay}`` for the string.

    Returns:
        How many schedules there were, and whether these are all.

    Raises:
        ExplorationFailure: The test fails. Its cause is the error, its text the report.
        NotDeterministic: The test cannot be repeated.
        EscapedSimulation: The test reached for the outside world.
        ValueError, TypeError: An argument makes no sense.
        ReplayMismatch: The string given as *replay* does not fit.
    """
    if strategy not in get_args(Strategy):
        names = ", ".join(get_args(Strategy))
        raise ValueError(f"strategy must be one of {names}, not {strategy!r}")
    check_number("runs", runs, 1)
    if seed is not None:
        check_number("seed", seed, 0)
    check_seconds(seconds)
    oracles = Oracles(check, always, leftovers, as_classes("watch", watch))
    program = Program(
        as_main(fn, args),
        oracles,
        isolated=True,
        network=as_network(network),
        max_steps=max_steps,
        through=as_errors("through", through),
    )
    usual = max_steps == _MAX_STEPS
    how = replay_with or how_to_replay(
        fn, args, oracles, network=network, max_steps=None if usual else max_steps, label=label
    )
    explorer = _Explorer(program, label or name_of(fn), how)
    with program:
        if replay is not None:
            return explorer.replay(Recipe.decode(replay))
        if seed is None:
            seed = SystemRandom().getrandbits(32)
        deadline = None if seconds is None else time.monotonic() + seconds
        return explorer.explore(strategy, runs, seed, deadline, check_determinism)


class _Explorer:
    """One exploration."""

    def __init__(self, program: Program, label: str, replay_with: str) -> None:
        self._program = program
        self._label = label
        self._replay_with = replay_with

    def explore(
        self, strategy: str, runs: int, seed: int, deadline: float | None, check_determinism: bool
    ) -> Report:
        first = self._run_first(seed, check_determinism)
        search = None
        if strategy == "exhaustive" or (strategy == "auto" and self._are_few(first, runs)):
            search = ExhaustiveSearch(first)
        number = 1
        # Without a choice there is one schedule, but a network brings chance with it.
        is_only_one = not first.picks and not self._program.has_network
        if is_only_one:
            strategy = "fifo"
        seen = {(seed, tuple(first.picks))}
        for policy in _policies(strategy, seed, len(first.picks), search):
            if number >= runs or (deadline is not None and time.monotonic() >= deadline):
                break
            number += 1
            # While all schedules are tried, random numbers are the same in all.
            own_seed = seed if search is not None else seed + number
            finding = self._program.run(policy, seed=own_seed)
            if finding is not None:
                found = f"in the schedule that was tried as number {number} (seed {seed})"
                self._fail(finding, policy.picks, own_seed, found)
            seen.add((own_seed if self._program.has_network else seed, tuple(policy.picks)))
        return Report(
            runs=number,
            schedules=len(seen),
            exhausted=is_only_one or (search is not None and search.exhausted),
            delays=None if search is None else search.delays,
            decisions=len(first.picks),
            seed=seed,
        )

    def _are_few(self, first: Trace, bound: int) -> bool:
        """Whether the schedules are few, to go by one of them: the product of its choices."""
        product = 1
        for size in first.sizes:
            product *= size
            if product > bound:
                return False
        return not self._program.has_network

    def _run_first(self, seed: int, check_determinism: bool) -> Trace:
        first = Trace(FirstComeFirstServed())
        finding = self._program.run(first, seed=seed, debuggers=[first], is_normal=True)
        if check_determinism:
            second = Trace(FirstComeFirstServed())
            again = self._program.run(second, seed=seed, debuggers=[second], is_normal=True)
            difference = first.difference(second)
            if difference is None and _identity(finding) != _identity(again):
                difference = (
                    f"the first one: {finding or 'nothing'}; the second: {again or 'nothing'}"
                )
            if difference is not None:
                self._refuse(difference, finding or again)
        if finding is not None:
            self._fail(finding, first.picks, seed, f"in the first run (seed {seed})")
        return first

    # Failing

    def _fail(self, finding: Finding, picks: Sequence[int], seed: int, found: str) -> NoReturn:
        trace = Trace(SamePicks(picks))
        again = self._program.run(trace, seed=seed, debuggers=[trace])
        identity = _identity(finding)
        if _identity(again) != identity:
            self._refuse(f"it fails {found}: {finding}; then, in the same order: {again}", finding)
        recipe = Recipe(checksum(self._label), seed, ())

        def fails(**changes: Any) -> bool:
            return _identity(self._follow(recipe._replace(**changes))[0]) == identity

        smaller = Smaller()
        precedences = smaller.schedule(
            trace.overtakings, lambda some: fails(precedences=tuple(some))
        )
        recipe = recipe._replace(precedences=tuple(precedences))
        self._follow(recipe)
        if happened := self._program.happened:
            faults = smaller.faults(happened, lambda some: fails(faults=tuple(some)))
            recipe = recipe._replace(faults=tuple(faults))
        del trace, again
        if smaller.tries:
            found += f", and in {smaller.tries} more to make it small"
        smallest, trace = self._follow(recipe)
        assert smallest is not None
        self._raise_failure(smallest, trace, recipe, found)

    def _follow(self, recipe: Recipe) -> tuple[Finding | None, Trace]:
        """Run the program as a recipe says, and note where the tasks stand that it speaks of."""
        precedences = recipe.precedences
        trace = Trace(InThisOrder(precedences), (step for each in precedences for step in each))
        finding = self._program.run(
            trace, seed=recipe.seed, allowed_faults=recipe.faults, debuggers=[trace]
        )
        return finding, trace

    def _raise_failure(
        self, finding: Finding, trace: Trace, recipe: Recipe, found: str
    ) -> NoReturn:
        string = recipe.encode()
        order = deviations(recipe.precedences, trace)
        text = describe(
            finding,
            order,
            what=self._label,
            found=found,
            faults=self._program.faults,
            replay=self._replay_with.format(replay=string),
        )
        raise ExplorationFailure(text, string, finding.kind.value, order) from finding.error

    def _refuse(self, difference: str, finding: Finding | None) -> NoReturn:
        raise NotDeterministic(
            f"{self._label} cannot be repeated, so it cannot be explored: {difference}. It depends on "
            "something that giambio does not decide: the order of a set of objects or strings, the "
            "system's time, or something outside of the function that a run has changed"
        ) from (None if finding is None else finding.error)

    def replay(self, recipe: Recipe) -> Report:
        recipe.check_label(self._label)
        self._program.run(Recorder(), seed=recipe.seed, is_normal=True)
        finding, trace = self._follow(recipe)
        if finding is not None:
            self._raise_failure(finding, trace, recipe, "as it did before")
        for step in (step for each in recipe.precedences for step in each):
            if not trace.was_made(step):
                raise ReplayMismatch(
                    f"{self._label} has changed since this replay string was made: "
                    f"{trace.label(step.task)!r} makes no step number {step.number} any more",
                    has_changed=True,
                )
        return Report(1, 1, False, None, len(trace.picks), recipe.seed)


def _policies(
    strategy: str, seed: int, decisions: int, search: ExhaustiveSearch | None
) -> Iterator[Recorder]:
    """Yield who decides in each run after the first, which was first come, first served."""
    if strategy == "fifo":
        return
    if search is not None:
        yield from search
        return
    random = Random(seed)
    if strategy in ("lifo", "auto"):
        yield LastComeFirstServed()
    if strategy == "auto":
        yield from portfolio(random, decisions)
    while strategy == "random":
        yield AtRandom(random)
    while strategy == "pct":
        yield ByPriority(random, random.randint(2, 5), decisions)
    while strategy == "starve":
        yield Starving(random, decisions)


def _identity(finding: Finding | None) -> tuple[object, ...]:
    return () if finding is None else finding.identity()
