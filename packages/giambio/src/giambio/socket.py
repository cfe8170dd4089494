# SPDX-License-Identifier: Apache-2.0
"""Sockets, in the shape of the standard module: the same names, but the operations wait.

`AsyncSocket` wraps a standard socket of any kind. Its waiting methods have giambio's names
(`receive`, `send_all`), which say what the standard ones leave open; the others have the standard ones.
"""

from __future__ import annotations

import array
import os
import socket as _stdlib
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from ._simulation import simulated_network
from ._sockets.async_socket import AsyncSocket as AsyncSocket
from ._sockets.names import Resolver as Resolver
from ._sockets.names import SystemResolver as SystemResolver
from ._sockets.names import getaddrinfo as getaddrinfo
from ._sockets.names import getnameinfo as getnameinfo
from ._sockets.names import set_resolver as set_resolver

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ._sockets.base import Data
    from ._sockets.constants import *  # noqa: F403
else:
    # The constants: `giambio.socket.AF_INET` and the like. And what does not wait.
    globals().update({name: value for name, value in vars(_stdlib).items() if name.isupper()})
    for _name in (
        "CMSG_LEN", "CMSG_SPACE", "error", "gaierror", "gethostname", "getservbyname",
        "getservbyport", "getprotobyname", "has_dualstack_ipv6", "has_ipv6", "herror", "htonl",
        "htons", "if_indextoname", "if_nameindex", "if_nametoindex", "inet_aton", "inet_ntoa",
        "inet_ntop", "inet_pton", "ntohl", "ntohs", "timeout",
    ):  # fmt: skip
        if hasattr(_stdlib, _name):
            globals()[_name] = getattr(_stdlib, _name)
    del _name

    def __getattr__(name: str) -> NoReturn:
        from ._sockets.elsewhere import FUNCTIONS, missing

        raise missing(sys.modules[__name__], name, f"module {__name__!r}", FUNCTIONS)


def wrap_socket(sock: _stdlib.socket) -> AsyncSocket:
    """Make a standard socket an asynchronous one.

    Args:
        sock: A socket of any kind, listening or connected or neither, also one of the `ssl` module,
            which becomes a `giambio.TLSSocket`. It becomes non-blocking, and is closed with the
            asynchronous one.

    Raises:
        TypeError: *sock* is no socket.
        ResourceClosed: It is closed.
    """
    # Nobody has a TLS socket without having imported the module, which is slow.
    ssl = sys.modules.get("ssl")
    if ssl is not None and isinstance(sock, ssl.SSLSocket):
        from ._sockets.tls_socket import TLSSocket

        return TLSSocket(sock)
    return AsyncSocket(sock)


def socket(
    family: int = _stdlib.AF_INET,
    type: int = _stdlib.SOCK_STREAM,
    proto: int = 0,
    fileno: int | None = None,
) -> AsyncSocket:
    """Create a socket; see `socket.socket`. With *fileno*, of an open descriptor.

    Raises:
        OSError: The system cannot make such a socket.
    """
    network = simulated_network()
    if network is not None:
        return AsyncSocket(network.socket(family, type, proto, fileno))
    if fileno is not None and (family, type, proto) == (_stdlib.AF_INET, _stdlib.SOCK_STREAM, 0):
        # Nothing was said about its kind, so let the system tell, as the standard class does.
        return AsyncSocket(_stdlib.socket(fileno=fileno))
    return AsyncSocket(_stdlib.socket(family, type, proto, fileno))


def socketpair(
    family: int | None = None, type: int = _stdlib.SOCK_STREAM, proto: int = 0
) -> tuple[AsyncSocket, AsyncSocket]:
    """Create two sockets that are connected to each other; see `socket.socketpair`."""
    network = simulated_network()
    make = _stdlib.socketpair if network is None else network.socketpair
    left, right = make(family, type, proto)
    return AsyncSocket(left), AsyncSocket(right)


def fromfd(fd: int, family: int, type: int, proto: int = 0) -> AsyncSocket:
    """Create a socket from a duplicate of a descriptor; see `socket.fromfd`."""
    return AsyncSocket(_stdlib.fromfd(fd, family, type, proto))


async def send_fds(
    sock: AsyncSocket,
    buffers: Iterable[Data],
    fds: Sequence[int],
    flags: int = 0,
    address: Any = None,
) -> int:
    """Send descriptors over a UNIX socket; see `socket.send_fds`.

    Args:
        sock: The socket.
        buffers: Bytes that go with them, at least one. The descriptors go with the first one.
        fds: The descriptors. The other side gets duplicates; these remain open here.
        flags: As for `socket.socket.sendmsg`.
        address: As for `socket.socket.sendmsg`.

    Returns:
        How many bytes of the buffers were sent.

    Raises:
        ValueError: There are no bytes.
        ResourceBusy, ResourceClosed, OSError: As for `AsyncSocket.send_some`.

    Checkpoint: always. If it raises `CancelledError`, nothing was sent.
    """
    buffers = list(buffers)
    if not any(buffers):
        raise ValueError("descriptors travel with at least 1 byte")
    rights = (_stdlib.SOL_SOCKET, _stdlib.SCM_RIGHTS, array.array("i", fds))
    return await sock.sendmsg(buffers, [rights], flags, address)


async def recv_fds(
    sock: AsyncSocket, max_bytes: int, max_fds: int, flags: int = 0
) -> tuple[bytes, list[int], int, Any]:
    """Wait for a message with descriptors on a UNIX socket; see `socket.recv_fds`.

    Args:
        sock: The socket.
        max_bytes: At most how much of the message, in bytes.
        max_fds: At most how many descriptors; the system closes the others.
        flags: As for `socket.socket.recvmsg`.

    Returns:
        The bytes, the descriptors, flags and the address of the sender. ``MSG_CTRUNC`` in the
        flags says that there were more descriptors. They are not inherited by child processes.

    Raises:
        ResourceBusy, ResourceClosed, OSError: As for `AsyncSocket.receive`.

    Checkpoint: always. If it raises `CancelledError`, nothing was taken from the socket.
    """
    room = _stdlib.CMSG_LEN(max_fds * array.array("i").itemsize)
    close_on_exec: int = getattr(_stdlib, "MSG_CMSG_CLOEXEC", 0)
    data, ancillary, told, address = await sock.recvmsg(max_bytes, room, flags | close_on_exec)
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == _stdlib.SOL_SOCKET and kind == _stdlib.SCM_RIGHTS:
            # Of the last one a part may have been cut off.
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    if not close_on_exec:
        for fd in fds:
            os.set_inheritable(fd, False)
    return data, list(fds), told, address


# Where it is public, for tracebacks and pickles.
AsyncSocket.__module__ = __name__
