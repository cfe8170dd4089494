# SPDX-License-Identifier: Apache-2.0
"""A kitchen: two cooks, one oven, and a program that is worth looking at.

python -m giambio run --trace kitchen.json kitchen.py     what happened, for ui.perfetto.dev
python -m giambio run --monitor kitchen.py --evening      and, meanwhile, in another terminal:
python -m giambio watch
"""

from __future__ import annotations

import random
import sys

import giambio
from giambio.debug import print_tree


async def cook(orders: giambio.ReceiveChannel[str], oven: giambio.Lock) -> None:
    async for dish in orders:
        await giambio.sleep(random.uniform(0.002, 0.02))  # chopping
        async with oven:
            await giambio.sleep(0.02)
        print(dish, "is served")


async def guests(orders: giambio.SendChannel[str], how_many: int) -> None:
    async with orders:
        for number in range(how_many):
            await orders.send(f"dish {number}")


async def timer() -> None:
    with giambio.skip_after(0.1):
        await giambio.sleep_forever()


async def main(how_many: int) -> None:
    send: giambio.SendChannel[str]
    send, receive = giambio.open_memory_channel(2)
    oven = giambio.Lock()
    async with giambio.create_pool() as pool:
        for name in ("Ada", "Grace"):
            pool.spawn(cook, receive.clone(), oven).name = name
        receive.close()
        pool.spawn(guests, send, how_many)
        pool.spawn(timer)
        await giambio.sleep(0.05)
        print_tree()


if __name__ == "__main__":
    giambio.run(main, 100_000 if "--evening" in sys.argv else 6)
