# SPDX-License-Identifier: Apache-2.0
"""`BaseDebugger`: every hook at its moment, whatever happens to a task."""

from __future__ import annotations

import pytest

import giambio
from giambio.debug import BaseDebugger
from giambio.lowlevel import wait_readable
from giambio.testing import VirtualClock

HOOKS = [name for name in vars(BaseDebugger) if not name.startswith("_")]


class Recorder(BaseDebugger):
    """Writes down all it is told, except for what was asked to be left out."""

    def __init__(self, *left_out):
        self.events = []
        self.left_out = left_out


def _recording(hook):
    def method(self, *args):
        if hook not in self.left_out:
            words = [getattr(arg, "name", arg) for arg in args]
            self.events.append(" ".join([hook, *(f"{word}" for word in words)]))

    return method


for _hook in HOOKS:
    setattr(Recorder, _hook, _recording(_hook))


@pytest.fixture
def record(run):
    """Return a function that runs an async function and returns what a debugger was told."""

    def record(main, *left_out):
        recorder = Recorder(*left_out)
        run(main, debugger=recorder)
        return recorder.events

    return record


async def nap(seconds=1):
    await giambio.sleep(seconds)


def lines(text):
    return [line.strip() for line in text.strip().splitlines()]


def test_an_awaited_function_is_a_part_of_the_task_that_awaits_it(record):
    async def main():
        await nap()
        await giambio.checkpoint()

    assert record(main) == lines(
        """
        on_start
        before_task_step main
        after_task_step main
        before_sleep main 1.0
        after_sleep main 1.0
        before_io 0.0
        after_io 0.0
        before_task_step main
        after_task_step main
        before_task_step main
        on_task_exit main
        on_exit
        """
    )


def test_spawned_tasks_and_those_that_start_later(record):
    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(nap, 2)
            pool.spawn_after(1, giambio.checkpoint)

    assert record(main, "before_io", "after_io") == lines(
        """
        on_start
        before_task_step main
        on_task_spawn nap
        on_task_spawn checkpoint
        on_task_schedule checkpoint 1
        after_task_step main
        before_task_step nap
        after_task_step nap
        before_sleep nap 2.0
        before_task_step checkpoint
        after_task_step checkpoint
        before_task_step checkpoint
        on_task_exit checkpoint
        after_sleep nap 2.0
        before_task_step nap
        on_task_exit nap
        before_task_step main
        after_task_step main
        before_task_step main
        on_task_exit main
        on_exit
        """
    )


def test_a_cancelled_pool(record):
    """One task sleeps, one has not begun, and the owner runs."""

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(nap, 2)
            await giambio.checkpoint()
            pool.spawn(giambio.checkpoint)
            pool.cancel()

    assert record(main) == lines(
        """
        on_start
        before_task_step main
        on_task_spawn nap
        after_task_step main
        before_task_step nap
        after_task_step nap
        before_sleep nap 2.0
        before_task_step main
        on_task_spawn checkpoint
        before_cancel main
        before_cancel nap
        before_cancel checkpoint
        after_task_step main
        before_task_step checkpoint
        after_task_step checkpoint
        before_task_step nap
        after_cancel nap
        on_task_exit nap
        before_task_step checkpoint
        after_cancel checkpoint
        on_task_exit checkpoint
        before_task_step main
        after_task_step main
        before_task_step main
        after_cancel main
        on_task_exit main
        on_exit
        """
    )


def test_a_cancelled_task_that_cleans_up(record):
    """The sleep that was cut short has a beginning and no end."""

    async def child():
        try:
            await nap(2)
        finally:
            with giambio.CancelScope(shield=True):
                await nap(3)

    async def main():
        async with giambio.create_pool() as pool:
            task = pool.spawn(child)
            await giambio.checkpoint()
            task.cancel()

    assert record(main, "before_io", "after_io") == lines(
        """
        on_start
        before_task_step main
        on_task_spawn child
        after_task_step main
        before_task_step child
        after_task_step child
        before_sleep child 2.0
        before_task_step main
        before_cancel child
        after_task_step main
        before_task_step child
        after_task_step child
        before_sleep child 3.0
        after_sleep child 3.0
        before_task_step child
        after_cancel child
        on_task_exit child
        before_task_step main
        after_task_step main
        before_task_step main
        on_task_exit main
        on_exit
        """
    )


def test_a_timeout(record):
    async def main():
        with giambio.skip_after(1):
            await nap(5)
        await giambio.checkpoint()

    assert record(main, "before_io", "after_io") == lines(
        """
        on_start
        before_task_step main
        after_task_step main
        before_sleep main 5.0
        before_cancel main
        before_task_step main
        after_cancel main
        after_task_step main
        before_task_step main
        on_task_exit main
        on_exit
        """
    )


def test_waiting_for_a_descriptor(record):
    async def main():
        left, right = giambio.socket.socketpair()
        async with left, right, giambio.create_pool() as pool:
            pool.spawn(wait_readable, left.fileno())
            await giambio.checkpoint()
            await right.send_all(b"x")

    assert record(main) == lines(
        """
        on_start
        before_task_step main
        on_task_spawn wait_readable
        after_task_step main
        before_task_step wait_readable
        after_task_step wait_readable
        before_task_step main
        after_task_step main
        before_io 0.0
        after_io 0.0
        before_task_step wait_readable
        on_task_exit wait_readable
        before_task_step main
        after_task_step main
        before_task_step main
        on_task_exit main
        on_exit
        """
    )


def test_a_failing_task_and_its_siblings(record):
    async def child():
        await nap()
        raise ValueError("no")

    async def main():
        with pytest.raises(ValueError, match="no"):
            async with giambio.create_pool() as pool:
                pool.spawn(child)
                pool.spawn(nap, 9)

    assert record(main, "before_io", "after_io") == lines(
        """
        on_start
        before_task_step main
        on_task_spawn child
        on_task_spawn nap
        after_task_step main
        before_task_step child
        after_task_step child
        before_sleep child 1.0
        before_task_step nap
        after_task_step nap
        before_sleep nap 9.0
        after_sleep child 1.0
        before_task_step child
        on_exception_raised child no
        on_task_exit child
        before_cancel main
        before_cancel nap
        before_task_step nap
        after_cancel nap
        on_task_exit nap
        before_task_step main
        on_task_exit main
        on_exit
        """
    )


def test_a_failing_main_task_is_told_like_any_other():
    async def main():
        raise ValueError("no")

    recorder = Recorder()
    with pytest.raises(ValueError, match="no"):
        giambio.run(main, debugger=recorder)
    assert recorder.events == lines(
        """
        on_start
        before_task_step main
        on_exception_raised main no
        on_task_exit main
        on_exit
        """
    )


async def everything():
    """Make every hook be called."""

    async def failing():
        await nap()
        raise ValueError("no")

    left, right = giambio.socket.socketpair()
    async with left, right:
        with pytest.raises(ValueError, match="no"):
            async with giambio.create_pool() as pool:
                pool.spawn(left.receive, 10)
                pool.spawn_after(0.5, giambio.checkpoint)
                pool.spawn(failing)
    return "the result"


def test_the_program_above_makes_every_hook_be_called(record):
    assert {event.split()[0] for event in record(everything)} == set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_raises_is_reported_and_removed_and_nothing_else_is_changed(hook, run, capsys):
    class Failing(Recorder):
        def __repr__(self):
            return "<Failing>"

    def fail(self, *args):
        calls.append(hook)
        raise ZeroDivisionError(f"in {hook}")

    setattr(Failing, hook, fail)
    calls = []
    before, after, alone = Recorder(), Recorder(), Recorder()
    assert run(everything, debugger=[before, Failing(), after]) == "the result"
    assert run(everything, debugger=alone) == "the result"
    assert calls == [hook]
    assert before.events == after.events == alone.events
    err = capsys.readouterr().err
    assert f"<Failing> failed in {hook} and was removed" in err
    assert f"ZeroDivisionError: in {hook}" in err


def test_a_run_whose_only_debugger_has_failed_goes_on(run, capsys):
    class Failing(BaseDebugger):
        def on_start(self):
            raise ZeroDivisionError

    assert run(everything, debugger=Failing()) == "the result"
    assert "failed in on_start" in capsys.readouterr().err


def test_a_debugger_that_knows_nothing_of_this_library_is_told_what_it_has_methods_for(run):
    class Few:
        def on_task_exit(self, task):
            ended.append(task.name)

    ended = []
    run(everything, debugger=(Few(), BaseDebugger()))
    assert ended == ["checkpoint", "failing", "receive", "everything"]


def test_a_debugger_added_in_the_middle_of_a_step_is_told_of_what_comes_after_it():
    recorder = Recorder()

    async def main():
        scheduler = giambio.current_task().scheduler
        scheduler.add_debugger(recorder)
        await nap()
        scheduler.remove_debugger(recorder)
        await nap()

    giambio.run(main, clock=VirtualClock())
    assert recorder.events == lines(
        """
        after_sleep main 1.0
        before_io 0.0
        after_io 0.0
        before_task_step main
        """
    )
