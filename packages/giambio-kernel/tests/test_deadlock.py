# SPDX-License-Identifier: Apache-2.0
"""A program in which nothing can ever happen again is told so, and so is who waits for whom."""

from __future__ import annotations

import contextlib
import re

import pytest

from giambio_kernel import (
    AsyncScheduler,
    CancelScope,
    DeadlockError,
    checkpoint,
    current_scheduler,
    current_task,
    format_tree,
    park,
    siblings,
    sleep,
    sleep_forever,
    spawn_task,
    suspend,
    wait_all_tasks_blocked,
)


class Mutex:
    """A lock for the tests."""

    def __init__(self, name):
        self.name = name
        self.owner = None
        self.waiters = {}

    def __repr__(self):
        return f"<Mutex {self.name}>"

    def holders(self):
        return (self.owner,)

    async def acquire(self):
        if self.owner is None:
            self.owner = current_task()
        else:
            await park(self.waiters, self)


async def take(first, second):
    await first.acquire()
    await checkpoint()
    await second.acquire()


async def nothing_happens():
    await suspend(lambda task, error: None, "an event")


def test_the_report_names_the_line_of_the_program_and_not_one_of_the_standard_library(run):
    class Turn:
        def __aenter__(self):
            return suspend(lambda task, error: None, "a turn")

        async def __aexit__(self, *exc):
            pass

    async def main():
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(Turn())

    with pytest.raises(DeadlockError, match=r"test_deadlock.py:\d+ in .*main"):
        run(main)


def test_the_report_names_each_task_what_it_waits_for_and_who_holds_it(run):
    one, two = Mutex("one"), Mutex("two")

    async def main():
        with CancelScope() as scope:
            a = spawn_task(take, one, two, name="a", scope=scope)
            spawn_task(take, two, one, name="b", scope=scope)
            await a.join()

    with pytest.raises(DeadlockError) as caught:
        run(main)
    report = re.sub(r"at .*/", "at ", str(caught.value))
    here = "test_deadlock.py"
    joins, parks = line_of("a.join"), line_of("park(")
    assert report.splitlines() == [
        "no task can ever run again, for nothing is left that could wake one:",
        f"main: waits for the end of task 'a', at {here}:{joins} in {main.__qualname__}",
        f"├─ a: waits for <Mutex two>, held by 'b', at {here}:{parks} in Mutex.acquire",
        f"└─ b: waits for <Mutex one>, held by 'a', at {here}:{parks} in Mutex.acquire",
    ]


def test_the_report_tells_tasks_of_the_same_name_apart(run):
    one, two, three = Mutex("one"), Mutex("two"), Mutex("three")

    async def main():
        with CancelScope() as scope:
            spawn_task(take, one, two, scope=scope)
            last = spawn_task(take, two, three, scope=scope)
            spawn_task(take, three, one, scope=scope)
            await last.join()

    with pytest.raises(DeadlockError) as caught:
        run(main)
    lines = [re.sub(r", at .*", "", line) for line in str(caught.value).splitlines()]
    assert lines[1:] == [
        "main: waits for the end of task 'take #3'",
        "├─ take #2: waits for <Mutex two>, held by 'take #3'",
        "├─ take #3: waits for <Mutex three>, held by 'take #4'",
        "└─ take #4: waits for <Mutex one>, held by 'take #2'",
    ]


def test_the_report_is_not_limited_by_the_depth_of_the_tree(run):
    async def nest(depth):
        if not depth:
            return format_tree(current_scheduler())
        with CancelScope() as scope:
            return await spawn_task(nest, depth - 1, scope=scope).join()

    lines = run(nest, 2_000).splitlines()
    assert len(lines) == 2_001
    assert lines[1].startswith("└─ nest #2: waits for the end of task 'nest #3'")
    assert lines[-1] == "⋯ 2000 deep └─ nest #2001: running"


def test_what_cannot_be_shown_does_not_hide_the_deadlock(run):
    class Broken:
        def __repr__(self):
            raise NotImplementedError

        def holders(self):
            raise NotImplementedError

    async def main():
        await park({}, Broken())

    with pytest.raises(DeadlockError, match=r"waits for <.*Broken object at"):
        run(main)


def line_of(text):
    with open(__file__) as source:
        return next(n for n, line in enumerate(source, 1) if text in line and "await" in line)


def test_it_is_raised_in_the_main_task_which_may_go_on(run):
    async def main():
        with pytest.raises(DeadlockError):
            await nothing_happens()
        await sleep(1)
        return "went on"

    assert run(main) == "went on"


def test_when_main_has_ended_the_rest_is_cancelled_and_the_run_fails(run):
    events = []

    async def other():
        try:
            await nothing_happens()
        finally:
            events.append("cleaned up")

    async def main():
        spawn_task(other)

    with pytest.raises(DeadlockError):
        run(main)
    assert events == ["cleaned up"]


def test_when_main_cannot_be_interrupted_the_run_fails_at_once(run):
    async def main():
        await suspend(lambda task, error: False)

    with pytest.raises(DeadlockError):
        run(main)


@pytest.mark.parametrize(
    "waiting",
    [sleep_forever, lambda: sleep(float("inf"))],
)
def test_waiting_for_the_outside_world_is_no_deadlock(waiting):
    async def main():
        await waiting()

    with AsyncScheduler(deadlock="raise") as loop:
        task = loop.start(main, loop=False)
        for _ in range(3):
            loop.tick()
        assert not task.done()


def test_a_hosted_loop_waits_unless_asked():
    with AsyncScheduler() as loop:
        task = loop.start(nothing_happens, loop=False)
        for _ in range(3):
            assert loop.tick()
        assert not task.done()
    loop = AsyncScheduler(deadlock="raise")
    task = loop.start(nothing_happens, loop=False)
    loop.tick()
    loop.tick()
    loop.tick()
    with pytest.raises(DeadlockError):
        task.result()
    loop.close()


def test_the_count_of_outside_waits_comes_back_to_zero(run):
    async def main():
        with CancelScope(seconds=1):
            await sleep_forever()
        with CancelScope(seconds=1):
            await sleep(float("inf"))
        assert current_scheduler()._outside_waits == 0
        with pytest.raises(DeadlockError):
            await nothing_happens()

    run(main)


def test_the_tree_shows_states_and_how_long_a_wait_has_lasted(run):
    async def child():
        with CancelScope() as scope:
            spawn_task(sleep, 100, scope=scope, name="grandchild")
            await sleep(100)

    async def main():
        with CancelScope() as scope:
            spawn_task(child, scope=scope)
            await wait_all_tasks_blocked()
            await sleep(5)
            spawn_task(checkpoint, scope=scope, name="new one")
            tree = format_tree(current_scheduler())
            lines = [re.sub(r", at .*", "", line) for line in tree.splitlines()]
            assert lines == [
                "main: running",
                "├─ child: waits for the end of its sleep in 95 s, for 5 s",
                "│  └─ grandchild: waits for the end of its sleep in 95 s, for 5 s",
                "└─ new one: new",
            ]
            scope.cancel()
            while scope.tasks:
                with CancelScope(shield=True):
                    await checkpoint()

    run(main)


def test_durations_have_no_exponents(run):
    async def main():
        sleepers = [spawn_task(sleep(seconds)) for seconds in (0.00001, 0.9999, 100_000)]
        await checkpoint()  # the clock stands still meanwhile
        waits = [child.waiting_on for child in current_scheduler().snapshot().tasks[1:]]
        for sleeper in sleepers:
            sleeper.cancel()
        return waits

    assert run(main) == [f"the end of its sleep in {text}" for text in ("10 µs", "1 s", "100000 s")]


def test_a_snapshot_tells_all_there_is(run):
    async def main():
        spawn_task(sleep, 5, name="sleeper")
        await wait_all_tasks_blocked()
        spawn_task(checkpoint, name="ready")
        scheduler = current_scheduler()
        scheduler.call_soon_threadsafe(int)
        snapshot = scheduler.snapshot()
        assert snapshot.time == 0.0
        assert [task.name for task in snapshot.tasks] == ["main", "sleeper", "ready"]
        assert snapshot.ready == ("ready",)
        assert snapshot.timers == 1
        assert snapshot.next_deadline == 5
        assert snapshot.descriptors == ()
        assert snapshot.calls == 1
        main, sleeper, _ = snapshot.tasks
        assert main.waiting_on is None
        assert sleeper.waiting_on == "the end of its sleep in 5 s"
        assert sleeper.waiting_since == 0.0
        assert sleeper.held_by == ()

    run(main)


def test_a_snapshot_may_be_taken_before_the_start():
    assert AsyncScheduler().snapshot().tasks == ()


@pytest.mark.parametrize("wrong", ["never", 1])
def test_what_to_do_in_a_deadlock_must_be_known(wrong):
    with pytest.raises(ValueError, match="deadlock must be 'raise' or 'wait'"):
        AsyncScheduler(deadlock=wrong)


def test_an_error_that_came_before_is_not_masked(run):
    async def stuck():
        await suspend(lambda task, error: False)

    async def main():
        spawn_task(stuck)
        await checkpoint()
        raise KeyError("first")

    with pytest.raises(KeyError, match="first") as caught:
        run(main)
    assert [type(error) for error in siblings(caught.value)] == [DeadlockError]
