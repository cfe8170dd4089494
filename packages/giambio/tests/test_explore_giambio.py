# SPDX-License-Identifier: Apache-2.0
"""giambio's own primitives, under many schedules and cancelled at every point.

Each program checks what it is about itself; locks, permits, items and streams that are left behind are
noticed by whoever runs it.
"""

from __future__ import annotations

import random

import pytest

import giambio
from giambio.lowlevel import current_scheduler
from giambio.testing import cancel_sweep, current_network, explore, memory_stream_pair

RUNS = 120


async def lock():
    """Never two in the block."""
    lock = giambio.Lock()
    inside = 0

    async def work():
        nonlocal inside
        for _ in range(2):
            async with lock:
                inside += 1
                assert inside == 1
                try:
                    await giambio.checkpoint()
                finally:
                    inside -= 1

    async with giambio.create_pool() as pool:
        for _ in range(3):
            pool.spawn(work)


async def semaphore():
    """Never more in the block than there are permits."""
    permits = giambio.Semaphore(2)
    inside = 0

    async def work():
        nonlocal inside
        async with permits:
            inside += 1
            assert inside <= 2
            try:
                await giambio.sleep(1)
            finally:
                inside -= 1

    async with giambio.create_pool() as pool:
        for _ in range(4):
            pool.spawn(work)


async def limiter():
    """The same for a limiter, which also shrinks and grows."""
    tokens = giambio.CapacityLimiter(1)

    async def work():
        async with tokens:
            await giambio.checkpoint()

    async with giambio.create_pool() as pool:
        for _ in range(3):
            pool.spawn(work)
        tokens.total_tokens = 2
        await giambio.checkpoint()
        tokens.total_tokens = 1
    assert tokens.borrowed_tokens == 0


async def condition():
    """A bounded buffer by the textbook."""
    changed = giambio.Condition()
    items = []

    async def produce():
        for number in range(3):
            async with changed:
                await changed.wait_for(lambda: len(items) < 1)
                items.append(number)
                changed.notify_all()

    async def consume():
        for _ in range(3):
            async with changed:
                await changed.wait_for(lambda: items)
                items.pop()
                changed.notify_all()

    async with giambio.create_pool() as pool:
        pool.spawn(consume)
        pool.spawn(produce)


async def barrier():
    """Nobody passes before all have come."""
    barrier = giambio.Barrier(3)
    came = 0

    async def come(steps):
        nonlocal came
        for _ in range(steps):
            await giambio.checkpoint()
        came += 1
        await barrier.wait()
        assert came == 3

    async with giambio.create_pool() as pool:
        for steps in range(3):
            pool.spawn(come, steps)


async def rwlock():
    """Writers are alone."""
    lock = giambio.RWLock()
    readers = writers = 0

    async def read():
        nonlocal readers
        async with lock.read:
            readers += 1
            assert not writers
            try:
                await giambio.checkpoint()
            finally:
                readers -= 1

    async def write():
        nonlocal writers
        async with lock.write:
            writers += 1
            assert (readers, writers) == (0, 1)
            try:
                await giambio.checkpoint()
            finally:
                writers -= 1

    async with giambio.create_pool() as pool:
        for work in (read, write, read, write):
            pool.spawn(work)


async def event_and_value():
    """Who waits for what has happened goes on."""
    event, value = giambio.Event(), giambio.Value(0)

    async def wait():
        assert await event.wait() == "news"
        assert await value.wait_for(lambda number: number >= 2) >= 2

    async def tell():
        event.trigger("news")
        for number in range(3):
            await giambio.checkpoint()
            value.set(number)

    async with giambio.create_pool() as pool:
        pool.spawn(wait)
        pool.spawn(wait)
        pool.spawn(tell)


async def channel(capacity):
    """Every item arrives once, in the order of its sender."""
    sending, receiving = giambio.open_memory_channel(capacity)
    received = []

    async def send(name, end):
        async with end:
            for number in range(3):
                await end.send((name, number))

    async def receive(end):
        async with end:
            async for item in end:
                received.append(item)

    async with giambio.create_pool() as pool:
        for name in "ab":
            pool.spawn(send, name, sending.clone())
        for _ in range(2):
            pool.spawn(receive, receiving.clone())
        sending.close()
        receiving.close()
    assert len(received) == 6
    for name in "ab":
        assert sorted(number for whose, number in received if whose == name) == [0, 1, 2]


async def rendezvous():
    await channel(0)


async def buffered_channel():
    await channel(1)


async def queue(make=giambio.Queue):
    """Every item is worked on once, and `join` waits for that."""
    tasks = make(1)
    worked = []

    async def work():
        async for item in tasks:
            await giambio.checkpoint()
            worked.append(item)
            tasks.task_done()

    async with giambio.create_pool() as pool:
        for _ in range(2):
            pool.service(work)
        for item in range(4):
            await tasks.put(item)
        await tasks.join()
    assert sorted(worked) == [0, 1, 2, 3]


async def priority_queue():
    await queue(giambio.PriorityQueue)


async def lifo_queue():
    await queue(giambio.LifoQueue)


async def selecting():
    """Exactly one of the cases takes effect."""
    first, second = giambio.Queue(1), giambio.Queue(1)
    got = []

    async def put(where, items):
        for item in items:
            await where.put(item)

    async def choose():
        for _ in range(2):
            got.append((await giambio.select(first, second)).value)

    async with giambio.create_pool() as pool:
        pool.spawn(put, first, "ab")
        pool.spawn(put, second, "cd")
        pool.spawn(choose)
        pool.spawn(choose)
    assert sorted(got) == list("abcd")


async def broadcast():
    """Every subscriber gets every item, in order."""
    news = giambio.Broadcast(capacity=1)
    heard = []

    async def listen(subscription):
        async with subscription:
            heard.append([item async for item in subscription])

    async with news, giambio.create_pool() as pool:
        for _ in range(2):
            pool.spawn(listen, news.subscribe())
        for number in range(3):
            await news.send(number)
        news.close()
    assert heard == [[0, 1, 2], [0, 1, 2]]


async def pools():
    """Errors, services and timeouts, nested."""
    ended = []

    async def service():
        try:
            await giambio.sleep_forever()
        finally:
            ended.append("service")

    async def fail():
        await giambio.checkpoint()
        raise KeyError

    async def wait():
        try:
            await giambio.sleep(10)
        finally:
            ended.append("wait")

    try:
        async with giambio.create_pool() as pool:
            pool.service(service)
            async with giambio.with_timeout(5):
                pool.spawn(wait)
                pool.spawn(fail)
    except KeyError:
        assert set(ended) <= {"service", "wait"}
    assert giambio.clock() < 5


async def combining():
    """All results, or the first."""

    async def after(seconds, result):
        await giambio.sleep(seconds)
        return result

    async def double(number):
        await giambio.checkpoint()
        return 2 * number

    assert await giambio.gather(lambda: after(2, "a"), lambda: after(1, "b")) == ("a", "b")
    assert await giambio.race(lambda: after(2, "a"), lambda: after(1, "b")) == "b"
    async with giambio.amap(double, range(4), limit=2) as doubled:
        assert [each async for each in doubled] == [0, 2, 4, 6]


async def threads():
    """What is called in threads is called in steps, and counts for the limiter."""
    limiter = giambio.CapacityLimiter(1)
    results = []

    async def call(number):
        results.append(await giambio.run_in_thread(lambda: number, limiter=limiter))

    async with giambio.create_pool() as pool:
        for number in range(3):
            pool.spawn(call, number)
    assert sorted(results) == [0, 1, 2]


async def streams():
    """Nothing is lost between a reader that is slow and a writer that is not."""
    left, right = memory_stream_pair()

    async def write():
        async with left:
            for number in range(5):
                await left.send_all(b"line %d\n" % number)

    async with right, giambio.create_pool() as pool:
        pool.spawn(write)
        reader = giambio.BufferedStream(right)
        assert [line async for line in reader.lines()] == [b"line %d" % each for each in range(5)]


async def timeouts_of_locks():
    """A lock that is granted in the moment of the timeout is held by one task or by none."""
    lock = giambio.Lock()
    inside = 0

    async def work(seconds):
        nonlocal inside
        with giambio.skip_after(seconds):
            async with lock:
                inside += 1
                assert inside == 1
                try:
                    await giambio.sleep(1)
                finally:
                    inside -= 1

    async with giambio.create_pool() as pool:
        for seconds in (1, 1, 2, 2, 3):
            pool.spawn(work, seconds)


async def timeouts_of_channels(make=lambda: giambio.open_memory_channel(0)):
    """What arrives in the moment of a timeout arrives at somebody, or was not sent."""
    sending, receiving = make()
    sent, received = [], []

    async def send(seconds):
        with giambio.skip_after(seconds):
            for number in range(3):
                await sending.send(number)
                sent.append(number)
                await giambio.sleep(1)

    async def receive(seconds):
        with giambio.skip_after(seconds):
            while True:
                received.append(await receiving.receive())

    async with giambio.create_pool() as pool:
        for seconds in (1, 2, 3):
            pool.spawn(receive, seconds)
            pool.spawn(send, seconds)
    assert sorted(sent) == sorted(received)


async def timeouts_of_selects():
    """The same for `select`."""
    queues = [giambio.Queue(1), giambio.Queue(1)]
    put, got = [], []

    async def produce(queue, seconds):
        with giambio.skip_after(seconds):
            for number in range(3):
                await queue.put(number)
                put.append(number)
                await giambio.sleep(1)

    async def choose(seconds):
        with giambio.skip_after(seconds):
            while True:
                got.append((await giambio.select(*queues)).value)

    async with giambio.create_pool() as pool:
        for seconds in (1, 2, 3):
            pool.spawn(choose, seconds)
            pool.spawn(produce, queues[seconds % 2], seconds)
    assert len(put) == len(got) + sum(map(len, queues))


async def timeouts_of_conditions():
    """Who is notified in the moment of its timeout goes on, and has the lock again."""
    changed = giambio.Condition()

    async def wait(seconds):
        async with changed:
            with giambio.skip_after(seconds):
                await changed.wait()
            assert changed.locked()

    async def notify():
        for _ in range(3):
            await giambio.sleep(1)
            async with changed:
                changed.notify()

    async with giambio.create_pool() as pool:
        for seconds in (1, 2, 3, 4):
            pool.spawn(wait, seconds)
        pool.spawn(notify)


async def generators():
    """A generator in a task of its own gives each item to one receiver."""
    got = []

    @giambio.as_channel
    async def numbers(count):
        for number in range(count):
            yield number
            await giambio.checkpoint()

    async def take(channel):
        async for number in channel:
            got.append(number)

    async with numbers(4) as channel, giambio.create_pool() as pool:
        pool.spawn(take, channel)
        pool.spawn(take, channel)
    assert sorted(got) == [0, 1, 2, 3]


PROGRAMS = [
    lock, semaphore, limiter, condition, barrier, rwlock, event_and_value, rendezvous,
    buffered_channel, queue, priority_queue, lifo_queue, selecting, broadcast, pools, combining,
    threads, streams, timeouts_of_locks, timeouts_of_channels, timeouts_of_selects,
    timeouts_of_conditions, generators,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_it_holds_under_many_schedules(program):
    report = explore(program, runs=RUNS, seed=0)
    assert report.schedules > 1


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_it_stands_being_cancelled_everywhere(program):
    assert cancel_sweep(program).checkpoints > 1


@pytest.mark.parametrize(
    ("program", "target"),
    [
        (lock, "work"),
        (semaphore, "work"),
        (limiter, "work"),
        (rwlock, "read"),
        (rwlock, "write"),
        (event_and_value, "wait"),
        (threads, "call"),
        (timeouts_of_locks, "work"),
        (timeouts_of_channels, "receive"),
        (timeouts_of_selects, "choose"),
    ],
)
def test_one_of_its_tasks_stands_being_cancelled_everywhere(program, target):
    """The others go on and come to their end; what they then miss is their affair."""
    cancel_sweep(program, target=target, allow=AssertionError)


def with_a_victim(program):
    """Return the program with one of its tasks cancelled at some time; `random` says which and when."""

    async def body():
        # What becomes of the others is their affair, but nothing may be lost or stay held.
        with giambio.skip_after(50):
            try:
                await program()
            except (AssertionError, giambio.DeadlockError, giambio.TaskCancelled):
                pass

    async def cancel_somebody():
        for _ in range(random.randrange(1, 40)):
            await giambio.checkpoint()
        tasks = current_scheduler().tasks()
        ours = ("main", "body", "cancel_somebody")
        victims = [task for task in tasks if task.name not in ours]
        if victims:
            random.choice(victims).cancel()

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(body)
            pool.spawn(cancel_somebody)

    return main


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_nothing_is_left_behind_whoever_is_cancelled_in_whatever_order(program):
    explore(with_a_victim(program), runs=50, seed=0, strategy="random")


async def server():
    """Clients come and go, and the server ends when it is told to."""
    network = current_network()

    async def echo(stream):
        while data := await stream.receive():
            await stream.send_all(data)

    async def ask():
        async with await giambio.connect_tcp("server", 7) as stream:
            await stream.send_all(b"question")
            assert await stream.receive() == b"question"

    async with giambio.create_pool() as pool:
        with network.host("server"):
            running = await pool.start(giambio.serve_tcp, echo, 7)
        async with giambio.create_pool() as clients:
            clients.spawn(ask)
            clients.spawn(ask)
        await running.drain(grace=1)


def test_servers_under_many_schedules():
    explore(server, runs=40, seed=0, network="memory")


def test_servers_cancelled_everywhere():
    cancel_sweep(server, cancel_at="every site", network="memory")
