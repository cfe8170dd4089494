# SPDX-License-Identifier: Apache-2.0
"""Sockets, in the shape of the standard module: the same names, but the operations wait.

`AsyncSocket` wraps a standard socket of any kind. Its waiting methods have giambio's names
(`receive`, `send_all`), which say what the standard ones leave open; the others have the standard ones.
"""

from __future__ import annotations

import errno
import os
import socket as _stdlib
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeAlias, TypeVar

from giambio_kernel import (
    PARKED,
    IOHandle,
    Signal,
    Task,
    checkpoint,
    checkpoint_due,
    get_running,
    open_handle,
    outcome,
    replenish,
    sleep,
    trap,
    wait_readable,
    wait_writable,
)

from ._names import getaddrinfo as getaddrinfo
from ._names import getnameinfo as getnameinfo
from ._names import resolve_address
from .exceptions import CancelledError, ResourceBusy, ResourceClosed

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Generator, Iterable
    from socket import *  # type: ignore[assignment]  # noqa: F403
    from types import TracebackType
else:
    # The constants: `giambio.socket.AF_INET` and the like.
    globals().update({name: value for name, value in vars(_stdlib).items() if name.isupper()})

T = TypeVar("T")

Data: TypeAlias = bytes | bytearray | memoryview

# What a non-blocking operation raises when it would have to wait.
_WOULD_BLOCK = (BlockingIOError, InterruptedError)

_INET = frozenset((_stdlib.AF_INET, _stdlib.AF_INET6))


class AsyncSocket:
    """A socket whose operations wait without blocking the loop. Made by `socket` and `wrap_socket`.

    One task may read while another one writes. Two readers, or two writers, at a time get
    `ResourceBusy`; an operation on a closed socket, also one that waits when it is closed, gets
    `ResourceClosed`. ``async with`` closes the socket at the end.

    Cancelling an operation leaves the socket as it was, except where the method says otherwise.

    Attributes:
        socket: The standard socket. It is non-blocking, and must stay so.
    """

    __slots__ = ("__weakref__", "_handle", "_recv", "_send", "_short_means_empty", "socket")

    _handle: IOHandle | None
    _recv: Callable[[int], bytes]
    _send: Callable[[Data], int]
    # Whether a short read means that nothing is left, until more comes: on a TCP stream it does,
    # on others it can mean a boundary between messages. See `giambio_kernel.IOHandle`.
    _short_means_empty: bool

    def __init__(self, sock: _stdlib.socket) -> None:
        if not isinstance(sock, _stdlib.socket):
            raise TypeError(f"expected a standard socket, not {sock!r}")
        if sock.fileno() == -1:
            raise ResourceClosed("the socket is closed")
        sock.setblocking(False)
        self.socket = sock
        # The methods of the standard socket, looked up once: 10 ns less for each use.
        self._recv = sock.recv
        self._send = sock.send
        self._short_means_empty = sock.type == _stdlib.SOCK_STREAM and sock.family in _INET
        self._handle = None

    def __repr__(self) -> str:
        sock = self.socket
        if sock.fileno() == -1:
            return f"<AsyncSocket at {id(self):#x}, closed>"
        words = [f"fd={sock.fileno()}", sock.family.name, sock.type.name]
        for name in ("getsockname", "getpeername"):
            try:
                words.append(f"{name[3:7]}={getattr(sock, name)()!r}")
            except OSError:
                pass  # not bound, or not connected
        return f"<AsyncSocket {' '.join(words)}>"

    # What does not wait

    @property
    def family(self) -> _stdlib.AddressFamily:
        """The address family."""
        return _stdlib.AddressFamily(self.socket.family)

    @property
    def type(self) -> _stdlib.SocketKind:
        """The kind of socket."""
        return _stdlib.SocketKind(self.socket.type)

    @property
    def proto(self) -> int:
        """The protocol."""
        return self.socket.proto

    def fileno(self) -> int:
        """Return the descriptor; -1 if the socket is closed."""
        return self.socket.fileno()

    def getsockname(self) -> Any:
        """Return the own address."""
        return self.socket.getsockname()

    def getpeername(self) -> Any:
        """Return the address of the other side."""
        return self.socket.getpeername()

    def getsockopt(self, level: int, option: int, size: int = 0) -> Any:
        """Return an option; as a number, or with *size* as so many bytes."""
        return self.socket.getsockopt(level, option, *((size,) if size else ()))

    def setsockopt(self, level: int, option: int, value: int | Data) -> None:
        """Set an option."""
        self.socket.setsockopt(level, option, value)

    def bind(self, address: Any) -> Awaitable:
        """Bind the socket to an address, at once; the result may be awaited.

        Args:
            address: As for `socket.socket.bind`. A host name is resolved by the system, blocking;
                resolve it with `getaddrinfo` before if that can take long.

        Raises:
            OSError: As the standard method.
        """
        self.socket.bind(address)
        return _DONE

    def listen(self, backlog: int = 128) -> Awaitable:
        """Let the socket accept connections, at once; the result may be awaited.

        Args:
            backlog: How many connections the system keeps until they are accepted.

        Raises:
            OSError: As the standard method.
        """
        self.socket.listen(backlog)
        return _DONE

    def shutdown(self, how: int = _stdlib.SHUT_RDWR) -> Awaitable:
        """Shut down one direction or both, at once; the result may be awaited.

        Args:
            how: ``SHUT_RD``, ``SHUT_WR`` or ``SHUT_RDWR``.

        Raises:
            OSError: As the standard method.
        """
        self.socket.shutdown(how)
        return _DONE

    def close(self) -> Awaitable:
        """Close the socket, at once; the result may be awaited. Closing twice is fine.

        Tasks that wait on it get `ResourceClosed`.
        """
        if self._handle is not None:
            self._handle.close()
        self.socket.close()
        return _DONE

    def detach(self) -> int:
        """Give up the descriptor without closing it, and return it.

        Tasks that wait on it get `ResourceClosed`.
        """
        if self._handle is not None:
            self._handle.close()
        return self.socket.detach()

    def dup(self) -> AsyncSocket:
        """Return another socket for the same connection, with a descriptor of its own."""
        return AsyncSocket(self.socket.dup())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: builtins.type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Reading

    @trap
    def receive(self, max_bytes: int = 65536) -> Generator[Signal, Task[Any], bytes]:
        """Wait until something has come, and return it.

        Args:
            max_bytes: At most how much, in bytes; at least 1. Much above 64 KiB the buffer itself
                becomes expensive.

        Returns:
            From 1 to *max_bytes* bytes, as many as have come; ``b""`` if the other side has ended
            its stream. Of a datagram, what fits; the rest of it is lost.

        Raises:
            ValueError: *max_bytes* is less than 1.
            ResourceBusy: Another task waits to read from this socket.
            ResourceClosed: The socket is closed, or was meanwhile.
            OSError: The connection broke.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken from the socket.
        """
        handle = self._handle
        if handle is None or handle.closed or max_bytes < 1:
            handle = self._open(max_bytes)
        if handle.may_read:
            if handle.reader is not None:
                self._refuse_reader(handle)
            scheduler = get_running()
            scheduler.credit = credit = scheduler.credit - 1
            if credit < 0 or scheduler.current.stopping:
                yield from replenish().__await__()
        while True:
            if handle.may_read:
                try:
                    data = self._recv(max_bytes)
                except _WOULD_BLOCK:
                    handle.may_read = False
                except OSError:
                    self._explain_error()
                    raise
                else:
                    if len(data) < max_bytes and self._short_means_empty and not handle.sticky:
                        handle.may_read = False
                    return data
            handle.park_reader()
            outcome((yield PARKED))

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
        while True:
            try:
                sock, address = await self._read(self.socket.accept)
            except ConnectionAbortedError:
                continue
            return AsyncSocket(sock), address

    # Writing

    @trap
    def send_some(self, data: Data) -> Generator[Signal, Task[Any], int]:
        """Wait until there is room, and send as much as fits.

        Args:
            data: What to send.

        Returns:
            How many bytes were taken, at least 1 unless *data* is empty.

        Raises:
            ResourceBusy: Another task waits to write to this socket.
            ResourceClosed: The socket is closed, or was meanwhile.
            OSError: The connection broke.

        Checkpoint: always. If it raises `CancelledError`, nothing was sent.
        """
        handle = self._handle
        if handle is None or handle.closed:
            handle = self._open()
        if handle.writer is not None:
            self._refuse_writer(handle)
        scheduler = get_running()
        scheduler.credit = credit = scheduler.credit - 1
        if credit < 0 or scheduler.current.stopping:
            yield from replenish().__await__()
        while True:
            try:
                return self._send(data)
            except _WOULD_BLOCK:
                pass
            except OSError:
                self._explain_error()
                raise
            handle.park_writer()
            outcome((yield PARKED))

    @trap
    def send_all(self, data: Data) -> Generator[Signal, Task[Any], None]:
        """Send all of it, waiting as long as that takes.

        Args:
            data: What to send.

        Raises:
            ResourceBusy: Another task waits to write to this socket.
            ResourceClosed: The socket is closed, or was meanwhile.
            OSError: The connection broke.

        Checkpoint: always. If it raises, a part may have been sent: the exception has an attribute
        ``bytes_sent`` that says how much of *data* the system has taken.
        """
        handle = self._handle
        if handle is None or handle.closed:
            handle = self._open()
        if handle.writer is not None:
            self._refuse_writer(handle)
        scheduler = get_running()
        scheduler.credit = credit = scheduler.credit - 1
        if credit < 0 or scheduler.current.stopping:
            yield from replenish().__await__()
        sent = 0
        try:
            sent = self._send(data)
        except _WOULD_BLOCK:
            pass
        except OSError as error:
            error.bytes_sent = 0  # type: ignore[attr-defined]
            self._explain_error()
            raise
        if sent == len(data) and data.__class__ is not memoryview:
            return
        # The rest, bit by bit.
        view = memoryview(data).cast("B")
        try:
            while sent < len(view):
                handle.park_writer()
                outcome((yield PARKED))
                try:
                    sent += self._send(view[sent:])
                except _WOULD_BLOCK:
                    pass
                except OSError:
                    self._explain_error()
                    raise
        except BaseException as error:
            error.bytes_sent = sent  # type: ignore[attr-defined]
            raise

    async def sendto(self, data: Data, *args: Any) -> int:
        """Send a datagram: ``sendto(data, address)`` or ``sendto(data, flags, address)``.

        Args:
            data: What to send.
            *args: As for `socket.socket.sendto`. A host name is resolved first.

        Returns:
            How many bytes were sent.

        Raises:
            ResourceBusy, ResourceClosed, OSError: As for `send_some`.

        Checkpoint: always. If it raises `CancelledError`, nothing was sent.
        """
        if not 1 <= len(args) <= 2:
            raise TypeError("sendto() takes data, optional flags, and an address")
        address = await resolve_address(self.socket, args[-1])
        sent: int = await self._write(self.socket.sendto, data, *args[:-1], address)
        return sent

    async def sendmsg(
        self,
        buffers: Iterable[Data],
        ancillary: Iterable[tuple[int, int, Data]] = (),
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
        if address is not None:
            address = await resolve_address(self.socket, address)
        sent: int = await self._write(
            self.socket.sendmsg, list(buffers), list(ancillary), flags, address
        )
        return sent

    async def connect(self, address: Any) -> None:
        """Connect to an address.

        Args:
            address: As for `socket.socket.connect`. A host name is resolved first, to one address;
                `giambio.connect_tcp` tries all that the name stands for.

        Raises:
            ResourceClosed: The socket is closed, or was meanwhile.
            OSError: The connection could not be made.

        Checkpoint: always. If it is cancelled, the socket is closed, because a connection that is
        half made is of no use.
        """
        if self._handle is None or self._handle.closed:
            self._open()
        address = await resolve_address(self.socket, address)
        await checkpoint()
        try:
            await self._connect_resolved(address)
        except CancelledError:
            self.close()
            raise

    async def _connect_resolved(self, address: Any) -> None:
        pause = 0.001
        while True:
            code = self.socket.connect_ex(address)
            if code != errno.EAGAIN or self.socket.family in _INET:
                break
            # The listener of a UNIX socket has no room. There is nothing to wait for.
            await sleep(pause)
            pause = min(0.05, pause * 2)
        if code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
            assert self._handle is not None
            await wait_writable(self._handle)
            code = self.socket.getsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_ERROR)
        if code:
            self._explain_error()
            raise OSError(code, f"cannot connect to {address!r}: {os.strerror(code)}")

    # What they have in common

    def _open(self, max_bytes: int = 1) -> IOHandle:
        """Return a handle for the loop that runs here, or say why there can be none."""
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes!r}")
        if self.socket.fileno() == -1:
            raise ResourceClosed("the socket is closed")
        if self._handle is None or self._handle.closed:
            # Closed while the socket is not: that was another loop, which has ended.
            self._handle = open_handle(self.socket.fileno())
        return self._handle

    async def _read(self, operation: Callable[..., T], *args: Any) -> T:
        handle = self._open()
        if handle.reader is not None:
            self._refuse_reader(handle)
        if checkpoint_due():
            await checkpoint()
        while True:
            if handle.may_read:
                try:
                    return operation(*args)
                except _WOULD_BLOCK:
                    handle.may_read = False
                except OSError:
                    self._explain_error()
                    raise
            await wait_readable(handle)

    async def _write(self, operation: Callable[..., T], *args: Any) -> T:
        handle = self._open()
        if handle.writer is not None:
            self._refuse_writer(handle)
        if checkpoint_due():
            await checkpoint()
        while True:
            try:
                return operation(*args)
            except _WOULD_BLOCK:
                await wait_writable(handle)
            except OSError:
                self._explain_error()
                raise

    def _explain_error(self) -> None:
        """Raise what an error of the system means if the socket is closed."""
        if self.socket.fileno() == -1:
            raise ResourceClosed("the socket was closed") from None

    def _refuse_reader(self, handle: IOHandle) -> NoReturn:
        assert handle.reader is not None
        raise ResourceBusy(f"task {handle.reader.name!r} already waits to read from {self!r}")

    def _refuse_writer(self, handle: IOHandle) -> NoReturn:
        assert handle.writer is not None
        raise ResourceBusy(f"task {handle.writer.name!r} already waits to write to {self!r}")


class Awaitable:
    """What an operation returns that is done already, but may be awaited like the others."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        if checkpoint_due():
            yield from checkpoint().__await__()


_DONE = Awaitable()


def wrap_socket(sock: _stdlib.socket) -> AsyncSocket:
    """Make a standard socket an asynchronous one.

    Args:
        sock: A socket of any kind, listening or connected or neither. It becomes non-blocking, and
            is closed with the asynchronous one.

    Raises:
        TypeError: *sock* is no socket.
        ResourceClosed: It is closed.
    """
    return AsyncSocket(sock)


def socket(  # type: ignore[no-redef]
    family: int = _stdlib.AF_INET,
    type: int = _stdlib.SOCK_STREAM,
    proto: int = 0,
    fileno: int | None = None,
) -> AsyncSocket:
    """Create a socket; see `socket.socket`.

    Raises:
        OSError: The system cannot make such a socket.
    """
    return AsyncSocket(_stdlib.socket(family, type, proto, fileno))


def socketpair(  # type: ignore[no-redef]
    family: int | None = None, type: int = _stdlib.SOCK_STREAM, proto: int = 0
) -> tuple[AsyncSocket, AsyncSocket]:
    """Create two sockets that are connected to each other; see `socket.socketpair`."""
    left, right = _stdlib.socketpair(family, type, proto)
    return AsyncSocket(left), AsyncSocket(right)


def fromfd(  # type: ignore[no-redef]
    fd: int, family: int, type: int, proto: int = 0
) -> AsyncSocket:
    """Create a socket from a duplicate of a descriptor; see `socket.fromfd`."""
    return AsyncSocket(_stdlib.fromfd(fd, family, type, proto))
