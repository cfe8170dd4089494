# SPDX-License-Identifier: Apache-2.0
"""What the report of a failure shows: the lines of the program, and not those of the library."""

from __future__ import annotations

import pytest

from pytest_giambio._frames import hide_library

LIBRARY = ("_pool.py", "event.py", "traps.py", "_runner.py", "_unit.py", "contextlib.py")


def last_line_shown(text):
    """The last line of a program that a report marks as the one that failed."""
    return [line[1:].strip() for line in text.splitlines() if line.startswith(">")][-1]


def shows_no_library(text):
    assert not [name for name in LIBRARY if name in text], text
    return True


FAILURES = """
async def test_wait():
    await giambio.Event().wait()

async def test_argument():
    await giambio.sleep("long")

async def test_child():
    async with giambio.create_pool() as pool:
        pool.spawn(crash)

async def crash():
    raise ValueError("crash")

@pytest.fixture
async def before():
    await giambio.sleep("long")

async def test_before(before): pass

@pytest.fixture
async def after():
    async with giambio.create_pool() as pool:
        yield
        pool.spawn(crash)

async def test_after(after): pass

@pytest.mark.giambio(explore=5)
async def test_explored(after): pass

@pytest.mark.giambio(cancel_at=1)
async def test_cancelled():
    try:
        await giambio.sleep(1)
    except giambio.CancelledError:
        await giambio.sleep("long")

class TestCase(unittest.TestCase):
    async def test_method(self):
        await giambio.sleep("long")
"""

LAST_LINES = {
    "test_wait": "await giambio.Event().wait()",
    "test_argument": 'await giambio.sleep("long")',
    "test_child": 'raise ValueError("crash")',
    "test_before": 'await giambio.sleep("long")',
    "test_after": 'raise ValueError("crash")',
    "test_explored": 'raise ValueError("crash")',
    "test_cancelled": 'await giambio.sleep("long")',
    "test_method": 'await giambio.sleep("long")',
}


def test_the_last_line_shown_is_one_of_the_program(marked):
    result = marked("import unittest\n" + FAILURES)
    for name, line in LAST_LINES.items():
        text = result.text(name)
        assert last_line_shown(text) == line
        assert shows_no_library(text)
    assert "1 passed" in result.out  # the call phase of test_after


@pytest.mark.parametrize("style", ["short", "line", "native"])
def test_every_style_of_traceback_ends_with_the_program(marked, style):
    result = marked(FAILURES.partition("@pytest.fixture")[0], f"--tb={style}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert shows_no_library(result.out)
    assert "test_it.py" in result.out


def test_errors_in_groups_and_behind_others_are_cut_in_the_same_way(marked):
    text = marked("""
        async def test_it():
            async with giambio.create_pool(errors="group") as pool:
                pool.spawn(giambio.sleep, "first")
                pool.spawn(crash)

        async def crash():
            try:
                await giambio.sleep("second")
            except TypeError as error:
                raise ValueError("third") from error
    """).text("test_it")
    assert 'await giambio.sleep("second")' in text
    assert "ValueError: third" in text
    # One was raised in a task that runs nothing but a function of the library.
    assert text.count("traps.py") == 1
    assert "_pool.py" not in text


def test_the_standard_library_is_hidden_where_the_library_calls_it(marked):
    result = marked("""
        import contextlib

        @pytest.fixture
        async def broken():
            raise ValueError("of the fixture")
            yield

        @contextlib.asynccontextmanager
        async def own():
            raise ValueError("of the test")
            yield

        @pytest.mark.giambio(explore=1)
        async def test_fixture(broken): pass

        async def test_own():
            async with own(): pass
    """)
    assert shows_no_library(result.text("test_fixture"))
    assert "contextlib.py" in result.text("test_own")


def test_errors_that_cannot_be_compared_are_shown_too(marked, free_alarm):
    result = marked("""
        class Difficult(Exception):
            __hash__ = None
            def __eq__(self, other): raise RuntimeError("cannot be compared")

        @pytest.mark.giambio(timeout=0.05)
        async def test_timeout():
            try:
                await giambio.sleep(100)
            finally:
                raise Difficult

        async def test_stopped(giambio_pool):
            giambio_pool.spawn(crash)
            try:
                await giambio.sleep(100)
            finally:
                raise Difficult

        async def crash(): raise Difficult
    """)
    assert "Difficult" in result.text("test_timeout") and "Timeout" in result.text("test_timeout")
    assert "ended with Difficult()" in result.text("test_stopped")
    assert "cannot be compared" not in result.out


def test_frames_of_an_error_that_cannot_be_assigned_to_are_hidden_and_put_back():
    class Frozen(Exception):
        def __setattr__(self, name, value):
            raise AttributeError(name)

    with pytest.raises(Frozen) as info:
        raise Frozen
    before = info.value.__traceback__
    put_back = hide_library(info)
    put_back()
    assert info.value.__traceback__ is before


def test_what_only_the_library_has_raised_is_shown_where_that_was(marked):
    text = marked("""
        async def test_it():
            giambio.spawn(giambio.sleep, "long")
    """).text("test_it")
    assert last_line_shown(text) == "raise TypeError("
    assert "in task: test_it > root > sleep" in text
    assert "_pool.py" not in text


def test_all_frames_are_shown_to_who_asks_for_them(marked):
    text = marked(
        "async def test_it(): await giambio.Event().wait()",
        "--full-trace",
    ).text("test_it")
    assert "event.py" in text


def test_who_debugs_gets_all_frames_back(marked):
    result = marked(
        """
        async def test_it():
            async with giambio.create_pool(errors="group") as pool:
                pool.spawn(giambio.sleep, "long")
        """,
        conftest="""
            import traceback

            def pytest_exception_interact(call):
                raised = call.excinfo.value
                for error in (raised, *raised.exceptions):
                    assert "giambio" in traceback.format_tb(error.__traceback__)[-1]
                assert any("_pool.py" in str(entry.path) for entry in call.excinfo.traceback)
                print("hook was called")
        """,
    )
    assert "hook was called" in result.out


def test_tests_that_are_not_ours_are_reported_as_always(inner):
    text = inner("""
        async def main():
            await giambio.sleep("long")

        def test_it():
            giambio.run(main)
    """).text("test_it")
    assert last_line_shown(text) == "raise TypeError("


def test_plain_tests_with_fixtures_of_ours_are_reported_as_ours(inner):
    text = inner("""
        @pytest_giambio.fixture
        async def broken():
            await giambio.sleep("long")

        def test_it(broken): pass
    """).text("test_it")
    assert last_line_shown(text) == 'await giambio.sleep("long")'


def test_a_test_that_skips_in_a_task_is_skipped_at_its_own_line(marked):
    result = marked(
        """
        async def test_it():
            async with giambio.create_pool() as pool:
                pool.spawn(skip)

        async def skip():
            pytest.skip("not today")
        """,
        "-rs",
    )
    assert "test_it.py:12: not today" in result.out
    assert "in task" not in result.out


@pytest.mark.parametrize(("option", "shown"), [("--tb=auto", False), ("--full-trace", True)])
def test_ctrl_c_names_the_line_where_the_test_was(marked, option, shown):
    out = marked(
        """
        import signal

        async def test_it():
            signal.raise_signal(signal.SIGINT)
            await giambio.sleep(1)
        """,
        option,
        no_reraise_ctrlc=True,
    ).out
    assert ("test_it.py:11: KeyboardInterrupt" in out) is not shown
    assert ("traps.py" in out) is shown


def test_ctrl_c_in_a_simulated_test_leaves_the_heading_in_one_line(inner):
    out = inner(
        """
        import signal

        @pytest.mark.giambio(explore=5)
        async def test_it():
            signal.raise_signal(signal.SIGINT)
        """,
        no_reraise_ctrlc=True,
    ).out
    assert "! KeyboardInterrupt !" in out
    assert "test_it.py:10: KeyboardInterrupt" in out


def test_ctrl_c_names_the_line_where_the_clean_up_was(marked):
    out = marked(
        """
        import signal

        @pytest.fixture
        async def fixture():
            yield
            signal.raise_signal(signal.SIGINT)
            await giambio.sleep(1)

        async def test_it(fixture): pass
        """,
        no_reraise_ctrlc=True,
    ).out
    assert "test_it.py:13: KeyboardInterrupt" in out
