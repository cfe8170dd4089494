# SPDX-License-Identifier: Apache-2.0
"""The load on a server: what the client is asked to do, and what it found."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from benchmarks import ROOT
from benchmarks.row import SkipRow
from benchmarks.worker import MeasurementError

if TYPE_CHECKING:
    from benchmarks.session import Session
    from benchmarks.wire.server import Server


@dataclass(frozen=True)
class Load:
    """A closed loop: on each connection the next request is made when the answer to the last is there.

    Attributes:
        connections: How many there are; over UDP, how many sockets, with one datagram on its way each.
        size: Of a request, and of its answer, in bytes.
        warmup: How many requests are made before the measurement begins.
        requests: How many requests are measured. With zero the connections are made, and idle after one
            request each.
        seconds: When to stop if there were not as many by then.
        reconnect: Whether each request has a connection of its own.
    """

    connections: int
    size: int
    warmup: int
    requests: int
    seconds: float = 4.0
    reconnect: bool = False

    def arguments(self) -> list[str]:
        """Return what the client wants to be told, after what it has to know of the server."""
        counts = (self.connections, self.size, self.warmup, self.requests)
        return [*map(str, counts), str(self.seconds), str(int(self.reconnect))]


class Client:
    """A client that has made its requests, with its connections still open. A context manager."""

    def __init__(self, server: Server, load: Load, session: Session) -> None:
        """Start it and wait until it is done.

        Raises:
            SkipRow: The system does not tell how much processor time the server takes.
            MeasurementError: The server did not answer as it should.
        """
        if sys.platform != "linux":
            raise SkipRow("the processor time of another process is read as Linux has it")
        over_tls = server.transport == "tls"
        # The one in C knows no TLS. The time that the client takes does not count anyway.
        program = None if over_tls else session.compiled.program("client")
        command = [program] if program else [sys.executable, "-m", "benchmarks.wire.client"]
        command += [server.transport, str(server.port), str(server.pid), *load.arguments()]
        if over_tls:
            command.append(session.certificate.folder)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        assert self._process.stdout is not None
        done = select.select([self._process.stdout], [], [], session.limit)[0]
        line = self._process.stdout.readline() if done else ""
        if not line:
            self._process.kill()
            _, errors = self._process.communicate()
            server.close()
            words = (errors or f"client: no result after {session.limit:g} s").splitlines()[-1]
            raise MeasurementError(f"{words} (server: {server.complaints})")
        found = json.loads(line)
        # Of the server, in seconds for each request.
        self.cpu: float = found["cpu"] / 1e9 / max(1, found["requests"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()
