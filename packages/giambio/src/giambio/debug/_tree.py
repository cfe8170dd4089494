# SPDX-License-Identifier: Apache-2.0
"""Trees: views of loops as text that is a pleasure to read.

A line a task, in columns: its place in the tree, what it does or waits for, for how long, and where in
the program that is. Siblings that do the same at the same place share a line, so that a server with a
thousand idle connections is still seen at a glance.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Literal, NamedTuple

from giambio_kernel import current_scheduler

from ._view import LoopView, Place, TaskView, format_seconds, look_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

    from giambio_kernel import AsyncScheduler

# From how many siblings on that do the same they share a line.
_FEWEST_FOLDED = 4
# The longest part of a line that shows the depth in the tree.
_DEEPEST = 60
# Columns are as wide as what is in them, but a single long text must not push the others away.
_WIDEST = 56

_ASCII = str.maketrans("├└│─×·…µ⋯", "|`|-x-.u.")

Style = Literal["plain", "running", "ready", "waiting", "cancelled", "note"]


class Line(NamedTuple):
    """A line of a tree, not yet in columns."""

    name: str
    doing: str
    seconds: str
    place: str
    style: Style
    number: int
    """The number of the task; 0 if it is a remark about the whole."""


class _Node(NamedTuple):
    """A task, or several that do the same, and its prefix in the tree."""

    tasks: list[TaskView]
    first: str
    rest: str


def tree_lines(view: LoopView, *, fold: bool = True) -> list[Line]:
    """Return the tasks of a loop as a tree, a line each.

    Args:
        view: The loop.
        fold: Whether siblings that do the same share a line.
    """
    known = {task.number: task.name for task in view.tasks}
    children: dict[int | None, list[TaskView]] = {}
    for task in view.tasks:
        children.setdefault(task.parent if task.parent in known else None, []).append(task)
    lines: list[Line] = []
    # A stack and not a recursion: pools may be nested more deeply than Python's calls.
    nodes = [_Node(group, "", "") for group in _groups(children.get(None, []), children, fold)]
    nodes.reverse()
    while nodes:
        node = nodes.pop()
        lines.append(_line(node, known))
        if len(node.tasks) > 1:
            continue
        groups = _groups(children.get(node.tasks[0].number, []), children, fold)
        below = [
            _Node(group, node.rest + "├─ ", node.rest + "│  ")
            for group in groups[:-1]
        ]  # fmt: skip
        below += [_Node(group, node.rest + "└─ ", node.rest + "   ") for group in groups[-1:]]
        nodes.extend(reversed(below))
    lines.extend(_circles(view))
    return lines


def _groups(
    tasks: list[TaskView], children: dict[int | None, list[TaskView]], fold: bool
) -> list[list[TaskView]]:
    """Put together the tasks that share a line."""
    groups: dict[object, list[TaskView]] = {}
    for task in tasks:
        alike: object = task.number
        if fold and task.number not in children:
            doing = _without_numbers(task.doing)
            alike = (task.name, doing, task.held_by, task.place, task.stopping)
        groups.setdefault(alike, []).append(task)
    result: list[list[TaskView]] = []
    for group in groups.values():
        if len(group) >= _FEWEST_FOLDED:
            result.append(group)
        else:
            result.extend([task] for task in group)
    return result


def _without_numbers(text: str) -> str:
    return re.sub(r"(0x[0-9a-f]+|#?\d[\d.]*( (µs|ms|s|min|h|days)\b)?)+", "…", text)


def _line(node: _Node, names: dict[int, str]) -> Line:
    task = node.tasks[0]
    first = node.first
    if len(first) > _DEEPEST:
        first = f"⋯ {len(first) // 3} deep {first[-3:]}"
    if len(node.tasks) == 1:
        name = f"{first}{task.name} #{task.number}"
        doing = task.doing
        seconds = _seconds(task.seconds, task.seconds)
    else:
        name = f"{first}{task.name} × {len(node.tasks)}"
        same = {task.doing for task in node.tasks}
        doing = task.doing if len(same) == 1 else _without_numbers(task.doing)
        times = [each.seconds for each in node.tasks if each.seconds is not None]
        seconds = _seconds(min(times, default=None), max(times, default=None))
    if task.held_by:
        # The object may have said so in words of its own, but names alone are not clear.
        holders = ", ".join(f"{names.get(each, '?')} #{each}" for each in task.held_by)
        doing = re.sub(r", held by '.*?'", "", doing) + f", held by {holders}"
    if task.stopping:
        doing += ", is being cancelled"
    elif task.deadline is not None:
        nearest = min(each.deadline or 0.0 for each in node.tasks)
        doing += f", times out in {format_seconds(max(0.0, nearest))}"
    style: Style = "cancelled" if task.stopping else "waiting"
    if task.state == "running":
        style = "running"
    elif task.state in ("ready", "new") and not task.stopping:
        style = "ready"
    place = _printable(format_place(task.place))
    return Line(_printable(name), _printable(doing), seconds, place, style, task.number)


def _printable(text: str) -> str:
    """Return *text* without what could do something to a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "?" for char in text)


def task_line(task: TaskView, names: dict[int, str]) -> Line:
    """Return the line of one task by itself. *names* are those of all tasks, by number."""
    return _line(_Node([task], "", ""), names)


def _seconds(least: float | None, most: float | None) -> str:
    # What has just begun has not lasted.
    if most is None or least is None or most < 0.001:
        return ""
    shortest, longest = format_seconds(least), format_seconds(most)
    return longest if shortest == longest else f"{shortest} to {longest}"


def _circles(view: LoopView) -> Iterator[Line]:
    """Find tasks that wait for each other: a deadlock of a part of the program."""
    waits = {task.number: task.held_by[0] for task in view.tasks if len(task.held_by) == 1}
    names = {task.number: task.name for task in view.tasks}
    seen: set[int] = set()
    for start in waits:
        path: list[int] = []
        number = start
        while number in waits and number not in seen:
            seen.add(number)
            path.append(number)
            number = waits[number]
        if number in path:
            circle = [*path[path.index(number) :], number]
            text = " → ".join(f"{names[each]} #{each}" for each in circle)
            yield Line(f"these wait for each other: {text}", "", "", "", "note", 0)


def format_place(place: Place | None) -> str:
    """Return a place as an editor understands it, and the function."""
    if place is None:
        return ""
    return f"{short_path(place.file)}:{place.line} {place.function}"


def short_path(path: str) -> str:
    """Return a path relative to the current directory if it is below, otherwise as short as clear."""
    here = os.getcwd() + os.sep
    if path.startswith(here):
        return path[len(here) :]
    for folder in ("site-packages", "dist-packages"):
        _, found, rest = path.rpartition(f"{os.sep}{folder}{os.sep}")
        if found:
            return rest
    home = os.path.expanduser("~") + os.sep
    return "~" + os.sep + path[len(home) :] if path.startswith(home) else path


def in_columns(lines: Iterable[Line], width: int | None = None) -> list[str]:
    """Return lines in columns.

    Args:
        lines: The lines.
        width: How many characters a line may have; ``None`` sets no limit.
    """
    lines = list(lines)
    columns = [(line.name, line.doing, line.seconds) for line in lines if line.style != "note"]
    widths = [max([min(len(each[n]), _WIDEST) for each in columns], default=0) for n in range(3)]
    result: list[str] = []
    for line in lines:
        if line.style == "note":
            text = line.name
        else:
            cells = [line.name.ljust(widths[0]), line.doing.ljust(widths[1])]
            if widths[2]:
                cells.append(line.seconds.rjust(widths[2]))
            text = "  ".join([*cells, line.place]).rstrip()
        if width is not None and len(text) > width:
            text = text[: max(0, width - 1)] + "…"
        result.append(text)
    return result


def summary(view: LoopView) -> str:
    """Return a line about the loop as a whole."""
    states = [task.state for task in view.tasks]
    ready = sum(state in ("ready", "new") for state in states)
    words = [f"{len(states)} task{'s' * (len(states) != 1)}"]
    if ready:
        words.append(f"{ready} ready")
    elif view.next_deadline is not None and view.stuck is None:
        words.append(f"next timer in {format_seconds(view.next_deadline)}")
    if view.stuck is not None:
        stuck = [task for task in view.tasks if task.state == "running"]
        if stuck:
            task = stuck[0]
            words.append(
                f"STUCK for {format_seconds(view.stuck)} in a step of {task.name} #{task.number}"
            )
        else:
            words.append(f"nobody has driven it for {format_seconds(view.stuck)}")
    elif view.delay is not None:
        words.append(f"answers in {format_seconds(view.delay)}")
    thread = f" in {view.thread}" if view.thread else ""
    return f"loop{thread}: {', '.join(words)}"


def stack_lines(task: TaskView) -> list[str]:
    """Return where a task is, as a traceback shows it, down to what it called of giambio."""
    own = [index for index, place in enumerate(task.stack) if place.own]
    lines = place_lines(task.stack[: own[-1] + 1 if own else 1])
    return lines or ["  (it has not begun)" if task.state == "new" else "  (between two steps)"]


def place_lines(places: Iterable[Place]) -> list[str]:
    """Return places as a traceback shows them. Source lines are read where this is called."""
    import linecache

    lines: list[str] = []
    for place in places:
        lines.append(f'  File "{place.file}", line {place.line}, in {place.function}')
        source = linecache.getline(place.file, place.line).strip()
        if source:
            lines.append(f"    {source}")
    return lines


def stuck_lines(view: LoopView) -> list[str]:
    """Return where a loop that does not answer is stuck; nothing if it is not."""
    if view.stuck is None:
        return []
    return [
        line
        for task in view.tasks
        if task.state == "running"
        for line in ("", f"{task.name} #{task.number} is stuck here:", *stack_lines(task))
    ]


def where_lines(view: LoopView, *, only: str | None = None) -> list[str]:
    """Return the stack of each task; those that stand at the same place share one.

    Args:
        view: The loop.
        only: The name or the number of the tasks to show; all if omitted.
    """
    names = {task.number: task.name for task in view.tasks}
    alike: dict[object, list[TaskView]] = {}
    for task in view.tasks:
        if only is None or only.lstrip("#") in (task.name, str(task.number)):
            key = (task.name, _without_numbers(task.doing), task.held_by, task.stack)
            alike.setdefault(key, []).append(task)
    lines: list[str] = []
    for tasks in alike.values():
        line = _line(_Node(tasks, "", ""), names)
        since = f", {line.seconds}" if line.seconds else ""
        lines += [f"{line.name}: {line.doing}{since}", *stack_lines(tasks[0]), ""]
    return lines[:-1]


def format_tree(scheduler: AsyncScheduler | None = None, *, stacks: bool = False) -> str:
    """Return all tasks of a loop as a tree, a line each. See `print_tree`.

    Args:
        scheduler: The loop; the current one if omitted.
        stacks: Whether to add the stack of each task.

    Raises:
        RuntimeError: No loop is given, and this is not called from inside of one.
    """
    view = look_at(current_scheduler() if scheduler is None else scheduler)
    lines = [summary(view), *in_columns(tree_lines(view))]
    if stacks:
        lines += ["", *where_lines(view)]
    return "\n".join(lines)


def print_tree(
    scheduler: AsyncScheduler | None = None,
    *,
    file: TextIO | None = None,
    stacks: bool = False,
) -> None:
    """Print all tasks of a loop as a tree: a line each, with what it waits for and where.

    Can be called from anywhere, also from another thread while the loop is stuck in a long step.

    Args:
        scheduler: The loop; the current one if omitted.
        file: Where to; standard error if omitted.
        stacks: Whether to add the stack of each task.

    Raises:
        RuntimeError: No loop is given, and this is not called from inside of one.
    """
    file = sys.stderr if file is None else file
    print(encodable(format_tree(scheduler, stacks=stacks), file), file=file)


def encodable(text: str, file: TextIO) -> str:
    """Return *text* in characters that *file* can take."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).replace("→", "->").encode("ascii", "replace").decode()
    return text
