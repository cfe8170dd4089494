# SPDX-License-Identifier: Apache-2.0
"""The program's own standard input and output, as streams.

These descriptors are shared with others: the shell, the program at the other end of the pipeline, the
next one in the same terminal. So they are not made non-blocking, which would hold for all of them. A
read is done when the system says that there is something, and then does not wait; a write likewise, of so
little that POSIX promises room for it. Of terminals it promises nothing: these are opened anew for writing,
which makes them non-blocking for nobody else. What cannot be waited for is a file or the like, where
nothing takes long: that is read and written in a thread.
"""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING, Any

from giambio._closing import ClosedAtOnce
from giambio._simulation import refuse_if_simulated
from giambio._sockets.base import DONE, room_in
from giambio._threads.calls import run_in_thread
from giambio.exceptions import ResourceBusy, ResourceClosed
from giambio_kernel import (
    Task,
    current_task,
    notify_closing,
    sleep,
    wait_readable,
    wait_writable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import TextIO

    from giambio._sockets.base import Data, Done

# How much can be written to a pipe that has any room at all, in bytes. Source: POSIX, <limits.h>.
_ATOMIC: int = getattr(select, "PIPE_BUF", 512)
# How long to wait, in seconds, when there is room and it does not suffice: a terminal may have it for one
# character, and the end of a line takes two.
_PAUSE = 0.01


def open_stdin() -> StandardInput:
    """Return the standard input of the program as a stream, whose waits can be cancelled.

    It reads the descriptor: what ``sys.stdin`` has taken into its buffer before does not come here,
    so use one or the other. For lines::

        lines = giambio.BufferedStream(giambio.open_stdin())
        async for line in lines.lines():
            ...

    Raises:
        ResourceClosed: The program has no standard input.
        RuntimeError: Not called from inside a loop.
    """
    _check_given(sys.__stdin__, "standard input")
    return StandardInput(0)


def open_stdout() -> StandardOutput:
    """Return the standard output of the program as a stream, whose waits can be cancelled.

    What ``print`` has left in the buffer of ``sys.stdout`` is written before. What it is given
    afterwards comes when that buffer is flushed.

    Raises:
        ResourceClosed: The program has no standard output.
        RuntimeError: Not called from inside a loop.
    """
    _check_given(sys.__stdout__, "standard output")
    if sys.stdout is not None:
        sys.stdout.flush()
    return StandardOutput(1)


def open_stderr() -> StandardOutput:
    """Return the standard error output of the program as a stream. See `open_stdout`.

    Raises:
        ResourceClosed: The program has none.
        RuntimeError: Not called from inside a loop.
    """
    _check_given(sys.__stderr__, "standard error output")
    return StandardOutput(2)


def _check_given(file: TextIO | None, what: str) -> None:
    """Refuse a descriptor that the program was not started with.

    The system gives its number to whatever is opened first, which may be the poller of the loop.
    Python, too, knows only because it has looked when it started.

    Raises:
        ResourceClosed: It is such a one.
    """
    if file is None:
        raise ResourceClosed(f"the program has no {what}: it was closed when the program started")


class _Standard(ClosedAtOnce):
    """A descriptor that is not ours."""

    __slots__ = ("_closed", "_fd", "_user")

    def __init__(self, fd: int) -> None:
        refuse_if_simulated("using standard input or output")
        try:
            os.fstat(fd)
        except OSError:
            raise ResourceClosed(f"the program has no open descriptor {fd}") from None
        self._fd = fd
        self._closed = False
        # The task that is in an operation.
        self._user: Task[Any] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self._fd}{', closed' * self._closed}>"

    @property
    def closed(self) -> bool:
        """Whether this stream was closed."""
        return self._closed

    def fileno(self) -> int:
        """Return the descriptor; -1 if this stream is closed."""
        return -1 if self._closed else self._fd

    def close(self) -> Done:
        """End the use of this stream, at once; the descriptor remains open for others.

        A task that waits on it gets `ResourceClosed`. Closing twice is fine, and the result may be
        awaited.

        Raises:
            RuntimeError: A task uses it, and this is not called from inside a loop; then it was not
                closed.
        """
        if not self._closed:
            if self._user is not None:
                notify_closing(self._fd)
            self._closed = True
        return DONE

    def _begin(self) -> None:
        self._check_open()
        if self._user is not None:
            raise ResourceBusy(f"task {self._user.name!r} already uses {self!r}")
        self._user = current_task()

    def _check_open(self) -> None:
        if self._closed:
            raise ResourceClosed(f"{self!r} is closed")

    async def _ready(self, wait: Callable[[int], Coroutine[Any, Any, None]]) -> bool:
        """Wait until the next operation does not block. False if that cannot be waited for."""
        try:
            await wait(self._fd)
        except PermissionError:  # a file; so says epoll
            return False
        except ResourceClosed:  # which speaks of the descriptor, and that one is still open
            raise ResourceClosed(f"{self!r} was closed while in use") from None
        self._check_open()
        return True


class StandardInput(_Standard):
    """The standard input of the program. A `giambio.ReceiveStream`. Made by `open_stdin`."""

    __slots__ = ()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait until something has come, and return it.

        Args:
            max_bytes: At most how much, in bytes; at least 1.

        Returns:
            From 1 to *max_bytes* bytes, of a terminal usually a line; ``b""`` at the end.

        Raises:
            ValueError: *max_bytes* is less than 1.
            ResourceBusy: Another task receives from it.
            ResourceClosed: The stream is closed, or was meanwhile.
            OSError: The system says so.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken.
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes!r}")
        self._begin()
        try:
            while await self._ready(wait_readable):
                try:
                    return os.read(self._fd, max_bytes)
                except BlockingIOError:
                    pass  # somebody has made it non-blocking, and somebody was faster
            return await run_in_thread(os.read, self._fd, max_bytes)
        finally:
            self._user = None

    async def receive_into(self, buffer: bytearray | memoryview, max_bytes: int = 0) -> int:
        """Wait until something has come, and put it into *buffer*.

        Args:
            buffer: Where to put it, from the beginning.
            max_bytes: At most how much, in bytes; zero means as much as fits.

        Returns:
            How many bytes were put there; 0 at the end.

        Raises:
            ValueError: The buffer is empty, or *max_bytes* negative.
            ResourceBusy, ResourceClosed, OSError: As for `receive`.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken.
        """
        with room_in(buffer, max_bytes) as view:
            data = await self.receive(len(view))
            view[: len(data)] = data
        return len(data)


class StandardOutput(_Standard):
    """A standard output of the program. A `giambio.SendStream`.

    Made by `open_stdout` and `open_stderr`.
    """

    __slots__ = ()

    async def send_all(self, data: Data) -> None:
        """Send all of it, waiting as long as that takes.

        Args:
            data: What to send.

        Raises:
            ResourceBusy: Another task sends into it.
            ResourceClosed: The stream is closed, or was meanwhile.
            OSError: `BrokenPipeError` if nobody reads it any more.

        Checkpoint: always. If it raises, a part may have been sent: the exception has an attribute
        ``bytes_sent`` that says how much of *data* the system has taken.
        """
        self._begin()
        sent = 0
        fd: int | None = self._fd
        try:
            with memoryview(data).cast("B") as view:
                if os.isatty(self._fd):
                    fd = _open_terminal_anew(self._fd)
                while fd is not None and await self._ready(wait_writable):
                    try:
                        sent += os.write(fd, view[sent : sent + _ATOMIC])
                    except BlockingIOError:
                        await sleep(_PAUSE)  # or others have made it so, and were faster
                    if sent == len(view):
                        return
                while True:
                    sent += await run_in_thread(os.write, self._fd, view[sent:])
                    if sent == len(view):
                        return
        except BaseException as error:
            error.bytes_sent = sent  # type: ignore[attr-defined]
            raise
        finally:
            if fd is not None and fd != self._fd:
                os.close(fd)
            self._user = None


def _open_terminal_anew(fd: int) -> int | None:
    """Return another descriptor for a terminal, which does not block; None if there can be none."""
    try:
        name = os.ttyname(fd)
        if name == "/dev/ptmx":
            return None  # the other end of one, of which opening it makes a new one
        return os.open(name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # it belongs to another user, for example
        return None
