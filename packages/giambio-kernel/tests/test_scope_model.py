# SPDX-License-Identifier: Apache-2.0
"""Random programs of scopes and tasks: what is cached must be what one would compute.

Several tasks do what they are told: enter scopes, leave them, cancel, shield, move deadlines, spawn. After
each command every cached value in the tree is compared with its definition, and a checkpoint must raise
exactly if its definition says so.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from giambio_kernel import (
    AsyncScheduler,
    CancelledError,
    CancelScope,
    VirtualClock,
    checkpoint,
    current_scheduler,
    reschedule,
    spawn_task,
    suspend,
    wait_all_tasks_blocked,
)

INFINITY = float("inf")

commands = st.lists(
    st.tuples(
        st.integers(0, 5),  # which task
        st.sampled_from(
            [
                "enter",
                "enter",
                "exit",
                "cancel",
                "cancel task",
                "shield",
                "deadline",
                "spawn",
                "check",
            ]
        ),
        st.integers(0, 9),  # which scope
        st.sampled_from([0.0, 1.0, 5.0, INFINITY]),  # seconds
        st.booleans(),  # shield
    ),
    max_size=60,
)


def effective(scope):
    """The definition: cancelled itself, or inside of a cancelled one without a shield."""
    if scope.cancel_called:
        return True
    return scope.parent is not None and not scope.shield and effective(scope.parent)


def due(task):
    """The definition: the earliest deadline of the task's own scopes that has not fired."""
    earliest = INFINITY
    scope = task.scope
    while scope is not None and scope.owner is task:
        if not scope.cancel_called:
            earliest = min(earliest, scope.deadline)
        scope = scope.parent
    return earliest


def compare(scheduler, workers):
    for worker in workers:
        task = worker.task
        scope = task.scope
        while scope is not None:
            assert scope._effective == effective(scope), scope
            scope = scope.parent
        assert task.stopping == effective(task.scope)
        # It may come up too early, for a scope that was cancelled meanwhile, but never too late.
        assert task._due <= due(task)
        assert task._armed <= task._due


class Worker:
    def __init__(self):
        self.scopes = []
        self.raised = None

    async def work(self):
        while True:
            command = await suspend(lambda task, error: False, "the next command")
            if command is None:
                break
            if command == "check":
                try:
                    await checkpoint()
                    self.raised = False
                except CancelledError:
                    self.raised = True
            else:
                command()
        while self.scopes:
            self.scopes.pop().__exit__(None, None, None)


class Keeper(CancelScope):
    """A scope that tasks may be spawned in, and that does not mind how they end."""

    def on_task_done(self, task, error):
        assert error is None


async def program(script, clock):
    scheduler = current_scheduler()
    workers = []
    every_scope = []

    def new_worker(scope):
        worker = Worker()
        workers.append(worker)
        worker.task = spawn_task(worker.work, scope=scope)

    new_worker(None)
    new_worker(None)
    await wait_all_tasks_blocked()
    for which, what, number, seconds, shield in script:
        worker = workers[which % len(workers)]

        def enter(worker=worker, seconds=seconds, shield=shield):
            scope = Keeper(seconds=seconds, shield=shield)
            scope.__enter__()
            worker.scopes.append(scope)
            every_scope.append(scope)

        def leave(worker=worker):
            if worker.scopes and not worker.scopes[-1].tasks:
                worker.scopes.pop().__exit__(None, None, None)

        chosen = every_scope[number % len(every_scope)] if every_scope else None
        if what == "enter":
            tell(worker, enter)
        elif what == "exit":
            tell(worker, leave)
        elif what == "check":
            expected = effective(worker.task.scope)
            tell(worker, "check")
            await wait_all_tasks_blocked()
            assert worker.raised == expected
        elif what == "cancel task":
            worker.task.cancel()
        elif chosen is not None:
            if what == "cancel":
                chosen.cancel()
            elif what == "shield":
                chosen.shield = shield
            elif what == "deadline":
                chosen.deadline = clock.now() + seconds
            elif what == "spawn" and chosen.owner is not None and len(workers) < 6:
                new_worker(chosen)
        await wait_all_tasks_blocked()
        clock.advance(0.25)
        await wait_all_tasks_blocked()  # by now every deadline that has passed has fired
        compare(scheduler, workers)
    for worker in reversed(workers):
        tell(worker, None)
        await wait_all_tasks_blocked()
        assert worker.task.done()


def tell(worker, command):
    reschedule(worker.task, command)


@settings(max_examples=200, deadline=None)
@given(commands)
def test_what_is_cached_is_what_one_would_compute(script):
    clock = VirtualClock(autojump=False)
    AsyncScheduler(clock=clock).start(program, script, clock)
