# SPDX-License-Identifier: Apache-2.0
"""Producer and consumer: a queue between two tasks that work at different speeds.

The queue holds ten readings. When the consumer is slower, it fills up and the producer waits: that is all
there is to back-pressure. When the producer has finished it closes the queue; the consumer gets what is
still in it, and then its loop ends.
"""

from __future__ import annotations

import giambio
from giambio import Queue


async def produce(queue: Queue[float], count: int) -> None:
    with queue:  # closed at the end, however that comes
        async for tick in giambio.every(0.01):
            if tick.number == count:
                break
            await queue.put(20 + tick.number % 5 / 10)  # what a sensor measures


async def consume(queue: Queue[float], batches: list[list[float]]) -> None:
    async for first in queue:
        batch = [first]
        while len(queue) and len(batch) < 8:
            batch.append(queue.get_nowait())
        await giambio.sleep(0.05)  # a slow disk; the longer it takes, the larger the next batch
        batches.append(batch)


async def main(count: int = 100) -> list[list[float]]:
    queue: Queue[float] = Queue(10)
    batches: list[list[float]] = []
    async with giambio.create_pool() as pool:
        pool.spawn(produce, queue, count)
        pool.spawn(consume, queue, batches)
    return batches


if __name__ == "__main__":
    written = giambio.run(main)
    print(f"{sum(map(len, written))} readings in {len(written)} batches")
