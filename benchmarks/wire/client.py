# SPDX-License-Identifier: Apache-2.0
"""The load: a closed loop of requests on many connections.

It does what client.c does, where there is no compiler for that, and over TLS, which that one cannot.

Usage: python -m benchmarks.wire.client TRANSPORT PORT PID
                                        CONNECTIONS SIZE WARMUP REQUESTS SECONDS RECONNECT [CERTIFICATE]

The first line is about the server, the second one is described in `load`; CERTIFICATE is a folder, for
TLS only. When all requests are done, a line of JSON tells how many were measured and how long that took,
in nanoseconds: ``cpu`` of the server's processor time, ``wall`` on the clock. Then the connections stay
open until standard input ends.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import sys
from functools import partial
from time import CLOCK_MONOTONIC, clock_gettime_ns
from typing import TYPE_CHECKING

from benchmarks.machine import allow_many_files
from benchmarks.wire.certificate import HOST, client_context

if TYPE_CHECKING:
    from collections.abc import Callable

# How many connections may wait for their first answer: fewer than fit into a listener's backlog.
GREETING = 128

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ClientConnection:
    """One connection of the client, or one socket that sends datagrams."""

    def __init__(self, sock: socket.socket, request: bytes, epoll: select.epoll) -> None:
        self.request = request
        self.sock = sock
        self.may_be_lost = sock.type == socket.SOCK_DGRAM
        self.sock.setblocking(False)
        epoll.register(self.sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        self.ask()

    def ask(self) -> None:
        self.sent = self.received = 0
        self.transmit()

    def transmit(self) -> None:
        try:
            while self.sent < len(self.request):
                self.sent += self.sock.send(memoryview(self.request)[self.sent :])
        except _WOULD_BLOCK:
            pass  # the edge of EPOLLOUT will tell

    def listen(self) -> bool:
        """Read what has come, and say whether the answer is complete."""
        try:
            while self.received < len(self.request):
                data = self.sock.recv(len(self.request) - self.received)
                if not data:
                    sys.exit("client: the server closed a connection")
                if data != self.request[self.received : self.received + len(data)]:
                    sys.exit("client: what came back is not what was sent")
                self.received += len(data)
        except _WOULD_BLOCK:
            return False
        return True


class ClosedLoop:
    """All connections, and how far the measurement is."""

    def __init__(
        self, connect: Callable[[], socket.socket], pid: int, connections: int, size: int
    ) -> None:
        self.connect = connect
        # How Linux numbers the clock of a process's processor time; C has clock_getcpuclockid for it.
        self.server_clock = (~pid << 3) | 2
        self.connections = connections
        self.request = bytes(ord("a") + i % 23 for i in range(size))
        self.epoll = select.epoll()
        self.all: dict[int, ClientConnection] = {}

    def dial(self) -> None:
        connection = ClientConnection(self.connect(), self.request, self.epoll)
        self.all[connection.sock.fileno()] = connection

    def answered(self) -> list[ClientConnection]:
        """Wait, and return the connections whose answer has become complete."""
        found = []
        events = self.epoll.poll(1.0, 256)
        if not events:
            self.ask_again()
        for fd, _ in events:
            connection = self.all[fd]
            if connection.sent < len(self.request):
                connection.transmit()
            if connection.received < len(self.request) and connection.listen():
                found.append(connection)
        return found

    def ask_again(self) -> None:
        """It is silent: all datagrams that were on their way are lost. Of others some may be."""
        for connection in self.all.values():
            if connection.may_be_lost and connection.received < len(self.request):
                connection.ask()

    def greet(self, deadline: int) -> None:
        """Open all connections and make one request on each."""
        greeted = 0
        while greeted < self.connections:
            while len(self.all) < min(self.connections, greeted + GREETING):
                self.dial()
            greeted += len(self.answered())
            if clock_gettime_ns(CLOCK_MONOTONIC) > deadline:
                sys.exit(f"client: {greeted} of {self.connections} connections answered in time")

    def drive(self, warmup: int, requests: int, deadline: int, reconnect: bool) -> dict[str, int]:
        """Make requests on all of them, and return what is to be told."""
        completed = 0
        cpu, wall = self.now()
        for connection in self.all.values():
            connection.ask()
        while completed < warmup + requests and clock_gettime_ns(CLOCK_MONOTONIC) < deadline:
            for connection in self.answered():
                completed += 1
                if completed == warmup:
                    cpu, wall = self.now()
                if not reconnect:
                    connection.ask()
                    continue
                del self.all[connection.sock.fileno()]
                connection.sock.close()
                self.dial()
        if completed <= warmup:
            sys.exit(f"client: {completed} requests, then time was up")
        cpu_now, wall_now = self.now()
        return {"requests": completed - warmup, "cpu": cpu_now - cpu, "wall": wall_now - wall}

    def now(self) -> tuple[int, int]:
        return clock_gettime_ns(self.server_clock), clock_gettime_ns(CLOCK_MONOTONIC)


# Connecting is blocking, but on the same machine it takes microseconds; a handshake, a millisecond.


def connect_tcp(port: int) -> socket.socket:
    sock = socket.create_connection((HOST, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def connect_tls(port: int, context: ssl.SSLContext) -> socket.socket:
    return context.wrap_socket(connect_tcp(port), server_hostname=HOST)


def connect_udp(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((HOST, port))
    return sock


_CONNECT: dict[str, Callable[..., socket.socket]]
_CONNECT = {"tcp": connect_tcp, "tls": connect_tls, "udp": connect_udp}


def main() -> None:
    """Do what the arguments say."""
    transport = sys.argv[1]
    port, pid, connections, size, warmup, requests = map(int, sys.argv[2:8])
    seconds, reconnect, *certificate = sys.argv[8:]
    limit = int(float(seconds) * 1e9)
    allow_many_files()
    contexts = [client_context(folder) for folder in certificate]
    connect = partial(_CONNECT[transport], port, *contexts)
    loop = ClosedLoop(connect, pid, connections, size)
    loop.greet(clock_gettime_ns(CLOCK_MONOTONIC) + limit)
    found = {"requests": 0, "cpu": 0, "wall": 0}
    if requests:
        deadline = clock_gettime_ns(CLOCK_MONOTONIC) + limit
        found = loop.drive(warmup, requests, deadline, reconnect == "1")
    print(json.dumps(found), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
