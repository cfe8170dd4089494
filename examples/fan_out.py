# SPDX-License-Identifier: Apache-2.0
"""Fan-out and fan-in: work is spread over several lanes and its results come together again.

What belongs together must stay in order: the payments of one account, say. So each account has its lane,
a queue with a task that works it off, and the lanes work at the same time. `merge` receives from all of
them as if they were one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import giambio
from giambio import Queue


class Payment(NamedTuple):
    """So much for an account, or from it."""

    account: str
    amount: int


class Booked(NamedTuple):
    """What an account has after a payment."""

    account: str
    balance: int


async def book(lane: Queue[Payment], results: Queue[Booked]) -> None:
    """Work off one lane, in order."""
    balances: dict[str, int] = {}
    async for payment in lane:
        await giambio.sleep(0.01)  # a database
        balance = balances.get(payment.account, 0) + payment.amount
        balances[payment.account] = balance
        await results.put(Booked(payment.account, balance))
    results.close()


async def fan_out(payments: Iterable[Payment], lanes: list[Queue[Payment]]) -> None:
    for payment in payments:
        lane = lanes[sum(payment.account.encode()) % len(lanes)]  # the same one for an account
        await lane.put(payment)
    for lane in lanes:
        lane.close()


async def main(payments: Iterable[Payment], width: int = 4) -> list[Booked]:
    lanes: list[Queue[Payment]] = [Queue(5) for _ in range(width)]
    results: list[Queue[Booked]] = [Queue(5) for _ in range(width)]
    journal: list[Booked] = []
    async with giambio.create_pool() as pool:
        for lane, result in zip(lanes, results, strict=True):
            pool.spawn(book, lane, result)
        pool.spawn(fan_out, payments, lanes)
        async for booked in giambio.merge[Booked](*results):
            journal.append(booked)
    return journal


if __name__ == "__main__":
    accounts = [f"account {number}" for number in range(8)]
    journal = giambio.run(main, [Payment(name, 10) for _ in range(20) for name in accounts])
    print(f"{len(journal)} payments booked; at the end:", dict(journal))
