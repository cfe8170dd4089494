# SPDX-License-Identifier: Apache-2.0
"""Narrators: debuggers that tell what happens, as it happens, in print or in the log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from giambio_kernel import Sleep, TaskState, number_of

from ._base import BaseDebugger
from ._tree import encodable
from ._view import describe_wait, format_seconds

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable
    from typing import TextIO

    from giambio_kernel import AsyncScheduler, Task


class Narrator(BaseDebugger):
    """Puts into words what happens. Subclasses say where the words go.

    Args:
        only: The names of the hooks to tell of, such as ``{"on_task_spawn", "on_task_exit"}``; all
            if omitted.

    Raises:
        ValueError: There is no hook of such a name.
    """

    def __init__(self, only: Iterable[str] | None = None) -> None:
        self._only = _HOOKS if only is None else frozenset(only)
        if unknown := self._only - _HOOKS:
            raise ValueError(f"no hook is called {min(unknown)!r}; there are {sorted(_HOOKS)}")
        self._scheduler: AsyncScheduler | None = None
        self._began = 0.0

    def say(self, hook: str, who: str, words: str, seconds: float) -> None:
        """Tell of one event.

        Args:
            hook: The name of the hook.
            who: The task, or what else it happened to.
            words: What happened.
            seconds: When, since the first event of the run, on the loop's clock.
        """
        raise NotImplementedError

    def _tell(self, hook: str, who: Task[Any] | str, words: str) -> None:
        if not isinstance(who, str):
            if self._scheduler is not who.scheduler:
                self._scheduler = who.scheduler
                self._began = self._scheduler.clock()
            who = f"{who.name} #{number_of(who)}"
        if hook in self._only:
            now = self._began if self._scheduler is None else self._scheduler.clock()
            self.say(hook, who, words, now - self._began)

    def on_start(self) -> None:
        self._scheduler = None
        self._began = 0.0
        self._tell("on_start", "run", "begins")

    def on_exit(self) -> None:
        self._tell("on_exit", "run", "ends")

    def on_task_schedule(self, task: Task[Any], delay: float) -> None:
        self._tell("on_task_schedule", task, f"is to start in {format_seconds(delay)}")

    def on_task_spawn(self, task: Task[Any]) -> None:
        spawner = task.scheduler.current_task()
        by = "" if spawner is None else f" by {spawner.name} #{number_of(spawner)}"
        self._tell("on_task_spawn", task, f"is spawned{by}")

    def on_task_exit(self, task: Task[Any]) -> None:
        self._tell("on_task_exit", task, "has ended")

    def before_task_step(self, task: Task[Any]) -> None:
        self._tell("before_task_step", task, "runs")

    def after_task_step(self, task: Task[Any]) -> None:
        if task.state is TaskState.READY:
            words = "gives way"
        elif isinstance(task.waiting_on, Sleep):
            words = "stops to sleep"
        else:
            words = describe_wait(task, task.scheduler.clock())
        self._tell("after_task_step", task, words)

    def before_sleep(self, task: Task[Any], seconds: float) -> None:
        self._tell("before_sleep", task, f"sleeps for {format_seconds(seconds)}")

    def after_sleep(self, task: Task[Any], seconds: float) -> None:
        self._tell("after_sleep", task, f"has slept for {format_seconds(seconds)}")

    def before_io(self, timeout: float) -> None:
        forever = timeout == float("inf")
        how = "for ever" if forever else f"up to {format_seconds(timeout)}" if timeout else ""
        self._tell(
            "before_io", "loop", f"waits {how} for descriptors" if how else "looks at descriptors"
        )

    def after_io(self, timeout: float) -> None:
        self._tell("after_io", "loop", "has looked at the descriptors")

    def before_cancel(self, task: Task[Any]) -> None:
        self._tell("before_cancel", task, "is cancelled")

    def after_cancel(self, task: Task[Any]) -> None:
        words = "was ended by it" if task.done() else "has left the cancelled block"
        self._tell("after_cancel", task, words)

    def on_exception_raised(self, task: Task[Any], exc: BaseException) -> None:
        self._tell("on_exception_raised", task, f"has failed: {exc!r}")


_HOOKS = frozenset(name for name in vars(BaseDebugger) if not name.startswith("_"))


class PrintDebugger(Narrator):
    """Prints what happens, a line an event: when, which task, and what.

    Args:
        file: Where to; standard error, as it is when something happens, if omitted.
        only: The names of the hooks to print, such as ``{"on_task_spawn", "on_task_exit"}``; all if
            omitted.

    Raises:
        ValueError: There is no hook of such a name.
    """

    def __init__(self, file: TextIO | None = None, *, only: Iterable[str] | None = None) -> None:
        super().__init__(only)
        self._file = file

    def say(self, hook: str, who: str, words: str, seconds: float) -> None:
        """Print one event."""
        file = sys.stderr if self._file is None else self._file
        print(encodable(f"{seconds:11.6f}  {who}: {words}", file), file=file)


class LogDebugger(Narrator):
    """Logs what happens, with the standard `logging`; failures as warnings.

    Args:
        logger: Where to; the logger ``giambio`` if omitted.
        level: For all that is not a failure; ``logging.DEBUG`` if omitted.
        only: The names of the hooks to log, such as ``{"on_task_spawn", "on_task_exit"}``; all if
            omitted.

    Raises:
        ValueError: There is no hook of such a name.
    """

    def __init__(
        self,
        logger: logging.Logger | None = None,
        *,
        level: int = 10,
        only: Iterable[str] | None = None,
    ) -> None:
        super().__init__(only)
        import logging

        self._logger = logging.getLogger("giambio") if logger is None else logger
        self._level = level
        self._failure_level = max(level, logging.WARNING)

    def say(self, hook: str, who: str, words: str, seconds: float) -> None:
        """Log one event."""
        level = self._failure_level if hook == "on_exception_raised" else self._level
        self._logger.log(level, "%s: %s", who, words, extra={"giambio_hook": hook})
