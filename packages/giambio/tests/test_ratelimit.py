# SPDX-License-Identifier: Apache-2.0
"""Rate limits: never more than allowed in any span, first come first served, nothing wasted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import giambio
from giambio import RateLimit, WouldBlock
from giambio.testing import VirtualClock, assert_checkpoints, cancel_sweep, wait_all_tasks_blocked


def times_of(run, limit, n):
    """Return when each of *n* operations that come together was let through."""
    times = []

    async def operation(number):
        async with limit:
            times.append((number, giambio.clock()))

    async def main():
        async with giambio.create_pool() as pool:
            for number in range(n):
                pool.spawn(operation, number)

    run(main)
    assert [number for number, _ in times] == list(range(n))
    return [when for _, when in times]


def test_operations_are_spread_evenly_in_the_order_of_coming(run):
    assert times_of(run, RateLimit(2), 5) == [0, 0.5, 1, 1.5, 2]
    assert times_of(run, RateLimit(1, per=60), 3) == [0, 60, 120]


def test_a_burst_may_come_at_once_and_grows_back_with_time(run):
    assert times_of(run, RateLimit(2, burst=3), 6) == [0, 0, 0, 0.5, 1, 1.5]


def test_the_same_limit_counts_for_each_run_by_itself(run):
    limit = RateLimit(1)
    assert times_of(run, limit, 2) == [0, 1]
    assert times_of(run, limit, 2) == [0, 1]


def test_time_that_was_not_used_is_worth_a_burst_and_no_more(run):
    async def main():
        limit = RateLimit(1, burst=2)
        assert limit.statistics() == (2, 0, 0)
        await giambio.sleep(100)
        assert limit.statistics() == (2, 0, 0)
        limit.acquire_nowait()
        limit.acquire_nowait()
        assert limit.statistics() == (0, 1, 0)
        with pytest.raises(WouldBlock, match="<RateLimit at .*, 1 per 1 s, burst 2.* lets nothing"):
            limit.acquire_nowait()
        await giambio.sleep(0.5)
        assert limit.statistics() == (0.5, 0.5, 0)

    run(main)


def test_an_operation_may_count_for_more_or_less_than_one(run):
    async def main():
        bandwidth = RateLimit(1000, burst=1000)  # bytes per second
        await bandwidth.acquire(600)
        await bandwidth.acquire(600)
        assert giambio.clock() == pytest.approx(0.2)
        await bandwidth.acquire(0.5)
        assert giambio.clock() == pytest.approx(0.2005)

    run(main)


def test_nobody_overtakes_who_waits_for_more(run):
    async def main():
        limit = RateLimit(1, burst=10)
        await limit.acquire(10)
        async with giambio.create_pool() as pool:
            pool.spawn(limit.acquire, 5)
            await giambio.sleep(2)
            with pytest.raises(WouldBlock):
                limit.acquire_nowait()
            assert limit.statistics().tasks_waiting == 1
            await limit.acquire()
            assert giambio.clock() == pytest.approx(6)

    run(main)


def test_it_is_a_checkpoint_also_when_nothing_is_waited_for(run):
    async def main():
        limit = RateLimit(1000, burst=10)
        with assert_checkpoints():
            await limit.acquire()
        with assert_checkpoints():
            async with limit:
                pass

    run(main)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be a positive number, not 0"),
        ({"n": float("inf")}, "n must be a positive number, not inf"),
        ({"n": float("nan")}, "n must be a positive number, not nan"),
        ({"n": 1, "per": 0}, "per must be a positive number of seconds, not 0"),
        ({"n": 1, "burst": 0.5}, r"burst must be at least 1, not 0\.5"),
    ],
)
def test_the_limit_is_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        RateLimit(**arguments)


@pytest.mark.parametrize("amount", [0, -1, 3, float("nan")])
def test_what_could_never_be_let_through_is_refused(run, amount):
    async def main():
        limit = RateLimit(1, burst=2)
        with pytest.raises(ValueError, match="more than 0 and at most the burst of <RateLimit"):
            await limit.acquire(amount)
        with pytest.raises(ValueError, match="at most the burst"):
            limit.acquire_nowait(amount)

    run(main)


def test_outside_of_a_loop_there_is_no_time(run):
    with pytest.raises(RuntimeError, match="only inside a running loop"):
        RateLimit(1).statistics()


def test_who_is_cancelled_does_not_count_and_the_next_takes_its_turn(run):
    async def main():
        limit = RateLimit(1)
        await limit.acquire()
        async with giambio.create_pool() as pool:
            first = pool.spawn(limit.acquire)
            second = pool.spawn(limit.acquire)
            third = pool.spawn(limit.acquire)
            await giambio.sleep(0.5)
            assert limit.statistics().tasks_waiting == 3
            assert repr(limit).endswith(", 3 waiting>")
            first.cancel()
            second.cancel()
            await third.join()
            assert giambio.clock() == 1
        assert limit.statistics().tasks_waiting == 0

    run(main)


def test_as_much_was_let_through_as_counts_wherever_a_task_is_cancelled():
    async def program():
        limit = RateLimit(1, burst=1)
        passed = []

        async def work():
            async with limit:
                passed.append(giambio.clock())

        async def victim():
            for _ in range(2):
                await work()

        try:
            async with giambio.create_pool() as pool:
                pool.spawn(work)
                pool.spawn(victim)
                pool.spawn(work)
                await wait_all_tasks_blocked()
        finally:
            assert limit.statistics().tasks_waiting == 0
        # One a second, with no gap where somebody was cancelled.
        assert passed == [float(n) for n in range(len(passed))]

    assert cancel_sweep(program, target="victim").checkpoints >= 2
    cancel_sweep(program)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 5),
    burst=st.integers(1, 4),
    arrivals=st.lists(st.floats(0, 5), min_size=1, max_size=20),
)
def test_no_span_sees_more_than_it_may_and_nobody_waits_without_need(n, burst, arrivals):
    """In a half-open span of ``per`` seconds at most ``n + burst - 1`` are let through; and each is let
    through at the first moment that this allows."""
    times = []

    async def operation(when):
        await giambio.sleep(when)
        came = giambio.clock()
        await limit.acquire()
        times.append((came, giambio.clock()))

    async def main():
        async with giambio.create_pool() as pool:
            for when in arrivals:
                pool.spawn(operation, when)

    limit = RateLimit(n, burst=burst)
    giambio.run(main, clock=VirtualClock())
    passed = [when for _, when in times]
    tiny = 1e-9
    for index, start in enumerate(passed):
        within = [when for when in passed[index:] if when < start + 1 - tiny]
        assert len(within) <= n + burst - 1
    full_again = 0.0  # the model: when the whole burst is possible again
    for came, when in times:
        expected = max(came, full_again - (burst - 1) / n)
        assert when == pytest.approx(expected, abs=tiny)
        full_again = max(full_again, when) + 1 / n
