# SPDX-License-Identifier: Apache-2.0
"""Cancelling a program at every checkpoint it passes, one after the other.

A program is run again and again on a virtual clock, each time with one cancellation at one point:

- *at* the k-th checkpoint, when the task has just given up control there: before an operation that
  need not wait takes effect, or while it waits;
- *granted*: what it waited for at the k-th checkpoint was granted, and it has not run since. This is
  where items are lost.

The entry into an operation is the moment after the checkpoint before it, so it needs no phase of its
own, except before the first one: that is checkpoint 0.
"""

from __future__ import annotations

import gc
import warnings
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from giambio_kernel import (
    AsyncScheduler,
    CancelScope,
    TaskState,
    VirtualClock,
    interrupt_free_packages,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from giambio_kernel import Task


class Phase(Enum):
    """When, at a checkpoint, the cancellation comes."""

    AT = "at"
    """The task has just given up control."""
    GRANTED = "granted"
    """What it waited for was granted; it has not run since."""


class SweepPoint(NamedTuple):
    """One point where a program is cancelled."""

    checkpoint: int
    """The number of the checkpoint, from 1; 0 is before the first step."""
    phase: Phase

    def __str__(self) -> str:
        return f"checkpoint {self.checkpoint} ({self.phase.value})"


class SweepReport(NamedTuple):
    """What a sweep that found nothing did."""

    checkpoints: int
    """How many checkpoints the program passes when it is left alone."""
    runs: int
    """How often it was run."""


class SweepFailure(AssertionError):
    """A program does not stand being cancelled somewhere.

    Attributes:
        point: Where.
        place: Where that is in the program.
    """

    def __init__(self, message: str, point: SweepPoint, place: str) -> None:
        super().__init__(message)
        self.point = point
        self.place = place


def cancel_sweep(
    fn: Callable[..., Coroutine[Any, Any, Any]],
    *args: Any,
    target: str | None = None,
    check: Callable[[], object] | None = None,
    allow: type[BaseException] | tuple[type[BaseException], ...] = (),
    max_steps: int = 100_000,
) -> SweepReport:
    """Run a program once for each point where it can be cancelled, and cancel it there.

    After each run it must have ended in one of three ways: it was cancelled; or it ended as it does
    when left alone, without having met the cancellation; or it raised an error that is allowed.
    Nothing may be left open, and nothing may hang.

    Args:
        fn: The program, an async function. It is called anew for each run, so all that it works
            with must be made inside of it.
        *args: Its arguments.
        target: The name of the task to cancel, the first one of that name; by default the program
            itself is cancelled, with a scope around it.
        check: Called after each run; an assertion that fails there is a finding.
        allow: Errors that the program may raise when it is cancelled.
        max_steps: How many steps a run may take before it is taken to hang.

    Returns:
        How many checkpoints there are and how many runs were made.

    Raises:
        SweepFailure: What went wrong, at which checkpoint, and where that is in the program.
        BaseException: What the program raises when it is left alone.
    """
    alone = _Run(fn, args, target, None, max_steps)
    alone.go()
    if alone.error is not None:
        raise alone.error
    if target is not None and not alone.checkpoints:
        raise ValueError(f"the program has no task named {target!r} that passes a checkpoint")
    if check is not None:
        check()
    runs = 1
    for number in range(alone.checkpoints + 1):
        for phase in Phase:
            if number == 0 and phase is Phase.AT:
                continue
            run = _Run(fn, args, target, SweepPoint(number, phase), max_steps)
            run.go()
            runs += 1
            if run.fired:
                run.judge(check, allow)
    return SweepReport(alone.checkpoints, runs)


class _TooManySteps(BaseException):
    pass


class _Run:
    """One run of the program, with at most one cancellation. Also the debugger that places it."""

    def __init__(
        self,
        fn: Callable[..., Coroutine[Any, Any, Any]],
        args: tuple[Any, ...],
        target: str | None,
        point: SweepPoint | None,
        max_steps: int,
    ) -> None:
        self._fn = fn
        self._args = args
        self._target_name = target
        self._point = point
        self._steps_left = max_steps
        self._target: Task[Any] | None = None
        self._waited = False
        self._scope = CancelScope()
        self.checkpoints = 0
        self.fired = False
        self.place = "before the first step"
        self.error: BaseException | None = None
        self._warned: list[str] = []

    def go(self) -> None:
        """Run the program to its end, whatever that is."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                AsyncScheduler(
                    clock=VirtualClock(), debugger=self, policy=_FirstComeFirstServed()
                ).start(self._main)
            except BaseException as error:
                self.error = error
            # What was left open is told by its finalizer.
            gc.collect()
        self._warned = [
            str(each.message)
            for each in caught
            if issubclass(each.category, ResourceWarning) or "never awaited" in str(each.message)
        ]

    async def _main(self) -> None:
        with self._scope:
            await self._fn(*self._args)

    # The debugger

    def on_task_spawn(self, task: Task[Any]) -> None:
        if self._target is None and task.name == self._target_name:
            self._target = task

    def before_task_step(self, task: Task[Any]) -> None:
        self._steps_left -= 1
        if not self._steps_left:
            raise _TooManySteps
        if self._target_name is None and self._target is None:
            self._target = task  # the main task is the first to step
        if task is not self._target:
            return
        granted = self.checkpoints == 0 or self._waited
        if granted and self._point == (self.checkpoints, Phase.GRANTED):
            self._cancel(task)

    def after_task_step(self, task: Task[Any]) -> None:
        if task is not self._target:
            return
        self.checkpoints += 1
        self._waited = task.state is TaskState.WAITING
        if self._point == (self.checkpoints, Phase.AT):
            self._cancel(task)

    def _cancel(self, task: Task[Any]) -> None:
        self.fired = True
        self.place = _place(task)
        if self._target_name is None:
            self._scope.cancel("cancel sweep")
        else:
            task.cancel("cancel sweep")

    # The judgement

    def judge(
        self,
        check: Callable[[], object] | None,
        allow: type[BaseException] | tuple[type[BaseException], ...],
    ) -> None:
        """Raise if the run did not end as it should."""
        error = self.error
        if isinstance(error, _TooManySteps):
            self._fail("it does not end", None)
        if error is not None and not isinstance(error, allow):
            self._fail(f"{type(error).__name__}: {error}", error)
        if self._target_name is None and error is None:
            scope = self._scope
            if scope.deliveries and not scope.cancelled_caught:
                self._fail("the cancellation was swallowed", None)
        if self._warned:
            self._fail("something was left open: " + "; ".join(self._warned), None)
        if check is not None:
            try:
                check()
            except AssertionError as failed:
                self._fail(f"the check failed: {failed}", failed)

    def _fail(self, finding: str, cause: BaseException | None) -> None:
        assert self._point is not None
        raise SweepFailure(
            f"cancelled at {self._point}, {self.place}: {finding}", self._point, self.place
        ) from cause


class _FirstComeFirstServed:
    """The usual order. That there is a policy at all makes every operation a real checkpoint."""

    def choose(self, ready: Sequence[Task[Any]]) -> int:
        return 0


def _place(task: Task[Any]) -> str:
    """Where the task stands: the innermost frame of the program, and what it called there."""
    called = ""
    for frame in reversed(task.stack()):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        code = frame.f_code
        if package not in interrupt_free_packages:
            return f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}{called}"
        called = f" -> {code.co_qualname}"
    return "before the first step"
