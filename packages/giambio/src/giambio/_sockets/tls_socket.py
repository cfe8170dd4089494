# SPDX-License-Identifier: Apache-2.0
"""Sockets that the standard library has wrapped in TLS.

OpenSSL reads and writes such a socket by itself, so a read may have to wait until it can write and a
write until it can read, and there may be decrypted bytes although nothing is there to be read. So
each operation is tried first and waits for what OpenSSL says it needs. That one of them needs the
direction in which another task waits is rare; it is parked then until that wait has ended.
"""

from __future__ import annotations

import socket as _stdlib
import ssl
from typing import TYPE_CHECKING, Any, TypeVar

from giambio._sync.lock import Lock
from giambio.exceptions import CancelledError
from giambio_kernel import (
    WaitQueue,
    checkpoint,
    checkpoint_due,
    current_task,
    park,
    unpark_all,
    wait_readable,
    wait_writable,
)

from .async_socket import AsyncSocket
from .base import DONE
from .tls_facts import TLSFacts

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable
    from types import TracebackType
    from typing import BinaryIO

    from giambio_kernel import IOHandle

    from .base import Data, Done

T = TypeVar("T")

# What one record holds, in bytes. More would be tried again as a whole until all of it has gone out,
# and nobody could say how much has.
_RECORD = 16384


class TLSSocket(TLSFacts, AsyncSocket):
    """A socket of the `ssl` module, made by `giambio.wrap_socket`. Used like any `AsyncSocket`.

    The handshake is made by `connect` and `accept`, or at the latest by the first operation that
    needs it; with ``do_handshake_on_connect=False`` only then. If a handshake or a sending operation
    is cancelled after it has begun, the connection is broken, and the socket is closed.

    `AsyncSocket.close` closes it at once; `aclose` and ``async with`` tell the other side that this is
    the end, if that can be sent without waiting. Datagram and message operations raise `ValueError`,
    as they do on the standard socket. For what it cannot do, TLS over other streams and half-closing,
    see `giambio.TLSStream`.
    """

    __slots__ = ("_handshake_lock", "_is_shaken", "_stalled")

    socket: ssl.SSLSocket

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock)
        # Whether the handshake was made. A socket that is not connected has nothing to shake.
        self._is_shaken = sock.version() is not None
        self._handshake_lock = Lock()
        # Tasks that need a direction in which another task waits; each with nothing to offer.
        self._stalled: WaitQueue = {}

    @property
    def _session(self) -> ssl.SSLSocket:
        return self.socket

    def pending(self) -> int:
        """Return how many decrypted bytes are there, to be read without waiting."""
        return self.socket.pending()

    def is_readable(self) -> bool:
        """Whether something was decrypted, or has come and may give something when it is."""
        self._check_open()
        return bool(self.pending()) or super().is_readable()

    # The handshake

    async def do_handshake(self) -> None:
        """Make the handshake, unless it was made.

        Raises:
            ssl.SSLError: The two sides could not agree, or a certificate is not to be trusted.
            ResourceClosed: The socket is closed, or was meanwhile.
            OSError: The connection broke, or there is none.

        Checkpoint: always. If it raises once it has begun, the socket is closed.
        """
        self._check_open()
        self.socket.getpeername()  # raises if it is not connected
        async with self._handshake_lock:
            if self._is_shaken:
                return
            handle = self._open()
            try:
                await self._try_until_done(handle, self.socket.do_handshake)
            except BaseException as error:
                # Explained first: afterwards it would look as if that had been the reason.
                told = self._explained(error) if isinstance(error, OSError) else error
                self.close()
                if told is error:
                    raise
                raise told
            self._is_shaken = True

    async def connect(self, address: Any) -> None:
        """Connect to an address and make the handshake; see `AsyncSocket.connect`.

        The standard socket is replaced by another one for the same descriptor.

        Raises:
            ValueError: It was made for the server's side.
            ssl.SSLError: As for `do_handshake`.
            ResourceBusy, ResourceClosed, OSError: As for `AsyncSocket.connect`.

        Checkpoint: always. If it is cancelled, the socket is closed.
        """
        if self.socket.server_side:
            raise ValueError("a socket for the server's side of TLS cannot connect")
        await super().connect(address)
        # The standard class makes its session when it connects itself, and that way blocks.
        old = self.socket
        # No public name tells the session that an unconnected socket was given to resume.
        session = getattr(old, "_session", None)
        plain = _stdlib.socket(old.family, old.type, old.proto, fileno=old.detach())
        new = _wrap(plain, old, old.server_hostname, session)
        self.socket = new
        self._recv = new.recv
        self._send = new.send
        if old.do_handshake_on_connect:  # type: ignore[attr-defined]  # typeshed omits it
            await self.do_handshake()

    def _connect_ex(self, address: Any) -> int:
        return _stdlib.socket.connect_ex(self.socket, address)

    def _accept_now(self) -> tuple[_stdlib.socket, Any]:
        # The accept of a TLS socket makes the handshake, blocking.
        return _stdlib.socket.accept(self.socket)

    async def accept(self) -> tuple[AsyncSocket, Any]:
        """Wait for a connection, make the handshake, and return its socket and address.

        A connection that breaks before, or whose handshake fails, is passed over. A client that is
        slow with its handshake keeps the caller waiting; wrap the listening socket with
        ``do_handshake_on_connect=False`` to leave that to whoever uses the connection, or see
        `giambio.serve_tcp`.

        Raises:
            ResourceBusy, ResourceClosed, OSError: As for `AsyncSocket.accept`.

        Checkpoint: always. If it raises `CancelledError`, no connection was accepted, except that
        one whose handshake was going on is closed.
        """
        while True:
            plain, address = await self._accept_standard()
            try:
                plain.getpeername()  # wrapping one that is gone would leave it open
                connection = TLSSocket(_wrap(plain, self.socket))
            except OSError:
                plain.close()
                continue
            try:
                if self.socket.do_handshake_on_connect:  # type: ignore[attr-defined]
                    await connection.do_handshake()
            except OSError:
                connection.close()
            else:
                return connection, address

    async def _shake_if_due(self) -> None:
        if not self._is_shaken and self._is_connected():
            await self.do_handshake()

    # Reading and writing

    async def receive(self, max_bytes: int = 65536) -> bytes:  # type: ignore[override]
        """Wait until something has come, and return it; see `AsyncSocket.receive`.

        Args:
            max_bytes: At most how much, in bytes; at least 1.

        Returns:
            From 1 to *max_bytes* bytes; ``b""`` if the other side has ended its stream. Whether one
            that was cut off counts as ended was decided by ``suppress_ragged_eofs`` when the
            standard socket was made: by default it does, and on some versions of Python a reset
            does, too.

        Raises:
            ValueError, ResourceBusy, ResourceClosed, OSError: As for `AsyncSocket.receive`.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken from the socket.
        """
        self._start_reading(max_bytes)
        return await self._read(self.socket.recv, max_bytes)

    async def send_some(self, data: Data) -> int:
        """Wait until there is room, and send as much as fits; see `AsyncSocket.send_some`.

        Args:
            data: What to send. Not more than a TLS record of it, 16 KiB, is sent at a time.

        Returns:
            How many bytes were taken, at least 1 unless *data* is empty.

        Raises:
            ResourceBusy, ResourceClosed, OSError: As for `AsyncSocket.send_some`.

        Checkpoint: always. If it raises `CancelledError`, nothing was sent; or a part was and the
        socket is closed.
        """
        view = memoryview(data).cast("B")[:_RECORD]
        if view:
            return await self._write(self.socket.send, view)
        await checkpoint()
        return 0

    async def send_all(self, data: Data) -> None:  # type: ignore[override]
        """Send all of it, waiting as long as that takes; see `AsyncSocket.send_all`.

        Args:
            data: What to send.

        Raises:
            ResourceBusy, ResourceClosed, OSError: As for `AsyncSocket.send_all`.

        Checkpoint: always. If it raises, a part may have been sent: the exception has an attribute
        ``bytes_sent``. Cancelled in the middle of a TLS record, it closes the socket.
        """
        view = memoryview(data).cast("B")
        sent = 0
        self._start_writing()
        self._sender = current_task()
        try:
            if not view:
                await checkpoint()
            while sent < len(view):
                sent += await self._write(self.socket.send, view[sent : sent + _RECORD])
        except BaseException as error:
            error.bytes_sent = sent  # type: ignore[attr-defined]
            raise
        finally:
            self._sender = None

    async def send_eof(self) -> None:
        """Refuse: the standard TLS socket cannot end one direction and go on with the other.

        Raises:
            ValueError: Always. `giambio.TLSStream` can do it, with TLS 1.3.

        Checkpoint: never.
        """
        raise ValueError("this TLS socket cannot end one direction only; giambio.TLSStream can")

    async def sendfile(self, file: BinaryIO, offset: int = 0, count: int | None = None) -> int:
        """Send a file, which is read in a thread; see `AsyncSocket.sendfile`.

        Args:
            file: A file opened for reading bytes.
            offset: Where to begin in the file, in bytes.
            count: How much to send, in bytes; ``None`` sends all the rest.

        Returns:
            How many bytes were sent.

        Raises:
            ValueError, ResourceBusy, ResourceClosed, OSError: As for `AsyncSocket.sendfile`.

        Checkpoint: always. If it raises, a part may have been sent: the exception has an attribute
        ``bytes_sent``.
        """
        from .sendfile import send_file

        return await send_file(self, file, offset, count, by_system=False)

    # The end

    def shutdown(self, how: int = _stdlib.SHUT_RDWR) -> Done:
        """Shut down both directions, at once and without telling the other side by TLS.

        Args:
            how: ``SHUT_RDWR``. One direction alone would leave the other one in plain text.

        Raises:
            ValueError: *how* is something else.
            ResourceClosed: The socket is closed.
            OSError: As the standard method.
        """
        if how != _stdlib.SHUT_RDWR:
            raise ValueError("a TLS socket can only be shut down in both directions")
        self._check_open()
        # The standard method would also forget about TLS, and go on in plain text.
        _stdlib.socket.shutdown(self.socket, how)
        return DONE

    async def unwrap(self) -> AsyncSocket:
        """End TLS in both directions and go on without it.

        Returns:
            A plain socket for the same connection; this one is closed.

        Raises:
            ResourceBusy: Another task uses this socket.
            ssl.SSLError: The other side went on sending, for example.
            ResourceClosed, OSError: As for `AsyncSocket.receive`.

        Checkpoint: always. If it raises once it has begun, the socket is closed.
        """
        self._start_reading()
        self._start_writing()
        self._receiver = self._sender = current_task()
        sock = self.socket
        try:
            await self._write(sock.unwrap)
        except OSError:
            self.close()
            raise
        finally:
            self._receiver = self._sender = None
        return AsyncSocket(_stdlib.socket(sock.family, sock.type, sock.proto, self.detach()))

    async def aclose(self) -> None:
        """Tell the other side that it is the end, if that can be sent at once, and close.

        Checkpoint: always. The socket is closed also if it raises `CancelledError`.
        """
        self._say_goodbye()
        await super().aclose()

    async def __aexit__(
        self,
        exc_type: builtins.type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._say_goodbye()
        self.close()

    def _say_goodbye(self) -> None:
        if self._is_shaken and self._sender is None and not self.closed:
            try:
                self.socket.unwrap()  # sends it, then wants to read the answer
            except (OSError, ValueError):
                pass

    # What they have in common

    async def _read(self, operation: Callable[..., T], *args: Any) -> T:  # type: ignore[override]
        handle = self._start_reading()
        self._receiver = current_task()
        try:
            if checkpoint_due():
                await checkpoint()
            await self._shake_if_due()
            return await self._try_until_done(handle, operation, *args)
        except OSError as error:
            raise self._explained(error)
        finally:
            self._receiver = None

    async def _write(self, operation: Callable[..., T], *args: Any) -> T:  # type: ignore[override]
        outer = self._sender
        handle = self._start_writing()
        self._sender = current_task()
        try:
            if checkpoint_due():
                await checkpoint()
            await self._shake_if_due()
            try:
                return await self._try_until_done(handle, operation, *args)
            except CancelledError:
                # OpenSSL has begun with a record, and would send the rest of it in place of whatever
                # comes next.
                self.close()
                raise
        except OSError as error:
            raise self._explained(error)
        finally:
            self._sender = outer

    async def _try_until_done(self, handle: IOHandle, operation: Callable[..., T], *args: Any) -> T:
        while True:
            try:
                return operation(*args)
            except ssl.SSLWantReadError:
                wait, other = wait_readable, handle.reader
            except ssl.SSLWantWriteError:
                wait, other = wait_writable, handle.writer
            if other is not None:
                await park(self._stalled, self)
                continue
            try:
                await wait(handle)
            finally:
                unpark_all(self._stalled)


def _wrap(
    plain: _stdlib.socket,
    like: ssl.SSLSocket,
    server_hostname: str | None = None,
    session: ssl.SSLSession | None = None,
) -> ssl.SSLSocket:
    """Wrap a connected socket as another one was."""
    plain.setblocking(False)
    return like.context.wrap_socket(
        plain,
        server_side=like.server_side,
        do_handshake_on_connect=False,
        suppress_ragged_eofs=like.suppress_ragged_eofs,  # type: ignore[attr-defined]
        server_hostname=server_hostname,
        session=session,
    )
