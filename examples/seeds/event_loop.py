# SPDX-License-Identifier: Apache-2.0
"""The oldest spelling: a loop object, tasks from coroutines, and ``loop.start``."""

from __future__ import annotations

import socket
import sys

import giambio

loop = giambio.EventLoop()
# Pairs of host and port, given as host:port on the command line.
addrs: list[tuple[str, int]] = []


async def io_bound_task() -> list[bytes]:
    res = []
    for addr in addrs:
        sock = loop.wrap_socket(socket.socket())  # an asynchronous socket
        async with sock:
            await sock.connect(addr)
            res.append(await sock.receive(1024))
    return res


async def main() -> list[list[bytes]]:
    task = await giambio.spawn(io_bound_task())
    task2 = await giambio.spawn(io_bound_task())
    # These two run at the same time.
    return [await task.join(), await task2.join()]


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        host, _, port = argument.rpartition(":")
        addrs.append((host, int(port)))
    print(loop.start(main))  # note the absence of parentheses
