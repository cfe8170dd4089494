# SPDX-License-Identifier: Apache-2.0
"""Tests that are simulated: explored, swept with cancellations, on a network in memory, replayed."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from giambio.testing import _explore
from pytest_giambio import _marker

RACE = """
@pytest.fixture
def account():
    return {"balance": 0}

@pytest.fixture
async def pool(account):
    async with giambio.create_pool() as pool:
        yield pool

async def deposit(account):
    balance = account["balance"]
    await giambio.sleep(0)
    account["balance"] = balance + 1

async def idle():
    for _ in range(2):
        await giambio.sleep(0)

@pytest.mark.giambio(explore=300)
async def test_it(pool, account):
    first = pool.spawn(deposit, account)
    await pool.spawn(idle).join()
    second = pool.spawn(deposit, account)
    await first.join()
    await second.join()
    assert account["balance"] == 2
"""


def replay_string(text):
    return re.search(r"--giambio-replay=(gb1-\w+)", text).group(1)


def test_a_race_is_found_made_small_and_shown_at_the_line_that_fails(inner):
    result = inner(RACE)
    assert result["test_it"] == "failed"
    text = result.text("test_it")
    assert '>       assert account["balance"] == 2' in text
    assert "test_it.py::test_it fails in the schedule that was tried as number" in text
    assert "It fails when tasks run first come, first served, except that" in text
    assert "in task: test_it" in text
    assert "To see it again: pytest test_it.py::test_it --giambio-replay=gb1-" in text
    assert "giambio/testing" not in text


@pytest.mark.parametrize(
    "arguments", ["explore=20", "cancel_at='every checkpoint', target='helper'"]
)
def test_the_tree_of_a_deadlock_is_shown_once(inner, arguments):
    result = inner(f"""
        @pytest.mark.giambio({arguments})
        async def test_it():
            event = giambio.Event()
            explored = {arguments.startswith("explore")}

            async def helper():
                await giambio.checkpoint()
                if not explored:
                    event.set()

            async with giambio.create_pool() as pool:
                pool.spawn(helper)
                await event.wait()
    """)
    text = result.text("test_it")
    assert text.count("test_it: waits for <Event") == 1
    assert "To see it again: pytest " in text


def test_the_command_for_replaying_can_be_typed_as_it_stands(inner):
    result = inner("""
        @pytest.mark.parametrize("text", ["{a b}"])
        @pytest.mark.giambio(explore=5)
        async def test_it(text): assert False
    """)
    assert "pytest 'test_it.py::test_it[{a b}]' --giambio-replay=gb1-" in result.out


def test_a_failure_is_the_same_in_every_run_of_the_test(inner):
    assert inner(RACE).text("test_it") == inner(RACE).text("test_it")


def test_another_seed_makes_other_random_choices(inner):
    seeds = {
        re.search(r"\(seed (\d+)\)", inner(RACE, *args).text("test_it")).group(1)
        for args in ((), ("--giambio-seed=1",), ("--giambio-seed=2",))
    }
    assert len(seeds) == 3


def test_a_failure_can_be_replayed(inner):
    string = replay_string(inner(RACE).text("test_it"))
    again = inner(RACE, f"--giambio-replay={string}")
    assert again["test_it"] == "failed"
    assert "fails as it did before" in again.text("test_it")
    assert replay_string(again.text("test_it")) == string


def test_a_replay_in_the_marker_keeps_watch_over_what_was_mended(inner):
    string = replay_string(inner(RACE).text("test_it"))
    pinned = RACE.replace("explore=300", f"replay={string!r}")
    assert inner(pinned)["test_it"] == "failed"
    mended = pinned.replace("    await giambio.sleep(0)\n    account", "    account")
    assert mended != pinned
    result = inner(mended, "-rP")
    assert result.passed()
    assert "replayed, and passed" in result.out


def test_a_replay_string_that_does_not_fit_says_why(inner):
    result = inner(RACE, "--giambio-replay=gb1-nonsense")
    assert result["test_it"] == "failed"
    assert "the replay string 'gb1-nonsense' is damaged" in result.text("test_it")


def test_what_failed_last_is_tried_first_until_it_passes(pytester):
    def run(source):
        pytester.makepyfile(test_it="import pytest, giambio\n" + source)
        return pytester.runpytest_inprocess().stdout.str()

    assert "tried as number" in run(RACE)
    assert "fails as it did before" in run(RACE)
    mended = RACE.replace("    await giambio.sleep(0)\n    account", "    account")
    assert "1 passed" in run(mended)
    assert "tried as number" in run(RACE)  # it was forgotten
    head, _, _ = RACE.partition("    first = pool.spawn")
    assert "1 passed" in run(head + "    pass")  # what was kept does not fit any more


def test_how_much_was_tried_can_be_seen(inner):
    source = RACE.replace('assert account["balance"] == 2', "pass")
    result = inner(source, "-rP")
    assert result.passed()
    assert re.search(r"nothing found in (all )?\d+ schedules \(seed \d+\)", result.out)


def test_exploration_can_be_turned_off_and_down(inner):
    assert inner(RACE, "--giambio-explore=0").passed()
    source = RACE.replace('assert account["balance"] == 2', "pass").replace(
        "pool.spawn(idle)", "pool.spawn(giambio.sleep, 1)"
    )
    out = inner(source, "-rP", "--giambio-explore=3").out
    assert re.search(r"nothing found in [23] schedules", out)  # one of them may have come twice


def test_the_number_of_schedules_must_be_one(inner):
    result = inner(RACE, "--giambio-explore=-1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_skipping_is_no_failure_of_a_schedule(inner):
    result = inner(
        """
        @pytest.mark.giambio(explore=10)
        async def test_skip(): pytest.skip("not today")

        @pytest.mark.giambio(cancel_at="every site")
        async def test_expect(): pytest.xfail("known")

        @pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
        @pytest.mark.giambio(explore=10)
        async def test_raises(): 1 / 0
        """,
        "-rs",
    )
    assert result["test_skip"] == "skipped"
    assert "not today\n" in result.out and "in task" not in result.out
    assert result["test_expect"] == result["test_raises"] == "xfailed"


def test_a_test_that_differs_from_run_to_run_is_told_so(inner):
    result = inner("""
        times = []

        @pytest.mark.giambio(explore=10)
        async def test_it():
            times.append(1)
            for _ in times:
                await giambio.sleep(0)
    """)
    assert result["test_it"] == "failed"
    assert "test_it.py::test_it cannot be repeated" in result.text("test_it")


def test_the_outside_world_is_refused(inner):
    result = inner("""
        @pytest.mark.giambio(explore=10)
        async def test_it():
            with giambio.socket.socket():
                pass
    """)
    assert result["test_it"] == "failed"
    assert "EscapedSimulation" in result.text("test_it")
    assert "sockets need network='memory'" in result.text("test_it")


# Cancellation

SWEEP = """
@pytest.mark.giambio(cancel_at={where})
async def test_it():
    lock = giambio.Lock()
    await lock.acquire()
    await giambio.sleep(1)
    lock.release()
"""


@pytest.mark.parametrize("where", ["'every checkpoint'", "'every site'", "2", "[2]", "range(1, 3)"])
def test_a_lock_left_behind_by_a_cancellation_is_found_and_replayed(inner, where):
    source = SWEEP.format(where=where)
    text = inner(source).text("test_it")
    assert "test_it.py::test_it fails when it is cancelled at checkpoint 2 (" in text
    assert "is still held by 'test_it', which has ended" in text
    assert "in_scope" not in text
    again = inner(source, f"--giambio-replay={replay_string(text)}")
    assert "fails when it is cancelled at checkpoint 2 (" in again.text("test_it")


def test_a_test_that_stands_being_cancelled_passes(inner):
    result = inner(
        """
        @pytest.mark.giambio(cancel_at="every checkpoint")
        async def test_it(giambio_pool):
            async with giambio.Lock():
                await giambio_pool.spawn(giambio.sleep, 1).join()
        """,
        "-rP",
    )
    assert result.passed()
    assert re.search(r"cancelled: nothing found at \d+ checkpoints, in \d+ runs", result.out)


def test_another_task_can_be_the_one_that_is_cancelled(inner):
    result = inner("""
        async def worker(lock):
            await lock.acquire()
            await giambio.sleep(1)
            lock.release()

        @pytest.mark.giambio(cancel_at="every checkpoint", target="worker")
        async def test_it():
            async with giambio.create_pool() as pool:
                pool.spawn(worker, giambio.Lock())
    """)
    assert result["test_it"] == "failed"
    assert "task 'worker' of test_it.py::test_it fails when it is cancelled" in result.text(
        "test_it"
    )


# Network and fixtures


@pytest.mark.parametrize("more", ["", ", explore=5", ", cancel_at='every site'"])
def test_a_network_in_memory(inner, more):
    assert inner(f"""
        @pytest.mark.giambio(network="memory"{more})
        async def test_it(giambio_pool, giambio_tcp_port):
            async with giambio.socket.socket() as server:
                await server.bind(("localhost", giambio_tcp_port))
                server.listen()
                giambio_pool.spawn(greet, giambio_tcp_port)
                connection, _ = await server.accept()
                async with connection:
                    assert await connection.receive(100) == b"hello"

        async def greet(port):
            async with giambio.socket.socket() as client:
                await client.connect(("localhost", port))
                await client.send_all(b"hello")
    """).passed()


def test_a_network_of_ones_own(inner):
    assert inner("""
        from giambio.testing import MemoryNetwork, current_network

        @pytest.mark.giambio(network=MemoryNetwork(latency=3))
        async def test_it():
            assert current_network() is not None
    """).passed()


def test_errors_on_a_network_in_memory_are_shown_as_they_are(inner):
    result = inner("""
        @pytest.mark.giambio(network="memory")
        async def test_it():
            async with giambio.create_pool(errors="group") as pool:
                pool.spawn(skip)

        async def skip(): pytest.skip("not today")
    """)
    assert result["test_it"] == "skipped"


def test_fixtures_that_outlive_the_test_are_refused(inner):
    result = inner("""
        @pytest.fixture(scope="module")
        async def shared(): return 5

        @pytest.mark.giambio(explore=10)
        async def test_it(shared): pass

        @pytest.mark.giambio(explore=10)
        async def test_alone(): pass
    """)
    assert result["test_it"] == "failed"
    assert "fixture 'shared' outlives the test" in result.text("test_it")
    assert result["test_alone"] == "passed"


def test_the_clock_of_a_simulated_test_cannot_be_moved(inner):
    result = inner("""
        @pytest.mark.giambio(explore=10)
        async def test_it(giambio_clock): pass
    """)
    assert result["test_it"] == "error in setup"
    assert "giambio_clock is a virtual clock that the test may move" in result.out


def test_each_run_has_fixtures_of_its_own(inner):
    assert inner("""
        log = []

        @pytest.fixture
        def plain():
            log.append("plain")
            yield []
            log.append("-plain")

        @pytest.fixture
        async def pool(plain):
            plain.append("pool")
            async with giambio.create_pool() as pool:
                yield pool
            log.append("-pool")

        class TestIt:
            @pytest.fixture(autouse=True)
            def prepare(self): self.prepared = True

            def setup_method(self): log.append("setup_method")

            @pytest.mark.giambio(explore=20)
            async def test_it(self, plain, pool, tmp_path):
                assert plain == ["pool"]
                assert self.prepared
                pool.spawn(giambio.sleep, 0)
                pool.spawn(giambio.sleep, 0)

        def test_afterwards():
            assert len(log) >= 8
            runs = len(log) // 4
            assert log == ["setup_method", "plain", "-pool", "-plain"] * runs
    """).passed()


def test_a_method_of_a_test_case_can_be_explored(inner):
    result = inner("""
        import unittest

        class TestIt(unittest.TestCase):
            @pytest.mark.giambio(explore=10)
            async def test_it(self):
                await giambio.sleep(100)
                assert giambio.clock() < 100
    """)
    assert result["test_it"] == "failed"
    assert "fails in the first run" in result.text("test_it")


def test_examples_of_hypothesis_can_be_explored(inner):
    pytest.importorskip("hypothesis")
    result = inner(
        """
        from hypothesis import Phase, given, settings, strategies as st

        @pytest.mark.giambio(explore=20)
        @settings(max_examples=20, database=None, phases=[Phase.generate, Phase.shrink], deadline=None)
        @given(number=st.integers(0, 10))
        async def test_it(giambio_pool, number):
            giambio_pool.spawn(giambio.sleep, 0)
            await giambio.sleep(0)
            assert number < 3
        """,
        beside="_hypothesis_pytestplugin",
    )
    assert result["test_it"] == "failed"
    assert "number=3" in result.text("test_it")


def test_a_replay_is_not_stopped_by_examples_that_the_schedule_does_not_fit(inner):
    source = """
        import giambio, pytest
        from hypothesis import given, settings, strategies as st

        @given(st.integers(0, 3))
        @settings(database=None, derandomize=True)
        @pytest.mark.giambio(explore=20)
        async def test_it(count):
            order = []

            async def work(number):
                order.append(number)

            async with giambio.create_pool() as pool:
                for number in range(count):
                    pool.spawn(work, number)
            assert order == sorted(order)
    """
    string = replay_string(inner(source).text("test_it"))
    result = inner(source, f"--giambio-replay={string}")
    assert "test_it fails as it did before" in result.text("test_it")
    assert "has changed" not in result.out


def test_the_marker_knows_all_strategies():
    assert get_args(_explore.Strategy) == _marker.STRATEGIES
