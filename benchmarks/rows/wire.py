# SPDX-License-Identifier: Apache-2.0
"""Rows on the wire: what a server needs for a request, and for a connection that waits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks.contenders import Contender
from benchmarks.machine import allow_many_files, memory
from benchmarks.reach import Reach
from benchmarks.row import WIRE, Row, SkipRow
from benchmarks.wire.contenders import WIRE_CONTENDERS
from benchmarks.wire.load import Client, Load
from benchmarks.wire.server import Server

if TYPE_CHECKING:
    from benchmarks.session import Session

_GIAMBIO = next(one for one in WIRE_CONTENDERS if one.name == "giambio")
_WITHOUT: Final = "the same without"


class Request(Row):
    """The processor time that a server takes for a request, its part of the system's included.

    Args:
        key: See `Row`.
        title: See `Row`.
        load: What the client does.
        service: What the server offers; see `benchmarks.wire.servers`.
        compare_with: Another service of giambio, measured along with it as one more contender.
        reach: See `Row`.
    """

    section = WIRE
    unit = "µs"

    def __init__(
        self,
        key: str,
        title: str,
        load: Load,
        *,
        service: str = "echo",
        compare_with: str | None = None,
        reach: Reach | None = None,
    ) -> None:
        self.key = key
        self.title = title
        self.load = load
        self.reach = reach
        self._service = service
        self._compare_with = compare_with

    def contenders(self) -> tuple[Contender, ...]:
        if self._compare_with is None:
            return WIRE_CONTENDERS
        at = WIRE_CONTENDERS.index(_GIAMBIO)
        without = replace(_GIAMBIO, name=_WITHOUT)
        return (*WIRE_CONTENDERS[:at], without, *WIRE_CONTENDERS[at:])

    def play(self, contender: Contender, session: Session) -> float:
        service = self._service
        if contender.name == _WITHOUT:
            assert self._compare_with is not None
            contender, service = _GIAMBIO, self._compare_with
        _check_files(self.load.connections)
        load = replace(
            self.load,
            warmup=round(self.load.warmup * session.scale),
            requests=max(1, round(self.load.requests * session.scale)),
        )
        with (
            Server(contender, service, session) as server,
            Client(server, load, session) as client,
        ):
            return client.cpu


class IdleConnection(Row):
    """How much the server's process grows for each connection that waits for a request."""

    key = "memory-connection"
    title = "memory per idle connection, 10,000"
    section = WIRE
    unit = "B"
    connections = 10_000

    def contenders(self) -> tuple[Contender, ...]:
        return WIRE_CONTENDERS

    def play(self, contender: Contender, session: Session) -> float:
        connections = max(10, round(self.connections * min(1.0, session.scale)))
        _check_files(connections)
        with Server(contender, "echo", session) as server:
            # What is imported, or grows, with the first connections does not count.
            with Client(server, Load(50, 64, 0, 0), session):
                pass
            before = memory(server.pid)
            with Client(server, Load(connections, 64, 0, 0, 30.0), session):
                return (memory(server.pid) - before) / connections


def _check_files(connections: int) -> None:
    most = allow_many_files()
    if connections + 50 > most:
        raise SkipRow(f"no more than {most:,} descriptors may be open")


# Warm-up and requests are multiples of the connections: then both ends of a measurement are at the same
# point of the turns that the server and the client take.
_LOAD_1 = Load(1, 64, warmup=500, requests=10_000)
_LOAD_100 = Load(100, 1024, warmup=2_000, requests=20_000)
_LOAD_1000 = Load(1_000, 1024, warmup=2_000, requests=20_000)


def _with_timeout(key: str, title: str, load: Load) -> Request:
    return Request(
        key,
        f"{title}, timeout around every receive",
        load,
        service="echo_with_timeout",
        compare_with="echo",
        reach=Reach(times=1.3, base=_WITHOUT),
    )


ROWS = (
    Request("echo-1", "echo, 1 conn, 64 B", _LOAD_1, reach=Reach(times=1.3)),
    _with_timeout("echo-1-timeout", "echo, 1 conn, 64 B", _LOAD_1),
    Request("echo-100", "echo, 100 conns, 1 KiB", _LOAD_100, reach=Reach(times=1.3)),
    _with_timeout("echo-100-timeout", "echo, 100 conns, 1 KiB", _LOAD_100),
    Request("echo-1000", "echo, 1,000 conns, 1 KiB", _LOAD_1000, reach=Reach(times=1.3)),
    _with_timeout("echo-1000-timeout", "echo, 1,000 conns, 1 KiB", _LOAD_1000),
    Request(
        "echo-10000",
        "echo, 10,000 conns, 1 KiB",
        Load(10_000, 1024, warmup=10_000, requests=30_000, seconds=10.0),
    ),
    Request(
        "echo-64k",
        "echo of large messages, 100 conns, 64 KiB",
        Load(100, 65536, warmup=200, requests=3_000),
        reach=Reach(times=1.15),
    ),
    Request(
        "echo-tls",
        "TLS echo, 100 conns, 1 KiB",
        # Fewer than in plain text, because the client in Python takes longer than the server.
        Load(100, 1024, warmup=1_000, requests=10_000),
        service="tls_echo",
        reach=Reach(times=1.3),
    ),
    Request(
        "echo-udp",
        "UDP echo, 100 clients, 64 B",
        Load(100, 64, warmup=2_000, requests=20_000),
        service="udp_echo",
        reach=Reach(times=1.3),
    ),
    Request(
        "accept",
        "accept rate: connect, echo 64 B, close",
        Load(40, 64, warmup=200, requests=2_000, reconnect=True),
        reach=Reach(times=1.5),
    ),
    IdleConnection(),
)
