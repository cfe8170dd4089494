# SPDX-License-Identifier: Apache-2.0
"""Async generators as channels: a task of their own, steps on demand, clean-up in the block."""

from __future__ import annotations

import math

import pytest

import giambio
from giambio import EndOfChannel, ResourceClosed, TooSlowError, WouldBlock, as_channel, select
from giambio.testing import assert_checkpoints, cancel_sweep, wait_all_tasks_blocked


@as_channel
async def count(to, log=None):
    """Yield the numbers up to *to*, and log each step."""
    for i in range(to):
        if log is not None:
            log.append(i)
        yield i


@as_channel
async def never():
    """Wait for ever."""
    await giambio.sleep_forever()
    yield


def test_items_come_in_order_and_then_the_end(run):
    async def main():
        async with count(4) as channel:
            assert [item async for item in channel] == [0, 1, 2, 3]
            with pytest.raises(EndOfChannel, match="the generator count has ended"):
                await channel.receive()
            assert channel.statistics().ended
        with pytest.raises(ResourceClosed, match="was left"):
            await channel.receive()

    run(main)


def test_a_step_is_made_only_when_somebody_waits(run):
    async def main():
        steps = []
        async with count(10, steps) as channel:
            await wait_all_tasks_blocked()
            assert steps == []
            await channel.receive()
            await wait_all_tasks_blocked()
            assert steps == [0]
            with pytest.raises(WouldBlock):
                channel.receive_nowait()

    run(main)


def test_a_timeout_around_a_yield_cancels_the_generator_and_nobody_else(run):
    """In a plain async generator the scope would surround the code of the consumer."""

    @as_channel
    async def slow():
        with giambio.skip_after(2):
            for i in range(100):
                yield i
                await giambio.sleep(1)
        yield "over"

    async def main():
        got = []
        async with slow() as channel:
            async for item in channel:
                got.append(item)
                await giambio.sleep(5 if item == 0 else 0)
        assert got == [0, "over"]

    run(main)


def test_a_pool_around_a_yield_ends_before_the_block_does(run):
    events = []

    async def worker():
        try:
            await giambio.sleep_forever()
        finally:
            with giambio.cleanup(timeout=5):
                await giambio.sleep(1)
            events.append("worker cleaned up")

    @as_channel
    async def with_worker():
        async with giambio.create_pool() as pool:
            pool.spawn(worker)
            yield 1
            yield 2
        events.append("not reached")

    async def main():
        async with with_worker() as channel:
            assert await channel.receive() == 1
        assert events == ["worker cleaned up"]
        assert giambio.clock() == 1

    run(main)


def test_a_block_that_receives_nothing_never_starts_the_generator(run):
    async def main():
        steps = []
        async with count(3, steps):
            await giambio.sleep(1)
        assert steps == []

    run(main)


def test_a_generator_may_end_when_it_is_cancelled_at_its_yield(run):
    @as_channel
    async def stubborn(swallow):
        try:
            yield 1
        except giambio.CancelledError:
            if swallow:
                return
            yield 2  # nobody wants that any more

    async def main():
        for swallow in (True, False):
            async with stubborn(swallow) as channel:
                assert await channel.receive() == 1

    run(main)


@as_channel
async def failing(items):
    """Yield so many items, then fail."""
    for i in range(items):
        yield i
    raise ValueError("mine")


def test_an_error_is_raised_where_the_next_item_would_have_been_received(run):
    async def main():
        async with failing(1) as channel:
            assert await channel.receive() == 0
            with pytest.raises(ValueError, match="mine"):
                await channel.receive()
            with pytest.raises(EndOfChannel):
                await channel.receive()

    run(main)


def test_of_several_who_wait_one_gets_the_error_and_the_others_the_end(run):
    async def main():
        outcomes = []

        async def receiver(channel):
            try:
                outcomes.append(await channel.receive())
            except (ValueError, EndOfChannel) as error:
                outcomes.append(type(error))

        async with failing(1) as channel, giambio.create_pool() as pool:
            for _ in range(4):
                pool.spawn(receiver, channel)
        assert outcomes == [0, ValueError, EndOfChannel, EndOfChannel]

    run(main)


def test_an_error_that_nobody_received_is_raised_by_the_block(run):
    @as_channel
    async def slow_to_fail():
        await giambio.sleep(2)
        raise ValueError("mine")
        yield

    async def main():
        with pytest.raises(ValueError, match="mine"):
            async with slow_to_fail() as channel:
                with giambio.skip_after(1):
                    await channel.receive()
                await giambio.sleep(5)
        with pytest.raises(KeyError) as caught:
            async with slow_to_fail() as channel:
                with giambio.skip_after(1):
                    await channel.receive()
                await giambio.sleep(5)
                raise KeyError
        assert [type(each) for each in giambio.siblings(caught.value)] == [ValueError]

    run(main)


def test_an_error_that_nobody_received_keeps_what_it_came_from(run):
    @as_channel
    async def untidy():
        try:
            yield 1
            raise ValueError("first")
        finally:
            await giambio.sleep(2)
            raise KeyError("while it handled the first")

    async def main():
        with pytest.raises(KeyError) as caught:
            async with untidy() as channel:
                await channel.receive()
                with giambio.skip_after(1):
                    await channel.receive()
                await giambio.sleep(5)
        assert repr(caught.value.__context__) == "ValueError('first')"

    run(main)


def test_an_error_that_was_not_received_at_once_is_received_later(run):
    @as_channel
    async def slow_to_fail():
        await giambio.sleep(2)
        raise ValueError("mine")
        yield

    async def main():
        async with slow_to_fail() as channel:
            with giambio.skip_after(1):
                await channel.receive()
            await giambio.sleep(5)
            with pytest.raises(ValueError, match="mine"):
                await channel.receive()

    run(main)


def test_the_end_of_another_channel_is_not_taken_for_its_own(run):
    @as_channel
    async def pairs(source):
        while True:
            yield await source.receive(), await source.receive()

    async def main():
        sender, receiver = giambio.open_memory_channel(math.inf)
        for number in range(3):
            sender.send_nowait(number)
        sender.close()
        got = []
        with pytest.raises(RuntimeError, match="pairs raised EndOfChannel") as caught:
            async with pairs(receiver) as channel:
                async for pair in giambio.merge(channel):
                    got.append(pair)
        assert isinstance(caught.value.__cause__, EndOfChannel)
        assert got == [(0, 1)]

    run(main)


def test_an_error_in_the_clean_up_of_the_generator_is_raised_by_the_block(run):
    @as_channel
    async def untidy():
        try:
            yield 1
        finally:
            raise ValueError("untidy")

    async def main():
        with pytest.raises(ValueError, match="untidy"):
            async with untidy() as channel:
                await channel.receive()

    run(main)


def test_who_waits_in_another_task_when_the_block_is_left_is_told(run):
    async def main():
        async with giambio.create_pool() as pool:
            async with never() as channel:
                task = pool.spawn(channel.receive)
                await wait_all_tasks_blocked()
                assert channel.statistics() == (0, 1, False)
            with pytest.raises(ResourceClosed):
                await task.join()
            pool.cancel()

    with pytest.raises(ResourceClosed):
        run(main)


def test_a_receive_that_was_cancelled_leaves_its_item_for_the_next(run):
    @as_channel
    async def slow():
        for i in range(3):
            await giambio.sleep(2)
            yield i

    async def main():
        async with slow() as channel:
            with pytest.raises(TooSlowError):
                with giambio.with_timeout(1):
                    await channel.receive()
            await giambio.sleep(10)
            assert channel.statistics().items_buffered == 1
            assert channel.receive_nowait() == 0
            assert [item async for item in channel] == [1, 2]

    run(main)


def test_every_receive_is_a_checkpoint(run):
    @as_channel
    async def slow():
        for i in range(5):
            await giambio.sleep(1)
            yield i

    async def main():
        async with slow() as channel:
            with assert_checkpoints():
                await channel.receive()
            with giambio.CancelScope() as scope:
                scope.cancel()
                await channel.receive()
            assert scope.cancelled_caught
            async with giambio.create_pool() as pool:
                receiver = pool.spawn(channel.receive)
                await wait_all_tasks_blocked()
                receiver.cancel()  # its item stays
                await giambio.sleep(2)
            assert channel.statistics().items_buffered == 1
            with giambio.CancelScope() as scope:
                scope.cancel()
                await channel.receive()
            assert scope.cancelled_caught
            with assert_checkpoints():
                assert await channel.receive() == 1

    run(main)


def test_it_can_be_selected_from(run):
    async def main():
        queue = giambio.Queue()
        async with count(2) as channel:
            chosen = await select(queue, channel)
            assert chosen == (1, channel, 0)
            chosen = await select(queue, channel, in_order=True)
            assert chosen == (1, channel, 1)

    run(main)


def test_its_error_and_its_end_reach_a_select(run):
    async def main():
        queue = giambio.Queue()
        for error in (ValueError, EndOfChannel):
            async with failing(0) as channel:
                if error is EndOfChannel:
                    with pytest.raises(ValueError):
                        await channel.receive()
                with pytest.raises(error) as caught:
                    await select(queue, channel)
                assert caught.value.__notes__[-1].startswith("in select(): argument 1")
        async with giambio.create_pool() as pool:

            async def selector(channel):
                with pytest.raises(ResourceClosed):
                    await select(queue, channel)

            async with count(1) as channel:
                await channel.receive()
                await giambio.checkpoint()
            async with never() as channel:
                pool.spawn(selector, channel)
                await wait_all_tasks_blocked()
        assert queue.statistics().tasks_waiting_to_get == 0

    run(main)


def test_wrong_use_is_told(run):
    async def no_generator():
        pass

    async def main():
        channel = count(3)
        assert repr(channel).startswith("<GeneratorChannel of count at ")
        assert ", new, 0 buffered, 0 waiting>" in repr(channel)
        with pytest.raises(RuntimeError, match="is not open: use 'async with' first"):
            await channel.receive()
        with pytest.raises(RuntimeError, match="is not open"):
            channel.receive_nowait()
        async with channel:
            assert ", open, " in repr(channel)
            with pytest.raises(RuntimeError, match="was entered before"):
                await channel.__aenter__()
        assert ", ended, " in repr(channel)
        with pytest.raises(TypeError, match="needs an async generator function"):
            as_channel(lambda: 5)()

    run(main)


def test_no_item_is_lost_wherever_a_receiver_is_cancelled():
    got = []

    async def first(channel):
        got.append(await channel.receive())

    async def second(channel):
        got.append(await channel.receive())

    async def program():
        got.clear()

        @as_channel
        async def items():
            for i in range(6):
                await giambio.checkpoint()
                yield i

        async with items() as channel, giambio.create_pool() as pool:
            pool.spawn(first, channel)
            pool.spawn(second, channel)
            await giambio.checkpoint()
            got.extend([item async for item in channel])

    def nothing_is_lost():
        assert sorted(got) == list(range(6))

    for target in ("first", "second"):
        cancel_sweep(program, target=target, check=nothing_is_lost)


def test_the_block_stands_being_cancelled_anywhere():
    cleaned = []

    async def program():
        cleaned.clear()

        @as_channel
        async def items():
            try:
                async with giambio.create_pool() as pool:
                    pool.spawn(giambio.sleep_forever)
                    while True:
                        await giambio.sleep(1)
                        yield 1
            finally:
                cleaned.append(True)

        async with items() as channel:
            await channel.receive()
            await channel.receive()

    def is_clean():
        assert len(cleaned) <= 1

    report = cancel_sweep(program, check=is_clean)
    assert report.checkpoints > 3
