# SPDX-License-Identifier: Apache-2.0
"""Callbacks on uvloop: an asyncio ``Protocol``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from socket import socket
    from ssl import SSLContext


async def echo(listener: socket) -> None:
    await _serve(listener, Echo)


async def echo_with_timeout(listener: socket) -> None:
    await _serve(listener, ImpatientEcho)


async def udp_echo(sock: socket) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(DatagramEcho, sock=sock)
    await loop.create_future()


async def tls_echo(listener: socket, context: SSLContext) -> None:
    await _serve(listener, Echo, context)


async def _serve(listener: socket, protocol: type[Echo], context: SSLContext | None = None) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, sock=listener, ssl=context, backlog=1024)
    await server.serve_forever()


class Echo(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

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

    def data_received(self, data: bytes) -> None:
        self.timer.cancel()
        self.transport.write(data)
        self.timer = self.loop.call_later(30, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self.timer.cancel()


class DatagramEcho(asyncio.DatagramProtocol):
    """All datagrams."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)
