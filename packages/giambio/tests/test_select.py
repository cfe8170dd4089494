# SPDX-License-Identifier: Apache-2.0
"""Select: the first of several things, and no other, wherever the task is cancelled."""

from __future__ import annotations

import itertools
import math
import threading

import pytest

import giambio
from giambio import (
    Broadcast,
    DeadlockError,
    EndOfChannel,
    Event,
    PriorityQueue,
    Queue,
    ResourceBroken,
    ResourceClosed,
    Selected,
    WouldBlock,
    after,
    create_pool,
    merge,
    open_memory_channel,
    select,
    sending,
)
from giambio.lowlevel import Case, selecting, settle, unpark
from giambio.testing import VirtualClock, assert_checkpoints, cancel_sweep, wait_all_tasks_blocked


@pytest.fixture(autouse=True)
def nobody_is_left_in_the_table():
    """The table of those who select is empty again after each test."""
    yield
    assert not selecting


def drain(queue):
    items = []
    while len(queue):
        items.append(queue.get_nowait())
    return items


class TestChoice:
    """Which one it is."""

    def test_what_is_possible_at_once_is_done(self, run):
        async def main():
            empty, full = Queue(), Queue()
            full.put_nowait("x")
            chosen = await select(empty, full)
            assert chosen == Selected(1, full, "x")
            assert chosen.source is full

        run(main)

    @pytest.mark.parametrize("which", range(5))
    def test_or_what_becomes_possible_first(self, run, which):
        async def main():
            queue, event, broadcast = Queue(), Event(), Broadcast()
            (sender, receiver), (out, taker) = open_memory_channel(0), open_memory_channel(0)
            subscription = broadcast.subscribe()
            async with create_pool() as pool:
                task = pool.spawn(
                    select, queue, event, receiver, subscription, sending(out, "out"), after(9)
                )
                await wait_all_tasks_blocked()
                assert taker.statistics().tasks_waiting_to_send == 1
                acts = [
                    lambda: queue.put_nowait("q"),
                    lambda: event.trigger("e"),
                    lambda: sender.send_nowait("c"),
                    lambda: broadcast.send_nowait("b"),
                    taker.receive_nowait,
                ]
                assert acts[which]() == ("out" if which == 4 else None)
                # It stands in none of the queues any more, so nothing else takes effect.
                assert queue.statistics().tasks_waiting_to_get == 0
                assert event.statistics().tasks_waiting == 0
                assert receiver.statistics().tasks_waiting_to_receive == 0
                assert subscription.statistics().tasks_waiting_to_receive == 0
                assert taker.statistics().tasks_waiting_to_send == 0
            sources = [queue, event, receiver, subscription, out]
            assert task.result() == (which, sources[which], ["q", "e", "c", "b", None][which])
            assert giambio.clock() == 0

        run(main)

    def test_time_may_be_over(self, run):
        async def main():
            queue = Queue()
            limit = after(3)
            assert await select(queue, after(5), limit) == (2, limit, None)
            assert giambio.clock() == 3
            assert queue.statistics().tasks_waiting_to_get == 0
            alone = after(1)
            assert await select(alone) == (0, alone, None)
            assert giambio.clock() == 4

        run(main)

    def test_with_no_time_it_is_a_look(self, run):
        async def main():
            queue = Queue()
            with assert_checkpoints():
                chosen = await select(queue, after(0))
            assert chosen.position == 1
            queue.put_nowait("x")
            assert (await select(queue, after(0))).value == "x"
            assert giambio.clock() == 0

        run(main)

    def test_in_order_the_first_of_the_arguments_is_taken(self, run):
        async def main():
            first, second = Queue(), Queue()
            for queue in (first, second):
                for item in range(3):
                    queue.put_nowait(item)
            chosen = [(await select(second, first, in_order=True)).source for _ in range(4)]
            assert chosen == [second, second, second, first]

        run(main)

    def test_otherwise_none_is_starved(self, run):
        async def main():
            queues = [Queue() for _ in range(3)]
            for queue in queues:
                for item in range(200):
                    queue.put_nowait(item)
            for _ in range(60):
                await select(*queues)
            assert all(20 - 15 < 200 - len(queue) < 20 + 15 for queue in queues)
            return [len(queue) for queue in queues]

        assert run(main) == run(main)  # evenly, and all the same in each run

    def test_it_sends_only_if_that_is_what_is_selected(self, run):
        async def main():
            jobs, results = Queue(), Queue(1)
            assert (await select(jobs, sending(results, "r"))).position == 1
            assert len(results) == 1
            jobs.put_nowait("j")
            assert (await select(jobs, sending(results, "s"))).value == "j"
            assert drain(results) == ["r"]

        run(main)

    def test_two_selects_can_meet_at_a_rendezvous(self, run):
        async def main():
            sender, receiver = open_memory_channel(0)
            other = Queue()
            async with create_pool() as pool:
                sends = pool.spawn(select, sending(sender, "x"), other)
                await wait_all_tasks_blocked()
                receives = pool.spawn(select, receiver, after(5))
            assert receives.result().value == "x"
            assert sends.result().position == 0
            assert other.statistics().tasks_waiting_to_get == 0

        run(main)

    def test_it_does_not_meet_itself(self, run):
        async def main():
            sender, receiver = open_memory_channel(0)
            chosen = await select(sending(sender, "x"), receiver, after(1))
            assert chosen.position == 2
            assert sender.statistics()[4:] == (0, 0)

        run(main)

    def test_it_waits_its_turn_like_anybody_else(self, run):
        async def main():
            queue, event = Queue(), Event()
            async with create_pool() as pool:
                tasks = [pool.spawn(queue.get), pool.spawn(select, event, queue)]
                tasks.append(pool.spawn(queue.get))
                await wait_all_tasks_blocked()
                for item in range(3):
                    queue.put_nowait(item)
            assert [tasks[0].result(), tasks[1].result().value, tasks[2].result()] == [0, 1, 2]

        run(main)


class TestEnds:
    """A source that ends, breaks or is closed."""

    def test_an_end_is_something_that_happens_too(self, run):
        async def main():
            sender, receiver = open_memory_channel(0)
            queue = Queue()
            async with create_pool(errors="group") as pool:
                task = pool.spawn(select, queue, receiver)
                await wait_all_tasks_blocked()
                sender.close()
                with pytest.raises(EndOfChannel) as caught:
                    await task.join()
                assert caught.value.__notes__[0].startswith(
                    "in select(): argument 1, <ReceiveChannel"
                )
                assert queue.statistics().tasks_waiting_to_get == 0
                with pytest.raises(EndOfChannel, match="nothing is left to receive"):
                    await select(queue, receiver)

        with pytest.raises(ExceptionGroup):
            run(main)

    @pytest.mark.parametrize("closes", ["queue", "own end", "other side", "broadcast", "putters"])
    def test_whatever_is_closed_wakes_it_once(self, run, closes):
        async def main():
            queue, full = Queue(), Queue(1)
            full.put_nowait(0)
            (sender, receiver), (out, taker) = open_memory_channel(0), open_memory_channel(0)
            broadcast = Broadcast()
            subscription = broadcast.subscribe()
            act, error = {
                "queue": (queue.close, EndOfChannel),
                "own end": (receiver.close, ResourceClosed),
                "other side": (taker.close, ResourceBroken),
                "broadcast": (broadcast.close, EndOfChannel),
                "putters": (full.close, ResourceClosed),
            }[closes]
            async with create_pool() as pool:

                async def selector():
                    with pytest.raises(error):
                        await select(
                            queue, receiver, subscription, sending(out, 1), sending(full, 2)
                        )

                pool.spawn(selector)
                await wait_all_tasks_blocked()
                act()
                sender.close()
                queue.close()
                full.close()
            assert drain(full) == [0]

        run(main)

    def test_an_item_that_cannot_be_compared_leaves_the_queue_as_it_was(self, run):
        async def main():
            queue = PriorityQueue(2)
            queue.put_nowait(5)
            queue.put_nowait(6)
            never = Event()
            async with create_pool() as pool:

                async def selector():
                    with pytest.raises(TypeError):
                        await select(never, sending(queue, "x"))

                pool.spawn(selector)
                pool.spawn(queue.put, 7)
                await wait_all_tasks_blocked()
                assert queue.get_nowait() == 5
            assert drain(queue) == [6, 7]
            assert never.statistics().tasks_waiting == 0

        run(main)

    def test_a_broadcast_can_be_sent_into(self, run):
        async def main():
            broadcast = Broadcast(1)
            subscription = broadcast.subscribe()
            never = Event()
            await select(never, sending(broadcast, 1))
            async with create_pool() as pool:
                task = pool.spawn(select, never, sending(broadcast, 2))
                await wait_all_tasks_blocked()
                assert await subscription.receive() == 1
                assert await subscription.receive() == 2
            assert task.result() == (1, broadcast, None)

        run(main)


class TestCancellation:
    """Exactly one takes effect, or none."""

    @pytest.mark.parametrize("target", ["selector", "other_selector", "feeder"])
    def test_nothing_is_lost_and_nothing_comes_twice(self, target):
        sent, received, state = [], [], {}

        async def selector():
            for _ in range(3):
                chosen = await select(state["queue"], state["receiver"], sending(state["out"], "o"))
                if chosen.position == 2:
                    sent.append("o")
                else:
                    received.append(chosen.value)

        async def other_selector():
            await selector()

        async def feeder():
            for item in (1, 2):
                await state["queue"].put(item)
                sent.append(item)
                await state["sender"].send(10 * item)
                sent.append(10 * item)
                received.append(await state["out"].get())

        async def program():
            sent.clear()
            received.clear()
            sender, receiver = open_memory_channel(0)
            state.update(queue=Queue(), sender=sender, receiver=receiver, out=Queue(1))
            state["out"].put_nowait("full")
            sent.append("full")
            with giambio.skip_after(1):  # the others may wait for who was cancelled
                async with create_pool() as pool:
                    pool.spawn(selector)
                    pool.spawn(feeder)
                    pool.spawn(other_selector)

        def conserved():
            assert not selecting
            left = drain(state["queue"]) + drain(state["out"])
            assert sorted(map(str, sent)) == sorted(map(str, received + left))
            assert state["sender"].statistics()[4:] == (0, 0)

        cancel_sweep(program, target=target, check=conserved)

    def test_sweep_with_a_timeout(self):
        async def program():
            queue, event = Queue(), Event()
            assert (await select(queue, event, after(1))).position == 2
            event.trigger(5)
            assert (await select(queue, event, after(1))).value == 5
            assert queue.statistics().tasks_waiting_to_get == 0

        cancel_sweep(program)

    @pytest.mark.parametrize(
        "order", list(itertools.permutations(["put", "trigger", "cancel"])), ids="-".join
    )
    def test_in_the_same_tick_the_first_to_come_decides(self, run, order):
        async def main():
            queue, event = Queue(), Event()
            async with create_pool() as pool:
                task = pool.spawn(select, queue, event)
                await wait_all_tasks_blocked()
                for act in order:
                    {
                        "put": lambda: queue.put_nowait("x"),
                        "trigger": lambda: event.trigger("e"),
                        "cancel": task.cancel,
                    }[act]()
            assert task.cancelled() == (order[0] == "cancel")
            assert drain(queue) == ([] if order[0] == "put" else ["x"])
            if order[0] != "cancel":
                assert task.result().value == {"put": "x", "trigger": "e"}[order[0]]

        run(main)

    def test_a_grant_and_the_end_of_time_in_the_same_tick(self, run):
        async def main():
            queue = Queue()
            async with create_pool() as pool:

                async def put():
                    await giambio.sleep(2)
                    queue.put_nowait("x")

                pool.spawn(put)
                task = pool.spawn(select, queue, after(2))
            chosen = task.result()
            assert drain(queue) == ([] if chosen.value == "x" else ["x"])

        run(main)

    def test_a_run_that_breaks_off_leaves_nobody_in_the_table(self, run):
        clock = VirtualClock()

        class Broken:
            def choose(self, ready):
                if clock.now() >= 1:
                    assert selecting
                    raise LookupError("the policy is broken")
                return 0

        async def main():
            async with create_pool() as pool:
                pool.spawn(select, Queue(), Event(), after(5))
                for _ in range(2):
                    pool.spawn(giambio.sleep, 1)

        with pytest.raises(LookupError):
            run(main, policy=Broken(), clock=clock)


class TestOtherThreads:
    """They are refused, and the task waits as before."""

    @pytest.mark.parametrize("use", ["put", "send", "broadcast", "trigger", "close", "end"])
    def test_a_use_from_there_is_refused_and_tears_the_task_out_of_nothing(self, run, use):
        async def main():
            queue, event, subscription = Queue(), Event(), (broadcast := Broadcast()).subscribe()
            sender, receiver = open_memory_channel(0)
            wrong = {
                "put": lambda: queue.put_nowait("wrong"),
                "send": lambda: sender.send_nowait("wrong"),
                "broadcast": lambda: broadcast.send_nowait("wrong"),
                "trigger": lambda: event.trigger("wrong"),
                "close": queue.close,
                "end": receiver.close,
            }[use]
            refusals = []

            def other_thread():
                with pytest.raises(RuntimeError, match="another thread") as refused:
                    wrong()
                refusals.append(str(refused.value))

            async with create_pool() as pool:
                task = pool.spawn(select, queue, receiver, subscription, event)
                await wait_all_tasks_blocked()
                thread = threading.Thread(target=other_thread)
                thread.start()
                thread.join()
                (refusal,) = refusals
                assert "call_soon_threadsafe()" in refusal
                await wait_all_tasks_blocked()
                event.trigger("right")
            assert task.result().value == "right"

        run(main)


class TestReports:
    """What a task that selects waits on."""

    def test_a_deadlock_names_all_it_waits_for(self, run):
        async def main():
            await select(Queue(), Event())

        with pytest.raises(DeadlockError, match=r"<one of <Queue at .*>, <Event at .*>>"):
            run(main)

    def test_holders_are_known_only_if_they_are_of_every_case(self, run):
        class Held:
            def __init__(self, *holders):
                self.tasks = holders
                self.queue = {}

            def holders(self):
                return self.tasks

            def try_it(self):
                raise WouldBlock

            def select_case(self):
                return Case(self, self.try_it, self.queue)

        async def main():
            me = giambio.current_task()
            async with create_pool() as pool:
                held = pool.spawn(select, Held(me), Held(me, me))
                partly = pool.spawn(select, Held(me), Queue())
                nobody = pool.spawn(select, Held())
                await wait_all_tasks_blocked()
                assert held.waiting_on.holders() == (me,)
                assert partly.waiting_on.holders() == nobody.waiting_on.holders() == ()
                pool.cancel()

        run(main)


def test_a_primitive_of_ones_own_can_be_selected(run):
    class Bell:
        """Rings for one task at a time."""

        def __init__(self):
            self.waiters = {}

        def ring(self):
            if selecting:
                settle(self.waiters)
            unpark(self.waiters, "ding")

        def is_ringing(self):
            raise WouldBlock

        def select_case(self):
            return Case(self, self.is_ringing, self.waiters)

    async def main():
        bell, queue = Bell(), Queue()
        async with create_pool() as pool:
            task = pool.spawn(select, queue, bell)
            await wait_all_tasks_blocked()
            bell.ring()
            queue.put_nowait("not for it")
        assert task.result() == (1, bell, "ding")
        assert len(queue) == 1

    run(main)


def test_wrong_use_is_told(run):
    async def main():
        queue = Queue()
        with pytest.raises(ValueError, match="needs at least one argument"):
            await select()
        with pytest.raises(TypeError, match="cannot wait for 5: give it channels"):
            await select(queue, 5)
        with pytest.raises(ValueError, match="do the same with <Queue"):
            await select(queue, queue)
        for wrong in (-1, math.nan):
            with pytest.raises(ValueError, match="seconds must be at least 0"):
                after(wrong)
        with pytest.raises(TypeError, match="cannot send into 5: give it a channel, a queue or"):
            sending(5, "x")
        assert repr(after(2.5)) == "after(2.5)"
        assert repr(sending(queue, 1)) == repr(queue)

    run(main)


def test_it_is_a_checkpoint_in_every_case(run):
    async def main():
        queue = Queue()
        queue.put_nowait(1)
        for arguments in ([queue], [after(0)], [after(1)], [Queue(), after(0)]):
            with assert_checkpoints():
                await select(*arguments)

    run(main)


class TestMerge:
    """Several sources as one."""

    def test_it_ends_when_all_have_ended(self, run):
        async def main():
            queue, late = Queue(), Queue()
            sender, receiver = open_memory_channel(0)
            got = []

            async def feed():
                for item in range(3):
                    await queue.put(item)
                    await sender.send(10 + item)
                queue.close()
                sender.close()
                await giambio.sleep(5)
                await late.put(99)
                late.close()

            async with create_pool() as pool:
                pool.spawn(feed)
                async for item in merge(queue, receiver, late):
                    got.append(item)
            assert sorted(got) == [0, 1, 2, 10, 11, 12, 99]
            assert [item for item in got if item < 10] == [0, 1, 2]

        run(main)

    def test_an_item_is_taken_only_when_it_is_asked_for(self, run):
        async def main():
            queue = Queue()
            for item in range(3):
                queue.put_nowait(item)
            async for item in merge(queue):
                assert item == 0
                break
            assert drain(queue) == [1, 2]

        run(main)

    def test_other_errors_than_the_end_are_raised(self, run):
        async def main():
            _, receiver = open_memory_channel(0)
            receiver.close()
            with pytest.raises(ResourceClosed):
                await anext(merge(Queue(), receiver))

        run(main)

    def test_what_cannot_be_received_from_is_refused_at_once(self):
        async def generator():
            yield 1

        for wrong in (3, [Queue()], Event(), generator(), open_memory_channel(0)[0]):
            with pytest.raises(
                TypeError, match=r"merge\(\) cannot receive from .*as_channel makes"
            ):
                merge(Queue(), wrong)

    def test_several_tasks_may_share_it(self, run):
        async def main():
            queues = [Queue() for _ in range(3)]
            merged = merge(*queues)
            got = []

            async def worker():
                async for item in merged:
                    got.append(item)

            async with create_pool() as pool:
                for _ in range(3):
                    pool.spawn(worker)
                await wait_all_tasks_blocked()
                for queue in queues:
                    queue.close()
                    await giambio.checkpoint()
                await wait_all_tasks_blocked()
            assert got == []

        run(main)

    def test_its_repr_says_of_what(self, run):
        async def main():
            queue = Queue()
            both = merge(queue, open_memory_channel(0)[1])
            assert repr(both).startswith(f"<merge of {queue!r}, <ReceiveChannel at ")
            queue.close()
            ended = merge(queue)
            with pytest.raises(StopAsyncIteration):
                await anext(ended)
            assert repr(ended) == "<merge of nothing any more>"

        run(main)

    def test_its_end_is_a_checkpoint(self, run):
        async def main():
            merged = merge()
            with assert_checkpoints():
                assert [item async for item in merged] == []

        run(main)

    def test_sweep(self):
        got, state = [], {}

        async def collector():
            async for item in merge(state["queue"], state["receiver"]):
                got.append(item)

        async def program():
            got.clear()
            sender, receiver = open_memory_channel(5)
            state.update(queue=Queue(), receiver=receiver)
            async with create_pool() as pool:
                pool.spawn(collector)
                for item in (1, 2):
                    await state["queue"].put(item)
                    await sender.send(10 * item)
                state["queue"].close()
                sender.close()

        def conserved():
            left = drain(state["queue"])
            while state["receiver"].statistics().items_buffered:
                left.append(state["receiver"].receive_nowait())
            assert sorted(got + left) == [1, 2, 10, 20]

        cancel_sweep(program, target="collector", check=conserved)


def test_among_1_000_who_select_each_costs_the_same_as_with_few(run, count_calls):
    async def cost(waiters):
        queue, event = Queue(), Event()
        async with create_pool() as pool:
            tasks = [pool.spawn(select, queue, event) for _ in range(waiters)]
            await wait_all_tasks_blocked()
            handing_over = count_calls(queue.put_nowait, "x")
            giving_up = count_calls(tasks[waiters // 2].cancel)
            assert event.statistics().tasks_waiting == waiters - 2
            pool.cancel()
        assert tasks[0].result().value == "x"
        return handing_over, giving_up

    assert run(cost, 1_000) == run(cost, 10)
