# SPDX-License-Identifier: Apache-2.0
"""asyncio's streams, on its own loop or uvloop's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from socket import socket
    from ssl import SSLContext

    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(listener: socket) -> None:
    await _serve(listener, _echo)


async def echo_with_timeout(listener: socket) -> None:
    await _serve(listener, _echo_with_timeout)


async def tls_echo(listener: socket, context: SSLContext) -> None:
    await _serve(listener, _echo, context)


async def _serve(listener: socket, handler: Handler, context: SSLContext | None = None) -> None:
    # Without a number it would lower the backlog of the listener to 100.
    server = await asyncio.start_server(handler, sock=listener, ssl=context, backlog=1024)
    await server.serve_forever()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _echo_with_timeout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        async with asyncio.timeout(30):
            data = await reader.read(65536)
        if not data:
            break
        writer.write(data)
        await writer.drain()
    writer.close()
