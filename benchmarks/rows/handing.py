# SPDX-License-Identifier: Apache-2.0
"""Rows about tasks that hand something to each other: events, channels, locks, queues."""

# mypy: disable-error-code="import-untyped"
# (curio has no types)

from __future__ import annotations

from itertools import repeat

from benchmarks.reach import Reach
from benchmarks.row import LoopRow, SkipRow


class EventRow(LoopRow):
    """Two tasks wake each other in turn. An operation is one round trip.

    Each direction of each round trip has an event of its own, because an event happens once in giambio
    and trio, and because that is how a reply is waited for.
    """

    key = "event"
    title = "event round trip"
    unit = "µs"
    reach = Reach(times=1.6)
    size = 20_000

    async def bare(self, n: int) -> float:
        from benchmarks.bare import Event, Pool

        question, answer = Event(), Event()

        async def replier() -> None:
            nonlocal question
            for _ in repeat(None, n):
                await question.wait()
                question = Event()
                answer.set()

        start = self.clock()
        async with Pool() as pool:
            pool.spawn(replier)
            for _ in repeat(None, n):
                answer = Event()
                question.set()
                await answer.wait()
        return self.clock() - start

    async def giambio(self, n: int) -> float:
        from giambio import Event, create_pool

        question, answer = Event[None](), Event[None]()

        async def replier() -> None:
            nonlocal question
            for _ in repeat(None, n):
                await question.wait()
                question = Event()
                answer.set()

        start = self.clock()
        async with create_pool() as pool:
            pool.spawn(replier)
            for _ in repeat(None, n):
                answer = Event()
                question.set()
                await answer.wait()
        return self.clock() - start

    async def asyncio(self, n: int) -> float:
        from asyncio import Event, TaskGroup

        question, answer = Event(), Event()

        async def replier() -> None:
            nonlocal question
            for _ in repeat(None, n):
                await question.wait()
                question = Event()
                answer.set()

        start = self.clock()
        async with TaskGroup() as group:
            group.create_task(replier())
            for _ in repeat(None, n):
                answer = Event()
                question.set()
                await answer.wait()
        return self.clock() - start

    async def curio(self, n: int) -> float:
        from curio import Event, TaskGroup

        question, answer = Event(), Event()

        async def replier() -> None:
            nonlocal question
            for _ in repeat(None, n):
                await question.wait()
                question = Event()
                await answer.set()

        start = self.clock()
        async with TaskGroup() as group:
            await group.spawn(replier)
            for _ in repeat(None, n):
                answer = Event()
                await question.set()
                await answer.wait()
        return self.clock() - start

    async def trio(self, n: int) -> float:
        from trio import Event, open_nursery

        question, answer = Event(), Event()

        async def replier() -> None:
            nonlocal question
            for _ in repeat(None, n):
                await question.wait()
                question = Event()
                answer.set()

        start = self.clock()
        async with open_nursery() as nursery:
            nursery.start_soon(replier)
            for _ in repeat(None, n):
                answer = Event()
                question.set()
                await answer.wait()
        return self.clock() - start


class ChannelRow(LoopRow):
    """Two tasks send a number back and forth. An operation is one round trip.

    Where there are channels, they are rendezvous; where there are none, queues with room for one item.
    The replier waits before the first number is sent: who comes first at a rendezvous may stay the one
    who comes first, and that may cost more or less.
    """

    key = "channel"
    title = "channel round trip (0 or 1)"
    unit = "µs"
    reach = Reach(times=1.8)
    size = 20_000

    async def bare(self, n: int) -> float:
        from benchmarks.bare import Channel, Pool, checkpoint

        there, back = Channel(), Channel()

        async def replier() -> None:
            for _ in repeat(None, n):
                await back.send(await there.receive())

        start = self.clock()
        async with Pool() as pool:
            pool.spawn(replier)
            await checkpoint()
            for i in range(n):
                await there.send(i)
                await back.receive()
        return self.clock() - start

    async def giambio(self, n: int) -> float:
        import giambio

        if not hasattr(giambio, "open_memory_channel"):
            raise SkipRow("giambio has no channels yet")
        send_there, receive_there = giambio.open_memory_channel(0)
        send_back, receive_back = giambio.open_memory_channel(0)

        async def replier() -> None:
            for _ in repeat(None, n):
                await send_back.send(await receive_there.receive())

        start = self.clock()
        async with giambio.create_pool() as pool:
            pool.spawn(replier)
            await giambio.checkpoint()
            for i in range(n):
                await send_there.send(i)
                await receive_back.receive()
        return self.clock() - start

    async def asyncio(self, n: int) -> float:
        from asyncio import Queue, TaskGroup, sleep

        there, back = Queue[int](1), Queue[int](1)

        async def replier() -> None:
            for _ in repeat(None, n):
                await back.put(await there.get())

        start = self.clock()
        async with TaskGroup() as group:
            group.create_task(replier())
            await sleep(0)
            for i in range(n):
                await there.put(i)
                await back.get()
        return self.clock() - start

    async def curio(self, n: int) -> float:
        from curio import Queue, TaskGroup, sleep

        there, back = Queue(1), Queue(1)

        async def replier() -> None:
            for _ in repeat(None, n):
                await back.put(await there.get())

        start = self.clock()
        async with TaskGroup() as group:
            await group.spawn(replier)
            await sleep(0)
            for i in range(n):
                await there.put(i)
                await back.get()
        return self.clock() - start

    async def trio(self, n: int) -> float:
        from trio import open_memory_channel, open_nursery
        from trio.testing import wait_all_tasks_blocked

        send_there, receive_there = open_memory_channel[int](0)
        send_back, receive_back = open_memory_channel[int](0)

        async def replier() -> None:
            for _ in repeat(None, n):
                await send_back.send(await receive_there.receive())

        start = self.clock()
        async with open_nursery() as nursery:
            nursery.start_soon(replier)
            await wait_all_tasks_blocked()
            for i in range(n):
                await send_there.send(i)
                await receive_back.receive()
        return self.clock() - start


class LockRow(LoopRow):
    """10 tasks want one lock and let others run while they have it. An operation is one acquisition."""

    key = "lock"
    title = "lock, contended, per acquire"
    unit = "µs"
    reach = Reach(times=1.8)
    size = 20_000
    granule = 10

    async def bare(self, n: int) -> float:
        from benchmarks.bare import Lock, Pool, checkpoint

        lock = Lock()

        async def user() -> None:
            for _ in repeat(None, n // 10):
                async with lock:
                    await checkpoint()

        start = self.clock()
        async with Pool() as pool:
            for _ in range(10):
                pool.spawn(user)
        return self.clock() - start

    async def giambio(self, n: int) -> float:
        from giambio import Lock, checkpoint, create_pool

        lock = Lock()

        async def user() -> None:
            for _ in repeat(None, n // 10):
                async with lock:
                    await checkpoint()

        start = self.clock()
        async with create_pool() as pool:
            for _ in range(10):
                pool.spawn(user)
        return self.clock() - start

    async def asyncio(self, n: int) -> float:
        from asyncio import Lock, TaskGroup, sleep

        lock = Lock()

        async def user() -> None:
            for _ in repeat(None, n // 10):
                async with lock:
                    await sleep(0)

        start = self.clock()
        async with TaskGroup() as group:
            for _ in range(10):
                group.create_task(user())
        return self.clock() - start

    async def curio(self, n: int) -> float:
        from curio import Lock, TaskGroup, sleep

        lock = Lock()

        async def user() -> None:
            for _ in repeat(None, n // 10):
                async with lock:
                    await sleep(0)

        start = self.clock()
        async with TaskGroup() as group:
            for _ in range(10):
                await group.spawn(user)
        return self.clock() - start

    async def trio(self, n: int) -> float:
        from trio import Lock, open_nursery
        from trio.lowlevel import checkpoint

        lock = Lock()

        async def user() -> None:
            for _ in repeat(None, n // 10):
                async with lock:
                    await checkpoint()

        start = self.clock()
        async with open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(user)
        return self.clock() - start


class QueueRow(LoopRow):
    """One task puts numbers into a queue with room for 100, one gets them. An operation is one number."""

    key = "queue"
    title = "queue of 100, put + get"
    unit = "µs"
    reach = Reach(times=1.6)
    size = 50_000

    async def bare(self, n: int) -> float:
        from benchmarks.bare import Pool, Queue

        queue = Queue(100)

        async def consumer() -> None:
            for _ in repeat(None, n):
                await queue.get()

        start = self.clock()
        async with Pool() as pool:
            pool.spawn(consumer)
            for i in range(n):
                await queue.put(i)
        return self.clock() - start

    async def giambio(self, n: int) -> float:
        from giambio import Queue, create_pool

        queue = Queue[int](100)

        async def consumer() -> None:
            for _ in repeat(None, n):
                await queue.get()

        start = self.clock()
        async with create_pool() as pool:
            pool.spawn(consumer)
            for i in range(n):
                await queue.put(i)
        return self.clock() - start

    async def asyncio(self, n: int) -> float:
        from asyncio import Queue, TaskGroup

        queue = Queue[int](100)

        async def consumer() -> None:
            for _ in repeat(None, n):
                await queue.get()

        start = self.clock()
        async with TaskGroup() as group:
            group.create_task(consumer())
            for i in range(n):
                await queue.put(i)
        return self.clock() - start

    async def curio(self, n: int) -> float:
        from curio import Queue, TaskGroup

        queue = Queue(100)

        async def consumer() -> None:
            for _ in repeat(None, n):
                await queue.get()

        start = self.clock()
        async with TaskGroup() as group:
            await group.spawn(consumer)
            for i in range(n):
                await queue.put(i)
        return self.clock() - start

    async def trio(self, n: int) -> float:
        from trio import open_memory_channel, open_nursery

        send, receive = open_memory_channel[int](100)

        async def consumer() -> None:
            for _ in repeat(None, n):
                await receive.receive()

        start = self.clock()
        async with open_nursery() as nursery:
            nursery.start_soon(consumer)
            for i in range(n):
                await send.send(i)
        return self.clock() - start


ROWS = (EventRow(), ChannelRow(), LockRow(), QueueRow())
