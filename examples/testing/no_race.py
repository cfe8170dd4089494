# SPDX-License-Identifier: Apache-2.0
"""The same with the payment under a lock: now no order of the tasks makes it fail."""

import giambio
from giambio.testing import explore


async def buy(customer, seats, tickets, lock):
    async with lock:
        if seats:
            await giambio.sleep(1)  # the payment
            tickets[customer] = seats.pop()


async def one_seat():
    seats, tickets, lock = ["12A"], {}, giambio.Lock()
    async with giambio.create_pool() as pool:
        pool.spawn(buy, "Ada", seats, tickets, lock)
        await giambio.sleep(1)
        pool.spawn(buy, "Grace", seats, tickets, lock)
    assert len(tickets) == 1


if __name__ == "__main__":
    print(explore(one_seat, seed=1))
