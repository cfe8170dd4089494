# SPDX-License-Identifier: Apache-2.0
"""curio's sockets."""

# mypy: disable-error-code="import-untyped"
# (curio has no types)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from curio import timeout_after
from curio.io import Socket
from curio.network import run_server
from curio.ssl import CurioSSLContext

if TYPE_CHECKING:
    from socket import socket
    from ssl import SSLContext


async def echo(listener: socket) -> None:
    await run_server(Socket(listener), _echo)


async def echo_with_timeout(listener: socket) -> None:
    await run_server(Socket(listener), _echo_with_timeout)


async def tls_echo(listener: socket, context: SSLContext) -> None:
    await run_server(Socket(listener), _echo, CurioSSLContext(context))


async def udp_echo(sock: socket) -> None:
    server = Socket(sock)
    while True:
        data, address = await server.recvfrom(65536)
        await server.sendto(data, address)


async def _echo(connection: Socket, address: Any) -> None:
    while data := await connection.recv(65536):
        await connection.sendall(data)


async def _echo_with_timeout(connection: Socket, address: Any) -> None:
    while True:
        async with timeout_after(30):
            data = await connection.recv(65536)
        if not data:
            break
        await connection.sendall(data)
