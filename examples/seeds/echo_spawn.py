# SPDX-License-Identifier: Apache-2.0
"""An echo server that spawns its handlers into the root pool, on a socket that it wraps."""

from __future__ import annotations

import logging
import socket
import sys
from typing import TYPE_CHECKING, Any

import giambio

if TYPE_CHECKING:
    from giambio.socket import AsyncSocket

logging.basicConfig(
    level=20,
    format="[%(levelname)s] %(asctime)s %(message)s",
    datefmt="%d/%m/%Y %p",
)


async def server(address: tuple[str, int]) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)
    sock.listen(5)
    asock = giambio.wrap_socket(sock)  # we make the socket an async socket
    logging.info(f"Echo server serving asynchronously at {address}")
    async with asock:
        while True:
            conn, addr = await asock.accept()
            logging.info(f"{addr} connected")
            giambio.spawn(echo_handler, conn, addr)


async def echo_handler(sock: AsyncSocket, addr: Any) -> None:
    async with sock:
        await sock.send_all(b"Welcome to the server pal, feel free to send me something!\n")
        while True:
            await sock.send_all(b"-> ")
            data = await sock.receive(1024)
            if not data:
                break
            printable = data.decode("utf-8", "replace").encode("unicode_escape").decode()
            logging.info(f"Got: '{printable}' from {addr}")
            await sock.send_all(b"Got: " + data)
            logging.info(f"Echoed back '{printable}' to {addr}")
    logging.info(f"Connection from {addr} closed")


if __name__ == "__main__":
    try:
        giambio.run(server, ("", int(sys.argv[1]) if len(sys.argv) > 1 else 1501))
    except BaseException as error:  # exceptions propagate
        print(f"Exiting due to a {type(error).__name__}: '{error}'")
