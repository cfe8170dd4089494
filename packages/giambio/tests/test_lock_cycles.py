# SPDX-License-Identifier: Apache-2.0
"""Tasks that wait for each other: in the report of a dead program, and found in a living one."""

from __future__ import annotations

import contextlib
import re

import pytest

import giambio
from giambio import CapacityLimiter, Condition, DeadlockError, Event, Lock, RWLock
from giambio.debug import DeadlockDetector, find_deadlocks
from giambio.testing import wait_all_tasks_blocked


async def take_both(first, second):
    async with first:
        await giambio.sleep(1)
        async with second:
            pass


def cross(pool, first, second, third=None, fourth=None):
    """Start a task that takes two things, and one that takes them in the opposite order."""

    async def a():
        await take_both(first, second)

    async def b():
        await take_both(third or second, fourth or first)

    return pool.spawn(a), pool.spawn(b)


def names_of(deadlocks):
    return [[blocked.task.name for blocked in deadlock.circle] for deadlock in deadlocks]


def test_a_dead_program_is_told_each_task_its_lock_and_the_owner(run):
    one, two = Lock(), Lock()

    async def main():
        async with giambio.create_pool() as pool:
            cross(pool, one, two)

    with pytest.raises(DeadlockError) as caught:
        run(main)
    head, pool, *tasks = str(caught.value).splitlines()
    assert head == "no task can ever run again, for nothing is left that could wake one:"
    assert pool.startswith("main: waits for <")
    assert ", held by 'a', 'b', " in pool
    assert [re.sub(r", at .*:\d+ in", " in", task) for task in tasks] == [
        f"├─ a: waits for <Lock at {id(two):#x}, held by 'b', 1 waiting> in take_both",
        f"└─ b: waits for <Lock at {id(one):#x}, held by 'a', 1 waiting> in take_both",
    ]


def locks():
    return Lock(), Lock()


def writers():
    return RWLock().write, RWLock().write


def readers_that_want_to_write():
    one, two = RWLock(), RWLock()
    return one.read, two.write, two.read, one.write


def limiters():
    return CapacityLimiter(1), CapacityLimiter(1)


def different_things():
    return Condition(), CapacityLimiter(1)


KINDS = [locks, writers, readers_that_want_to_write, limiters, different_things]


class TestFinding:
    """`find_deadlocks` while the rest of the program goes on."""

    @pytest.mark.parametrize("make", KINDS)
    def test_tasks_that_took_things_in_opposite_order(self, run, make):
        async def main():
            async with giambio.create_pool() as pool:
                a, b = cross(pool, *make())
                assert find_deadlocks() == []
                await giambio.sleep(2)
                (deadlock,) = find_deadlocks()
                assert deadlock.circle == ((a, a.waiting_on, (b,)), (b, b.waiting_on, (a,)))
                pool.cancel()

        run(main)

    def test_its_text_says_who_waits_for_what_and_where(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                cross(pool, Lock(), Lock())
                await giambio.sleep(2)
                (deadlock,) = find_deadlocks()
                head, first, second = str(deadlock).splitlines()
                assert head.startswith("these tasks wait for each other")
                pattern = (
                    r"  {} #\d+ waits for Lock at 0x\w+, held by '{}', 1 waiting, at .*py:\d+ take"
                )
                assert re.match(pattern.format("a", "b"), first)
                assert re.match(pattern.format("b", "a"), second)
                pool.cancel()

        run(main)

    def test_who_only_waits_for_one_in_a_circle_is_not_in_it(self, run):
        one, two = Lock(), Lock()

        async def main():
            async with giambio.create_pool() as pool:
                a, _ = cross(pool, one, two)
                await giambio.sleep(2)
                pool.spawn(one.acquire)
                pool.spawn(a.join)
                await wait_all_tasks_blocked()
                assert names_of(find_deadlocks()) == [["a", "b"]]
                pool.cancel()

        run(main)

    def test_several_circles_are_told_each_once(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                cross(pool, Lock(), Lock())
                cross(pool, Lock(), Lock())
                await giambio.sleep(2)
                assert names_of(find_deadlocks()) == [["a", "b"], ["a", "b"]]
                pool.cancel()

        run(main)

    def test_a_task_that_waits_for_a_child_that_wants_its_lock(self, run):
        async def parent(lock):
            async with lock, giambio.create_pool() as pool:
                pool.spawn(giambio.sleep, 1)
                pool.spawn(child, lock)

        async def child(lock):
            async with lock:
                pass

        async def main():
            async with giambio.create_pool() as pool:
                pool.spawn(parent, Lock())
                await wait_all_tasks_blocked()
                assert sorted(names_of(find_deadlocks())[0]) == ["child", "parent"]
                pool.cancel()

        run(main)

    def test_a_service_that_wants_a_lock_of_its_pools_owner_is_cancelled_in_the_end(self, run):
        async def owner(lock):
            async with lock, giambio.create_pool() as pool:
                pool.service(lock.acquire)
                pool.spawn(giambio.sleep, 1)

        async def main():
            async with giambio.create_pool() as pool:
                pool.spawn(owner, Lock())
                await wait_all_tasks_blocked()
                assert find_deadlocks() == []

        run(main)

    def test_a_writer_needs_all_readers_but_who_wants_a_token_needs_one_borrower(self, run):
        async def wait_for_writing(side):
            async with side:
                await giambio.sleep(5)

        async def take(first, second):
            async with first, second:
                pass

        async def program(shared, exclusive):
            """A task that holds something wants to be in alone; one that is in wants that thing."""
            thing = Lock()
            async with giambio.create_pool() as pool:
                pool.spawn(take_both, shared, thing)
                pool.spawn(wait_for_writing, shared)
                await wait_all_tasks_blocked()
                pool.spawn(take, thing, exclusive)
                await giambio.sleep(2)
                found = find_deadlocks()
                pool.cancel()
            return names_of(found)

        async def main():
            lock = RWLock()
            assert await program(lock.read, lock.write) == [["take_both", "take"]]
            limiter = CapacityLimiter(2)
            assert await program(limiter, limiter) == []

        run(main)

    def test_what_a_deadline_or_anybody_may_end_is_none(self, run):
        async def impatient(first, second):
            with giambio.skip_after(5):
                await take_both(first, second)

        async def wait(lock, event):
            async with lock:
                await event.wait()

        async def main():
            one, two, event = Lock(), Lock(), Event()
            async with giambio.create_pool() as pool:
                pool.spawn(take_both, one, two)
                pool.spawn(impatient, two, one)
                pool.spawn(wait, Lock(), event)
                await giambio.sleep(2)
                assert find_deadlocks() == []
                event.set()

        run(main)

    def test_a_loop_can_be_looked_at_from_outside(self):
        async def main():
            async with giambio.create_pool() as pool:
                one, two = Lock(), Lock()
                cross(pool, one, two)

        with pytest.raises(RuntimeError, match="only inside a running loop"):
            find_deadlocks()
        loop = giambio.AsyncScheduler(clock=giambio.testing.VirtualClock())
        task = loop.start(main, loop=False)
        while not find_deadlocks(loop):
            loop.tick()
        task.cancel()
        loop.close()

    def test_ten_thousand_tasks_behind_a_circle_are_no_circles(self, run):
        async def main():
            one, two = Lock(), Lock()
            async with giambio.create_pool() as pool:
                cross(pool, one, two)
                await giambio.sleep(2)
                for _ in range(10_000):
                    pool.spawn(one.acquire)
                await wait_all_tasks_blocked()
                assert names_of(find_deadlocks()) == [["a", "b"]]
                pool.cancel()

        run(main)


async def come_through(first, second, log):
    """Take both, or say that this would have been a deadlock."""
    name = giambio.current_task().name
    async with first:
        await giambio.sleep(1)
        try:
            async with second:
                log.append(f"{name} has both")
        except DeadlockError:
            log.append(f"{name} was refused")


class TestDetecting:
    """`DeadlockDetector`, which is asked for."""

    @pytest.mark.parametrize("make", [locks, writers, limiters, readers_that_want_to_write])
    def test_the_wait_that_closes_a_circle_is_refused_and_the_others_go_on(self, run, make):
        things = make()
        first, second, third, fourth = things if len(things) == 4 else (*things, *things[::-1])

        async def main():
            async with giambio.create_pool() as pool:
                a = pool.spawn(come_through, first, second, log)
                b = pool.spawn(come_through, third, fourth, log)
                a.name, b.name = "a", "b"
                pool.spawn(giambio.sleep, 100)
            for thing in (first, second, third, fourth):
                async with thing:
                    pass

        log = []
        run(main, debugger=DeadlockDetector())
        assert log == ["b was refused", "a has both"]

    def test_the_error_says_who_waited_for_whom(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                cross(pool, Lock(), Lock())

        with pytest.raises(DeadlockError) as caught:
            run(main, debugger=DeadlockDetector())
        assert str(caught.value).startswith("these tasks wait for each other")
        assert str(caught.value).count("1 waiting") == 2
        assert caught.value.__notes__ == ["in task: main > pool > b"]

    def test_a_wait_that_cannot_be_refused_costs_another_one(self, run):
        async def child(lock):
            with pytest.raises(DeadlockError):
                await lock.acquire()
            log.append("child was refused")

        async def main():
            lock = Lock()
            async with lock:
                await wait_all_tasks_blocked()
                async with giambio.create_pool() as pool:
                    pool.spawn(child, lock)
                    await wait_all_tasks_blocked()
                    log.append("now the pool waits")

        log = []
        run(main, debugger=DeadlockDetector())
        assert log == ["now the pool waits", "child was refused"]

    def test_if_none_can_be_refused_it_is_printed(self, run, capsys):
        async def wait_for(others):
            await others[0].join()

        async def main():
            others = []
            async with giambio.create_pool() as pool:
                first = pool.spawn(wait_for, others)
                others.append(pool.spawn(first.join))
                await wait_all_tasks_blocked()
                pool.cancel()

        with contextlib.suppress(giambio.TaskCancelled):
            run(main, debugger=DeadlockDetector())
        error = capsys.readouterr().err
        assert error.count("giambio: these tasks wait for each other") == 1
        assert "waits for the end of wait_for" in error

    def test_it_can_be_reported_instead(self, run):
        reported = []

        async def main():
            async with giambio.create_pool() as pool:
                cross(pool, Lock(), Lock())
                await giambio.sleep(2)
                pool.cancel()

        run(main, debugger=DeadlockDetector(reported.append))
        assert names_of(reported) == [["b", "a"]]

    def test_who_joins_those_that_wait_for_each_other_does_not_report_them_again(self, run):
        reported = []

        async def main():
            async with giambio.create_pool() as pool:
                a, _ = cross(pool, Lock(), Lock())
                await giambio.sleep(2)
                pool.spawn(a.join)
                await wait_all_tasks_blocked()
                pool.cancel()

        run(main, debugger=DeadlockDetector(reported.append))
        assert len(reported) == 1
