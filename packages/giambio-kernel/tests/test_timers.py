# SPDX-License-Identifier: Apache-2.0
"""The heap of deadlines, against a simple model; and the clocks."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giambio_kernel import (
    AsyncScheduler,
    CancelScope,
    SystemClock,
    VirtualClock,
    current_scheduler,
    sleep,
    sleep_until,
    spawn_task,
)
from giambio_kernel._timers import Timers

INFINITY = float("inf")


class Owner:
    def __init__(self, name):
        self.name = name
        self._armed = INFINITY

    def __repr__(self):
        return self.name


operations = st.lists(
    st.one_of(
        st.tuples(st.just("arm"), st.integers(0, 9), st.integers(0, 50)),
        st.tuples(st.just("disarm"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("due"), st.just(0), st.integers(0, 60)),
    ),
    max_size=400,
)


@given(operations)
def test_owners_come_up_once_in_order_for_the_moment_they_were_armed_for_last(operations):
    """The model is a dict from owner to moment."""
    timers = Timers()
    owners = [Owner(f"o{n}") for n in range(10)]
    model: dict[Owner, int] = {}
    for operation, number, moment in operations:
        owner = owners[number]
        if operation == "arm":
            if moment < owner._armed:  # a later moment is not for the heap; see `arm`
                timers.arm(owner, moment)
                model[owner] = moment
        elif operation == "disarm":
            timers.disarm(owner)
            model.pop(owner, None)
        else:
            due = timers.pop_due(moment)
            assert set(due) == {o for o, when in model.items() if when <= moment}
            assert [model[o] for o in due] == sorted(model[o] for o in due)
            assert all(o._armed == INFINITY for o in due)
            for o in due:
                del model[o]
        assert timers.next() == min(model.values(), default=INFINITY)
        assert len(timers) == len(model)


@pytest.mark.parametrize("number", [10, 100, 5000])
def test_many_that_are_due_at_once_come_in_the_order_of_arming(number):
    timers = Timers()
    owners = [Owner(str(n)) for n in range(number)]
    for owner in owners:
        timers.arm(owner, 5)
    late = Owner("late")
    timers.arm(late, 9)
    assert timers.pop_due(5) == owners
    assert timers.next() == 9
    assert timers.pop_due(9) == [late]


def test_dead_entries_are_swept():
    timers = Timers()
    owner = Owner("o")
    for when in range(100_000, 0, -1):
        timers.arm(owner, when)
    assert len(timers._heap) < 200
    owners = [Owner(str(n)) for n in range(10_000)]
    for each in owners:
        timers.arm(each, 7)
    for each in owners:
        timers.disarm(each)
        timers.disarm(each)
    assert len(timers._heap) < 2000
    assert timers.next() == 1


class TestVirtualClock:
    """Time for tests."""

    def test_it_stands_still_unless_told(self):
        clock = VirtualClock()
        assert clock.now() == 0.0
        clock.advance(2.5)
        assert clock.now() == 2.5
        assert repr(clock) == "<VirtualClock now=2.5 rate=0 autojump=True>"

    @pytest.mark.parametrize("wrong", [-1, float("nan"), INFINITY])
    def test_it_never_goes_back(self, wrong):
        with pytest.raises(ValueError, match="finite number of at least 0"):
            VirtualClock().advance(wrong)
        with pytest.raises(ValueError, match="finite number of at least 0"):
            VirtualClock(rate=wrong)

    def test_a_year_takes_no_time(self):
        async def main():
            await sleep(365 * 86400)

        began = time.monotonic()
        AsyncScheduler(clock=VirtualClock()).start(main)
        assert time.monotonic() - began < 60

    def test_with_a_rate_it_follows_real_time(self):
        clock = VirtualClock(rate=1000)

        async def main():
            await sleep(5)
            return current_scheduler().clock()

        assert AsyncScheduler(clock=clock).start(main) >= 5
        clock.rate = 0
        now = clock.now()
        assert clock.now() == now
        assert clock.rate == 0
        assert clock.real_seconds(now + 1) == INFINITY
        assert clock.real_seconds(now) == 0.0
        clock.rate = 10
        assert 0 < clock.real_seconds(now + 10) <= 1

    def test_without_autojump_it_waits_to_be_told(self):
        clock = VirtualClock(autojump=False)

        async def main():
            await sleep(5)

        with AsyncScheduler(clock=clock) as loop:
            task = loop.start(main, loop=False)
            loop.tick()
            loop.tick()
            clock.advance(4.9)
            assert loop.tick()
            clock.advance(0.1)
            assert not loop.tick()
            assert task.done()


def test_the_system_clock_is_the_monotonic_one():
    clock = SystemClock()
    assert clock.now is time.monotonic
    assert clock.real_seconds(clock.now() - 5) == 0.0
    assert not clock.jump(clock.now() + 5)


def test_a_sleep_never_ends_early():
    async def main():
        clock = current_scheduler().clock
        for seconds in (0.0001, 0.0015, 0.004):
            started = clock()
            await sleep(seconds)
            assert clock() - started >= seconds

    AsyncScheduler().start(main)


@pytest.mark.parametrize("wrong", [-1, float("nan")])
def test_a_sleep_must_last_a_time(run, wrong):
    async def main():
        with pytest.raises(ValueError, match="seconds must be at least 0"):
            await sleep(wrong)

    run(main)


@pytest.mark.parametrize("wrong", ["1", None, [], 1j])
def test_a_time_that_is_no_number_is_named(run, wrong):
    async def main():
        for use in (
            lambda: sleep(wrong),
            lambda: sleep_until(wrong),
            lambda: spawn_task(sleep, 1, delay=[wrong]),
            lambda: CancelScope(seconds=[wrong]),
            lambda: CancelScope(deadline=wrong),
            lambda: VirtualClock(wrong),
            lambda: VirtualClock().advance(wrong),
        ):
            with pytest.raises(
                TypeError, match="(seconds|when|delay|deadline|rate) must be a number"
            ):
                await use()

    run(main)
    with AsyncScheduler() as loop:
        loop.start(sleep, 0, loop=False)
        with pytest.raises(TypeError, match="timeout must be a number, or None"):
            loop.tick([wrong])
