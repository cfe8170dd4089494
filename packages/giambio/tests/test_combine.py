# SPDX-License-Identifier: Apache-2.0
"""gather, race, amap, as_completed: results in order, and no task left behind."""

from __future__ import annotations

import functools
import gc

import pytest

import giambio
from giambio import CancelledError, siblings
from giambio.testing import cancel_sweep, wait_all_tasks_blocked


async def after(seconds, result=None):
    await giambio.sleep(seconds)
    return result


async def failing(error, seconds=0.0):
    await giambio.sleep(seconds)
    raise error


async def untidy(seconds):
    try:
        await giambio.sleep(seconds)
    except CancelledError:
        raise ValueError("untidy") from None
    return seconds


def living():
    """The names of all tasks but the current one."""
    me = giambio.current_task()
    return [task.name for task in me.scheduler.tasks() if task is not me]


class TestGather:
    """All results, in order."""

    def test_results_come_in_the_order_of_the_functions(self, run):
        async def main():
            assert await giambio.gather(after(3, "a"), after(1, "b"), after(2, "c")) == (
                "a",
                "b",
                "c",
            )
            assert giambio.clock() == 3
            assert await giambio.gather(functools.partial(after, 1, "x")) == ("x",)
            assert await giambio.gather() == ()

        run(main)

    def test_the_first_error_cancels_the_others_and_is_raised(self, run):
        async def main():
            with pytest.raises(ValueError, match="mine"):
                await giambio.gather(after(100), failing(ValueError("mine"), 1))
            assert giambio.clock() == 1
            assert living() == []

        run(main)

    def test_sweep(self):
        async def program():
            assert await giambio.gather(after(1, 1), after(2, 2)) == (1, 2)

        cancel_sweep(program)


class TestRace:
    """The first to end wins."""

    def test_the_others_are_cancelled_and_have_ended(self, run):
        events = []

        async def loser():
            try:
                await giambio.sleep(100)
            finally:
                with giambio.CancelScope(shield=True):
                    await giambio.sleep(1)
                events.append("cleaned up")

        async def main():
            assert await giambio.race(loser, lambda: after(1, "winner")) == "winner"
            assert events == ["cleaned up"]
            assert giambio.clock() == 2
            assert living() == []

        run(main)

    def test_of_two_that_end_at_once_the_first_wins(self, run):
        async def main():
            assert await giambio.race(after(1, "a"), after(1, "b")) == "a"

        run(main)

    def test_an_error_that_comes_first_is_raised(self, run):
        async def main():
            with pytest.raises(KeyError):
                await giambio.race(after(5), failing(KeyError(), 1))
            assert giambio.clock() == 1

        run(main)

    def test_an_error_of_a_loser_is_not_lost(self, run):
        async def bad_loser():
            try:
                await giambio.sleep(100)
            finally:
                raise KeyError("in the clean-up")

        async def main():
            with pytest.raises(KeyError):
                await giambio.race(after(1), bad_loser())

        run(main)

    def test_nobody_cannot_race(self, run):
        async def main():
            with pytest.raises(ValueError, match="at least one function"):
                await giambio.race()

        run(main)

    def test_sweep(self):
        async def program():
            assert await giambio.race(after(1, 1), after(2, 2)) == 1

        cancel_sweep(program)


class TestAmap:
    """A bounded parallel map."""

    def test_results_come_in_the_order_of_the_items(self, run):
        async def main():
            times = [3, 1, 2]
            results = [r async for r in giambio.amap(lambda n: after(n, n), times)]
            assert results == times
            assert giambio.clock() == 3

        run(main)

    def test_or_as_they_are_ready(self, run):
        async def main():
            results = []
            async for r in giambio.amap(lambda n: after(n, n), [3, 1, 2], ordered=False):
                results.append((r, giambio.clock()))
            assert results == [(1, 1), (2, 2), (3, 3)]

        run(main)

    def test_no_more_calls_run_than_allowed(self, run):
        running = most = 0

        async def call(n):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await giambio.sleep(1)
            running -= 1
            return n

        async def main():
            results = [r async for r in giambio.amap(call, range(10), limit=3)]
            assert results == list(range(10))
            assert giambio.clock() == 4

        run(main)
        assert most == 3

    def test_a_slow_consumer_stops_an_endless_source(self, run):
        taken = []

        async def source():
            n = 0
            while True:
                taken.append(n)
                yield n
                n += 1

        async def main():
            count = 0
            async with giambio.amap(lambda n: after(0.1, n), source(), limit=2) as results:
                async for _ in results:
                    await giambio.sleep(10)
                    count += 1
                    if count == 5:
                        break
            assert len(taken) < 12
            assert living() == []

        run(main)

    def test_the_first_error_ends_the_iteration_and_the_calls(self, run):
        async def call(n):
            await giambio.sleep(n)
            if n == 2:
                raise ValueError("two")
            return n

        async def main():
            seen = []
            with pytest.raises(ValueError, match="two"):
                async for r in giambio.amap(call, [1, 2, 50]):
                    seen.append(r)
            assert seen == [1]
            assert giambio.clock() == 2
            assert living() == []

        run(main)

    def test_an_error_of_the_source_is_raised(self, run):
        def source():
            yield 1
            raise KeyError("source")

        async def main():
            with pytest.raises(KeyError, match="source"):
                async for _ in giambio.amap(after, source()):
                    pass

        run(main)

    def test_leaving_the_loop_early_stops_the_calls(self, run):
        cancelled = []

        async def call(n):
            try:
                await giambio.sleep(n)
            except CancelledError:
                cancelled.append(n)
                raise
            return n

        async def main():
            async with giambio.create_pool():
                async for r in giambio.amap(call, [1, 50, 60]):
                    assert r == 1
                    break
                gc.collect()
                await wait_all_tasks_blocked()
                assert cancelled == [50, 60]
            assert giambio.clock() == 1

        run(main)

    def test_the_nearest_pool_ends_what_a_forgotten_iterator_left(self, run):
        kept = []

        async def main():
            async with giambio.create_pool():
                kept.append(giambio.amap(after, [1, 50]))
                await kept[0].__anext__()
            assert living() == []
            assert giambio.clock() == 1

        run(main)

    def test_cancelling_the_consumer_cancels_the_calls_and_waits_for_them(self, run):
        events = []

        async def call(n):
            try:
                await giambio.sleep_forever()
            finally:
                with giambio.CancelScope(shield=True):
                    await giambio.sleep(1)
                events.append(n)

        async def main():
            with giambio.skip_after(5):
                async for _ in giambio.amap(call, [1, 2]):
                    pass
            assert sorted(events) == [1, 2]
            assert living() == []

        run(main)

    def test_no_error_is_lost_when_the_consumer_is_cancelled(self, run):
        async def main():
            with pytest.raises(ValueError, match="untidy"):
                with giambio.skip_after(5):
                    async for _ in giambio.amap(untidy, [50]):
                        pass
            assert giambio.clock() == 5
            assert living() == []

        run(main)

    def test_no_error_is_lost_when_the_block_is_left(self, run):
        async def main():
            with pytest.raises(ValueError, match="untidy"):
                async with giambio.amap(untidy, [0, 50], ordered=False) as results:
                    assert await anext(results) == 0
            with pytest.raises(KeyError) as caught:
                async with giambio.amap(untidy, [0, 50], ordered=False) as results:
                    assert await anext(results) == 0
                    raise KeyError("the first")
            assert [str(error) for error in siblings(caught.value)] == ["untidy"]

        run(main)

    @pytest.mark.parametrize("failed_before", [True, False])
    def test_an_error_that_nobody_asks_for_is_one_of_the_pool_around(self, run, failed_before):
        async def call(n):
            if n == 0:
                return 0
            if failed_before:
                raise ValueError("untidy")
            return await untidy(n)

        async def main():
            with pytest.raises(ValueError, match="untidy"):
                async with giambio.create_pool():
                    async for _ in giambio.amap(call, [0, 50]):
                        await giambio.sleep(1)
                        break
            assert giambio.clock() == 1

        run(main)

    def test_it_works_in_a_pool_with_a_limit(self, run):
        async def main():
            async with giambio.create_pool(limit=1) as pool:
                pool.spawn(consumer)

        async def consumer():
            assert [r async for r in giambio.amap(lambda n: after(n, n), [1, 2])] == [1, 2]

        run(main)

    def test_after_the_end_there_is_nothing_more(self, run):
        async def main():
            results = giambio.amap(lambda n: after(n, n), [])
            for _ in range(2):
                with pytest.raises(StopAsyncIteration):
                    await results.__anext__()
            await results.aclose()
            unused = giambio.amap(after, [1])
            await unused.aclose()
            with pytest.raises(StopAsyncIteration):
                await unused.__anext__()

        run(main)

    @pytest.mark.parametrize("limit", [0, 1.5])
    def test_a_bad_limit_is_refused(self, limit):
        with pytest.raises(ValueError, match="limit must be a whole number from 1"):
            giambio.amap(after, [], limit=limit)

    def test_sweep(self):
        async def program():
            results = [r async for r in giambio.amap(lambda n: after(n, n), [2, 1, 3], limit=2)]
            assert results == [2, 1, 3]

        cancel_sweep(program)

    def test_reports_say_what_is_waited_for(self, run):
        async def main():
            results = giambio.amap(giambio.sleep, [1, 1, 2], limit=2, ordered=False)
            assert repr(results) == "<amap of sleep, 0 running, 0 ready>"
            async with giambio.create_pool() as pool:
                waiting = pool.spawn(results.__anext__)
                await wait_all_tasks_blocked()
                assert repr(waiting.waiting_on) == "<amap of sleep, 2 running, 0 ready>"
                assert "amap of sleep" in living()
                await waiting.join()
                assert repr(results) == "<amap of sleep, 1 running, 1 ready>"
                await results.aclose()
            assert repr(results) == "<amap of sleep, ended>"
            assert repr(giambio.as_completed()) == "<as_completed, 0 running, 0 ready>"

        run(main)


class TestAsCompleted:
    """Results as they are ready."""

    def test_the_first_to_end_comes_first(self, run):
        async def main():
            results = [
                r
                async for r in giambio.as_completed(
                    after(3, "c"), lambda: after(1, "a"), after(2, "b")
                )
            ]
            assert results == ["a", "b", "c"]

        run(main)

    def test_an_error_is_raised_when_the_others_have_ended(self, run):
        first = ValueError("first")

        async def stubborn():
            try:
                await giambio.sleep_forever()
            finally:
                raise KeyError("second")

        async def main():
            with pytest.raises(ValueError, match="first") as caught:
                async for _ in giambio.as_completed(failing(first, 1), stubborn):
                    pass
            assert [type(error) for error in siblings(caught.value)] == [KeyError]

        run(main)

    def test_what_is_no_async_function_is_told(self, run):
        async def main():
            with pytest.raises(TypeError, match=r"expected an async function, not \[1\]"):
                async for _ in giambio.as_completed([1]):
                    pass

        run(main)

    def test_the_tasks_have_the_names_of_the_functions(self, run):
        async def main():
            async with giambio.as_completed(after(1), lambda: after(2)) as results:
                async for _ in results:
                    assert "after" in living()
                    break

        run(main)

    def test_coroutines_that_were_never_started_are_closed(self, run):
        async def main():
            async with giambio.as_completed(after(1), after(2)):
                pass
            with giambio.skip_after(0):
                async for _ in giambio.as_completed(*[after(1) for _ in range(100)]):
                    pass

        run(main)
        gc.collect()  # one that was never awaited would warn

    def test_sweep(self):
        async def program():
            results = [r async for r in giambio.as_completed(after(2, "b"), after(1, "a"))]
            assert results == ["a", "b"]

        cancel_sweep(program)
