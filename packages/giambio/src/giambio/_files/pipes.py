# SPDX-License-Identifier: Apache-2.0
"""Pipes, as streams for one direction each: own ones, and those of child processes."""

from __future__ import annotations

import io
import os
import stat
from typing import TYPE_CHECKING

from giambio._closing import ClosedAtOnce
from giambio._simulation import refuse_if_simulated
from giambio._sockets.base import DONE, room_in
from giambio.exceptions import ResourceBusy, ResourceClosed
from giambio_kernel import (
    IOHandle,
    Task,
    checkpoint,
    checkpoint_due,
    current_scheduler,
    current_task,
    open_handle,
    wait_readable,
    wait_writable,
)

if TYPE_CHECKING:
    from typing import Any

    from giambio._sockets.base import Data, Done
    from giambio_kernel import AsyncScheduler

# At most how much is written in one go, in bytes: with a fast reader at the other end the system
# would go on for as long as there is anything, and the loop would stand still.
_PORTION = 1 << 18


def open_pipe() -> tuple[PipeSendStream, PipeReceiveStream]:
    """Make a pipe, and return its ends: what is sent into the first one comes out of the second.

    This is a pipe of the operating system. Between tasks of one program a memory channel is faster.

    Raises:
        OSError: There are no descriptors left.
    """
    receiving, sending = os.pipe()
    return PipeSendStream(sending), PipeReceiveStream(receiving)


class PipeEnd(ClosedAtOnce):
    """What the two ends of a pipe have in common: a descriptor, and who uses it now."""

    __slots__ = ("__weakref__", "_file", "_handle", "_loop", "_user")

    # The loop that it was used in last, and its handle there. Invariant: while there is no loop,
    # which is before its first use and once it is closed, there is no handle.
    _loop: AsyncScheduler | None
    _handle: IOHandle
    # The task that is in an operation.
    _user: Task[Any] | None

    def __init__(self, fd: int, mode: str) -> None:
        if not isinstance(fd, int):
            raise TypeError(f"expected a descriptor, not {fd!r}")
        kind = os.fstat(fd).st_mode
        if stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISBLK(kind):
            raise ValueError(f"descriptor {fd} is a file, not a pipe: use giambio.wrap_file()")
        os.set_blocking(fd, False)
        # A file object rather than the bare number: it complains when it is dropped unclosed, and
        # tells by ``None``, which costs less than an exception, when it would have to wait.
        self._file: io.FileIO = io.FileIO(fd, mode)
        self._loop = self._user = None

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fd={self.fileno()}"
        return f"<{type(self).__name__} {state}>"

    @property
    def closed(self) -> bool:
        """Whether this end was closed."""
        return self._file.closed

    def fileno(self) -> int:
        """Return the descriptor; -1 if this end is closed."""
        return -1 if self._file.closed else self._file.fileno()

    def close(self) -> Done:
        """Close this end, at once; the result may be awaited. Closing twice is fine.

        A task that waits on it gets `ResourceClosed`.

        Raises:
            RuntimeError: A task of a loop in another thread waits on it; then it was not closed.
        """
        if self._loop is not None:
            self._handle.close()
            self._loop = None
        self._file.close()
        return DONE

    def _check_open(self) -> None:
        if self._file.closed:
            raise ResourceClosed(f"{self!r} is closed")

    def _begin(self) -> IOHandle:
        """Begin an operation: return the handle for the loop, or say why there can be none."""
        self._check_open()
        loop = current_scheduler()
        if self._user is not None:
            raise ResourceBusy(f"task {self._user.name!r} already uses {self!r}")
        if self._loop is not loop:
            if self._loop is not None and not self._loop.done():
                raise RuntimeError(f"{self!r} belongs to another loop than this task")
            refuse_if_simulated("using a pipe")
            self._handle = open_handle(self._file.fileno())
            self._loop = loop
        self._user = current_task()
        return self._handle


class PipeReceiveStream(PipeEnd):
    """The end of a pipe that bytes come out of. A `giambio.ReceiveStream`.

    Made by `open_pipe` and `open_process`, or of a descriptor. ``async with`` closes it.

    Args:
        fd: The descriptor of a pipe, a FIFO, a terminal or the like. It becomes non-blocking, for
            whoever shares it, too, and is closed with the stream. For the program's own standard
            input there is `open_stdin`, which leaves it as it is.

    Raises:
        TypeError: *fd* is not a number.
        ValueError: It is a regular file, which cannot be waited for.
        OSError: It is not open.
    """

    __slots__ = ()

    def __init__(self, fd: int) -> None:
        super().__init__(fd, "r")

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait until something has come, and return it.

        Args:
            max_bytes: At most how much, in bytes; at least 1.

        Returns:
            From 1 to *max_bytes* bytes; ``b""`` when all senders have closed their end.

        Raises:
            ValueError: *max_bytes* is less than 1.
            ResourceBusy: Another task receives from this end.
            ResourceClosed: This end is closed, or was meanwhile.
            OSError: The system says so.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken from the pipe.
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes!r}")
        handle = self._begin()
        try:
            if checkpoint_due():
                await checkpoint()
            while True:
                self._check_open()
                data = self._file.read(max_bytes)
                if data is not None:
                    return data
                await wait_readable(handle)
        finally:
            self._user = None

    async def receive_into(self, buffer: bytearray | memoryview, max_bytes: int = 0) -> int:
        """Wait until something has come, and put it into *buffer*.

        Args:
            buffer: Where to put it, from the beginning.
            max_bytes: At most how much, in bytes; zero means as much as fits.

        Returns:
            How many bytes were put there; 0 when all senders have closed their end.

        Raises:
            ValueError: The buffer is empty, or *max_bytes* negative.
            ResourceBusy, ResourceClosed, OSError: As for `receive`.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken from the pipe.
        """
        with room_in(buffer, max_bytes) as view:
            handle = self._begin()
            try:
                if checkpoint_due():
                    await checkpoint()
                while True:
                    self._check_open()
                    # Non-blocking, so None is possible, whatever the annotation says.
                    count: int | None = self._file.readinto(view)
                    if count is not None:
                        return count
                    await wait_readable(handle)
            finally:
                self._user = None


class PipeSendStream(PipeEnd):
    """The end of a pipe that bytes are sent into. A `giambio.SendStream`.

    Made by `open_pipe` and `open_process`, or of a descriptor. ``async with`` closes it, and so the
    receiver finds the end.

    Args:
        fd: A descriptor, as for `PipeReceiveStream`.

    Raises:
        TypeError, ValueError, OSError: As for `PipeReceiveStream`.
    """

    __slots__ = ()

    def __init__(self, fd: int) -> None:
        super().__init__(fd, "w")

    async def send_all(self, data: Data) -> None:
        """Send all of it, waiting as long as that takes.

        Args:
            data: What to send.

        Raises:
            ResourceBusy: Another task sends into this end.
            ResourceClosed: This end is closed, or was meanwhile.
            OSError: `BrokenPipeError` if nobody has the other end any more.

        Checkpoint: always. If it raises, a part may have been sent: the exception has an attribute
        ``bytes_sent`` that says how much of *data* the system has taken.
        """
        handle = self._begin()
        sent = 0
        try:
            if checkpoint_due():
                await checkpoint()
            with memoryview(data).cast("B") as view:
                while sent < len(view):
                    self._check_open()
                    portion = view[sent : sent + _PORTION]
                    count = self._file.write(portion)
                    sent += count or 0
                    if count == len(portion):
                        if sent < len(view):
                            await checkpoint()
                    else:
                        await wait_writable(handle)
        except BaseException as error:
            error.bytes_sent = sent  # type: ignore[attr-defined]
            raise
        finally:
            self._user = None
