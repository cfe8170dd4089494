# SPDX-License-Identifier: Apache-2.0
"""Names of hosts and services, resolved in threads of their own."""

from __future__ import annotations

import socket as _stdlib
from typing import Any

from giambio_kernel import checkpoint, current_scheduler

from ._limiter import CapacityLimiter
from ._simulation import AddressInfo, simulated_network
from ._threads import run_in_thread

# A slow name server must not keep other work from the threads, nor the other way round.
_DEFAULT_LIMIT = 20
_LIMITER_KEY = object()

_NUMERIC = _stdlib.AI_NUMERICHOST | getattr(_stdlib, "AI_NUMERICSERV", 0)


def _limiter() -> CapacityLimiter:
    kept = current_scheduler().locals
    limiter: CapacityLimiter | None = kept.get(_LIMITER_KEY)
    if limiter is None:
        limiter = kept[_LIMITER_KEY] = CapacityLimiter(_DEFAULT_LIMIT)
    return limiter


async def getaddrinfo(
    host: str | bytes | None,
    port: str | int | None,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> list[AddressInfo]:
    """Return the addresses that a host and a service stand for; see `socket.getaddrinfo`.

    Numeric hosts and ports are answered at once, the others by a thread, which is abandoned if the
    wait is cancelled.

    Raises:
        socket.gaierror: The name could not be resolved.

    Checkpoint: always.
    """
    network = simulated_network()
    if network is not None:
        await checkpoint()
        return network.getaddrinfo(host, port, family, type, proto, flags)
    try:
        numeric: list[Any] = list(
            _stdlib.getaddrinfo(host, port, family, type, proto, flags | _NUMERIC)
        )
    except _stdlib.gaierror:
        pass
    else:
        await checkpoint()
        return numeric
    found: list[Any] = await run_in_thread(
        _stdlib.getaddrinfo,
        host,
        port,
        family,
        type,
        proto,
        flags,
        limiter=_limiter(),
        abandon_on_cancel=True,
    )
    return found


async def getnameinfo(sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
    """Return the host and the service that an address stands for; see `socket.getnameinfo`.

    Raises:
        socket.gaierror: The address could not be resolved.

    Checkpoint: always.
    """
    network = simulated_network()
    if network is not None:
        await checkpoint()
        return network.getnameinfo(sockaddr, flags)
    return await run_in_thread(
        _stdlib.getnameinfo, sockaddr, flags, limiter=_limiter(), abandon_on_cancel=True
    )


async def resolve_address(sock: _stdlib.socket, address: Any) -> Any:
    """Return *address* with its host as a number, so that using it never blocks.

    Args:
        sock: The socket that it is for, which decides the family.
        address: As for `socket.socket.connect`. Other families than IPv4 and IPv6 have no names.

    Raises:
        TypeError: The address of an IPv4 or IPv6 socket is no pair of host and port.
        socket.gaierror: The name could not be resolved.

    Checkpoint: only if there is a name to resolve.
    """
    if sock.family not in (_stdlib.AF_INET, _stdlib.AF_INET6):
        return address
    if not isinstance(address, tuple) or len(address) < 2:
        raise TypeError(
            f"the address of an {sock.family.name} socket is a tuple (host, port), not {address!r}"
        )
    host, port = address[:2]
    if isinstance(port, int):
        if host == "<broadcast>":
            return address
        try:
            _stdlib.inet_pton(sock.family, host)
        except (OSError, TypeError):
            pass  # a name
        else:
            return address
    flags = 0
    if sock.family == _stdlib.AF_INET6 and not sock.getsockopt(
        _stdlib.IPPROTO_IPV6, _stdlib.IPV6_V6ONLY
    ):
        flags = _stdlib.AI_V4MAPPED
    found = await getaddrinfo(host or None, port, sock.family, sock.type, sock.proto, flags)
    return (*found[0][4][:2], *address[2:]) if len(address) > 2 else found[0][4]
