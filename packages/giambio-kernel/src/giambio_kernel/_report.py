# SPDX-License-Identifier: Apache-2.0
"""What the loop looks like from outside: snapshots, and the tree of tasks as text."""

from __future__ import annotations

import sys
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from ._interrupt import interrupt_free_packages, package_of
from ._io import IOHandle
from .traps import Sleep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._loop import Loop
    from ._scheduler import AsyncScheduler
    from ._task import Task, TaskState

# The longest part of a line that shows the depth in the tree.
_DEEPEST = 60

_numbers: WeakKeyDictionary[Task[Any], int] = WeakKeyDictionary()
_counts: WeakKeyDictionary[AsyncScheduler, Iterator[int]] = WeakKeyDictionary()


def number_of(task: Task[Any]) -> int:
    """Return the number of a task, by which reports tell it from others of its name.

    It is the same in all of them. The tasks of a loop are counted from 1, in the order in which
    they are first asked about, so that a run that is repeated has the same numbers.
    """
    number = _numbers.get(task)
    if number is None:
        scheduler = task.scheduler
        counter = _counts.get(scheduler) or _counts.setdefault(scheduler, count(1))
        number = _numbers.setdefault(task, next(counter))
    return number


class TaskSnapshot(NamedTuple):
    """What was known of a task at one moment."""

    name: str
    """What it was called; with its number, ``worker #2``, if several were called so."""
    state: TaskState
    """Where it was in its life."""
    waiting_on: str | None
    """What it waited for, in words, with the names of tasks as here; None if it did not wait."""
    waiting_since: float | None
    """When it began to, on the loop's clock."""
    held_by: tuple[str, ...]
    """The names of the tasks that could end the wait."""
    where: str | None
    """The place in the program where it is suspended; None if it runs or has not begun."""
    children: tuple[TaskSnapshot, ...]
    """The tasks spawned in its pools."""


class Snapshot(NamedTuple):
    """What was known of a loop at one moment."""

    time: float
    """On the loop's clock."""
    tasks: tuple[TaskSnapshot, ...]
    """The tasks in no pool, the main task first; the others are below them."""
    ready: tuple[str, ...]
    """The names of the tasks that will run next, in this order."""
    timers: int
    """How many tasks have a deadline ahead."""
    next_deadline: float
    """When the first of them is due; ``inf`` if there is none."""
    descriptors: tuple[int, ...]
    """The descriptors that are watched."""
    calls: int
    """How many calls from outside are to be made."""


def take_snapshot(loop: Loop) -> Snapshot:
    """Return what is known of *loop* now."""
    opened = hasattr(loop, "_io")
    tops = loop._root.tasks + loop._system.tasks
    found = list(_walk(tops))
    names = _names(found)
    described: dict[Task[Any], TaskSnapshot] = {}
    for task, children in reversed(found):
        below = tuple(described.pop(child) for child in children)
        described[task] = _describe(task, names, below)
    return Snapshot(
        time=loop._now(),
        tasks=tuple(described[task] for task in tops),
        ready=tuple(_name(task, names) for task in loop.ready),
        timers=len(loop._timers),
        next_deadline=loop._timers.next(),
        descriptors=tuple(handle.fd for handle in loop._io.handles()) if opened else (),
        calls=len(loop._inbox.calls) if opened else 0,
    )


def _walk(tops: tuple[Task[Any], ...]) -> Iterator[tuple[Task[Any], list[Task[Any]]]]:
    """Yield all tasks with their children, depth first, which is the order of the tree."""
    # Not recursive: pools may be nested more deeply than Python's stack.
    to_look_at = list(reversed(tops))
    while to_look_at:
        task = to_look_at.pop()
        children = children_of(task)
        yield task, children
        to_look_at.extend(reversed(children))


def _names(tasks: list[tuple[Task[Any], list[Task[Any]]]]) -> dict[Task[Any], str]:
    """Return what to call the tasks that share their name with others, to tell them apart."""
    found: dict[str, list[Task[Any]]] = {}
    for task, _ in tasks:
        number_of(task)  # in the order of the tree, also those that need none
        found.setdefault(task.name, []).append(task)
    return {
        task: f"{name} #{number_of(task)}"
        for name, same in found.items()
        if len(same) > 1
        for task in same
    }


def _name(task: Task[Any], names: dict[Task[Any], str]) -> str:
    return names.get(task) or task.name


def _describe(
    task: Task[Any], names: dict[Task[Any], str], children: tuple[TaskSnapshot, ...]
) -> TaskSnapshot:
    waiting_on = task.waiting_on
    holders = holders_of(waiting_on)
    words = None
    if task.undo_wait is not None:
        words = _in_words(task, waiting_on)
        if len(holders) == 1:
            words = words.replace(repr(holders[0].name), repr(_name(holders[0], names)))
    return TaskSnapshot(
        name=_name(task, names),
        state=task.state,
        waiting_on=words,
        waiting_since=task.waiting_since,
        held_by=tuple(_name(holder, names) for holder in holders),
        where=_place(task),
        children=children,
    )


def children_of(task: Task[Any]) -> list[Task[Any]]:
    """Return the tasks that were spawned in the pools that *task* is in, outermost pool first."""
    children: list[Task[Any]] = []
    scope = task._scope
    while scope is not task._home and scope is not None:
        children[:0] = scope.tasks
        scope = scope._parent  # type: ignore[assignment]
    return children


def holders_of(waited_on: object) -> tuple[Task[Any], ...]:
    """Return the tasks that could end a wait for *waited_on*, as far as it tells."""
    holders = getattr(waited_on, "holders", None)
    try:
        return tuple(holders()) if callable(holders) else ()
    except Exception:  # of the program; it must not take the place of what is to be reported
        return ()


def format_tree(loop: Loop) -> str:
    """Return all tasks as a tree, a line each: name, what it waits for, who holds that, where."""
    snapshot = take_snapshot(loop)
    lines: list[str] = []
    # Each with what comes before it, and before those below it.
    to_show = [(task, "", "") for task in reversed(snapshot.tasks)]
    while to_show:
        task, first, rest = to_show.pop()
        lines.append(_format(task, snapshot.time, first))
        last = len(task.children) - 1
        to_show.extend(
            (child, rest + ("├─ " if n < last else "└─ "), rest + ("│  " if n < last else "   "))
            for n, child in reversed(list(enumerate(task.children)))
        )
    return "\n".join(lines)


def _format(task: TaskSnapshot, now: float, first: str) -> str:
    if len(first) > _DEEPEST:
        first = f"⋯ {len(first) // 3} deep {first[-3:]}"
    words = [task.state.value]
    if task.waiting_on is not None:
        words = [f"waits for {task.waiting_on}"]
        if not all(repr(holder) in task.waiting_on for holder in task.held_by):
            words.append("held by " + ", ".join(map(repr, task.held_by)))
        if task.waiting_since is not None and now - task.waiting_since >= 0.001:
            words.append(f"for {_seconds(now - task.waiting_since)}")
    if task.where is not None:
        words.append(task.where)
    return f"{first}{task.name}: {', '.join(words)}"


def _seconds(seconds: float) -> str:
    """Return a duration without an exponent, which nobody reads at a glance."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:.0f} s"


def _in_words(task: Task[Any], waited_on: object) -> str:
    if isinstance(waited_on, Sleep):
        return f"the end of its sleep in {_seconds(waited_on.until - task.scheduler.clock())}"
    if isinstance(waited_on, IOHandle):
        verb = "read from" if waited_on.reader is task else "write to"
        return f"descriptor {waited_on.fd} to {verb}"
    if hasattr(waited_on, "coro"):
        other: Task[Any] = waited_on  # type: ignore[assignment]
        until_end = other._watchers is None or other._watchers.get(task, True)
        return f"the {'end' if until_end else 'start'} of task {other.name!r}"
    try:
        return repr(waited_on)
    except Exception:
        return object.__repr__(waited_on)


def _place(task: Task[Any]) -> str | None:
    """The innermost frame of the program itself, not of the libraries that wait for it.

    Of the standard library only if there is nothing else: what lies in between is `contextlib`, mostly.
    """
    found = None
    for frame in reversed(task.stack()):
        package = package_of(frame)
        if package not in interrupt_free_packages:
            code = frame.f_code
            place = f"at {code.co_filename}:{frame.f_lineno} in {code.co_qualname}"
            if package not in sys.stdlib_module_names:
                return place
            found = found or place
    return found
