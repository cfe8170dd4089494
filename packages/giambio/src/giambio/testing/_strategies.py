# SPDX-License-Identifier: Apache-2.0
"""Strategies: which schedules to try.

No strategy is best. A bug that needs one task to be overtaken at one of a hundred places is found by
random picks within a dozen runs; one that needs a task to be starved for a while is not found by them in
thousands, and by priorities at once. So by default all of them take part.

Whoever always prefers somebody would turn a loop that polls, ``while not done: await sleep(0)``, into an
endless one. So here nobody is preferred more than `_PATIENCE` times in a row.

Source: S. Burckhardt and others, "A randomized scheduler with probabilistic guarantees of finding bugs"
(ASPLOS 2010), for the priorities; Emmi and others, as in `_trace`, for the order of the exhaustive search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from giambio_kernel import Task

_PATIENCE = 50


class Recorder:
    """A policy that notes what it decides: first come, first served. The base of the others."""

    __slots__ = ("picks",)

    def __init__(self) -> None:
        # Which of the ready tasks was picked each time that there was a choice.
        self.picks: list[int] = []

    def choose(self, ready: Sequence[Task[Any]]) -> int:
        """Return which of the ready tasks runs next."""
        self.picks.append(0)
        return 0


class LastComeFirstServed(Recorder):
    """Picks the task that became ready last."""

    __slots__ = ("_favourite", "_times")

    def __init__(self) -> None:
        super().__init__()
        self._favourite: Task[Any] | None = None
        self._times = 0

    def choose(self, ready: Sequence[Task[Any]]) -> int:
        index = len(ready) - 1
        if ready[index] is not self._favourite:
            self._favourite = ready[index]
            self._times = 0
        self._times += 1
        if self._times > _PATIENCE:
            self._times = index = 0
        self.picks.append(index)
        return index


class AtRandom(Recorder):
    """Picks any task, all with the same probability."""

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random.random

    def choose(self, ready: Sequence[Task[Any]]) -> int:
        index = int(self._random() * len(ready))
        self.picks.append(index)
        return index


class ByPriority(Recorder):
    """Gives each task a random priority, and lets the first one drop to the bottom a few times.

    If *depth* - 1 changes of priority, at the right decisions, are enough to run into a bug, each run
    finds it with a probability of at least 1 / (tasks × decisions ** (depth - 1)).

    Args:
        random: Where priorities and changes come from.
        depth: One more than the number of changes.
        horizon: How many decisions there will be, about; the changes come within those.
    """

    __slots__ = ("_changes", "_favourite", "_lowest", "_priorities", "_random", "_times")

    def __init__(self, random: Random, depth: int, horizon: int) -> None:
        super().__init__()
        self._random = random.random
        self._changes = {random.randrange(max(1, horizon)) for _ in range(depth - 1)}
        self._priorities: WeakKeyDictionary[Task[Any], float] = WeakKeyDictionary()
        self._lowest = 0.0
        self._favourite: Task[Any] | None = None
        self._times = 0

    def choose(self, ready: Sequence[Task[Any]]) -> int:
        index = self._highest(ready)
        favourite = ready[index]
        if favourite is not self._favourite:
            self._favourite = favourite
            self._times = 0
        self._times += 1
        if len(self.picks) in self._changes or self._times > _PATIENCE:
            self._times = 0
            self._lowest -= 1.0
            self._priorities[favourite] = self._lowest
            index = self._highest(ready)
        self.picks.append(index)
        return index

    def _highest(self, ready: Sequence[Task[Any]]) -> int:
        priorities = self._priorities
        best = -1
        highest = 0.0
        for index, task in enumerate(ready):
            priority = priorities.get(task)
            if priority is None:
                priorities[task] = priority = self._random()
            if best < 0 or priority > highest:
                best, highest = index, priority
        return best


class Starving(Recorder):
    """Lets one task wait as long as another one can run, from some decision on."""

    __slots__ = ("_from", "_random", "_times", "_victim")

    def __init__(self, random: Random, horizon: int) -> None:
        super().__init__()
        self._from = random.randrange(max(1, horizon))
        self._random = random.random
        self._victim: Task[Any] | None = None
        self._times = 0

    def choose(self, ready: Sequence[Task[Any]]) -> int:
        if len(self.picks) >= self._from and (self._victim is None or self._victim.done()):
            self._victim = ready[int(self._random() * len(ready))]
        index = 0
        if ready[0] is self._victim:
            self._times += 1
            if self._times <= _PATIENCE:
                index = 1
            else:
                self._times = 0
        self.picks.append(index)
        return index


class Following(Recorder):
    """Picks as it is told, then first come, first served; and notes among how many it picked."""

    __slots__ = ("_given", "sizes")

    def __init__(self, given: Sequence[int]) -> None:
        super().__init__()
        self._given = given
        self.sizes: list[int] = []

    def choose(self, ready: Sequence[Task[Any]]) -> int:
        number = len(self.picks)
        size = len(ready)
        index = self._given[number] if number < len(self._given) else 0
        index = min(index, size - 1)
        self.picks.append(index)
        self.sizes.append(size)
        return index


class Choices(Protocol):
    """What was picked in a run, and among how many."""

    picks: list[int]
    sizes: list[int]


class ExhaustiveSearch:
    """All schedules but the first one, those with the fewest delays first.

    The first of the ready tasks is delayed once for each task that is picked before it. A schedule is
    told from the others by its deviations; adding one behind the last gives another schedule, so each
    comes up once.

    Iterating gives the policies to run with; each must have been run before the next is asked for.

    Args:
        first: The run that was first come, first served.

    Attributes:
        delays: Up to how many delays all schedules were run.
        exhausted: Whether those are all that there are.
    """

    def __init__(self, first: Choices) -> None:
        self._first = first
        self.delays = 0
        self.exhausted = False

    def __iter__(self) -> Iterator[Recorder]:
        # Each schedule that was run, with the place of its last deviation and its delays.
        runs: list[tuple[Choices, int, int]] = [(self._first, -1, 0)]
        while True:
            delays = self.delays + 1
            # Those that can have a successor with more delays than were tried.
            runs = [
                (run, last, cost)
                for run, last, cost in runs
                if max(run.sizes[last + 1 :], default=0) > delays - cost
            ]
            if not runs:
                self.exhausted = True
                return
            for run, last, cost in runs.copy():
                index = delays - cost
                for place in range(last + 1, len(run.picks)):
                    if run.sizes[place] > index:
                        policy = Following([*run.picks[:place], index])
                        yield policy
                        runs.append((policy, place, delays))
            self.delays = delays


def portfolio(random: Random, decisions: int) -> Iterator[Recorder]:
    """Yield policies without end: mostly at random, some by priority, a few that starve a task.

    Args:
        random: Where all randomness comes from.
        decisions: How many decisions there are in a run, about.
    """
    number = 0
    while True:
        number += 1
        if number % 20 == 0:
            yield Starving(random, decisions)
        elif number % 7 == 0:
            yield ByPriority(random, random.randint(2, 5), decisions)
        else:
            yield AtRandom(random)
