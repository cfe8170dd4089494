# SPDX-License-Identifier: Apache-2.0
"""A socket whose operations wait without blocking the loop."""

from __future__ import annotations

import errno
import socket as _stdlib
from typing import TYPE_CHECKING, Any

from giambio_kernel import (
    PARKED,
    Trap,
    checkpoint,
    get_running,
    outcome,
    replenish,
    trap,
)

from .base import WOULD_BLOCK
from .connect import ConnectingSocket
from .elsewhere import METHODS, Elsewhere
from .names import needs_no_resolving, resolve_address

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from .base import Data

# Whose length is in bytes.
_BYTES = (bytes, bytearray)


class AsyncSocket(ConnectingSocket):
    """A socket whose operations wait without blocking the loop.

    Made by `giambio.socket.socket`, `giambio.wrap_socket` and whatever connects or accepts.

    One task may read while another one writes. Two readers, or two writers, at a time get
    `ResourceBusy`; an operation on a closed socket, also one that waits when it is closed, gets
    `ResourceClosed`. ``async with`` closes the socket at the end. A connected stream socket is a
    `giambio.HalfCloseableStream`.

    Cancelling an operation leaves the socket as it was, except where the method says otherwise. An
    `OSError` of an operation has an attribute ``stream``, which is this object.

    Attributes:
        socket: The standard socket. It is non-blocking, and must stay so.
    """

    __slots__ = ()

    def dup(self) -> AsyncSocket:
        """Return another socket for the same connection, with a descriptor of its own.

        Raises:
            ResourceClosed: The socket is closed.
            OSError: There are no descriptors left, for example.
        """
        self._check_open()
        return AsyncSocket(self.socket.dup())

    # Reading

    @trap
    def receive(self, max_bytes: int = 65536) -> Trap[bytes]:
        """Wait until something has come, and return it.

        Args:
            max_bytes: At most how much, in bytes; at least 1. Much above 64 KiB the buffer itself
                becomes expensive.

        Returns:
            From 1 to *max_bytes* bytes, as many as have come; ``b""`` if the other side has ended
            its stream. Of a datagram, what fits; the rest of it is lost, and an empty one is
            ``b""``, too.

        Raises:
            ValueError: *max_bytes* is less than 1.
            ResourceBusy: Another task reads from this socket.
            ResourceClosed: The socket is closed, or was meanwhile.
            OSError: The connection broke.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken from the socket.
        """
        scheduler = get_running()
        if self._loop is scheduler and self._receiver is None and max_bytes >= 1:
            handle = self._handle
        else:
            handle = self._start_reading(max_bytes)
        self._receiver = scheduler.current
        try:
            if handle.may_read:
                scheduler.credit = credit = scheduler.credit - 1
                if credit < 0 or scheduler.current.stopping:
                    yield from replenish().__await__()
            while True:
                if handle.may_read:
                    try:
                        data = self._recv(max_bytes)
                    except WOULD_BLOCK:
                        handle.may_read = False
                    else:
                        if len(data) < max_bytes and self._short_means_empty and not handle.sticky:
                            handle.may_read = False
                        return data
                handle.park_reader()
                outcome((yield PARKED))
        except OSError as error:
            raise self._explained(error)
        finally:
            self._receiver = None

    async def receive_into(self, buffer: bytearray | memoryview, max_bytes: int = 0) -> int:
        """Wait until something has come, and put it into *buffer*.

        Args:
            buffer: Where to put it, from the beginning.
            max_bytes: At most how much, in bytes; zero means as much as fits.

        Returns:
            How many bytes were put there; 0 if the other side has ended its stream.

        Raises:
            ValueError: The buffer is empty, or *max_bytes* negative.
            ResourceBusy, ResourceClosed, OSError: As for `receive`.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken from the socket.
        """
        if max_bytes < 0 or not len(buffer):
            raise ValueError("there must be room for at least 1 byte")
        return await self._read(self.socket.recv_into, buffer, max_bytes)

    async def recvfrom(self, max_bytes: int, flags: int = 0) -> tuple[bytes, Any]:
        """Wait for a datagram, and return it with the address that it came from.

        Args:
            max_bytes: At most how much of it, in bytes; the rest is lost.
            flags: As for `socket.socket.recv`.

        Raises:
            ResourceBusy, ResourceClosed, OSError: As for `receive`.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken from the socket.
        """
        return await self._read(self.socket.recvfrom, max_bytes, flags)

    async def recvfrom_into(
        self, buffer: bytearray | memoryview, max_bytes: int = 0, flags: int = 0
    ) -> tuple[int, Any]:
        """Wait for a datagram, put it into *buffer*, and return its size and where it came from.

        Args:
            buffer: Where to put it, from the beginning.
            max_bytes: At most how much of it, in bytes; zero means as much as fits.
            flags: As for `socket.socket.recv`.

        Raises:
            ResourceBusy, ResourceClosed, OSError: As for `receive`.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken from the socket.
        """
        return await self._read(self.socket.recvfrom_into, buffer, max_bytes, flags)

    async def recvmsg(
        self, max_bytes: int, ancillary_bytes: int = 0, flags: int = 0
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        """Wait for a message with ancillary data, such as descriptors; see `socket.socket.recvmsg`.

        `giambio.socket.recv_fds` takes the descriptors out.

        Raises:
            ResourceBusy, ResourceClosed, OSError: As for `receive`.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken from the socket.
        """
        return await self._read(self.socket.recvmsg, max_bytes, ancillary_bytes, flags)

    async def recvmsg_into(
        self, buffers: Iterable[bytearray | memoryview], ancillary_bytes: int = 0, flags: int = 0
    ) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
        """Wait for a message and put it into *buffers*; see `socket.socket.recvmsg_into`.

        Raises:
            ResourceBusy, ResourceClosed, OSError: As for `receive`.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken from the socket.
        """
        return await self._read(self.socket.recvmsg_into, list(buffers), ancillary_bytes, flags)

    async def accept(self) -> tuple[AsyncSocket, Any]:
        """Wait for a connection, and return its socket and the address of the other side.

        A connection that broke before it was accepted is passed over.

        Raises:
            ResourceBusy, ResourceClosed: As for `receive`.
            OSError: There are no descriptors left, for example; the connection goes on waiting.

        Checkpoint: always. If it raises `CancelledError`, no connection was accepted.
        """
        sock, address = await self._accept_standard()
        return AsyncSocket(sock), address

    # Writing

    async def send_some(self, data: Data) -> int:
        """Wait until there is room, and send as much as fits.

        Args:
            data: What to send.

        Returns:
            How many bytes were taken, at least 1 unless *data* is empty.

        Raises:
            ResourceBusy: Another task writes to this socket.
            ResourceClosed: The socket is closed, or was meanwhile.
            OSError: The connection broke.

        Checkpoint: always. If it raises `CancelledError`, nothing was sent.
        """
        return await self._write(self._send, data)

    @trap
    def send_all(self, data: Data) -> Trap[None]:
        """Send all of it, waiting as long as that takes.

        Args:
            data: What to send.

        Raises:
            ResourceBusy: Another task writes to this socket.
            ResourceClosed: The socket is closed, or was meanwhile.
            OSError: The connection broke.

        Checkpoint: always. If it raises, a part may have been sent: the exception has an attribute
        ``bytes_sent`` that says how much of *data* the system has taken.
        """
        scheduler = get_running()
        if self._loop is scheduler and self._sender is None:
            handle = self._handle
        else:
            handle = self._start_writing()
        self._sender = scheduler.current
        sent = 0
        try:
            scheduler.credit = credit = scheduler.credit - 1
            if credit < 0 or scheduler.current.stopping:
                yield from replenish().__await__()
            try:
                sent = self._send(data)
            except WOULD_BLOCK:
                pass
            if sent == len(data) and data.__class__ in _BYTES:
                return
            # The rest, bit by bit. The items of a view, or of an array, need not be bytes.
            view = memoryview(data).cast("B")
            while sent < len(view):
                handle.park_writer()
                outcome((yield PARKED))
                try:
                    sent += self._send(view[sent:])
                except WOULD_BLOCK:
                    pass
        except BaseException as error:
            told = self._explained(error) if isinstance(error, OSError) else error
            told.bytes_sent = sent  # type: ignore[attr-defined]
            if told is error:
                raise
            raise told
        finally:
            self._sender = None

    async def send_eof(self) -> None:
        """End the own stream: the other side finds its end, and may go on sending.

        Raises:
            ResourceBusy: Another task writes to this socket.
            ResourceClosed: The socket is closed.
            OSError: The socket cannot do that.

        Checkpoint: on entry.
        """
        self._start_writing()
        await checkpoint()
        self._start_writing()
        try:
            self.socket.shutdown(_stdlib.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # otherwise nobody is there to be told
                raise self._explained(error)

    async def sendto(self, data: Data, *args: Any) -> int:
        """Send a datagram: ``sendto(data, address)`` or ``sendto(data, flags, address)``.

        Args:
            data: What to send.
            *args: As for `socket.socket.sendto`. A host name is resolved first.

        Returns:
            How many bytes were sent.

        Raises:
            TypeError: There is no address, or there are more arguments than flags and an address.
            ResourceBusy, ResourceClosed, OSError: As for `send_some`.

        Checkpoint: always. If it raises `CancelledError`, nothing was sent.
        """
        if not 1 <= len(args) <= 2:
            raise TypeError("sendto() takes data, optional flags, and an address")
        if not needs_no_resolving(self.family, args[-1]):
            self._check_open()
            args = (*args[:-1], await resolve_address(self.socket, args[-1]))
        sent: int = await self._write(self.socket.sendto, data, *args)
        return sent

    async def sendmsg(
        self,
        buffers: Iterable[Data],
        ancillary: Iterable[tuple[int, int, Any]] = (),
        flags: int = 0,
        address: Any = None,
    ) -> int:
        """Send a message with ancillary data, such as descriptors; see `socket.socket.sendmsg`.

        Returns:
            How many bytes of the buffers were sent.

        Raises:
            ResourceBusy, ResourceClosed, OSError: As for `send_some`.

        Checkpoint: always. If it raises `CancelledError`, nothing was sent.
        """
        self._check_open()
        if address is not None:
            address = await resolve_address(self.socket, address)
        sent: int = await self._write(
            self.socket.sendmsg, list(buffers), list(ancillary), flags, address
        )
        return sent

    async def sendfile(self, file: BinaryIO, offset: int = 0, count: int | None = None) -> int:
        """Send a file, without its content passing through the program where the system can do that.

        Elsewhere, and for files that the system cannot send, it is read in a thread. Where the
        system sends it, the loop waits for the disk if the content is not in memory.

        Args:
            file: A file opened for reading bytes. What is wrapped by an object with an attribute
                ``wrapped``, as that of `giambio.open_file` is, is sent as well.
            offset: Where to begin in the file, in bytes.
            count: How much to send, in bytes; ``None`` sends all the rest.

        Returns:
            How many bytes were sent. The position of the file is after the last of them.

        Raises:
            TypeError: *file* is none; a path, for example.
            ValueError: A number is negative, the file is one of text, or this is no stream socket.
            ResourceBusy, ResourceClosed, OSError: As for `send_all`.

        Checkpoint: always. If it raises, a part may have been sent: the exception has an attribute
        ``bytes_sent``.
        """
        from .sendfile import send_file

        if self.socket.type != _stdlib.SOCK_STREAM:
            raise ValueError(f"only stream sockets can send a file, not {self!r}")
        return await send_file(self, file, offset, count)


for _name in METHODS:
    setattr(AsyncSocket, _name, Elsewhere(_name))
