# SPDX-License-Identifier: Apache-2.0
"""A network in memory: hosts, names, and everything that can go wrong between them.

`giambio.socket`, and all that is built on it, works on such a network as on the real one, but nothing leaves
the process, time is virtual, and all chance comes from one seed.
"""

from __future__ import annotations

import errno
import socket as _stdlib
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain, combinations, product
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from giambio._simulation import NETWORK
from giambio_kernel import current_scheduler

from ._hosts import Hosts
from ._memory_socket import INET, READ, DatagramSocket, MemorySocket
from ._socket_table import SocketTable
from ._stream_socket import StreamSocket
from ._wire import Flow, Packet, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from giambio._simulation import AddressInfo

    from ._hosts import Host
    from ._network import MemoryNetwork

# The name of the host that the current task is on.
_here: ContextVar[str] = ContextVar("giambio_host", default="localhost")


class Fault(NamedTuple):
    """Something that a network did to a program."""

    time: float
    """When, in seconds."""
    what: str
    """What it did, in words."""

    def __str__(self) -> str:
        """``at 1.250 s: what``."""
        return f"at {self.time:.3f} s: {self.what}"


class SimulatedNetwork:
    """The network in memory of one run, as `current_network` returns it.

    Tasks are on the host ``"localhost"`` unless they, or those that spawned them, are inside of `host`.

    Args:
        description: What it is like.
        seed: What its random numbers begin with.
        allowed: Which of the things that chance wants to go wrong may, by their numbers from 1;
            ``None`` allows all.

    Attributes:
        faults: What it did to the program, in order.
        happened: The numbers of the things that chance let go wrong.
        hosts: The hosts that it has.
        table: The sockets that are open.
    """

    def __init__(
        self, description: MemoryNetwork, seed: int, allowed: Collection[int] | None = None
    ) -> None:
        self._description = description
        self._seed = seed
        self._allowed = allowed
        # How many things chance has wanted to go wrong so far.
        self._wanted = 0
        self.happened: list[int] = []
        self._wire = Wire()
        # How many flows there were from one host to another.
        self._flows: dict[tuple[str, str], int] = {}
        # What it needs of its run.
        self._clock: Callable[[], float]
        self._refuse: Callable[[str], NoReturn]
        self.hosts: Hosts = Hosts(ipv6=description.ipv6)
        self.hosts.named("localhost")
        self.table: SocketTable = SocketTable()
        self.faults: list[Fault] = []

    def __repr__(self) -> str:
        return f"<SimulatedNetwork of {len(self.hosts)} hosts, {self._description}>"

    # What tests do with it

    @contextmanager
    def host(self, name: str) -> Iterator[None]:
        """Put what is done in the block on a host: its sockets, and the tasks that it spawns.

        Args:
            name: The name of the host, which then stands for its address. ``"localhost"`` is there
                from the start.

        Raises:
            ValueError: That is no name.
        """
        if not isinstance(name, str) or not name:  # type: ignore[redundant-expr]
            raise ValueError(f"the name of a host must be a string, not {name!r}")
        self.hosts.named(name)
        token = _here.set(name)
        try:
            yield
        finally:
            _here.reset(token)

    def partition(self, *groups: Iterable[str]) -> None:
        """Cut the network into groups of hosts that do not hear of each other any more.

        Datagrams between them are lost. What was sent through a stream arrives after `heal`; a
        connection that cannot be made fails with `TimeoutError` after two minutes, as usual.

        Args:
            *groups: The names of hosts. Those in no group go on talking to all.

        Raises:
            ValueError: There are less than two groups, or a host is in two of them, or a name
                belongs to no host: `host` makes one.
        """
        names = [[group] if isinstance(group, str) else list(group) for group in groups]
        if len(names) < 2:
            raise ValueError("a partition has at least two groups of hosts")
        for name in chain(*names):
            self._check_host(name)
        for one, other in combinations(names, 2):
            for name in one:
                if name in other:
                    raise ValueError(f"host {name!r} is in two groups of the partition")
        for one, other in combinations(names, 2):
            for pair in product(one, other):
                self._wire.cut(*pair)
        self.note("partition: " + " | ".join(", ".join(group) for group in names))

    def heal(self) -> None:
        """Undo all partitions."""
        self._wire.heal()
        self.note("the partition is healed")

    def reset(self, one: str, other: str) -> int:
        """Break all connections between two hosts: both sides get `ConnectionResetError`.

        Args:
            one: The name of a host.
            other: The name of a host, which may be the same.

        Returns:
            How many connections there were.

        Raises:
            ValueError: A name belongs to no host.
        """
        self._check_host(one)
        self._check_host(other)
        sides = 0
        for sock in self.table.sockets():
            if isinstance(sock, StreamSocket) and sock.is_between(one, other):
                sock.break_off(errno.ECONNRESET)
                sides += 1
        self.note(f"the connections between {one} and {other} are reset")
        return (sides + 1) // 2

    def _check_host(self, name: str) -> None:
        if name not in self.hosts:
            known = ", ".join(map(repr, self.hosts))
            raise ValueError(
                f"no host is called {name!r}, only {known}; to make one, use: "
                "with network.host(name)"
            )

    # What a run does with it

    def join(self, clock: Callable[[], float], refuse: Callable[[str], NoReturn]) -> None:
        """Become the network of a run.

        Args:
            clock: Returns the time.
            refuse: Raises the error for what is not possible.
        """
        self._clock = clock
        self._refuse = refuse

    def deliver(self) -> None:
        """Let arrive what is due."""
        self._wire.deliver(self._clock())

    def next_arrival(self) -> float:
        """Return when something arrives next; ``inf`` for never."""
        return self._wire.next_arrival()

    # What `giambio.socket` does with it: see `giambio._simulation.Network`

    def socket(self, family: int, type: int, proto: int, fileno: int | None) -> MemorySocket:
        """Make a socket on the current host."""
        if fileno is not None:
            self._refuse("making a socket of a descriptor")
        if family not in (*INET, getattr(_stdlib, "AF_UNIX", None)):
            self._refuse(f"a socket of family {family}")
        kind = type & 0xF  # without flags such as SOCK_NONBLOCK
        made: MemorySocket
        if kind == _stdlib.SOCK_STREAM:
            made = StreamSocket(self, self.current_host(), family, kind, proto)
        elif kind == _stdlib.SOCK_DGRAM:
            made = DatagramSocket(self, self.current_host(), family, kind, proto)
        else:
            self._refuse(f"a socket of type {type}")
        made.open()
        return made

    def socketpair(
        self, family: int | None, type: int, proto: int
    ) -> tuple[MemorySocket, MemorySocket]:
        """Make two sockets that are connected to each other."""
        family = getattr(_stdlib, "AF_UNIX", _stdlib.AF_INET) if family is None else family
        left = self.socket(family, type, proto, None)
        right = self.socket(family, type, proto, None)
        left.connect_pair(right)
        return left, right

    def check(self, sock: _stdlib.socket) -> None:
        """Refuse a socket that is not of this network."""
        if not isinstance(sock, MemorySocket):
            self._refuse(f"using {sock!r}")

    def is_readable(self, sock: _stdlib.socket) -> bool:
        """Whether reading would not wait."""
        self.deliver()
        return bool(self.table.readiness(sock.fileno()) & READ)

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
        return self.hosts.getaddrinfo(host, port, family, type, proto, flags)

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """Find the name of an address."""
        return self.hosts.getnameinfo(sockaddr, flags)

    # What its sockets do with it

    def now(self) -> float:
        """Return the time."""
        return self._clock()

    def refuse(self, what: str) -> NoReturn:
        """Raise the error for what is not possible."""
        self._refuse(what)

    def current_host(self) -> Host:
        """Return the host of the current task."""
        return self.hosts.named(_here.get())

    def new_flow(self, source: str, target: str) -> Flow:
        """Begin a flow of packets between two hosts."""
        number = self._flows[source, target] = self._flows.get((source, target), 0) + 1
        return Flow(self._description, f"{self._seed} {source} {target} {number}", self._is_allowed)

    def _is_allowed(self) -> bool:
        self._wanted += 1
        if self._allowed is not None and self._wanted not in self._allowed:
            return False
        self.happened.append(self._wanted)
        return True

    def send_packet(
        self, sender: StreamSocket, flow: Flow, target: Host, arrive: Callable[[], None]
    ) -> None:
        """Send a packet of a stream."""
        source = sender.host.name
        now = self.now()
        if sender.family not in INET:
            self._wire.send(Packet(source, target.name, arrive, False), flow.local_arrival(now))
            return
        if flow.chance(self._description.resets):
            self.note(f"a connection from {source} to {target.name} is reset")
            arrive = sender.break_both
        when, losses = flow.stream_arrival(now)
        if losses:
            self.note(f"a packet from {source} to {target.name} is lost and sent again")
        self._wire.send(Packet(source, target.name, arrive, False), when)

    def send_datagram(
        self, sender: MemorySocket, flow: Flow, host: Host, arrive: Callable[[], None]
    ) -> None:
        """Send a datagram."""
        source, target = sender.host.name, host.name
        now = self.now()
        if sender.family not in INET:
            self._wire.send(Packet(source, target, arrive, True), now)
            return
        if self._wire.is_cut(source, target):
            self.note(f"a datagram from {source} to {target} is lost")
            return
        arrivals, faults = flow.datagram_arrivals(now)
        for fault in faults:
            self.note(f"a datagram from {source} to {target} {fault}")
        for when in arrivals:
            self._wire.send(Packet(source, target, arrive, True), when)

    def call_later(self, seconds: float, fn: Callable[[], None]) -> None:
        """Call a function after a while."""
        self._wire.send(Packet("", "", fn, False), self.now() + seconds)

    def note(self, what: str) -> None:
        """Note that something went wrong, to be told in a report."""
        self.faults.append(Fault(self.now(), what))


def current_network() -> SimulatedNetwork:
    """Return the network in memory that the current run has.

    Raises:
        RuntimeError: It has none, or this is not called from inside a loop.
    """
    network = current_scheduler().locals.get(NETWORK)
    if not isinstance(network, SimulatedNetwork):
        raise RuntimeError(  # noqa: TRY004
            "this run has no network in memory; pass network='memory', or a MemoryNetwork, to "
            "whatever runs it"
        )
    return network
