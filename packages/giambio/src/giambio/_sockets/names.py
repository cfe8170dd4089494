# SPDX-License-Identifier: Apache-2.0
"""Names of hosts and services, resolved in threads of their own or by a resolver of the program's."""

from __future__ import annotations

import socket as _stdlib
from typing import Any, Protocol

from giambio._simulation import AddressInfo, simulated_network
from giambio._sync.limiter import CapacityLimiter
from giambio._threads.calls import run_in_thread
from giambio_kernel import checkpoint, checkpoint_due, current_scheduler

# A slow name server must not keep other work from the threads, nor the other way round.
_DEFAULT_LIMIT = 20
_LIMITER_KEY = object()
_RESOLVER_KEY = object()

_NUMERIC = _stdlib.AI_NUMERICHOST | getattr(_stdlib, "AI_NUMERICSERV", 0)
_NUMERIC_NAMES = _stdlib.NI_NUMERICHOST | _stdlib.NI_NUMERICSERV


class Resolver(Protocol):
    """What resolves names in place of the system; see `set_resolver`.

    Its methods are asked for what is not numeric already. They raise `socket.gaierror` for a name
    that does not exist.
    """

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | int | None,
        family: int,
        type: int,
        proto: int,
        flags: int,
        /,
    ) -> list[AddressInfo]:
        """Return the addresses that a host and a service stand for; as `socket.getaddrinfo`."""
        ...

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int, /) -> tuple[str, str]:
        """Return the host and the service that an address stands for; as `socket.getnameinfo`."""
        ...


class SystemResolver:
    """The resolver of the operating system, asked in threads.

    There are at most 20 of them, which other work for threads does not count towards. Only names are
    looked for this way: numeric addresses never touch a thread.
    """

    __slots__ = ("_limiter",)

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(_DEFAULT_LIMIT)

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """Ask `socket.getaddrinfo` in a thread, which is abandoned if the wait is cancelled.

        Raises:
            socket.gaierror: The name could not be resolved.

        Checkpoint: always.
        """
        network = simulated_network()
        if network is not None:
            await checkpoint()
            return network.getaddrinfo(host, port, family, type, proto, flags)
        encoded = _encoded(host)
        try:
            found: list[Any] = await run_in_thread(
                _stdlib.getaddrinfo,
                encoded,
                port,
                family,
                type,
                proto,
                flags,
                limiter=self._limiter,
                abandon_on_cancel=True,
            )
        except _stdlib.gaierror as error:
            raise _told(error, host, port) from None
        return found

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """Ask `socket.getnameinfo` in a thread, which is abandoned if the wait is cancelled.

        Raises:
            socket.gaierror: The address could not be resolved.

        Checkpoint: always.
        """
        network = simulated_network()
        if network is not None:
            await checkpoint()
            return network.getnameinfo(sockaddr, flags)
        return await run_in_thread(
            _stdlib.getnameinfo, sockaddr, flags, limiter=self._limiter, abandon_on_cancel=True
        )


def _told(error: _stdlib.gaierror, host: object, port: object) -> _stdlib.gaierror:
    """Return the error of the system with what it is about, which it does not say itself."""
    return _stdlib.gaierror(
        error.errno, f"cannot resolve {host!r}, port {port!r}: {error.strerror}"
    )


def _encoded(host: str | bytes | None) -> bytes | None:
    """Return a host in a form that the standard module does not encode itself.

    The codec that it uses takes long to import, and raises `UnicodeError` where the program expects
    to hear that there is no such host; so does the module itself, with `ValueError`.
    """
    if not isinstance(host, str):
        return host
    try:
        if "\0" in host:
            raise UnicodeError("it has a null character")
        return host.encode("ascii" if host.isascii() else "idna")
    except UnicodeError as error:
        raise _stdlib.gaierror(
            _stdlib.EAI_NONAME, f"{host!r} cannot be the name of a host: {error}"
        ) from None


def set_resolver(resolver: Resolver | None) -> Resolver:
    """Resolve names another way in the loop that runs here.

    A resolver that only adds something, a cache for example, passes the rest on to the one before it.

    Args:
        resolver: Who resolves names from now on; ``None`` for the operating system.

    Returns:
        The resolver before.

    Raises:
        TypeError: *resolver* is none.
        RuntimeError: Not called from inside a loop.
    """
    for method in ("getaddrinfo", "getnameinfo"):
        if resolver is not None and not callable(getattr(resolver, method, None)):
            raise TypeError(f"a resolver has a method {method}(), which {resolver!r} has not")
    previous = _resolver()
    current_scheduler().locals[_RESOLVER_KEY] = SystemResolver() if resolver is None else resolver
    return previous


def _resolver() -> Resolver:
    kept = current_scheduler().locals
    resolver: Resolver | None = kept.get(_RESOLVER_KEY)
    if resolver is None:
        resolver = kept[_RESOLVER_KEY] = SystemResolver()
    return resolver


async def getaddrinfo(
    host: str | bytes | None,
    port: str | int | None,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> list[AddressInfo]:
    """Return the addresses that a host and a service stand for; see `socket.getaddrinfo`.

    Numeric hosts with numeric ports are answered at once, the others by the resolver of the loop:
    the operating system in a thread, if `set_resolver` has set no other.

    Raises:
        socket.gaierror: The name could not be resolved, or is no possible name.
        TypeError: The host is no string, or the port neither a number nor a name.
        ValueError: The port is not from 0 to 65535.

    Checkpoint: always.
    """
    port = _checked_port(port)
    if host is not None and not isinstance(host, str | bytes):
        raise TypeError(f"a host is a name or a numeric address in a string, not {host!r}")
    resolver = _resolver()
    if isinstance(resolver, SystemResolver) and simulated_network() is not None:
        return await resolver.getaddrinfo(host, port, family, type, proto, flags)
    if checkpoint_due():
        await checkpoint()
    if not isinstance(host, str) or host.isascii():  # otherwise it is a name
        try:
            numeric: list[Any] = list(
                _stdlib.getaddrinfo(_encoded(host), port, family, type, proto, flags | _NUMERIC)
            )
        except _stdlib.gaierror as error:
            if error.errno != _stdlib.EAI_NONAME:
                # It is not for being a name that it was refused.
                raise _told(error, host, port) from None
        else:
            return numeric
    found = await resolver.getaddrinfo(host, port, family, type, proto, flags)
    if not found:
        raise _stdlib.gaierror(_stdlib.EAI_NONAME, f"{host!r} has no such address")
    return found


def _checked_port(port: str | int | None) -> str | int | None:
    """Return a port as the standard module takes it.

    Raises:
        TypeError, ValueError: It is none. Some systems take the rest of dividing it by 65536, also if
            it is given as a string.
    """
    number: int = 0
    if isinstance(port, int):
        number = port = int(port)  # of an enumeration, say
    elif isinstance(port, str | bytes):
        try:
            number = int(port)
        except ValueError:
            pass  # the name of a service
    elif port is not None:
        raise TypeError(f"a port is a number, or the name of a service, not {port!r}")
    if not 0 <= number <= 65535:
        raise ValueError(f"a port is a number from 0 to 65535, not {port!r}")
    return port


async def getnameinfo(sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
    """Return the host and the service that an address stands for; see `socket.getnameinfo`.

    With ``NI_NUMERICHOST | NI_NUMERICSERV`` there is nothing to look for, and it is answered at
    once; otherwise by the resolver of the loop.

    Raises:
        socket.gaierror: The address could not be resolved.

    Checkpoint: always.
    """
    if checkpoint_due():
        await checkpoint()
    if flags & _NUMERIC_NAMES == _NUMERIC_NAMES:
        return _stdlib.getnameinfo(sockaddr, flags)
    return await _resolver().getnameinfo(sockaddr, flags)


def needs_no_resolving(family: int, address: Any) -> bool:
    """Whether an address can be used as it is, because its host is a number or no host at all."""
    if family not in (_stdlib.AF_INET, _stdlib.AF_INET6):
        return True
    try:
        host, port = address[:2]
        _stdlib.inet_pton(family, host)
    except (OSError, TypeError, ValueError):
        return False
    return isinstance(port, int)


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
        except (OSError, TypeError, ValueError):
            pass  # a name
        else:
            return address
    flags = 0
    if sock.family == _stdlib.AF_INET6 and not sock.getsockopt(
        _stdlib.IPPROTO_IPV6, _stdlib.IPV6_V6ONLY
    ):
        flags = _stdlib.AI_V4MAPPED
    # Raw sockets have no services, and refuse even a number; whatever it means there, it is kept.
    is_raw = sock.type == _stdlib.SOCK_RAW
    service = None if is_raw else port
    found = await getaddrinfo(host or None, service, sock.family, sock.type, sock.proto, flags)
    resolved = found[0][4]
    if is_raw:
        resolved = (resolved[0], port, *resolved[2:])
    return (*resolved[:2], *address[2:]) if len(address) > 2 else resolved


async def resolve_local(
    local_address: str | tuple[str, int] | None, kind: _stdlib.SocketKind
) -> AddressInfo | None:
    """Return what an address to connect from stands for: a host, or a host and a port.

    Raises:
        socket.gaierror: It is no address.

    Checkpoint: always, unless it is None.
    """
    if local_address is None:
        return None
    host, port = (local_address, 0) if isinstance(local_address, str) else local_address
    return (await getaddrinfo(host, port, type=kind))[0]
