# SPDX-License-Identifier: Apache-2.0
"""What a debugger is told, in which order, and what a policy is asked."""

from __future__ import annotations

import random
import socket

import pytest

from giambio_kernel import (
    AsyncScheduler,
    CancelScope,
    DeadlockError,
    VirtualClock,
    checkpoint,
    current_scheduler,
    current_task,
    sleep,
    spawn_task,
    suspend,
    wait_readable,
)


class Recorder:
    """Writes down all it is told."""

    def __init__(self):
        self.events = []

    def __getattr__(self, name):
        if not name.startswith(("on_", "before_", "after_")):
            raise AttributeError(name)

        def hook(*args):
            words = [getattr(arg, "name", arg) for arg in args]
            self.events.append(" ".join([name, *(f"{word}" for word in words)]))

        return hook


async def sleeper(seconds):
    await sleep(seconds)


def test_the_sequence_of_two_sleeping_children():
    """Literally the one that the first giambio's documents show."""

    async def main():
        children = [spawn_task(sleeper, 2, name="child"), spawn_task(sleeper, 2, name="child1")]
        for child in children:
            if not child.done():
                await child.join()
        await checkpoint()

    recorder = Recorder()
    AsyncScheduler(clock=VirtualClock(), debugger=recorder).start(main)
    assert recorder.events == [
        "on_start",
        "before_task_step main",
        "on_task_spawn child",
        "on_task_spawn child1",
        "after_task_step main",
        "before_task_step child",
        "after_task_step child",
        "before_sleep child 2.0",
        "before_task_step child1",
        "after_task_step child1",
        "before_sleep child1 2.0",
        "after_sleep child 2.0",
        "after_sleep child1 2.0",
        "before_io 0.0",
        "after_io 0.0",
        "before_task_step child",
        "on_task_exit child",
        "before_task_step child1",
        "on_task_exit child1",
        "before_task_step main",
        "after_task_step main",
        "before_task_step main",
        "on_task_exit main",
        "on_exit",
    ]


def test_errors_cancellations_and_delays_are_told():
    async def failing():
        raise ValueError("no")

    class Keeper(CancelScope):
        def on_task_done(self, task, error):
            pass

    async def main():
        with Keeper() as scope:
            spawn_task(failing, scope=scope)
            task = spawn_task(sleeper, 9, scope=scope)
            spawn_task(checkpoint, delay=0.5, scope=scope, name="late")
            await checkpoint()
            task.cancel()
            with CancelScope(seconds=1):
                await sleep(5)

    recorder = Recorder()
    AsyncScheduler(clock=VirtualClock(), debugger=[recorder]).start(main)
    told = [
        event
        for event in recorder.events
        if not event.startswith(("before_task_step", "after_task_step", "before_io", "after_io"))
    ]
    assert told == [
        "on_start",
        "on_task_spawn failing",
        "on_task_spawn sleeper",
        "on_task_spawn late",
        "on_task_schedule late 0.5",
        "on_exception_raised failing no",
        "on_task_exit failing",
        "before_sleep sleeper 9.0",
        "before_cancel sleeper",
        "before_sleep main 5.0",
        "after_cancel sleeper",
        "on_task_exit sleeper",
        "on_task_exit late",
        "before_cancel main",
        "after_cancel main",
        "on_task_exit main",
        "on_exit",
    ]


def test_waiting_for_io_is_told_with_its_timeout():
    left, right = socket.socketpair()

    async def main():
        task = spawn_task(wait_readable, left.fileno())
        await sleep(0.001)
        right.send(b"x")
        await task.join()

    recorder = Recorder()
    AsyncScheduler(debugger=recorder).start(main)
    left.close()
    right.close()
    looks = [event.split()[1] for event in recorder.events if event.startswith("before_io")]
    assert all(float(timeout) >= 0 for timeout in looks)
    assert any(0 < float(timeout) <= 0.001 for timeout in looks)


def test_waiting_for_ever_is_told_as_infinity():
    left, right = socket.socketpair()

    class Sender:
        def before_io(self, timeout):
            timeouts.append(timeout)
            if timeout == float("inf"):
                right.send(b"x")

    timeouts = []

    async def main():
        await wait_readable(left.fileno())

    AsyncScheduler(debugger=Sender()).start(main)
    left.close()
    right.close()
    assert timeouts[-1] == float("inf")


def test_several_debuggers_are_told_and_need_not_know_every_event():
    class Few:
        def on_task_exit(self, task):
            exits.append(task.name)

    async def main():
        pass

    exits = []
    recorder = Recorder()
    AsyncScheduler(debugger=[Few(), recorder, Few()]).start(main)
    assert exits == ["main", "main"]
    assert "on_task_exit main" in recorder.events


def test_a_failing_debugger_is_reported_and_removed_and_the_program_goes_on(capsys):
    class Failing:
        def before_task_step(self, task):
            raise ValueError("in the hook")

        def __repr__(self):
            return "<Failing>"

    async def main():
        await checkpoint()
        return "fine"

    recorder = Recorder()
    assert AsyncScheduler(debugger=[Failing(), recorder]).start(main) == "fine"
    err = capsys.readouterr().err
    assert err.startswith("giambio: <Failing> failed in before_task_step and was removed")
    assert err.count("ValueError: in the hook") == 1
    assert "on_exit" in recorder.events


def test_a_debugger_can_be_switched_on_and_off_in_a_running_program():
    async def main():
        scheduler = current_scheduler()
        await checkpoint()
        scheduler.add_debugger(recorder)
        await checkpoint()
        for _ in range(200):
            await checkpoint()
        scheduler.remove_debugger(recorder)
        assert scheduler._hooks is None
        with pytest.raises(ValueError, match="is not a debugger of this loop"):
            scheduler.remove_debugger(recorder)
        await checkpoint()

    recorder = Recorder()
    AsyncScheduler().start(main)
    assert "before_task_step main" in recorder.events
    assert "on_start" not in recorder.events
    assert "on_exit" not in recorder.events


def test_a_debugger_can_remove_itself_in_any_hook():
    async def main():
        await sleep(1)

    class Leaving(Recorder):
        def __init__(self, event):
            super().__init__()
            self.event = event

        def __getattr__(self, name):
            hook = super().__getattr__(name)

            def leave(*args):
                hook(*args)
                if name == self.event:
                    scheduler.remove_debugger(self)
                    raise ValueError("and fails after that")

            return leave

    everything = Recorder()
    AsyncScheduler(clock=VirtualClock(), debugger=everything).start(main)
    for event in {words.partition(" ")[0] for words in everything.events}:
        debugger = Leaving(event)
        scheduler = AsyncScheduler(clock=VirtualClock(), debugger=debugger)
        scheduler.start(main)
        last = next(n for n, words in enumerate(everything.events) if words.startswith(event))
        assert debugger.events == everything.events[: last + 1]


def test_when_the_last_debugger_has_failed_the_loop_is_as_fast_as_without(capsys):
    class Failing:
        def before_task_step(self, task):
            raise ValueError

    async def main():
        await sleep(1)
        return current_scheduler()._hooks

    assert AsyncScheduler(clock=VirtualClock(), debugger=Failing()).start(main) is None
    assert "was removed" in capsys.readouterr().err


def test_a_sleep_that_was_cancelled_is_forgotten():
    async def main():
        for _ in range(10):
            with CancelScope(seconds=1):
                await sleep(5)
        return current_scheduler()._hooks._asleep

    assert AsyncScheduler(clock=VirtualClock(), debugger=Recorder()).start(main) == {}


def test_a_run_that_breaks_off_has_ended_too():
    async def main():
        await suspend(lambda task, error: False, "what never comes")

    recorder = Recorder()
    with pytest.raises(DeadlockError):
        AsyncScheduler(debugger=recorder).start(main)
    assert recorder.events[-1] == "on_exit"


def test_a_class_in_place_of_a_debugger_is_a_clear_error():
    with pytest.raises(TypeError, match=r"pass an instance of the debugger: Recorder\(\)"):
        AsyncScheduler(debugger=Recorder)


class TestPolicy:
    """Who decides which ready task runs next."""

    def test_it_is_asked_only_when_there_is_a_choice(self):
        class Last:
            def choose(self, ready):
                assert len(ready) > 1
                asked.append([task.name for task in ready])
                return len(ready) - 1

        async def child(n):
            order.append(n)

        async def main():
            for n in range(3):
                spawn_task(child, n, name=f"c{n}")
            await checkpoint()
            order.append("main")

        asked, order = [], []
        AsyncScheduler(policy=Last()).start(main)
        assert order == ["main", 2, 1, 0]
        assert asked == [["c0", "c1", "c2", "main"], ["c0", "c1", "c2"], ["c0", "c1"]]

    def test_with_one_every_operation_is_a_place_to_switch(self):
        class First:
            def choose(self, ready):
                return 0

        from giambio_kernel import checkpoint_due

        async def main():
            assert checkpoint_due()
            assert checkpoint_due()

        AsyncScheduler(policy=First()).start(main)

        async def without():
            assert not checkpoint_due()

        AsyncScheduler().start(without)

    def test_a_program_runs_to_the_same_end_under_any_order(self):
        class Shuffled:
            def __init__(self, seed):
                self.random = random.Random(seed)

            def choose(self, ready):
                return self.random.randrange(len(ready))

        async def child(n):
            for _ in range(3):
                await checkpoint()
            await sleep(n)
            total.append(n)

        async def main():
            for n in range(10):
                spawn_task(child, n)

        for seed in range(20):
            total = []
            AsyncScheduler(policy=Shuffled(seed), clock=VirtualClock()).start(main)
            assert total == list(range(10))


def test_operations_that_finish_at_once_give_way_now_and_then():
    from giambio_kernel import checkpoint_due, replenish, running

    async def main():
        asked = 0
        while not checkpoint_due():
            asked += 1
        assert asked == 64
        scheduler = running.get()
        scheduler.credit = 0
        await replenish()
        assert scheduler.credit == 64
        current_task().cancel()
        assert checkpoint_due()

    AsyncScheduler().start(main)
