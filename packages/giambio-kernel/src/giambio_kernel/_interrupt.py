# SPDX-License-Identifier: Apache-2.0
"""Ctrl+C.

Python's own handler raises `KeyboardInterrupt` between any two instructions, also in the middle of the
loop. This one does not: the first Ctrl+C becomes an error that the main task gets at its next
checkpoint. If that does not help, because the checkpoint does not come, a second one raises at once:
in the code of the task that runs, or, if none does, out of the run. One that comes too late for the main
task, in the last steps, is raised by whatever drives the loop.
"""

from __future__ import annotations

# Below `signal`, which makes an enumeration member of every argument and result: 10 µs a run, a fifth
# of all that starting and ending one costs.
import _signal  # type: ignore[import-not-found]
import threading
from typing import TYPE_CHECKING

from ._current import NOWHERE

if TYPE_CHECKING:
    from types import CodeType, FrameType, TracebackType

    from ._scheduler import AsyncScheduler

_KERNEL = __name__.partition(".")[0]
# Packages whose frames are never interrupted, because they could be halfway through keeping an
# invariant. A front end adds its own.
interrupt_free_packages: set[str] = {_KERNEL}

# From `inspect`, which is slow to import.
_SUSPENDABLE = 0x20 | 0x80 | 0x200  # CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR


class InterruptHandler:
    """While entered, Ctrl+C interrupts the main task of *scheduler*.

    Does nothing in a thread where Python runs no signal handlers, and nothing if somebody has
    already replaced Python's own handler, because then Ctrl+C is their affair.
    """

    __slots__ = ("_handed_over", "_installed", "_pending", "_scheduler", "_wakeup_fd")

    def __init__(self, scheduler: AsyncScheduler) -> None:
        self._scheduler = scheduler
        self._installed = False
        self._pending: KeyboardInterrupt | None = None
        # Whether the main task has been given what is pending; it takes it at its next checkpoint.
        self._handed_over = False
        self._wakeup_fd: int | None = None

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        # A signal may be received by another thread, which does not interrupt our poll; this does.
        self._wakeup_fd = _signal.set_wakeup_fd(
            self._scheduler._inbox.signal_fd, warn_on_full_buffer=False
        )
        if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
            _signal.signal(_signal.SIGINT, self._on_signal)
            self._installed = True

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._installed:
            self._installed = False
            # Bound methods are compared with ==; each look-up makes a new one.
            if _signal.getsignal(_signal.SIGINT) == self._on_signal:
                _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        if self._wakeup_fd is not None:
            _signal.set_wakeup_fd(self._wakeup_fd)
            self._wakeup_fd = None
        if exc is None and self._take_undelivered():
            raise KeyboardInterrupt

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        scheduler = self._scheduler
        target = scheduler.main_task
        if self._pending is not None and (target is None or target._interrupt is self._pending):
            # The first one is still undelivered.
            if scheduler.current is not NOWHERE and _interruptible(frame, scheduler.step_code):
                self._pending = None
                if target is not None:
                    target._interrupt = None
                    target.stopping = target._scope._effective
                raise KeyboardInterrupt
            scheduler._break_off = True
            scheduler._inbox.notify()
            return
        self._pending = KeyboardInterrupt()
        self._handed_over = target is not None and not target.done()
        if target is not None and self._handed_over:
            target._interrupt = self._pending
            target.stopping = True
        scheduler._inbox.call_soon(self._deliver, ())

    def _deliver(self) -> None:
        """Between two steps: raise it in the main task if that one waits."""
        pending, target = self._pending, self._scheduler.main_task
        if pending is None:
            return
        if target is not None and self._handed_over and target._interrupt is not pending:
            self._pending = None  # it was delivered meanwhile, at a checkpoint
        elif target is None or target.done():
            self._pending = None
            root = self._scheduler._root
            if root.error is pending:
                return  # the main task ended without taking it
            if isinstance(root.error, KeyboardInterrupt):
                # The first one has cancelled all that is left, and it did not help.
                self._scheduler._break_off = True
            root.fail(pending)
            self._scheduler._system.cancel("Ctrl+C")
        elif target._interrupt is pending and target.undo_wait is not None:
            target._try_abort()

    def _take_undelivered(self) -> bool:
        """Take back what came in the last steps and nobody was given; whether there is such a thing."""
        pending, target = self._pending, self._scheduler.main_task
        if pending is None or self._scheduler._root.error is pending:
            return False
        self._pending = None
        if target is not None and self._handed_over:
            if target._interrupt is not pending:
                return False  # it was delivered, at a checkpoint
            target._interrupt = None
            target.stopping = target._scope._effective
        return True


def put_back_after_fork() -> None:
    """In a forked child: let Ctrl+C be Python's again, and not the affair of the parent's loop."""
    handler = _signal.getsignal(_signal.SIGINT)
    if isinstance(getattr(handler, "__self__", None), InterruptHandler):
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def _interruptible(frame: FrameType | None, step_code: frozenset[CodeType]) -> bool:
    """Whether *frame* may raise at any moment: it is the program's, and so are its callers.

    Not so a hook, or the *abort* of a wait, that the kernel has called in the middle of something.
    """
    if frame is None or package_of(frame) in interrupt_free_packages:
        return False
    caller = frame.f_back
    while caller is not None:
        if not caller.f_code.co_flags & _SUSPENDABLE and package_of(caller) == _KERNEL:
            return caller.f_code in step_code
        caller = caller.f_back
    return True


def package_of(frame: FrameType) -> str:
    """Return the top-level package whose code a frame runs, as `interrupt_free_packages` has them.

    Args:
        frame: A frame of any thread or task.
    """
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
