# SPDX-License-Identifier: Apache-2.0
"""How long something may take, in real seconds, whatever clock the loop runs on.

When the time is over, the task concerned is cancelled, between two steps of the loop. If that does not
come to pass because a step blocks, the signal handler raises in the step, in the code of the test and
never in the middle of the library. If the task does not end although it was cancelled, the loop is given
up. All but the first needs signals, so it works in the main thread, and not on Windows.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING, Self

import pytest

from giambio_kernel import format_tree, interrupt_free_packages, package_of

from ._frames import place_in_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from giambio import AsyncScheduler

# How long to wait for what the expiry should have brought about, in seconds: first for the step that
# runs, then, so many times, for the clean-up of the cancelled task.
_GRACE = 1.0
_PATIENCE = 5

_DEBUGGERS = ("bdb", "debugpy", "pdb", "ptvsd", "pydevd", "_pydevd_bundle", "_pydevd_frame_eval")


class Timer:
    """Watches one thing that the loop does. A context manager; used once.

    Args:
        seconds: How long it may take; None for ever.
        what: What it is, for the message.
        scheduler: The loop.
        stop: Called with what to fail with, in the loop, when the time is over.

    Attributes:
        gave_up: Whether the task did not end although it was cancelled.
    """

    active: Timer | None = None

    def __init__(
        self,
        seconds: float | None,
        what: str,
        scheduler: AsyncScheduler,
        stop: Callable[[BaseException], object],
    ) -> None:
        self._seconds = seconds
        self._what = what
        self._scheduler = scheduler
        self._stop = stop
        self._stopped = False
        self._alarms = 0
        self._failure: BaseException | None = None
        # What to say of the step that was in progress when the time was over.
        self._step = ""
        self._thread: threading.Timer | None = None
        self._uses_signal = False
        self.gave_up = False

    def __enter__(self) -> Self:
        if self._seconds is None:
            return self
        if _signals_are_free():
            self._uses_signal = True
            signal.signal(signal.SIGALRM, self._on_alarm)
            signal.setitimer(signal.ITIMER_REAL, self._seconds, _GRACE)
        else:
            self._watched = threading.get_ident()
            self._start_thread(self._seconds)
        self._outer, Timer.active = Timer.active, self
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._seconds is not None:
            Timer.active = self._outer
            self.cancel()

    def cancel(self) -> None:
        """Set no limit any more: somebody debugs."""
        if self._uses_signal:
            self._uses_signal = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        if self._thread is not None:
            self._thread.cancel()
            self._thread = None

    def _start_thread(self, seconds: float) -> None:
        self._thread = threading.Timer(seconds, self._on_thread_alarm)
        self._thread.daemon = True
        self._thread.start()

    def _on_thread_alarm(self) -> None:
        self._alarm(sys._current_frames().get(self._watched), may_raise=False)
        if self._thread is not None:
            self._start_thread(_GRACE)

    def _on_alarm(self, signum: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True
        # In the midst of the library nothing is raised, and the tree of tasks may be in pieces.
        may_raise = self._scheduler.current_task() is not None and _is_in_program(frame)
        self._alarm(frame, may_raise=may_raise)

    def _alarm(self, frame: FrameType | None, *, may_raise: bool) -> None:
        __tracebackhide__ = True
        if _somebody_debugs():
            return
        self._alarms += 1
        if self._alarms == 1:
            self._note_step(frame)
            if may_raise:
                self._make_failure()  # while the step is in the tree
            self._call(self._expire)
        elif not self._stopped:
            if may_raise:
                raise self._make_failure()
        elif self._alarms > 1 + _PATIENCE:
            self.gave_up = True
            self._call(lambda: None)  # so that the loop looks up

    def _call(self, function: Callable[[], object]) -> None:
        try:
            self._scheduler.call_soon_threadsafe(function)
        except RuntimeError:
            pass  # the loop has ended in the meantime

    def _expire(self) -> None:
        """In the loop, between two steps."""
        self._stopped = True
        self._stop(self._make_failure())

    def _note_step(self, frame: FrameType | None) -> None:
        task = self._scheduler.current_task()
        place = place_in_program(frame)
        if task is not None and place is not None:
            self._step = f"\ntask {task.name!r} was running, at {place}"

    def _make_failure(self) -> BaseException:
        if self._failure is None:
            self._failure = pytest.fail.Exception(
                f"Timeout: {self._what} took longer than {round(self._seconds or 0.0, 3):g} s:\n"
                f"{format_tree(self._scheduler)}{self._step}"
            )
        return self._failure


def _signals_are_free() -> bool:
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def _somebody_debugs() -> bool:
    """Whether a debugger, and not only a tool such as coverage, traces the program."""
    trace = sys.gettrace()
    module = str(getattr(trace, "__module__", None) or type(trace).__module__)
    if module.partition(".")[0] in _DEBUGGERS:
        return True
    monitoring = getattr(sys, "monitoring", None)
    return monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None


def _is_in_program(frame: FrameType | None) -> bool:
    return frame is not None and package_of(frame) not in interrupt_free_packages
