# SPDX-License-Identifier: Apache-2.0
"""Traces: what every task did and waited for, on a time line, for a viewer of Chrome traces.

The format has a row for each task. On it lie slices: the steps, named after the task, and between them
the waits, named after what was waited for. Arrows lead from the step that spawned, woke or cancelled
another task to the next step of that one.

No hook tells who wakes whom. It is found by looking, at both ends of every step, which of the tasks
that waited do not any more: those that became ready in between were woken by the task of the step, or,
between steps, by something outside. To keep that cheap, tasks that wait for the same object are looked
at in the order in which they came, which is the order in which fair primitives wake them; and those that
wait for time or for a descriptor, which no task can wake, are not looked at. A wake-up that breaks this
order has no arrow, and a wrong arrow is never drawn.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from giambio_kernel import (
    CancelScope,
    IOHandle,
    Sleep,
    Task,
    TaskState,
    current_scheduler,
    number_of,
)

from ._base import BaseDebugger
from ._timeline import Event, Group, Row, convert, save_json, write_json
from ._view import text_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from giambio_kernel import AsyncScheduler

# While tasks wait for more different objects than this, who wakes whom is not looked for: it would
# cost more than 30 µs a step.
_MOST_LOOKED_AT = 500


class ChromeTracer(BaseDebugger):
    """Records what all tasks do, for a viewer of Chrome traces such as ui.perfetto.dev.

    A debugger for ``run(debugger=...)``, or to be switched on and off in a running program with
    `switch_on` and `switch_off`. It may be used for several runs. Memory is bounded: the newest events
    are kept.

    Args:
        path: The file to write at the end of every run; with None, call `save`.
        max_events: How many events to keep. 1,000 take about a quarter of a megabyte.
        timer: Tells the time in nanoseconds.

    Raises:
        ValueError: *max_events* is less than 1.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        max_events: int = 200_000,
        timer: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, not {max_events!r}")
        self.path = path
        self._events: deque[Event] = deque(maxlen=max_events)
        self._dropped = 0
        self._timer = timer
        self._origin = timer()
        self._arrows = itertools.count(1)
        self._groups: weakref.WeakKeyDictionary[AsyncScheduler, Group]
        self._groups = weakref.WeakKeyDictionary()
        self._group_numbers = itertools.count()
        # The loop that each thread was last seen with, and since when it looks at descriptors.
        self._last: dict[int, Group] = {}
        self._looking: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<ChromeTracer with {len(self._events)} events, {self._dropped} dropped>"

    @property
    def dropped(self) -> int:
        """How many events were dropped because there was no room for them."""
        return self._dropped

    def clear(self) -> None:
        """Forget all events."""
        self._events.clear()
        self._dropped = 0
        for group in list(self._groups.values()):
            group.forget()

    def switch_on(self, scheduler: AsyncScheduler | None = None) -> None:
        """Begin to record a loop that is running, from the next step on. To be called in its thread.

        Args:
            scheduler: The loop; the current one if omitted.

        Raises:
            RuntimeError: No loop is given, and this is not called from inside of one.
        """
        scheduler = current_scheduler() if scheduler is None else scheduler
        self._group(scheduler).forget()
        scheduler.add_debugger(self)

    def switch_off(self, scheduler: AsyncScheduler | None = None) -> None:
        """Stop to record a loop; what was recorded stays. To be called in the thread of the loop.

        Args:
            scheduler: The loop; the current one if omitted.

        Raises:
            RuntimeError: No loop is given, and this is not called from inside of one.
            ValueError: The loop is not recorded.
        """
        scheduler = current_scheduler() if scheduler is None else scheduler
        scheduler.remove_debugger(self)
        group = self._group(scheduler)
        for event in group.unfinished(self._timer()):
            self._add(*event)
        group.forget()

    # Recording

    def _add(
        self,
        phase: str,
        row: Row,
        when: int,
        length: int,
        name: str,
        details: dict[str, Any] | None = None,
    ) -> None:
        if len(self._events) == self._events.maxlen:
            self._dropped += 1
        self._events.append((phase, row, when, length, name, details))

    def _group(self, scheduler: AsyncScheduler) -> Group:
        thread = threading.get_ident()
        group = self._last.get(thread)
        if group is None or group.scheduler() is not scheduler:
            group = self._groups.get(scheduler)
            if group is None:
                group = Group(next(self._group_numbers), scheduler)
                self._groups[scheduler] = group
            self._last[thread] = group
        return group

    def _row(self, task: Task[Any], group: Group) -> Row:
        row = group.rows.get(task)
        if row is None:
            row = group.rows[task] = Row(group, number_of(task), task.name, task)
        return row

    def _draw_arrow(self, name: str, source: Row, when: int, target: Row) -> None:
        if target.arrow is None:
            arrow = next(self._arrows)
            target.arrow = (arrow, name)
            self._add("s", source, when, arrow, name)

    def _find_woken(self, group: Group, waker: Row | None, when: int) -> None:
        """Draw arrows to the tasks that have been woken since this was last called."""
        if len(group.parked) > _MOST_LOOKED_AT:
            return
        for key in list(group.parked):
            self._find_woken_from(key, group, waker, when)

    def _find_woken_from(self, key: int, group: Group, waker: Row | None, when: int) -> None:
        rows = group.parked[key]
        while rows:
            row = next(iter(rows))
            if row.waits():
                return
            del rows[row]
            if waker is not None:
                row.woken = when
                self._draw_arrow("wakes", waker, when, row)
        del group.parked[key]

    def _find_woken_outside(self, group: Group) -> None:
        ended, group.ended = group.ended, None
        if ended is not None:
            # The owner of a pool is woken just after its last task has ended.
            row, when, pool = ended
            if pool in group.parked:
                self._find_woken_from(pool, group, row, when)
        self._find_woken(group, None, 0)

    # The hooks

    def on_exit(self) -> None:
        self._last.pop(threading.get_ident(), None)
        if self.path is not None:
            self.save(self.path)

    def on_task_spawn(self, task: Task[Any]) -> None:
        group = self._group(task.scheduler)
        now = self._timer()
        row = self._row(task, group)
        row.since = now
        row.doing = ("new", None)
        if group.stepping is not None:
            self._draw_arrow("spawns", group.stepping[0], now, row)

    def before_task_step(self, task: Task[Any]) -> None:
        group = self._group(task.scheduler)
        if group.stepping is not None:
            group.forget()
        self._find_woken_outside(group)
        row = self._row(task, group)
        row.name = task.name  # it may have been set since
        if row.parked_on:
            self._unpark(group, row)
        now = self._timer()
        if row.since is not None:
            woken = now if row.woken is None else row.woken
            self._add("X", row, row.since, woken - row.since, *row.doing)
            if woken < now:
                self._add("X", row, woken, now - woken, "ready")
            row.since = row.woken = None
        if row.arrow is not None:
            self._add("f", row, now, *row.arrow)
            row.arrow = None
        group.stepping = (row, now)

    def after_task_step(self, task: Task[Any]) -> None:
        now = self._timer()
        group = self._group(task.scheduler)
        row = self._end_step(task, group, now, None)
        row.since = now
        waited_on = task.waiting_on
        if task.state is TaskState.READY:
            row.doing = ("ready", None)
            return
        row.doing = _name_wait(task, waited_on)
        if not isinstance(waited_on, Sleep | IOHandle):
            row.parked_on = id(task if waited_on is None else waited_on)
            group.parked.setdefault(row.parked_on, {})[row] = None

    def on_task_exit(self, task: Task[Any]) -> None:
        now = self._timer()
        group = self._group(task.scheduler)
        outcome = "cancelled" if task.cancelled() else "returned"
        error = task.exception()
        if error is not None:
            outcome = f"raised {type(error).__name__}"
        row = self._end_step(task, group, now, {"end": outcome})
        group.ended = (row, now - 1, id(task.pool))
        group.rows.pop(task, None)

    def _end_step(
        self, task: Task[Any], group: Group, now: int, details: dict[str, Any] | None
    ) -> Row:
        stepping = group.stepping
        if stepping is None:
            # Added to the loop in the middle of this step.
            group.forget()
            return self._row(task, group)
        row, since = stepping
        group.stepping = None
        self._add("X", row, since, now - since, row.name, details)
        # Viewers attach an arrow to the slice that is there; at `now` this one is over.
        self._find_woken(group, row, now - 1)
        return row

    def _unpark(self, group: Group, row: Row) -> None:
        rows = group.parked.get(row.parked_on)
        if rows is not None:
            rows.pop(row, None)
            if not rows:
                del group.parked[row.parked_on]
        row.parked_on = 0

    def after_sleep(self, task: Task[Any], seconds: float) -> None:
        self._row(task, self._group(task.scheduler)).woken = self._timer()

    def before_io(self, timeout: float) -> None:
        self._looking[threading.get_ident()] = self._timer()

    def after_io(self, timeout: float) -> None:
        thread = threading.get_ident()
        group = self._last.get(thread)
        since = self._looking.pop(thread, None)
        if group is not None and since is not None:
            details = {"timeout": "for ever" if timeout == float("inf") else timeout}
            self._add("X", group.loop_row, since, self._timer() - since, "looks at I/O", details)

    def before_cancel(self, task: Task[Any]) -> None:
        group = self._group(task.scheduler)
        row = self._row(task, group)
        now = self._timer()
        self._add("i", row, now, 0, "is cancelled")
        if group.stepping is not None and group.stepping[0] is not row:
            if row.since is not None and row.woken is None and row.doing[0] != "ready":
                row.woken = now
            self._draw_arrow("cancels", group.stepping[0], now, row)

    def after_cancel(self, task: Task[Any]) -> None:
        self._add(
            "i", self._row(task, self._group(task.scheduler)), self._timer(), 0, "cancellation done"
        )

    def on_exception_raised(self, task: Task[Any], exc: BaseException) -> None:
        details = {"error": text_of(exc)}
        self._add(
            "i", self._row(task, self._group(task.scheduler)), self._timer(), 0, "fails", details
        )

    # Writing

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what was recorded, as events of the Chrome trace format; the newest at the end."""
        recorded = [*self._events]
        now = self._timer()
        for group in list(self._groups.values()):
            recorded += group.unfinished(now)
        return convert(recorded, self._origin)

    def write(self, file: TextIO) -> None:
        """Write what was recorded as Chrome trace JSON.

        Args:
            file: A text file, open for writing.
        """
        write_json(self.events(), self._dropped, file)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was recorded to a file, which is replaced as a whole or not at all.

        Args:
            path: The file.

        Raises:
            OSError: The file cannot be written.
        """
        save_json(self.events(), self._dropped, path)


def _name_wait(task: Task[Any], waited_on: object) -> tuple[str, dict[str, Any] | None]:
    """Return a short name, the same for waits of the same kind, and details."""
    if isinstance(waited_on, Sleep):
        return "sleeps", {"until": waited_on.until}
    if isinstance(waited_on, IOHandle):
        verb = "reads from" if waited_on.reader is task else "writes to"
        return f"{verb} descriptor {waited_on.fd}", None
    if isinstance(waited_on, Task):
        return f"joins {waited_on.name} #{number_of(waited_on)}", None
    if isinstance(waited_on, CancelScope):
        return f"waits for its {waited_on.label}", None
    if waited_on is None or isinstance(waited_on, dict):
        return "waits", None
    text = text_of(waited_on)
    return "waits for " + text.partition(" at 0x")[0].partition(",")[0], {"on": text}
