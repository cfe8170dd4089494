# SPDX-License-Identifier: Apache-2.0
"""Thousands of connections, of which some break: nothing is lost, left behind, or busy."""

from __future__ import annotations

import gc
import os
import random
import socket
import struct

import pytest

import giambio
from giambio.testing import wait_all_tasks_blocked

pytestmark = pytest.mark.soak

resource = pytest.importorskip("resource", reason="needs limits of POSIX systems")

CONNECTIONS = 10_000
ONE_IN = 100  # breaks
MESSAGES = 20
LARGEST = 4096
RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def connections():
    """How many connections are possible, both ends of each being ours."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS + 200
    limit = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if limit > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    yield min(CONNECTIONS, (max(limit, soft) - open_descriptors() - 100) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_descriptors():
    gc.collect()
    return len(os.listdir("/dev/fd"))


class Polls:
    """A debugger that counts how often the loop looks at I/O."""

    def __init__(self):
        self.count = 0

    def before_io(self, timeout):
        self.count += 1


class Crowd:
    """Clients that talk to an echo server, and what they found."""

    def __init__(self, size, seed):
        self.size = size
        self.random = random.Random(seed)
        self.connected = 0
        # More at a time than the system queues would be lost, and tried again seconds later.
        self.connecting = giambio.CapacityLimiter(500)
        self.all_connected = giambio.Event()
        self.start = giambio.Event()
        self.whole = self.broken = 0
        # Of each connection that is to break: at which message, and on whose side.
        unlucky = self.random.sample(range(size), size // ONE_IN)
        self.breaks = {
            n: (self.random.randrange(MESSAGES), self.random.choice(["client", "server"]))
            for n in unlucky
        }

    async def serve(self, stream):
        """Echo; a message that is 0xff all through means: reset this connection."""
        while data := await stream.receive():
            if b"\xff" in data:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return
            await stream.send_all(data)

    async def talk(self, n, port):
        async with self.connecting:
            stream = await giambio.connect_tcp("127.0.0.1", port)
        async with stream:
            self.connected += 1
            if self.connected == self.size:
                self.all_connected.set()
            await self.start.wait()
            at, side = self.breaks.get(n, (None, None))
            for number in range(MESSAGES):
                message = bytes([self.random.randrange(255)]) * self.random.randint(1, LARGEST)
                if number == at:
                    self.broken += 1
                    await self.break_off(stream, side, message)
                    return
                async with giambio.create_pool() as pool:
                    pool.spawn(stream.send_all, message)
                    assert await receive_exactly(stream, len(message)) == message
            self.whole += 1

    async def break_off(self, stream, side, message):
        if side == "client":
            await stream.send_all(message)  # the answer finds nobody
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        else:
            await stream.send_all(b"\xff" * len(message))
            with pytest.raises(ConnectionResetError):
                while await stream.receive():
                    pass


async def receive_exactly(stream, size):
    data = b""
    while len(data) < size:
        more = await stream.receive(size - len(data))
        assert more, "the stream ended early"
        data += more
    return data


def test_thousands_of_connections_of_which_one_in_a_hundred_breaks(connections):
    polls = Polls()
    before = open_descriptors()

    async def main():
        crowd = Crowd(connections, seed=1)
        async with giambio.create_pool() as pool:
            server = await pool.start(giambio.serve_tcp, crowd.serve, 0, host="127.0.0.1")
            clients = [pool.spawn(crowd.talk, n, server.port) for n in range(connections)]
            await crowd.all_connected.wait()
            while server.clients < connections:
                await giambio.sleep(0.01)
            # All are connected and nobody says anything: so nothing happens.
            await wait_all_tasks_blocked()
            count = polls.count
            await giambio.sleep(1)
            assert polls.count - count <= 5
            crowd.start.set()
            for client in clients:
                await client.join()
            await server.drain(grace=30)
        assert crowd.broken == connections // ONE_IN
        assert crowd.whole == connections - crowd.broken
        statistics = server.statistics()
        assert statistics.accepted == connections
        # A server's own reset is no error of its handler; a client's is.
        assert 0 < statistics.failed <= crowd.broken

    giambio.run(main, debugger=polls)
    assert open_descriptors() <= before + 2  # what an interpreter opens for itself
