# SPDX-License-Identifier: Apache-2.0
"""The watchdog: it barks at steps that block the loop, while they do."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from giambio._numbers import check_numbers
from giambio_kernel import TaskState

from ._tree import encodable, place_lines
from ._view import format_seconds, place_of, running_stack

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import TextIO

    from giambio_kernel import AsyncScheduler, Task


class SlowStep(NamedTuple):
    """A step that has taken long, and goes on."""

    task: Task[Any]
    """Whose step it is."""
    seconds: float
    """How long it has taken so far."""
    stack: tuple[FrameType, ...]
    """Where it is, outermost frame first."""


class _Step:
    """A step that is running, as far as is known."""

    __slots__ = ("began", "over", "task")

    def __init__(self, task: Task[Any], began: float) -> None:
        self.task = task
        self.began = began
        # Whether it was shown and has ended since. Nothing else tells of its end.
        self.over = False


class SlowStepWatchdog:
    """Shows the stack of a step that takes too long, while it does.

    A debugger with a thread of its own: while one task computes or makes a blocking call, no other can
    run, so only a thread can tell. It sees a step that runs Python code, or waits in a call that lets
    other threads run; code of another language that keeps the interpreter to itself is seen when it
    returns.

    Each slow step is shown once, and when it has ended, how long it took. That every step is told to
    this costs about a microsecond a step.

    Args:
        seconds: From how long on a step is too long, in real seconds.
        report: What to do about it: called in the watchdog's thread as ``report(slow_step)``, with a
            `SlowStep`. By default it is printed.
        file: Where to print; standard error, as it is then, if omitted.

    Raises:
        ValueError: *seconds* is not positive.
    """

    def __init__(
        self,
        seconds: float = 0.1,
        *,
        report: Callable[[SlowStep], object] | None = None,
        file: TextIO | None = None,
    ) -> None:
        check_numbers(seconds=seconds)
        if not seconds > 0.0:
            raise ValueError(f"seconds must be positive, not {seconds!r}")
        self.seconds = seconds
        self._report = self._print if report is None else report
        self._file = file
        # The last step of each loop. Replaced as a whole, so no lock is needed.
        self._steps: dict[AsyncScheduler, _Step] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def __repr__(self) -> str:
        return f"<SlowStepWatchdog seconds={self.seconds:g}>"

    def on_exit(self) -> None:
        """Stop to watch the loop that has ended."""
        for scheduler in list(self._steps):
            if scheduler.done():
                self._steps.pop(scheduler, None)
        if not self._steps:
            self.close()

    def before_task_step(self, task: Task[Any]) -> None:
        """Watch this step."""
        self._steps[task.scheduler] = _Step(task, time.perf_counter())
        if self._thread is None:
            self._start()

    def close(self) -> None:
        """Stop to watch, for a watchdog that was removed from a running loop.

        The end of a run does that, too. A further step that it is told of starts it again.
        """
        self._steps.clear()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            if thread is not threading.current_thread():
                thread.join()

    def _start(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, args=(self._stop,), name="giambio watchdog", daemon=True
        )
        self._thread.start()

    def _watch(self, stop: threading.Event) -> None:
        pause = self.seconds / 4
        # The step of each loop that was shown and has not ended.
        shown: dict[AsyncScheduler, _Step] = {}
        while not stop.wait(pause):
            now = time.perf_counter()
            for scheduler, step in list(self._steps.items()):
                # Not so either just before the step begins.
                runs = step.task.state is TaskState.RUNNING
                slow = shown.get(scheduler)
                if slow is None:
                    if runs and not step.over and self._show(step, now - step.began):
                        shown[scheduler] = step
                elif slow is not step or not runs:
                    del shown[scheduler]
                    slow.over = True
                    self._say_end(slow, (now if slow is step else step.began) - slow.began)

    def _show(self, step: _Step, seconds: float) -> bool:
        """Report a step if it is slow. Returns whether it was."""
        if seconds < self.seconds:
            return False
        stack = running_stack(step.task)
        if stack is None or step not in self._steps.values():
            return False
        try:
            self._report(SlowStep(step.task, seconds, tuple(stack[1])))
        except Exception:  # the next slow step is to be reported all the same
            sys.excepthook(*sys.exc_info())
        return True

    def _say_end(self, step: _Step, seconds: float) -> None:
        if self._report == self._print:
            self._say(
                f"giambio: that step of task {step.task.name!r} took about "
                f"{format_seconds(seconds)}"
            )

    def _print(self, slow: SlowStep) -> None:
        self._say(
            f"giambio: task {slow.task.name!r} has run for {format_seconds(slow.seconds)} without "
            "giving way, and nothing else can run:\n"
            + "\n".join(place_lines(map(place_of, slow.stack)))
        )

    def _say(self, text: str) -> None:
        file = sys.stderr if self._file is None else self._file
        print(encodable(text, file), file=file)
