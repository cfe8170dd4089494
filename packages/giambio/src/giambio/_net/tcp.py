# SPDX-License-Identifier: Apache-2.0
"""TCP: connecting to a host by its name, and serving on a port."""

from __future__ import annotations

import errno
import os
import socket as _stdlib
from typing import TYPE_CHECKING, Any, Literal, overload

from giambio import socket
from giambio._numbers import check_seconds
from giambio._sockets.names import resolve_local
from giambio_kernel import current_scheduler

from .happy_eyeballs import connect_first, interleave_families
from .server import serve_listeners

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from giambio._pool import TaskStatus
    from giambio._simulation import AddressInfo
    from giambio._sockets.async_socket import AsyncSocket
    from giambio._tls.stream import TLSStream

    from .handlers import Handler, OnError
    from .server import Server

# More than systems allow, which cut it down to what they do.
_LARGEST_BACKLOG = 65535

# How often to look for a port that is free in all families.
_PORT_ATTEMPTS = 20

# Where the context for clients is kept for the time of a run.
_CONTEXT = object()

# What a system says that has no such family, or none of the addresses that a name stands for.
_NOT_HERE = frozenset((errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL))


@overload
async def connect_tcp(
    host: str | bytes,
    port: int | str,
    *,
    local_address: str | tuple[str, int] | None = None,
    happy_eyeballs_delay: float = 0.25,
    tls: Literal[False] | None = None,
    server_hostname: str | None = None,
) -> AsyncSocket: ...


@overload
async def connect_tcp(
    host: str | bytes,
    port: int | str,
    *,
    local_address: str | tuple[str, int] | None = None,
    happy_eyeballs_delay: float = 0.25,
    tls: ssl.SSLContext | Literal[True],
    server_hostname: str | None = None,
) -> TLSStream: ...


@overload
async def connect_tcp(
    host: str | bytes,
    port: int | str,
    *,
    local_address: str | tuple[str, int] | None = None,
    happy_eyeballs_delay: float = 0.25,
    tls: ssl.SSLContext | bool | None,
    server_hostname: str | None = None,
) -> AsyncSocket | TLSStream: ...


async def connect_tcp(
    host: str | bytes,
    port: int | str,
    *,
    local_address: str | tuple[str, int] | None = None,
    happy_eyeballs_delay: float = 0.25,
    tls: ssl.SSLContext | bool | None = None,
    server_hostname: str | None = None,
) -> AsyncSocket | TLSStream:
    """Connect to a host over TCP, and over TLS if asked for.

    All addresses of the host are tried, IPv6 and IPv4 by turns, and the first one that answers is
    taken. There is no timeout but that of the system, which is minutes; put `with_timeout` around it.

    Args:
        host: A name or a numeric address; one of IPv6 may have a scope, as in ``fe80::1%eth0``.
        port: A number, or the name of a service.
        local_address: Where to connect from: a numeric address, or a pair of one and a port. Only
            addresses of its family are tried.
        happy_eyeballs_delay: How long to wait for one address before the next one is tried as well,
            in seconds of the loop's clock; infinity tries one at a time. One that fails is followed
            by the next at once.
        tls: True, or a context, to make a TLS connection; with True, as
            `ssl.create_default_context` has it, which is made once in a run: some 15 ms, for which
            the loop stands still.
        server_hostname: The name that the certificate must be for, if it is not *host*.

    Returns:
        The connection; a `TLSStream` after its handshake with *tls*, otherwise an `AsyncSocket`. Small
        pieces are sent at once (``TCP_NODELAY`` is set).

    Raises:
        OSError: No address could be connected to: the error of the first one that was tried, usually
            a `ConnectionRefusedError`. `siblings` returns those of the others.
        socket.gaierror: The host has no address, or *local_address* is none or of another family.
        ssl.SSLError: The TLS handshake failed.
        ValueError: *server_hostname* is given without *tls*, or *happy_eyeballs_delay* is negative
            or not a number.

    Checkpoint: always. If it raises, also `CancelledError`, no connection is left open.

    Source: RFC 8305, "Happy Eyeballs Version 2"; the delay is that of its section 8.
    """
    check_seconds("happy_eyeballs_delay", happy_eyeballs_delay)
    if server_hostname is not None and not tls:
        raise ValueError("server_hostname is the name in a certificate; it needs tls=True")
    local = await resolve_local(local_address, _stdlib.SOCK_STREAM)
    family = _stdlib.AF_UNSPEC if local is None else local[0]
    targets = await socket.getaddrinfo(host, port, family, _stdlib.SOCK_STREAM)

    async def connect(target: AddressInfo) -> AsyncSocket:
        return await _connect_one(target, local)

    sock = await connect_first(connect, interleave_families(targets), happy_eyeballs_delay)
    if not tls:
        return sock
    return await _start_tls(sock, tls, server_hostname or host)


async def _connect_one(target: AddressInfo, local: AddressInfo | None) -> AsyncSocket:
    family, kind, proto, _, address = target
    sock = socket.socket(family, kind, proto)
    try:
        if local is not None:
            sock.bind(local[4])
        sock.setsockopt(_stdlib.IPPROTO_TCP, _stdlib.TCP_NODELAY, 1)
        await sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _start_tls(sock: AsyncSocket, tls: ssl.SSLContext | bool, host: str | bytes) -> TLSStream:
    from giambio._tls.stream import TLSStream

    name = host.decode("ascii") if isinstance(host, bytes) else host
    context = _default_context() if isinstance(tls, bool) else tls
    # Neither a scope nor the dot at the end of a full name is part of what a certificate says.
    name = name.partition("%")[0].rstrip(".")
    return await TLSStream.wrap(sock, context, server_hostname=name)


def _default_context() -> ssl.SSLContext:
    """Return the context of this run for clients. Making one reads all certificates of the system."""
    kept = current_scheduler().locals
    context: ssl.SSLContext | None = kept.get(_CONTEXT)
    if context is None:
        import ssl

        context = kept[_CONTEXT] = ssl.create_default_context()
    return context


async def open_tcp_listeners(
    port: int | str,
    *,
    host: str | bytes | None = None,
    backlog: int | None = None,
    reuse_port: bool = False,
) -> list[AsyncSocket]:
    """Open listening sockets on all addresses of a host.

    Args:
        port: A number, or the name of a service. With zero the system chooses a number, the same
            one for all sockets.
        host: The name or numeric address to listen on; ``None`` means all addresses of this machine,
            of IPv4 and IPv6, with a socket for each.
        backlog: How many connections the system keeps until they are accepted; ``None`` means as
            many as it can.
        reuse_port: Whether several processes may listen on the same port, and the system
            distributes the connections. All of them must say so.

    Returns:
        The sockets, at least one. A family that this machine does not have is left out.

    Raises:
        OSError: The port is in use, or reserved, or none of the addresses is one of this machine.
        ValueError: *reuse_port* is not possible on this system.
        socket.gaierror: The host has no address.

    Checkpoint: always. If it raises, no socket is left open.
    """
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("this system cannot share a port between processes")
    targets = await socket.getaddrinfo(
        host, port, type=_stdlib.SOCK_STREAM, flags=_stdlib.AI_PASSIVE
    )
    backlog = _LARGEST_BACKLOG if backlog is None else backlog
    attempt = 1
    while True:
        try:
            return _listen_on_all(targets, backlog, reuse_port)
        except OSError as error:
            # The number that the first socket was given may be taken in another family.
            if port != 0 or error.errno != errno.EADDRINUSE or attempt == _PORT_ATTEMPTS:
                raise
        attempt += 1


def _listen_on_all(
    targets: Sequence[AddressInfo], backlog: int, reuse_port: bool
) -> list[AsyncSocket]:
    opened: list[AsyncSocket] = []
    missing: OSError | None = None
    try:
        # The same address may be there twice, in /etc/hosts for example.
        for family, proto, address in dict.fromkeys(
            (each[0], each[2], each[4]) for each in targets
        ):
            if opened:
                address = (address[0], opened[0].getsockname()[1], *address[2:])
            try:
                opened.append(_listen(family, proto, address, backlog, reuse_port))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
        if missing is not None and not opened:
            raise missing
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    return opened


def _listen(family: int, proto: int, address: Any, backlog: int, reuse_port: bool) -> AsyncSocket:
    sock = socket.socket(family, _stdlib.SOCK_STREAM, proto)
    try:
        if os.name == "nt":
            # SO_REUSEADDR would let others take the port over.
            sock.setsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_EXCLUSIVEADDRUSE, 1)  # type: ignore[attr-defined]
        else:
            # Otherwise nobody can listen for a minute after a server has ended.
            sock.setsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(_stdlib.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == _stdlib.AF_INET6:
            # IPv4 has a socket of its own, and addresses that look like it.
            sock.setsockopt(_stdlib.IPPROTO_IPV6, _stdlib.IPV6_V6ONLY, 1)
        # Connections inherit it.
        sock.setsockopt(_stdlib.IPPROTO_TCP, _stdlib.TCP_NODELAY, 1)
        sock.bind(address)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        reason = os.strerror(error.errno or 0)
        raise type(error)(error.errno, f"cannot listen on {address[:2]}: {reason}") from None
    except BaseException:
        sock.close()
        raise
    return sock


async def serve_tcp(
    handler: Handler,
    port: int | str,
    *,
    host: str | bytes | None = None,
    backlog: int | None = None,
    reuse_port: bool = False,
    tls: ssl.SSLContext | None = None,
    tls_handshake_timeout: float = 30.0,
    max_clients: int | None = None,
    on_error: OnError | None = None,
    task_status: TaskStatus[Server] | None = None,
) -> None:
    """Serve each connection to a port in a task of its own, until cancelled or drained.

    Usually it is started in a pool, which gives the `Server`::

        async with giambio.create_pool() as pool:
            server = await pool.start(giambio.serve_tcp, handler, 8000)
            await server.shutdown_on(signal.SIGTERM, signal.SIGINT, grace=10)

    Args:
        handler: An async function that is called with the stream of each connection, which is closed
            when it ends.
        port: As for `open_tcp_listeners`, and so are *host*, *backlog* and *reuse_port*.
        host: What to listen on; ``None`` means all addresses of this machine.
        backlog: How many connections the system keeps until they are accepted.
        reuse_port: Whether several processes may listen on the same port.
        tls: As for `serve_listeners`, and so is all that follows: certificates, to serve over TLS.
        tls_handshake_timeout: How long a handshake may take, in seconds of the loop's clock.
        max_clients: How many connections are served at a time; more of them wait to be accepted.
        on_error: Called with an `Exception` that left the handler, and the socket of the connection.
            By default errors are logged, and the server goes on.
        task_status: Given by `Pool.start`, which then returns the `Server`.

    Raises:
        TypeError, ValueError: As for `serve_listeners`.
        OSError, socket.gaierror: As for `open_tcp_listeners`, or a listening socket failed.

    Checkpoint: always. Returns without having been cancelled only after `Server.drain` and the like.
    """
    listeners = await open_tcp_listeners(port, host=host, backlog=backlog, reuse_port=reuse_port)
    await serve_listeners(
        handler,
        listeners,
        tls=tls,
        tls_handshake_timeout=tls_handshake_timeout,
        max_clients=max_clients,
        on_error=on_error,
        task_status=task_status,
    )
