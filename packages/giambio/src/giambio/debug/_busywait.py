# SPDX-License-Identifier: Apache-2.0
"""Busy-waiting: tasks that wait by asking again and again."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from giambio_kernel import Sleep, TaskState

from ._tree import format_place
from ._view import format_seconds, place_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from giambio_kernel import Task


class BusyTask(NamedTuple):
    """A task that seems to wait for something by asking again and again."""

    task: Task[Any]
    """The task."""
    turns: int
    """How often in a row it came back without having waited for anything."""
    seconds: float
    """How long that took, on the loop's clock."""
    place: str
    """Where, in the program."""


class BusyWaitDetector:
    """Finds tasks that wait by asking again and again, and keep the processor busy with it.

    Such a task gives way, or sleeps for a moment, again and again at the same place::

        while not ready:
            await giambio.sleep(0)

    An `Event` would let it really wait. Work that is done in small pieces, with a checkpoint after
    each, looks the same if the pieces are tiny; then the checkpoints cost more than the work.
    Operations that finish at once, such as sending into a channel with room, are no busy-waiting.

    Each place is shown once. That every step is told to this costs about a microsecond a step.

    Args:
        turns: How many turns in a row make it suspicious.
        shortest_sleep: Sleeps that are shorter than this, in seconds, count as turns.
        longest_step: A task whose steps take longer than this on average, in real seconds, is
            working and not waiting.
        report: What to do about it: called in the loop as ``report(busy_task)``, with a `BusyTask`.
            By default it is printed to standard error.

    Raises:
        ValueError: *turns* is less than 2.
    """

    def __init__(
        self,
        turns: int = 1000,
        *,
        shortest_sleep: float = 0.01,
        longest_step: float = 0.0001,
        report: Callable[[BusyTask], object] | None = None,
    ) -> None:
        if turns < 2:
            raise ValueError(f"turns must be at least 2, not {turns!r}")
        self.turns = turns
        self.shortest_sleep = shortest_sleep
        self.longest_step = longest_step
        self._report = _print_busy if report is None else report
        # For each task that is at it: how many turns, since when, and how long its steps took.
        self._counts: dict[Task[Any], tuple[int, float, float]] = {}
        self._step_began = 0.0
        self._seen: set[str] = set()

    def before_task_step(self, task: Task[Any]) -> None:
        """Note when the step begins."""
        self._step_began = time.perf_counter()

    def after_task_step(self, task: Task[Any]) -> None:
        """Count a turn, or find that the task really waits."""
        if task.state is not TaskState.READY and not self._naps(task):
            self._counts.pop(task, None)
            return
        took = time.perf_counter() - self._step_began
        turns, since, work = self._counts.get(task) or (0, task.scheduler.clock(), 0.0)
        turns += 1
        work += took
        if turns >= self.turns:
            self._judge(task, turns, since, work)
            self._counts.pop(task, None)
        else:
            self._counts[task] = (turns, since, work)

    def on_task_exit(self, task: Task[Any]) -> None:
        """Forget the task."""
        self._counts.pop(task, None)

    def _naps(self, task: Task[Any]) -> bool:
        waited_on = task.waiting_on
        if not isinstance(waited_on, Sleep):
            return False
        return waited_on.until - task.scheduler.clock() < self.shortest_sleep

    def _judge(self, task: Task[Any], turns: int, since: float, work: float) -> None:
        if work > turns * self.longest_step:
            return
        place = _place_of_giving_way(task)
        if place is not None and place not in self._seen:
            self._seen.add(place)
            seconds = task.scheduler.clock() - since
            self._report(BusyTask(task, turns, seconds, place))


# What a task awaits in order to give way, as opposed to operations that could finish at once.
_GIVING_WAY = frozenset(("checkpoint", "shielded_checkpoint", "sleep", "sleep_until"))


def _place_of_giving_way(task: Task[Any]) -> str | None:
    """Where the program itself gives way; None if that was an operation's decision."""
    places = [place_of(frame) for frame in task.stack()]
    own = [index for index, place in enumerate(places) if place.own]
    if not own:
        return None
    called = places[own[-1] + 1 :]
    if not called or called[0].function in _GIVING_WAY:
        return format_place(places[own[-1]])
    return None


def _print_busy(busy: BusyTask) -> None:
    print(
        f"giambio: task {busy.task.name!r} has come back {busy.turns} times in a row in "
        f"{format_seconds(busy.seconds)} without waiting for anything, at {busy.place}; if it waits "
        "for something to change, let an Event wake it",
        file=sys.stderr,
    )
