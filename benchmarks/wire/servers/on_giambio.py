# SPDX-License-Identifier: Apache-2.0
"""giambio's sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from giambio import AsyncSocket, create_pool, with_timeout, wrap_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from socket import socket
    from ssl import SSLContext

    from giambio import TLSStream

    Handler = Callable[[Any], Coroutine[Any, Any, None]]


async def echo(listener: socket) -> None:
    await _serve(listener, _echo)


async def echo_with_timeout(listener: socket) -> None:
    await _serve(listener, _echo_with_timeout)


async def tls_echo(listener: socket, context: SSLContext) -> None:
    # Here, because it imports what the other services do not need.
    from giambio import TLSStream

    await _serve(listener, _echo, lambda sock: TLSStream(sock, context, server_side=True))


async def udp_echo(sock: socket) -> None:
    async with wrap_socket(sock) as server:
        while True:
            data, address = await server.recvfrom(65536)
            await server.sendto(data, address)


async def _serve(
    listener: socket, handler: Handler, wrap: Callable[[AsyncSocket], Any] | None = None
) -> None:
    async with wrap_socket(listener) as server, create_pool() as pool:
        while True:
            connection, _ = await server.accept()
            pool.spawn(handler, connection if wrap is None else wrap(connection))


async def _echo(connection: AsyncSocket | TLSStream) -> None:
    async with connection:
        while data := await connection.receive(65536):
            await connection.send_all(data)


async def _echo_with_timeout(connection: AsyncSocket) -> None:
    async with connection:
        while True:
            with with_timeout(30):
                data = await connection.receive(65536)
            if not data:
                break
            await connection.send_all(data)
