# SPDX-License-Identifier: Apache-2.0
"""An echo server that serves at most a thousand clients at a time, and ends gracefully.

    python echo_server.py 8000

Stop it with Ctrl+C or SIGTERM: it accepts nobody any more, gives whoever is connected ten seconds to
finish, and then cancels the rest. A second Ctrl+C cuts that short.
"""

from __future__ import annotations

import signal
import sys

import giambio

IDLE_SECONDS = 60


async def echo(stream: giambio.AsyncSocket) -> None:
    """Serve one client. The stream is closed when this ends."""
    while True:
        with giambio.skip_after(IDLE_SECONDS) as waiting:
            data = await stream.receive()
        if waiting.timed_out or not data:
            return
        await stream.send_all(data)


async def main(port: int) -> None:
    async with giambio.create_pool() as pool:
        server = await pool.start(giambio.serve_tcp, echo, port, max_clients=1000)
        print(f"Listening on port {server.port}", flush=True)
        await server.shutdown_on(signal.SIGINT, signal.SIGTERM, grace=10)
    print("Goodbye")


if __name__ == "__main__":
    giambio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
