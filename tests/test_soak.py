# SPDX-License-Identifier: Apache-2.0
"""Much of everything, for some time, leaves nothing behind. Run with ``nox -s soak``."""

from __future__ import annotations

import gc
import os
import resource
import socket
from collections import Counter

import pytest

import giambio
from giambio.testing import VirtualClock

pytestmark = pytest.mark.soak


def inventory():
    """How many objects of each kind there are, and how many descriptors."""
    gc.collect()
    kinds = Counter(type(each).__name__ for each in gc.get_objects())
    kinds["descriptors"] = len(os.listdir("/dev/fd"))
    return kinds


async def stays_constant(work, rounds):
    """Do the same work again and again; after the first round nothing may grow."""
    await work()
    before = inventory()
    for _ in range(rounds):
        await work()
    grown = inventory() - before
    # The interpreter and the collector have some objects of their own; ours would be thousands.
    assert all(count < 100 for count in grown.values()), grown


async def nothing():
    pass


def test_a_million_tasks():
    async def work():
        for _ in range(100):
            async with giambio.create_pool() as pool:
                for _ in range(1000):
                    pool.spawn(nothing)

    giambio.run(stays_constant, work, 9)


def test_a_quarter_of_a_million_tasks_at_a_time_need_a_kilobyte_each():
    async def main():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with giambio.create_pool() as pool:
            for _ in range(250_000):
                pool.spawn(giambio.sleep_forever)
            while pool.tasks[-1].state is not giambio.TaskState.WAITING:
                await giambio.sleep(0)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            pool.cancel()
        return grown * 1024 / 250_000

    assert giambio.run(main) < 1500


def test_a_million_timers():
    async def sleeper(n):
        await giambio.sleep(n % 100)

    async def work():
        for _ in range(10):
            async with giambio.create_pool() as pool:
                for n in range(10_000):
                    pool.spawn(sleeper, n)

    giambio.run(stays_constant, work, 9, clock=VirtualClock())


def test_a_million_timeouts_that_do_not_expire():
    async def work():
        for _ in range(100_000):
            with giambio.with_timeout(1000):
                await giambio.sleep(0)
        timers = giambio.current_task().scheduler.snapshot().timers
        assert timers <= 1

    giambio.run(stays_constant, work, 9)


def test_a_million_items_through_a_channel():
    async def produce(channel):
        with channel:
            for n in range(100_000):
                await channel.send(n)

    async def work():
        sender, receiver = giambio.open_memory_channel(10)
        async with giambio.create_pool() as pool:
            pool.spawn(produce, sender)
            with receiver:
                count = 0
                async for _ in receiver:
                    count += 1
        assert count == 100_000

    giambio.run(stays_constant, work, 9)


def test_a_hundred_thousand_connections():
    async def echo(client):
        async with client:
            try:
                while data := await client.receive(1000):
                    await client.send_all(data)
            except ConnectionResetError:
                pass  # that is how the clients below leave

    async def main():
        async with giambio.socket.socket() as listener, giambio.create_pool() as pool:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", 0))
            listener.listen(1000)

            async def accept():
                while True:
                    client, _ = await listener.accept()
                    pool.spawn(echo, client)

            async def connect():
                async with giambio.socket.socket() as sock:
                    # A reset in place of an orderly end, or the ports would be used up.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    await sock.connect(listener.getsockname())
                    await sock.send_all(b"hello")
                    assert await sock.receive(100) == b"hello"

            async def work():
                for _ in range(100):
                    await giambio.gather(*(connect() for _ in range(100)))
                while len(pool.tasks) > 1:
                    await giambio.sleep(0.001)

            acceptor = pool.spawn(accept)
            await stays_constant(work, 9)
            acceptor.cancel()

    giambio.run(main)
