# SPDX-License-Identifier: Apache-2.0
"""A queue between tasks and threads. Nothing here depends on how fast a thread is."""

from __future__ import annotations

import contextvars
import math
import threading
from functools import partial

import pytest

import giambio
from giambio import (
    EndOfChannel,
    Event,
    Queue,
    ResourceClosed,
    ThreadQueue,
    TooSlowError,
    WouldBlock,
    create_pool,
    run_in_thread,
    select,
    sending,
)
from giambio.lowlevel import Case
from giambio.testing import assert_checkpoints, cancel_sweep, wait_all_tasks_blocked


def in_thread(fn, *args):
    """Call a function that does not wait for the loop in a thread, and return what it returned."""
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(fn(*args)))
    thread.start()
    thread.join()
    return outcome[0]


async def until(condition):
    """Let threads work until something holds."""
    while not condition():
        await giambio.checkpoint()


def drain(queue):
    items = []
    while len(queue):
        items.append(queue.get_nowait())
    return items


class TestDirections:
    """From threads to tasks, and back."""

    @pytest.mark.parametrize("maxsize", [0, 1, 3])
    def test_from_a_thread_to_tasks(self, run, maxsize):
        async def main():
            queue = ThreadQueue(maxsize)

            def produce():
                with queue:
                    for item in range(20):
                        queue.blocking.put(item)

            async with create_pool() as pool:
                pool.spawn(run_in_thread, produce)
                assert [item async for item in queue] == list(range(20))
            with pytest.raises(EndOfChannel, match="was closed and is empty"):
                await queue.get()

        run(main)

    @pytest.mark.parametrize("maxsize", [0, 1, 3])
    def test_from_tasks_to_a_thread(self, run, maxsize):
        async def main():
            queue = ThreadQueue(maxsize)
            async with create_pool() as pool:
                consumer = pool.spawn(run_in_thread, lambda: list(queue.blocking))
                for item in range(20):
                    await queue.put(item)
                queue.close()
            assert consumer.result() == list(range(20))

        run(main)

    def test_between_tasks_and_between_threads(self, run):
        async def main():
            queue = ThreadQueue(2)
            async with create_pool() as pool:
                pool.spawn(queue.put, 1)
                assert await queue.get() == 1

                def alone():
                    queue.blocking.put(2)
                    return queue.blocking.get()

                assert await run_in_thread(alone) == 2

        run(main)

    def test_tasks_are_served_in_the_order_in_which_they_came(self, run):
        async def main():
            queue = ThreadQueue(1)
            got = []

            async def getter(name):
                got.append((name, await queue.get()))

            async with create_pool() as pool:
                for name in "abc":
                    pool.spawn(getter, name)
                await until(lambda: queue.statistics().tasks_waiting_to_get == 3)
                await run_in_thread(lambda: [queue.blocking.put(item) for item in (1, 2, 3)])
            assert got == [("a", 1), ("b", 2), ("c", 3)]
            queue.put_nowait(0)
            async with create_pool() as pool:
                for item in (1, 2, 3):
                    pool.spawn(queue.put, item)
                await until(lambda: queue.statistics().tasks_waiting_to_put == 3)
                with pytest.raises(WouldBlock, match="is full"):
                    queue.put_nowait(4)
                got = await run_in_thread(lambda: [queue.blocking.get() for _ in range(4)])
            assert got == [0, 1, 2, 3]

        run(main)

    def test_nobody_overtakes_a_task_that_waits(self, run):
        async def main():
            queue = ThreadQueue()
            async with create_pool() as pool:
                task = pool.spawn(queue.get)
                await until(lambda: queue.statistics().tasks_waiting_to_get == 1)
                in_thread(queue.blocking.put, "x")
                # It is there, but it is for the task, which the loop has not seen to yet.
                with pytest.raises(WouldBlock):
                    queue.get_nowait()
            assert task.result() == "x"

        run(main)

    def test_much_traffic_in_both_directions_loses_nothing(self, run):
        async def main():
            queue = ThreadQueue(3)
            count = 100
            got = []

            def produce(first):
                for item in range(first, first + count):
                    queue.blocking.put(item)

            def consume():
                got.extend(queue.blocking)

            async def task_produces(first):
                for item in range(first, first + count):
                    await queue.put(item)

            async def task_consumes():
                async for item in queue:
                    got.append(item)

            async with create_pool() as consumers:
                for _ in range(2):
                    consumers.spawn(run_in_thread, consume)
                    consumers.spawn(task_consumes)
                async with create_pool() as producers:
                    for number in range(2):
                        producers.spawn(run_in_thread, produce, 2 * number * count)
                        producers.spawn(task_produces, (2 * number + 1) * count)
                queue.close()
            assert sorted(got) == list(range(4 * count))

        run(main)


class TestThreads:
    """The blocking side."""

    def test_it_waits_only_as_long_as_it_is_told(self):
        queue = ThreadQueue(1)
        with pytest.raises(TooSlowError, match="had no item within 0 s"):
            queue.blocking.get(timeout=0)
        queue.blocking.put("x")
        with pytest.raises(TooSlowError, match="had no room within 0 s"):
            queue.blocking.put("y", timeout=0)
        assert queue.blocking.get(timeout=None) == "x"

    @pytest.mark.parametrize("timeout", [-1, math.nan])
    def test_a_time_that_is_none_is_refused(self, timeout):
        queue = ThreadQueue(1)
        for use in (queue.blocking.get, partial(queue.blocking.put, 1)):
            with pytest.raises(ValueError, match="timeout must be at least 0, or None, not"):
                use(timeout=timeout)
        assert queue.statistics() == (0, 1, 0, 0, 0, 0, False)

    @pytest.mark.parametrize("timeout", [math.inf, 1e300])
    def test_a_thread_may_wait_without_end(self, run, timeout):
        async def main():
            queue = ThreadQueue(1)
            async with create_pool() as pool:
                getting = pool.spawn(run_in_thread, queue.blocking.get, timeout)
                await until(lambda: queue.statistics().threads_waiting_to_get)
                await queue.put("x")
                assert await getting.join() == "x"
                await queue.put("in the way")
                pool.spawn(run_in_thread, queue.blocking.put, "y", timeout)
                await until(lambda: queue.statistics().threads_waiting_to_put)
                assert await queue.get() == "in the way"
                assert await queue.get() == "y"

        run(main)

    def test_it_needs_no_loop(self):
        queue = ThreadQueue()
        for item in range(3):
            queue.blocking.put(item)
        assert queue.blocking.close() == []
        assert list(queue.blocking) == [0, 1, 2]
        with pytest.raises(ResourceClosed, match="nothing can be put into it any more"):
            queue.blocking.put(4)

    def test_a_thread_that_is_interrupted_passes_its_turn_on(self):
        queue = ThreadQueue(1)

        class Interrupted:
            notified = 0

            def wait_for(self, predicate, timeout):
                raise KeyboardInterrupt

            def notify(self):
                self.notified += 1

        queue._not_empty = queue._not_full = interrupted = Interrupted()
        for use in (queue.blocking.get, lambda: queue.blocking.put(1)):
            with pytest.raises(KeyboardInterrupt):
                use()
        assert interrupted.notified == 2
        assert queue.statistics() == (0, 1, 0, 0, 0, 0, False)

    def test_in_a_task_it_is_refused(self, run):
        async def main():
            queue = ThreadQueue()
            for _ in range(2):
                with pytest.raises(RuntimeError, match=r"a task must use 'await queue.get\(\)'"):
                    queue.blocking.get()
                with pytest.raises(RuntimeError, match=r"blocking.put\(\) would stop the loop"):
                    queue.blocking.put(1)
                with pytest.raises(WouldBlock):
                    queue.get_nowait()  # from now on it belongs to this run

        run(main)

    def test_in_a_task_of_another_run_it_is_refused_too(self, run):
        """That loop would stop, and what it is to wait for may depend on it."""
        queue = ThreadQueue()

        async def elsewhere():
            for use, name in (queue.blocking.get, "get"), (partial(queue.blocking.put, 1), "put"):
                with pytest.raises(RuntimeError, match=rf"run_in_thread\(queue.blocking.{name}\)"):
                    use()
            with pytest.raises(RuntimeError, match=r"run_in_thread\(queue.blocking.get\)"):
                await queue.get()
            assert await run_in_thread(queue.blocking.get) == "x"

        async def main():
            await queue.put("x")
            await run_in_thread(partial(giambio.run, elsewhere))

        run(main)

    def test_a_thread_with_the_context_of_a_task_may_use_it(self, run):
        async def main():
            queue = ThreadQueue()
            context = contextvars.copy_context()
            in_thread(context.run, queue.blocking.put, "x")
            assert await queue.get() == "x"

        run(main)

    def test_a_thread_that_uses_the_side_of_the_tasks_is_told_of_its_own(self):
        queue = ThreadQueue()
        for use in (queue.get_nowait, partial(queue.put_nowait, 1)):
            with pytest.raises(RuntimeError, match=r"a thread must use queue\.blocking"):
                use()


class TestEnd:
    """Closing, from either side."""

    def test_a_thread_closes_it_and_all_who_wait_are_told(self, run):
        async def main():
            told = []

            async def tell(fn, *args):
                try:
                    await fn(*args)
                except (EndOfChannel, ResourceClosed) as error:
                    told.append(type(error))

            empty, full = ThreadQueue(), ThreadQueue(1)
            full.put_nowait(0)
            async with create_pool() as pool:
                for _ in range(2):
                    pool.spawn(tell, empty.get)
                    pool.spawn(tell, full.put, 1)
                    pool.spawn(tell, run_in_thread, empty.blocking.get)
                    pool.spawn(tell, run_in_thread, full.blocking.put, 1)
                for queue in (empty, full):
                    await until(lambda queue=queue: sum(queue.statistics()[2:6]) == 4)
                in_thread(empty.close)
                in_thread(full.blocking.close)
            assert sorted(each.__name__ for each in told) == (
                ["EndOfChannel"] * 4 + ["ResourceClosed"] * 4
            )
            assert drain(full) == [0]

        run(main)

    def test_a_task_closes_it_and_all_who_wait_are_told(self, run):
        async def main():
            queue = ThreadQueue()
            async with create_pool() as pool:

                async def wait(fn):
                    with pytest.raises(EndOfChannel):
                        await fn()

                pool.spawn(wait, queue.get)
                pool.spawn(wait, lambda: run_in_thread(queue.blocking.get))
                await until(lambda: sum(queue.statistics()[2:6]) == 2)
                queue.close()

        run(main)

    def test_closed_without_draining_it_hands_back_what_was_in_it(self, run):
        async def main():
            queue = ThreadQueue()
            for item in range(3):
                await queue.put(item)
            assert queue.close(drain=False) == [0, 1, 2]
            assert queue.close() == []
            assert queue.closed
            with pytest.raises(EndOfChannel):
                queue.get_nowait()
            with pytest.raises(ResourceClosed):
                queue.put_nowait(1)

        run(main)

    def test_the_end_of_the_run_releases_the_threads(self, run):
        ended = []
        queues = [ThreadQueue(), ThreadQueue(1)]

        def consume():
            ended.append(list(queues[0].blocking))

        def produce():
            with pytest.raises(ResourceClosed):
                queues[1].blocking.put("too much")
            ended.append("refused")

        threads = [threading.Thread(target=fn) for fn in (consume, produce)]

        async def main():
            await queues[0].put("x")
            await queues[1].put("y")
            for thread in threads:
                thread.start()
            await until(lambda: queues[0].statistics().threads_waiting_to_get)
            await until(lambda: queues[1].statistics().threads_waiting_to_put)

        run(main)
        for thread in threads:
            thread.join()
        assert sorted(ended, key=str) == [["x"], "refused"]
        # What is in it can still be got by threads; and a late close finds no loop to tell.
        assert queues[1].blocking.get() == "y"
        queues[1].close()

    def test_tasks_of_another_run_are_refused(self, run):
        queue = ThreadQueue()

        async def main():
            await queue.put(1)

        run(main)
        with pytest.raises(RuntimeError, match="is used by tasks of another run; make one for"):
            run(main)


def test_after_a_run_that_broke_off_threads_can_still_use_it(run):
    queue = ThreadQueue()

    class Broken:
        def choose(self, ready):
            if queue.statistics().tasks_waiting_to_get:
                raise LookupError("the policy is broken")
            return 0

    async def main():
        async with create_pool() as pool:
            for fn in (queue.get, giambio.checkpoint, giambio.checkpoint):
                pool.spawn(fn)

    with pytest.raises(LookupError):
        run(main, policy=Broken())
    queue.blocking.put("x")
    assert queue.blocking.get() == "x"


class TestRaces:
    """A thread comes between a task's look and its wait."""

    class Surprised(ThreadQueue):
        """A queue where that happens every time."""

        __slots__ = ("surprise",)

        def get_nowait(self):
            try:
                return super().get_nowait()
            except WouldBlock:
                in_thread(self.surprise)
                raise

        def put_nowait(self, item):
            try:
                super().put_nowait(item)
            except WouldBlock:
                in_thread(self.surprise)
                raise

    def test_get(self, run):
        async def main():
            queue = self.Surprised()
            queue.surprise = lambda: queue.blocking.put("x")
            assert await queue.get() == "x"

        run(main)

    def test_put(self, run):
        async def main():
            queue = self.Surprised(1)
            queue.put_nowait("x")
            queue.surprise = queue.blocking.get
            await queue.put("y")
            assert drain(queue) == ["y"]

        run(main)

    def test_select(self, run):
        async def main():
            queue = self.Surprised(1)
            queue.surprise = lambda: queue.blocking.put("x")
            assert (await select(Event(), queue)).value == "x"
            queue.surprise = lambda: None
            queue.put_nowait("y")
            queue.surprise = queue.blocking.get
            assert (await select(Event(), sending(queue, "z"))).position == 1
            queue.surprise = lambda: None
            assert drain(queue) == ["z"]

        run(main)


class TestSelect:
    """Together with other sources."""

    def test_a_thread_can_be_waited_for_beside_tasks(self, run):
        async def main():
            queue, other = ThreadQueue(1), Queue()
            async with create_pool() as pool:
                task = pool.spawn(select, queue, other)
                await until(lambda: queue.statistics().tasks_waiting_to_get)
                await run_in_thread(queue.blocking.put, "x")
            assert task.result() == (0, queue, "x")
            assert other.statistics().tasks_waiting_to_get == 0
            async with create_pool() as pool:
                task = pool.spawn(select, queue, other)
                await until(lambda: queue.statistics().tasks_waiting_to_get)
                other.put_nowait("y")
            assert queue.statistics().tasks_waiting_to_get == 0
            queue.put_nowait("x")
            async with create_pool() as pool:
                task = pool.spawn(select, sending(queue, "z"), other)
                await until(lambda: queue.statistics().tasks_waiting_to_put)
                assert await run_in_thread(queue.blocking.get) == "x"
            assert task.result() == (0, queue, None)
            assert await queue.get() == "z"

        run(main)

    def test_its_end_reaches_a_select(self, run):
        async def main():
            queue = ThreadQueue()
            async with create_pool() as pool:

                async def selector():
                    with pytest.raises(EndOfChannel):
                        await select(Event(), queue)

                pool.spawn(selector)
                await until(lambda: queue.statistics().tasks_waiting_to_get)
                in_thread(queue.close)

        run(main)


class TestCancellation:
    """Put or cancelled, got or cancelled, and never both."""

    @pytest.mark.parametrize("target", ["putter", "getter", "selector", None])
    def test_items_sent_are_received_or_still_there(self, target):
        sent, received, state = [], [], {}

        def thread_puts(item):
            queue = state["queue"]
            try:
                queue.blocking.put(item, timeout=0)
                return [item]
            except TooSlowError:
                return []

        def thread_gets():
            try:
                return [state["queue"].blocking.get(timeout=0)]
            except TooSlowError:
                return []

        async def putter():
            for item in (1, 2):
                await state["queue"].put(item)
                sent.append(item)

        async def getter():
            for _ in range(2):
                received.append(await state["queue"].get())

        async def selector():
            for _ in range(2):
                received.append((await select(Event(), state["queue"])).value)

        async def program():
            sent.clear()
            received.clear()
            state["queue"] = ThreadQueue(1)
            with giambio.skip_after(1):  # the others may wait for who was cancelled
                async with create_pool() as pool:
                    for fn in (getter, putter, selector):
                        pool.spawn(fn)
                    for item in (10, 20, 30):
                        await wait_all_tasks_blocked()
                        sent.extend(in_thread(thread_puts, item))
                        await giambio.checkpoint()
                        received.extend(in_thread(thread_gets))

        def conserved():
            queue = state["queue"]
            queue.close()  # if no task has used it, the end of the run has not
            assert sorted(sent) == sorted(received + list(queue.blocking))
            assert sum(queue.statistics()[2:6]) == 0

        cancel_sweep(program, target=target, check=conserved)


def test_every_operation_is_a_checkpoint(run):
    async def main():
        queue = ThreadQueue()
        with assert_checkpoints():
            await queue.put(1)
        with assert_checkpoints():
            await queue.get()
        queue.close()
        for operation in (queue.get, lambda: queue.put(1), lambda: anext(queue)):
            with giambio.CancelScope() as scope:
                scope.cancel()
                await operation()
            assert scope.cancelled_caught

    run(main)


def test_statistics_and_repr_say_who_waits(run):
    async def main():
        queue = ThreadQueue(1)
        assert queue
        assert not len(queue)
        queue.put_nowait("x")
        async with create_pool() as pool:
            pool.spawn(queue.put, "y")
            await until(lambda: queue.statistics().tasks_waiting_to_put == 1)
            pool.spawn(run_in_thread, queue.blocking.put, "z")
            await until(lambda: queue.statistics().threads_waiting_to_put == 1)
            assert queue.statistics() == (1, 1, 1, 0, 1, 0, False)
            assert repr(queue).startswith("<ThreadQueue at 0x")
            assert repr(queue).endswith(
                ", 1 of 1 items, waiting to put: 1 tasks, 1 threads; to get: 0 tasks, 0 threads>"
            )
            assert repr(queue.blocking) == f"<blocking side of {queue!r}>"
            assert sorted([await queue.get() for _ in range(3)]) == ["x", "y", "z"]
        queue.close()
        assert ", closed>" in repr(queue)

    run(main)


def test_a_case_shows_its_source():
    queue = Queue()
    assert repr(Case(queue, queue.get_nowait, {})) == repr(queue)
