# SPDX-License-Identifier: Apache-2.0
"""A chat: whatever line one sends, all others receive.

Each client has a task that listens to it, one that talks to it, and a channel from the others to the
latter. A client that does not read fast enough is shown the door, so nobody has to wait for it.

    python chat_server.py 8000
    nc localhost 8000
"""

from __future__ import annotations

import signal
import sys
from typing import NamedTuple

import giambio

LONGEST_LINE = 1000
UNREAD_LINES = 100


class Member(NamedTuple):
    """Somebody who is there."""

    channel: giambio.SendChannel[str]
    pool: giambio.Pool


class Room:
    """Who is there, by name."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}

    def tell_others(self, name: str, text: str) -> None:
        for other, member in self.members.items():
            if other != name:
                try:
                    member.channel.send_nowait(text)
                except giambio.WouldBlock:
                    member.pool.cancel("it does not read")

    async def visit(self, stream: giambio.AsyncSocket) -> None:
        """Serve one client."""
        lines = giambio.TextStream(stream, errors="replace", limit=LONGEST_LINE)
        try:
            name = await self.ask_name(lines)
            if name is not None:
                await self.chat(name, lines)
        except giambio.exceptions.DelimiterNotFound:
            pass  # this was no line of a chat

    async def ask_name(self, lines: giambio.TextStream) -> str | None:
        await lines.send_all("Your name?\n")
        async for name in lines.lines():
            if name and name not in self.members:
                return name
            await lines.send_all("Another one, please.\n")
        return None

    async def chat(self, name: str, lines: giambio.TextStream) -> None:
        sender, receiver = giambio.open_memory_channel(UNREAD_LINES)
        with sender, receiver:
            async with giambio.create_pool() as pool:
                self.members[name] = Member(sender, pool)
                try:
                    self.tell_others(name, f"* {name} has come")
                    pool.spawn(self.listen, name, lines, pool)
                    async for text in receiver:
                        await lines.send_all(text + "\n")
                finally:
                    del self.members[name]
                    self.tell_others(name, f"* {name} has left")

    async def listen(self, name: str, lines: giambio.TextStream, pool: giambio.Pool) -> None:
        async for line in lines.lines():
            self.tell_others(name, f"{name}: {line}")
            await (
                giambio.checkpoint()
            )  # many lines may have come at once; let the others take this one
        pool.cancel("the client has left")


async def main(port: int) -> None:
    async with giambio.create_pool() as pool:
        server = await pool.start(giambio.serve_tcp, Room().visit, port)
        print(f"Listening on port {server.port}", flush=True)
        await server.shutdown_on(signal.SIGINT, signal.SIGTERM, grace=0)


if __name__ == "__main__":
    giambio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
