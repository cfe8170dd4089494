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
from itertools import combinations, product
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from giambio._simulation import NETWORK
from giambio_kernel import current_scheduler

from ._hosts import Hosts
from ._memory_socket import INET, READ, DatagramSocket, MemorySocket
from ._stream_socket import StreamSocket
from ._wire import Conditions, Flow, Packet, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from giambio._simulation import AddressInfo

    from ._hosts import Host

# Far above what a system gives out, so that nobody takes one for a real descriptor.
_FIRST_DESCRIPTOR = 1 << 30
# The name of the host that the current task is on.
_here: ContextVar[str] = ContextVar("giambio_host", default="localhost")


class Fault(NamedTuple):
    """Something that a network did to a program."""

    time: float
    """When, in seconds."""
    what: str

    def __str__(self) -> str:
        """``at 1.250 s: what``."""
        return f"at {self.time:.3f} s: {self.what}"


class MemoryNetwork:
    """A network in memory, with the faults of real ones.

    Given to `explore`, `cancel_sweep` or `simulate`, it describes what each run gets a fresh copy of;
    that copy is what `current_network` returns in the program. Tasks are on the host ``"localhost"``
    unless they, or those that spawned them, are inside of `host`.

    Args:
        latency: How long a packet takes, in seconds; or at least and at most, then it is random.
        loss: The probability, from 0 to 1, that a packet is lost. A lost datagram never arrives. The
            data of a stream is sent again, and arrives a fifth of a second later.
        reordering: The probability that a datagram is so late that others overtake it.
        duplication: The probability that a datagram arrives twice.
        fragmentation: The probability that what is sent through a stream at once arrives in two parts.
        resets: The probability that a packet of a stream breaks its connection: both sides get
            `ConnectionResetError`.
        ipv6: Whether names stand for an IPv6 address, too. Numeric ones can be used in any case.

    Raises:
        ValueError: A number makes no sense.

    Attributes:
        hosts: The hosts that it has.
        faults: What it did to the program, in order.
    """

    def __init__(
        self,
        *,
        latency: float | tuple[float, float] = 0.0,
        loss: float = 0.0,
        reordering: float = 0.0,
        duplication: float = 0.0,
        fragmentation: float = 0.0,
        resets: float = 0.0,
        ipv6: bool = False,
    ) -> None:
        least, most = latency if isinstance(latency, tuple) else (latency, latency)
        if not 0.0 <= least <= most < float("inf"):
            raise ValueError(f"latency must be one or two growing numbers from 0, not {latency!r}")
        self._conditions = Conditions(
            (least, most), loss, reordering, duplication, fragmentation, resets
        )
        for name, probability in self._conditions._asdict().items():
            if name != "latency" and not 0.0 <= probability < 1.0:
                raise ValueError(f"{name} must be at least 0 and below 1, not {probability!r}")
        self._ipv6 = ipv6
        self._seed: int | None = None
        self._clock: Callable[[], float] = float
        self._refuse: Callable[[str], NoReturn] = _refuse
        self._wire = Wire()
        self.hosts = Hosts(ipv6=ipv6)
        self._sockets: dict[int, MemorySocket] = {}
        self._next_descriptor = _FIRST_DESCRIPTOR
        # Those that may have become ready since somebody looked. A dict keeps their order.
        self._changed: dict[int, None] = {}
        # How many flows there were from one host to another.
        self._flows: dict[tuple[str, str], int] = {}
        self.faults: list[Fault] = []

    def __repr__(self) -> str:
        what = "description" if self._seed is None else f"{len(self.hosts)} hosts"
        return f"<MemoryNetwork {what}, {self._conditions}>"

    def renewed(self, seed: int) -> MemoryNetwork:
        """Return a network like this one in which nothing has happened yet.

        Args:
            seed: What its random numbers begin with.
        """
        fresh = MemoryNetwork(**self._conditions._asdict(), ipv6=self._ipv6)
        fresh._seed = seed
        fresh.hosts.named("localhost")
        return fresh

    # What tests do with it

    @contextmanager
    def host(self, name: str) -> Iterator[None]:
        """Put what is done in the block on a host: its sockets, and the tasks that it spawns.

        Args:
            name: The name of the host, which then stands for its address. ``"localhost"`` is there
                from the start.
        """
        self._check_in_use()
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
            ValueError: There are less than two groups.
        """
        self._check_in_use()
        names = [[group] if isinstance(group, str) else list(group) for group in groups]
        if len(names) < 2:
            raise ValueError("a partition has at least two groups of hosts")
        for one, other in combinations(names, 2):
            for pair in product(one, other):
                self._wire.cut(*pair)
        self._note("partition: " + " | ".join(", ".join(group) for group in names))

    def heal(self) -> None:
        """Undo all partitions."""
        self._check_in_use()
        self._wire.heal()
        self._note("the partition is healed")

    def reset(self, one: str, other: str) -> int:
        """Break all connections between two hosts: both sides get `ConnectionResetError`.

        Args:
            one: The name of a host.
            other: The name of a host, which may be the same.

        Returns:
            How many connections there were.
        """
        self._check_in_use()
        sides = 0
        for sock in list(self._sockets.values()):
            if isinstance(sock, StreamSocket) and sock.is_between(one, other):
                sock.break_off(errno.ECONNRESET)
                sides += 1
        self._note(f"the connections between {one} and {other} are reset")
        return (sides + 1) // 2

    def _check_in_use(self) -> None:
        if self._seed is None:
            raise RuntimeError(
                "this only describes a network; the one of a run is current_network()"
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

    def close(self, *, complain: bool) -> None:
        """Close what is open at the end of a run.

        Args:
            complain: Whether to warn of it, as the sockets would do themselves when they are dropped.
        """
        for sock in list(self._sockets.values()):
            if complain:
                sock.complain()
            sock.close()

    def take_changed(self) -> list[int]:
        """Return the descriptors that may have become ready since the last call."""
        changed = list(self._changed)
        self._changed.clear()
        return changed

    def has(self, fd: int) -> bool:
        """Whether a descriptor is one of this network."""
        return fd in self._sockets

    def readiness(self, fd: int) -> int:
        """Return what would not wait, as a mask."""
        sock = self._sockets.get(fd)
        return 0 if sock is None else sock.readiness()

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
        return bool(self.readiness(sock.fileno()) & READ)

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

    def register(self, sock: MemorySocket) -> int:
        """Give a socket a descriptor."""
        self._next_descriptor += 1
        self._sockets[self._next_descriptor] = sock
        return self._next_descriptor

    def unregister(self, sock: MemorySocket) -> None:
        """Forget a socket that is closed, and its address."""
        del self._sockets[sock.fileno()]
        self.hosts.unbind(sock)

    def changed(self, fd: int) -> None:
        """Note that a socket may have become ready."""
        if fd != -1:
            self._changed[fd] = None

    def current_host(self) -> Host:
        """Return the host of the current task."""
        return self.hosts.named(_here.get())

    def new_flow(self, source: str, target: str) -> Flow:
        """Begin a flow of packets between two hosts."""
        number = self._flows[source, target] = self._flows.get((source, target), 0) + 1
        return Flow(self._conditions, f"{self._seed} {source} {target} {number}")

    def send_packet(
        self, sender: StreamSocket, flow: Flow, target: Host, arrive: Callable[[], None]
    ) -> None:
        """Send a packet of a stream."""
        source = sender.host.name
        now = self.now()
        if sender.family not in INET:
            self._wire.send(Packet(source, target.name, arrive, False), now)
            return
        if flow.chance(self._conditions.resets):
            self._note(f"a connection from {source} to {target.name} is reset")
            arrive = sender.break_both
        usual = now + self._conditions.latency[1]
        when = flow.stream_arrival(now)
        if when >= usual + 0.1:
            self._note(f"a packet from {source} to {target.name} is lost and sent again")
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
        arrivals = [] if self._wire.is_cut(source, target) else flow.datagram_arrivals(now)
        if len(arrivals) != 1:
            what = "arrives twice" if arrivals else "is lost"
            self._note(f"a datagram from {source} to {target} {what}")
        for when in arrivals:
            self._wire.send(Packet(source, target, arrive, True), when)

    def call_later(self, seconds: float, fn: Callable[[], None]) -> None:
        """Call a function after a while."""
        self._wire.send(Packet("", "", fn, False), self.now() + seconds)

    def _note(self, what: str) -> None:
        self.faults.append(Fault(self.now(), what))


def current_network() -> MemoryNetwork:
    """Return the network in memory that the current run has.

    Raises:
        RuntimeError: It has none, or this is not called from inside a loop.
    """
    network = current_scheduler().locals.get(NETWORK)
    if not isinstance(network, MemoryNetwork):
        raise RuntimeError(  # noqa: TRY004
            "this run has no network in memory; pass network='memory', or a MemoryNetwork, to "
            "whatever runs it"
        )
    return network


def as_network(network: MemoryNetwork | str | None) -> MemoryNetwork | None:
    """Return what an argument *network* stands for."""
    if network is None or isinstance(network, MemoryNetwork):
        return network
    if network == "memory":
        return MemoryNetwork(latency=(0.0, 0.01))
    raise ValueError(f"network must be 'memory', a MemoryNetwork or None, not {network!r}")


def _refuse(what: str) -> NoReturn:
    raise RuntimeError(f"{what} is not possible on this network")
