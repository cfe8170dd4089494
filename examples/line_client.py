# SPDX-License-Identifier: Apache-2.0
"""A client of a server that answers each line with a line; the one in ``echo_server.py`` does.

    python line_client.py localhost 8000 hello "how are you?"

It tries again when nobody is there yet, and gives up on an answer that takes too long.
"""

from __future__ import annotations

import sys

import giambio

ATTEMPTS = 4
ANSWER_SECONDS = 5


async def connect(host: str, port: int) -> giambio.AsyncSocket:
    """Connect; wait longer from attempt to attempt while nobody listens."""
    for attempt in range(1, ATTEMPTS):
        try:
            return await giambio.connect_tcp(host, port)
        except ConnectionRefusedError:
            await giambio.sleep(2**attempt / 10)
    return await giambio.connect_tcp(host, port)


async def ask(host: str, port: int, lines: list[str]) -> list[str]:
    """Send lines, and return the line that answers each."""
    answers = []
    async with giambio.BufferedStream(await connect(host, port)) as stream:
        for line in lines:
            await stream.send_all(line.encode() + b"\n")
            with giambio.with_timeout(ANSWER_SECONDS):
                answer = await stream.receive_until(b"\n")
            answers.append(answer.decode().rstrip("\n"))
    return answers


async def main(host: str, port: int, lines: list[str]) -> None:
    for answer in await ask(host, port, lines):
        print(answer)


if __name__ == "__main__":
    host, port, *lines = sys.argv[1:]
    giambio.run(main, host, int(port), lines)
