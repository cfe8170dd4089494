# SPDX-License-Identifier: Apache-2.0
"""UNIX sockets: connecting to one and serving on one, and the files that they leave behind."""

from __future__ import annotations

import errno
import os
import socket as _stdlib
import stat
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from giambio import socket
from giambio._sockets.async_socket import AsyncSocket
from giambio_kernel import checkpoint

from .server import serve_listeners

if TYPE_CHECKING:
    import ssl

    from giambio._pool import TaskStatus
    from giambio._sockets.base import Done

    from .handlers import Handler, OnError
    from .server import Server

UnixPath: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"
"""Where a UNIX socket is: a path; or on Linux, beginning with a null, a name without a file."""


async def connect_unix(path: UnixPath) -> AsyncSocket:
    """Connect to a UNIX stream socket.

    Args:
        path: Where it is. On Linux a name that begins with a null is one without a file.

    Raises:
        OSError: Nobody listens there (`ConnectionRefusedError`), there is no such file
            (`FileNotFoundError`), or it may not be used.

    Checkpoint: always. If it raises, also `CancelledError`, no connection is left open.
    """
    sock = socket.socket(_family(), _stdlib.SOCK_STREAM)
    try:
        await sock.connect(os.fspath(path))
    except BaseException:
        sock.close()
        raise
    return sock


async def open_unix_listener(
    path: UnixPath, *, mode: int | None = None, backlog: int = 65535
) -> AsyncSocket:
    """Open a listening UNIX stream socket.

    A socket file at that place on which nobody listens any more, left behind by a process that was
    killed, is replaced. When the socket is closed its file is removed, unless something else is in its
    place by then or this process may not do that any more.

    Args:
        path: Where. On Linux a name that begins with a null is one without a file.
        mode: The permissions of the file: who may write to it may connect. ``None`` leaves them to
            the system, which applies its umask.
        backlog: How many connections the system keeps until they are accepted.

    Raises:
        FileExistsError: There is a file that is no socket.
        OSError: Somebody listens there already (``EADDRINUSE``), or the file cannot be made.

    Checkpoint: always. If it raises, also `CancelledError`, nothing is left behind.
    """
    path = os.fspath(path)
    family = _family()
    await checkpoint()
    # From here on nothing waits, so two tasks cannot replace each other's socket.
    has_file = path[:1] not in ("", "\0", b"", b"\0")
    if has_file:
        _remove_stale(path, family)
    sock = UnixListener(socket.socket(family, _stdlib.SOCK_STREAM).socket)
    try:
        sock.bind(path)
        if has_file:
            sock._file = _File.at(path)
        if mode is not None:
            os.chmod(path, mode)  # nobody can connect before it listens
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


class _File(NamedTuple):
    """A socket file: where it is, and what tells it from others that are there later."""

    path: str | bytes
    device: int
    inode: int

    @classmethod
    def at(cls, path: str | bytes) -> _File | None:
        """Return the file at a path, or None."""
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return None
        return cls(os.path.abspath(path), found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Remove the file if it is still the same one.

        Raises:
            OSError: It may not be removed.
        """
        if self.at(self.path) == self:
            os.unlink(self.path)


class UnixListener(AsyncSocket):
    """A listening UNIX socket that removes its file when it is closed. See `open_unix_listener`."""

    __slots__ = ("_file",)

    # None if there is nothing to remove.
    _file: _File | None

    def __init__(self, sock: _stdlib.socket) -> None:
        super().__init__(sock)
        self._file = None

    def close(self) -> Done:
        """Remove the file and close the socket, at once. Closing twice is fine."""
        file, self._file = self._file, None
        if file is not None and not self.closed:
            try:
                file.remove()  # before it is closed, so that nobody comes to a closed door
            except OSError:
                pass  # a process that has given up its rights must be able to close it
        return super().close()


def _remove_stale(path: str | bytes, family: int) -> None:
    """Remove the socket file of a process that is gone, if there is one."""
    file = _File.at(path)
    if file is None:
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise FileExistsError(errno.EEXIST, "there is a file that is no socket", path)
    probe = socket.socket(family, _stdlib.SOCK_STREAM)
    try:
        # It does not wait: either somebody listens or not.
        code = probe.socket.connect_ex(path)
    finally:
        probe.close()
    if code != errno.ECONNREFUSED:
        raise OSError(errno.EADDRINUSE, "there is a socket that is in use", path)
    file.remove()


def _family() -> int:
    if not hasattr(_stdlib, "AF_UNIX"):
        raise OSError(errno.EAFNOSUPPORT, "this system has no UNIX sockets")
    return _stdlib.AF_UNIX


async def serve_unix(
    handler: Handler,
    path: UnixPath,
    *,
    mode: int | None = None,
    backlog: int = 65535,
    tls: ssl.SSLContext | None = None,
    tls_handshake_timeout: float = 30.0,
    max_clients: int | None = None,
    on_error: OnError | None = None,
    task_status: TaskStatus[Server] | None = None,
) -> None:
    """Serve each connection to a UNIX socket in a task of its own, until cancelled or drained.

    Args:
        handler: An async function that is called with the stream of each connection, which is closed
            when it ends.
        path: As for `open_unix_listener`, and so are *mode* and *backlog*: where it is.
        mode: The permissions of the file.
        backlog: How many connections the system keeps until they are accepted.
        tls: As for `serve_listeners`, and so is all that follows: certificates, to serve over TLS.
        tls_handshake_timeout: How long a handshake may take, in seconds of the loop's clock.
        max_clients: How many connections are served at a time.
        on_error: Called with an `Exception` that left the handler, and the socket of the connection.
        task_status: Given by `Pool.start`, which then returns the `Server`.

    Raises:
        TypeError, ValueError: As for `serve_listeners`.
        OSError: As for `open_unix_listener`.

    Checkpoint: always. Returns without having been cancelled only after `Server.drain` and the like.
    """
    listener = await open_unix_listener(path, mode=mode, backlog=backlog)
    await serve_listeners(
        handler,
        [listener],
        tls=tls,
        tls_handshake_timeout=tls_handshake_timeout,
        max_clients=max_clients,
        on_error=on_error,
        task_status=task_status,
    )
