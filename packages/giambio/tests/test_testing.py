# SPDX-License-Identifier: Apache-2.0
"""The aids for tests, which must find what they are there to find."""

from __future__ import annotations

import socket
from contextvars import ContextVar

import pytest

import giambio
from giambio import CancelledError
from giambio.lowlevel import park, unpark
from giambio.testing import (
    Phase,
    Sequencer,
    SweepFailure,
    SweepPoint,
    assert_checkpoints,
    assert_no_checkpoints,
    cancel_sweep,
    replay,
    wait_all_tasks_blocked,
)


class TestCheckpointAsserts:
    """They see through operations that would finish at once."""

    def test_passing_one(self, run):
        async def main():
            event = giambio.Event()
            event.set()
            for operation in (giambio.checkpoint, lambda: giambio.sleep(1), event.wait):
                with assert_checkpoints():
                    await operation()
                with pytest.raises(AssertionError, match="passed a checkpoint 1 times"):
                    with assert_no_checkpoints():
                        await operation()

        run(main)

    def test_passing_none(self, run):
        async def plain():
            pass

        async def main():
            with assert_no_checkpoints():
                await plain()
            with pytest.raises(AssertionError, match="passed no checkpoint"):
                with assert_checkpoints():
                    await plain()
            with pytest.raises(KeyError), assert_checkpoints():
                raise KeyError

        run(main)


class TestSequencer:
    """Blocks of different tasks run in the order of their numbers."""

    def test_the_order_is_that_of_the_numbers(self, run):
        order = []

        async def child(sequencer, *positions):
            for position in positions:
                async with sequencer(position):
                    order.append(position)

        async def main():
            sequencer = Sequencer()
            async with giambio.create_pool() as pool:
                pool.spawn(child, sequencer, 1, 4)
                pool.spawn(child, sequencer, 0, 3)
                pool.spawn(child, sequencer, 2, 5)

        run(main)
        assert order == [0, 1, 2, 3, 4, 5]

    def test_a_number_is_used_once(self, run):
        async def main():
            sequencer = Sequencer()
            async with sequencer(0):
                pass
            with pytest.raises(RuntimeError, match="position 0 of the sequencer was used before"):
                async with sequencer(0):
                    pass

        run(main)

    @pytest.mark.parametrize("position", [-1, "first", None])
    def test_what_is_no_position_is_refused_and_not_waited_for(self, run, position):
        async def main():
            with pytest.raises(ValueError, match="positions of a sequencer are numbers from 0"):
                async with Sequencer()(position):
                    pass

        run(main)

    def test_when_one_gives_up_the_others_are_told(self, run):
        async def waiter(sequencer):
            with pytest.raises(RuntimeError, match="the sequencer is broken"):
                async with sequencer(2):
                    pass

        async def main():
            sequencer = Sequencer()
            async with giambio.create_pool() as pool:
                pool.spawn(waiter, sequencer)
                with giambio.skip_after(1):
                    async with sequencer(1):
                        pass
            with pytest.raises(RuntimeError, match="the sequencer is broken"):
                async with sequencer(3):
                    pass

        run(main)


async def take_a_turn():
    async with Sequencer()(0):
        pass


class TestCancelSweep:
    """It finds each kind of mistake, and says where."""

    def test_a_program_without_mistakes_is_run_at_every_point(self):
        runs = []

        async def program():
            runs.append(0)
            await giambio.sleep(1)
            await giambio.checkpoint()
            await giambio.sleep(1)

        report = cancel_sweep(program)
        assert report.checkpoints == 3
        # Alone; on entry and parked at each of three; granted at each of two that waited.
        assert report.runs == len(runs) == 1 + 2 * 3 + 2

    def test_each_checkpoint_is_cancelled_in_three_phases(self):
        """On entry it is pending when the operation begins; later the operation is on its way."""
        seen = []

        async def program():
            await giambio.checkpoint()
            seen.append(giambio.current_task().stopping)
            await giambio.sleep(1)
            seen.append("done")

        cancel_sweep(program, cancel_at=2)
        alone, entry, parked, granted = [False, "done"], [True], [False], [False, "done"]
        assert seen == alone + entry + parked + granted

    def test_a_swallowed_cancellation(self):
        async def program():
            await giambio.sleep(1)
            try:
                await giambio.sleep(1)
            except CancelledError:
                pass

        with pytest.raises(SweepFailure, match="the cancellation was swallowed") as caught:
            cancel_sweep(program)
        assert caught.value.point == SweepPoint(1, Phase.GRANTED)
        assert "program -> sleep" in caught.value.place
        assert "checkpoint 1 (granted), " in str(caught.value)

    def test_a_task_that_is_cancelled_alone_must_not_swallow_it_either(self):
        async def program():
            async with giambio.create_pool() as pool:
                pool.spawn(worker)

        async def worker():
            try:
                await giambio.sleep(1)
            except CancelledError:
                pass

        with pytest.raises(SweepFailure, match="the cancellation was swallowed") as caught:
            cancel_sweep(program, target="worker")
        assert str(caught.value).startswith("task 'worker' of ")
        with pytest.raises(SweepFailure) as again:
            replay(program, caught.value.replay)
        assert str(again.value) == str(caught.value)

    def test_a_task_that_is_cancelled_alone_may_end_before_it_has_met_that(self):
        async def program():
            async with giambio.create_pool() as pool:
                pool.spawn(worker)
                await pool.spawn(failing).join()

        async def worker():
            await giambio.run_in_thread(int)
            with giambio.CancelScope(shield=True):
                await giambio.sleep(1)

        async def failing():
            with giambio.skip_after(1):
                await giambio.sleep(2)

        cancel_sweep(program, target="worker")
        cancel_sweep(program, target="failing", allow=giambio.TaskCancelled)

    def test_a_thread_that_is_waited_for_all_the_same_is_no_swallowed_cancellation(self):
        """The cancellation comes at the next checkpoint, and there may be none."""

        async def program():
            with giambio.skip_after(1):
                await giambio.run_in_thread(int)

        assert cancel_sweep(program).checkpoints == 2

    def test_another_error_in_place_of_the_cancellation(self):
        async def program():
            done = False
            try:
                await giambio.sleep(1)
                done = True
            finally:
                assert done

        with pytest.raises(SweepFailure, match="AssertionError"):
            cancel_sweep(program)
        cancel_sweep(program, allow=AssertionError)

    def test_an_item_that_is_lost_when_it_was_granted(self):
        class Leaky:
            """Takes the item before a checkpoint."""

            def __init__(self):
                self.items = []
                self.waiting = {}

            async def get(self):
                if not self.items:
                    await park(self.waiting, self)
                item = self.items.pop()
                await giambio.checkpoint()
                return item

            def put(self, item):
                self.items.append(item)
                unpark(self.waiting)

        async def program():
            nonlocal queue
            queue = Leaky()
            got.clear()
            async with giambio.create_pool() as pool:
                pool.spawn(consumer)
                await giambio.sleep(1)
                queue.put("item")
                put.append(1)

        async def consumer():
            got.append(await queue.get())

        def check():
            assert len(queue.items) + len(got) == len(put)
            put.clear()

        queue, got, put = None, [], []
        with pytest.raises(SweepFailure, match="the check failed") as caught:
            cancel_sweep(program, target="consumer", check=check)
        assert "get" in caught.value.place

    def test_a_lock_that_is_left_behind(self):
        async def program():
            lock = giambio.Lock()

            async def other():
                await giambio.sleep(2)
                await lock.acquire()
                lock.release()

            async with giambio.create_pool() as pool:
                pool.shield = True
                pool.spawn(other)
                task = pool.spawn(holder, lock)
                try:
                    await task.join()
                except giambio.TaskCancelled:
                    pass

        async def holder(lock):
            await lock.acquire()
            await giambio.sleep(1)
            lock.release()

        with pytest.raises(SweepFailure, match="DeadlockError|ResourceBroken"):
            cancel_sweep(program, target="holder")

    def test_something_left_open(self):
        async def program():
            left, right = socket.socketpair()
            await giambio.checkpoint()
            left.close()
            right.close()

        with pytest.raises(SweepFailure, match="left open: unclosed <socket"):
            cancel_sweep(program)

    def test_a_file_and_a_generator_left_open(self, tmp_path):
        path = tmp_path / "file"
        path.touch()

        async def with_file():
            file = path.open()
            await giambio.checkpoint()
            file.close()

        with pytest.raises(SweepFailure, match="left open: unclosed file"):
            cancel_sweep(with_file)

        async def numbers():
            yield 1
            yield 2

        async def iterate():
            async for _ in numbers():
                await giambio.checkpoint()

        async def with_generator():
            async with giambio.create_pool() as pool:
                pool.spawn(iterate)

        with pytest.raises(SweepFailure, match=r"left open: async generator .* was dropped"):
            cancel_sweep(with_generator)

    def test_something_left_open_that_only_the_cancelled_task_refers_to(self):
        kept = ContextVar("kept")

        async def program():
            kept.set(later := giambio.sleep(1))
            await giambio.checkpoint()
            await later

        with pytest.raises(SweepFailure, match="left open: coroutine 'sleep' was never awaited"):
            cancel_sweep(program)

    @pytest.mark.parametrize("network", [None, "memory"])
    def test_something_left_open_in_a_context_variable(self, tmp_path, network):
        path = tmp_path / "file"
        path.touch()
        variable = ContextVar("variable")

        async def program():
            file = path.open()
            variable.set(file)
            await giambio.checkpoint()
            file.close()

        with pytest.raises(SweepFailure, match="left open: unclosed file"):
            cancel_sweep(program, network=network)

    def test_a_program_that_does_not_end(self):
        async def program():
            while True:
                try:
                    await giambio.checkpoint()
                    return
                except CancelledError:
                    pass

        with pytest.raises(SweepFailure, match="it does not end"):
            cancel_sweep(program, max_steps=1000)

    def test_the_programs_own_error_is_raised_as_it_is(self):
        async def program():
            raise KeyError("of its own")

        with pytest.raises(KeyError, match="of its own"):
            cancel_sweep(program)

    def test_a_target_that_does_not_exist_is_named(self):
        with pytest.raises(ValueError, match="no task named 'nobody'"):
            cancel_sweep(giambio.checkpoint, target="nobody")

        async def program():
            async with giambio.create_pool() as pool:
                pool.spawn(giambio.sleep, 1)
                pool.spawn(giambio.checkpoint)

        with pytest.raises(ValueError, match="tasks that it spawns: 'sleep', 'checkpoint'$"):
            cancel_sweep(program, target="slep")

    @pytest.mark.parametrize(
        ("operation", "name"),
        [
            (lambda: giambio.Lock().acquire(), "Lock.acquire"),
            (lambda: giambio.run_in_thread(int), "run_in_thread"),
            (take_a_turn, "Sequencer.__call__"),
        ],
    )
    def test_the_place_names_the_operation_and_nothing_that_it_consists_of(self, operation, name):
        async def program():
            try:
                await operation()
            except CancelledError:
                raise ValueError from None

        with pytest.raises(SweepFailure) as caught:
            cancel_sweep(program)
        assert caught.value.place.endswith(f" -> {name}")

    def test_the_tree_of_a_deadlock_stands_below_what_it_belongs_to(self):
        async def program():
            event = giambio.Event()

            async def wait():
                with giambio.CancelScope(shield=True):
                    await event.wait()

            async with giambio.create_pool() as pool:
                pool.spawn(wait)
                await giambio.checkpoint()
                event.set()

        with pytest.raises(SweepFailure) as caught:
            cancel_sweep(program)
        lines = str(caught.value).splitlines()
        assert lines[0].startswith("TestCancelSweep.")
        assert lines[-1].startswith("To see it again: ")
        assert all(line.startswith("  ") for line in lines[1:-1])
        assert len(lines) > 4

    def test_what_a_shield_keeps_away_is_delivered_after_it(self):
        async def program():
            with giambio.CancelScope(shield=True):
                await giambio.sleep(1)
                await giambio.sleep(1)

        assert cancel_sweep(program).checkpoints == 2


def test_waiting_until_all_tasks_are_blocked(run):
    async def main():
        async with giambio.create_pool() as pool:
            task = pool.spawn(giambio.sleep, 1)
            await wait_all_tasks_blocked()
            assert task.state is giambio.TaskState.WAITING
            assert giambio.clock() == 0

    run(main)
