# SPDX-License-Identifier: Apache-2.0
"""Broadcasts: everybody gets every item, or what the overflow says; nothing twice, nothing in part."""

from __future__ import annotations

import math

import pytest

import giambio
from giambio import (
    Broadcast,
    EndOfChannel,
    ResourceBroken,
    ResourceClosed,
    WouldBlock,
    create_pool,
)
from giambio.testing import assert_checkpoints, cancel_sweep, wait_all_tasks_blocked


def drain(subscription):
    items = []
    while subscription.statistics().items_buffered:
        items.append(subscription.receive_nowait())
    return items


class TestDelivery:
    """Who gets what."""

    def test_everybody_gets_every_item_in_order(self, run):
        async def main():
            broadcast = Broadcast()
            first, second = broadcast.subscribe(), broadcast.subscribe()
            for item in range(3):
                await broadcast.send(item)
            assert drain(first) == drain(second) == [0, 1, 2]

        run(main)

    def test_a_subscription_gets_what_is_sent_after_it(self, run):
        async def main():
            broadcast = Broadcast()
            await broadcast.send("nobody gets this")
            early = broadcast.subscribe()
            await broadcast.send(1)
            late = broadcast.subscribe()
            await broadcast.send(2)
            assert drain(early) == [1, 2]
            assert drain(late) == [2]

        run(main)

    def test_who_waits_gets_the_item_from_hand_to_hand(self, run):
        async def main():
            broadcast = Broadcast(1)
            subscription = broadcast.subscribe()
            async with create_pool() as pool:
                tasks = [pool.spawn(subscription.receive) for _ in range(2)]
                await wait_all_tasks_blocked()
                assert subscription.statistics() == (0, 1, 0, 2)
                broadcast.send_nowait("a")
                broadcast.send_nowait("b")
            # Several tasks may receive from one subscription; each item goes to one of them.
            assert [task.result() for task in tasks] == ["a", "b"]

        run(main)


class TestWaiting:
    """The slowest subscriber sets the pace."""

    def test_a_sender_waits_until_all_have_room(self, run):
        async def main():
            broadcast = Broadcast(1)
            slow, quick = broadcast.subscribe(), broadcast.subscribe()
            await broadcast.send(1)
            assert drain(quick) == [1]
            with pytest.raises(WouldBlock, match="has subscriptions that are full"):
                broadcast.send_nowait(2)
            async with create_pool() as pool:
                pool.spawn(broadcast.send, 2)
                pool.spawn(broadcast.send, 3)
                await wait_all_tasks_blocked()
                assert broadcast.statistics() == (2, 1, 2, False)
                with pytest.raises(WouldBlock):  # nobody gets it before all can
                    quick.receive_nowait()
                assert await slow.receive() == 1
                assert await quick.receive() == 2
                assert await slow.receive() == 2
                assert drain(quick) == drain(slow) == [3]

        run(main)

    def test_a_subscription_that_is_closed_is_not_waited_for(self, run):
        async def main():
            broadcast = Broadcast(1)
            slow, quick = broadcast.subscribe(), broadcast.subscribe(10)
            await broadcast.send(1)
            async with create_pool() as pool:
                for item in (2, 3):
                    pool.spawn(broadcast.send, item)
                await wait_all_tasks_blocked()
                slow.close()
            assert drain(quick) == [1, 2, 3]
            assert broadcast.statistics() == (1, 0, 0, False)

        run(main)

    def test_one_that_drops_is_not_waited_for(self, run):
        async def main():
            broadcast = Broadcast(1)
            for overflow in ("drop_oldest", "drop_newest", "error"):
                broadcast.subscribe(overflow=overflow)
            with assert_checkpoints():
                for item in range(3):
                    await broadcast.send(item)
            assert broadcast.statistics().full == 0

        run(main)


class TestOverflow:
    """What happens to an item that there is no room for."""

    def test_drop_oldest_keeps_the_latest(self, run):
        async def main():
            subscription = Broadcast(2, overflow="drop_oldest").subscribe()
            for item in range(5):
                subscription._broadcast.send_nowait(item)
            assert subscription.missed == 3
            assert drain(subscription) == [3, 4]

        run(main)

    def test_drop_newest_keeps_the_first(self, run):
        async def main():
            broadcast = Broadcast(2, overflow="drop_newest")
            subscription = broadcast.subscribe()
            for item in range(5):
                broadcast.send_nowait(item)
            assert subscription.statistics() == (2, 2, 3, 0)
            assert drain(subscription) == [0, 1]
            broadcast.send_nowait(5)
            assert drain(subscription) == [5]

        run(main)

    def test_error_breaks_the_slow_one_off_and_disturbs_nobody(self, run):
        async def main():
            broadcast = Broadcast(2, overflow="error")
            slow, quick = broadcast.subscribe(), broadcast.subscribe(math.inf)
            for item in range(4):
                await broadcast.send(item)
            assert drain(quick) == [0, 1, 2, 3]
            # It gets what it had, and then knows that it has missed something.
            assert [await slow.receive(), await slow.receive()] == [0, 1]
            for _ in range(2):
                with pytest.raises(ResourceBroken, match="was full when the next item came"):
                    await slow.receive()
            assert slow.missed == 1
            assert broadcast.statistics().subscriptions == 1
            assert ", ended, " in repr(slow)

        run(main)

    def test_each_subscription_may_have_its_own(self, run):
        async def main():
            broadcast = Broadcast(1)
            latest = broadcast.subscribe(overflow="drop_oldest")
            everything = broadcast.subscribe(math.inf)
            for item in range(4):
                broadcast.send_nowait(item)
            assert drain(latest) == [3]
            assert drain(everything) == [0, 1, 2, 3]

        run(main)

    @pytest.mark.parametrize("wrong", [0, -1, 1.5, math.nan])
    def test_a_capacity_must_be_a_whole_number(self, wrong):
        with pytest.raises(ValueError, match="capacity must be a whole number from 1, or infinity"):
            Broadcast(wrong)
        with pytest.raises(ValueError, match="capacity must be"):
            Broadcast().subscribe(wrong)

    def test_an_overflow_that_does_not_exist_is_refused(self):
        with pytest.raises(ValueError, match="overflow must be one of 'wait', 'drop_oldest', "):
            Broadcast(overflow="drop")
        with pytest.raises(ValueError, match="not 'drop'"):
            Broadcast().subscribe(overflow="drop")


class TestEnd:
    """Closing the broadcast, or one subscription."""

    def test_what_was_sent_is_received_and_then_it_ends(self, run):
        async def main():
            async with Broadcast() as broadcast:
                subscription = broadcast.subscribe()
                await broadcast.send(1)
                await broadcast.send(2)
            broadcast.close()
            assert [item async for item in subscription] == [1, 2]
            with pytest.raises(EndOfChannel, match="the broadcast was closed"):
                subscription.receive_nowait()
            for use in (broadcast.subscribe, lambda: broadcast.send_nowait(1)):
                with pytest.raises(ResourceClosed, match="was closed"):
                    use()
            with pytest.raises(ResourceClosed):
                await broadcast.send(1)
            assert repr(broadcast).endswith(", 0 subscriptions, 0 full, 0 waiting to send, closed>")

        run(main)

    def test_who_waits_is_told(self, run):
        async def main():
            told = []

            async def tell(fn, *args):
                try:
                    await fn(*args)
                except (EndOfChannel, ResourceClosed) as error:
                    told.append(type(error))

            with Broadcast(1) as broadcast:
                full, empty = broadcast.subscribe(), broadcast.subscribe()
                await broadcast.send(1)
                drain(empty)
                async with create_pool() as pool:
                    pool.spawn(tell, empty.receive)
                    pool.spawn(tell, broadcast.send, 2)
                    await wait_all_tasks_blocked()
                    broadcast.close()
            assert told == [ResourceClosed, EndOfChannel]
            assert full.receive_nowait() == 1

        run(main)

    def test_a_closed_subscription_gets_nothing_more(self, run):
        async def main():
            broadcast = Broadcast(2)
            async with broadcast.subscribe() as subscription, create_pool() as pool:
                await broadcast.send("dropped")
                subscription.close()
                subscription.close()
                with pytest.raises(ResourceClosed, match="this subscription was closed"):
                    await subscription.receive()
                with pytest.raises(ResourceClosed):
                    subscription.receive_nowait()
                with broadcast.subscribe() as other:
                    told = pool.spawn(anext, other)
                    await wait_all_tasks_blocked()
                with pytest.raises(ResourceClosed):
                    await told.join()
                pool.cancel()

        with pytest.raises(ResourceClosed):
            run(main)

    def test_repr_says_what_there_is_to_say(self):
        broadcast = Broadcast(1)
        subscription = broadcast.subscribe()
        broadcast.send_nowait(1)
        assert repr(broadcast).startswith("<Broadcast at 0x")
        assert repr(broadcast).endswith(", 1 subscriptions, 1 full, 0 waiting to send>")
        assert repr(subscription).endswith(", open, 1 of 1 buffered, 0 missed, 0 waiting>")
        subscription.close()
        assert ", closed, 0 of 1 buffered" in repr(subscription)


def test_every_operation_is_a_checkpoint(run):
    async def main():
        broadcast = Broadcast()
        subscription = broadcast.subscribe()
        with assert_checkpoints():
            await broadcast.send(1)
        with assert_checkpoints():
            await subscription.receive()
        broadcast.close()
        for operation in (subscription.receive, lambda: broadcast.send(1)):
            with giambio.CancelScope() as scope:
                scope.cancel()
                await operation()
            assert scope.cancelled_caught

    run(main)


class TestCancellation:
    """Sent to all or to nobody; received or still there."""

    @pytest.mark.parametrize("target", ["sender", "other_sender", "slow", "quick", None])
    def test_each_gets_everything_that_was_sent_and_nothing_else(self, target):
        sent = []
        received = {}
        state = {}

        async def sender(broadcast):
            for item in (1, 2):
                await broadcast.send(item)
                sent.append(item)

        async def other_sender(broadcast):
            for item in (3, 4):
                await broadcast.send(item)
                sent.append(item)

        async def slow(subscription):
            for _ in range(4):
                await giambio.sleep(1)
                received["slow"].append(await subscription.receive())

        async def quick(subscription):
            for _ in range(4):
                received["quick"].append(await subscription.receive())

        async def program():
            sent.clear()
            received.update(slow=[], quick=[])
            broadcast = Broadcast(1)
            state.update(slow=broadcast.subscribe(), quick=broadcast.subscribe())
            with giambio.skip_after(100):  # the others may wait for who was cancelled
                async with create_pool() as pool:
                    pool.spawn(sender, broadcast)
                    pool.spawn(other_sender, broadcast)
                    pool.spawn(slow, state["slow"])
                    pool.spawn(quick, state["quick"])

        def conserved():
            for name, subscription in state.items():
                assert received[name] + drain(subscription) == sent
            assert subscription._broadcast.statistics()[1:3] == (0, 0)

        cancel_sweep(program, target=target, check=conserved)


def test_with_10_000_waiting_to_send_each_costs_the_same_as_with_few(run, count_calls):
    async def cost(waiters):
        broadcast = Broadcast(1)
        subscription = broadcast.subscribe()
        broadcast.send_nowait(-1)
        async with create_pool() as pool:
            tasks = [pool.spawn(broadcast.send, item) for item in range(waiters)]
            await wait_all_tasks_blocked()
            taking = count_calls(subscription.receive_nowait)
            giving_up = count_calls(tasks[waiters // 2].cancel)
            assert await subscription.receive() == 0
            pool.cancel()
        return taking, giving_up

    assert run(cost, 10_000) == run(cost, 10)
