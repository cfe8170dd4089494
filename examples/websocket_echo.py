# SPDX-License-Identifier: Apache-2.0
"""A WebSocket echo server on wsproto.

Messages of text and of bytes go back as they came, in however many frames they arrived; pings are
answered; and when the server ends, it says goodbye to each client as the protocol wants it.

    python websocket_echo.py 8001
"""

from __future__ import annotations

import signal
import sys

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

import giambio

GOING_AWAY = 1001
LAST_WORDS_SECONDS = 1


class EchoConnection:
    """One connection of a client."""

    def __init__(self, stream: giambio.AsyncSocket) -> None:
        self.stream = stream
        self.websocket = WSConnection(ConnectionType.SERVER)
        # What has come of a message that is not at its end.
        self.text = ""
        self.data = b""
        self.is_sending = False

    async def serve(self) -> None:
        try:
            while self.websocket.state is not ConnectionState.CLOSED:
                data = await self.stream.receive()
                if not data:
                    return  # the client has left without a word
                self.websocket.receive_data(data)
                for event in self.websocket.events():
                    await self.handle(event)
        except RemoteProtocolError as error:
            hint = error.event_hint or RejectConnection()
            await self.stream.send_all(self.websocket.send(hint))

    async def handle(self, event: Event) -> None:
        match event:
            case Request():
                await self.send(AcceptConnection())
            case Ping() | CloseConnection():
                await self.send(event.response())
            case TextMessage():
                self.text += event.data
                if event.message_finished:
                    text, self.text = self.text, ""
                    await self.send(TextMessage(data=text))
            case BytesMessage():
                self.data += event.data
                if event.message_finished:
                    data, self.data = self.data, b""
                    await self.send(BytesMessage(data=data))

    async def send(self, event: Event) -> None:
        self.is_sending = True
        await self.stream.send_all(self.websocket.send(event))
        self.is_sending = False

    async def say_goodbye(self) -> None:
        """Tell the client that the server is going away, if it is in a state to hear it."""
        if self.is_sending:
            return  # half a message went out, and what follows would be taken for the rest
        try:
            goodbye = self.websocket.send(CloseConnection(code=GOING_AWAY))
        except LocalProtocolError:
            return
        await self.stream.send_all(goodbye)


async def serve_client(stream: giambio.AsyncSocket) -> None:
    connection = EchoConnection(stream)
    try:
        await connection.serve()
    except giambio.CancelledError:
        # In a cancelled task nothing else can wait.
        with giambio.cleanup(timeout=LAST_WORDS_SECONDS):
            await connection.say_goodbye()
        raise


async def main(port: int) -> None:
    async with giambio.create_pool() as pool:
        server = await pool.start(giambio.serve_tcp, serve_client, port)
        print(f"Serving at ws://localhost:{server.port}/", flush=True)
        await server.shutdown_on(signal.SIGINT, signal.SIGTERM, grace=0)


if __name__ == "__main__":
    giambio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8001)
