# SPDX-License-Identifier: Apache-2.0
"""Coroutines on the loop written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bare import Connection, Endpoint, Pool, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket
    from ssl import SSLContext

    from benchmarks.bare import Main
    from benchmarks.bare_tls import TLSConnection


async def echo(listener: socket) -> None:
    await _serve(listener, _echo)


async def echo_with_timeout(listener: socket) -> None:
    await _serve(listener, _echo_with_timeout)


async def tls_echo(listener: socket, context: SSLContext) -> None:
    # Here, because it imports what the other services do not need.
    from benchmarks.bare_tls import TLSConnection

    await _serve(listener, _echo, lambda sock: TLSConnection(Connection(sock), context))


async def udp_echo(sock: socket) -> None:
    endpoint = Endpoint(sock)
    while True:
        data, address = await endpoint.receive_from(65536)
        await endpoint.send_to(data, address)


async def _serve(
    listener: socket,
    handler: Main,
    connect: Callable[[socket], Connection | TLSConnection] = Connection,
) -> None:
    server = Connection(listener)
    async with Pool() as pool:
        while True:
            pool.spawn(handler, connect(await server.accept()))


async def _echo(connection: Connection | TLSConnection) -> None:
    while data := await connection.receive(65536):
        await connection.send_all(data)
    connection.close()


async def _echo_with_timeout(connection: Connection) -> None:
    while True:
        with Timeout(30):
            data = await connection.receive(65536)
        if not data:
            break
        await connection.send_all(data)
    connection.close()
