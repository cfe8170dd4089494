# SPDX-License-Identifier: Apache-2.0
"""The smallest server: what one sends to it comes back, for a minute.

python echo.py
"""

from __future__ import annotations

import giambio


async def echo(stream: giambio.AsyncSocket) -> None:
    with giambio.skip_after(60):
        while data := await stream.receive():
            await stream.send_all(data)


async def main() -> None:
    await giambio.serve_tcp(echo, 1500, host="localhost")


if __name__ == "__main__":
    giambio.run(main)
