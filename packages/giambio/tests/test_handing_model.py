# SPDX-License-Identifier: Apache-2.0
"""Random programs of several tasks: queues, channels and select must do what a model with lists does.

Each task has a script: to put and get, alone or as one choice of several, to close, to cancel another
task. A random policy shuffles the tasks. The model is told of each operation when it begins, and of each
cancellation when it comes, and says how the operation must end; at the end, what is left must be the same.
A second test lets every operation pass its checkpoint first, so that the order of effects is not known, and
asserts that nothing is lost and nothing comes twice.
"""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

import giambio
from giambio import (
    Broadcast,
    EndOfChannel,
    Queue,
    ResourceBroken,
    ResourceClosed,
    create_pool,
    open_memory_channel,
    select,
    sending,
)
from giambio.testing import VirtualClock, wait_all_tasks_blocked

TASKS = 4
ROOMS = (2, 0, 1)  # of a queue and two channels


class Shuffled:
    """A policy that lets any of the ready tasks run next."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def choose(self, ready):
        return self.random.randrange(len(ready))


class Model:
    """What queues with room for so many items do, told with lists."""

    def __init__(self, rooms):
        self.rooms = rooms
        self.items = [[] for _ in rooms]
        # Who waits, in order: the task, which of its choices it is, and the item that it puts.
        self.getters = [[] for _ in rooms]
        self.putters = [[] for _ in rooms]
        self.closed = [False for _ in rooms]
        # How the operation of a task has to end, as soon as that is known.
        self.outcome = {}

    def begin(self, task, choices):
        for index, (what, queue, item) in enumerate(choices):
            result = self.get(queue) if what == "get" else self.put(queue, item)
            if result is not None:
                self.outcome[task] = (index, result)
                return
        for index, (what, queue, item) in enumerate(choices):
            waiting = self.getters if what == "get" else self.putters
            waiting[queue].append((task, index, item))

    def get(self, queue):
        if self.putters[queue]:
            task, index, item = self.putters[queue][0]
            self.items[queue].append(item)
            self.grant(task, index, ("ok", None))
        if self.items[queue]:
            return "ok", self.items[queue].pop(0)
        return ("end", None) if self.closed[queue] else None

    def put(self, queue, item):
        if self.closed[queue]:
            return "closed", None
        if self.getters[queue]:
            task, index, _ = self.getters[queue][0]
            self.grant(task, index, ("ok", item))
        elif len(self.items[queue]) < self.rooms[queue]:
            self.items[queue].append(item)
        else:
            return None
        return "ok", None

    def grant(self, task, index, result):
        self.leave(task)
        self.outcome[task] = (index, result)

    def leave(self, task):
        found = False
        for waiting in (*self.getters, *self.putters):
            for entry in [entry for entry in waiting if entry[0] == task]:
                waiting.remove(entry)
                found = True
        return found

    def cancel(self, task):
        if self.leave(task):
            self.outcome[task] = "cancelled"

    def close(self, queue):
        self.closed[queue] = True
        for waiting, how in ((self.putters, "closed"), (self.getters, "end")):
            for task, index, _ in list(waiting[queue]):
                self.grant(task, index, (how, None))


class Program:
    """The tasks, what they work with, and the model of it."""

    def __init__(self, scripts, *, compare):
        self.scripts = scripts
        # Whether the order of effects is known, so that the model can be asked.
        self.compare = compare
        self.model = Model(ROOMS)
        self.scopes = {}
        self.put, self.got = [], []
        self.item = 0

    async def main(self):
        self.queues = [Queue(room) for room in ROOMS[:1]]
        self.channels = [open_memory_channel(room) for room in ROOMS[1:]]
        async with create_pool() as pool:
            for task, script in enumerate(self.scripts):
                pool.spawn(self.work, task, script)
            await wait_all_tasks_blocked()
            if self.compare:
                self.compare_what_is_left()
            for queue in range(len(ROOMS)):
                self.close(queue)
        assert sorted(self.put) == sorted(self.got + self.buffered())

    def compare_what_is_left(self):
        model = self.model
        for number, room in enumerate(ROOMS):
            expected = [len(each[number]) for each in (model.items, model.putters, model.getters)]
            if number < 1:
                seen = self.queues[number].statistics()
                assert [
                    seen.items,
                    seen.tasks_waiting_to_put,
                    seen.tasks_waiting_to_get,
                ] == expected
            else:
                seen = self.channels[number - 1][0].statistics()
                assert [seen.items_buffered, *seen[4:]] == expected
            assert seen[1] == room

    def buffered(self):
        left = []
        for queue in self.queues:
            left.extend(queue.close(drain=False))
        for _, receiver in self.channels:
            while receiver.statistics().items_buffered:
                left.append(receiver.receive_nowait())
        return left

    def close(self, number):
        self.model.close(number)
        if number < 1:
            self.queues[number].close()
        else:
            self.channels[number - 1][0].close()

    async def work(self, task, script):
        for what, *arguments in script:
            if what == "close":
                self.close(*arguments)
            elif what == "cancel":
                victim = arguments[0] % TASKS
                if victim in self.scopes:
                    self.model.cancel(victim)
                    self.scopes[victim].cancel()
            else:
                await self.operate(task, *arguments)
            await giambio.checkpoint()

    async def operate(self, task, choices, cancelled_at_entry):
        choices = [(what, queue, self.new_item()) for what, queue in dict.fromkeys(choices)]
        with giambio.CancelScope() as scope:
            self.scopes[task] = scope
            if cancelled_at_entry:
                scope.cancel()
                self.model.outcome[task] = "cancelled"
            elif self.compare:
                self.model.begin(task, choices)
                # It takes effect at once, so the model knows the order.
                giambio.current_task().scheduler.credit = 10
            outcome = "cancelled"
            try:
                outcome = await self.do(choices)
            except EndOfChannel:
                outcome = "end"
            except ResourceClosed:
                outcome = "closed"
            finally:
                del self.scopes[task]
        if isinstance(outcome, tuple):
            index, (_, value) = outcome
            what, _, item = choices[index]
            if what == "get":
                self.got.append(value)
            else:
                self.put.append(item)
        if self.compare:
            expected = self.model.outcome.pop(task)
            if outcome in ("end", "closed"):
                expected = expected[1][0]
            assert outcome == expected

    async def do(self, choices):
        if len(choices) > 1:
            cases = [self.case(*choice) for choice in choices]
            chosen = await select(*cases, in_order=True)
            return chosen.position, ("ok", chosen.value)
        what, number, item = choices[0]
        if number < 1:
            queue = self.queues[number]
            value = await (queue.get() if what == "get" else queue.put(item))
        else:
            sender, receiver = self.channels[number - 1]
            value = await (receiver.receive() if what == "get" else sender.send(item))
        return 0, ("ok", value)

    def case(self, what, number, item):
        source = target = self.queues[number] if number < 1 else None
        if number >= 1:
            target, source = self.channels[number - 1]
        return source if what == "get" else sending(target, item)

    def new_item(self):
        self.item += 1
        return self.item


choices = st.lists(
    st.tuples(st.sampled_from(["get", "put"]), st.integers(0, len(ROOMS) - 1)),
    min_size=1,
    max_size=3,
)
operations = st.tuples(st.just("operate"), choices, st.integers(0, 9).map(lambda n: n == 0))
commands = st.one_of(
    operations,
    operations,
    operations,
    st.tuples(st.just("cancel"), st.integers(0, TASKS - 1)),
    st.integers(0, 9).flatmap(
        lambda n: (
            st.tuples(st.just("close"), st.integers(0, len(ROOMS) - 1)) if n == 0 else operations
        )
    ),
)
scripts = st.lists(st.lists(commands, min_size=1, max_size=8), min_size=TASKS, max_size=TASKS)


def go(program, seed):
    giambio.run(program.main, clock=VirtualClock(), policy=Shuffled(seed))


@settings(max_examples=70, deadline=None)
@given(scripts, st.integers(0, 2**32))
def test_operations_end_as_in_the_model(scripts, seed):
    go(Program(scripts, compare=True), seed)


@settings(max_examples=40, deadline=None)
@given(scripts, st.integers(0, 2**32))
def test_nothing_is_lost_and_nothing_comes_twice(scripts, seed):
    go(Program(scripts, compare=False), seed)


class BroadcastModel:
    """What a broadcast does, told with lists. A subscription is (capacity, overflow)."""

    def __init__(self, subscriptions):
        self.subscriptions = list(subscriptions)
        self.items = [[] for _ in subscriptions]
        self.broken = [False for _ in subscriptions]
        self.receivers = [[] for _ in subscriptions]
        self.senders = []
        self.outcome = {}

    def must_wait(self):
        return any(
            overflow == "wait" and len(items) >= capacity
            for items, (capacity, overflow) in zip(self.items, self.subscriptions, strict=True)
        )

    def send(self, task, item):
        if self.must_wait():
            self.senders.append((task, item))
        else:
            self.deliver(item)
            self.outcome[task] = ("ok", None)

    def deliver(self, item):
        for number, (capacity, overflow) in enumerate(self.subscriptions):
            items = self.items[number]
            if self.broken[number]:
                continue
            if self.receivers[number]:
                self.outcome[self.receivers[number].pop(0)] = ("ok", item)
            elif len(items) < capacity:
                items.append(item)
            elif overflow == "drop_oldest":
                self.items[number] = [*items[1:], item]
            elif overflow == "error":
                self.broken[number] = True

    def receive(self, task, number):
        if self.items[number]:
            self.outcome[task] = ("ok", self.items[number].pop(0))
            while self.senders and not self.must_wait():
                sender, item = self.senders.pop(0)
                self.deliver(item)
                self.outcome[sender] = ("ok", None)
        elif self.broken[number]:
            self.outcome[task] = ("broken", None)
        else:
            self.receivers[number].append(task)

    def cancel(self, task):
        for waiting in self.receivers:
            if task in waiting:
                waiting.remove(task)
                self.outcome[task] = ("cancelled", None)
        for entry in [entry for entry in self.senders if entry[0] == task]:
            self.senders.remove(entry)
            self.outcome[task] = ("cancelled", None)


SUBSCRIPTIONS = ((1, "wait"), (2, "wait"), (1, "drop_oldest"), (2, "drop_newest"), (2, "error"))


async def broadcast_program(scripts):
    broadcast = Broadcast()
    subscriptions = [broadcast.subscribe(size, overflow=how) for size, how in SUBSCRIPTIONS]
    model = BroadcastModel(SUBSCRIPTIONS)
    scopes = {}
    items = iter(range(1000))

    async def operate(task, what, number):
        giambio.current_task().scheduler.credit = 10
        if what == "send":
            item = next(items)
            model.send(task, item)
            return await broadcast.send(item)
        model.receive(task, number)
        return await subscriptions[number].receive()

    async def work(task, script):
        for what, number in script:
            if what == "cancel":
                if (victim := number % TASKS) in scopes:
                    model.cancel(victim)
                    scopes[victim].cancel()
            else:
                outcome = ("cancelled", None)
                with giambio.CancelScope() as scope:
                    scopes[task] = scope
                    try:
                        outcome = ("ok", await operate(task, what, number))
                    except ResourceBroken:
                        outcome = ("broken", None)
                    finally:
                        del scopes[task]
                assert outcome == model.outcome.pop(task)
            await giambio.checkpoint()

    async with create_pool() as pool:
        for task, script in enumerate(scripts):
            pool.spawn(work, task, script)
        await wait_all_tasks_blocked()
        assert broadcast.statistics().tasks_waiting_to_send == len(model.senders)
        for number, subscription in enumerate(subscriptions):
            seen = subscription.statistics()
            assert seen.items_buffered == len(model.items[number])
            assert seen.tasks_waiting_to_receive == len(model.receivers[number])
        pool.cancel()
        model.outcome = dict.fromkeys(range(TASKS), ("cancelled", None))
    assert broadcast.statistics()[2] == 0


broadcast_commands = st.tuples(
    st.sampled_from(["send", "send", "receive", "receive", "cancel"]),
    st.integers(0, len(SUBSCRIPTIONS) - 1),
)


@settings(max_examples=70, deadline=None)
@given(
    st.lists(st.lists(broadcast_commands, max_size=10), min_size=TASKS, max_size=TASKS),
    st.integers(0, 2**32),
)
def test_a_broadcast_does_what_the_model_does(scripts, seed):
    giambio.run(broadcast_program, scripts, clock=VirtualClock(), policy=Shuffled(seed))
