# SPDX-License-Identifier: Apache-2.0
"""Publish and subscribe: a broadcast of prices, and three who listen, each in a way of its own.

The ledger must have every price and may be slow: its buffer has no end. The display wants the latest and
nothing else: with room for one, and the oldest dropped, it never shows an old one. The trader must keep up:
one who falls behind is broken off, and told, before acting on old prices.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import giambio
from giambio import Broadcast, EndOfChannel, ResourceBroken, Subscription, after, select


class Price(NamedTuple):
    """What something costs now."""

    number: int
    cents: int


async def exchange(prices: Broadcast[Price], count: int) -> None:
    async with prices:  # closed at the end, so that all the others end, too
        async for tick in giambio.every(0.01):
            if tick.number == count:
                break
            await prices.send(Price(tick.number, 100 + tick.number * 7 % 13))


async def ledger(prices: Subscription[Price], log: list[str]) -> None:
    async with prices:
        total = 0
        async for price in prices:
            await giambio.sleep(0.02)
            total += price.cents
        log.append(f"ledger: everything, {total} in all")


async def display(prices: Subscription[Price], log: list[str]) -> None:
    async with prices:
        shown = 0
        async for _ in prices:
            await giambio.sleep(0.1)
            shown += 1
        log.append(f"display: {shown} shown, {prices.missed} left out")


async def trader(prices: Subscription[Price], log: list[str]) -> None:
    async with prices:
        try:
            while (chosen := await select(prices, after(1))).source is prices:
                if chosen.value.number == 5:
                    await giambio.sleep(0.5)  # too long a coffee break
            log.append("trader: the exchange is silent")
        except EndOfChannel:
            log.append("trader: the exchange has closed")
        except ResourceBroken:
            log.append(f"trader: broken off, {prices.missed} missed")


async def main(count: int = 100) -> list[str]:
    prices: Broadcast[Price] = Broadcast()
    log: list[str] = []
    async with giambio.create_pool() as pool:
        pool.spawn(ledger, prices.subscribe(math.inf), log)
        pool.spawn(display, prices.subscribe(1, overflow="drop_oldest"), log)
        pool.spawn(trader, prices.subscribe(10, overflow="error"), log)
        pool.spawn(exchange, prices, count)
    return log


if __name__ == "__main__":
    print("\n".join(giambio.run(main)))
