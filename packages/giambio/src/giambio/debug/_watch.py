# SPDX-License-Identifier: Apache-2.0
"""The live view: the tasks of another process, on the whole terminal, again and again.

A thread asks, so that the keys work also while the other process does not answer. Everything else is
one loop that waits for keys, for the thread and for the window to change its size.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from ._client import NoMonitor, ProcessView, ask, format_process, format_stacks, format_table
from ._tree import Line, in_columns, stuck_lines, summary, tree_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Self

_ENTER = "\x1b[?1049h\x1b[?25l"  # the other screen, no cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"
_STYLES = {
    "head": "\x1b[7m",
    "running": "\x1b[1;32m",
    "ready": "\x1b[32m",
    "waiting": "",
    "cancelled": "\x1b[33m",
    "note": "\x1b[1;31m",
    "stuck": "\x1b[1;31m",
    "plain": "",
    "keys": "\x1b[2m",
}
_RESET = "\x1b[0m"
_KEYS = "q quit   arrows scroll   t tree/table   w stacks   f fold   space pause"

_UP, _DOWN, _PAGE_UP, _PAGE_DOWN, _HOME, _END = "up", "down", "page up", "page down", "home", "end"
_SEQUENCES = {
    b"\x1b[A": _UP,
    b"\x1bOA": _UP,
    b"\x1b[B": _DOWN,
    b"\x1bOB": _DOWN,
    b"\x1b[5~": _PAGE_UP,
    b"\x1b[6~": _PAGE_DOWN,
    b"\x1b[H": _HOME,
    b"\x1b[1~": _HOME,
    b"\x1b[F": _END,
    b"\x1b[4~": _END,
}
_LETTERS = {"k": _UP, "j": _DOWN, "g": _HOME, "G": _END, "\x03": "q"}


class Row(NamedTuple):
    """A line on the screen."""

    text: str
    style: str


class Options(NamedTuple):
    """What the user wants to see."""

    mode: str = "tree"
    """``tree``, ``table`` or ``stacks``."""
    fold: bool = True
    paused: bool = False
    top: int = 0
    """How many lines are scrolled away."""


def compose(process: ProcessView, options: Options) -> list[Row]:
    """Return all that there is to show of a process, however high the screen is."""
    rows: list[Row] = []
    if options.mode == "table":
        rows += [Row(text, "plain") for text in format_table(process)]
    elif options.mode == "stacks":
        rows += [Row(text, "plain") for text in format_stacks(process)]
    else:
        for loop in process.loops:
            lines: list[Line] = tree_lines(loop, fold=options.fold)
            rows.append(Row(summary(loop), "plain" if loop.stuck is None else "stuck"))
            rows += [
                Row(text, line.style) for text, line in zip(in_columns(lines), lines, strict=True)
            ]
            rows += [Row(text, "stuck") for text in stuck_lines(loop)]
            rows.append(Row("", "plain"))
    return rows


def paint(head: str, rows: list[Row], options: Options, columns: int, lines: int) -> str:
    """Return what to send to a terminal to show *rows*, as many of them as there is room for."""
    room = max(0, lines - 2)
    shown = rows[options.top : options.top + room]
    hidden = len(rows) - options.top - len(shown)
    keys = _KEYS
    if options.paused:
        keys = "PAUSED   " + keys
    if hidden > 0:
        keys = f"{hidden} more below   " + keys
    screen = [Row(head, "head"), *shown, *[Row("", "plain")] * (room - len(shown))]
    screen.append(Row(keys, "keys"))
    painted: list[str] = []
    for text, style in screen[:lines]:
        if len(text) > columns:
            text = text[: max(0, columns - 1)] + "…"
        if style == "head":
            text = text.ljust(columns)
        start = _STYLES[style]
        painted.append(f"{start}{text}{_RESET if start else ''}\x1b[K")
    return "\x1b[H" + "\r\n".join(painted) + "\x1b[J"


class Watch:
    """A session of watching.

    Args:
        pid: The number of the process to watch.
        interval: How often to look, in seconds. It is longer if looking takes long.
        keys: The descriptor of the terminal to read keys from.
        screen: The descriptor of the terminal to paint on.
        ask: Asks the process; for tests.
    """

    def __init__(
        self,
        pid: int,
        *,
        interval: float = 1.0,
        keys: int | None = None,
        screen: int | None = None,
        ask: Callable[..., ProcessView] = ask,
    ) -> None:
        self._pid = pid
        self._interval = interval
        self._keys = sys.stdin.fileno() if keys is None else keys
        self._screen = sys.stdout.fileno() if screen is None else screen
        self._ask = ask
        self.options = Options()
        # Written by the thread that asks: the last answer, and why there is no newer one.
        self._process: ProcessView | None = None
        self._trouble = ""
        self._ask_now = threading.Event()
        self._over = False
        # Held while the thread writes to the pipe, which it may outlive by one question.
        self._waking = threading.RLock()  # also by the handler of a signal

    # Asking, in a thread

    def _keep_asking(self) -> None:
        while not self._over:
            began = time.monotonic()
            if not self.options.paused:
                try:
                    self._process = self._ask(self._pid, stacks=self.options.mode == "stacks")
                    self._trouble = ""
                except (NoMonitor, OSError) as error:
                    self._trouble = str(error)
                self._wake()
            took = time.monotonic() - began
            # The process has other things to do than to answer.
            self._ask_now.wait(max(self._interval, 10 * took))
            self._ask_now.clear()

    def _wake(self) -> None:
        with self._waking:
            if not self._over:
                self._waker.write(b"\0")  # not at all if the pipe is full

    # Showing

    def run(self) -> None:
        """Watch until the user has seen enough."""
        import termios
        import tty

        self._alarm, waker = os.pipe()
        os.set_blocking(waker, False)
        self._waker = open(waker, "wb", buffering=0)  # noqa: SIM115
        thread = threading.Thread(target=self._keep_asking, name="giambio watch", daemon=True)
        before = termios.tcgetattr(self._keys)
        try:
            with _Resizing(self._wake):
                tty.setcbreak(self._keys)
                self._send(_ENTER)
                thread.start()
                while not self._over:
                    self._show()
                    self._wait()
        except KeyboardInterrupt:
            pass
        finally:
            with self._waking:
                self._over = True
            self._ask_now.set()
            self._send(_LEAVE)
            termios.tcsetattr(self._keys, termios.TCSADRAIN, before)
            self._waker.close()
            os.close(self._alarm)

    def _show(self) -> None:
        columns, lines = os.get_terminal_size(self._screen)
        process = self._process
        if process is None:
            head, rows = self._trouble or f"asking process {self._pid} …", []
        else:
            head = self._trouble or format_process(process)
            rows = compose(process, self.options)
        last = max(0, len(rows) - max(1, lines - 2))
        self.options = self.options._replace(top=min(self.options.top, last))
        self._send(paint(head, rows, self.options, columns, lines))

    def _send(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._screen, data) :]

    def _wait(self) -> None:
        ready, _, _ = select.select([self._keys, self._alarm], [], [])
        if self._alarm in ready:
            os.read(self._alarm, 4096)
        if self._keys in ready:
            typed = os.read(self._keys, 1024)
            if not typed:
                self._over = True  # the terminal is gone
            for key in split_keys(typed):
                self._press(key)

    def _press(self, key: str) -> None:
        options = self.options
        page = max(1, os.get_terminal_size(self._screen).lines - 3)
        moves = {_UP: -1, _DOWN: 1, _PAGE_UP: -page, _PAGE_DOWN: page, _HOME: -(10**9), _END: 10**9}
        if key == "q":
            self._over = True
        elif key in moves:
            self.options = options._replace(top=max(0, options.top + moves[key]))
        elif key == "t":
            mode = "tree" if options.mode == "table" else "table"
            self.options = options._replace(mode=mode, top=0)
        elif key == "w":
            mode = "tree" if options.mode == "stacks" else "stacks"
            self.options = options._replace(mode=mode, top=0)
            self._ask_now.set()
        elif key == "f":
            self.options = options._replace(fold=not options.fold)
        elif key == " ":
            self.options = options._replace(paused=not options.paused)
            self._ask_now.set()


def split_keys(typed: bytes) -> list[str]:
    """Return the keys that were pressed: letters, and names such as ``up``. Others are dropped."""
    keys: list[str] = []
    while typed:
        for sequence, name in _SEQUENCES.items():
            if typed.startswith(sequence):
                keys.append(name)
                typed = typed[len(sequence) :]
                break
        else:
            letter = chr(typed[0])
            typed = typed[1:]
            if letter == "\x1b":
                # A key that is not known here: its whole sequence goes, but not what follows.
                while typed and typed[:1] in b"[O;0123456789":
                    typed = typed[1:]
                typed = typed[1:]
            else:
                keys.append(_LETTERS.get(letter, letter))
    return keys


class _Resizing:
    """While entered, calls a function when the window changes its size. In the main thread only."""

    def __init__(self, fn: Callable[[], object]) -> None:
        self._fn = fn

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGWINCH, self._on_signal)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGWINCH, self._before)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._fn()
