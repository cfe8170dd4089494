# SPDX-License-Identifier: Apache-2.0
"""A proxy that stands between a client and a server and treats the bytes badly.

It works with real sockets, so that whoever is on either side is tested with all that belongs to the
operating system: resets, half-closed connections, pieces that end in the middle of a word.
"""

from __future__ import annotations

import socket
import struct
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from giambio._pool import create_pool
from giambio_kernel import sleep, sleep_forever

if TYPE_CHECKING:
    from giambio._net.server import Server
    from giambio._pool import TaskStatus
    from giambio._sockets.async_socket import AsyncSocket

_CHUNK = 65536
# How much later each of many pieces is sent, in seconds, or the system would put them together again.
_APART = 1e-4
# Linger for zero seconds: closing sends a reset and no orderly end.
_RESET = struct.pack("ii", 1, 0)


class Break(Enum):
    """What happens to a connection when a `Line` has carried as much as it may."""

    CUT = "cut"
    """Both sides get an orderly end, in the middle of whatever was said."""
    RESET = "reset"
    """Both sides get a reset."""
    HALF_CLOSE = "half-close"
    """The receiver gets an orderly end, and may go on sending; what still comes is swallowed."""
    STALL = "stall"
    """Nothing passes any more in this direction, and the sender is not read from."""


class Line(NamedTuple):
    """What happens to the bytes of one direction, in each connection anew."""

    delay: float = 0.0
    """How long each piece is held up, in seconds of the loop's clock."""
    piece: int = _CHUNK
    """The largest piece that is passed on at a time, in bytes; 1 takes a stream apart, slowly."""
    limit: float = inf
    """After how many bytes the connection breaks; infinity for never."""
    then: Break = Break.CUT
    """How it breaks."""


class _Broken(Exception):
    """The connection is to end now."""


async def serve_fault_proxy(
    host: str,
    port: int,
    *,
    to_server: Line = Line(),  # noqa: B008  # it is immutable
    to_client: Line = Line(),  # noqa: B008
    task_status: TaskStatus[Server] | None = None,
) -> None:
    """Pass connections on to a server, disturbing them on the way, until cancelled.

    It listens on a port of its own on 127.0.0.1::

        proxy = await pool.start(
            serve_fault_proxy, "127.0.0.1", server.port, to_client=Line(limit=100, then=Break.RESET)
        )
        client = await giambio.connect_tcp("127.0.0.1", proxy.port)

    A connection that one side breaks, or that cannot be made, breaks on the other side as well.

    Args:
        host: Where the server is.
        port: The port of the server.
        to_server: What happens to the bytes on their way to the server.
        to_client: What happens to those on their way back.
        task_status: Given by `Pool.start`, which then returns the `Server`.

    Raises:
        ValueError: A piece is smaller than 1 byte, or a delay or limit is negative or not a number.

    Checkpoint: always.
    """
    for line in (to_server, to_client):
        if not (line.piece >= 1 and line.delay >= 0 and line.limit >= 0):
            raise ValueError(f"pieces have at least 1 byte, delay and limit are at least 0: {line}")

    from giambio._net.tcp import connect_tcp, serve_tcp  # most tests do without

    async def handler(client: AsyncSocket) -> None:
        try:
            server = await connect_tcp(host, port)
        except OSError:
            _reset(client)
            return
        async with server:
            try:
                async with create_pool() as pool:
                    pool.spawn(_carry, client, server, to_server)
                    pool.spawn(_carry, server, client, to_client)
            except _Broken:
                pass
            except OSError:
                _reset(client, server)

    await serve_tcp(handler, 0, host="127.0.0.1", task_status=task_status)


def _reset(*sockets: AsyncSocket) -> None:
    for sock in sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.close()


async def _carry(source: AsyncSocket, sink: AsyncSocket, line: Line) -> None:
    carried = 0
    while carried < line.limit:
        data = await source.receive(int(min(line.piece, line.limit - carried)))
        if line.delay or len(data) == line.piece:
            await sleep(max(line.delay, _APART))
        if not data:
            await sink.send_eof()
            return
        await sink.send_all(data)
        carried += len(data)
    if line.then is Break.CUT:
        raise _Broken
    if line.then is Break.RESET:
        _reset(source, sink)
        raise _Broken
    if line.then is Break.STALL:
        await sleep_forever()
    await sink.send_eof()
    while await source.receive():
        pass
