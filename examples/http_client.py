# SPDX-License-Identifier: Apache-2.0
"""An HTTP/1.1 client on h11: fetches some addresses at the same time and says what came.

python http_client.py http://localhost:8000/ https://www.python.org/
"""

from __future__ import annotations

import sys
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

import h11

import giambio

AT_A_TIME = 10
SECONDS = 20


class Answer(NamedTuple):
    url: str
    status: int
    headers: dict[str, str]
    body: bytes


async def fetch(url: str) -> Answer:
    """Fetch one address over a connection of its own."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no address that begins with http:// or https://")
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    with giambio.with_timeout(SECONDS):
        async with await giambio.connect_tcp(parts.hostname, port, tls=tls) as stream:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = [("host", parts.netloc), ("connection", "close"), ("accept", "*/*")]
            request = h11.Request(method="GET", target=target, headers=headers)
            answer = await ask(stream, request, url)
    return answer


async def ask(stream: giambio.Stream, request: h11.Request, url: str) -> Answer:
    """Send a request and receive the answer."""
    http = h11.Connection(h11.CLIENT)
    await stream.send_all(http.send(request) + http.send(h11.EndOfMessage()))
    status, body = 0, b""
    headers: dict[str, str] = {}
    while True:
        match event := http.next_event():
            case h11.NEED_DATA:
                http.receive_data(await stream.receive())
            case h11.Response():
                status = event.status_code
                headers = {name.decode(): value.decode() for name, value in event.headers}
            case h11.Data():
                body += event.data
            case h11.EndOfMessage():
                return Answer(url, status, headers, body)


async def try_to_fetch(url: str) -> str:
    try:
        answer = await fetch(url)
    except (OSError, ValueError, h11.RemoteProtocolError) as error:
        return f"{url}: {error}"
    kind = answer.headers.get("content-type", "of a kind that it does not tell")
    return f"{url}: {answer.status}, {len(answer.body)} bytes, {kind}"


async def main(urls: list[str]) -> None:
    async for line in giambio.amap(try_to_fetch, urls, limit=AT_A_TIME):
        print(line)


if __name__ == "__main__":
    giambio.run(partial(main, sys.argv[1:] or ["http://localhost:8000/"]))
