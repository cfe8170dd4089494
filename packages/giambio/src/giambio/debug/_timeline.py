# SPDX-License-Identifier: Apache-2.0
"""Time lines: what a tracer has recorded, and how that is written for a viewer of Chrome traces."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from giambio_kernel import AsyncScheduler, Task

Event: TypeAlias = "tuple[str, Row, int, int, str, dict[str, Any] | None]"
"""The phase, a letter of the format; the row; when, and how long or which arrow; name and details.

Times are in nanoseconds. A plain tuple, because it is made at every step.
"""


# Above what tasks are numbered with.
_ANOTHER_TID = 2**31 - 1


class Row:
    """A line in the trace: a task, or a loop itself."""

    __slots__ = ("arrow", "doing", "group", "name", "number", "parked_on", "since", "task", "woken")

    def __init__(self, group: Group, number: int, name: str, task: Task[Any] | None) -> None:
        self.group = group
        self.number = number
        self.name = name
        # Weak, so that a tracer that was switched off keeps no task alive.
        self.task = None if task is None else weakref.ref(task)
        # What lies between the last step and the next: since when, until when (if that was seen),
        # what, and details.
        self.since: int | None = None
        self.woken: int | None = None
        self.doing: tuple[str, dict[str, Any] | None] = ("", None)
        # The arrow that leads to its next step, if any; and the key in `Group.parked`.
        self.arrow: tuple[int, str] | None = None
        self.parked_on = 0

    def waits(self) -> bool:
        """Whether its task is there and waits."""
        task = None if self.task is None else self.task()
        return task is not None and task.waiting_since is not None


class Group:
    """A loop: the rows of its tasks, and which of them wait to be woken by another."""

    def __init__(self, number: int, scheduler: AsyncScheduler) -> None:
        # What the format calls a process.
        self.pid = os.getpid() + number
        self.name = f"loop in {threading.current_thread().name}"
        self.scheduler = weakref.ref(scheduler)
        self.loop_row = Row(self, 0, "loop", None)
        self.rows: weakref.WeakKeyDictionary[Task[Any], Row] = weakref.WeakKeyDictionary()
        # By the identity of what is waited for, in the order in which they came.
        self.parked: dict[int, dict[Row, None]] = {}
        # The row whose step is running, and since when.
        self.stepping: tuple[Row, int] | None = None
        # The task that has just ended, when, and the identity of its pool.
        self.ended: tuple[Row, int, int] | None = None

    def all_rows(self) -> list[Row]:
        """Return the rows of the tasks. From any thread: if they change meanwhile, once more."""
        while True:
            try:
                return list(self.rows.values())
            except RuntimeError:
                continue

    def forget(self) -> None:
        """Something was or will be missed, because the tracer is switched off: start afresh."""
        self.rows.clear()
        self.parked.clear()
        self.stepping = self.ended = None

    def unfinished(self, now: int) -> Iterator[Event]:
        """Yield the steps and waits that go on, as far as they have come."""
        if self.stepping is not None:
            row, since = self.stepping
            yield "X", row, since, now - since, row.name, {"end": "goes on"}
        for row in self.all_rows():
            if row.since is not None:
                name, details = row.doing
                yield (
                    "X",
                    row,
                    row.since,
                    now - row.since,
                    name,
                    {**(details or {}), "end": "goes on"},
                )


def convert(recorded: Sequence[Event], origin: int) -> Iterator[dict[str, Any]]:
    """Yield events of the Chrome trace format.

    Args:
        recorded: What was recorded.
        origin: Which time is to be zero.
    """
    rows = {event[1]: None for event in recorded}
    for group in {row.group: None for row in rows}:
        yield _metadata("process_name", group.pid, 0, name=group.name)
        yield _metadata("process_sort_index", group.pid, 0, sort_index=group.pid)
        rows[group.loop_row] = None
    for row in rows:
        # Viewers show the number, too.
        yield _metadata("thread_name", row.group.pid, _tid(row), name=row.name)
        yield _metadata("thread_sort_index", row.group.pid, _tid(row), sort_index=row.number)
    # An arrow whose other end was dropped, or has not come yet, leads nowhere.
    starts = {event[3] for event in recorded if event[0] == "s"}
    ends = {event[3] for event in recorded if event[0] == "f"}
    whole = starts & ends
    for event in recorded:
        if event[0] not in "sf" or event[3] in whole:
            yield _convert(event, origin)


def _tid(row: Row) -> int:
    """Return the number of a row, which is that of its task.

    The one with the number of its process stands above the others in viewers: that of the loop.
    """
    if row.number == 0:
        return row.group.pid
    return row.number if row.number != row.group.pid else _ANOTHER_TID


def _metadata(what: str, pid: int, tid: int, **args: object) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": args}


def _convert(event: Event, origin: int) -> dict[str, Any]:
    phase, row, when, length, name, details = event
    converted: dict[str, Any] = {
        "ph": phase,
        "name": name,
        "pid": row.group.pid,
        "tid": _tid(row),
        "ts": (when - origin) / 1000,
    }
    if phase == "X":
        converted["dur"] = length / 1000
    elif phase == "i":
        converted["s"] = "t"
    else:
        converted["cat"] = "arrow"
        converted["id"] = length
        if phase == "f":
            converted["bp"] = "e"
    if details is not None:
        converted["args"] = details
    return converted


def write_json(events: Iterator[dict[str, Any]], dropped: int, file: TextIO) -> None:
    """Write events of the Chrome trace format as a file that viewers open.

    Args:
        events: The events.
        dropped: How many more there were.
        file: A text file, open for writing.
    """
    import json

    other = {"recorded by": "giambio", "dropped events": dropped}
    file.write(f'{{"displayTimeUnit": "ms", "otherData": {json.dumps(other)},\n')
    file.write('"traceEvents": [')
    separator = "\n"
    for event in events:
        file.write(separator + json.dumps(event))
        separator = ",\n"
    file.write("\n]}\n")


def save_json(events: Iterator[dict[str, Any]], dropped: int, path: str | os.PathLike[str]) -> None:
    """Do so to a file that is replaced as a whole or not at all.

    Raises:
        OSError: The file cannot be written.
    """
    unfinished = f"{os.fspath(path)}.{os.getpid()}.tmp"
    try:
        with open(unfinished, "w", encoding="ascii") as file:
            write_json(events, dropped, file)
        os.replace(unfinished, path)
    except BaseException:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
        raise
