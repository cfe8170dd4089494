# SPDX-License-Identifier: Apache-2.0
"""Values: no value is missed by who waits for it, and each waits for what it wants."""

from __future__ import annotations

import pytest

import giambio
from giambio import Value
from giambio.testing import assert_checkpoints, cancel_sweep, wait_all_tasks_blocked


def test_who_waits_for_a_value_gets_the_one_it_waited_for_however_short_it_lasted(run):
    async def main():
        state = Value("new")
        async with giambio.create_pool() as pool:
            waiter = pool.spawn(state.wait_value, "open")
            await wait_all_tasks_blocked()
            state.value = "opening"
            state.value = "open"
            state.value = "closed"
        assert waiter.result() == "open"
        assert state.value == "closed"

    run(main)


def test_what_is_true_now_is_not_waited_for_but_is_a_checkpoint(run):
    async def main():
        number = Value(3)
        with assert_checkpoints():
            assert await number.wait_value(3) == 3
        with assert_checkpoints():
            assert await number.wait_for(lambda n: n > 2) == 3

    run(main)


def test_each_is_woken_by_what_it_waits_for_in_the_order_of_coming(run):
    log = []

    async def wait(name, least):
        log.append((name, await number.wait_for(lambda n: n >= least)))

    async def main():
        nonlocal number
        number = Value(0)
        async with giambio.create_pool() as pool:
            for name, least in (("a", 2), ("b", 1), ("c", 2)):
                pool.spawn(wait, name, least)
            await wait_all_tasks_blocked()
            assert number.statistics().tasks_waiting == 3
            assert repr(number) == f"<Value at {id(number):#x}, 0, 3 waiting>"
            number.set(1)
            await wait_all_tasks_blocked()
            assert log == [("b", 1)]
            number.set(2)

    number = None
    run(main)
    assert log == [("b", 1), ("a", 2), ("c", 2)]


def test_a_change_is_waited_for_also_if_it_changes_nothing(run):
    async def main():
        number = Value(1)
        async with giambio.create_pool() as pool:
            waiter = pool.spawn(number.wait_change)
            await wait_all_tasks_blocked()
            number.value = 1
        assert waiter.result() == 1

    run(main)


def test_a_predicate_that_raises_fails_its_owner_and_not_who_sets_the_value(run):
    async def main():
        number = Value(1)
        async with giambio.create_pool() as pool:

            async def wait():
                with pytest.raises(ZeroDivisionError):
                    await number.wait_for(lambda n: n and 1 / (n - 1) > 1)
                return giambio.clock()

            number.value = 0
            careless = pool.spawn(wait)
            other = pool.spawn(number.wait_value, 1)
            await giambio.sleep(1)
            number.value = 1
        assert (careless.result(), other.result()) == (1, 1)
        with pytest.raises(ZeroDivisionError):
            await number.wait_for(lambda n: 1 / 0)

    run(main)


def test_an_async_predicate_is_refused_and_does_not_count_as_true(run):
    async def is_large(n):
        return n > 10

    async def main():
        with pytest.raises(TypeError, match="is_large is an async function"):
            await Value(1).wait_for(is_large)

    run(main)


def test_a_predicate_may_set_the_value_and_cancel_others(run):
    async def main():
        number = Value(0)
        async with giambio.create_pool() as pool:

            def meddle(n):
                if n == 1:
                    victim.cancel()
                    number.value = 2
                return n == 2

            meddler = pool.spawn(number.wait_for, meddle)
            victim = pool.spawn(number.wait_value, 1)
            await wait_all_tasks_blocked()
            number.value = 1
        assert meddler.result() == 2
        assert victim.cancelled()
        assert number.statistics().tasks_waiting == 0

    run(main)


def test_a_loop_over_its_changes_sees_the_present_one_and_then_the_newest(run):
    seen = []

    async def watch(number):
        async for value in number.changes():
            seen.append(value)
            await giambio.sleep(2)
            if value == 4:
                break

    async def main():
        number = Value(0)
        async with giambio.create_pool() as pool:
            pool.spawn(watch, number)
            for n in (1, 2):  # 1 is overtaken
                await giambio.sleep(0.5)
                number.value = n
            await giambio.sleep(4)  # it is waited for
            number.value = 3
            await giambio.sleep(1)
            number.value = 4  # it waits to be seen

    run(main)
    assert seen == [0, 2, 3, 4]


def test_a_change_that_comes_with_a_cancellation_is_still_to_be_seen(run):
    async def main():
        number = Value(0)
        changes = number.changes()
        assert await anext(changes) == 0
        with giambio.skip_after(1):
            await anext(changes)
        number.value = 1
        with giambio.CancelScope() as scope:
            scope.cancel()
            await anext(changes)
        assert await anext(changes) == 1

    run(main)


def test_no_waiter_is_left_behind_wherever_a_task_is_cancelled():
    async def program():
        number = Value(0)
        got = []

        async def victim():
            got.append(await number.wait_value(1))
            async for n in number.changes():
                got.append(n)
                if n == 2:
                    break
            got.append(await number.wait_change())

        async def other():
            await number.wait_value(3)

        try:
            async with giambio.create_pool() as pool:
                pool.spawn(victim)
                pool.spawn(other)
                for n in (1, 2, 3):
                    await wait_all_tasks_blocked()
                    number.value = n
        finally:
            assert number.statistics().tasks_waiting == 0
        assert [1, 1, 2, 3][: len(got)] == got

    assert cancel_sweep(program, target="victim").checkpoints >= 4
    cancel_sweep(program)
