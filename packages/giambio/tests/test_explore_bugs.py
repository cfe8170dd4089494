# SPDX-License-Identifier: Apache-2.0
"""Planted bugs: each is found, made small, and replayed from its string."""

from __future__ import annotations

from collections import deque

import pytest

import giambio
import giambio.socket
from giambio.lowlevel import park, unpark
from giambio.testing import (
    ExplorationFailure,
    MemoryNetwork,
    Phase,
    SweepFailure,
    cancel_sweep,
    current_network,
    explore,
    replay,
)


def find(fn, **options):
    """Explore, check that the replay string shows the same failure, and return that."""
    with pytest.raises(ExplorationFailure) as caught:
        explore(fn, seed=1, **options)
    found = caught.value
    with pytest.raises(ExplorationFailure) as caught:
        replay(fn, found.replay, **options)
    again = caught.value
    assert (again.kind, again.order, again.replay) == (found.kind, found.order, found.replay)
    assert type(again.__cause__) is type(found.__cause__)
    return found


def sweep(fn, **options):
    """Cancel at every checkpoint, check that the replay string shows the same, and return that."""
    with pytest.raises(SweepFailure) as caught:
        cancel_sweep(fn, **options)
    found = caught.value
    with pytest.raises(SweepFailure) as caught:
        replay(fn, found.replay, **options)
    again = caught.value
    assert str(again) == str(found)
    return found


async def noise(steps):
    """What every real program has plenty of, and what a small report must not mention."""
    for _ in range(steps):
        await giambio.checkpoint()


def test_a_lost_update():
    async def program():
        count = 0

        async def deposit():
            nonlocal count
            seen = count
            await giambio.checkpoint()
            count = seen + 1

        async def late_deposit():
            await noise(2)
            await deposit()

        async with giambio.create_pool() as pool:
            for _ in range(3):
                pool.spawn(noise, 3)
            pool.spawn(deposit)
            pool.spawn(late_deposit)
        assert count == 2

    failure = find(program)
    assert len(failure.order) == 1
    assert {failure.order[0].first.task, failure.order[0].then.task} == {"deposit", "late_deposit"}
    assert "await giambio.checkpoint()" in str(failure)


def test_two_locks_in_different_orders():
    async def program():
        first, second = giambio.Lock(), giambio.Lock()

        async def forth():
            async with first, second:
                pass

        async def back():
            await noise(4)
            async with second, first:
                pass

        async with giambio.create_pool() as pool:
            pool.spawn(forth)
            pool.spawn(back)

    failure = find(program)
    assert failure.kind == "it comes to a standstill"
    assert isinstance(failure.__cause__, giambio.DeadlockError)
    assert len(failure.order) <= 2


def test_a_lost_wake_up():
    async def program():
        ready = False
        waiting = {}

        async def consume():
            if not ready:
                await giambio.checkpoint()  # between the test and the wait somebody may come
                await park(waiting, program)

        async def produce():
            nonlocal ready
            await noise(5)
            ready = True
            unpark(waiting)

        async with giambio.create_pool() as pool:
            pool.spawn(consume)
            pool.spawn(produce)

    failure = find(program)
    assert failure.kind == "it comes to a standstill"
    assert len(failure.order) == 1


class ConnectionPool:
    """Gives the same connection to two tasks if they ask at the wrong moment."""

    def __init__(self):
        self.idle = deque()
        self.users = {}

    async def acquire(self):
        if self.idle:
            connection = self.idle[0]
            await self.check_health(connection)
            if connection in self.idle:
                self.idle.remove(connection)
        else:
            connection = object()
        self.users[connection] = self.users.get(connection, 0) + 1
        return connection

    async def check_health(self, connection):
        await giambio.checkpoint()

    def release(self, connection):
        self.users[connection] -= 1
        self.idle.append(connection)


def test_a_connection_that_is_handed_out_twice():
    async def program():
        pool_of_connections = ConnectionPool()

        async def request(pause):
            await noise(pause)
            connection = await pool_of_connections.acquire()
            try:
                await giambio.checkpoint()
                assert pool_of_connections.users[connection] == 1
            finally:
                pool_of_connections.release(connection)

        async with giambio.create_pool() as pool:
            for pause in (0, 4, 9):
                pool.spawn(request, pause)

    failure = find(program)
    assert isinstance(failure.__cause__, AssertionError)
    assert 1 <= len(failure.order) <= 3


def test_something_closed_twice():
    class File:
        def __init__(self):
            self.is_open = True

        async def close(self):
            if self.is_open:
                await giambio.checkpoint()  # flushing
                if not self.is_open:
                    raise OSError("it is closed already")
                self.is_open = False

    async def program():
        file = File()

        async def close_late():
            await noise(3)
            await file.close()

        async with giambio.create_pool() as pool:
            pool.spawn(file.close)
            pool.spawn(close_late)

    failure = find(program)
    assert isinstance(failure.__cause__, OSError)
    assert len(failure.order) == 1


def test_a_permit_that_is_not_given_back_in_one_order():
    async def program():
        permits = giambio.Semaphore(2)
        stopped = False

        async def work():
            nonlocal stopped
            await permits.acquire()
            await giambio.checkpoint()
            if stopped:
                return  # without a release
            permits.release()

        async def stop():
            nonlocal stopped
            await noise(4)
            stopped = True

        async with giambio.create_pool() as pool:
            pool.spawn(work)
            pool.spawn(stop)

    failure = find(program)
    assert failure.kind == "something was left behind"
    assert "1 permit of 2 was not given back" in str(failure)
    assert len(failure.order) == 1


def test_a_permit_that_is_not_given_back_when_cancelled():
    async def program():
        permits = giambio.Semaphore(1)
        await permits.acquire()
        await giambio.sleep(1)
        permits.release()

    failure = sweep(program)
    assert failure.point.checkpoint == 2
    assert "1 permit of 1 was not given back" in str(failure)


def test_a_lock_that_is_still_held_when_cancelled():
    async def forgetful():
        lock = giambio.Lock()
        await lock.acquire()
        await giambio.sleep(1)
        lock.release()

    failure = sweep(forgetful)
    assert "is still held by 'forgetful', which has ended" in str(failure)


def test_an_item_that_is_lost_when_cancelled():
    class LeakyQueue:
        """Takes the item before it is cancelled."""

        def __init__(self):
            self.items = deque()
            self._waiting = {}

        def __len__(self):
            return len(self.items)

        async def get(self):
            if not self.items:
                await park(self._waiting, self)
            item = self.items.popleft()
            await giambio.checkpoint()
            return item

        def put_nowait(self, item):
            self.items.append(item)
            unpark(self._waiting)

    async def program():
        queue = LeakyQueue()
        async with giambio.create_pool() as pool:
            pool.spawn(queue.get)
            await giambio.sleep(1)
            queue.put_nowait("item")

    failure = sweep(program, target="get", watch=[LeakyQueue])
    assert "1 item lost" in str(failure)
    # The wait was over, so it went on with a wait that nobody undoes.
    assert (failure.point.checkpoint, failure.point.phase) == (1, Phase.GRANTED)
    assert "LeakyQueue.get -> park" in failure.place


def test_an_order_that_is_placed_twice_because_the_answer_was_lost():
    """A lot goes wrong on such a network, and the report tells of what is needed."""

    async def program():
        network = current_network()
        orders = []

        async def shop():
            async with await giambio.open_udp_endpoint(port=9) as endpoint:
                async for order, client in endpoint:
                    orders.append(order)
                    await endpoint.send(b"thank you", client)

        async with giambio.create_pool() as pool:
            with network.host("shop"):
                pool.service(shop)
            await giambio.sleep(1)
            async with await giambio.connect_udp("shop", 9) as connection:
                for order in (b"apple", b"pear", b"plum"):
                    answered = False
                    while not answered:
                        await connection.send(order)
                        with giambio.skip_after(1):
                            await connection.receive()
                            answered = True
        assert len(orders) == len(set(orders))

    bad = MemoryNetwork(latency=(0.0, 0.2), loss=0.3, reordering=0.3, duplication=0.05)
    failure = find(program, network=bad)
    assert failure.order == ()
    _, _, told = str(failure).partition("What the network did to it:\n")
    faults = [line for line in told.splitlines() if line.startswith("  at ")]
    assert len(faults) <= 2
    assert faults[-1].endswith("a datagram from shop to localhost is lost")


class Authority:
    """Gives a lease of a second to one candidate at a time. What it does is right."""

    def __init__(self):
        self.holder = None
        self.expires = 0.0

    async def serve(self):
        async with giambio.socket.socket(type=giambio.socket.SOCK_DGRAM) as sock:
            sock.bind(("", 9))
            while True:
                name, address = await sock.recvfrom(100)
                if giambio.clock() >= self.expires:
                    self.holder, self.expires = name, giambio.clock() + 1
                    await sock.sendto(b"granted", address)


class Candidate:
    """Believes to hold the lease for longer than it does: it counts from when the answer comes."""

    def __init__(self):
        self.leads_until = 0.0

    async def run(self, name, others):
        async with giambio.socket.socket(type=giambio.socket.SOCK_DGRAM) as sock:
            while True:
                await sock.sendto(name, ("authority", 9))
                with giambio.skip_after(0.05):
                    await sock.recvfrom(100)
                    self.leads_until = giambio.clock() + 1
                    for other in others:
                        assert other.leads_until <= giambio.clock(), "two leaders at a time"


def test_a_leader_lease_that_two_hold():
    """The schedule does not matter here: it is how long the network takes."""

    async def program():
        network = current_network()
        one, other = Candidate(), Candidate()
        with giambio.skip_after(3):
            async with giambio.create_pool() as pool:
                with network.host("authority"):
                    pool.spawn(Authority().serve)
                with network.host("one"):
                    pool.spawn(one.run, b"one", [other])
                with network.host("other"):
                    pool.spawn(other.run, b"other", [one])

    failure = find(program, network=MemoryNetwork(latency=(0.0, 0.06), loss=0.1))
    assert "two leaders at a time" in str(failure)
    assert failure.order == ()
    # The latency is enough; none of the losses is needed.
    assert "What the network did to it:" not in str(failure)
