# SPDX-License-Identifier: Apache-2.0
"""Hook points: what the loop tells a debugger.

Without a debugger `AsyncScheduler._hooks` is None, the loop runs its plain variant of the step, and
everything else tests for None. That is free; an object that does nothing costs a microsecond a step.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ._errors import format_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._task import Task


def is_debugger(thing: object) -> bool:
    """Whether *thing* has a method that would be called."""
    return any(hasattr(thing, event) for event in vars(Hooks) if event.startswith(_EVENTS))


_EVENTS = ("on_", "before_", "after_")


class Hooks:
    """Passes each event on to all debuggers that have a method of its name.

    A debugger that raises is reported on standard error and removed; the program goes on.
    """

    __slots__ = ("_asleep", "debuggers")

    def __init__(self, debuggers: Iterable[object]) -> None:
        self.debuggers: list[object] = list(debuggers)
        # Since when each sleeping task sleeps.
        self._asleep: dict[Task[Any], float] = {}

    def _tell(self, event: str, *args: object) -> None:
        for debugger in tuple(self.debuggers):
            method = getattr(debugger, event, None)
            if method is None:
                continue
            try:
                method(*args)
            except Exception as error:
                if debugger in self.debuggers:  # it may have gone by itself
                    self.debuggers.remove(debugger)
                print(
                    f"giambio: {debugger!r} failed in {event} and was removed; the program goes on",
                    format_error(error),
                    sep="\n",
                    file=sys.stderr,
                )

    def on_start(self) -> None:
        """The loop has started."""
        self._tell("on_start")

    def on_exit(self) -> None:
        """The loop has ended."""
        self._tell("on_exit")

    def on_task_schedule(self, task: Task[Any], delay: float) -> None:
        """A task was spawned that will start in *delay* seconds."""
        self._tell("on_task_schedule", task, delay)

    def on_task_spawn(self, task: Task[Any]) -> None:
        """A task was spawned; not told of the main task."""
        self._tell("on_task_spawn", task)

    def on_task_exit(self, task: Task[Any]) -> None:
        """A task has ended. It takes the place of `after_task_step` in the last step."""
        self._tell("on_task_exit", task)

    def before_task_step(self, task: Task[Any]) -> None:
        """A task is about to run until it waits or gives way."""
        self._asleep.pop(task, None)  # if it was, something else has woken it
        self._tell("before_task_step", task)

    def after_task_step(self, task: Task[Any]) -> None:
        """A task has run and has not ended."""
        self._tell("after_task_step", task)

    def before_sleep(self, task: Task[Any], seconds: float) -> None:
        """A task has gone to sleep in its last step."""
        self._tell("before_sleep", task, seconds)

    def after_sleep(self, task: Task[Any], seconds: float) -> None:
        """A task has slept that long and is ready."""
        self._tell("after_sleep", task, seconds)

    def before_io(self, timeout: float) -> None:
        """The loop is about to look at its descriptors, waiting so long (``inf``: for ever)."""
        self._tell("before_io", timeout)

    def after_io(self, timeout: float) -> None:
        """The loop has looked at its descriptors."""
        self._tell("after_io", timeout)

    def before_cancel(self, task: Task[Any]) -> None:
        """A cancellation has reached a task."""
        self._tell("before_cancel", task)

    def after_cancel(self, task: Task[Any]) -> None:
        """A cancellation has done its work: its scope caught it, or the task has ended by it."""
        self._tell("after_cancel", task)

    def on_exception_raised(self, task: Task[Any], exc: BaseException) -> None:
        """A task has ended with an exception."""
        self._tell("on_exception_raised", task, exc)

    # A sleep begins in the middle of a step and is told of after it.

    def falls_asleep(self, task: Task[Any], now: float) -> None:
        self._asleep[task] = now

    def fell_asleep(self, task: Task[Any]) -> None:
        self.before_sleep(task, task._waiting_on - self._asleep.get(task, task._since))

    def woke_up(self, task: Task[Any], now: float) -> None:
        since = self._asleep.pop(task, None)
        if since is not None:
            self.after_sleep(task, now - since)
