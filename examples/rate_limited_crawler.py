# SPDX-License-Identifier: Apache-2.0
"""A polite crawler: so many requests a second, and so many connections at a time.

    python rate_limited_crawler.py

It follows all links of a small site, which it serves itself. Each page is a task of its own; that most
of them have to wait makes nothing more complicated.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial

import giambio

LINK = re.compile(rb'href="([^"]+)"')
PAGES = 30


class Crawler:
    """Visits each page of a site once."""

    def __init__(
        self, fetch: Callable[[str], Awaitable[bytes]], rate: float, connections: int
    ) -> None:
        self._fetch = fetch
        self._rate = giambio.RateLimit(rate, per=1.0, burst=5)
        self._connections = giambio.CapacityLimiter(connections)
        self._found: set[str] = set()
        self.sizes: dict[str, int] = {}

    async def crawl(self, start: str) -> dict[str, int]:
        """Return the size of each page that can be reached from *start*."""
        async with giambio.create_pool() as pool:
            self._follow(pool, start)
        return self.sizes

    def _follow(self, pool: giambio.Pool, path: str) -> None:
        if path not in self._found:
            self._found.add(path)
            pool.spawn(self._visit, pool, path)

    async def _visit(self, pool: giambio.Pool, path: str) -> None:
        # The rate comes last: nothing is waited for between its permission and the request.
        async with self._connections, self._rate:
            page = await self._fetch(path)
        self.sizes[path] = len(page)
        for link in LINK.findall(page):
            self._follow(pool, link.decode())


async def fetch(port: int, path: str) -> bytes:
    async with await giambio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send_all(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while data := await stream.receive():
            answer += data
    return answer.partition(b"\r\n\r\n")[2]


async def serve_page(stream: giambio.AsyncSocket) -> None:
    """Answer one request of the site: page n links to pages 2n and 2n + 1, and to the first."""
    request = b""
    while b"\r\n\r\n" not in request and (data := await stream.receive()):
        request += data
    number = int(request.split()[1].strip(b"/"))
    links = [n for n in (1, 2 * number, 2 * number + 1) if n <= PAGES]
    page = "\n".join(f'<a href="/{n}">page {n}</a>' for n in links)
    await stream.send_all(f"HTTP/1.0 200 OK\r\n\r\n{page}\n".encode())


async def main(rate: float = 20, connections: int = 4) -> dict[str, int]:
    async with giambio.create_pool() as pool:
        server = await pool.start(giambio.serve_tcp, serve_page, 0, host="127.0.0.1")
        crawler = Crawler(partial(fetch, server.port), rate, connections)
        began = giambio.clock()
        sizes = await crawler.crawl("/1")
        print(f"{len(sizes)} pages in {giambio.clock() - began:.1f} s")
        pool.cancel()  # or the server would go on for ever
    return sizes


if __name__ == "__main__":
    giambio.run(main)
