# SPDX-License-Identifier: Apache-2.0
"""Random programs against models, in a random order of running.

Several tasks are told in batches what to do with a primitive: acquire, release, wait, cancel each other.
The tasks of a batch run in an order that a random policy picks. When all is quiet, what has become of
each task, and what the primitive tells of itself, must be what a model says after the same operations,
done one after the other without any concurrency, in some order.

As long as several orders explain what was seen, all of them are kept; a later batch tells them apart.
"""

from __future__ import annotations

import copy
import inspect
from itertools import chain, combinations, permutations
from operator import attrgetter
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import giambio
from giambio import (
    Barrier,
    CancelScope,
    CapacityLimiter,
    Condition,
    Event,
    Lock,
    RWLock,
    Semaphore,
    Value,
)
from giambio.lowlevel import reschedule, suspend
from giambio.testing import VirtualClock, wait_all_tasks_blocked

WORKERS = 4


class Model:
    """What a primitive does, without concurrency. Its methods are the operations.

    An operation sets the status of its worker: "waiting", or how it came out. One that makes others
    go on sets theirs.
    """

    operations: tuple[str, ...]
    # How a program may begin, so that it gets to where it is interesting.
    opening: tuple[tuple[int, str, int], ...] = ()
    # Those that may be cancelled before they have begun.
    has_entry_checkpoint: frozenset[str] = frozenset()

    def __init__(self):
        self.status = ["None"] * WORKERS
        self.queue = []

    def copy(self):
        twin = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, list):
                setattr(twin, name, list(value))
        return twin

    def key(self):
        return repr(vars(self))

    def apply(self, worker, operation, number):
        self.status[worker] = "None"
        if operation == "cancel":
            if self.status[number] == "waiting":
                self.cancel(number)
        else:
            getattr(self, operation.replace(".", "_"))(worker, number)

    def enqueue(self, worker):
        self.queue.append(worker)
        self.status[worker] = "waiting"

    def cancel(self, worker):
        self.queue.remove(worker)
        self.status[worker] = "cancelled"

    def dequeue(self):
        worker = self.queue.pop(0)
        self.status[worker] = "None"
        return worker


class LockModel(Model):
    make = Lock
    operations = ("acquire", "acquire", "release", "release", "acquire_nowait")
    has_entry_checkpoint = frozenset(["acquire"])

    def __init__(self):
        super().__init__()
        self.owner = None

    def acquire(self, worker, _):
        if self.owner == worker:
            self.status[worker] = "RuntimeError"
        elif self.owner is None:
            self.owner = worker
        else:
            self.enqueue(worker)

    def acquire_nowait(self, worker, _):
        if self.owner is None:
            self.owner = worker
        else:
            self.status[worker] = "RuntimeError" if self.owner == worker else "WouldBlock"

    def release(self, worker, _):
        if self.owner != worker:
            self.status[worker] = "RuntimeError"
        else:
            self.owner = self.dequeue() if self.queue else None

    def look(self):
        return self.owner, len(self.queue)

    @staticmethod
    def look_at(lock, number_of):
        statistics = lock.statistics()
        return number_of(statistics.owner), statistics.tasks_waiting


class SemaphoreModel(Model):
    operations = ("acquire", "acquire", "release", "acquire_nowait")
    has_entry_checkpoint = frozenset(["acquire"])

    def __init__(self):
        super().__init__()
        self.value = 1

    @staticmethod
    def make():
        return Semaphore(1, max_value=2)

    def acquire(self, worker, _):
        if self.value:
            self.value -= 1
        else:
            self.enqueue(worker)

    def acquire_nowait(self, worker, _):
        if self.value:
            self.value -= 1
        else:
            self.status[worker] = "WouldBlock"

    def release(self, worker, _):
        if self.queue:
            self.dequeue()
        elif self.value == 2:
            self.status[worker] = "ValueError"
        else:
            self.value += 1

    def look(self):
        return self.value, len(self.queue)

    @staticmethod
    def look_at(semaphore, number_of):
        return semaphore.value, semaphore.statistics().tasks_waiting


class LimiterModel(Model):
    operations = ("acquire", "acquire", "acquire", "release", "release", "resize", "acquire_nowait")
    has_entry_checkpoint = frozenset(["acquire"])

    def __init__(self):
        super().__init__()
        self.total = 1
        self.borrowers = []

    @staticmethod
    def make():
        return CapacityLimiter(1)

    @staticmethod
    def resize_real(limiter, total):
        limiter.total_tokens = total

    def acquire(self, worker, _):
        if worker in self.borrowers:
            self.status[worker] = "RuntimeError"
        elif len(self.borrowers) < self.total:
            self.borrowers.append(worker)
        else:
            self.enqueue(worker)

    def acquire_nowait(self, worker, _):
        if worker not in self.borrowers and len(self.borrowers) >= self.total:
            self.status[worker] = "WouldBlock"
        else:
            self.acquire(worker, _)

    def release(self, worker, _):
        if worker in self.borrowers:
            self.borrowers.remove(worker)
            self.hand_out()
        else:
            self.status[worker] = "RuntimeError"

    def resize(self, worker, total):
        self.total = total
        self.hand_out()

    def hand_out(self):
        while self.queue and len(self.borrowers) < self.total:
            self.borrowers.append(self.dequeue())

    def look(self):
        return self.total, sorted(self.borrowers), len(self.queue)

    @staticmethod
    def look_at(limiter, number_of):
        statistics = limiter.statistics()
        borrowers = sorted(map(number_of, statistics.borrowers))
        return statistics.total_tokens, borrowers, statistics.tasks_waiting


class RWLockModel(Model):
    make = RWLock
    opening = ((0, "read.acquire", 0), (1, "write.acquire", 0), (2, "read.acquire", 0))
    operations = ("read.acquire", "write.acquire", "read.release", "write.release")
    operations += ("read.acquire", "write.acquire", "read.acquire_nowait", "write.acquire_nowait")
    has_entry_checkpoint = frozenset(["read.acquire", "write.acquire"])

    def __init__(self):
        super().__init__()
        self.readers = []
        self.writer = None
        self.wanted = [None] * WORKERS

    def is_free_for(self, mode):
        return self.writer is None and (mode == "read" or not self.readers)

    def give(self, worker, mode):
        if mode == "read":
            self.readers.append(worker)
        else:
            self.writer = worker

    def let_in(self):
        while self.queue and self.is_free_for(self.wanted[self.queue[0]]):
            worker = self.dequeue()
            self.give(worker, self.wanted[worker])

    def acquire(self, worker, mode, *, wait=True):
        if worker == self.writer or worker in self.readers:
            self.status[worker] = "RuntimeError"
        elif not self.queue and self.is_free_for(mode):
            self.give(worker, mode)
        elif wait:
            self.wanted[worker] = mode
            self.enqueue(worker)
        else:
            self.status[worker] = "WouldBlock"

    def read_acquire(self, worker, _):
        self.acquire(worker, "read")

    def write_acquire(self, worker, _):
        self.acquire(worker, "write")

    def read_acquire_nowait(self, worker, _):
        self.acquire(worker, "read", wait=False)

    def write_acquire_nowait(self, worker, _):
        self.acquire(worker, "write", wait=False)

    def read_release(self, worker, _):
        if worker in self.readers:
            self.readers.remove(worker)
            self.let_in()
        else:
            self.status[worker] = "RuntimeError"

    def write_release(self, worker, _):
        if worker == self.writer:
            self.writer = None
            self.let_in()
        else:
            self.status[worker] = "RuntimeError"

    def cancel(self, worker):
        super().cancel(worker)
        self.let_in()

    def look(self):
        modes = [self.wanted[worker] for worker in self.queue]
        return self.writer, sorted(self.readers), modes.count("read"), modes.count("write")

    @staticmethod
    def look_at(lock, number_of):
        readers, writer, *waiting = lock.statistics()
        return number_of(writer), sorted(map(number_of, readers)), *waiting


class ConditionModel(LockModel):
    make = Condition
    operations = ("acquire", "acquire", "wait", "release", "notify", "notify", "notify_all")
    opening = (
        *((worker, operation, 0) for worker in range(3) for operation in ("acquire", "wait")),
        (3, "acquire", 0),
    )

    def __init__(self):
        super().__init__()
        self.sleepers = []
        # How the wait of each ends once it has the lock back.
        self.ending = ["None"] * WORKERS

    def acquire(self, worker, _):
        self.ending[worker] = "None"
        super().acquire(worker, _)

    def wait(self, worker, _):
        if self.owner != worker:
            self.status[worker] = "RuntimeError"
            return
        self.release(worker, _)
        self.sleepers.append(worker)
        self.status[worker] = "waiting"

    def notify(self, worker, n):
        if self.owner != worker:
            self.status[worker] = "RuntimeError"
            return
        for sleeper in self.sleepers[:n]:
            self.wake(sleeper, "notified")

    def notify_all(self, worker, _):
        self.notify(worker, WORKERS)

    def cancel(self, worker):
        if worker in self.sleepers:
            self.wake(worker, "cancelled")
        elif self.ending[worker] == "None":
            super().cancel(worker)

    def wake(self, worker, ending):
        self.sleepers.remove(worker)
        self.ending[worker] = ending
        if self.owner is None:
            self.owner = worker
            self.status[worker] = self.end(worker)
        else:
            self.queue.append(worker)

    def dequeue(self):
        worker = super().dequeue()
        self.status[worker] = self.end(worker)
        return worker

    def end(self, worker):
        ending, self.ending[worker] = self.ending[worker], "None"
        return "cancelled" if ending == "cancelled" else "None"

    def look(self):
        return len(self.sleepers), *super().look()

    @staticmethod
    def look_at(condition, number_of):
        waiting, lock = condition.statistics()
        return waiting, number_of(lock.owner), lock.tasks_waiting


class BarrierModel(Model):
    operations = ("wait", "wait", "wait", "abort", "reset")
    has_entry_checkpoint = frozenset(["wait"])

    def __init__(self):
        super().__init__()
        self.broken = False

    @staticmethod
    def make():
        return Barrier(3)

    def wait(self, worker, _):
        if self.broken:
            self.status[worker] = "ResourceBroken"
            return
        self.enqueue(worker)
        if len(self.queue) == 3:
            for position in range(3):
                self.status[self.dequeue()] = str(position)

    def break_up(self):
        while self.queue:
            self.status[self.dequeue()] = "ResourceBroken"

    def abort(self, worker, _):
        self.broken = True
        self.break_up()

    def reset(self, worker, _):
        self.broken = False
        self.break_up()

    def look(self):
        return 3, len(self.queue), self.broken

    @staticmethod
    def look_at(barrier, number_of):
        return tuple(barrier.statistics())


class EventModel(Model):
    make = Event
    operations = ("wait", "wait", "set", "wait_nowait")
    has_entry_checkpoint = frozenset(["wait"])

    def __init__(self):
        super().__init__()
        self.is_set = False

    def wait(self, worker, _):
        if not self.is_set:
            self.enqueue(worker)

    def wait_nowait(self, worker, _):
        if not self.is_set:
            self.status[worker] = "WouldBlock"

    def set(self, worker, _):
        self.is_set = True
        while self.queue:
            self.dequeue()

    def look(self):
        return self.is_set, len(self.queue)

    @staticmethod
    def look_at(event, number_of):
        return event.is_set(), event.statistics().tasks_waiting


class ValueModel(Model):
    operations = ("wait_value", "wait_value", "wait_change", "set")
    has_entry_checkpoint = frozenset(["wait_value"])

    def __init__(self):
        super().__init__()
        self.value = 0
        self.wanted = [None] * WORKERS

    @staticmethod
    def make():
        return Value(0)

    def wait_value(self, worker, number):
        if self.value == number:
            self.status[worker] = str(number)
        else:
            self.wanted[worker] = number
            self.enqueue(worker)

    def wait_change(self, worker, _):
        self.wanted[worker] = None
        self.enqueue(worker)

    def set(self, worker, number):
        self.value = number
        for waiter in list(self.queue):
            if self.wanted[waiter] in (None, number):
                self.queue.remove(waiter)
                self.status[waiter] = str(number)

    def look(self):
        return self.value, len(self.queue)

    @staticmethod
    def look_at(value, number_of):
        return value.value, value.statistics().tasks_waiting


def call(model, primitive, operation, number):
    """Begin an operation on the real thing; what it returns may have to be awaited."""
    if operation == "resize":
        return model.resize_real(primitive, number)
    method = attrgetter(operation)(primitive)
    if operation in ("notify", "wait_value") or (
        operation == "set" and isinstance(primitive, Value)
    ):
        return method(number)
    return method()


class Worker:
    """A task that does what it is told, and how that came out."""

    def __init__(self):
        self.status = "None"
        self.scope = CancelScope()

    async def work(self):
        while (command := await suspend(lambda *_: None, "the next command")) is not None:
            self.status = "waiting"
            outcome = "cancelled"
            with CancelScope() as self.scope:
                try:
                    result = command()
                    outcome = repr(await result if inspect.isawaitable(result) else result)
                except (giambio.GiambioError, RuntimeError, ValueError) as error:
                    outcome = type(error).__name__
            self.status = outcome


class Shuffled:
    """A policy that picks at random."""

    def __init__(self, seed):
        self.random = Random(seed)

    def choose(self, ready):
        return self.random.randrange(len(ready))


def outcomes(model, batch):
    """Yield the model after the operations of *batch*, done in each possible order."""
    targets = {number for _, operation, number in batch if operation == "cancel"}
    may_be_dropped = [
        command
        for command in batch
        if command[0] in targets and command[1] in model.has_entry_checkpoint
    ]
    subsets = chain.from_iterable(
        combinations(may_be_dropped, n) for n in range(len(may_be_dropped) + 1)
    )
    for order, dropped in ((o, d) for d in subsets for o in permutations(batch)):
        after = model.copy()
        for command in order:
            if command in dropped:
                after.status[command[0]] = "cancelled"
            else:
                after.apply(*command)
        yield after


async def program(model, script):
    primitive = model.make()
    workers = [Worker() for _ in range(WORKERS)]
    possible = [model]
    async with giambio.create_pool() as pool:
        tasks = [pool.spawn(worker.work) for worker in workers]
        number_of = {None: None} | {task: number for number, task in enumerate(tasks)}
        await wait_all_tasks_blocked()
        for wishes in script:
            batch = []
            for actor, operation, number in wishes:
                if workers[actor].status == "waiting" or any(actor == c[0] for c in batch):
                    continue
                batch.append((actor, operation, number))
            for actor, operation, number in batch:
                if operation == "cancel":
                    reschedule(tasks[actor], lambda victim=workers[number]: victim.scope.cancel())
                else:
                    command = (operation, number)
                    reschedule(tasks[actor], lambda c=command: call(model, primitive, *c))
            await wait_all_tasks_blocked()
            seen = [worker.status for worker in workers], model.look_at(primitive, number_of.get)
            explained = {
                after.key(): after
                for before in possible
                for after in outcomes(before, batch)
                if (after.status, after.look()) == seen
            }
            assert explained, f"after {batch}, {seen} is none of the possible states"
            possible = list(explained.values())
        pool.cancel()  # those who hold something end with it, and others may learn of that


def scripts(model):
    command = st.tuples(
        st.integers(0, WORKERS - 1),
        st.sampled_from([*model.operations, "cancel"]),
        st.integers(0, WORKERS - 1),
    )
    rest = st.lists(st.lists(command, min_size=1, max_size=3), max_size=10)
    return st.builds(list.__add__, st.sampled_from([[], [[each] for each in model.opening]]), rest)


@pytest.mark.parametrize(
    "model",
    [
        LockModel,
        SemaphoreModel,
        LimiterModel,
        RWLockModel,
        ConditionModel,
        BarrierModel,
        EventModel,
        ValueModel,
    ],
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_tasks_see_what_they_would_see_if_they_came_one_after_the_other(model, data):
    script = data.draw(scripts(model))
    policy = Shuffled(data.draw(st.integers(0, 2**32)))
    giambio.run(program, model(), script, clock=VirtualClock(), policy=policy)
