# SPDX-License-Identifier: Apache-2.0
"""Two tasks cancelled within two steps of each other, at every step: what was sent is received or still there.

The cancel sweep cancels one task at a time. Two can fail where one does not: the first leaves a queue or was
granted something, and the second is who would be next.
"""

from __future__ import annotations

import pytest

import giambio
from giambio import Broadcast, Event, Queue, ThreadQueue, create_pool, open_memory_channel, select
from giambio.testing import VirtualClock


class QueueLink:
    """How to send and receive, and what is left."""

    def __init__(self, queue):
        self.queue = queue
        self.send, self.receive = queue.put, queue.get

    def left(self):
        return self.queue.close(drain=False)


class ChannelLink:
    """The same with two ends."""

    def __init__(self, sender, receiver):
        self.receiver = receiver
        self.send, self.receive = sender.send, receiver.receive

    def left(self):
        buffered = self.receiver.statistics().items_buffered
        return [self.receiver.receive_nowait() for _ in range(buffered)]


def select_link():
    link = ChannelLink(*open_memory_channel(0))

    async def receive():
        return (await select(Event(), link.receiver)).value

    link.receive = receive
    return link


def broadcast_link():
    broadcast = Broadcast(1)
    return ChannelLink(broadcast, broadcast.subscribe())


LINKS = {
    "queue": lambda: QueueLink(Queue(1)),
    "rendezvous": lambda: ChannelLink(*open_memory_channel(0)),
    "channel": lambda: ChannelLink(*open_memory_channel(1)),
    "select": select_link,
    "broadcast": broadcast_link,
    "threads": lambda: QueueLink(ThreadQueue(1)),
}


class CancelTwo:
    """A debugger that cancels each of two tasks before a step of the run, whoever makes that step."""

    def __init__(self, victims=(), at=()):
        self.at = list(zip(victims, at, strict=True))
        self.tasks = {}
        self.step = 0

    def on_task_spawn(self, task):
        self.tasks.setdefault(task.name, task)

    def before_task_step(self, task):
        self.step += 1
        for victim, step in self.at:
            if step == self.step and victim in self.tasks:
                self.tasks[victim].cancel()


def run_program(make_link, debugger):
    sent, received = [], []

    async def send_some(link, items):
        for item in items:
            await link.send(item)
            sent.append(item)

    async def receive_some(link):
        for _ in range(2):
            received.append(await link.receive())

    async def first_sender(link):
        await send_some(link, [1, 2])

    async def second_sender(link):
        await send_some(link, [3, 4])

    async def first_receiver(link):
        await receive_some(link)

    async def second_receiver(link):
        await receive_some(link)

    async def main():
        link = make_link()
        with giambio.skip_after(1):  # the others may wait for who was cancelled
            async with create_pool() as pool:
                for fn in (first_receiver, first_sender, second_receiver, second_sender):
                    pool.spawn(fn, link)
        assert sorted(sent) == sorted(received + link.left())

    giambio.run(main, clock=VirtualClock(), debugger=debugger)
    return debugger.step


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize(
    "victims",
    [
        ("first_receiver", "second_receiver"),
        ("first_sender", "second_sender"),
        ("first_receiver", "first_sender"),
        ("second_sender", "first_receiver"),
    ],
    ids="-".join,
)
def test_what_was_sent_is_received_or_still_there(link, victims):
    steps = run_program(LINKS[link], CancelTwo())
    assert steps > 8
    for first in range(2, steps + 1):
        for second in range(first, first + 3):
            run_program(LINKS[link], CancelTwo(victims, (first, second)))
