# SPDX-License-Identifier: Apache-2.0
"""Events: they happen once, and whoever waits gets the value."""

from __future__ import annotations

import threading

import pytest

import giambio
from giambio import Event, WouldBlock
from giambio.testing import (
    assert_checkpoints,
    assert_no_checkpoints,
    cancel_sweep,
    wait_all_tasks_blocked,
)


class TestEvent:
    """It happens once, and hands a value to all who wait."""

    def test_all_who_wait_get_the_value_in_the_order_in_which_they_came(self, run):
        got = []

        async def waiter(n):
            got.append((n, await event.wait()))

        async def main():
            nonlocal event
            event = Event()
            async with giambio.create_pool() as pool:
                for n in range(3):
                    pool.spawn(waiter, n)
                await wait_all_tasks_blocked()
                assert event.statistics().tasks_waiting == 3
                event.trigger("value")
                assert got == []  # nobody runs before its turn

        event = None
        run(main)
        assert got == [(0, "value"), (1, "value"), (2, "value")]

    def test_who_comes_later_gets_the_value_at_once(self, run):
        async def main():
            event = Event()
            event.trigger("value")
            assert await event.wait() == "value"
            assert await event.wait() == "value"

        run(main)

    def test_it_happens_once_and_the_first_value_counts(self):
        event = Event()
        event.trigger(1)
        event.trigger(2)
        event.set()
        assert event.wait_nowait() == 1

    @pytest.mark.parametrize("let_it_happen", [Event.set, Event.trigger])
    def test_without_a_value_it_is_none(self, run, let_it_happen):
        async def main():
            event = Event()
            async with giambio.create_pool() as pool:
                waiter = pool.spawn(event.wait)
                await wait_all_tasks_blocked()
                let_it_happen(event)
            assert waiter.result() is None
            assert await event.wait() is None

        run(main)

    def test_nowait_would_block_before(self):
        event = Event()
        assert not event.is_set()
        with pytest.raises(WouldBlock, match=r"<Event at .*, 0 waiting> has not happened yet"):
            event.wait_nowait()
        event.set()
        assert event.is_set()
        assert event.wait_nowait() is None

    def test_its_repr_and_statistics_say_how_many_wait(self, run):
        async def main():
            event = Event()
            assert repr(event) == f"<Event at {id(event):#x}, 0 waiting>"
            async with giambio.create_pool() as pool:
                pool.spawn(event.wait)
                pool.spawn(event.wait)
                await wait_all_tasks_blocked()
                assert repr(event) == f"<Event at {id(event):#x}, 2 waiting>"
                event.set()
            assert repr(event) == f"<Event at {id(event):#x}, set>"
            assert event.statistics().tasks_waiting == 0

        run(main)

    def test_waiting_is_a_checkpoint_before_and_after(self, run):
        async def main():
            event = Event()
            async with giambio.create_pool() as pool:
                pool.spawn(event.wait)
                await wait_all_tasks_blocked()
                with assert_no_checkpoints():
                    event.trigger()
                with assert_checkpoints():
                    await event.wait()

        run(main)

    def test_who_asks_again_and_again_does_not_starve_the_others(self, run):
        async def ask():
            while not others_ran:
                await event.wait()

        async def other():
            nonlocal others_ran
            others_ran = True

        async def main():
            nonlocal event
            event = Event()
            event.set()
            async with giambio.create_pool() as pool:
                pool.spawn(ask)
                pool.spawn(other)

        event, others_ran = None, False
        run(main)

    def test_it_can_be_waited_for_nowhere_but_in_a_loop(self):
        with pytest.raises(RuntimeError, match="only inside a running loop"):
            Event().wait().send(None)

    def test_triggering_from_another_thread_is_refused_and_nothing_has_happened(self, run):
        errors = []

        def foreign(event):
            for let_it_happen in (event.set, event.trigger):
                try:
                    let_it_happen()
                except RuntimeError as error:
                    errors.append(error)

        async def main():
            event = Event()
            async with giambio.create_pool() as pool:
                waiter = pool.spawn(event.wait)
                await wait_all_tasks_blocked()
                thread = threading.Thread(target=foreign, args=(event,))
                thread.start()
                thread.join()
                assert not event.is_set()
                event.trigger("here")
            assert waiter.result() == "here"

        run(main)
        assert len(errors) == 2

    @pytest.mark.parametrize("let_it_happen", [Event.set, lambda event: event.trigger("value")])
    def test_who_selects_among_events_gets_one_and_waits_for_none_of_the_others(
        self, run, let_it_happen
    ):
        async def main():
            events = [Event() for _ in range(3)]
            async with giambio.create_pool() as pool:
                chooser = pool.spawn(giambio.select, *events)
                other = pool.spawn(events[1].wait)
                await wait_all_tasks_blocked()
                assert [event.statistics().tasks_waiting for event in events] == [1, 2, 1]
                let_it_happen(events[1])
                let_it_happen(events[2])
                assert [event.statistics().tasks_waiting for event in events] == [0, 0, 0]
            value = events[1].wait_nowait()
            assert chooser.result() == (1, events[1], value)
            assert other.result() == value
            # What has happened is selected at once.
            assert (await giambio.select(*events[:2])).source is events[1]

        run(main)

    def test_a_waiter_is_either_woken_or_cancelled(self):
        async def program():
            event = Event()
            got = []

            async def victim():
                got.append(await event.wait())
                await giambio.checkpoint()

            async def other():
                got.append(await event.wait())

            async with giambio.create_pool() as pool:
                pool.spawn(victim)
                pool.spawn(other)
                await wait_all_tasks_blocked()
                event.trigger("value")
            assert set(got) == {"value"}
            assert event.statistics().tasks_waiting == 0

        assert cancel_sweep(program, target="victim").checkpoints == 2
        cancel_sweep(program)
