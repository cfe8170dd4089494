# SPDX-License-Identifier: Apache-2.0
"""The hosts of a network in memory: their names, their addresses, and which socket has which."""

from __future__ import annotations

import errno
import socket as _stdlib
from typing import TYPE_CHECKING, Any

from ._memory_socket import INET, failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from giambio._simulation import AddressInfo

    from ._memory_socket import MemorySocket

# Source: RFC 6335, section 6, the dynamic ports.
_FIRST_FREE_PORT = 49152

_LOOPBACK: dict[int, str] = {_stdlib.AF_INET: "127.0.0.1", _stdlib.AF_INET6: "::1"}
_ANY: dict[int, str] = {_stdlib.AF_INET: "0.0.0.0", _stdlib.AF_INET6: "::"}
_BROADCAST = ("255.255.255.255", "<broadcast>")


class Host:
    """A machine of a network in memory.

    Attributes:
        name: What it is called.
        addresses: Its address in each family.
    """

    __slots__ = ("addresses", "bound", "name", "next_port")

    def __init__(self, name: str, number: int) -> None:
        self.name: str = name
        self.addresses: dict[int, str] = {
            _stdlib.AF_INET: f"10.0.{number // 256}.{number % 256}",
            _stdlib.AF_INET6: f"fd00::{number:x}",
        }
        # Who listens or receives, by kind, family, address and port.
        self.bound: dict[tuple[int, int, str, int], MemorySocket] = {}
        self.next_port: int = _FIRST_FREE_PORT


class Hosts:
    """All hosts of a network.

    Sockets of other families than IPv4 and IPv6 have mere names, which mean the same on every host; they
    are kept with ``localhost``.

    Args:
        ipv6: Whether names stand for an IPv6 address, too.
    """

    def __init__(self, *, ipv6: bool) -> None:
        self._ipv6 = ipv6
        self._by_name: dict[str, Host] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over their names."""
        return iter(self._by_name)

    def __contains__(self, name: object) -> bool:
        """Whether there is a host of that name."""
        return name in self._by_name

    def named(self, name: str) -> Host:
        """Return the host of a name; a new one the first time."""
        host = self._by_name.get(name)
        if host is None:
            host = self._by_name[name] = Host(name, len(self._by_name) + 1)
        return host

    # Names

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | int | None,
        family: int,
        type: int,
        proto: int,
        flags: int,
    ) -> list[AddressInfo]:
        """Resolve the name of a host."""
        name = host.decode() if isinstance(host, bytes) else host
        numeric = flags | _stdlib.AI_NUMERICHOST
        if not name and not family and not self._ipv6:
            family = _stdlib.AF_INET
        if not name or _is_numeric(name):
            return list(_stdlib.getaddrinfo(name or None, port, family, type, proto, numeric))
        families = [_stdlib.AF_INET6, _stdlib.AF_INET] if self._ipv6 else [_stdlib.AF_INET]
        found: list[AddressInfo] = []
        for each in families if not family else [family]:
            address = _LOOPBACK[each] if name == "localhost" else self._address_of(name, each)
            if address is not None:
                found += _stdlib.getaddrinfo(address, port, each, type, proto, numeric)
        if not found:
            raise _stdlib.gaierror(_stdlib.EAI_NONAME, f"no host is called {name!r}")
        return found

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """Find the name of an address."""
        address, port = sockaddr[:2]
        if not flags & _stdlib.NI_NUMERICHOST:
            if address in _LOOPBACK.values():
                return "localhost", str(port)
            for host in self._by_name.values():
                if address in host.addresses.values():
                    return host.name, str(port)
            if flags & _stdlib.NI_NAMEREQD:
                raise _stdlib.gaierror(_stdlib.EAI_NONAME, f"no host has the address {address}")
        return address, str(port)

    def _address_of(self, name: str, family: int) -> str | None:
        host = self._by_name.get(name)
        return None if host is None else host.addresses.get(family)

    # Sockets

    def unbind(self, sock: MemorySocket) -> None:
        """Take a socket's address from it."""
        for host in (sock.host, self.named("localhost")):
            for key in [key for key, each in host.bound.items() if each is sock]:
                del host.bound[key]

    def bind(self, sock: MemorySocket, address: Any) -> None:
        """Give a socket an address."""
        host = sock.host
        if sock.family not in INET:
            key = (sock.type, sock.family, str(address), 0)
            if key in self.named("localhost").bound:
                raise failure(errno.EADDRINUSE)
            self.named("localhost").bound[key] = sock
            sock.bound = address
            return
        name, port = address[:2]
        ip = self._own_ip(sock, name)
        if not port:
            port = self._free_port(sock, ip)
        elif self._is_taken(sock, ip, port):
            raise failure(errno.EADDRINUSE)
        host.bound[sock.type, sock.family, ip, port] = sock
        sock.bound = _full(sock.family, ip, port)

    def _own_ip(self, sock: MemorySocket, name: str) -> str:
        if not name:
            return _ANY[sock.family]
        if not _is_numeric(name):
            name = self.getaddrinfo(name, 0, sock.family, 0, 0, 0)[0][4][0]
        own = (_ANY[sock.family], _LOOPBACK[sock.family], sock.host.addresses[sock.family])
        if name not in own:
            raise failure(errno.EADDRNOTAVAIL)
        return name

    def _is_taken(self, sock: MemorySocket, ip: str, port: int) -> bool:
        anywhere = _ANY[sock.family]
        for kind, family, other, taken in sock.host.bound:
            same_port = (kind, family, taken) == (sock.type, sock.family, port)
            if same_port and (other == ip or anywhere in (other, ip)):
                return True
        return False

    def _free_port(self, sock: MemorySocket, ip: str) -> int:
        host = sock.host
        while True:
            port = host.next_port
            host.next_port = port + 1 if port < 65535 else _FIRST_FREE_PORT
            if not self._is_taken(sock, ip, port):
                return port

    def bind_for(self, sock: MemorySocket, address: Any) -> None:
        """Give a socket that has none an address to speak to another one from."""
        if sock.bound is None and sock.family in INET:
            ip = _ANY[sock.family]
            if address is not None and sock.type == _stdlib.SOCK_STREAM:
                ip = self.source_address(sock, address)[0]
            self.bind(sock, (ip, 0))

    def name_pair(self, one: MemorySocket, other: MemorySocket) -> None:
        """Let two sockets find each other by the names that they have."""
        for sock in (one, other):
            key = (sock.type, sock.family, str(sock.bound), 0)
            self.named("localhost").bound[key] = sock

    def source_address(self, sock: MemorySocket, address: Any) -> Any:
        """Return the address of a socket as another one, at *address*, sees it."""
        if sock.family not in INET:
            return sock.bound or ""
        ip, port = sock.bound[:2] if sock.bound else (_ANY[sock.family], 0)
        if ip == _ANY[sock.family]:
            to_itself = address[0] == _LOOPBACK[sock.family]
            ip = _LOOPBACK[sock.family] if to_itself else sock.host.addresses[sock.family]
        return _full(sock.family, ip, port)

    def host_at(self, sock: MemorySocket, address: Any) -> Host:
        """Return the host that an address leads to."""
        if sock.family not in INET:
            return self.named("localhost")
        ip = address[0]
        if ip in (_LOOPBACK[sock.family], _ANY[sock.family]):
            return sock.host
        for host in self._by_name.values():
            if host.addresses[sock.family] == ip:
                return host
        raise failure(errno.EHOSTUNREACH)

    def targets_of(self, sock: MemorySocket, address: Any) -> list[Host]:
        """Return the hosts that a datagram to an address goes to."""
        if sock.family in INET and address[0] in _BROADCAST:
            if not sock.is_set(_stdlib.SO_BROADCAST):
                raise failure(errno.EACCES)
            return list(self._by_name.values())
        return [self.host_at(sock, address)]

    def receiver(self, host: Host, sender: MemorySocket, address: Any) -> MemorySocket | None:
        """Return the socket of a host that has an address, as seen by another one; None if none."""
        kind, family = sender.type, sender.family
        if family not in INET:
            return host.bound.get((kind, family, str(address), 0))
        ip, port = address[:2]
        found = host.bound.get((kind, family, ip, port))
        return found or host.bound.get((kind, family, _ANY[family], port))


def _is_numeric(name: str) -> bool:
    for family in INET:
        try:
            _stdlib.inet_pton(family, name)
        except OSError:
            continue
        return True
    return False


def _full(family: int, ip: str, port: int) -> Any:
    return (ip, port, 0, 0) if family == _stdlib.AF_INET6 else (ip, port)
