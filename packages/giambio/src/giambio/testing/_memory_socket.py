# SPDX-License-Identifier: Apache-2.0
"""The sockets of a network in memory: what they have in common, and datagrams."""

from __future__ import annotations

import errno
import os
import socket as _stdlib
import warnings
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._hosts import Host
    from ._simulated_network import SimulatedNetwork
    from ._wire import Flow

# What the loop's pollers report, in the values of epoll.
READ = 0x1
WRITE = 0x4
ERROR = 0x8
HANGUP = 0x10
READ_HANGUP = 0x2000

INET = (_stdlib.AF_INET, _stdlib.AF_INET6)

# How many datagrams wait to be read; those that come when so many do are lost.
_MOST_DATAGRAMS = 256
_LARGEST_DATAGRAM = 65507


def failure(code: int) -> OSError:
    """Return the error that the system would raise."""
    return OSError(code, os.strerror(code))


class MemorySocket(_stdlib.socket):
    """A socket that the system knows nothing of.

    It has what `giambio.socket.AsyncSocket` uses of a standard one, always non-blocking. Its
    descriptor is a number that only the poller of its network understands.

    Args:
        network: What it belongs to. Until `open` the network does not know it.
        host: Where it is.
        family: As for `socket.socket`.
        kind: As for `socket.socket`.
        proto: As for `socket.socket`.

    Attributes:
        host: Where it is.
        bound: Its own address; None until it has one.
        remote: The address that it is connected to; None if it is not.
        is_closed: Whether it was open and is not any more.
    """

    def __init__(
        self, network: SimulatedNetwork, host: Host, family: int, kind: int, proto: int
    ) -> None:
        # Not the one of the standard class, which would ask the system for a descriptor.
        self._network = network
        self._fd = -1
        self._family = _stdlib.AddressFamily(family)
        self._kind = _stdlib.SocketKind(kind)
        self._proto = proto
        self._options: dict[tuple[int, int], Any] = {}
        self._error = 0
        self.host = host
        self.bound: Any = None
        self.remote: Any = None
        self.is_closed: bool = False

    def __repr__(self) -> str:
        state = "closed" if self._fd == -1 else f"at {self.bound}" if self.bound else "not bound"
        if self.remote:
            state += f", connected to {self.remote}"
        return f"<memory socket of host {self.host.name!r}, {self._kind.name}, {state}>"

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) != -1:
            self.complain()

    # What it is

    @property
    def family(self) -> _stdlib.AddressFamily:
        return self._family

    @property
    def type(self) -> _stdlib.SocketKind:
        return self._kind

    @property
    def proto(self) -> int:
        return self._proto

    def fileno(self) -> int:
        return self._fd

    def setblocking(self, flag: bool) -> None:
        pass

    def get_inheritable(self) -> bool:
        return False

    def set_inheritable(self, inheritable: bool) -> None:
        pass

    def getsockname(self) -> Any:
        if self.bound is not None:
            return self.bound
        if self._family not in INET:
            return ""
        return ("::", 0, 0, 0) if self._family == _stdlib.AF_INET6 else ("0.0.0.0", 0)

    def getpeername(self) -> Any:
        if self.remote is None:
            raise failure(errno.ENOTCONN)
        return self.remote

    def getsockopt(self, level: int, option: int, size: int = 0) -> Any:
        if (level, option) == (_stdlib.SOL_SOCKET, _stdlib.SO_ERROR):
            code, self._error = self._error, 0
            return code
        return self._options.get((level, option), b"\0" * size if size else self._default(option))

    def _default(self, option: int) -> int:
        return 1 if option == getattr(_stdlib, "IPV6_V6ONLY", None) else 0

    def setsockopt(self, level: int, option: int, value: Any, size: int | None = None) -> None:
        self._options[level, option] = value

    def is_set(self, option: int) -> bool:
        """Whether an option of the socket level is set."""
        return bool(self._options.get((_stdlib.SOL_SOCKET, option)))

    # Its life

    def open(self) -> None:
        """Get a descriptor."""
        self._fd = self._network.table.add(self)

    def bind(self, address: Any) -> None:
        if self.bound is not None:
            raise failure(errno.EINVAL)
        if self._family not in INET and address[:1] not in ("\0", b"\0"):
            self._network.refuse(f"a socket with the file {address!r}, instead of a mere name,")
        self._network.hosts.bind(self, address)

    def connect_pair(self, other: MemorySocket) -> None:
        """Connect two sockets to each other, at once."""
        raise NotImplementedError

    def close(self) -> None:
        if self._fd != -1:
            self._on_close()
            self._network.table.remove(self._fd)
            self._network.hosts.unbind(self)
            self._fd = -1
            self.is_closed = True

    def _on_close(self) -> None:
        """React to the end of this side."""

    def detach(self) -> NoReturn:
        self._network.refuse("taking the descriptor out of a socket")

    def dup(self) -> NoReturn:
        self._network.refuse("duplicating a socket")

    def complain(self) -> None:
        """Warn that it was not closed."""
        warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=3)

    def readiness(self) -> int:
        """Return what would not wait, as a mask."""
        raise NotImplementedError

    def changed(self) -> None:
        """Say that it may have become ready for something."""
        if self._fd != -1:
            self._network.table.note_change(self._fd)

    def _raise_error(self) -> None:
        if self._error:
            code, self._error = self._error, 0
            raise failure(code)

    # What is made of other operations

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return self.recvfrom_into(buffer, nbytes, flags)[0]

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        view = memoryview(buffer).cast("B")
        data, address = self.recvfrom(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data), address

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> Any:
        data, address = self.recvfrom(bufsize, flags)
        return data, [], 0, address

    def recvmsg_into(self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0) -> Any:
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        data, address = self.recvfrom(sum(map(len, views)), flags)
        rest = data
        for view in views:
            view[: len(rest)] = rest[: len(view)]
            rest = rest[len(view) :]
        return len(data), [], 0, address

    def sendmsg(
        self,
        buffers: Iterable[Any],
        ancdata: Iterable[Any] = (),
        flags: int = 0,
        address: Any = None,
    ) -> int:
        if list(ancdata):
            self._network.refuse("sending descriptors")
        data = b"".join(buffers)
        return self.send(data, flags) if address is None else self.sendto(data, flags, address)


class DatagramSocket(MemorySocket):
    """A socket for datagrams, each of which arrives whole, or does not."""

    def __init__(
        self, network: SimulatedNetwork, host: Host, family: int, kind: int, proto: int
    ) -> None:
        super().__init__(network, host, family, kind, proto)
        self._arrived: deque[tuple[bytes, Any]] = deque()
        # The packets to each host.
        self._flows: dict[str, Flow] = {}
        self._is_shut = False

    def connect_pair(self, other: MemorySocket) -> None:
        self.remote = other.bound = f"pair {self._fd}"
        other.remote = self.bound = f"pair {other._fd}"
        self._network.hosts.name_pair(self, other)

    def connect_ex(self, address: Any) -> int:
        self._network.hosts.bind_for(self, address)
        self.remote = address
        return 0

    def shutdown(self, how: int) -> None:
        self._is_shut = how != _stdlib.SHUT_WR
        self.changed()

    def readiness(self) -> int:
        error = READ | ERROR if self._error else 0
        return (READ if self._arrived or self._is_shut else 0) | WRITE | error

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        return self.recvfrom(bufsize, flags)[0]

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        self._raise_error()
        if not self._arrived:
            if self._is_shut:
                return b"", None
            raise BlockingIOError
        data, address = self._arrived[0] if flags & _stdlib.MSG_PEEK else self._arrived.popleft()
        return data[:bufsize], address

    def send(self, data: Any, flags: int = 0) -> int:
        if self.remote is None:
            raise failure(errno.EDESTADDRREQ)
        return self.sendto(data, self.remote)

    def sendto(self, data: Any, *args: Any) -> int:
        """Send; with the address, or flags and the address."""
        self._raise_error()
        address = args[-1]
        content = bytes(data)
        if len(content) > _LARGEST_DATAGRAM:
            raise failure(errno.EMSGSIZE)
        self._network.hosts.bind_for(self, address)
        for target in self._network.hosts.targets_of(self, address):
            flow = self._flows.get(target.name)
            if flow is None:
                flow = self._network.new_flow(self.host.name, target.name)
                self._flows[target.name] = flow
            arrive = self._arrival_of(content, address, target)
            self._network.send_datagram(self, flow, target, arrive)
        return len(content)

    def _arrival_of(self, content: bytes, address: Any, target: Host) -> Callable[[], None]:
        source = self._network.hosts.source_address(self, address)

        def arrive() -> None:
            receiver = self._network.hosts.receiver(target, self, address)
            if isinstance(receiver, DatagramSocket):
                receiver.take(content, source)
            elif self.remote == address and not self.is_closed:
                self._error = errno.ECONNREFUSED  # as a router would say
                self.changed()

        return arrive

    def take(self, content: bytes, source: Any) -> None:
        """A datagram has arrived."""
        if self.remote not in (None, source) or len(self._arrived) >= _MOST_DATAGRAMS:
            return
        self._arrived.append((content, source))
        self.changed()
