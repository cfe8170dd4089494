# SPDX-License-Identifier: Apache-2.0
"""A program with a deadlock in one of its parts, and three ways to learn of it.

    python crossed_locks.py            somebody asks
    python crossed_locks.py detect     the wait that closes the circle is refused
    python crossed_locks.py alone      nothing else is going on, and the loop itself finds out

Two tasks move money between two accounts, each in its own direction, and lock the accounts in the order
in which they come to them.
"""

from __future__ import annotations

import sys

import giambio
from giambio.debug import DeadlockDetector, find_deadlocks


class Account:
    def __init__(self, money: int) -> None:
        self.money = money
        self.lock = giambio.Lock()


async def move(amount: int, source: Account, target: Account) -> None:
    async with source.lock:
        await giambio.sleep(0.01)  # ask the bank whether there is enough
        async with target.lock:
            source.money -= amount
            target.money += amount


async def watch() -> None:
    """Ask from time to time; a server would log what it finds."""
    async for _ in giambio.every(0.1):
        if deadlocks := find_deadlocks():
            for deadlock in deadlocks:
                print(deadlock)
            break


async def main(how: str) -> None:
    mine, yours = Account(100), Account(100)
    async with giambio.create_pool() as pool:
        pool.spawn(move, 10, mine, yours)
        pool.spawn(move, 20, yours, mine)
        if how == "ask":
            await watch()
            pool.cancel("they would wait for ever")


if __name__ == "__main__":
    how = sys.argv[1] if len(sys.argv) > 1 else "ask"
    debugger = DeadlockDetector() if how == "detect" else None
    try:
        giambio.run(main, how, debugger=debugger)
    except giambio.DeadlockError as error:
        print(f"DeadlockError: {error}")
