# SPDX-License-Identifier: Apache-2.0
"""Queues: order, room, close and join; nothing lost wherever a task is cancelled."""

from __future__ import annotations

import pytest

import giambio
from giambio import (
    EndOfChannel,
    LifoQueue,
    PriorityQueue,
    Queue,
    ResourceClosed,
    WouldBlock,
    create_pool,
)
from giambio.testing import assert_checkpoints, cancel_sweep, wait_all_tasks_blocked

KINDS = [Queue, LifoQueue, PriorityQueue]


def drain(queue):
    items = []
    while len(queue):
        items.append(queue.get_nowait())
    return items


class TestOrder:
    """Which item comes first, and which task."""

    def test_first_in_first_out(self, run):
        async def main():
            queue = Queue()
            for item in (2, 3, 1):
                await queue.put(item)
            assert [await queue.get() for _ in range(3)] == [2, 3, 1]

        run(main)

    def test_last_in_first_out(self, run):
        async def main():
            queue = LifoQueue()
            for item in (2, 3, 1):
                await queue.put(item)
            assert [await queue.get() for _ in range(3)] == [1, 3, 2]

        run(main)

    def test_least_first_and_equal_ones_in_the_order_of_putting(self, run):
        async def main():
            queue = PriorityQueue(key=lambda item: item[0])
            for item in [(2, {}), (1, "a"), (2, []), (1, "b")]:
                await queue.put(item)
            assert drain(queue) == [(1, "a"), (1, "b"), (2, {}), (2, [])]
            queue = PriorityQueue()
            for item in (3, 1, 2):
                queue.put_nowait(item)
            assert drain(queue) == [1, 2, 3]

        run(main)

    @pytest.mark.parametrize("kind", KINDS)
    def test_who_waits_longest_gets_first(self, run, kind):
        async def main():
            queue = kind()
            got = []

            async def getter(name):
                got.append((name, await queue.get()))

            async with create_pool() as pool:
                for name in "abc":
                    pool.spawn(getter, name)
                await wait_all_tasks_blocked()
                for item in (1, 2, 3):
                    queue.put_nowait(item)
            assert got == [("a", 1), ("b", 2), ("c", 3)]

        run(main)

    def test_who_waits_longest_puts_first_and_nobody_overtakes(self, run):
        async def main():
            queue = Queue(1)
            queue.put_nowait(0)
            async with create_pool() as pool:
                for item in (1, 2, 3):
                    pool.spawn(queue.put, item)
                await wait_all_tasks_blocked()
                assert queue.get_nowait() == 0
                # The place went to the first who waits, so there is none to take.
                with pytest.raises(WouldBlock):
                    queue.put_nowait(4)
                assert [await queue.get() for _ in range(3)] == [1, 2, 3]

        run(main)

    def test_an_item_that_cannot_be_compared_is_the_fault_of_who_puts_it(self, run):
        async def main():
            queue = PriorityQueue(2)
            queue.put_nowait(5)
            with pytest.raises(TypeError):
                await queue.put("x")
            with pytest.raises(TypeError):
                queue.put_nowait("x")
            queue.put_nowait(3)
            async with create_pool(errors="group") as pool:
                bad = pool.spawn(queue.put, "x")
                good = pool.spawn(queue.put, 4)
                await wait_all_tasks_blocked()
                with pytest.raises(WouldBlock):
                    queue.put_nowait(1)
                # Its place is free, but its item is no item; the next one in line gets in.
                assert queue.get_nowait() == 3
                with pytest.raises(TypeError):
                    await bad.join()
                await good.join()
                assert drain(queue) == [4, 5]

        with pytest.raises(ExceptionGroup) as caught:
            run(main)
        assert [type(error) for error in caught.value.exceptions] == [TypeError]

    def test_an_order_that_fails_in_the_middle_loses_no_item(self):
        class Fickle:
            broken = False

            def __init__(self, rank):
                self.rank = rank

            def __lt__(self, other):
                if Fickle.broken:
                    raise RuntimeError
                return self.rank < other.rank

        queue = PriorityQueue()
        for rank in (3, 1, 2, 5, 4):
            queue.put_nowait(Fickle(rank))
        Fickle.broken = True
        with pytest.raises(RuntimeError):
            queue.get_nowait()
        Fickle.broken = False
        assert sorted(item.rank for item in drain(queue)) == [1, 2, 3, 4, 5]


class TestRoom:
    """How much goes in, and what is said about it."""

    def test_nowait_says_so_when_it_would_have_to_wait(self, run):
        async def main():
            queue = Queue(1)
            with pytest.raises(WouldBlock, match=r"<Queue at .*, 0 of 1 items, .*> is empty"):
                queue.get_nowait()
            queue.put_nowait("x")
            with pytest.raises(WouldBlock, match=r"1 of 1 items, .*> is full"):
                queue.put_nowait("y")
            assert queue.full()
            assert not queue.empty()
            assert queue.qsize() == len(queue) == 1

        run(main)

    @pytest.mark.parametrize("maxsize", [0, -1])
    def test_without_a_size_it_takes_any_number(self, run, maxsize):
        async def main():
            queue = Queue(maxsize)
            for item in range(1000):
                await queue.put(item)
            assert queue.maxsize == 0
            assert not queue.full()

        run(main)

    def test_an_empty_queue_is_true(self):
        assert Queue()

    def test_statistics_and_repr_say_who_waits(self, run):
        async def main():
            queue = Queue(1)
            assert queue.statistics() == (0, 1, 0, 0, 0, False)
            async with create_pool() as pool:
                getter = pool.spawn(queue.get)
                await wait_all_tasks_blocked()
                assert repr(queue).endswith(", 0 of 1 items, 0 waiting to put, 1 to get>")
                assert getter.waiting_on is queue
                await queue.put(1)
                for _ in range(3):
                    pool.spawn(queue.put, 2)
                await wait_all_tasks_blocked()
                assert queue.statistics() == (1, 1, 2, 2, 0, False)
                pool.cancel()
            queue.close()
            assert repr(queue).endswith(", 1 of 1 items, 0 waiting to put, 0 to get, closed>")
            assert "Queue at" in repr(LifoQueue())

        run(main)


class TestEnd:
    """Closing: what is in it can still be got."""

    def test_what_was_put_can_still_be_got_and_then_it_ends(self, run):
        async def main():
            queue = Queue()
            for item in range(3):
                queue.put_nowait(item)
            assert queue.close() == []
            assert queue.close() == []
            assert queue.closed
            assert [item async for item in queue] == [0, 1, 2]
            with pytest.raises(EndOfChannel, match="was closed and is empty"):
                await queue.get()
            with pytest.raises(EndOfChannel):
                queue.get_nowait()

        run(main)

    def test_who_puts_may_close_it_with_a_block(self, run):
        async def main():
            queue = Queue()
            with pytest.raises(ValueError):
                with queue:
                    await queue.put(1)
                    raise ValueError
            assert [item async for item in queue] == [1]

        run(main)

    def test_nothing_more_can_be_put(self, run):
        async def main():
            for queue in (Queue(), Queue(5)):
                queue.close()
                assert not queue.full()  # putting would not wait
                with pytest.raises(ResourceClosed, match="nothing can be put into it any more"):
                    await queue.put(1)
                with pytest.raises(ResourceClosed):
                    queue.put_nowait(1)
                assert queue.statistics().unfinished == 0

        run(main)

    def test_who_waits_is_told(self, run):
        async def main():
            told = []

            async def tell(fn, *args):
                try:
                    await fn(*args)
                except (EndOfChannel, ResourceClosed) as error:
                    told.append(type(error))

            empty, full = Queue(), Queue(1)
            full.put_nowait(0)
            async with create_pool() as pool:
                for _ in range(2):
                    pool.spawn(tell, empty.get)
                    pool.spawn(tell, full.put, 1)
                await wait_all_tasks_blocked()
                empty.close()
                full.close()
            assert told == [EndOfChannel] * 2 + [ResourceClosed] * 2
            assert drain(full) == [0]

        run(main)

    def test_closed_without_draining_it_hands_back_what_was_in_it(self, run):
        async def main():
            queue = Queue()
            for item in range(3):
                queue.put_nowait(item)
            async with create_pool() as pool:
                joiner = pool.spawn(queue.join)
                await wait_all_tasks_blocked()
                assert queue.close(drain=False) == [0, 1, 2]
            assert joiner.done()
            with pytest.raises(EndOfChannel):
                await queue.get()

        run(main)


class TestJoin:
    """Waiting until all the work is done."""

    def test_it_waits_for_each_item_that_was_put(self, run):
        async def main():
            queue = Queue(2)
            log = []

            async def worker():
                async for item in queue:
                    await giambio.sleep(1)
                    log.append(item)
                    queue.task_done()

            async with create_pool() as pool:
                pool.spawn(worker)
                for item in range(5):
                    await queue.put(item)
                await queue.join()
                assert log == [0, 1, 2, 3, 4]
                assert giambio.clock() == 5
                queue.close()

        run(main)

    def test_an_item_that_is_handed_over_counts_and_one_that_waits_does_not(self, run):
        async def main():
            queue = Queue(1)
            async with create_pool() as pool:
                pool.spawn(queue.get)
                await wait_all_tasks_blocked()
                queue.put_nowait("handed over")
                assert queue.statistics().unfinished == 1
                queue.put_nowait("in the queue")
                pool.spawn(queue.put, "not in it yet")
                await wait_all_tasks_blocked()
                assert queue.statistics().unfinished == 2
                queue.get_nowait()
                assert queue.statistics().unfinished == 3
                for _ in range(3):
                    queue.task_done()
                await queue.join()

        run(main)

    def test_more_done_than_put_is_an_error(self):
        with pytest.raises(ValueError, match="called more often than items were put"):
            Queue().task_done()


@pytest.mark.parametrize("kind", KINDS)
def test_every_operation_is_a_checkpoint(run, kind):
    async def main():
        queue = kind()
        for operation in (queue.join, lambda: queue.put(1), queue.get):
            with assert_checkpoints():
                await operation()
        queue.task_done()
        queue.close()
        for operation in (queue.get, lambda: queue.put(1), lambda: anext(queue)):
            with giambio.CancelScope() as scope:
                scope.cancel()
                await operation()
            assert scope.cancelled_caught

    run(main)


def test_a_task_that_never_has_to_wait_does_not_starve_the_others(run):
    async def main():
        queue = Queue()
        others = 0

        async def other():
            nonlocal others
            while True:
                await giambio.checkpoint()
                others += 1

        async with create_pool() as pool:
            pool.spawn(other)
            for item in range(1000):
                await queue.put(item)
                await queue.get()
            pool.cancel()
        assert others > 10

    run(main)


class TestCancellation:
    """Put or cancelled, got or cancelled, and never both."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("target", ["putter", "getter", "second_getter", "second_putter"])
    def test_items_sent_are_received_buffered_or_refused(self, kind, target):
        sent, received = [], []
        state = {}

        async def put_some(queue, items):
            for item in items:
                await queue.put(item)
                sent.append(item)

        async def get_some(queue, count):
            for _ in range(count):
                received.append(await queue.get())

        async def putter(queue):
            await put_some(queue, [1, 2, 3])

        async def second_putter(queue):
            await put_some(queue, [4, 5])

        async def getter(queue):
            await get_some(queue, 3)

        async def second_getter(queue):
            await get_some(queue, 2)

        async def program():
            sent.clear()
            received.clear()
            state["queue"] = queue = kind(1)
            with giambio.skip_after(1):  # the others may wait for who was cancelled
                async with create_pool() as pool:
                    for fn in (getter, putter, second_getter, second_putter):
                        pool.spawn(fn, queue)

        def conserved():
            queue = state["queue"]
            assert sorted(sent) == sorted(received + drain(queue))
            assert queue.statistics().unfinished == len(sent)
            assert queue.statistics()[3:5] == (0, 0)

        cancel_sweep(program, target=target, check=conserved)

    def test_sweep_of_everything_at_once(self):
        sent, received = [], []
        state = {}

        async def putter(queue):
            for item in range(4):
                await queue.put(item)
                sent.append(item)

        async def getter(queue):
            for _ in range(2):
                received.append(await queue.get())

        async def program():
            sent.clear()
            received.clear()
            state["queue"] = queue = Queue(1)
            async with create_pool() as pool:
                for fn in (putter, getter, getter):
                    pool.spawn(fn, queue)

        def conserved():
            assert sorted(sent) == sorted(received + drain(state["queue"]))

        cancel_sweep(program, check=conserved)

    def test_a_deadlock_report_says_for_how_many_items_it_waits(self, run):
        async def main():
            queue = Queue()
            for item in range(3):
                queue.put_nowait(item)
                queue.get_nowait()
            await queue.join()

        with pytest.raises(giambio.DeadlockError, match="0 to get, 1 for 3 unfinished to be done>"):
            run(main)

    def test_sweep_of_join(self):
        async def joiner(queue):
            await queue.join()

        async def program():
            queue = Queue()
            queue.put_nowait(1)
            async with create_pool() as pool:
                pool.spawn(joiner, queue)
                await giambio.sleep(1)
                queue.task_done()
                await queue.join()
                assert queue.statistics()[3:5] == (0, 0)

        cancel_sweep(program)
        cancel_sweep(program, target="joiner")

    @pytest.mark.parametrize("first", ["cancel", "put"])
    def test_in_the_same_tick_the_first_to_come_decides(self, run, first):
        async def main():
            queue = Queue()
            async with create_pool() as pool:
                getter = pool.spawn(queue.get)
                await wait_all_tasks_blocked()
                if first == "cancel":
                    getter.cancel()
                queue.put_nowait("x")
                getter.cancel()
            assert getter.cancelled() == (first == "cancel")
            assert drain(queue) == (["x"] if first == "cancel" else [])
            if first == "put":
                assert getter.result() == "x"

        run(main)


class TestManyWaiters:
    """10,000 tasks wait: what one of them costs does not depend on the others."""

    def test_handing_over_and_giving_up_cost_the_same_as_with_few(self, run, count_calls):
        async def cost(waiters):
            queue = Queue()
            got = []

            async def getter(number):
                got.append((number, await queue.get()))

            async with create_pool() as pool:
                tasks = [pool.spawn(getter, number) for number in range(waiters)]
                await wait_all_tasks_blocked()
                handing_over = count_calls(queue.put_nowait, "x")
                giving_up = count_calls(tasks[waiters // 2].cancel)
                assert queue.statistics().tasks_waiting_to_get == waiters - 2
                for task in tasks[1:-1]:
                    task.cancel()
                queue.put_nowait("y")
            assert got == [(0, "x"), (waiters - 1, "y")]
            return handing_over, giving_up

        assert run(cost, 10_000) == run(cost, 10)

    def test_letting_in_costs_the_same_as_with_few(self, run, count_calls):
        async def cost(waiters):
            queue = Queue(1)
            queue.put_nowait(-1)
            async with create_pool() as pool:
                tasks = [pool.spawn(queue.put, number) for number in range(waiters)]
                await wait_all_tasks_blocked()
                letting_in = count_calls(queue.get_nowait)
                for task in tasks[1:-1]:
                    task.cancel()
                assert await queue.get() == 0
                assert await queue.get() == waiters - 1
            return letting_in

        assert run(cost, 10_000) == run(cost, 10)


@pytest.mark.parametrize("make", [Queue, LifoQueue, PriorityQueue, giambio.ThreadQueue])
@pytest.mark.parametrize("maxsize", [1.5, float("nan"), None, "3"])
def test_a_size_that_is_no_whole_number_is_refused(make, maxsize):
    with pytest.raises(TypeError, match="maxsize must be a whole number"):
        make(maxsize)
