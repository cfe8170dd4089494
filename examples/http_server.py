# SPDX-License-Identifier: Apache-2.0
"""An HTTP/1.1 server on h11.

h11 knows the protocol and does no I/O, giambio does the I/O and knows no protocol; `Connection` is all
it takes to join them. It answers ``GET /``, echoes what is posted to ``/echo``, keeps connections open for
more requests, and on Ctrl+C or SIGTERM lets the requests that it has begun come to their end.

    python http_server.py 8000
    curl --data hello http://localhost:8000/echo
"""

from __future__ import annotations

import signal
import sys
from http import HTTPStatus

import h11

import giambio

IDLE_SECONDS = 30
LARGEST_BODY = 1 << 20


class Connection:
    """One connection of a client: events of the protocol in place of bytes."""

    def __init__(self, stream: giambio.AsyncSocket) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.SERVER)
        self.is_head = False

    async def next_event(self) -> h11.Event:
        while True:
            event = self.http.next_event()
            if isinstance(event, h11.Event):
                return event  # otherwise it needs data
            if self.http.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self.http.receive_data(await self.stream.receive())

    async def send(self, event: h11.Event) -> None:
        await self.stream.send_all(self.http.send(event) or b"")

    async def read_body(self) -> bytes:
        body = b""
        while type(event := await self.next_event()) is h11.Data:
            body += event.data
            if len(body) > LARGEST_BODY:
                raise h11.RemoteProtocolError("too much", error_status_hint=413)
        return body

    async def respond(self, status: int, body: bytes = b"") -> None:
        headers = [("content-type", "text/plain"), ("content-length", str(len(body)))]
        reason = HTTPStatus(status).phrase
        await self.send(h11.Response(status_code=status, headers=headers, reason=reason))
        if not self.is_head:
            await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())


async def answer(connection: Connection, request: h11.Request) -> None:
    connection.is_head = request.method == b"HEAD"
    body = await connection.read_body()
    match request.method, request.target.partition(b"?")[0]:
        case b"GET" | b"HEAD", b"/":
            await connection.respond(200, b"Hello from giambio!\n")
        case b"POST", b"/echo":
            await connection.respond(200, body)
        case _, b"/" | b"/echo":
            await connection.respond(405)
        case _:
            await connection.respond(404, b"There is nothing here.\n")


async def serve_client(stream: giambio.AsyncSocket) -> None:
    """Answer one request after the other, until the client or the protocol wants to end."""
    connection = Connection(stream)
    try:
        while True:
            with giambio.with_timeout(IDLE_SECONDS):
                request = await connection.next_event()
            if not isinstance(request, h11.Request):
                return  # the client has closed the connection
            await answer(connection, request)
            if connection.http.our_state is not h11.DONE:
                return  # one of the two has said "close"
            connection.http.start_next_cycle()
    except giambio.TooSlowError:
        return
    except h11.RemoteProtocolError as error:
        if connection.http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await connection.respond(error.error_status_hint, b"This was not understood.\n")
            await end_gently(stream)


async def end_gently(stream: giambio.AsyncSocket) -> None:
    """Let the client read our last words: what it still sends must not break the connection."""
    await stream.send_eof()
    with giambio.skip_after(2):
        while await stream.receive():
            pass


async def main(port: int) -> None:
    async with giambio.create_pool() as pool:
        server = await pool.start(giambio.serve_tcp, serve_client, port)
        print(f"Serving at http://localhost:{server.port}/", flush=True)
        await server.shutdown_on(signal.SIGINT, signal.SIGTERM, grace=5)
    print("All clients were served.")


if __name__ == "__main__":
    giambio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
