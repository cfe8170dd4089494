# SPDX-License-Identifier: Apache-2.0
"""A server that can be looked into while it runs, by whoever runs it and by nobody else.

kill -USR1 PID                   it prints its tasks
python -m giambio tree PID       another terminal shows them
"""

from __future__ import annotations

import os
import signal

import giambio
from giambio.debug import Monitor, dump_on_signal


async def serve(number: int) -> None:
    await giambio.sleep(3600)


async def main() -> None:
    with Monitor() as monitor, dump_on_signal():
        print("python -m giambio tree", os.getpid(), "asks at", monitor.path)
        async with giambio.create_pool() as pool:
            for number in range(1000):
                pool.spawn(serve, number)
            await giambio.checkpoint()
            signal.raise_signal(signal.SIGUSR1)  # as if somebody had typed: kill -USR1 PID
            pool.cancel()


if __name__ == "__main__":
    giambio.run(main)
