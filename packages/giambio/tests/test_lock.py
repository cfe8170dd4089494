# SPDX-License-Identifier: Apache-2.0
"""Locks: one owner, in order; what is refused; and what happens when an owner ends."""

from __future__ import annotations

import contextlib
import gc
import weakref

import pytest

import giambio
from giambio import Lock, ResourceBroken, WouldBlock
from giambio.testing import (
    assert_checkpoints,
    assert_no_checkpoints,
    cancel_sweep,
    wait_all_tasks_blocked,
)


async def hold(lock, seconds=1.0):
    async with lock:
        await giambio.sleep(seconds)


class TestLock:
    """One owner at a time, first come first served."""

    def test_there_is_one_owner_at_a_time_in_the_order_of_coming(self, run):
        events = []

        async def work(n):
            async with lock:
                events.append(f"{n} in")
                await giambio.sleep(1)
                events.append(f"{n} out")

        async def main():
            nonlocal lock
            lock = Lock()
            async with giambio.create_pool() as pool:
                for n in range(3):
                    pool.spawn(work, n)
            assert not lock.locked()

        lock = None
        run(main)
        assert events == ["0 in", "0 out", "1 in", "1 out", "2 in", "2 out"]

    def test_it_is_handed_over_and_nobody_overtakes(self, run):
        async def main():
            lock = Lock()
            async with giambio.create_pool() as pool:
                async with lock:
                    waiter = pool.spawn(hold, lock)
                    await wait_all_tasks_blocked()
                assert lock.statistics().owner is waiter  # although it has not run since
                with pytest.raises(WouldBlock):
                    lock.acquire_nowait()
                async with lock:
                    assert giambio.clock() == 1

        run(main)

    def test_acquire_and_release_without_async_with(self, run):
        async def main():
            lock = Lock()
            with assert_checkpoints():
                await lock.acquire()
            assert lock.locked()
            with assert_no_checkpoints():
                lock.release()
                lock.acquire_nowait()
                lock.release()
            with assert_checkpoints():
                async with lock:
                    pass

        run(main)

    def test_the_lock_is_released_when_the_block_raises(self, run):
        async def main():
            lock = Lock()
            with pytest.raises(KeyError):
                async with lock:
                    raise KeyError
            assert not lock.locked()

        run(main)

    def test_its_repr_and_statistics_say_who_holds_it_and_how_many_wait(self, run):
        async def main():
            lock = Lock()
            at = f"<Lock at {id(lock):#x}"
            assert repr(lock) == f"{at}, free>"
            assert lock.statistics() == (False, None, 0)
            assert lock.holders() == ()
            async with giambio.create_pool() as pool:
                first = pool.spawn(hold, lock)
                pool.spawn(hold, lock)
                pool.spawn(hold, lock)
                await wait_all_tasks_blocked()
                assert repr(lock) == f"{at}, held by 'hold', 2 waiting>"
                assert lock.statistics() == (True, first, 2)
                assert lock.holders() == (first,)

        run(main)

    async def refuse_twice(self, acquire):
        with pytest.raises(RuntimeError, match=r"'main' already holds <Lock .*wait for itself"):
            await acquire()

    def test_acquiring_it_twice_is_an_error_and_no_deadlock(self, run):
        async def main():
            lock = Lock()
            async with lock:
                await self.refuse_twice(lock.acquire)
                await self.refuse_twice(lock.__aenter__)
                with pytest.raises(RuntimeError, match="already holds"):
                    lock.acquire_nowait()
            assert not lock.locked()

        run(main)

    def test_releasing_another_ones_lock_is_an_error_and_changes_nothing(self, run):
        async def main():
            lock = Lock()
            with pytest.raises(RuntimeError, match=r"'main' cannot release <Lock .*, free>"):
                lock.release()
            async with giambio.create_pool() as pool:
                owner = pool.spawn(hold, lock)
                await wait_all_tasks_blocked()
                with pytest.raises(RuntimeError, match="'main' cannot release .*held by 'hold'"):
                    lock.release()
                with pytest.raises(RuntimeError, match="it does not hold it"):
                    await lock.__aexit__(None, None, None)
                assert lock.statistics().owner is owner

        run(main)

    def test_a_task_that_keeps_acquiring_a_free_lock_lets_others_run(self, run):
        async def greedy():
            while not others_ran:
                async with lock:
                    pass

        async def other():
            nonlocal others_ran
            others_ran = True

        async def main():
            nonlocal lock
            lock = Lock()
            async with giambio.create_pool() as pool:
                pool.spawn(greedy)
                pool.spawn(other)

        lock, others_ran = None, False
        run(main)

    def test_an_exit_stack_may_release_what_acquire_acquired(self, run):
        async def main():
            lock = Lock()
            for _ in range(2):
                async with contextlib.AsyncExitStack() as stack:
                    await lock.acquire()
                    stack.push_async_exit(lock)
                assert not lock.locked()
            async with giambio.create_pool() as pool:
                pool.spawn(hold, lock)

        run(main)

    def test_who_is_cancelled_never_owns_it_and_whoever_owns_it_was_not(self):
        for use in (with_block, with_calls):
            report = cancel_sweep(three_rivals, use, target="victim")
            assert report.checkpoints > 3
            cancel_sweep(three_rivals, use)


async def with_block(lock, inside):
    async with lock:
        await inside()


async def with_calls(lock, inside):
    await lock.acquire()
    try:
        await inside()
    finally:
        lock.release()


async def three_rivals(use):
    lock = Lock()
    owners = []

    async def inside():
        owners.append(giambio.current_task())
        assert lock.statistics().owner is giambio.current_task()
        assert len(owners) == 1
        try:
            await giambio.checkpoint()
        finally:
            owners.pop()

    async def rival():
        for _ in range(2):
            await use(lock, inside)

    async def victim():
        for _ in range(2):
            await use(lock, inside)

    try:
        async with giambio.create_pool() as pool:
            pool.spawn(rival)
            pool.spawn(victim)
            pool.spawn(rival)
    finally:
        assert lock.statistics() == (False, None, 0)


class TestALockWhoseOwnerEnded:
    """What it protects may be half done, so nobody gets it any more."""

    @pytest.fixture(params=["acquire", "acquire_nowait", "handed over"])
    def forget(self, request):
        """How a task came to hold the lock that it does not release."""

        async def forgetful(lock):
            if request.param == "acquire_nowait":
                lock.acquire_nowait()
            else:
                await lock.acquire()
            await giambio.sleep(1)

        async def forget(pool, lock):
            if request.param == "handed over":
                async with lock:
                    task = pool.spawn(forgetful, lock)
                    await wait_all_tasks_blocked()
            else:
                task = pool.spawn(forgetful, lock)
            await wait_all_tasks_blocked()
            return task

        return forget

    def test_who_waits_and_who_comes_later_is_told_who_lost_it(self, run, forget):
        async def waiter(lock):
            with pytest.raises(ResourceBroken, match="'forgetful' ended without releasing") as told:
                await lock.acquire()
            assert "use 'async with'" in str(told.value)
            assert giambio.clock() == 1

        async def main():
            lock = Lock()
            async with giambio.create_pool() as pool:
                task = await forget(pool, lock)
                pool.spawn(waiter, lock)
                pool.spawn(waiter, lock)
                await task.join()
            assert "held by 'forgetful', which has ended, 0 waiting" in repr(lock)
            for acquire in (lock.acquire, lock.__aenter__):
                with pytest.raises(ResourceBroken, match="'forgetful'"):
                    await acquire()
            with pytest.raises(ResourceBroken, match="'forgetful'"):
                lock.acquire_nowait()
            with pytest.raises(RuntimeError, match="cannot release"):
                lock.release()

        run(main)

    def test_an_owner_that_fails_or_is_cancelled_breaks_it_as_well(self, run):
        async def failing(lock, error):
            await lock.acquire()
            if error:
                raise error
            await giambio.sleep_forever()

        async def main():
            for error in (ValueError(), None):
                lock = Lock()
                with contextlib.suppress(ValueError):
                    async with giambio.create_pool() as pool:
                        task = pool.spawn(failing, lock, error)
                        await wait_all_tasks_blocked()
                        task.cancel()
                with pytest.raises(ResourceBroken):
                    await lock.acquire()

        run(main)

    def test_a_task_that_released_in_time_breaks_nothing_by_ending(self, run):
        async def careful(lock):
            await lock.acquire()
            lock.release()
            async with lock:
                pass
            lock.acquire_nowait()
            lock.release()

        async def main():
            lock = Lock()
            async with giambio.create_pool() as pool:
                pool.spawn(careful, lock)
                pool.spawn(hold, lock)
            async with lock:
                pass

        run(main)

    def test_a_generator_that_is_closed_in_another_task_cannot_release_but_wakes_who_waits(
        self, run
    ):
        """The block was entered in a task that has ended, so nobody watched for its end."""

        async def generate(lock):
            async with lock:
                yield 1

        async def main():
            lock = Lock()
            generator = generate(lock)

            async def enter():
                async for _ in generator:
                    break
                await giambio.sleep(1)

            async def waiter():
                with pytest.raises(ResourceBroken, match="'enter' ended"):
                    await lock.acquire()

            async with giambio.create_pool() as pool:
                owner = pool.spawn(enter)
                await wait_all_tasks_blocked()
                early = pool.spawn(waiter)
                await owner.join()
                await wait_all_tasks_blocked()
                assert lock.statistics().tasks_waiting == 1
                with pytest.raises(RuntimeError, match="cannot release"):
                    await generator.aclose()
                await early.join()
                await pool.spawn(waiter).join()

        run(main)


@pytest.mark.parametrize(
    "make",
    [
        Lock,
        lambda: giambio.Semaphore(1),
        lambda: giambio.CapacityLimiter(1),
        giambio.Condition,
        lambda: giambio.Barrier(1),
        giambio.RWLock,
        lambda: giambio.Value(1),
        lambda: giambio.RateLimit(1),
        giambio.Queue,
        giambio.LifoQueue,
        giambio.PriorityQueue,
        giambio.Broadcast,
        lambda: giambio.Broadcast().subscribe(),
    ],
)
def test_one_for_each_key_lives_as_long_as_somebody_uses_it(make):
    """A lock for each user or file, in a dictionary that does not keep those that nobody has."""
    by_key = weakref.WeakValueDictionary()
    mine = by_key.setdefault("key", make())
    assert by_key.setdefault("key", make()) is mine
    del mine
    gc.collect()  # a read-write lock and its two sides refer to each other
    assert not by_key
