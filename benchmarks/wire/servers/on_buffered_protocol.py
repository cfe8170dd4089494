# SPDX-License-Identifier: Apache-2.0
"""Callbacks on asyncio: a ``BufferedProtocol``, four times as fast as its streams.

All connections read into the same buffer, for what was read is copied before the next one reads.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

# Datagrams come to one kind of protocol only.
from benchmarks.wire.servers.on_protocol import udp_echo as udp_echo

if TYPE_CHECKING:
    from socket import socket
    from ssl import SSLContext

_buffer = bytearray(65536)
_view = memoryview(_buffer)


async def echo(listener: socket) -> None:
    await _serve(listener, Echo)


async def echo_with_timeout(listener: socket) -> None:
    await _serve(listener, ImpatientEcho)


async def tls_echo(listener: socket, context: SSLContext) -> None:
    await _serve(listener, Echo, context)


async def _serve(listener: socket, protocol: type[Echo], context: SSLContext | None = None) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, sock=listener, ssl=context, backlog=1024)
    await server.serve_forever()


class Echo(asyncio.BufferedProtocol):
    """One connection."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(_view[:nbytes]))

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class ImpatientEcho(Echo):
    """One connection that is broken off if nothing comes for 30 seconds."""

    timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.loop = asyncio.get_running_loop()
        self.timer = self.loop.call_later(30, self.transport.abort)

    def buffer_updated(self, nbytes: int) -> None:
        self.timer.cancel()
        self.transport.write(bytes(_view[:nbytes]))
        self.timer = self.loop.call_later(30, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self.timer.cancel()
