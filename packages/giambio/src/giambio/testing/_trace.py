# SPDX-License-Identifier: Apache-2.0
"""The trace of a run: which task made which step, who went before whom, and how to make that happen again.

A schedule is written down as what it has that first come, first served has not: *this step of this task
before that step of that one*. Each such `Precedence` holds a task back until another one has made a step,
so a few of them say what it takes to make a program fail, and still mean the same when the others are
left out. Picks by number, "the third of the ready tasks, at the twelfth decision", do not.

Tasks have no numbers that two runs agree on. What they agree on is who has spawned whom, so that is how
a task is named: the path of a task is that of its spawner, and which of its spawner's tasks it is.

Source: schedules by their deviations from a deterministic one are M. Emmi, S. Qadeer and Z. Rakamarić,
"Delay-bounded scheduling" (POPL 2011).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias
from weakref import WeakKeyDictionary

from ._places import Place, place_of_task
from ._strategies import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from giambio_kernel import Task

Path: TypeAlias = tuple[int, ...]
"""Who a task is: the main task is the empty path, its third task is ``(2,)``."""


class Step(NamedTuple):
    """One step of one task."""

    task: Path
    number: int
    """Which of its steps, from 1."""


class Precedence(NamedTuple):
    """That one step is made before another one."""

    first: Step
    then: Step


class Decider(Protocol):
    """Picks a task, knowing the trace so far."""

    def decide(self, trace: Trace, ready: Sequence[Task[Any]]) -> int:
        """Return which of the ready tasks runs next."""
        ...


class Trace(Recorder):
    """What happened in one run. It is the policy of that run and its debugger.

    Args:
        decider: Who decides.
        wanted: The steps whose places are to be noted.
    """

    __slots__ = (
        "_children", "_decider", "_made", "_paths", "_wanted", "names", "order", "overtakings",
        "places", "sizes",
    )  # fmt: skip

    def __init__(self, decider: Decider, wanted: Iterable[Step] = ()) -> None:
        super().__init__()
        self._decider = decider
        self._wanted = frozenset(wanted)
        self._paths: WeakKeyDictionary[Task[Any], Path] = WeakKeyDictionary()
        # How many tasks each task has spawned, and how many steps it has made.
        self._children: dict[Path | None, int] = {}
        self._made: dict[Path, int] = {}
        self.names: dict[Path, str] = {}
        # All steps, in order, each by its task.
        self.order: list[Path] = []
        # Each pick of another task than the first: its step, and the steps that it went before.
        self.overtakings: list[tuple[Step, tuple[Step, ...]]] = []
        self.places: dict[Step, Place | None] = {}
        # Among how many tasks each pick was made.
        self.sizes: list[int] = []

    # The policy

    def choose(self, ready: Sequence[Task[Any]]) -> int:
        """Return which of the ready tasks runs next, and note whom it overtakes."""
        index = self._decider.decide(self, ready)
        self.picks.append(index)
        self.sizes.append(len(ready))
        if index:
            self.overtakings.append(
                (self.next_step(ready[index]), tuple(map(self.next_step, list(ready)[:index])))
            )
        return index

    def next_step(self, task: Task[Any]) -> Step:
        """Return the step that a task will make next."""
        path = self._path(task)
        return Step(path, self._made.get(path, 0) + 1)

    def was_made(self, step: Step) -> bool:
        """Whether a step was made."""
        return self._made.get(step.task, 0) >= step.number

    # The debugger

    def on_task_spawn(self, task: Task[Any]) -> None:
        """Give a new task its path."""
        spawner = task.scheduler.current_task()
        parent = None if spawner is None else self._path(spawner)
        count = self._children[parent] = self._children.get(parent, 0) + 1
        # What the loop itself spawns has no spawner. It is numbered downwards.
        self._paths[task] = (-count,) if parent is None else (*parent, count - 1)

    def _path(self, task: Task[Any]) -> Path:
        return self._paths.get(task, ())  # of the main task nobody tells that it was spawned

    def before_task_step(self, task: Task[Any]) -> None:
        """Note the step, and where it begins if that is wanted."""
        path = self._path(task)
        number = self._made.get(path, 0) + 1
        if number == 1:
            self.names[path] = task.name
        if self._wanted and (path, number) in self._wanted:
            self.places[Step(path, number)] = place_of_task(task)
        self._made[path] = number
        self.order.append(path)

    # What is read from it afterwards

    def label(self, path: Path) -> str:
        """Return what to call a task: its name, with a number if there are several of that name."""
        name = self.names.get(path, "a task")
        same = [other for other, its in self.names.items() if its == name]
        if len(same) <= 1:
            return name
        return f"{name} {sorted(same).index(path) + 1}" if path in same else name

    def difference(self, other: Trace) -> str | None:
        """Say where two runs parted that should have been the same; None if they did not."""
        for number, (ours, theirs) in enumerate(zip(self.order, other.order, strict=False), 1):
            if ours != theirs or self.names[ours] != other.names[theirs]:
                return (
                    f"step {number} was made by {self.label(ours)!r} in the first run and by "
                    f"{other.label(theirs)!r} in the second"
                )
        if len(self.order) != len(other.order):
            return f"the first run made {len(self.order)} steps, the second {len(other.order)}"
        return None


class FirstComeFirstServed:
    """The usual order."""

    def decide(self, trace: Trace, ready: Sequence[Task[Any]]) -> int:
        return 0


class SamePicks:
    """What another run picked, by number.

    Args:
        picks: As noted by a `Recorder`. After them it is first come, first served.
    """

    def __init__(self, picks: Sequence[int]) -> None:
        self._picks = picks

    def decide(self, trace: Trace, ready: Sequence[Task[Any]]) -> int:
        number = len(trace.picks)
        index = self._picks[number] if number < len(self._picks) else 0
        return index if index < len(ready) else 0


class InThisOrder:
    """First come, first served, but for some precedences.

    A task whose next step must come after another one's is passed over. When all are, the first one
    goes on all the same, for what they wait for cannot happen.

    Args:
        precedences: In any order.
    """

    def __init__(self, precedences: Iterable[Precedence]) -> None:
        self._before: dict[Step, list[Step]] = {}
        for first, then in precedences:
            self._before.setdefault(then, []).append(first)

    def decide(self, trace: Trace, ready: Sequence[Task[Any]]) -> int:
        if self._before:
            for index, task in enumerate(ready):
                conditions = self._before.get(trace.next_step(task))
                if conditions is None or all(map(trace.was_made, conditions)):
                    return index
        return 0
