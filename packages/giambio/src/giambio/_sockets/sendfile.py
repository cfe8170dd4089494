# SPDX-License-Identifier: Apache-2.0
"""Sending files through sockets."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, BinaryIO

from giambio._simulation import simulated_network
from giambio._threads.calls import run_in_thread
from giambio_kernel import checkpoint, current_task

if TYPE_CHECKING:
    from .async_socket import AsyncSocket

# How much one system call may send. Between two of them others can run.
_LARGEST_CALL = 1 << 20
# How much is read at a time where the program has to carry it.
_CHUNK = 65536

# What os.sendfile says of files that it cannot send: pipes, devices, special file systems.
_NOT_THIS_FILE = frozenset((errno.EINVAL, errno.ENOSYS, errno.ESPIPE, errno.EOPNOTSUPP))


class _CannotSend(Exception):
    """The system cannot send this file by itself; nothing was sent."""


async def send_file(
    sock: AsyncSocket, file: BinaryIO, offset: int, count: int | None, *, by_system: bool = True
) -> int:
    """Send a part of a file; see `AsyncSocket.sendfile`.

    Args:
        sock: Through which socket.
        file: The file.
        offset: Where to begin, in bytes.
        count: How much to send, in bytes; ``None`` for all.
        by_system: Whether the system may do it.
    """
    file = getattr(file, "wrapped", file)
    if not (hasattr(file, "fileno") or hasattr(file, "read")):
        raise TypeError(f"expected a file, not {file!r}; giambio.open_file() opens one")
    if "b" not in getattr(file, "mode", "b"):
        raise ValueError(f"the file must be opened in binary mode: {file!r}")
    if offset < 0:
        raise ValueError(f"offset must be at least 0, not {offset!r}")
    if count is not None and count < 0:
        raise ValueError(f"count must be at least 0, not {count!r}")
    transfer = _Transfer(sock, file, offset, count)
    sock._start_writing()
    sock._sender = current_task()
    try:
        if not count and count is not None:
            # Some systems take zero for everything.
            await checkpoint()
            return 0
        if by_system and simulated_network() is None:
            try:
                await transfer.send_by_system()
            except _CannotSend:
                await transfer.send_by_reading()
        else:
            await transfer.send_by_reading()
    except BaseException as error:
        error.bytes_sent = transfer.sent  # type: ignore[attr-defined]
        raise
    finally:
        sock._sender = None
        transfer.set_position()
    return transfer.sent


class _Transfer:
    """A part of a file on its way into a socket, and how much of it is through.

    All the while the socket has the current task as its sender, so that nothing gets in between.
    """

    def __init__(self, sock: AsyncSocket, file: BinaryIO, offset: int, count: int | None) -> None:
        self._sock = sock
        self._file = file
        self._offset = offset
        self._count = count
        self.sent = 0

    def _next_size(self, most: int) -> int:
        return most if self._count is None else min(most, self._count - self.sent)

    async def send_by_system(self) -> None:
        sendfile: Any = getattr(os, "sendfile", None)
        sock, file = self._sock, self._file
        try:
            file.fileno()
        except (AttributeError, OSError):  # not a file of the system
            raise _CannotSend from None
        if sendfile is None:
            raise _CannotSend

        def send(start: int, size: int) -> int:
            # Asked anew each time: the file may be closed meanwhile, and its number be another's.
            sent: int = sendfile(sock.fileno(), file.fileno(), start, size)
            return sent

        while True:
            start = self._offset + self.sent
            size = self._next_size(_LARGEST_CALL)
            try:
                sent = await sock._write(send, start, size)
            except OSError as error:
                if not self.sent and error.errno in _NOT_THIS_FILE:
                    raise _CannotSend from None
                raise
            self.sent += sent
            if not sent or self.sent == self._count:
                return

    async def send_by_reading(self) -> None:
        if self._is_seekable():
            await run_in_thread(self._file.seek, self._offset)
        sock = self._sock
        while True:
            size = self._next_size(_CHUNK)
            data = (await run_in_thread(self._file.read, size)) if size else b""
            if not data:
                return
            rest = memoryview(data)
            while rest:
                sent = await sock._write(sock._send, rest)
                self.sent += sent
                rest = rest[sent:]

    def _is_seekable(self) -> bool:
        seekable = getattr(self._file, "seekable", None)
        return (
            seekable is not None and not getattr(self._file, "closed", False) and bool(seekable())
        )

    def set_position(self) -> None:
        if self._is_seekable():
            self._file.seek(self._offset + self.sent)
