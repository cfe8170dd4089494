# SPDX-License-Identifier: Apache-2.0
"""What has ended is gone at once: errors, tasks and pools leave nothing to the garbage collector.

An error leads to the frames that it went through. If one of them keeps the error, or a task or pool that
leads to it, all that these frames hold stays alive until the garbage collector comes: connections, files.
"""

from __future__ import annotations

import contextlib
import gc

import pytest

import giambio
from giambio import Broadcast, EndOfChannel, Queue, amap, create_pool, gather, merge, race, select
from giambio.testing import wait_all_tasks_blocked

ATTEMPTS = 100


async def fail(*args, **options):
    raise EndOfChannel


async def nothing(*args):
    pass


def ended():
    queue = Queue()
    queue.close()
    return queue


async def a_child_fails():
    async with create_pool() as pool:
        pool.spawn(fail)
        pool.spawn(giambio.sleep_forever)


async def a_child_waits_for_what_ends():
    queue = Queue()
    async with create_pool() as pool:
        pool.spawn(queue.get)
        await wait_all_tasks_blocked()
        queue.close()


async def the_body_fails():
    async with create_pool() as pool:
        pool.spawn(giambio.sleep_forever)
        await fail()


async def several_fail():
    with contextlib.suppress(ExceptionGroup):
        async with create_pool(errors="group") as pool:
            pool.spawn(fail)
            pool.spawn(fail)


async def a_pool_is_cancelled():
    async with create_pool() as pool:
        pool.spawn(giambio.sleep_forever)
        await giambio.checkpoint()
        pool.cancel()


async def a_pool_runs_out_of_time():
    with contextlib.suppress(giambio.TooSlowError):
        async with giambio.with_timeout(1) as pool:
            pool.spawn(giambio.sleep_forever)


async def a_block_runs_out_of_time():
    with contextlib.suppress(giambio.TooSlowError), giambio.with_timeout(1):
        await Queue().get()


async def a_service_is_stopped():
    async with create_pool() as pool:
        pool.service(giambio.sleep_forever)


async def a_task_is_cancelled():
    async with create_pool() as pool:
        task = pool.spawn(giambio.sleep_forever)
        await giambio.checkpoint()
        task.cancel()
        with contextlib.suppress(giambio.TaskCancelled):
            await task.join()


async def a_task_that_failed_is_joined():
    async with create_pool() as pool:
        await pool.spawn(fail).join()


async def a_start_fails():
    async with create_pool() as pool:
        await pool.start(fail)


async def a_pool_has_a_limit():
    async with create_pool(limit=1) as pool:
        pool.spawn_after(1, nothing)
        for _ in range(3):
            pool.spawn(nothing)


async def one_of_several_fails():
    await gather(giambio.sleep_forever, fail)


async def the_first_fails():
    await race(giambio.sleep_forever, fail)


async def the_first_wins():
    await race(giambio.sleep_forever, nothing)


async def a_call_of_amap_fails():
    async with amap(fail, [1, 2]) as results:
        async for _ in results:
            pass


async def a_selected_queue_has_ended():
    await select(ended())


async def a_selected_queue_is_closed():
    queue = Queue()
    async with create_pool() as pool:
        pool.spawn(select, queue)
        await wait_all_tasks_blocked()
        queue.close()


async def merged_queues_end():
    async for _ in merge(ended(), ended()):
        pass


async def subscriptions_end():
    broadcast = Broadcast(1, overflow="error")
    async with broadcast.subscribe():
        pass
    slow = broadcast.subscribe()
    for item in range(2):
        broadcast.send_nowait(item)
    with contextlib.suppress(giambio.ResourceBroken):
        while True:
            await slow.receive()
    last = broadcast.subscribe()
    broadcast.close()
    async for _ in last:
        pass


async def a_generator_ends():
    @giambio.as_channel
    async def generator():
        yield 1

    async with generator() as channel:
        async for _ in channel:
            pass


async def an_attempt_fails():
    async for attempt in giambio.retry(tries=2):
        with attempt:
            await fail()


PROGRAMS = [
    a_child_fails, a_child_waits_for_what_ends, the_body_fails, several_fail, a_pool_is_cancelled,
    a_pool_runs_out_of_time,
    a_block_runs_out_of_time, a_service_is_stopped, a_task_is_cancelled, a_task_that_failed_is_joined,
    a_start_fails, a_pool_has_a_limit, one_of_several_fails, the_first_fails, the_first_wins,
    a_call_of_amap_fails, a_selected_queue_has_ended, a_selected_queue_is_closed, merged_queues_end,
    subscriptions_end, a_generator_ends, an_attempt_fails,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_nothing_is_left_to_the_garbage_collector_when(run, program):
    async def attempt():
        with contextlib.suppress(EndOfChannel):
            await program()

    async def main():
        await attempt()  # what is made once, such as caches, is no garbage
        gc.collect()
        gc.disable()
        try:
            # More often than a task may go on without giving way, which makes other frames.
            for _ in range(ATTEMPTS):
                await attempt()
            return gc.collect()
        finally:
            gc.enable()

    # Less than an object each: it may be something that another test has left.
    assert run(main) < ATTEMPTS
