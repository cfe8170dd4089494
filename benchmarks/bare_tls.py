# SPDX-License-Identifier: Apache-2.0
"""The floor over TLS, for the server's side: a `Connection` of `bare` with OpenSSL on top.

OpenSSL works on two buffers in memory. A non-blocking `ssl.SSLSocket` takes 3 % longer, for it reads the
head and the body of each record by a call of the system each; and 20 % longer if epoll is edge-triggered,
for then it must be tried until it has nothing more to give.

What it leaves out, besides what `bare` does, is the end: it is not announced, and being cut off is one.
"""

from __future__ import annotations

import ssl
from types import coroutine
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from benchmarks.bare import Connection, Trap


class TLSConnection:
    """TLS over a connection. One task may receive and send."""

    __slots__ = ("_connection", "_encrypted", "_incoming", "_may_read", "_read", "_write")

    def __init__(self, connection: Connection, context: ssl.SSLContext) -> None:
        self._connection = connection
        self._incoming = ssl.MemoryBIO()
        self._encrypted = ssl.MemoryBIO()
        session = context.wrap_bio(self._incoming, self._encrypted, server_side=True)
        self._read = session.read
        self._write = session.write
        # Whether there may be more to decrypt than has come out.
        self._may_read = False

    @coroutine
    def receive(self, size: int) -> Generator[Any, None, bytes]:
        while True:
            if self._may_read:
                try:
                    data = self._read(size)
                except ssl.SSLWantReadError:
                    # Reading makes the handshake, too, and then there is something to say.
                    if self._encrypted.pending:
                        yield from self._connection.send_all(self._encrypted.read())
                else:
                    self._may_read = len(data) == size or self._incoming.pending > 0
                    return data
            piece = yield from self._connection.receive(65536)
            if not piece:
                return b""
            self._incoming.write(piece)
            self._may_read = True

    @coroutine
    def send_all(self, data: bytes) -> Trap:
        self._write(data)
        yield from self._connection.send_all(self._encrypted.read())

    def close(self) -> None:
        self._connection.close()
