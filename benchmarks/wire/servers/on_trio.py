# SPDX-License-Identifier: Apache-2.0
"""trio's streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from socket import socket
    from ssl import SSLContext


async def echo(listener: socket) -> None:
    await _serve(listener, _echo)


async def echo_with_timeout(listener: socket) -> None:
    await _serve(listener, _echo_with_timeout)


async def tls_echo(listener: socket, context: SSLContext) -> None:
    await _serve(listener, _echo, context)


async def udp_echo(sock: socket) -> None:
    server = trio.socket.from_stdlib_socket(sock)
    while True:
        data, address = await server.recvfrom(65536)
        await server.sendto(data, address)


async def _serve(
    listener: socket,
    handler: Callable[[Any], Awaitable[None]],
    context: SSLContext | None = None,
) -> None:
    plain = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    server = plain if context is None else trio.SSLListener(plain, context)
    await trio.serve_listeners(handler, [server])


async def _echo(stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
    while data := await stream.receive_some(65536):
        await stream.send_all(data)


async def _echo_with_timeout(stream: trio.SocketStream) -> None:
    while True:
        with trio.fail_after(30):
            data = await stream.receive_some(65536)
        if not data:
            break
        await stream.send_all(data)
