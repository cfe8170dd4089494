# SPDX-License-Identifier: Apache-2.0
"""Views: what a loop and its tasks look like at a moment, as plain data.

A view can be taken in any thread, also while the loop is stuck in a long step, which is when one wants
it most. So nothing here stops the loop or relies on it. Every read of a container is one operation of
the interpreter, and a task that moves while it is looked at is looked at again. The tasks of one view
may therefore be some microseconds apart.

A view can cross a socket: it holds numbers and texts, no objects of the program.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from giambio_kernel import (
    CancelScope,
    IOHandle,
    Sleep,
    Task,
    TaskState,
    interrupt_free_packages,
    number_of,
    package_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from giambio_kernel import AsyncScheduler

INFINITY = float("inf")

# How often a task that moves is looked at again before it is left out.
_ATTEMPTS = 3
# After how many tasks, which take a millisecond, another thread is let in.
_BREATH = 50
# How much of the text of an object is shown.
_LONGEST_TEXT = 120


class Place(NamedTuple):
    """A line of code that a task is at."""

    file: str
    line: int
    function: str
    own: bool
    """Whether it belongs to the program, and not to giambio."""


class TaskView(NamedTuple):
    """What was known of a task at one moment."""

    number: int
    """Names need not be unique; in its loop this is. See `giambio_kernel.number_of`."""
    name: str
    state: str
    """The value of its `TaskState`."""
    doing: str
    """What it does or waits for, in words."""
    seconds: float | None
    """How long it has waited, in seconds; None if it does not wait."""
    deadline: float | None
    """In how many seconds it will be cancelled; None if no deadline reaches it."""
    stopping: bool
    """Whether it is cancelled and has not ended yet."""
    parent: int | None
    """The number of the task whose pool it is in; None if it is in the root pool."""
    held_by: tuple[int, ...]
    """The numbers of the tasks that could end the wait, where that is not obvious."""
    stack: tuple[Place, ...]
    """Where it is, outermost first. Empty if it has not begun."""

    @property
    def place(self) -> Place | None:
        """The innermost place in the program itself."""
        own = [place for place in self.stack if place.own]
        return own[-1] if own else None


class LoopView(NamedTuple):
    """What was known of a loop at one moment."""

    time: float
    """On the loop's clock, in seconds."""
    thread: str
    """The name of the thread that runs it; empty if no step was running."""
    next_deadline: float | None
    """In how many seconds the next timer is due; None if there is none."""
    tasks: tuple[TaskView, ...]
    """All tasks that have not ended, each after its parent."""
    delay: float | None = None
    """How long the loop took to answer a call from outside, in seconds; None if it was not asked."""
    stuck: float | None = None
    """For how many seconds it has not answered; None if it has."""


def look_at(scheduler: AsyncScheduler, *, breathe: Callable[[], object] | None = None) -> LoopView:
    """Return what is known of a loop now. From any thread.

    Args:
        scheduler: The loop.
        breathe: Called now and then, to let another thread have the interpreter.
    """
    now = scheduler.clock()
    due = scheduler.next_deadline()
    running: tuple[str, list[FrameType]] | None = None
    views: list[TaskView] = []
    for count, task in enumerate(scheduler.tasks(), 1):
        if breathe is not None and count % _BREATH == 0:
            breathe()
        for _ in range(_ATTEMPTS):
            try:
                if task.state is TaskState.RUNNING:
                    running = running_stack(task)
                view = _look_at_task(task, now, running)
            except Exception:  # it moved, or one of its objects cannot be shown just now
                continue
            if view is not None:
                views.append(view)
            break
    return LoopView(
        time=now,
        thread=running[0] if running else "",
        next_deadline=None if due == INFINITY else max(0.0, due - now),
        tasks=tuple(views),
    )


def _look_at_task(
    task: Task[Any], now: float, running: tuple[str, list[FrameType]] | None
) -> TaskView | None:
    number = number_of(task)
    state = task.state
    if state is TaskState.DONE:
        return None
    waited_on = task.waiting_on
    since = task.waiting_since
    innermost = running[1] if running else []
    frames = innermost if state is TaskState.RUNNING else task.stack()
    owner = task.pool.owner
    deadline = deadline_of(task)
    doing = describe_wait(task, now)
    if task.state is not state:
        raise RuntimeError(f"{task!r} has moved")
    return TaskView(
        number=number,
        name=task.name,
        state=state.value,
        doing=doing,
        seconds=None if since is None else max(0.0, now - since),
        deadline=None if deadline == INFINITY else deadline - now,
        stopping=task.stopping,
        parent=None if owner is None or owner is task else number_of(owner),
        held_by=() if obvious_holders(waited_on) else holders_of(waited_on),
        stack=tuple(map(place_of, frames)) if state is not TaskState.NEW else (),
    )


def deadline_of(task: Task[Any]) -> float:
    """Return when a task will be cancelled as far as is known, on the loop's clock."""
    earliest = INFINITY
    scope: CancelScope | None = task.scope
    while scope is not None:
        if not scope.cancel_called:
            earliest = min(earliest, scope.deadline)
        if scope.shield:
            break
        scope = scope.parent
    return earliest


def place_of(frame: FrameType) -> Place:
    """Return what is worth knowing of a frame."""
    code = frame.f_code
    return Place(
        code.co_filename,
        frame.f_lineno or code.co_firstlineno,
        code.co_qualname,
        package_of(frame) not in interrupt_free_packages,
    )


def running_stack(task: Task[Any]) -> tuple[str, list[FrameType]] | None:
    """Return the name of the thread that runs a step of *task*, and the frames of the step.

    Returns:
        ``None`` if no step of the task is running. The frames are outermost first, and those of the
        debugging tools are left out.
    """
    outermost = getattr(task.coro, "cr_frame", None)
    if outermost is None:
        return None
    for ident, innermost in sys._current_frames().items():
        frames: list[FrameType] = []
        frame: FrameType | None = innermost
        while frame is not None:
            frames.append(frame)
            if frame is outermost:
                return _thread_name(ident), _without_tools(frames[::-1])
            frame = frame.f_back
    return None


def _thread_name(ident: int) -> str:
    # `threading.enumerate` takes a lock, which may be held by what a signal has interrupted.
    thread = getattr(threading, "_active", {}).get(ident)
    return str(ident) if thread is None else str(thread.name)


def _without_tools(frames: list[FrameType]) -> list[FrameType]:
    tools = __name__.rpartition(".")[0] + "."
    while frames and str(frames[-1].f_globals.get("__name__", "")).startswith(tools):
        frames.pop()
    return frames


# In words


def describe_wait(task: Task[Any], now: float) -> str:
    """Say what a task does or waits for."""
    state = task.state
    waited_on = task.waiting_on
    if state is TaskState.RUNNING:
        return "runs"
    if state is TaskState.READY:
        return "is ready to run"
    if isinstance(waited_on, Sleep):
        rest = format_seconds(max(0.0, waited_on.until - now))
        return f"starts in {rest}" if state is TaskState.NEW else f"sleeps, {rest} to go"
    if state is TaskState.NEW:
        return "is new" if waited_on is None else "waits for its turn in the pool"
    return "waits " + _describe_object(task, waited_on)


def _describe_object(task: Task[Any], waited_on: object) -> str:
    if waited_on is None:
        return "for somebody to wake it"
    if isinstance(waited_on, IOHandle):
        verb = "read from" if waited_on.reader is task else "write to"
        return f"to {verb} descriptor {waited_on.fd}"
    if isinstance(waited_on, Task):
        return f"for the end of {waited_on.name} #{number_of(waited_on)}"
    if isinstance(waited_on, CancelScope) and waited_on.owner is task:
        count = len(waited_on.tasks)
        return f"for {count} task{'s' * (count != 1)} of its {waited_on.label}"
    if isinstance(waited_on, dict):
        return "until every task is blocked"  # wait_all_tasks_blocked()
    text = waited_on if isinstance(waited_on, str) else text_of(waited_on)
    return "for " + text


def text_of(thing: object) -> str:
    """Return the `repr` of an object, on one line, shortened, and without the angle brackets."""
    try:
        text = repr(thing)
    except Exception:
        text = object.__repr__(thing)
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def obvious_holders(waited_on: object) -> bool:
    """Whether the words for a wait say by themselves who can end it."""
    return waited_on is None or isinstance(waited_on, Task | CancelScope | Sleep | IOHandle | dict)


def holders_of(waited_on: object) -> tuple[int, ...]:
    """Return the numbers of the tasks that could end a wait, as far as the object tells."""
    holders = getattr(waited_on, "holders", None)
    return tuple(map(number_of, holders())) if callable(holders) else ()


def format_seconds(seconds: float) -> str:
    """Return a duration as a person would say it: ``3.2 s``, ``4 min 10 s``, ``2 h 5 min``."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:  # what is rounded to 1000 ms has an exponent
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 100.0:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours == 0:
        return f"{minutes} min {rest} s"
    return f"{hours} h {minutes} min" if hours < 100 else f"{hours // 24} days"
