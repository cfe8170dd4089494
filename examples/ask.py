# SPDX-License-Identifier: Apache-2.0
"""Ask for a name at the terminal, but not for ever.

python ask.py
"""

from __future__ import annotations

import giambio

SECONDS = 10


async def main() -> None:
    stdin = giambio.BufferedStream(giambio.open_stdin())
    print("What is your name?", flush=True)
    async with giambio.skip_after(SECONDS):
        async for line in stdin.lines():
            print(f"Hello, {line.decode()}!")
            return
    print("Never mind.")


if __name__ == "__main__":
    giambio.run(main)
