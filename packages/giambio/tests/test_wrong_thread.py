# SPDX-License-Identifier: Apache-2.0
"""What is refused to another thread than that of the loop has no effect."""

from __future__ import annotations

import threading
from functools import partial

import pytest

import giambio
from giambio import Queue, WouldBlock, open_memory_channel
from giambio.testing import wait_all_tasks_blocked


def refuse_elsewhere(use, reason="another thread"):
    """Call a function in another thread, which must be told that this is not for it."""
    refused = []

    def other_thread():
        try:
            use()
        except RuntimeError as error:
            refused.append(str(error))

    thread = threading.Thread(target=other_thread)
    thread.start()
    thread.join()
    assert reason in refused[0]


def drain(receive_nowait):
    items = []
    try:
        while True:
            items.append(receive_nowait())
    except WouldBlock:
        return items


@pytest.mark.parametrize("kind", ["queue", "channel", "rendezvous"])
def test_an_item_that_it_may_not_take_is_still_there_once(run, kind):
    async def main():
        if kind == "queue":
            queue = Queue(1)
            put, put_nowait, get_nowait = queue.put, queue.put_nowait, queue.get_nowait
        else:
            sender, receiver = open_memory_channel(kind == "channel")
            put, put_nowait = sender.send, sender.send_nowait
            get_nowait = receiver.receive_nowait
        expected = ["waits to be put"]
        if kind != "rendezvous":
            put_nowait("is there")
            expected.insert(0, "is there")
        async with giambio.create_pool() as pool:
            pool.spawn(put, "waits to be put")
            await wait_all_tasks_blocked()
            refuse_elsewhere(get_nowait)
            assert drain(get_nowait) == expected

    run(main)


def test_an_end_that_it_may_not_close_still_has_those_who_wait(run):
    async def main():
        sender, receiver = open_memory_channel(0)
        async with giambio.create_pool() as pool:
            sending = pool.spawn(sender.send, "x")
            await wait_all_tasks_blocked()
            refuse_elsewhere(sender.close)
            assert receiver.receive_nowait() == "x"
        sending.result()

    run(main)


class Told:
    """A broadcast with two subscriptions, the second of which is waited for."""

    def __init__(self, *items, taken=False):
        self.broadcast = giambio.Broadcast(1)
        self.subscriptions = [self.broadcast.subscribe(), self.broadcast.subscribe()]
        for item in items:
            self.broadcast.send_nowait(item)
        if taken:
            self.subscriptions[1].receive_nowait()

    def statistics(self):
        return self.broadcast.statistics(), [each.statistics() for each in self.subscriptions]


def lent_out():
    limiter = giambio.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("somebody")
    return limiter


def with_work_to_do():
    queue = Queue()
    queue.put_nowait("work")
    queue.get_nowait()
    return queue


# What is made, how a task waits for it, what a thread tries.
REFUSED = {
    "value": (lambda: giambio.Value(1), lambda v: v.wait_change(), lambda v: v.set(2)),
    "event": (giambio.Event, lambda e: e.wait(), lambda e: e.set()),
    "semaphore": (lambda: giambio.Semaphore(0), lambda s: s.acquire(), lambda s: s.release()),
    "limiter": (
        lent_out,
        lambda limiter: limiter.acquire(),
        lambda limiter: limiter.release_on_behalf_of("somebody"),
    ),
    "limiter, resized": (
        lent_out,
        lambda limiter: limiter.acquire(),
        lambda limiter: setattr(limiter, "total_tokens", 5),
    ),
    "barrier, aborted": (lambda: giambio.Barrier(9), lambda b: b.wait(), lambda b: b.abort()),
    "barrier, reset": (lambda: giambio.Barrier(9), lambda b: b.wait(), lambda b: b.reset()),
    "queue, closed": (Queue, lambda q: q.get(), lambda q: q.close()),
    "queue, joined": (with_work_to_do, lambda q: q.join(), lambda q: q.task_done()),
    "broadcast": (
        Told,
        lambda told: told.subscriptions[1].receive(),
        lambda told: told.broadcast.send_nowait("news"),
    ),
    "broadcast, closed": (
        Told,
        lambda told: told.subscriptions[1].receive(),
        lambda told: told.broadcast.close(),
    ),
    "broadcast, full and closed": (
        lambda: Told("old"),
        lambda told: told.broadcast.send("news"),
        lambda told: told.broadcast.close(),
    ),
    "subscription, closed": (
        Told,
        lambda told: told.subscriptions[1].receive(),
        lambda told: told.subscriptions[1].close(),
    ),
    "subscription, full and closed": (
        lambda: Told("old", taken=True),
        lambda told: told.broadcast.send("news"),
        lambda told: told.subscriptions[0].close(),
    ),
    "subscription, full and received from": (
        lambda: Told("old", taken=True),
        lambda told: told.broadcast.send("news"),
        lambda told: told.subscriptions[0].receive_nowait(),
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_tasks_wait_for_is_as_it_was(run, kind):
    make, wait, use = REFUSED[kind]

    async def main():
        primitive = make()
        async with giambio.create_pool() as pool:
            pool.spawn(wait, primitive)
            pool.spawn(wait, primitive)
            await wait_all_tasks_blocked()
            before = repr(primitive), primitive.statistics()
            refuse_elsewhere(lambda: use(primitive))
            assert (repr(primitive), primitive.statistics()) == before
            pool.cancel()

    run(main)


def test_a_queue_that_it_may_not_close_has_its_items(run):
    async def main():
        queue = Queue()
        queue.put_nowait("work")
        async with giambio.create_pool() as pool:
            pool.spawn(queue.join)
            await wait_all_tasks_blocked()
            refuse_elsewhere(lambda: queue.close(drain=False))
            assert not queue.closed
            assert queue.get_nowait() == "work"
            queue.task_done()

    run(main)


def test_who_comes_to_a_barrier_from_another_loop_has_not_come(run):
    async def main():
        barrier = giambio.Barrier(2)
        async with giambio.create_pool() as pool:
            pool.spawn(barrier.wait)
            await wait_all_tasks_blocked()
            refuse_elsewhere(lambda: giambio.run(barrier.wait))
            assert barrier.statistics().tasks_waiting == 1
            assert await barrier.wait() == 1

    run(main)


class Elsewhere:
    """A thread with a loop, in which a task waits for something."""

    def __init__(self, wait):
        self._wait = wait
        self._parked = threading.Event()

    def __enter__(self):
        run = partial(giambio.run, self._main, deadlock="wait")
        self._thread = threading.Thread(target=run)
        self._thread.start()
        assert self._parked.wait(10)

    def __exit__(self, *exc_info):
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    async def _main(self):
        self._loop = giambio.lowlevel.current_scheduler()
        async with giambio.create_pool() as pool:
            self._task = pool.spawn(self._wait)
            await wait_all_tasks_blocked()
            self._parked.set()


@pytest.mark.parametrize("selects", [False, True])
def test_an_event_that_tasks_of_two_loops_wait_for_happens_for_none_of_them(run, selects):
    """Those that came before the one of the other loop were woken, and woken again by the next try."""
    event, other = giambio.Event(), Queue()
    woken = []

    async def here(number):
        if selects:
            await giambio.select(other, event)
        else:
            await event.wait()
        woken.append(number)

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(here, 1)
            cancelled = pool.spawn(here, 2)
            await wait_all_tasks_blocked()
            with Elsewhere(event.wait):
                pool.spawn(here, 3)
                await wait_all_tasks_blocked()
                for _ in range(2):
                    with pytest.raises(RuntimeError, match="another thread"):
                        event.set()
                    await giambio.checkpoint()
                assert (woken, event.statistics().tasks_waiting) == ([], 4)
                cancelled.cancel()
                await wait_all_tasks_blocked()
                assert event.statistics().tasks_waiting == 3
            event.set()
        assert woken == [1, 3]
        assert other.statistics().tasks_waiting_to_get == 0

    run(main)


@pytest.mark.parametrize("wanted", ["read", "write"])
@pytest.mark.parametrize("held", ["read", "write"])
def test_a_read_write_lock_of_another_loop_is_refused_and_its_holder_keeps_it(run, held, wanted):
    async def want(side):
        async with side:
            pytest.fail("it is held by another loop")

    async def main():
        lock = giambio.RWLock()
        async with getattr(lock, held):
            use = getattr(lock, wanted)
            refuse_elsewhere(lambda: giambio.run(want, use), "another loop")
            refuse_elsewhere(lambda: giambio.run(want_nowait, use), "another loop")
            assert lock.statistics()[2:] == (0, 0)
        assert lock.holders() == ()

    async def want_nowait(side):
        side.acquire_nowait()

    run(main)


@pytest.mark.parametrize("how", ["receive", "select", "amap"])
def test_who_receives_in_another_loop_is_not_waited_for_and_spoils_nothing(run, how):
    @giambio.as_channel
    async def generator():
        for item in range(3):
            await giambio.sleep(1)
            yield item

    async def after_a_second(item):
        await giambio.sleep(1)
        return item

    async def main():
        results = giambio.amap(after_a_second, range(3), limit=1)
        async with generator() as channel, results:
            source = results if how == "amap" else channel
            use = {
                "receive": channel.receive,
                "select": partial(giambio.select, channel),
                "amap": results.__anext__,
            }[how]
            got = []

            async def receive():
                async for item in source:
                    got.append(item)

            async with giambio.create_pool() as pool:
                if how == "amap":
                    got.append(await anext(results))
                else:
                    refuse_elsewhere(partial(giambio.run, use), "another loop")
                pool.spawn(receive)
                await wait_all_tasks_blocked()
                refuse_elsewhere(partial(giambio.run, use), "another loop")
            assert got == [0, 1, 2]

    run(main)


@pytest.mark.parametrize(("name", "value"), [("deadline", 1.0), ("shield", True)])
def test_a_scope_that_it_may_not_change_is_as_it_was(run, name, value):
    async def main():
        with giambio.skip_after(5) as scope:
            before = repr(scope)
            refuse_elsewhere(lambda: setattr(scope, name, value))
            assert repr(scope) == before
            await giambio.sleep(2)
        assert not scope.timed_out

    run(main)


def test_a_start_that_it_may_not_announce_is_still_to_be_announced(run):
    async def server(*, task_status):
        refuse_elsewhere(partial(task_status.started, "too early"))
        await giambio.sleep(1)
        task_status.started("ready")

    async def main():
        async with giambio.create_pool() as pool:
            assert await pool.start(server) == "ready"
            assert giambio.clock() == 1

    run(main)


def test_a_lock_of_another_loop_is_refused_where_it_is_asked_for_and_its_owner_keeps_it(run):
    refused = []

    async def want(lock):
        try:
            async with lock:
                pytest.fail("it is held")
        except RuntimeError as error:
            refused.append(str(error))

    async def main():
        lock = giambio.Lock()
        async with lock:
            thread = threading.Thread(target=giambio.run, args=(want, lock))
            thread.start()
            thread.join()
        assert not lock.locked()

    run(main)
    assert "belongs to task 'main' of another loop" in refused[0]
    assert "threading.Lock" in refused[0]
