# SPDX-License-Identifier: Apache-2.0
"""Cancelling a task at one exact point of a run."""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from giambio_kernel import CancelScope, TaskState

from ._places import place_of_task, stack_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import FrameType

    from giambio_kernel import Task

    Main = Callable[[], Coroutine[Any, Any, object]]


class Phase(Enum):
    """When, at a checkpoint, the cancellation comes."""

    ENTRY = "on entry"
    """Before the operation begins; for the first one, before the task does."""
    PARKED = "parked"
    """The task has just given up control."""
    GRANTED = "granted"
    """What it waited for was granted; it has not run since."""


class SweepPoint(NamedTuple):
    """One point where a program is cancelled."""

    checkpoint: int
    """The number of the checkpoint, from 1."""
    phase: Phase
    """Where at this checkpoint: on entry, while it waits, or when it was granted what it waits for."""

    def __str__(self) -> str:
        """``checkpoint 3 (parked)``."""
        return f"checkpoint {self.checkpoint} ({self.phase.value})"


class Site(NamedTuple):
    """Where a checkpoint is. Those in a loop have the same one."""

    place: str
    """The line of the program that it is called from, for people."""
    stack: tuple[tuple[str, int], ...]
    waited: bool
    """Whether the task had to wait there, instead of only letting others run."""


class Canceller:
    """A debugger that cancels a task at a point, or just notes the checkpoints that it passes.

    Args:
        target: The name of the task; the first of that name counts. ``None`` means the whole program.
        point: When. ``None`` for never.

    Attributes:
        names: What the tasks are called that are spawned, in order.
        sites: The checkpoints that the task has passed.
        fired: Whether the cancellation has come.
    """

    def __init__(self, target: str | None, point: SweepPoint | None) -> None:
        self._name = target
        self._point = point
        self._target: Task[Any] | None = None
        self._scope = CancelScope()
        self._a_task_failed = False
        # The scope of the task alone that was cancelled, until it ends; and whether it was left so.
        self._own_scope: CancelScope | None = None
        self._target_went_on = False
        self.names: dict[str, None] = {}
        self.sites: list[Site] = []
        self.fired = False

    def around(self, main: Main) -> Main:
        """Return the program with the scope around it that is cancelled."""

        async def in_scope() -> None:
            with self._scope:
                await main()

        # What the task is called in reports.
        in_scope.__name__ = getattr(main, "__name__", "program")
        return in_scope

    def was_swallowed(self) -> bool:
        """Whether what was cancelled saw it, and has gone on to its end all the same.

        When a task failed as well, its error goes first, and the cancellation waits for a checkpoint
        that need not come; so nothing can be said then.
        """
        scope = self._scope
        if self._a_task_failed:
            return False
        return self._target_went_on or (bool(scope.deliveries) and not scope.cancelled_caught)

    # The debugger

    def on_task_spawn(self, task: Task[Any]) -> None:
        """Find the target, and note what other tasks are called."""
        self.names[task.name] = None
        if self._target is None and task.name == self._name:
            self._target = task

    def on_exception_raised(self, task: Task[Any], exc: BaseException) -> None:
        """Note that a task has failed."""
        self._a_task_failed = True

    def on_task_exit(self, task: Task[Any]) -> None:
        """Note whether the task that was cancelled alone saw it and has come to its end."""
        if task is self._target and self._own_scope is not None:
            self._target_went_on = bool(self._own_scope.deliveries) and not task.cancelled()
            self._own_scope = None

    def on_exit(self) -> None:
        """Let go of the task, and so of the whole run: what it has left open is found as garbage."""
        self._target = self._own_scope = None

    def before_task_step(self, task: Task[Any]) -> None:
        """Cancel before the step, or in the middle of it."""
        if self._name is None and self._target is None:
            self._target = task  # the main task is the first to step
        if task is not self._target or self._point is None or self.fired:
            return
        checkpoint, phase = self._point
        passed = len(self.sites)
        if phase is Phase.GRANTED and passed == checkpoint and self.sites[-1].waited:
            self._cancel(task)
        elif phase is Phase.ENTRY and passed == checkpoint - 1:
            if passed:
                self._cancel_when_resumed(task)
            else:
                self._cancel(task)

    def after_task_step(self, task: Task[Any]) -> None:
        """Note a checkpoint, and cancel the task if it is the one."""
        if task is not self._target:
            return
        place = str(place_of_task(task) or "in the library")
        self.sites.append(Site(place, stack_of(task), task.state is TaskState.WAITING))
        if self._point == (len(self.sites), Phase.PARKED):
            self._cancel(task)

    def _cancel_when_resumed(self, task: Task[Any]) -> None:
        """Cancel as soon as the operation that the task is in has returned.

        Nothing tells of that moment but what Python tells a profiler: every return.
        """
        innermost = task.stack()[-1]
        before = sys.getprofile()

        def profile(frame: FrameType, event: str, arg: object) -> None:
            if event == "return" and frame is innermost:  # pragma: no cover  # nobody traces it
                sys.setprofile(before)
                self._cancel(task)

        sys.setprofile(profile)

    def _cancel(self, task: Task[Any]) -> None:
        self.fired = True
        if self._name is None:
            self._scope.cancel("cancel sweep")
        else:
            task.cancel("cancel sweep")
            scope = task.scope
            while scope.parent is not None and scope.parent is not task.pool:
                scope = scope.parent
            self._own_scope = scope
