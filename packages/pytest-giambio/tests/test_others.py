# SPDX-License-Identifier: Apache-2.0
"""Ctrl+C, unittest, hypothesis, and tests in several processes."""

from __future__ import annotations

import signal
import sys
import warnings

import pytest

from pytest_giambio import _runner

# Ctrl+C


def interrupted(pytester, source):
    """Run a test that is interrupted; return the log that it has written to a file."""
    pytester.makepyfile(
        "import pytest, giambio, signal\npytestmark = pytest.mark.giambio\n"
        "def log(text):\n    with open('log', 'a') as file: print(text, file=file)\n" + source
    )
    with warnings.catch_warnings(), pytest.raises(KeyboardInterrupt):
        warnings.simplefilter("default")
        pytester.runpytest_inprocess("-p", "no:cacheprovider")
    return (pytester.path / "log").read_text().split()


FIXTURES = """
@pytest.fixture(scope="session")
async def session():
    yield
    await giambio.sleep(0)
    log("session")

@pytest.fixture
async def function():
    yield
    await giambio.sleep(0)
    log("function")
"""


@pytest.mark.parametrize("scopes", ["function", "session, function"])
def test_ctrl_c_stops_the_test_and_cleans_up_the_fixtures(pytester, scopes):
    log = interrupted(
        pytester,
        FIXTURES
        + f"""
async def test_it({scopes}):
    try:
        signal.raise_signal(signal.SIGINT)
        await giambio.sleep(100)
    finally:
        log("test")

async def test_never(): log("never")
""",
    )
    assert log == ["test", "function", "session"][: 2 + scopes.count(",")]


def test_ctrl_c_after_the_last_checkpoint_of_a_test_cleans_up_too(pytester):
    log = interrupted(
        pytester,
        FIXTURES
        + """
async def test_it(session, function):
    log("test")
    signal.raise_signal(signal.SIGINT)

async def test_never(): log("never")
""",
    )
    assert log[0] == "test"
    assert "never" not in log


def test_ctrl_c_twice_ends_a_test_that_does_not_react(pytester):
    log = interrupted(
        pytester,
        FIXTURES
        + """
import threading, time

def press():
    signal.raise_signal(signal.SIGINT)

async def test_it(function):
    signal.raise_signal(signal.SIGINT)
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        log("test")
""",
    )
    assert log == ["test", "function"]


def test_ctrl_c_twice_breaks_off_a_loop_that_is_in_the_middle_of_something(pytester):
    log = interrupted(
        pytester,
        FIXTURES
        + """
library = {"__name__": "giambio.of_a_test"}  # where nothing is interrupted
exec("import signal\\ndef press(): signal.raise_signal(signal.SIGINT)", library)

async def test_it(function):
    library["press"]()
    library["press"]()
    try:
        await giambio.sleep(100)
    finally:
        log("test")
""",
    )
    assert log == ["test"]


@pytest.mark.parametrize("name", ["apply_changes", "take_back"])
@pytest.mark.parametrize("time", [1, 2])
def test_ctrl_c_in_the_midst_of_the_plugin_leaves_no_fixture_behind(
    pytester, monkeypatch, name, time
):
    calls = []
    original = getattr(_runner, name)

    def interrupted_in_it(*args):
        calls.append(args)
        if len(calls) == time:
            signal.raise_signal(signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(_runner, name, interrupted_in_it)
    log = interrupted(
        pytester,
        FIXTURES
        + """
async def test_it(session, function): log("test")
async def test_never(): log("never")
""",
    )
    expected = {
        ("apply_changes", 1): ["session"],
        ("apply_changes", 2): ["function", "session"],
        ("take_back", 1): ["test", "function", "session"],
        ("take_back", 2): ["test", "function", "never", "session"],
    }
    assert log == expected[name, time]


@pytest.mark.parametrize("where", ["set-up", "clean-up"])
def test_ctrl_c_after_the_last_checkpoint_of_a_fixture_is_not_lost(pytester, where):
    log = interrupted(
        pytester,
        FIXTURES
        + f"""
@pytest.fixture
async def it(function):
    if {where!r} == "set-up":
        signal.raise_signal(signal.SIGINT)
    yield
    log("it")
    if {where!r} == "clean-up":
        signal.raise_signal(signal.SIGINT)

async def test_it(it):
    await giambio.sleep(0)
    log("test")

async def test_never(): log("never")
""",
    )
    assert log == ["test"] * (where == "clean-up") + ["it", "function"]


def test_ctrl_c_before_the_clean_up_leaves_the_loop_to_the_fixtures(pytester):
    pytester.makeconftest("""
        import signal
        def pytest_runtest_teardown():
            signal.raise_signal(signal.SIGINT)
    """)
    log = interrupted(
        pytester,
        FIXTURES
        + """
async def test_it(function): log("test")
async def test_never(): log("never")
""",
    )
    assert log == ["test", "function"]


def test_signal_handlers_of_fixtures_are_left_alone_while_they_are_there(marked):
    assert marked("""
        import signal

        @pytest.fixture(scope="class")
        async def signals():
            with giambio.open_signal_receiver(signal.SIGINT) as signals:
                yield signals

        class TestIt:
            @pytest.mark.parametrize("time", [1, 2])
            async def test_it(self, signals, time):
                signal.raise_signal(signal.SIGINT)
                assert await signals.receive() == signal.SIGINT

        def test_afterwards():
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    """).passed()


# unittest


def test_async_methods_of_a_marked_test_case_run_on_the_loop(inner):
    result = inner("""
        import unittest

        @pytest.mark.giambio
        class TestIt(unittest.TestCase):
            @pytest.fixture(autouse=True)
            async def prepare(self):
                await giambio.sleep(0)
                self.prepared = True

            def setUp(self): self.set_up = True

            async def test_it(self):
                await giambio.sleep(0)
                assert self.set_up and self.prepared

            async def test_wrong(self): assert False, "it was run"
            async def test_skip(self): pytest.skip("not today")

            @unittest.skip("never")
            async def test_never(self): assert False
    """)
    assert result["test_it"] == "passed"
    assert result["test_wrong"] == "failed"
    assert "it was run" in result.text("test_wrong")
    assert result["test_skip"] == result["test_never"] == "skipped"


def test_async_methods_of_test_cases_are_never_passed_unrun(inner):
    result = inner("""
        import unittest

        class TestIt(unittest.TestCase):
            async def test_it(self): assert False
            def test_plain(self): pass
    """)
    assert result["test_it"] == "failed"
    text = result.text("test_it")
    assert "coroutine 'TestIt.test_it' was never awaited" in text
    assert "mark the class with pytest.mark.giambio" in text
    assert result["test_plain"] == "passed"


def test_test_cases_that_run_async_methods_are_left_alone(inner):
    assert inner(
        """
        import asyncio
        import unittest

        class TestIt(unittest.IsolatedAsyncioTestCase):
            async def test_it(self): asyncio.get_running_loop()
        """,
        "--giambio-mode=auto",
    ).passed()


def test_a_test_case_that_runs_on_something_else_cannot_be_marked(inner):
    result = inner("""
        import unittest

        @pytest.mark.giambio
        class TestIt(unittest.IsolatedAsyncioTestCase):
            async def test_it(self): pass
    """)
    assert result["test_it"] == "failed"
    assert "TestIt runs its async methods itself, and not on giambio" in result.text("test_it")


# hypothesis


def test_hypothesis_runs_each_example_with_fixtures_of_its_own(marked):
    pytest.importorskip("hypothesis")
    result = marked(
        """
        from hypothesis import given, settings, strategies as st

        log = []

        @pytest.fixture
        def plain(): return []

        @pytest.fixture
        def cleaned():
            yield 5
            log.append("cleaned")

        @pytest.fixture
        async def value(plain, cleaned): return (plain, cleaned)

        @pytest.fixture
        async def pool(value):
            async with giambio.create_pool() as pool:
                yield pool
                pool.cancel()
            log.append("pool")

        @pytest.mark.parametrize("factor", [1, 2])
        @settings(max_examples=5, database=None)
        @given(number=st.integers())
        async def test_it(plain, pool, value, factor, number):
            assert plain == []  # a new one
            assert value[0] is plain
            plain.append(number)
            await pool.spawn(giambio.sleep, 0).join()

        def test_afterwards():
            assert len(log) >= 4
            assert log == ["pool", "cleaned"] * (len(log) // 2)
        """,
        beside="_hypothesis_pytestplugin",
    )
    assert result.passed()


def test_hypothesis_shrinks_failures_of_async_methods(marked):
    pytest.importorskip("hypothesis")
    result = marked(
        """
        from hypothesis import Phase, given, settings, strategies as st

        class TestIt:
            @pytest.fixture
            async def limit(self):
                self.limit = 10
                return self

            @settings(database=None, phases=[Phase.generate, Phase.shrink])
            @given(number=st.integers(0, 1000))
            async def test_it(self, limit, number):
                await giambio.sleep(0)
                assert number < limit.limit
        """,
        beside="_hypothesis_pytestplugin",
    )
    assert result["test_it"] == "failed"
    assert "limit=<fixture 'limit'>" in result.out
    assert "number=10," in result.out


def test_hypothesis_runs_the_async_methods_of_a_test_case(marked):
    pytest.importorskip("hypothesis")
    result = marked(
        """
        import unittest
        from hypothesis import Phase, given, settings, strategies as st

        class TestIt(unittest.TestCase):
            def setUp(self): self.limit = 10

            @settings(database=None, phases=[Phase.generate, Phase.shrink])
            @given(number=st.integers(0, 1000))
            async def test_it(self, number):
                await giambio.sleep(0)
                assert number < self.limit
        """,
        beside="_hypothesis_pytestplugin",
    )
    assert result["test_it"] == "failed"
    assert "number=10," in result.out


def test_hypothesis_still_minds_fixtures_that_all_examples_share(marked):
    pytest.importorskip("hypothesis")
    result = marked(
        """
        from hypothesis import given, strategies as st

        @given(number=st.integers())
        async def test_it(tmp_path, number): pass
        """,
        beside="_hypothesis_pytestplugin",
    )
    assert result["test_it"] == "failed"
    assert "FailedHealthCheck" in result.text("test_it")


def test_examples_can_share_a_fixture_that_outlives_the_test(marked):
    pytest.importorskip("hypothesis")
    assert marked(
        """
        from hypothesis import given, settings, strategies as st

        @pytest.fixture(scope="module")
        async def pool():
            async with giambio.create_pool() as pool:
                yield pool

        @settings(max_examples=5, database=None)
        @given(number=st.integers())
        async def test_it(pool, number, giambio_clock):
            await pool.spawn(giambio.sleep, 10).join()
        """,
        beside="_hypothesis_pytestplugin",
    ).passed()


def test_the_value_of_a_promised_fixture_cannot_be_used_before_it_is_there(marked):
    pytest.importorskip("hypothesis")
    result = marked(
        """
        from hypothesis import given, settings, strategies as st

        @pytest.fixture
        async def things(): return []

        @settings(max_examples=2, database=None)
        @given(number=st.integers())
        async def test_it(request, things, number):
            things.append(number)
            request.getfixturevalue("things").append(number)
        """,
        beside="_hypothesis_pytestplugin",
    )
    assert result["test_it"] == "failed"
    assert "fixture 'things' has no value yet" in result.text("test_it")


def test_a_fixture_that_stops_the_test_in_each_example_fails_it(marked):
    pytest.importorskip("hypothesis")
    result = marked(
        """
        from hypothesis import Phase, given, settings, strategies as st

        @pytest.fixture
        async def impatient(giambio_clock):
            async with giambio.skip_after(1):
                yield

        @settings(max_examples=2, database=None, phases=[Phase.generate])
        @given(number=st.integers())
        async def test_it(impatient, number): await giambio.sleep(2)
        """,
        beside="_hypothesis_pytestplugin",
    )
    assert result["test_it"] == "failed"
    assert "a fixture has stopped the test" in result.text("test_it")


# Several processes


def test_it_works_in_several_processes(inner):
    pytest.importorskip("xdist")
    assert inner(
        """
        @pytest.fixture(scope="session")
        async def shared(): yield 5

        @pytest.mark.parametrize("number", range(4))
        async def test_it(number, shared): await giambio.sleep(0)
        """,
        "-n2",
        "--giambio-mode=auto",
        beside="xdist.plugin",
    ).passed()


# Tools of giambio


def test_the_tools_of_the_command_line_see_the_loops_of_the_tests(pytester):
    pytester.makepyfile(
        test_it="""
            import pytest
            import giambio

            @pytest.fixture(scope="module")
            async def shared(): yield

            @pytest.mark.giambio
            async def test_alone(): await giambio.sleep(0)

            @pytest.mark.giambio
            async def test_shared(shared): await giambio.sleep(0)
        """
    )
    command = [sys.executable, "-m", "giambio", "run", "--print", "-m", "pytest", "-s"]
    result = pytester.run(*command, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    for name in ("test_alone", "shared", "test_shared"):
        assert f"{name} #" in result.stderr.str()
