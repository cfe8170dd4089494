# SPDX-License-Identifier: Apache-2.0
"""Conditions: who is notified, who has the lock, and that no notification is lost."""

from __future__ import annotations

import types

import pytest

import giambio
from giambio import Condition, Lock, ResourceBroken, WouldBlock
from giambio.lowlevel import reschedule
from giambio.testing import assert_checkpoints, cancel_sweep, wait_all_tasks_blocked


async def wait(condition, log=None, name=None):
    async with condition:
        await condition.wait()
        if log is not None:
            log.append(name)


async def start_waiters(pool, condition, n, log=None):
    tasks = []
    for name in range(n):
        tasks.append(pool.spawn(wait, condition, log, name))
        await wait_all_tasks_blocked()
    return tasks


def test_notify_wakes_those_who_have_waited_longest(run):
    log = []

    async def main():
        condition = Condition()
        async with giambio.create_pool() as pool:
            await start_waiters(pool, condition, 4, log)
            async with condition:
                condition.notify()
            await wait_all_tasks_blocked()
            assert log == [0]
            async with condition:
                condition.notify(2)
            await wait_all_tasks_blocked()
            assert log == [0, 1, 2]
            async with condition:
                condition.notify(0)
                condition.notify(10)
        assert log == [0, 1, 2, 3]

    run(main)


def test_notify_all_wakes_all_and_each_has_the_lock_in_turn(run):
    async def waiter():
        nonlocal inside
        async with condition:
            await condition.wait()
            inside += 1
            assert inside == 1
            await giambio.sleep(1)
            inside -= 1

    async def main():
        nonlocal condition
        condition = Condition()
        async with giambio.create_pool() as pool:
            for _ in range(3):
                pool.spawn(waiter)
            await wait_all_tasks_blocked()
            async with condition:
                condition.notify_all()
                assert condition.statistics() == (0, (True, giambio.current_task(), 3))
        assert giambio.clock() == 3
        assert not condition.locked()

    condition, inside = None, 0
    run(main)


def test_who_is_notified_stands_behind_who_waits_for_the_lock_already(run):
    log = []

    async def acquire():
        async with condition:
            log.append("acquired")

    async def main():
        nonlocal condition
        condition = Condition()
        async with giambio.create_pool() as pool:
            await start_waiters(pool, condition, 1, log)
            async with condition:
                pool.spawn(acquire)
                await wait_all_tasks_blocked()
                condition.notify()
        assert log == ["acquired", 0]

    condition = None
    run(main)


def test_wait_for_returns_the_first_true_value(run):
    async def main():
        condition = Condition()
        parts = []

        async def collect():
            async with condition:
                return await condition.wait_for(lambda: len(parts) >= 2 and list(parts))

        async with giambio.create_pool() as pool:
            collector = pool.spawn(collect)
            for part in "abc":
                await wait_all_tasks_blocked()
                async with condition:
                    parts.append(part)
                    condition.notify()
            await collector.join()
        assert collector.result() == ["a", "b"]
        async with condition:
            with assert_checkpoints():
                assert await condition.wait_for(lambda: "at once") == "at once"

    run(main)


def test_a_predicate_that_raises_leaves_the_lock_held_until_the_block_ends(run):
    async def main():
        condition = Condition()
        with pytest.raises(ZeroDivisionError):
            async with condition:
                try:
                    await condition.wait_for(lambda: 1 / 0)
                finally:
                    assert condition.locked()
        assert not condition.locked()

    run(main)


def test_an_async_predicate_is_refused_and_does_not_count_as_true(run):
    async def there_is_one():
        return False

    async def main():
        condition = Condition()
        async with condition:
            with pytest.raises(TypeError, match="there_is_one is an async function"):
                await condition.wait_for(there_is_one)
            assert condition.locked()

    run(main)


def test_what_is_done_without_the_lock_is_refused(run):
    async def main():
        condition = Condition()
        for refused in (condition.notify, condition.notify_all):
            with pytest.raises(
                RuntimeError, match=r"cannot notify <Condition .*does not hold .*'async with"
            ):
                refused()
        for refused in (condition.wait(), condition.wait_for(lambda: True)):
            with pytest.raises(RuntimeError, match="cannot wait for .* does not hold the lock"):
                await refused
        async with condition:
            with pytest.raises(ValueError, match="n must be at least 0, not -1"):
                condition.notify(-1)
            with pytest.raises(TypeError, match=r"counted in whole numbers, not 1\.5"):
                condition.notify(1.5)
        with pytest.raises(TypeError, match="a condition needs a giambio.Lock, not 3"):
            Condition(3)

    run(main)


def test_it_is_acquired_and_released_like_its_lock(run):
    async def main():
        lock = Lock()
        condition = Condition(lock)
        with assert_checkpoints():
            await condition.acquire()
        assert lock.locked() and condition.locked()
        with pytest.raises(RuntimeError, match="already holds"):
            condition.acquire_nowait()
        condition.release()
        condition.acquire_nowait()
        async with giambio.create_pool() as pool:

            async def other():
                with pytest.raises(WouldBlock):
                    condition.acquire_nowait()

            pool.spawn(other)
        condition.release()

    run(main)


def test_several_conditions_may_share_a_lock(run):
    log = []

    async def main():
        lock = Lock()
        full, empty = Condition(lock), Condition(lock)
        async with giambio.create_pool() as pool:
            pool.spawn(wait, full, log, "full")
            pool.spawn(wait, empty, log, "empty")
            await wait_all_tasks_blocked()
            async with lock:
                empty.notify()
            await wait_all_tasks_blocked()
            assert log == ["empty"]
            async with full:
                full.notify()

    run(main)
    assert log == ["empty", "full"]


def test_its_repr_and_reports_say_what_a_task_waits_for(run):
    async def main():
        condition = Condition()
        at = f"<Condition at {id(condition):#x}"
        assert repr(condition).startswith(f"{at}, 0 waiting, <Lock")
        async with giambio.create_pool() as pool:
            (task,) = await start_waiters(pool, condition, 1)
            assert repr(task.waiting_on).startswith(f"{at}, 1 waiting")
            assert task.waiting_on.holders() == ()  # anybody could notify
            assert condition.statistics().tasks_waiting == 1
            async with condition:
                condition.notify()
                assert repr(task.waiting_on).startswith("<Lock")
                assert task.waiting_on.holders() == (giambio.current_task(),)

    run(main)


class TestBeingCancelled:
    """It never costs a notification, and always leaves the lock with who entered the block."""

    def test_who_is_cancelled_while_it_waits_has_the_lock_again_before_it_goes_on(self, run):
        async def victim(condition):
            async with condition:
                try:
                    await condition.wait()
                finally:
                    assert condition.statistics().lock.owner is giambio.current_task()
                    assert giambio.clock() == 2

        async def main():
            condition = Condition()
            async with giambio.create_pool() as pool:
                task = pool.spawn(victim, condition)
                await wait_all_tasks_blocked()
                async with condition:
                    await giambio.sleep(1)
                    task.cancel()
                    await giambio.sleep(1)
                await wait_all_tasks_blocked()
                assert task.cancelled()
                assert condition.statistics() == (0, (False, None, 0))

        run(main)

    def test_who_was_notified_returns_although_it_is_cancelled_before_it_has_the_lock(self, run):
        log = []

        async def main():
            condition = Condition()
            async with giambio.create_pool() as pool:
                first, second = await start_waiters(pool, condition, 2, log)
                async with condition:
                    condition.notify()
                    first.cancel()
                    await wait_all_tasks_blocked()
                await first.join()
                assert log == [0]
                assert not second.done()
                async with condition:
                    condition.notify()

        run(main)
        assert log == [0, 1]

    def test_no_notification_is_lost_wherever_a_task_is_cancelled(self):
        """Each item that was put in is taken out, by those who are left."""

        async def program():
            condition = Condition()
            items = []
            taken = []

            async def take():
                async with condition:
                    item = await condition.wait_for(lambda: items and items.pop(0))
                    taken.append(item)

            async def victim():
                await take()
                await giambio.checkpoint()

            async def put(item):
                async with condition:
                    await giambio.checkpoint()
                    items.append(item)
                    condition.notify()

            try:
                async with giambio.create_pool() as pool:
                    victim_task = pool.spawn(victim)
                    pool.spawn(take)
                    await wait_all_tasks_blocked()
                    pool.spawn(put, "a")
                    pool.spawn(put, "b")
                    await wait_all_tasks_blocked()
                    if victim_task.cancelled() and "a" not in taken + items:
                        pool.cancel()
            finally:
                assert not condition.locked()
                assert condition.statistics() == (0, (False, None, 0))
            assert sorted(taken + items) == ["a", "b"]
            assert len(items) <= victim_task.cancelled()

        assert cancel_sweep(program, target="victim").checkpoints > 2
        cancel_sweep(program)

    def test_a_wait_that_is_closed_leaves_the_queue_without_the_lock(self, run):
        @types.coroutine
        def step_once(coroutine):
            yield coroutine.send(None)

        async def main():
            condition = Condition()
            async with giambio.create_pool() as pool:

                async def wake(task):
                    reschedule(task)

                pool.spawn(wake, giambio.current_task())
                await condition.acquire()
                waiting = condition.wait()
                await step_once(waiting)
                assert condition.statistics() == (1, (False, None, 0))
                waiting.close()
                assert condition.statistics() == (0, (False, None, 0))

        run(main)


class TestALockWhoseOwnerEnded:
    """The condition breaks with it."""

    def test_who_waits_on_the_condition_is_told_when_it_wants_the_lock_back(self, run):
        async def lose(condition):
            await condition.acquire()
            condition.notify()

        async def waiter(condition):
            async with condition:
                await condition.wait()

        async def main():
            condition = Condition()
            async with giambio.create_pool() as pool:
                notified = pool.spawn(fails_broken, waiter, condition)
                cancelled = pool.spawn(fails_broken, waiter, condition)
                await wait_all_tasks_blocked()
                await pool.spawn(lose, condition).join()
                cancelled.cancel()
            assert notified.result() and cancelled.result()

        run(main)

    def test_waiting_does_not_hide_that_a_task_may_forget_to_release(self, run):
        """What was acquired with `acquire` is watched after the wait as it was before."""

        async def forgetful(condition):
            await condition.acquire()
            await condition.wait()

        async def main():
            condition = Condition()
            async with giambio.create_pool() as pool:
                task = pool.spawn(forgetful, condition)
                await wait_all_tasks_blocked()
                await condition.acquire()
                condition.notify()
                condition.release()
                await task.join()
            with pytest.raises(ResourceBroken, match="'forgetful'"):
                await condition.acquire()

        run(main)


async def fails_broken(fn, *args):
    with pytest.raises(ResourceBroken):
        await fn(*args)
    return True
