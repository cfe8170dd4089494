# SPDX-License-Identifier: Apache-2.0
"""What it costs to be hosted by asyncio: ``python -m benchmarks.hosted``.

The same three programs in a loop of their own and in asyncio. Ratios are what to look at.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import giambio
from giambio.hosting import run_in_asyncio

ROUND_TRIPS = 3000
SLEEPS = 100
IDLE_SECONDS = 3


async def round_trip() -> float:
    """A byte to another task and back, through a pair of sockets; the median, in µs."""
    left, right = giambio.socket.socketpair()

    async def echo() -> None:
        async with right:
            while data := await right.receive(10):
                await right.send_all(data)

    times = []
    async with giambio.create_pool() as pool, left:
        pool.spawn(echo)
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter()
            await left.send_all(b"x")
            await left.receive(10)
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


async def lateness() -> float:
    """By how much a sleep of 3 ms is late; the median, in µs."""
    late = []
    for _ in range(SLEEPS):
        moment = giambio.clock() + 0.003
        await giambio.sleep_until(moment)
        late.append(giambio.clock() - moment)
    return statistics.median(late) * 1e6


async def idle() -> float:
    """The processor time of waiting, with 100 tasks that wait as well; in µs for a second."""
    async with giambio.create_pool() as pool:
        for _ in range(100):
            pool.spawn(giambio.sleep_forever)
        began = time.process_time()
        await giambio.sleep(IDLE_SECONDS)
        used = time.process_time() - began
        pool.cancel()
    return used * 1e6 / IDLE_SECONDS


def main() -> None:
    for program in (round_trip, lateness, idle):
        own = giambio.run(program)
        hosted = asyncio.run(run_in_asyncio(program))
        print(f"{program.__name__}: {own:.0f} µs alone, {hosted:.0f} µs in asyncio")


if __name__ == "__main__":
    main()
