# SPDX-License-Identifier: Apache-2.0
"""Waiting for the exit of a child process, without reaping it.

Linux has a descriptor for a process that becomes readable when the process exits. Elsewhere a thread
waits. Neither needs SIGCHLD, whose handler the program may want for itself, and neither takes from others
what they wait for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from giambio._sync.event import Event
from giambio._threads.cache import hand_over
from giambio_kernel import current_scheduler, wait_readable

if TYPE_CHECKING:
    import subprocess


class ExitWatch:
    """The coming exit of one child, which any number of tasks may wait for."""

    __slots__ = ("_child", "_thread")

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        # Who waits where there are no descriptors for processes; shared by all tasks.
        self._thread: _ExitThread | None = None

    async def wait(self, *, busy: bool) -> None:
        """Wait until the child has exited.

        Args:
            busy: Whether a virtual clock is to wait, too.

        Checkpoint: always, unless it has been reaped already.
        """
        with current_scheduler().open_wakeup(busy=busy):
            if self._thread is None:
                fd = self._open_pidfd()
                if fd is not None:
                    try:
                        await wait_readable(fd)
                    finally:
                        os.close(fd)
                    return
                self._thread = _ExitThread(self._child)
            await self._thread.exited.wait()

    def _open_pidfd(self) -> int | None:
        pidfd_open: Any = getattr(os, "pidfd_open", None)
        try:
            fd: int | None = pidfd_open and pidfd_open(self._child.pid)
        except OSError:  # an old kernel, a sandbox, or no descriptors left
            return None
        return fd


class _ExitThread:
    """A thread that waits for the exit of a child."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self.exited: Event[None] = Event()
        self._wakeup = current_scheduler().open_wakeup()
        hand_over(self)

    def work(self) -> None:
        """In the thread: wait."""
        if hasattr(os, "waitid"):
            try:
                os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                pass  # somebody has reaped it
        else:
            self._child.wait()

    def tell(self) -> None:
        """In the thread: say so."""
        try:
            self._wakeup.call_soon(self._end)
        except RuntimeError:
            pass  # the loop is closed

    def _end(self) -> None:
        self._wakeup.close()
        self.exited.set()
