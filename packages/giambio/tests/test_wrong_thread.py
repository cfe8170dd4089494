# SPDX-License-Identifier: Apache-2.0
"""What is refused to another thread than that of the loop has no effect."""

from __future__ import annotations

import threading

import pytest

import giambio
from giambio import Queue, WouldBlock, open_memory_channel
from giambio.testing import wait_all_tasks_blocked


def refuse_elsewhere(use):
    """Call a function in another thread, which must be told that this is not for it."""
    refused = []

    def other_thread():
        try:
            use()
        except RuntimeError as error:
            refused.append(str(error))

    thread = threading.Thread(target=other_thread)
    thread.start()
    thread.join()
    assert "another thread" in refused[0]


def drain(receive_nowait):
    items = []
    try:
        while True:
            items.append(receive_nowait())
    except WouldBlock:
        return items


@pytest.mark.parametrize("kind", ["queue", "channel", "rendezvous"])
def test_an_item_that_it_may_not_take_is_still_there_once(run, kind):
    async def main():
        if kind == "queue":
            queue = Queue(1)
            put, put_nowait, get_nowait = queue.put, queue.put_nowait, queue.get_nowait
        else:
            sender, receiver = open_memory_channel(kind == "channel")
            put, put_nowait = sender.send, sender.send_nowait
            get_nowait = receiver.receive_nowait
        expected = ["waits to be put"]
        if kind != "rendezvous":
            put_nowait("is there")
            expected.insert(0, "is there")
        async with giambio.create_pool() as pool:
            pool.spawn(put, "waits to be put")
            await wait_all_tasks_blocked()
            refuse_elsewhere(get_nowait)
            assert drain(get_nowait) == expected

    run(main)


def test_an_end_that_it_may_not_close_still_has_those_who_wait(run):
    async def main():
        sender, receiver = open_memory_channel(0)
        async with giambio.create_pool() as pool:
            sending = pool.spawn(sender.send, "x")
            await wait_all_tasks_blocked()
            refuse_elsewhere(sender.close)
            assert receiver.receive_nowait() == "x"
        sending.result()

    run(main)


def test_a_lock_of_another_loop_is_refused_where_it_is_asked_for_and_its_owner_keeps_it(run):
    refused = []

    async def want(lock):
        try:
            async with lock:
                pytest.fail("it is held")
        except RuntimeError as error:
            refused.append(str(error))

    async def main():
        lock = giambio.Lock()
        async with lock:
            thread = threading.Thread(target=giambio.run, args=(want, lock))
            thread.start()
            thread.join()
        assert not lock.locked()

    run(main)
    assert "belongs to task 'main' of another loop" in refused[0]
    assert "threading.Lock" in refused[0]
