# SPDX-License-Identifier: Apache-2.0
"""A network that is cut in two and healed again, in a program that is run once."""

import giambio
from giambio.testing import MemoryNetwork, current_network, simulate


async def echo(stream):
    while data := await stream.receive():
        await stream.send_all(data)


async def main():
    network = current_network()
    async with giambio.create_pool() as pool:
        with network.host("server"):
            server = await pool.start(giambio.serve_tcp, echo, 7)
        async with await giambio.connect_tcp("server", 7) as stream:
            network.partition(["localhost"], ["server"])
            await stream.send_all(b"hello")
            with giambio.skip_after(60) as waiting:
                await stream.receive()
            print("no answer after a minute:", waiting.timed_out)
            network.heal()
            print("and now:", await stream.receive(), "at", giambio.clock())
        await server.drain(grace=1)
    print(*network.faults, sep="\n")


if __name__ == "__main__":
    simulate(main, network=MemoryNetwork(latency=0.5))
