# SPDX-License-Identifier: Apache-2.0
"""Exploring: which schedules are tried, what counts as a failure, what is said of it, and how it is replayed."""

from __future__ import annotations

import contextvars
import random
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import pytest

import giambio
from giambio import from_thread
from giambio.testing import (
    EscapedSimulation,
    ExplorationFailure,
    MemoryNetwork,
    NotDeterministic,
    ReplayMismatch,
    SweepFailure,
    cancel_sweep,
    current_network,
    explore,
    replay,
    simulate,
)
from giambio.testing._recipe import Recipe
from giambio.testing._shrink import Shrinker
from giambio.testing._trace import Precedence, Step


async def steps(count):
    for _ in range(count):
        await giambio.checkpoint()


class Cycle:
    """Something that only the garbage collector gets rid of."""


variable = contextvars.ContextVar("variable")


def two_tasks(first, second):
    """Return a program in which two tasks make some steps, and the orders in which they made them."""
    orders = []

    async def program():
        order = []

        async def walk(name, count):
            for _ in range(count):
                order.append(name)
                await giambio.checkpoint()

        async with giambio.create_pool() as pool:
            pool.spawn(walk, "a", first)
            pool.spawn(walk, "b", second)
        orders.append("".join(order))

    return program, orders


async def racing():
    """Fails if the second task overtakes the first."""
    order = []

    async def first():
        order.append(1)

    async def second():
        await giambio.checkpoint()
        order.append(2)

    async with giambio.create_pool() as pool:
        pool.spawn(first)
        pool.spawn(second)
    assert order == [1, 2]


class TestStrategies:
    """Each tries what its name says."""

    def test_exhaustive_tries_every_order_and_says_so(self):
        program, orders = two_tasks(2, 2)
        report = explore(program, strategy="exhaustive")
        # Of four steps two are of the first task: 4 over 2.
        assert set(orders) == {"aabb", "abab", "abba", "baab", "baba", "bbaa"}
        assert report.exhausted
        assert report.runs == report.schedules  # none comes up twice
        assert str(report).startswith(f"nothing found in all {report.schedules} schedules")

    def test_exhaustive_tries_those_with_few_delays_first(self):
        program, orders = two_tasks(3, 3)
        report = explore(program, strategy="exhaustive", runs=11, check_determinism=False)
        assert not report.exhausted
        assert (report.runs, report.schedules, report.delays) == (11, 11, 1)
        assert "among them all with at most 1 delay" in str(report)
        assert orders[0] == "ababab"

    def test_few_schedules_are_all_tried_without_being_asked_for(self):
        program, _ = two_tasks(1, 1)
        assert explore(program).exhausted

    def test_a_program_without_choices_has_one_schedule(self):
        report = explore(steps, 3)
        assert (report.runs, report.schedules, report.exhausted) == (1, 1, True)
        assert str(report).startswith("nothing found in the only schedule")

    @pytest.mark.parametrize("strategy", ["random", "pct", "starve"])
    def test_chance_tries_many_and_the_same_with_the_same_seed(self, strategy):
        program, orders = two_tasks(4, 4)
        report = explore(program, strategy=strategy, runs=30, seed=5)
        assert report.runs == 30
        assert report.seed == 5
        assert len(set(orders)) > 3
        again, same_orders = two_tasks(4, 4)
        explore(again, strategy=strategy, runs=30, seed=5)
        assert same_orders == orders

    def test_first_and_last_come_first_served(self):
        program, orders = two_tasks(3, 3)
        assert explore(program, strategy="fifo").runs == 1
        assert set(orders) == {"ababab"}
        assert explore(program, strategy="lifo").runs == 2
        assert orders[-1] == "bbbaaa"

    def test_auto_goes_on_with_chance_when_there_are_too_many(self):
        program, _ = two_tasks(9, 9)
        report = explore(program, runs=50, seed=1)
        assert (report.runs, report.exhausted, report.delays) == (50, False, None)
        assert report.schedules > 45

    @pytest.mark.parametrize("strategy", ["lifo", "pct", "starve", "random"])
    def test_a_task_that_polls_is_not_preferred_for_ever(self, strategy):
        async def program():
            done = False

            async def work():
                nonlocal done
                await steps(3)
                done = True

            async def poll():
                while not done:
                    await giambio.sleep(0)

            async with giambio.create_pool() as pool:
                pool.spawn(work)
                pool.spawn(poll)

        explore(program, strategy=strategy, runs=20, seed=1)

    def test_time_can_be_limited(self):
        program, _ = two_tasks(9, 9)
        assert explore(program, seconds=0).runs == 1

    def test_timers_that_are_due_together_are_a_choice_as_well(self):
        async def program():
            order = []

            async def wait(name):
                await giambio.sleep(1)
                order.append(name)

            async with giambio.create_pool() as pool:
                pool.spawn(wait, "a")
                pool.spawn(wait, "b")
            assert order == ["a", "b"]

        with pytest.raises(ExplorationFailure) as caught:
            explore(program)
        assert len(caught.value.order) == 1


class TestFindings:
    """What counts as a failure."""

    @staticmethod
    def failure(program, **options):
        with pytest.raises(ExplorationFailure) as caught:
            explore(program, seed=1, **options)
        return caught.value

    def test_an_error_in_the_first_run(self):
        async def program():
            raise KeyError("always")

        failure = self.failure(program)
        assert isinstance(failure.__cause__, KeyError)
        assert failure.order == ()
        assert "fails in the first run (seed 1)\n  KeyError: 'always'" in str(failure)
        assert "It fails when tasks run first come, first served." in str(failure)

    def test_the_report_names_tasks_and_lines(self):
        failure = self.failure(racing)
        (deviation,) = failure.order
        assert (deviation.first.task, deviation.then.task) == ("second", "first")
        assert deviation.first.place.source == "await giambio.checkpoint()"
        assert deviation.then.place.source == "async def first():"
        assert deviation.then.starts
        lines = str(failure).splitlines()
        assert lines[2].endswith("in racing    assert order == [1, 2]")
        assert lines[4] == "It fails when tasks run first come, first served, except that"
        assert lines[5].startswith("  1. second ")
        assert lines[6].startswith("     before first ")
        assert lines[-1] == f"To see it again: giambio.testing.replay(racing, {failure.replay!r})"

    def test_a_run_that_does_not_end(self):
        async def program():
            while True:
                await giambio.checkpoint()

        assert self.failure(program, max_steps=100).kind == "it does not end"

    def test_a_wait_for_the_outside_world(self):
        failure = self.failure(giambio.sleep_forever)
        assert failure.kind == "it comes to a standstill"
        assert "some wait for the outside world, which is not there" in str(failure)

    def test_a_check_after_each_run(self):
        ends = []

        async def program():
            async def end(name):
                await giambio.checkpoint()
                ends.append(name)

            ends.clear()
            async with giambio.create_pool() as pool:
                pool.spawn(end, 1)
                pool.spawn(end, 2)

        def check():
            assert ends == [1, 2]

        failure = self.failure(program, check=check)
        assert failure.kind == "the check failed"
        assert isinstance(failure.__cause__, AssertionError)

    def test_an_invariant_after_each_step(self):
        balance = [0]

        async def program():
            balance[0] = 0

            async def pay():
                await giambio.checkpoint()
                balance[0] -= 1

            async def earn():
                balance[0] += 1

            async with giambio.create_pool() as pool:
                pool.spawn(earn)
                pool.spawn(pay)

        def always():
            assert balance[0] >= 0, "in debt"

        failure = self.failure(program, always=always)
        assert failure.kind == "the check failed"
        assert "in debt" in str(failure)

    def test_what_is_left_behind_only_in_some_orders(self):
        async def program():
            lock = giambio.Lock()
            stopped = False

            async def hold():
                await lock.acquire()
                if not stopped:
                    lock.release()

            async def stop():
                nonlocal stopped
                await steps(2)
                stopped = True

            async with giambio.create_pool() as pool:
                pool.spawn(hold)
                pool.spawn(stop)

        failure = self.failure(program)
        assert "is still held by 'hold', which has ended" in str(failure)
        assert explore(program, leftovers=False).exhausted

    def test_what_is_always_left_behind_is_normal(self):
        async def program():
            await giambio.Semaphore(1).acquire()
            sending, _ = giambio.open_memory_channel(5)
            await sending.send("never received")
            async with giambio.create_pool() as pool:
                pool.spawn(steps, 1)
                pool.spawn(steps, 1)

        assert explore(program).exhausted

    def test_a_coroutine_that_was_never_awaited(self):
        async def program():
            flag = False

            async def forget():
                await giambio.checkpoint()
                if flag:
                    steps(1)

            async def set_flag():
                nonlocal flag
                await steps(2)
                flag = True

            async with giambio.create_pool() as pool:
                pool.spawn(forget)
                pool.spawn(set_flag)

        failure = self.failure(program)
        assert failure.kind == "something was left open"
        assert "coroutine 'steps' was never awaited" in str(failure)

    def test_other_warnings_are_shown_once(self):
        async def program():
            warnings.warn("of the program", UserWarning, stacklevel=1)
            async with giambio.create_pool() as pool:
                pool.spawn(steps, 1)
                pool.spawn(steps, 1)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            explore(program)
        assert [str(each.message) for each in caught] == ["of the program"]

    def test_errors_that_mean_something_else_pass(self):
        class Skipped(Exception):
            pass

        async def program():
            raise Skipped

        with pytest.raises(Skipped):
            explore(program, through=(Skipped,))
        for error in (KeyboardInterrupt, SystemExit):

            async def leave(error=error):
                raise error

            with pytest.raises(error):
                explore(leave)


class Wrapped:
    """A queue of the program's own, around one of giambio's."""

    def __init__(self):
        self.inner = giambio.Queue()

    def __len__(self):
        return len(self.inner)

    async def put(self, item):
        await self.inner.put(item)

    async def get(self):
        return await self.inner.get()

    def put_nowait(self, item):
        self.inner.put_nowait(item)


class TestLeftovers:
    """What is counted, and what is not."""

    @staticmethod
    def found(program, **options):
        with pytest.raises(AssertionError, match="something was left behind") as caught:
            cancel_sweep(program, **options)
        return str(caught.value)

    def test_an_operation_inside_of_another_one_is_not_counted_twice(self):
        async def program():
            queue = Wrapped()
            await queue.put(1)
            await queue.get()
            queue.put_nowait(2)

        cancel_sweep(program, watch=[Wrapped])

    def test_operations_between_two_steps_count_as_well(self):
        async def program():
            queue = giambio.Queue()
            loop = giambio.lowlevel.current_scheduler()
            loop.call_soon_threadsafe(queue.put_nowait, 1)
            assert await queue.get() == 1
            queue.close()

        cancel_sweep(program)

    def test_what_a_select_took_is_not_missed(self):
        async def program():
            queue = giambio.Queue()
            queue.put_nowait(1)
            await giambio.select(queue)

        cancel_sweep(program)

    def test_what_is_dropped_by_closing_is_not_lost(self):
        async def program():
            queue = giambio.Queue()
            await queue.put(1)
            await giambio.checkpoint()
            queue.close(drain=False)

        cancel_sweep(program)

    def test_waiters_that_have_ended(self):
        class Statistics(NamedTuple):
            tasks_waiting: int

        class Careless:
            """Never forgets who waits."""

            def __init__(self):
                self.waiting = 0

            async def wait(self):
                self.waiting += 1
                await giambio.sleep(1)
                self.waiting -= 1

            def statistics(self):
                return Statistics(self.waiting)

        async def program():
            await Careless().wait()

        assert "has waiters that have ended" in self.found(program, watch=[Careless])

    def test_a_class_of_the_program_is_watched_for_what_it_has_from_its_bases_too(self):
        class Base:
            def __init__(self):
                self.items = []

            def __len__(self):
                return len(self.items)

            async def put(self, item):
                await giambio.checkpoint()
                self.items.append(item)

            async def get(self):
                item = self.items.pop()
                await giambio.checkpoint()
                return item

        class Derived(Base):
            pass

        async def program():
            queue = Derived()
            await queue.put(1)
            await queue.get()

        assert "1 item lost" in self.found(program, watch=[Derived])
        assert "put" not in vars(Derived)
        cancel_sweep(program, cancel_at=1, watch=[Derived, Base])

    def test_a_class_without_a_constructor_of_its_own_is_watched_too(self):
        class Careless:
            holder = None

            def holders(self):
                return [self.holder] if self.holder else []

        async def program():
            lock = Careless()
            lock.holder = giambio.current_task()
            await giambio.sleep(1)
            lock.holder = None

        assert "is still held by 'program'" in self.found(program, watch=[Careless])

    def test_tokens_that_were_borrowed_for_an_object(self):
        async def program():
            limiter = giambio.CapacityLimiter(1)
            await limiter.acquire_on_behalf_of("somebody")
            await giambio.sleep(1)
            limiter.release_on_behalf_of("somebody")

        assert "not given back by ['somebody']" in self.found(program)


class TestIsolation:
    """A run depends on nothing but its seed, and leaves nothing behind."""

    @pytest.mark.parametrize("network", [None, "memory"])
    @pytest.mark.parametrize("keeps_one", [False, True])
    def test_memory_does_not_grow_with_the_number_of_runs(self, network, keeps_one):
        made = weakref.WeakSet()
        kept = None

        async def program():
            nonlocal kept
            cycle = Cycle()
            cycle.itself = cycle
            made.add(cycle)
            cycle.task = giambio.current_task()
            variable.set(cycle)
            if keeps_one:
                kept = cycle
            async with giambio.create_pool() as pool:
                pool.spawn(giambio.checkpoint)
                pool.spawn(giambio.checkpoint)

        explore(program, strategy="random", runs=450, network=network)
        kept = None
        assert len(made) <= (100 if keeps_one else 1)

    def test_the_first_schedule_is_run_twice(self):
        runs = []

        async def program():
            runs.append(0)
            await steps(len(runs))

        with pytest.raises(NotDeterministic, match="the first run made 2 steps, the second 3"):
            explore(program)

    def test_another_order_or_another_outcome_shows_as_well(self):
        runs = []

        async def other_task():
            runs.append(0)
            async with giambio.create_pool() as pool:
                pool.spawn([steps, giambio.sleep][len(runs) % 2], 0)

        with pytest.raises(NotDeterministic, match="was made by 'sleep' in the first run"):
            explore(other_task)

        async def other_error():
            runs.append(0)
            raise [KeyError, ValueError][len(runs) % 2]

        with pytest.raises(NotDeterministic, match="the first one: ValueError; the second: Key"):
            explore(other_error)

    def test_a_failure_that_does_not_come_back_shows_as_well(self):
        runs = []

        async def program():
            runs.append(0)
            async with giambio.create_pool() as pool:
                pool.spawn(steps, 2)
                pool.spawn(steps, 2)
            assert len(runs) != 5

        with pytest.raises(NotDeterministic, match="then, in the same order: None"):
            explore(program)

    def test_random_numbers_are_those_of_the_seed(self):
        drawn = []

        async def program():
            drawn.append(random.random())

        random.seed(7)
        before = random.getstate()
        explore(program, seed=3)
        assert drawn[0] == drawn[1]
        assert random.getstate() == before

    def test_threads_are_steps(self):
        async def program():
            here = threading.get_ident()
            order = []

            async def call():
                assert await giambio.run_in_thread(threading.get_ident) == here
                order.append("call")

            async def other():
                order.append("other")

            async with giambio.create_pool() as pool:
                pool.spawn(call)
                pool.spawn(other)
            assert order == ["other", "call"]

        with pytest.raises(ExplorationFailure) as caught:
            explore(program)
        assert len(caught.value.order) <= 3

    def test_a_thread_cannot_wait_for_the_loop(self):
        async def program():
            await giambio.run_in_thread(from_thread.run, giambio.checkpoint)

        with pytest.raises(EscapedSimulation, match="asking the loop for something from a thread"):
            explore(program)

    def test_the_loop_can_be_called_but_not_watched_from_outside(self):
        async def program():
            loop = giambio.lowlevel.current_scheduler()
            event = giambio.Event()
            loop.call_soon_threadsafe(event.set)
            await event.wait()
            with pytest.raises(RuntimeError, match="a simulated run has no descriptor"):
                loop.fileno()

        explore(program)

    def test_an_escape_cannot_be_hidden(self):
        async def program():
            try:
                giambio.socket.socket()
            except EscapedSimulation:
                pass

        with pytest.raises(EscapedSimulation, match="making a socket is not possible"):
            explore(program)

    def test_classes_are_as_they_were(self):
        before = {name: vars(giambio.Queue)[name] for name in vars(giambio.Queue)}
        explore(racing_not)
        assert {name: vars(giambio.Queue)[name] for name in vars(giambio.Queue)} == before

    def test_two_threads_take_turns(self):
        before = giambio.Queue.put
        reports = []
        threads = [
            threading.Thread(target=lambda: reports.append(explore(racing_not, runs=20)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(reports) == 2
        assert giambio.Queue.put is before


async def racing_not():
    queue = giambio.Queue(1)
    async with giambio.create_pool() as pool:
        pool.spawn(queue.put, 1)
        pool.spawn(queue.get)


class TestReplay:
    """A string makes a failure come back, or says why it cannot."""

    def failure(self):
        with pytest.raises(ExplorationFailure) as caught:
            explore(racing, seed=1)
        return caught.value

    def test_recipes_survive_being_written_down(self):
        for recipe in (
            Recipe(0, 0, ()),
            Recipe(65535, 2**40, (Precedence(Step((), 1), Step((3, 0), 200)),), (3, 200)),
            Recipe(1, 2, (Precedence(Step((-1,), 4), Step((0,), 1)),), (), 12, 2, "wörker"),
        ):
            assert Recipe.decode(f" {recipe.encode()}\n") == recipe

    def test_a_test_that_was_mended_passes(self):
        string = self.failure().replay

        async def mended():
            async with giambio.create_pool() as pool:
                pool.spawn(steps, 2)
                pool.spawn(steps, 2)

        report = replay(mended, string, label="racing")
        assert report.runs == 1

    def test_a_test_that_has_changed_too_much_says_so(self):
        string = self.failure().replay
        with pytest.raises(ReplayMismatch, match="makes no step number 2 any more"):
            replay(giambio.checkpoint, string, label="racing")

    def test_a_string_of_another_test(self):
        with pytest.raises(ReplayMismatch, match="belongs to another test than checkpoint"):
            replay(giambio.checkpoint, self.failure().replay)

    @pytest.mark.parametrize(
        ("string", "message"),
        [
            ("nonsense", "no replay string"),
            ("gb0-aaaa", "of version gb0, and here is gb1"),
            ("gb1-aaaa", "is damaged"),
            ("gb1-!!!!", "is damaged"),
            ("gb1-", "is damaged"),
        ],
    )
    def test_a_string_that_is_none(self, string, message):
        with pytest.raises(ReplayMismatch, match=message):
            replay(racing, string)

    def test_a_sweep_that_was_mended_passes(self):
        async def program():
            lock = giambio.Lock()
            await lock.acquire()
            await giambio.sleep(1)
            lock.release()

        async def mended():
            async with giambio.Lock():
                await giambio.sleep(1)

        with pytest.raises(AssertionError) as caught:
            cancel_sweep(program, label="program")
        assert replay(mended, caught.value.replay, label="program").runs == 2

    def test_a_point_that_does_not_exist_any_more(self):
        async def program():
            await giambio.Semaphore(1).acquire()
            permits = giambio.Semaphore(1)
            async with permits:
                await giambio.sleep(1)
            await permits.acquire()
            await giambio.sleep(1)
            permits.release()

        with pytest.raises(AssertionError) as caught:
            cancel_sweep(program, label="program")
        with pytest.raises(ReplayMismatch, match=r"there is no checkpoint 5 \(on entry\) any more"):
            replay(giambio.checkpoint, caught.value.replay, label="program")


def test_of_a_failure_that_needs_no_schedule_nothing_is_made_small():
    async def program():
        async with giambio.create_pool() as pool:
            pool.spawn(giambio.checkpoint)
            pool.spawn(giambio.checkpoint)
        raise KeyError

    with pytest.raises(ExplorationFailure, match=r"program fails in the first run \(seed 0\)\n"):
        explore(program, seed=0)


def test_failures_that_only_an_aid_for_tests_has_raised_are_told_apart_by_the_line_that_called_it():
    """Making one of them small does not make it another one."""

    async def program():
        order = []

        async def work(number):
            await giambio.checkpoint()
            order.append(number)

        async with giambio.create_pool() as pool:
            for number in range(3):
                pool.spawn(work, number)
        if order[0] == 1:
            pytest.fail("one")
        if order[0] == 2:
            pytest.fail("two")

    with pytest.raises(ExplorationFailure) as caught:
        explore(program, strategy="lifo")
    assert "Failed: two" in str(caught.value)
    assert "test_explore.py" in str(caught.value).splitlines()[2]
    assert 'pytest.fail("two")' in str(caught.value).splitlines()[2]


class TestCommand:
    """The last line of a report can be typed as it stands."""

    @staticmethod
    async def with_arguments(count, text):
        assert current_network()
        async with giambio.create_pool() as pool:
            for _ in range(count):
                pool.spawn(racing)
        raise KeyError(text)

    @staticmethod
    async def locking():
        lock = giambio.Lock()
        await lock.acquire()
        await giambio.checkpoint()
        lock.release()

    @staticmethod
    def assert_it_fails_again(failure):
        command = str(failure).partition("To see it again: ")[2]
        names = {"giambio": giambio, "MemoryNetwork": MemoryNetwork, "TestCommand": TestCommand}
        with pytest.raises(type(failure)) as again:
            eval(command, {**names, "refuse": refuse, "Cycle": Cycle})
        assert again.value.replay == failure.replay
        assert str(again.value).partition("To see it again: ")[2] == command

    @pytest.mark.parametrize(
        "network", ["memory", MemoryNetwork(latency=(0.5, 1), loss=0.25, ipv6=True)]
    )
    def test_of_a_test_with_arguments_and_a_network(self, network):
        with pytest.raises(ExplorationFailure) as caught:
            explore(self.with_arguments, 2, "{text}", network=network, runs=5, max_steps=500)
        self.assert_it_fails_again(caught.value)

    @pytest.mark.parametrize("options", [{}, {"watch": [Cycle]}])
    def test_of_a_sweep(self, options):
        with pytest.raises(SweepFailure) as caught:
            cancel_sweep(self.locking, **options)
        self.assert_it_fails_again(caught.value)

    def test_with_a_check(self):
        with pytest.raises(ExplorationFailure) as caught:
            explore(giambio.checkpoint, check=refuse, label="of mine")
        assert str(caught.value).endswith(", check=refuse, label='of mine')")

    def test_a_partial_function_and_an_object_are_called_the_same_in_every_process(self):
        class Callable:
            async def __call__(self):
                raise KeyError

        for fn, name in ((partial(self.with_arguments, 1, "x"), "TestCommand.with_arguments"),
                         (Callable(), "Callable")):  # fmt: skip
            with pytest.raises(ExplorationFailure, match=rf"testing.replay\({name}, ") as caught:
                explore(fn, network="memory")
            assert " at 0x" not in str(caught.value)


def refuse():
    raise AssertionError("refused")


class TestHooks:
    """The functions that say whether something is wrong."""

    @pytest.mark.parametrize("method", [explore, cancel_sweep])
    @pytest.mark.parametrize("hook", ["check", "always"])
    @pytest.mark.parametrize(
        ("fn", "message"),
        [
            (lambda: pytest.fail("not so"), "not so"),
            (lambda: False, "returned False, which decides nothing; it must raise, as assert does"),
            (lambda: steps(1), "must be a plain function, and returned the coroutine"),
        ],
    )
    def test_whatever_they_raise_is_reported(self, method, hook, fn, message):
        # What is wrong without a cancellation, too, is raised by a sweep as it is.
        expected = ExplorationFailure if method is explore else (TypeError, pytest.fail.Exception)
        with pytest.raises(expected, match=message):
            method(steps, 1, **{hook: fn})

    def test_what_goes_through_goes_through(self):
        with pytest.raises(pytest.skip.Exception):
            explore(steps, 1, check=lambda: pytest.skip("why"), through=pytest.skip.Exception)
        with pytest.raises(pytest.skip.Exception):
            explore(steps, 1, always=lambda: pytest.skip("why"), through=pytest.skip.Exception)

    def test_an_error_that_cannot_be_shown_is_named(self):
        class Odd(Exception):
            def __str__(self):
                raise RuntimeError

        async def program():
            raise Odd

        with pytest.raises(ExplorationFailure, match="  Odd, which cannot be shown as text"):
            explore(program)


class TestArguments:
    """Bad ones are named."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"strategy": "best"}, "strategy must be one of auto, fifo, lifo"),
            ({"runs": 0}, "runs must be at least 1"),
            ({"seed": -1}, "seed must be at least 0"),
            ({"max_steps": 0}, "max_steps must be at least 1"),
            ({"network": "real"}, "network must be 'memory'"),
        ],
    )
    def test_of_explorations(self, options, message):
        with pytest.raises(ValueError, match=message):
            explore(racing, **options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"runs": None}, "runs must be a whole number, not None"),
            ({"seed": "x"}, "seed must be a whole number, not 'x'"),
            ({"seconds": "x"}, "seconds must be a number"),
            ({"check": steps}, "check must be a plain function"),
            ({"always": 3}, "always must be a function"),
            ({"through": [ValueError]}, "through must be a class of errors, or a tuple"),
            ({"watch": giambio.Lock}, r"watch must be a list of classes: \[Lock\]"),
            ({"watch": [3]}, "watch must be a list of classes; 3 is none"),
            ({"watch": [list]}, "<class 'list'> cannot be watched"),
        ],
    )
    def test_of_the_wrong_type(self, options, message):
        with pytest.raises(TypeError, match=message):
            explore(racing, **options)

    def test_after_a_wrong_one_other_threads_can_explore_and_nothing_is_watched(self):
        before = giambio.Lock.__init__
        with pytest.raises(TypeError, match="cannot be watched"):
            explore(racing, watch=[list])
        assert giambio.Lock.__init__ is before
        with ThreadPoolExecutor() as executor:
            assert executor.submit(explore, steps, 1).result(timeout=60).runs == 1

    @pytest.mark.parametrize("method", [explore, cancel_sweep])
    @pytest.mark.parametrize(
        ("fn", "message"),
        [
            (None, "expected an async function, not None"),
            (lambda: 3, "<lambda> is not an async function: calling it gave 3, no coroutine"),
            (partial(int), "int is not an async function: calling it gave 0"),
            (steps, r"steps\(\) cannot be called with these arguments: missing .*'count'"),
        ],
    )
    def test_what_is_no_async_function_is_no_finding(self, method, fn, message):
        with pytest.raises(TypeError, match=message) as caught:
            method(fn)
        assert type(caught.value) is TypeError

    @pytest.mark.parametrize("method", [explore, cancel_sweep])
    def test_a_coroutine_can_run_only_once(self, method):
        with pytest.raises(TypeError, match="pass steps and its arguments, without calling it"):
            method(steps(1))

    def test_an_async_generator_function_cannot_be_run(self):
        async def numbers():
            yield 1

        with pytest.raises(TypeError, match="numbers is an async generator function"):
            explore(numbers)

    def test_a_replay_string_that_is_no_string(self):
        with pytest.raises(TypeError, match="a replay string is a str, not None"):
            replay(racing, None)

    def test_of_simulations(self):
        with pytest.raises(ValueError, match="network must be 'memory' or a MemoryNetwork"):
            simulate(racing, network=None)

    @pytest.mark.parametrize(
        ("cancel_at", "error", "message"),
        [
            ([], ValueError, "cancel_at names no checkpoint"),
            (1.0, TypeError, "cancel_at must be 'every checkpoint'"),
            (4, ValueError, "there is no checkpoint 4: the program passes 3"),
            ([0], ValueError, "there is no checkpoint 0"),
            ("somewhere", TypeError, "cancel_at must be 'every checkpoint'"),
        ],
    )
    def test_of_sweeps(self, cancel_at, error, message):
        with pytest.raises(error, match=message):
            cancel_sweep(steps, 3, cancel_at=cancel_at)

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"seed": -1}, ValueError, "seed must be at least 0"),
            ({"target": steps}, TypeError, "target must be the name of a task"),
            ({"allow": [ValueError]}, TypeError, "allow must be a class of errors, or a tuple"),
        ],
    )
    def test_more_of_sweeps(self, options, error, message):
        with pytest.raises(error, match=message):
            cancel_sweep(steps, 3, **options)


def test_a_sweep_can_be_limited_to_sites_or_numbers():
    assert cancel_sweep(steps, 20).runs == 1 + 2 * 20
    report = cancel_sweep(steps, 20, cancel_at="every site")
    assert str(report) == "nothing found at 20 checkpoints, in 5 runs"
    assert cancel_sweep(steps, 20, cancel_at=7).runs == 1 + 2
    assert cancel_sweep(steps, 20, cancel_at=range(1, 4)).runs == 1 + 2 * 3


class TestShrinking:
    """What a failure does not need is left out."""

    @pytest.mark.parametrize("needed", [[], [0], [99], [3, 50], [10, 11, 12, 90]])
    def test_what_is_needed_remains(self, needed):
        shrinker = Shrinker(lambda some: set(needed) <= set(some), lambda: False)
        assert shrinker.shrink(range(100), [lambda each: each // 10]) == needed

    def test_when_time_is_up_the_smallest_so_far_remains(self):
        tries = []

        def fails(some):
            tries.append(some)
            return 40 in some

        shrinker = Shrinker(fails, lambda: len(tries) >= 3)
        kept = shrinker.shrink(range(64))
        assert 40 in kept
        assert len(tries) == 3
