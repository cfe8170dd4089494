# SPDX-License-Identifier: Apache-2.0
"""A dump of all tasks when a signal comes."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from giambio._closing import ClosedByWith

from ._loops import KnownLoops
from ._tree import encodable, in_columns, stack_lines, summary, tree_lines, where_lines
from ._view import look_at

if TYPE_CHECKING:
    from types import FrameType
    from typing import TextIO


class SignalDump(ClosedByWith):
    """A signal that prints all tasks. Made by `dump_on_signal`; a context manager."""

    def __init__(self, signum: int, file: TextIO | None, stacks: bool) -> None:
        self._signum = signum
        self._file = file
        self._stacks = stacks
        self._loops = KnownLoops()
        self._before = signal.signal(signum, self._on_signal)
        self._open = True
        self._loops.open()

    def __repr__(self) -> str:
        state = "open" if self._open else "closed"
        return f"<SignalDump {signal.Signals(self._signum).name} {state}>"

    def close(self) -> None:
        """Let the signal mean what it meant before. Closing twice is fine."""
        if self._open:
            self._open = False
            self._loops.close()
            # Bound methods are compared with ==; each look-up makes a new one.
            if signal.getsignal(self._signum) == self._on_signal:
                signal.signal(self._signum, self._before)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        lines = [f"giambio: process {os.getpid()} was asked by {signal.Signals(signum).name}"]
        views = [look_at(scheduler) for scheduler in self._loops.alive()]
        for view in views:
            lines += [summary(view), *in_columns(tree_lines(view))]
            if self._stacks:
                lines += ["", *where_lines(view)]
                continue
            for task in view.tasks:
                if task.state == "running":
                    lines += [f"{task.name} #{task.number} is running here:", *stack_lines(task)]
        if not views:
            lines.append("no loop is running")
        file = sys.stderr if self._file is None else self._file
        text = encodable("\n".join(lines), file) + "\n"
        try:
            # Not through the file object: what the signal has interrupted may be writing to it.
            fd = file.fileno()
        except (AttributeError, OSError):
            file.write(text)
        else:
            data = text.encode(getattr(file, "encoding", None) or "utf-8", "replace")
            while data:
                data = data[os.write(fd, data) :]


def dump_on_signal(
    signum: int | None = None, *, file: TextIO | None = None, stacks: bool = False
) -> SignalDump:
    """Print all tasks, as `print_tree` does, whenever a signal comes: ``kill -USR1 PID``.

    Inside of a loop it shows that loop; in any case, all runs that start afterwards. It works while a
    loop is stuck in a step that runs Python code or waits in a system call, and shows where. To be
    called in the main thread, where Python receives signals.

    Args:
        signum: The signal; ``signal.SIGUSR1`` if omitted.
        file: Where to print; standard error, as it is then, if omitted.
        stacks: Whether to print the stack of each task, too.

    Returns:
        An object whose ``close()``, or whose end as a context manager, puts things back. It need not
        be kept.

    Raises:
        ValueError: This is not the main thread, or there is no such signal.
    """
    if signum is None:
        signum = getattr(signal, "SIGUSR1", None)
        if signum is None:
            raise ValueError("this system has no SIGUSR1; say which signal is meant")
    return SignalDump(signum, file, stacks)
