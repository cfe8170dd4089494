# SPDX-License-Identifier: Apache-2.0
"""With 10,000 waiters nothing is slower than with 10: to release, to cancel a waiter, to come.

What is compared is how many function calls an operation makes, Python's and the interpreter's own.
"""

from __future__ import annotations

import types

import pytest

import giambio
from giambio import Barrier, CapacityLimiter, Condition, Lock, RWLock, Semaphore
from giambio.testing import wait_all_tasks_blocked

FEW, MANY = 10, 10_000


class Contended:
    """A primitive that is held, and how tasks wait for it."""

    async def hold(self):
        """Make others wait."""

    async def wait(self):
        async with self.primitive:
            await giambio.sleep_forever()

    def release(self):
        self.primitive.release()

    def waiting(self):
        return self.primitive.statistics().tasks_waiting


class ContendedLock(Contended):
    def __init__(self):
        self.primitive = Lock()

    async def hold(self):
        await self.primitive.acquire()


class ContendedSemaphore(Contended):
    def __init__(self):
        self.primitive = Semaphore(0)


class ContendedLimiter(Contended):
    def __init__(self):
        self.primitive = CapacityLimiter(1)

    async def hold(self):
        await self.primitive.acquire()


class ContendedWriters(Contended):
    def __init__(self):
        self.lock = RWLock()
        self.primitive = self.lock.write

    async def hold(self):
        await self.primitive.acquire()

    def waiting(self):
        return self.lock.statistics().writers_waiting


class Notified(Contended):
    def __init__(self):
        self.primitive = Condition()

    async def wait(self):
        async with self.primitive:
            await self.primitive.wait()
            await giambio.sleep_forever()

    async def hold(self):
        await wait_all_tasks_blocked()
        await self.primitive.acquire()

    def release(self):
        self.primitive.notify()


class ContendedBarrier(Contended):
    """It has no release; what counts is how others come."""

    def __init__(self):
        self.primitive = Barrier(2 * MANY)

    def release(self):
        pass


@types.coroutine
def counted(coroutine, calls, count_calls):
    """Await *coroutine*, and note how many calls its first step takes."""
    signals = []
    # So that it need not let others run first.
    giambio.current_task().scheduler.credit = 10
    calls.append(count_calls(lambda: signals.append(coroutine.send(None))))
    while True:
        task = yield signals.pop()
        signals.append(coroutine.send(task))


async def contend(case, n, count_calls):
    """Return how many calls it takes to wait behind *n*, to cancel one, to let the next one in."""
    contended = case()
    calls = []

    async def come_last():
        await counted(contended.wait(), calls, count_calls)

    async with giambio.create_pool() as pool:
        if case is not Notified:
            await contended.hold()
        tasks = [pool.spawn(contended.wait) for _ in range(n)]
        await wait_all_tasks_blocked()
        pool.spawn(come_last)
        await wait_all_tasks_blocked()
        if case is Notified:
            await contended.hold()
        assert contended.waiting() == n + 1
        calls.append(count_calls(tasks[n // 2].cancel))
        assert contended.waiting() == n
        calls.append(count_calls(contended.release))
        assert contended.waiting() == n - (case is not ContendedBarrier)
        if case is Notified:
            contended.primitive.release()
        pool.cancel()
    assert contended.waiting() == 0
    return calls


@pytest.mark.parametrize(
    "case",
    [
        ContendedLock,
        ContendedSemaphore,
        ContendedLimiter,
        ContendedWriters,
        Notified,
        ContendedBarrier,
    ],
)
def test_coming_cancelling_and_releasing_cost_the_same_however_many_wait(run, count_calls, case):
    few = run(contend, case, FEW, count_calls)
    assert run(contend, case, MANY, count_calls) == few
    assert len(few) == 3


def test_ten_thousand_waiters_are_let_in_one_after_the_other_in_their_order(run):
    order = []

    async def work(lock, n):
        async with lock:
            order.append(n)
            await giambio.checkpoint()

    async def main():
        lock = Lock()
        async with giambio.create_pool() as pool:
            for n in range(MANY):
                pool.spawn(work, lock, n)

    run(main)
    assert order == list(range(MANY))
