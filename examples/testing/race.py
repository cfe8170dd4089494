# SPDX-License-Identifier: Apache-2.0
"""Two customers want the last seat. Running it once shows nothing; trying other orders does."""

import giambio
from giambio.testing import ExplorationFailure, explore


async def buy(customer, seats, tickets):
    if seats:
        await giambio.sleep(1)  # the payment
        tickets[customer] = seats.pop()


async def one_seat():
    seats, tickets = ["12A"], {}
    async with giambio.create_pool() as pool:
        pool.spawn(buy, "Ada", seats, tickets)
        await giambio.sleep(1)
        pool.spawn(buy, "Grace", seats, tickets)
    assert "Ada" in tickets


if __name__ == "__main__":
    try:
        print(explore(one_seat, seed=1))
    except ExplorationFailure as failure:
        print(failure)
