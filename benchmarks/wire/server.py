# SPDX-License-Identifier: Apache-2.0
"""A server in a process of its own: who starts it, and the program that it starts.

A new process for each measurement, because it is the simplest thing that surely ends: it is killed
afterwards, and ends by itself should nobody be there to do that.
"""

from __future__ import annotations

import importlib
import signal
import socket
import subprocess
import sys
import tempfile
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Self

from benchmarks import ROOT
from benchmarks.machine import allow_many_files
from benchmarks.row import SkipRow
from benchmarks.wire.certificate import HOST, server_context
from benchmarks.wire.contenders import WIRE_CONTENDERS
from benchmarks.worker import MeasurementError

if TYPE_CHECKING:
    from benchmarks.contenders import Contender
    from benchmarks.session import Session

# No measurement takes longer, so a server that lives longer has been forgotten.
_LIFETIME = 120

_NO_SUCH_SERVICE = 3

# How a service is reached, if not by TCP.
_TRANSPORTS = {"tls_echo": "tls", "udp_echo": "udp"}


class Server:
    """A running server. A context manager, which ends it.

    Attributes:
        transport: How it is reached: ``"tcp"``, ``"tls"`` or ``"udp"``.
        port: Its port at `HOST`.
        pid: Its process.
    """

    def __init__(self, contender: Contender, service: str, session: Session) -> None:
        self.transport = _TRANSPORTS.get(service, "tcp")
        if contender.library == "c":
            program = session.compiled.program("server")
            if program is None:
                raise SkipRow("there is no C compiler")
            command = [program, str(_LIFETIME), service]
        else:
            command = [sys.executable, *contender.flags, "-m", "benchmarks.wire.server"]
            command += [contender.name, service]
            if self.transport == "tls":
                command.append(session.certificate.folder)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # `close` closes it
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._errors, cwd=ROOT, text=True
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        port = self._process.stdout.readline()
        if not port:
            # It is about to end. Killed before, it could not say why.
            self._process.wait()
            self.close()
            if self._process.returncode == _NO_SUCH_SERVICE:
                raise SkipRow(f"has no {service.replace('_', ' ')}")
            raise MeasurementError(f"the server did not start: {self.complaints}")
        self.port = int(port)

    @property
    def complaints(self) -> str:
        """The last line that it wrote about errors."""
        return self._complaints[-1] if self._complaints else "no error"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End it. Closing twice is fine."""
        if not self._errors.closed:
            self._process.kill()
            self._process.communicate()
            self._errors.seek(0)
            self._complaints = self._errors.read().splitlines()
            self._errors.close()


def _open_socket(transport: str) -> socket.socket:
    """Return what a service is given to serve on."""
    address = (HOST, 0)
    if transport != "udp":
        return socket.create_server(address, backlog=1024)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(address)
    return sock


def main() -> None:
    """Serve for ever: ``python -m benchmarks.wire.server CONTENDER SERVICE [CERTIFICATE]``."""
    name, service, *certificate = sys.argv[1:]
    contender = next(one for one in WIRE_CONTENDERS if one.name == name)
    module = importlib.import_module(f"benchmarks.wire.servers.{contender.like}")
    serve = getattr(module, service, None)
    if serve is None:
        sys.exit(_NO_SUCH_SERVICE)
    if hasattr(signal, "alarm"):
        signal.alarm(_LIFETIME)
    allow_many_files()
    sock = _open_socket(_TRANSPORTS.get(service, "tcp"))
    contexts = [server_context(folder) for folder in certificate]
    print(sock.getsockname()[1], flush=True)
    if iscoroutinefunction(serve):
        contender.run(serve, sock, *contexts)
    else:
        serve(sock, *contexts)


if __name__ == "__main__":
    main()
