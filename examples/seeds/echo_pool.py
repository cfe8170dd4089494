# SPDX-License-Identifier: Apache-2.0
"""An echo server in a pool, on a socket of giambio's own, with ``await`` before bind and listen.

Whoever sends ``exit`` stops the whole server: the exception of one handler cancels the others.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import giambio

if TYPE_CHECKING:
    from giambio.socket import AsyncSocket


async def handler(sock: AsyncSocket, client_address: tuple[str, int]) -> None:
    address = f"{client_address[0]}:{client_address[1]}"
    async with sock:  # closes the socket automatically
        await sock.send_all(b"Welcome to the server pal, feel free to send me something!\n")
        while True:
            await sock.send_all(b"-> ")
            data = await sock.receive(1024)
            if not data:
                break
            if data == b"exit\n":
                await sock.send_all(b"Shutting down the server\n")
                raise Exception  # this kills the entire application
            logging.info(f"Got: {data!r} from {address}")
            await sock.send_all(b"Got: " + data)
            logging.info(f"Echoed back {data!r} to {address}")
    logging.info(f"Connection from {address} closed")


async def serve(bind_address: tuple[str, int]) -> None:
    sock = giambio.socket.socket()
    sock.setsockopt(giambio.socket.SOL_SOCKET, giambio.socket.SO_REUSEADDR, 1)
    await sock.bind(bind_address)
    await sock.listen(5)
    logging.info(f"Serving asynchronously at {bind_address[0]}:{bind_address[1]}")
    async with sock, giambio.create_pool() as pool:
        while True:
            conn, address_tuple = await sock.accept()
            logging.info(f"{address_tuple[0]}:{address_tuple[1]} connected")
            pool.spawn(handler, conn, address_tuple)


if __name__ == "__main__":
    logging.basicConfig(
        level=20, format="[%(levelname)s] %(asctime)s %(message)s", datefmt="%d/%m/%Y %p"
    )
    try:
        giambio.run(serve, ("localhost", int(sys.argv[1]) if len(sys.argv) > 1 else 1500))
    except (Exception, KeyboardInterrupt) as error:  # exceptions propagate
        if isinstance(error, KeyboardInterrupt):
            logging.info("Ctrl+C detected, exiting")
        else:
            logging.error(f"Exiting due to a {type(error).__name__}: {error}")
