# SPDX-License-Identifier: Apache-2.0
"""Async tests and fixtures: a client of an echo server, and a cache that forgets after a minute."""

from __future__ import annotations

import pytest

import giambio

pytestmark = pytest.mark.giambio


# A test


async def test_two_sleepers_sleep_at_the_same_time(giambio_clock):
    async with giambio.create_pool() as pool:
        pool.spawn(giambio.sleep, 3600)
        pool.spawn(giambio.sleep, 3600)
    assert giambio.clock() == 3600  # and no real time has passed


# Fixtures


async def echo(connection, address):
    async with connection:
        while data := await connection.receive(1024):
            await connection.send_all(data)


@pytest.fixture
async def server():
    async with giambio.create_pool() as pool:
        listener = giambio.socket.socket()
        async with listener:
            await listener.bind(("127.0.0.1", 0))
            listener.listen()
            pool.spawn(serve, listener, pool)
            yield listener.getsockname()
            pool.cancel()


async def serve(listener, pool):
    while True:
        connection, address = await listener.accept()
        pool.spawn(echo, connection, address)


@pytest.fixture
async def client(server):
    async with giambio.socket.socket() as client:
        await client.connect(server)
        yield client


@pytest.mark.parametrize("text", [b"hello", b"x" * 1000])
async def test_the_server_answers(client, text):
    await client.send_all(text)
    assert await client.receive(len(text)) == text


# Time


class Cache:
    """Computes a value again when it is older than a minute."""

    def __init__(self, compute):
        self._compute = compute
        self._made = float("-inf")

    async def get(self):
        if giambio.clock() - self._made > 60:
            self._made = giambio.clock()
            self._value = await self._compute()
        return self._value


@pytest.mark.giambio(clock="virtual")
async def test_a_value_is_computed_again_after_a_minute():
    computed = []

    async def compute():
        computed.append(giambio.clock())
        return len(computed)

    cache = Cache(compute)
    assert await cache.get() == 1
    await giambio.sleep(59)
    assert await cache.get() == 1
    await giambio.sleep(2)
    assert await cache.get() == 2
    assert computed == [0, 61]
