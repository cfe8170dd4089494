# SPDX-License-Identifier: Apache-2.0
"""A program of giambio's that uses a library which works only under asyncio.

The library here is ``aiosqlite``: ``pip install aiosqlite``. asyncio drives; each side awaits what belongs
to the other; a timeout of giambio's cancels what runs in asyncio.
"""

from __future__ import annotations

import asyncio

import aiosqlite

import giambio
from giambio.hosting import await_asyncio, run_in_asyncio


async def insert(database: aiosqlite.Connection, word: str) -> None:
    await await_asyncio(database.execute("insert into words values (?)", (word,)))


async def words(database: aiosqlite.Connection) -> list[str]:
    # What asyncio's libraries have as `async with` and `async for` is easiest left on that side.
    async with database.execute("select word from words order by word") as cursor:
        return [word async for (word,) in cursor]


async def main() -> None:
    database = await await_asyncio(aiosqlite.connect(":memory:"))
    try:
        await await_asyncio(database.execute("create table words (word text)"))
        async with giambio.with_timeout(5) as pool:
            for word in "structured", "cancellable", "readable":
                pool.spawn(insert, database, word)
        print(*await await_asyncio(words(database)), sep="\n")
    finally:
        with giambio.cleanup(timeout=5):
            await await_asyncio(database.close())


if __name__ == "__main__":
    asyncio.run(run_in_asyncio(main))
