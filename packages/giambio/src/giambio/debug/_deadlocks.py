# SPDX-License-Identifier: Apache-2.0
"""Deadlocks of a part of a program: tasks that wait for each other while others go on.

When a whole program can never go on the loop says so by itself. Here is what finds the others: a task
is *stuck* if it waits for something that only stuck tasks can give it. Which tasks those are is told by
what it waits for, with the method ``holders()``. Who waits for what anybody may do, such as an event
or an item in a queue, is not stuck as far as one can know; neither is who has a deadline.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from giambio._pool import Pool
from giambio._sync.limiter import CapacityLimiter
from giambio._sync.lock import Lock
from giambio._sync.rwlock import RWLock
from giambio_kernel import DeadlockError, current_scheduler, number_of, reschedule

from ._tree import format_place
from ._view import INFINITY, deadline_of, describe_wait, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from giambio_kernel import AsyncScheduler, Task


class Blocked(NamedTuple):
    """A task of a `Deadlock`."""

    task: Task[Any]
    """The task."""
    waiting_on: object
    """What it waits for."""
    held_by: tuple[Task[Any], ...]
    """The tasks that could end the wait."""

    def __str__(self) -> str:
        places = [place_of(frame) for frame in self.task.stack()]
        place = format_place(next((place for place in reversed(places) if place.own), None))
        words = describe_wait(self.task, self.task.scheduler.clock())
        return f"{self.task.name} #{number_of(self.task)} {words}{place and ', at '}{place}"


class Deadlock(NamedTuple):
    """Tasks that wait for each other in a circle, and will until one of them is cancelled."""

    circle: tuple[Blocked, ...]
    """Each waits for the next, and the last for the first."""

    def __str__(self) -> str:
        return "\n".join(
            [
                "these tasks wait for each other, each for the next and the last for the first:",
                *(f"  {blocked}" for blocked in self.circle),
            ]
        )


def find_deadlocks(scheduler: AsyncScheduler | None = None) -> list[Deadlock]:
    """Find tasks that wait for each other while the rest of the program goes on.

    It sees circles of locks, read-write locks, limiters, tasks that are joined and pools that wait for
    their end, and of whatever else has a method ``holders()``. Nobody holds a permit of a `Semaphore`,
    so those are not seen. A wait that a deadline will end is no deadlock.

    Args:
        scheduler: The loop, looked at from its own thread; that of the current task if omitted.

    Returns:
        The circles, each once. Tasks that only wait for one in a circle are not in them.

    Raises:
        RuntimeError: No loop was given, and this is not called from inside of one.
    """
    if scheduler is None:
        scheduler = current_scheduler()
    stuck = _find_stuck(scheduler.tasks())
    found: list[Deadlock] = []
    seen: set[Task[Any]] = set()
    for task in stuck:
        if task not in seen and (deadlock := _circle_through(task, stuck)) is not None:
            found.append(deadlock)
            seen.update(blocked.task for blocked in deadlock.circle)
    return found


class DeadlockDetector:
    """Finds deadlocks of a part of a program in the moment in which they come about.

    Pass an instance to ``run(debugger=...)``. By default the task whose wait closes a circle gets a
    `DeadlockError` from what it awaits, such as ``async with lock``, which it then does not have, and
    the others can go on. If it waits for something that cannot be refused, such as the end of a task,
    another task of the circle gets the error; if that is so for all of them, it is printed to standard
    error.

    What is found is what `find_deadlocks` finds. That every step is told to this costs about two
    microseconds a step, three if the task begins to wait for another one.

    Args:
        report: Called in the loop as ``report(deadlock)``, with a `Deadlock`, instead of all that.
    """

    def __init__(self, report: Callable[[Deadlock], object] | None = None) -> None:
        self._report = _break_up if report is None else report

    def after_task_step(self, task: Task[Any]) -> None:
        """See whether the task has begun to wait for itself."""
        blockers, _ = _blockers_of(task)
        if not any(blocker.waiting_on is not None for blocker in blockers):
            return
        stuck = _find_stuck(_reachable_from(task))
        if task in stuck and (deadlock := _circle_through(task, stuck)) is not None:
            self._report(deadlock)


def _break_up(deadlock: Deadlock) -> None:
    """Let one of the tasks fail instead of waiting."""
    for task, waiting_on, _ in deadlock.circle:
        queue = task.undo_wait
        if isinstance(waiting_on, Lock | RWLock | CapacityLimiter) and isinstance(queue, dict):
            # Made while it waits, so that the text counts it among those who do.
            error = DeadlockError(str(deadlock))
            del queue[task]
            reschedule(task, error=error)
            return
    print(f"giambio: {deadlock}", file=sys.stderr)


def _blockers_of(task: Task[Any]) -> tuple[tuple[Task[Any], ...], bool]:
    """Return the tasks that a task waits for, and whether it needs all of them."""
    waiting_on = task.waiting_on
    holders = getattr(waiting_on, "holders", None)
    if not callable(holders) or deadline_of(task) != INFINITY:
        return (), False
    if isinstance(waiting_on, Pool):
        # It cancels its services when the others have ended.
        return tuple(each for each in waiting_on.tasks if each not in waiting_on._services), True
    # Of the others only a read-write lock needs all of its holders: of a limiter, any borrower who
    # gives a token back will do.
    return tuple(holders()), isinstance(waiting_on, RWLock)


def _reachable_from(task: Task[Any]) -> list[Task[Any]]:
    """Return the task, those that it waits for, those that these wait for, and so on."""
    found = {task: None}
    to_look_at = [task]
    while to_look_at:
        for blocker in _blockers_of(to_look_at.pop())[0]:
            if blocker not in found:
                found[blocker] = None
                to_look_at.append(blocker)
    return list(found)


def _find_stuck(tasks: Iterable[Task[Any]]) -> dict[Task[Any], Blocked]:
    """Return those of the tasks that no task that is not stuck can free.

    Everybody who waits for tasks is suspected. Who is not suspected may free others, and who is freed
    may in turn; what remains is stuck.
    """
    suspects: dict[Task[Any], Blocked] = {}
    # How many of its blockers have to be free before each of them is.
    missing: dict[Task[Any], int] = {}
    waiting_for: dict[Task[Any], list[Task[Any]]] = {}
    for task in tasks:
        blockers, needs_all = _blockers_of(task)
        if blockers:
            suspects[task] = Blocked(task, task.waiting_on, blockers)
            missing[task] = len(blockers) if needs_all else 1
            for blocker in blockers:
                waiting_for.setdefault(blocker, []).append(task)
    free = deque(task for task in waiting_for if task not in suspects)
    while free:
        for task in waiting_for.get(free.popleft(), ()):
            missing[task] -= 1
            if not missing[task]:
                del suspects[task]
                free.append(task)
    return suspects


def _circle_through(task: Task[Any], stuck: dict[Task[Any], Blocked]) -> Deadlock | None:
    """Return the shortest circle that the task is in; None if it only waits for others in one."""
    came_from: dict[Task[Any], Task[Any]] = {}
    to_look_at = deque([task])
    while to_look_at:
        current = to_look_at.popleft()
        for blocker in stuck[current].held_by:
            if blocker is task:
                circle = [stuck[current]]
                while current is not task:
                    current = came_from[current]
                    circle.append(stuck[current])
                return Deadlock(tuple(reversed(circle)))
            if blocker in stuck and blocker not in came_from:
                came_from[blocker] = current
                to_look_at.append(blocker)
    return None
