# SPDX-License-Identifier: Apache-2.0
"""Memory channels: rendezvous and buffers, clones, ends; nothing lost wherever a task is cancelled."""

from __future__ import annotations

import math

import pytest

import giambio
from giambio import (
    EndOfChannel,
    ResourceBroken,
    ResourceClosed,
    WouldBlock,
    create_pool,
    open_memory_channel,
)
from giambio.testing import assert_checkpoints, cancel_sweep, wait_all_tasks_blocked


def drain(receiver):
    items = []
    try:
        while True:
            items.append(receiver.receive_nowait())
    except (WouldBlock, EndOfChannel, ResourceClosed):
        return items


class TestBuffer:
    """How many items are sent before one is received."""

    def test_at_a_rendezvous_the_sender_waits_until_the_item_is_taken(self, run):
        async def main():
            sender, receiver = open_memory_channel(0)
            events = []

            async def send():
                await sender.send("x")
                events.append("sent")

            async with create_pool() as pool:
                pool.spawn(send)
                await giambio.sleep(1)
                assert events == []
                with pytest.raises(WouldBlock):
                    sender.send_nowait("y")
                assert await receiver.receive() == "x"
                events.append("received")
            assert events == ["received", "sent"]

        run(main)

    def test_who_waits_gets_the_item_from_hand_to_hand(self, run):
        async def main():
            sender, receiver = open_memory_channel(0)
            async with create_pool() as pool:
                task = pool.spawn(receiver.receive)
                await wait_all_tasks_blocked()
                sender.send_nowait("x")
                with pytest.raises(WouldBlock, match="nobody waits to receive"):
                    sender.send_nowait("y")
            assert task.result() == "x"

        run(main)

    def test_so_many_items_as_the_capacity_go_in_without_waiting(self, run):
        async def main():
            sender, receiver = open_memory_channel(2)
            async with create_pool() as pool:
                for item in range(4):
                    pool.spawn(sender.send, item)
                await wait_all_tasks_blocked()
                assert receiver.statistics() == (2, 2, 1, 1, 2, 0)
                # The place of the item that was taken goes to who waits longest.
                assert receiver.receive_nowait() == 0
                assert receiver.statistics() == (2, 2, 1, 1, 1, 0)
                assert drain(receiver) == [1, 2, 3]
            with pytest.raises(WouldBlock, match="the channel is empty"):
                receiver.receive_nowait()

        run(main)

    def test_with_infinite_capacity_nobody_waits_to_send(self, run):
        async def main():
            sender, receiver = open_memory_channel(math.inf)
            for item in range(1000):
                await sender.send(item)
            assert drain(receiver) == list(range(1000))

        run(main)

    @pytest.mark.parametrize("wrong", [-1, 1.5, math.nan, -math.inf])
    def test_a_capacity_must_be_a_whole_number(self, wrong):
        with pytest.raises(ValueError, match="capacity must be a whole number from 0, or infinity"):
            open_memory_channel(wrong)

    def test_who_waits_longest_comes_first(self, run):
        async def main():
            sender, receiver = open_memory_channel(0)
            got = []

            async def receive(name):
                got.append((name, await receiver.receive()))

            async with create_pool() as pool:
                for name in "abc":
                    pool.spawn(receive, name)
                await wait_all_tasks_blocked()
                for item in (1, 2, 3):
                    await sender.send(item)
            assert got == [("a", 1), ("b", 2), ("c", 3)]

        run(main)


class TestEnds:
    """Closing one end, or all of a kind."""

    def test_what_was_sent_is_received_and_then_the_channel_ends(self, run):
        async def main():
            sender, receiver = open_memory_channel(5)
            with sender:
                for item in range(3):
                    await sender.send(item)
            assert [item async for item in receiver] == [0, 1, 2]
            for receive in (receiver.receive, receiver.clone().receive):
                with pytest.raises(EndOfChannel, match="nothing is left to receive"):
                    await receive()
            with pytest.raises(EndOfChannel):
                receiver.receive_nowait()

        run(main)

    def test_it_ends_with_the_last_of_the_senders(self, run):
        async def main():
            sender, receiver = open_memory_channel(0)
            ended = []

            async def wait_for_end():
                async for item in receiver:
                    ended.append(item)
                ended.append("end")

            async with create_pool() as pool:
                pool.spawn(wait_for_end)
                other = sender.clone()
                await wait_all_tasks_blocked()
                sender.close()
                await wait_all_tasks_blocked()
                assert ended == []
                await other.send("x")
                other.close()
                await wait_all_tasks_blocked()
                assert ended == ["x", "end"]

        run(main)

    def test_it_breaks_with_the_last_of_the_receivers(self, run):
        async def main():
            sender, receiver = open_memory_channel(1)
            other = receiver.clone()
            receiver.close()
            sender.send_nowait("dropped")
            async with create_pool(errors="group") as pool:
                waiting = pool.spawn(sender.send, "kept")
                await wait_all_tasks_blocked()
                other.close()
                with pytest.raises(ResourceBroken, match="nobody can receive from this channel"):
                    await waiting.join()
                with pytest.raises(ResourceBroken):
                    sender.send_nowait("x")
                with pytest.raises(ResourceBroken):
                    await sender.send("x")
                assert sender.statistics() == (0, 1, 1, 0, 0, 0)

        with pytest.raises(ExceptionGroup):
            run(main)

    def test_a_closed_end_is_of_no_use_and_says_so(self, run):
        async def main():
            sender, receiver = open_memory_channel(1)
            keep = sender.clone(), receiver.clone()
            sender.send_nowait("still there")
            for end in (sender, receiver):
                end.close()
                end.close()
                assert end.closed
            message = "this SendChannel was closed"
            with pytest.raises(ResourceClosed, match=message):
                await sender.send(1)
            with pytest.raises(ResourceClosed, match=message):
                sender.send_nowait(1)
            with pytest.raises(ResourceClosed, match=message):
                sender.clone()
            message = "this ReceiveChannel was closed"
            with pytest.raises(ResourceClosed, match=message):
                await receiver.receive()
            with pytest.raises(ResourceClosed, match=message):
                receiver.receive_nowait()
            with pytest.raises(ResourceClosed, match=message):
                receiver.clone()
            assert keep[1].receive_nowait() == "still there"
            # Also when the other side is gone, that is what it says.
            keep[0].close()
            keep[1].close()
            with pytest.raises(ResourceClosed):
                sender.send_nowait(1)

        run(main)

    def test_who_waits_on_the_very_end_that_is_closed_is_told_and_nobody_else(self, run):
        async def main():
            told = []

            async def tell(name, fn, *args):
                try:
                    told.append((name, await fn(*args)))
                except ResourceClosed:
                    told.append((name, "closed"))

            sender, receiver = open_memory_channel(0)
            async with create_pool() as pool:
                other = receiver.clone()
                pool.spawn(tell, "own", receiver.receive)
                pool.spawn(tell, "other", other.receive)
                await wait_all_tasks_blocked()
                receiver.close()
                await sender.send("x")
            assert sorted(told) == [("other", "x"), ("own", "closed")]
            told.clear()
            async with create_pool() as pool:
                clone = sender.clone()
                pool.spawn(tell, "own", sender.send, 1)
                pool.spawn(tell, "other", clone.send, 2)
                await wait_all_tasks_blocked()
                sender.close()
                assert await other.receive() == 2
            assert sorted(told) == [("other", None), ("own", "closed")]

        run(main)

    def test_each_item_goes_to_one_of_the_clones(self, run):
        async def main():
            sender, receiver = open_memory_channel(0)
            got = []

            async def worker(channel):
                async with channel:
                    async for item in channel:
                        got.append(item)
                        await giambio.checkpoint()

            async with create_pool() as pool:
                async with receiver:
                    for _ in range(3):
                        pool.spawn(worker, receiver.clone())
                async with sender:
                    for item in range(30):
                        await sender.send(item)
            assert sorted(got) == list(range(30))

        run(main)

    def test_repr_says_what_there_is_to_say(self, run):
        async def main():
            sender, receiver = open_memory_channel(math.inf)
            sender.send_nowait(1)
            assert repr(sender).startswith("<SendChannel at 0x")
            assert repr(receiver).endswith(
                ", open, 1 of inf buffered, 0 waiting to send, 0 to receive>"
            )
            receiver.close()
            assert ", closed, 0 of inf buffered" in repr(receiver)

        run(main)


def test_every_operation_is_a_checkpoint(run):
    async def main():
        sender, receiver = open_memory_channel(1)
        with assert_checkpoints():
            await sender.send(1)
        with assert_checkpoints():
            await receiver.receive()
        sender.send_nowait(2)
        with assert_checkpoints():
            await anext(receiver)
        sender.close()

        async def use_with():
            await anext(receiver)

        for operation in (receiver.receive, use_with, lambda: sender.send(1)):
            with giambio.CancelScope() as scope:
                scope.cancel()
                await operation()
            assert scope.cancelled_caught

    run(main)


def test_an_item_that_is_gone_after_the_checkpoint_is_waited_for_again(run):
    async def main():
        sender, receiver = open_memory_channel(1)
        sender.send_nowait("first")

        async def snatch():
            assert receiver.receive_nowait() == "first"
            await wait_all_tasks_blocked()
            sender.send_nowait("second")

        async with create_pool() as pool:
            pool.spawn(snatch)
            giambio.current_task().scheduler.credit = 0
            assert await receiver.receive() == "second"

    run(main)


@pytest.mark.parametrize("which", ["sender", "receiver"])
def test_an_end_that_is_closed_during_the_checkpoint_is_refused_after_it(run, which):
    async def main():
        sender, receiver = open_memory_channel(2)
        sender.send_nowait(1)
        end, use = {
            "sender": (sender, lambda: sender.send(2)),
            "receiver": (receiver, receiver.receive),
        }[which]
        keep = sender.clone(), receiver.clone()  # so that it neither ends nor breaks

        async def close():
            end.close()

        async with create_pool() as pool:
            pool.spawn(close)
            giambio.current_task().scheduler.credit = 0
            with pytest.raises(ResourceClosed):
                await use()
        assert drain(keep[1]) == [1]

    run(main)


class TestCancellation:
    """Sent or cancelled, received or cancelled, and never both."""

    @pytest.mark.parametrize("capacity", [0, 1, 2])
    @pytest.mark.parametrize("target", ["send_some", "receive_some", "send_more", "receive_more"])
    def test_items_sent_are_received_or_buffered(self, capacity, target):
        sent, received = [], []
        state = {}

        async def send_items(sender, items):
            with sender:
                for item in items:
                    await sender.send(item)
                    sent.append(item)

        async def receive_items(receiver, count):
            for _ in range(count):
                received.append(await receiver.receive())

        async def send_some(sender):
            await send_items(sender, [1, 2, 3])

        async def send_more(sender):
            await send_items(sender, [4, 5])

        async def receive_some(receiver):
            await receive_items(receiver, 3)

        async def receive_more(receiver):
            await receive_items(receiver, 2)

        async def program():
            sent.clear()
            received.clear()
            sender, receiver = open_memory_channel(capacity)
            state["receiver"] = receiver
            with giambio.skip_after(1):  # the others may wait for who was cancelled
                async with create_pool() as pool:
                    with sender:
                        pool.spawn(receive_some, receiver)
                        pool.spawn(send_some, sender.clone())
                        pool.spawn(receive_more, receiver)
                        pool.spawn(send_more, sender.clone())

        def conserved():
            receiver = state["receiver"]
            assert sorted(sent) == sorted(received + drain(receiver))
            assert receiver.statistics()[4:] == (0, 0)

        cancel_sweep(program, target=target, check=conserved, allow=EndOfChannel)

    @pytest.mark.parametrize("capacity", [0, 1])
    def test_sweep_of_everything_at_once(self, capacity):
        sent, received = [], []
        state = {}

        async def send(sender, items):
            with sender:
                for item in items:
                    await sender.send(item)
                    sent.append(item)

        async def receive(receiver):
            async for item in receiver:
                received.append(item)

        async def program():
            sent.clear()
            received.clear()
            sender, state["receiver"] = open_memory_channel(capacity)
            async with create_pool() as pool:
                with sender:
                    pool.spawn(send, sender.clone(), [1, 2])
                    pool.spawn(send, sender.clone(), [3, 4])
                    pool.spawn(receive, state["receiver"])
                    pool.spawn(receive, state["receiver"])

        def conserved():
            assert sorted(sent) == sorted(received + drain(state["receiver"]))

        cancel_sweep(program, check=conserved)

    @pytest.mark.parametrize("first", ["cancel", "send"])
    def test_in_the_same_tick_the_first_to_come_decides(self, run, first):
        async def main():
            sender, receiver = open_memory_channel(1)
            async with create_pool() as pool:
                task = pool.spawn(receiver.receive)
                await wait_all_tasks_blocked()
                if first == "cancel":
                    task.cancel()
                sender.send_nowait("x")
                task.cancel()
            assert task.cancelled() == (first == "cancel")
            assert drain(receiver) == (["x"] if first == "cancel" else [])

        run(main)


class TestManyWaiters:
    """10,000 tasks wait: what one of them costs does not depend on the others."""

    def test_receiving_and_giving_up_cost_the_same_as_with_few(self, run, count_calls):
        async def cost(waiters):
            sender, receiver = open_memory_channel(0)
            async with create_pool() as pool:
                tasks = [pool.spawn(receiver.receive) for _ in range(waiters)]
                await wait_all_tasks_blocked()
                handing_over = count_calls(sender.send_nowait, "x")
                giving_up = count_calls(tasks[waiters // 2].cancel)
                pool.cancel()
            assert tasks[0].result() == "x"
            return handing_over, giving_up

        assert run(cost, 10_000) == run(cost, 10)

    def test_taking_from_a_sender_costs_the_same_as_with_few(self, run, count_calls):
        async def cost(waiters):
            sender, receiver = open_memory_channel(0)
            async with create_pool() as pool:
                for item in range(waiters):
                    pool.spawn(sender.send, item)
                await wait_all_tasks_blocked()
                taking = count_calls(receiver.receive_nowait)
                assert receiver.receive_nowait() == 1
                pool.cancel()
            return taking

        assert run(cost, 10_000) == run(cost, 10)
