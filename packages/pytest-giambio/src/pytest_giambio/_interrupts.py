# SPDX-License-Identifier: Apache-2.0
"""Ctrl+C while this plugin does something that must not be left halfway.

Python raises `KeyboardInterrupt` between any two instructions, also after a fixture was set up and before
pytest knows how to clean it up. So in here it waits: until the loop runs, whose handler takes it to a
checkpoint of the test, or until the thing is done. A second one does not wait.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


class _Interrupts:
    """How SIGINT is handled. A handler that somebody else has installed is left alone.

    Attributes:
        waiting: One that has come and that nobody was told of.
    """

    def __init__(self) -> None:
        self.waiting: KeyboardInterrupt | None = None
        self._is_held = False
        self._is_given = False
        # The handler of the loop, while that runs, and whether it has done its work.
        self._of_loop: Any = None
        self._leaves: Callable[[], bool] = bool

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._of_loop is not None and not self._leaves():
            self._of_loop(signum, frame)
        elif self._is_held and self.waiting is None:
            self.waiting = KeyboardInterrupt()
        else:
            raise KeyboardInterrupt

    @contextmanager
    def held(self, *, longer: bool = False) -> Iterator[None]:
        """Let Ctrl+C wait for the end of the block, or of the outermost of such blocks.

        Args:
            longer: Whether it goes on waiting, until somebody calls `tell`.

        Raises:
            KeyboardInterrupt: It came.
        """
        __tracebackhide__ = True
        if self._is_held or not _may_set_handlers():
            yield
            return
        self._replace(signal.default_int_handler, self._on_signal)
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            self._replace(self._on_signal, signal.default_int_handler)
            if not longer:
                self.tell()

    @contextmanager
    def given_to_loop(self) -> Iterator[None]:
        """Let the loop install its handler, which it does only in the place of Python's."""
        if not self._is_held or not _may_set_handlers():
            yield
            return
        _block(signal.SIG_BLOCK)  # until that has happened
        self._is_given = self._replace(self._on_signal, signal.default_int_handler)
        try:
            yield
        finally:
            self._is_given = False
            self._of_loop = None
            self._replace(signal.default_int_handler, self._on_signal)
            _block(signal.SIG_UNBLOCK)

    def watch_loop(self, leaves: Callable[[], bool]) -> None:
        """In the loop: stand before its handler, to keep what comes when the loop has done its work.

        The loop would raise it on leaving, as if the fixture that it has set up just then had failed.

        Args:
            leaves: Whether it has.
        """
        if not self._is_held or not _may_set_handlers():
            return
        if self._is_given:
            self._leaves = leaves
            self._of_loop = signal.getsignal(signal.SIGINT)
            signal.signal(signal.SIGINT, self._on_signal)
        _block(signal.SIG_UNBLOCK)

    def tell(self) -> None:
        """Raise what waits.

        Raises:
            KeyboardInterrupt: One has come.
        """
        __tracebackhide__ = True
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            raise waiting

    @staticmethod
    def _replace(known: Any, new: Any) -> bool:
        """Install a handler in the place of one. Returns whether that was there."""
        was_there: bool = signal.getsignal(signal.SIGINT) == known
        if was_there:
            signal.signal(signal.SIGINT, new)
        return was_there


interrupts = _Interrupts()


def _may_set_handlers() -> bool:
    return threading.current_thread() is threading.main_thread()


def _block(how: int) -> None:
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(how, {signal.SIGINT})
