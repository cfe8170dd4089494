# SPDX-License-Identifier: Apache-2.0
"""A pool of workers with back-pressure: no more jobs are taken on than there are hands.

The jobs come through a channel without a buffer: a job leaves the source only when a worker takes it, so
a source of a million jobs needs no more memory than one of ten. Each worker has a clone of both ends;
when the last of the clones is closed, whoever is at the other end knows. A job that fails is tried again,
and one that keeps failing is a result, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import giambio
from giambio import ReceiveChannel, SendChannel, open_memory_channel

patience = giambio.retry(tries=3, on=ConnectionError, backoff=giambio.exponential(0.1))


class Page(NamedTuple):
    """What became of a job."""

    address: str
    size: int | None
    error: Exception | None = None


async def fetch(address: str, attempt: int) -> int:
    """Stand in for a download; some addresses fail once, others always."""
    await giambio.sleep(0.1)
    if "broken" in address or ("shaky" in address and attempt == 1):
        raise ConnectionError(f"{address} hung up")
    return len(address)


async def work(jobs: ReceiveChannel[str], pages: SendChannel[Page]) -> None:
    with jobs, pages:
        async for address in jobs:
            try:
                async for attempt in patience:
                    with attempt:
                        size = await fetch(address, attempt.number)
            except ConnectionError as error:
                await pages.send(Page(address, None, error))
            else:
                await pages.send(Page(address, size))


async def feed(addresses: Iterable[str], jobs: SendChannel[str]) -> None:
    with jobs:
        for address in addresses:
            await jobs.send(address)  # waits until a worker has time for it


async def main(addresses: Iterable[str], workers: int = 4) -> list[Page]:
    send_job, receive_job = open_memory_channel(0)
    send_page, receive_page = open_memory_channel(0)
    async with giambio.create_pool() as pool:
        # These two are there to be cloned. As long as they are open, too, the channels do not end.
        with receive_job, send_page:
            for _ in range(workers):
                pool.spawn(work, receive_job.clone(), send_page.clone())
        pool.spawn(feed, addresses, send_job)
        with receive_page:
            pages = [page async for page in receive_page]
    return pages


if __name__ == "__main__":
    sites = (f"example.org/{kind}/{i}" for i in range(10) for kind in ("good", "shaky", "broken"))
    found = giambio.run(main, sites)
    failed = [page.address for page in found if page.error]
    print(f"{len(found) - len(failed)} pages, {len(failed)} that could not be fetched")
