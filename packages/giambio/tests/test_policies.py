# SPDX-License-Identifier: Apache-2.0
"""Trying again, doing something regularly, cleaning up: all of it on the loop's clock."""

from __future__ import annotations

import math
import sys

import pytest

import giambio
from giambio import TooSlowError, cleanup, every, exponential, retry
from giambio.testing import assert_checkpoints, cancel_sweep


class TestRetry:
    """A block that is tried again."""

    def test_it_ends_with_the_first_attempt_that_does_not_fail(self, run):
        async def main():
            moments = []
            async for attempt in retry(tries=5, on=OSError, backoff=2):
                with attempt:
                    moments.append((attempt.number, giambio.clock()))
                    if attempt.number < 3:
                        raise ConnectionError
            assert moments == [(1, 0), (2, 2), (3, 4)]

        run(main)

    def test_the_error_of_the_last_attempt_is_raised_as_it_is(self, run):
        async def main():
            failures = [OSError(i) for i in range(3)]
            with pytest.raises(OSError) as caught:
                async for attempt in retry(tries=3, on=OSError, backoff=0):
                    with attempt:
                        raise failures[attempt.number - 1]
            assert caught.value is failures[2]
            assert caught.value.__notes__[0] == "in attempt 3 of 3"

        run(main)

    def test_an_error_that_is_not_worth_another_attempt_is_raised_at_once(self, run):
        async def main():
            with pytest.raises(KeyError) as caught:
                async for attempt in retry(tries=None, on=(OSError, ValueError), backoff=0):
                    with attempt:
                        if attempt.number == 1:
                            raise ValueError
                        raise KeyError
            assert caught.value.__notes__[0] == "in attempt 2 of any number"

        run(main)

    def test_a_function_may_say_what_is_worth_another_attempt(self, run):
        async def main():
            with pytest.raises(OSError) as caught:
                async for attempt in retry(on=lambda error: error.errno < 2, backoff=0):
                    with attempt:
                        raise OSError(attempt.number, "?")
            assert caught.value.errno == 2

        run(main)

    def test_cancellation_is_never_tried_again(self, run):
        async def main():
            attempts = 0
            with giambio.skip_after(1) as scope:
                async for attempt in retry(backoff=0):
                    with attempt:
                        attempts += 1
                        await giambio.sleep(5)
            assert scope.cancelled_caught
            assert attempts == 1

        run(main)

    def test_each_attempt_may_have_a_timeout(self, run):
        async def main():
            with pytest.raises(TooSlowError):
                async for attempt in retry(tries=3, on=TooSlowError, backoff=10):
                    with attempt, giambio.with_timeout(1):
                        await giambio.sleep(5)
            assert giambio.clock() == 3 * 1 + 2 * 10

        run(main)

    def test_the_backoff_is_told_how_many_attempts_have_failed(self, run):
        async def main():
            told = []

            def backoff(failures):
                told.append(failures)
                return failures

            async for attempt in retry(tries=4, backoff=backoff):
                with attempt:
                    if attempt.number < 4:
                        raise OSError
            assert told == [1, 2, 3]
            assert giambio.clock() == 6

        run(main)

    def test_one_policy_serves_any_number_of_loops_at_a_time(self, run):
        policy = retry(tries=2, backoff=1)

        async def user():
            numbers = []
            async for attempt in policy:
                with attempt:
                    numbers.append(attempt.number)
                    if attempt.number == 1:
                        raise OSError
            return numbers

        async def main():
            assert await giambio.gather(user, user) == ([1, 2], [1, 2])

        run(main)

    def test_an_attempt_that_is_left_with_break_is_over(self, run):
        async def main():
            async for attempt in retry():
                with attempt:
                    break
            assert attempt.over
            assert attempt.error is None

        run(main)

    def test_what_failed_can_be_seen_before_it_is_tried_again(self, run):
        async def main():
            log = []
            failure = OSError("mine")
            async for attempt in retry(tries=3, backoff=0):
                with attempt:
                    if attempt.number < 3:
                        raise failure
                log.append((attempt.number, attempt.error))
            assert log == [(1, failure), (2, failure), (3, None)]

        run(main)

    def test_what_the_last_attempt_achieved_is_not_lost_to_a_cancellation(self, run):
        async def main():
            with giambio.CancelScope() as scope:
                async for attempt in retry():
                    with attempt:
                        scope.cancel()
                reached = True
                await giambio.checkpoint()
                raise AssertionError("not reached")
            assert reached

        run(main)

    def test_every_attempt_is_a_checkpoint(self, run):
        async def main():
            attempts = aiter(aiter(retry(tries=2, backoff=0)))
            with assert_checkpoints():
                attempt = await anext(attempts)
            with attempt:
                raise OSError
            with assert_checkpoints():
                await anext(attempts)

        run(main)

    def test_sweep(self):
        async def program():
            async for attempt in retry(tries=3, backoff=1):
                with attempt:
                    await giambio.sleep(1)
                    if attempt.number < 3:
                        raise OSError

        report = cancel_sweep(program)
        assert report.checkpoints >= 6

    def test_an_async_function_is_refused_and_does_not_count_as_true(self, run):
        async def is_worthwhile(error):
            return False

        async def wait(failures):
            return 1.0

        async def main():
            for policy in (retry(on=is_worthwhile), retry(backoff=wait)):
                with pytest.raises(TypeError, match="is an async function"):
                    async for attempt in policy:
                        with attempt:
                            raise OSError

        run(main)

    def test_wrong_use_is_told(self, run):
        async def main():
            for tries in (0, 2.5, math.nan):
                with pytest.raises(
                    ValueError, match="tries must be a whole number from 1, or None"
                ):
                    retry(tries=tries)
            with pytest.raises(ValueError, match="backoff must be at least 0, not nan"):
                retry(backoff=math.nan)
            with pytest.raises(TypeError, match="CancelledError must not be tried again"):
                retry(on=(OSError, giambio.CancelledError))
            for wrong in (3, (OSError, 3), (OSError, lambda error: True)):
                with pytest.raises(TypeError, match="on must be exception types or a function"):
                    retry(on=wrong)
            with pytest.raises(RuntimeError, match="was not used: put what may fail into"):
                async for _attempt in retry():
                    pass
            async for attempt in retry(tries=4):
                with attempt:
                    pass
                with pytest.raises(RuntimeError, match="is over: an attempt can be used only once"):
                    with attempt:
                        pass
            assert repr(attempt) == "<Attempt 1 of 4, over>"
            async for attempt in retry(tries=None, backoff=0):
                with attempt:
                    if attempt.number == 1:
                        assert repr(attempt) == "<Attempt 1 of any number>"
                        raise OSError
                if attempt.number == 1:
                    assert repr(attempt) == "<Attempt 1 of any number, failed: OSError()>"
            assert repr(retry(tries=4, on=OSError)) == (
                "retry(tries=4, on=<class 'OSError'>, backoff=exponential(0.1, factor=2, "
                "maximum=60, jitter=0.5))"
            )

        run(main)


class TestExponential:
    """A backoff that grows."""

    def test_it_grows_up_to_the_maximum(self):
        backoff = exponential(1, factor=3, maximum=20, jitter=0)
        assert [backoff(n) for n in range(1, 6)] == [1, 3, 9, 20, 20]
        assert exponential(1, maximum=20, jitter=0)(10_000) == 20  # where a float overflows

    def test_after_it_was_made_it_imports_nothing(self, monkeypatch):
        # Perhaps what failed is that no descriptor is left, and then no module can be read.
        backoff = exponential(10)
        monkeypatch.setitem(sys.modules, "random", None)
        assert 5 <= backoff(1) <= 10

    def test_chance_takes_away_as_much_as_it_may(self):
        backoff = exponential(10, jitter=0.25)
        waits = {backoff(1) for _ in range(100)}
        assert len(waits) > 1
        assert all(7.5 <= wait <= 10 for wait in waits)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"first": -1}, "times must be at least 0"),
            ({"maximum": math.nan}, "times must be at least 0"),
            ({"factor": 0.5}, "factor must be at least 1"),
            ({"jitter": 1.5}, "jitter must be between 0 and 1"),
        ],
    )
    def test_wrong_numbers_are_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            exponential(**options)


async def ticks(count, busy, *args, **options):
    """The first so many ticks and when they came, with something to do after each."""
    found = []
    async for tick in every(*args, **options):
        found.append((*tick, giambio.clock()))
        if len(found) == count:
            break
        await giambio.sleep(busy[len(found) - 1] if busy else 0)
    return found


class TestEvery:
    """Something that is done regularly."""

    def test_it_does_not_drift(self, run):
        async def main():
            found = await ticks(1000, [0.05] * 1000, 0.1)
            assert [came for *_, came in found] == [number * 0.1 for number in range(1000)]
            assert all(came == due and not missed for _, due, missed, came in found)

        run(main)

    def test_ticks_that_were_missed_are_left_out(self, run):
        async def main():
            found = await ticks(5, [2.5, 0, 0, 3.0], 1)
            assert found == [
                (0, 0, 0, 0),
                (2, 2, 1, 2.5),  # late, but not overtaken by the next one
                (3, 3, 0, 3),
                (4, 4, 0, 4),
                (7, 7, 2, 7),
            ]

        run(main)

    def test_or_come_at_once_to_catch_up(self, run):
        async def main():
            found = await ticks(5, [2.5, 0, 0, 0], 1, catch_up=True)
            assert [came for *_, came in found] == [0, 2.5, 2.5, 3, 4]
            assert [number for number, *_ in found] == [0, 1, 2, 3, 4]

        run(main)

    def test_the_first_one_may_come_later(self, run):
        async def main():
            assert await ticks(2, [], 2, delay=5) == [(0, 5, 0, 5), (1, 7, 0, 7)]

        run(main)

    def test_each_loop_starts_anew(self, run):
        async def main():
            regularly = every(2)
            await giambio.sleep(1)
            for _ in range(2):
                start = giambio.clock()
                async for tick in regularly:
                    assert tick.due == start
                    break
                await giambio.sleep(1)

        run(main)

    def test_a_tick_that_was_cancelled_is_still_to_come(self, run):
        async def main():
            regularly = aiter(every(10))
            await anext(regularly)
            with giambio.skip_after(1):
                await anext(regularly)
            assert await anext(regularly) == (1, 10, 0)

        run(main)

    def test_every_tick_is_a_checkpoint(self, run):
        async def main():
            for options in ({}, {"catch_up": True}):
                regularly = aiter(aiter(every(1, **options)))
                with assert_checkpoints():
                    await anext(regularly)
                with assert_checkpoints():
                    await anext(regularly)
                await giambio.sleep(10)
                with assert_checkpoints():
                    await anext(regularly)

        run(main)

    def test_sweep(self):
        async def program():
            await ticks(4, [0.5, 2, 1], 1)

        cancel_sweep(program)

    def test_wrong_numbers_are_refused(self):
        for wrong in (0, -1, math.inf, math.nan):
            with pytest.raises(ValueError, match="period must be positive and finite"):
                every(wrong)
        with pytest.raises(ValueError, match="delay must be at least 0"):
            every(1, delay=-1)
        assert repr(every(1.5)) == "every(1.5)"
        assert repr(every(1, delay=2, catch_up=True)) == "every(1, delay=2, catch_up=True)"


class TestCleanup:
    """A shield with a deadline."""

    def test_a_cancelled_task_can_clean_up(self, run):
        async def main():
            events = []
            with giambio.skip_after(1):
                try:
                    await giambio.sleep_forever()
                finally:
                    with cleanup(timeout=5) as scope:
                        await giambio.sleep(2)
                        events.append("cleaned up")
                    assert not scope.timed_out
                    events.append(giambio.clock())
            assert events == ["cleaned up", 3]

        run(main)

    def test_but_only_for_so_long_and_the_cause_is_not_masked(self, run):
        async def main():
            with pytest.raises(ValueError, match="what matters"):
                try:
                    raise ValueError("what matters")
                finally:
                    with cleanup(timeout=5) as scope:
                        await giambio.sleep_forever()
                    assert scope.timed_out
            assert giambio.clock() == 5

        run(main)

    def test_the_cancellation_goes_on_after_it(self, run):
        async def main():
            with giambio.CancelScope() as outer:
                outer.cancel()
                async with cleanup(1) as pool:
                    pool.spawn(giambio.sleep, 10)
                assert pool.timed_out
                await giambio.checkpoint()
                raise AssertionError("not reached")
            assert outer.cancelled_caught
            assert giambio.clock() == 1

        run(main)

    def test_zero_ends_it_at_its_first_checkpoint(self, run):
        async def main():
            with cleanup(0):
                await giambio.checkpoint()
                raise AssertionError("not reached")
            assert giambio.clock() == 0

        run(main)

    def test_wrong_numbers_are_refused(self):
        for wrong in (-1, math.nan):
            with pytest.raises(ValueError, match="timeout must be at least 0"):
                cleanup(wrong)
