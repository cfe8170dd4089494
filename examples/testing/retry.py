# SPDX-License-Identifier: Apache-2.0
"""A client that asks again when no answer comes: what it buys, it may buy twice."""

import giambio
from giambio.testing import ExplorationFailure, MemoryNetwork, current_network, explore

NETWORK = MemoryNetwork(latency=(0.01, 0.1), loss=0.05)


async def shop(orders):
    async with await giambio.open_udp_endpoint(port=5000) as endpoint:
        async for order, client in endpoint:
            orders.append(order)
            await endpoint.send(b"thank you", client)


async def customer():
    async with await giambio.connect_udp("shop", 5000) as connection:
        while True:
            await connection.send(b"one apple")
            with giambio.skip_after(1):
                await connection.receive()
                return


async def one_apple():
    orders = []
    async with giambio.create_pool() as pool:
        with current_network().host("shop"):
            pool.service(shop, orders)
        await giambio.sleep(0.1)
        await customer()
    assert orders == [b"one apple"]


if __name__ == "__main__":
    try:
        print(explore(one_apple, seed=1, network=NETWORK))
    except ExplorationFailure as failure:
        print(failure)
