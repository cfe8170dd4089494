# SPDX-License-Identifier: Apache-2.0
"""What fails a test, and what pytest is told of it."""

from __future__ import annotations

import pytest

from giambio import CancelledError
from pytest_giambio._outcome import simplify


def test_skip_and_xfail_and_fail_work_from_anywhere_in_a_test(marked):
    result = marked("""
        async def skip(): pytest.skip("not today")
        async def expect(): pytest.xfail("known")
        async def fail(): pytest.fail("on purpose")

        async def test_skip(): await skip()
        async def test_expect(): await expect()

        @pytest.mark.parametrize("errors", ["first", "group"])
        @pytest.mark.parametrize("outcome", [skip, expect, fail], ids=["skip", "expect", "fail"])
        async def test_child(errors, outcome):
            async with giambio.create_pool(errors=errors) as pool:
                pool.spawn(outcome)
                pool.spawn(giambio.sleep_forever)

        @pytest.mark.xfail(raises=ValueError, strict=True)
        async def test_raises():
            async with giambio.create_pool() as pool:
                pool.spawn(int_of, "x")

        async def int_of(text): return int(text)
    """)
    assert result["test_skip"] == "skipped"
    assert result["test_expect"] == "xfailed"
    for errors in ("first", "group"):
        assert result[f"test_child[skip-{errors}]"] == "skipped"
        assert result[f"test_child[expect-{errors}]"] == "xfailed"
        assert result[f"test_child[fail-{errors}]"] == "failed"
    assert result["test_raises"] == "xfailed"


def test_a_group_with_an_error_beside_a_skip_fails(marked):
    result = marked("""
        async def skip(): pytest.skip("not today")
        async def crash(): raise ValueError("crash")

        async def test_it():
            async with giambio.create_pool(errors="group") as pool:
                pool.spawn(crash)
                pool.spawn(skip)
    """)
    assert result["test_it"] == "failed"
    assert "ValueError: crash" in result.text("test_it")


@pytest.mark.parametrize("errors", ["first", "group"])
def test_exit_ends_the_session_also_from_a_child(marked, errors):
    result = marked(f"""
        async def leave(): pytest.exit("enough", returncode=7)

        async def test_it():
            async with giambio.create_pool(errors="{errors}") as pool:
                pool.spawn(leave)

        async def test_never(): pass
    """)
    assert result.ret == 7
    assert "_pytest.outcomes.Exit: enough" in result.out


def test_exit_ends_the_session_also_from_the_background_of_a_fixture(marked):
    result = marked("""
        async def leave(): pytest.exit("enough", returncode=7)

        async def test_it(giambio_pool):
            giambio_pool.spawn(leave)
            await giambio.sleep_forever()
    """)
    assert result.ret == 7


def test_a_deadlocked_test_fails_at_once_with_the_report(marked):
    result = marked("""
        async def test_it():
            lock = giambio.Lock()
            await lock.acquire()
            async with giambio.create_pool() as pool:
                task = pool.spawn(lock.acquire)
                await task.join()
    """)
    assert result["test_it"] == "failed"
    text = result.text("test_it")
    assert "DeadlockError: no task can ever run again" in text
    assert "acquire: waits for <Lock" in text
    assert "held by 'test_it'" in text


def test_a_deadlocked_fixture_fails_at_once_too(marked):
    result = marked("""
        @pytest.fixture
        async def it():
            await giambio.Event().wait()

        async def test_it(it): pass
        async def test_afterwards(): pass
    """)
    assert result["test_it"] == "error in setup"
    assert "DeadlockError" in result.text("test_it")
    assert result["test_afterwards"] == "passed"


def test_tasks_that_are_left_over_fail_the_test(marked):
    result = marked("""
        async def test_it():
            giambio.spawn(giambio.sleep, 100)

        async def test_ended():
            giambio.spawn(giambio.sleep, 0)
    """)
    assert result["test_it"] == "failed"
    text = result.text("test_it")
    assert "test 'test_it' has ended, and tasks that it spawned have not" in text
    assert "<Task 'sleep' waiting on Sleep(" in text
    assert result["test_ended"] == "passed"


def test_services_of_libraries_are_not_left_over(marked):
    assert marked("""
        async def test_it():
            scope = giambio.current_task().scope
            scope.service(giambio.sleep_forever)
    """).passed()


def test_an_error_of_a_spawned_task_fails_the_test_that_spawned_it_and_no_other(marked):
    result = marked("""
        @pytest.fixture(scope="session")
        async def shared(): yield

        async def crash(): raise ValueError("in the background")

        async def test_it(shared):
            async with giambio.create_pool() as pool:
                pool.spawn(spawn_one)
                await giambio.sleep_forever()

        async def spawn_one(): giambio.spawn(crash)

        async def test_afterwards(shared): pass
    """)
    assert result["test_it"] == "failed"
    assert "ValueError: in the background" in result.text("test_it")
    assert result["test_afterwards"] == "passed"


def test_a_coroutine_that_nobody_awaits_fails_the_phase_in_which_it_is_dropped(marked):
    result = marked("""
        async def test_it():
            giambio.sleep(1)

        @pytest.fixture
        async def before(): giambio.sleep(1)

        @pytest.fixture
        async def after():
            yield
            giambio.sleep(1)

        async def test_before(before): pass
        async def test_after(after): pass

        async def test_both():
            giambio.sleep(1)
            raise ValueError("worse")

        async def test_expected():
            with pytest.warns(RuntimeWarning, match="never awaited"):
                giambio.sleep(1)
    """)
    assert result["test_it"] == "failed"
    assert "coroutine 'sleep' was never awaited (dropped at " in result.text("test_it")
    assert result["test_before"] == "error in setup"
    assert result["test_after"] == "passed, error in teardown"
    assert "ValueError: worse" in result.text("test_both")
    assert "coroutine 'sleep' was never awaited" in result.text("test_both")
    assert result["test_expected"] == "passed"


def test_a_failure_without_a_traceback_tells_of_coroutines_too(marked):
    text = marked("""
        async def test_it():
            giambio.sleep(1)
            pytest.fail("on purpose", pytrace=False)
    """).text("test_it")
    assert text.startswith("on purpose\ncoroutine 'sleep' was never awaited")


def test_coroutines_of_a_test_that_is_skipped_or_expected_to_fail_are_warned_of(marked):
    result = marked(
        """
        async def test_skip():
            giambio.sleep(1)
            pytest.skip("not today")

        async def test_expect():
            giambio.sleep_forever()
            pytest.xfail("known")
        """,
        "-rs",
    )
    assert result["test_skip"] == "skipped"
    assert result["test_expect"] == "xfailed"
    assert "not today\n===" in result.out
    assert "RuntimeWarning: coroutine 'sleep' was never awaited" in result.out
    assert "RuntimeWarning: coroutine 'sleep_forever' was never awaited" in result.out


def test_no_test_is_blamed_for_a_coroutine_that_another_has_left_in_a_circle(marked):
    result = marked("""
        import gc

        async def test_it():
            circle = [giambio.sleep(1)]
            circle.append(circle)

        async def test_afterwards(): gc.collect()
    """)
    assert result.passed()
    assert "RuntimeWarning: coroutine 'sleep' was never awaited" in result.out


def test_async_functions_that_set_up_are_said_to_be_fixtures(marked):
    result = marked("""
        import unittest

        class TestPlain:
            async def setup_method(self): pass
            async def test_plain(self): pass

        class TestCase(unittest.TestCase):
            async def setUp(self): self.number = 5
            async def test_passing(self): pass
            async def test_failing(self): assert self.number == 5
    """)
    assert result["test_plain"] == "error in setup"
    assert result["test_passing"] == result["test_failing"] == "failed"
    assert "AttributeError" in result.text("test_failing")
    for name, coroutine in {
        "test_plain": "TestPlain.setup_method",
        "test_passing": "TestCase.setUp",
        "test_failing": "TestCase.setUp",
    }.items():
        text = result.text(name)
        assert f"coroutine '{coroutine}' was never awaited" in text
        assert "make it an async fixture, with autouse=True" in text
        assert "mark the class" not in text


def test_fixtures_that_record_warnings_get_them(marked):
    assert marked("""
        import warnings

        @pytest.fixture
        def recorded():
            with warnings.catch_warnings(record=True) as recorded:
                warnings.simplefilter("always")
                yield
                assert len(recorded) == 2

        async def test_recwarn(recwarn):
            warnings.warn("careful")
            giambio.sleep(1)
            assert len(recwarn) == 2

        async def test_own(recorded):
            warnings.warn("careful")
            giambio.sleep(1)
    """).passed()


def test_other_warnings_are_passed_on(marked):
    result = marked("""
        import warnings
        async def test_it(): warnings.warn("careful", UserWarning)
    """)
    assert result["test_it"] == "passed"
    assert "UserWarning: careful" in result.out


@pytest.mark.parametrize("arguments", ["", "explore=5"])
def test_a_test_that_returns_something_is_warned_as_pytest_warns_plain_ones(inner, arguments):
    result = inner(f"""
        @pytest.mark.giambio({arguments})
        async def test_it(): return 1 == 2

        @pytest.mark.giambio({arguments})
        async def test_nothing(): return None
    """)
    assert result["test_it"] == "passed"
    assert "test_it.py::test_it returned False, which decides nothing" in result.out
    assert result.out.count("PytestReturnNotNoneWarning") == 1


def test_an_error_in_a_pool_is_shown_as_itself_with_the_path_of_the_task(marked):
    text = marked("""
        async def test_it():
            async with giambio.create_pool() as pool:
                pool.spawn(crash)

        async def crash(): raise ValueError("crash")
    """).text("test_it")
    assert "ValueError: crash" in text
    assert "in task: test_it > pool > crash" in text
    assert "pytest_giambio" not in text


def test_assertions_of_async_tests_are_explained(marked):
    assert "assert 1 == 2" in marked("""
        async def test_it():
            one = 1
            assert one == 2
    """).text("test_it")


def test_a_cancellation_by_hand_is_an_error_of_the_test(marked):
    result = marked("""
        async def test_it():
            giambio.current_task().cancel("by hand")
            await giambio.sleep(1)
    """)
    assert result["test_it"] == "failed"
    assert "TaskCancelled: it was cancelled: by hand" in result.text("test_it")


@pytest.mark.parametrize("scope", ["function", "module"])
def test_an_error_in_a_call_from_a_thread_fails_the_test(marked, scope):
    result = marked(f"""
        import giambio.lowlevel

        log = []

        @pytest.fixture(scope="{scope}")
        async def fixture():
            yield
            log.append("cleaned up")

        async def test_it(fixture):
            giambio.lowlevel.current_scheduler().call_soon_threadsafe(int, "x")
            await giambio.sleep(100)

        async def test_user(fixture): pass
        async def test_afterwards(): assert log or "{scope}" == "module"
    """)
    assert result["test_it"] == "failed"
    assert "invalid literal for int()" in result.text("test_it")
    # The loop as a whole has failed, so whoever shares it fails, too.
    assert result["test_user"] == ("passed" if scope == "function" else "failed")
    assert result["test_afterwards"] == "passed"


# What pytest could not digest


class Odd(BaseException):
    """No `Exception`, and nothing that pytest knows."""


def test_a_lone_odd_error_becomes_one_that_does_not_end_the_session():
    odd = Odd("odd")
    simple = simplify(odd)
    assert isinstance(simple, RuntimeError)
    assert str(simple) == "Odd: odd"
    assert simple.__cause__ is odd


def test_odd_errors_in_groups_become_others_too():
    group = BaseExceptionGroup("two", [ValueError(), BaseExceptionGroup("one", [Odd()])])
    group.add_note("a note")
    simple = simplify(group)
    assert simple.__notes__ == ["a note"]
    assert type(simple) is ExceptionGroup
    assert [type(each) for each in simple.exceptions] == [ValueError, RuntimeError]
    assert str(simple.exceptions[1]) == "Odd"


def test_cancellations_in_a_group_do_not_count():
    skipped = pytest.skip.Exception("not today")
    group = BaseExceptionGroup("two", [CancelledError(), skipped])
    assert simplify(group) is skipped
    assert skipped.__cause__ is group


def test_what_ends_the_session_goes_before_all_else_in_a_group():
    group = BaseExceptionGroup("two", [ValueError(), KeyboardInterrupt()])
    assert isinstance(simplify(group), KeyboardInterrupt)
