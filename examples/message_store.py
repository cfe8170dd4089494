# SPDX-License-Identifier: Apache-2.0
"""A store that speaks JSON: each message has its length before it, in four bytes.

    python message_store.py serve 8000
    python message_store.py ask localhost 8000 '{"set": "colour", "to": "green"}' '{"get": "colour"}'

A stream of bytes knows no messages: what one side sends at once may arrive in pieces, or along with
other things. `LengthPrefixedStream` puts them together again, and is used like a channel.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import giambio
from giambio import LengthPrefixedStream

LARGEST = 100_000


class Store:
    """What is stored, by name."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    async def serve_client(self, stream: giambio.Stream) -> None:
        messages = LengthPrefixedStream(stream, limit=LARGEST)
        async for message in messages:
            await messages.send(json.dumps(self.answer(message)).encode())

    def answer(self, message: bytes) -> Any:
        try:
            order = json.loads(message)
        except ValueError:
            return {"error": "not JSON"}
        match order:
            case {"get": str(name)}:
                return {"value": self.values.get(name)}
            case {"set": str(name), "to": value}:
                self.values[name] = value
                return {"done": True}
        return {"error": "not understood"}


async def serve(port: int) -> None:
    async with giambio.create_pool() as pool:
        server = await pool.start(giambio.serve_tcp, Store().serve_client, port)
        print(f"Listening on port {server.port}", flush=True)
        await server.shutdown_on(signal.SIGINT, signal.SIGTERM, grace=1)


async def ask(stream: giambio.Stream, questions: list[str]) -> list[str]:
    """Send all questions at once, and return the answers in order."""
    async with (
        LengthPrefixedStream(stream, limit=LARGEST) as messages,
        giambio.create_pool() as pool,
    ):
        for question in questions:
            pool.spawn(messages.send, question.encode())
        answers = [await messages.receive() for _ in questions]
    return [answer.decode() for answer in answers]


async def main(what: str, *args: str) -> None:
    if what == "serve":
        await serve(int(args[0]))
    else:
        host, port, *questions = args
        for answer in await ask(await giambio.connect_tcp(host, int(port)), questions):
            print(answer)


if __name__ == "__main__":
    giambio.run(main, *sys.argv[1:])
