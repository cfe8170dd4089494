# SPDX-License-Identifier: Apache-2.0
"""A resolver that knows some hosts, and asks the system for the others.

python own_resolver.py giambio.test localhost
"""

from __future__ import annotations

import sys
from typing import Any

import giambio
from giambio.socket import Resolver, getaddrinfo, set_resolver


class Hosts:
    """Resolves the names that it is given as others; what it does not know it hands on."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names
        self.rest: Resolver = set_resolver(self)

    async def getaddrinfo(self, host: Any, *more: Any) -> list[Any]:
        if host in self.names:
            return await getaddrinfo(self.names[host], *more)
        return await self.rest.getaddrinfo(host, *more)

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        return await self.rest.getnameinfo(sockaddr, flags)


async def main(names: list[str]) -> None:
    Hosts({"giambio.test": "127.0.0.1"})
    for name in names:
        addresses = {address[0] for *_, address in await getaddrinfo(name, 80)}
        print(f"{name}: {', '.join(sorted(addresses))}")


if __name__ == "__main__":
    giambio.run(main, sys.argv[1:])
