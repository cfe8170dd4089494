# SPDX-License-Identifier: Apache-2.0
"""A service that reads its settings again on SIGHUP, and ends its work in order on SIGTERM or Ctrl+C.

python reload_on_signal.py settings.txt
"""

from __future__ import annotations

import signal
import sys

import giambio


async def work() -> None:
    """What the service does."""
    try:
        await giambio.sleep_forever()
    finally:
        print("cleaned up", flush=True)


async def main(name: str) -> None:
    path = giambio.Path(name)
    with giambio.open_signal_receiver(signal.SIGHUP, signal.SIGTERM, signal.SIGINT) as received:
        print("settings:", await path.read_text(), flush=True)
        async with giambio.create_pool() as pool:
            pool.spawn(work)
            async for number in received:
                if number != signal.SIGHUP:
                    pool.cancel()
                    break
                print("settings:", await path.read_text(), flush=True)


if __name__ == "__main__":
    giambio.run(main, sys.argv[1])
