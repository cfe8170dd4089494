# SPDX-License-Identifier: Apache-2.0
"""What runs in a worker process; see `giambio.run_in_process`."""

from __future__ import annotations

import socket
import sys

from .remote import perform, set_main

HEADER = 8
"""Each message is preceded by its size, in so many bytes, the most significant one first."""


def serve(fd: int, main_name: str | None, main_path: str | None) -> None:
    """Make the calls that come, one after the other, until the other side closes.

    Args:
        fd: The descriptor of a stream socket, whose other end is in the process that calls.
        main_name: The name of the main module there, if it has one.
        main_path: Its file, if it has one.
    """
    set_main(main_name, main_path)
    sock = socket.socket(fileno=fd)
    sock.setblocking(True)
    with sock, sock.makefile("rwb") as stream:
        while header := stream.read(HEADER):
            reply = perform(stream.read(int.from_bytes(header)))
            for output in (sys.stdout, sys.stderr):
                if output is not None:
                    output.flush()
            stream.write(len(reply).to_bytes(HEADER))
            stream.write(reply)
            stream.flush()
