# SPDX-License-Identifier: Apache-2.0
"""Async fixtures: scopes, both halves in one task, crashes, contexts, instances."""

from __future__ import annotations

import pytest

KINDS = """
log = []

@pytest.fixture
async def function():
    await giambio.sleep(0)
    return "function"

@pytest.fixture
async def generator(function):
    log.append("set up")
    yield f"generator after {function}"
    await giambio.sleep(0)
    log.append("clean up")
"""


def test_async_functions_and_async_generators_are_fixtures(marked):
    assert marked(
        KINDS
        + """
async def test_it(generator):
    assert generator == "generator after function"
    assert log == ["set up"]

def test_afterwards():
    assert log == ["set up", "clean up"]
"""
    ).passed()


def test_plain_tests_can_use_them_too(marked):
    assert marked(KINDS + "\ndef test_it(generator): assert log == ['set up']").passed()


def test_an_async_fixture_may_return_nothing(marked):
    assert marked("""
        @pytest.fixture
        async def nothing(): pass

        async def test_it(nothing): assert nothing is None
    """).passed()


@pytest.mark.parametrize("scope", ["class", "module", "package", "session"])
def test_a_fixture_that_outlives_a_test_shares_its_loop_with_all_that_use_it(marked, scope):
    assert marked(f"""
        log = []

        @pytest.fixture(scope="{scope}")
        async def pool():
            log.append("set up")
            async with giambio.create_pool() as pool:
                yield pool
                pool.cancel()
            log.append("clean up")

        @pytest.fixture
        async def event(pool):
            event = giambio.Event()
            pool.spawn(wait_for, event)
            yield event

        async def wait_for(event):
            await event.wait()
            log.append("woken")

        class TestIt:
            async def test_one(self, event):
                event.set()
                await giambio.sleep(0)
                await giambio.sleep(0)

            async def test_alone(self):
                assert giambio.clock() > 0

            async def test_two(self, pool):
                assert log == ["set up", "woken"]
    """).passed()


def test_fixtures_are_cleaned_up_in_the_reverse_order(marked):
    assert marked("""
        log = []

        def make(name, scope):
            @pytest.fixture(scope=scope, name=name)
            async def fixture(request):
                log.append(name)
                yield
                log.append("-" + name)
            return fixture

        a = make("a", "module")
        b = make("b", "class")
        c = make("c", "function")

        class TestIt:
            @pytest.mark.usefixtures("c", "b", "a")
            async def test_one(self): assert log == ["a", "b", "c"]
            async def test_two(self, c): assert log == ["a", "b", "c", "-c", "c"]

        async def test_three(): assert log[-2:] == ["-c", "-b"]
    """).passed()


def test_a_pool_and_a_timeout_may_span_the_yield(marked):
    assert marked("""
        @pytest.fixture
        async def pool():
            async with giambio.with_timeout(60) as outer:
                async with giambio.create_pool() as inner:
                    outer.spawn(giambio.sleep, 0)
                    yield inner
                    assert giambio.current_task().name == "pool"

        @pytest.fixture
        async def other():
            async with giambio.skip_after(60):
                yield 5

        async def test_it(pool, other):
            task = pool.spawn(giambio.sleep, 0)
            await task.join()
    """).passed()


def test_both_halves_run_in_one_task_and_the_test_in_another(marked):
    assert marked("""
        tasks = []

        @pytest.fixture
        async def it():
            tasks.append(giambio.current_task())
            yield
            tasks.append(giambio.current_task())

        async def test_it(it): tasks.append(giambio.current_task())
        def test_afterwards():
            first, test, second = tasks
            assert first is second is not test
    """).passed()


def test_a_crash_in_the_background_of_a_fixture_fails_the_test_with_the_real_error(marked):
    result = marked("""
        @pytest.fixture
        async def server():
            async with giambio.create_pool() as pool:
                pool.spawn(crash)
                yield

        @pytest.fixture
        async def bystander():
            yield
            await giambio.sleep(0)  # is not cancelled

        async def crash():
            await giambio.sleep(0)
            await giambio.sleep(0)
            raise ValueError("the server crashed")

        async def test_it(bystander, server):
            try:
                await giambio.sleep_forever()
            finally:
                assert True

        async def test_afterwards(): pass
    """)
    assert result["test_it"] == "failed"
    assert result["test_afterwards"] == "passed"
    text = result.text("test_it")
    assert "ValueError: the server crashed" in text
    assert "CancelledError" not in text


@pytest.mark.parametrize("turns", range(7))
def test_whenever_a_fixture_crashes_its_error_is_told_and_nothing_else(marked, turns):
    result = marked(f"""
        async def crash():
            for _ in range({turns}):
                await giambio.sleep(0)
            raise ValueError("crash")

        @pytest.fixture
        async def first():
            async with giambio.create_pool() as pool:
                pool.spawn(crash)
                yield

        @pytest.fixture
        async def second(first):
            await giambio.sleep(0)
            await giambio.sleep(0)
            yield
            await giambio.sleep(0)

        async def test_it(second):
            await giambio.sleep(0)
            await giambio.sleep(0)
    """)
    assert result["test_it"] in ("failed", "error in setup", "passed, error in teardown")
    assert "ValueError: crash" in result.text("test_it")
    assert "CancelledError" not in result.out


def test_a_crash_that_no_test_has_seen_is_an_error_of_the_clean_up(marked):
    result = marked("""
        @pytest.fixture
        async def server():
            async with giambio.create_pool() as pool:
                yield pool

        async def crash():
            raise ValueError("the server crashed")

        async def test_it(server):
            server.spawn(crash)  # which runs only when the test is over
    """)
    assert result["test_it"] == "passed, error in teardown"
    assert "the server crashed" in result.text("test_it")


def test_a_crashed_session_fixture_fails_all_its_tests_and_no_others(marked):
    result = marked("""
        @pytest.fixture(scope="session")
        async def server():
            async with giambio.create_pool() as pool:
                yield pool

        async def crash(): raise ValueError("the server crashed")

        async def test_one(server):
            server.spawn(crash)
            await giambio.sleep(1)

        async def test_two(server): pass
        @pytest.fixture
        async def client(server): pass
        async def test_three(client): pass
        async def test_four(): pass
        def test_plain(server): pass
        def test_plain_alone(): pass
    """)
    assert result["test_one"] == "failed"
    assert result["test_two"] == "failed"
    assert result["test_three"] == "error in setup"
    assert result["test_four"] == result["test_plain_alone"] == "passed"
    assert result["test_plain"] == "failed"
    assert result.out.count("the server crashed\n") >= 4
    assert "CancelledError" not in result.out


def test_what_a_test_says_of_its_own_while_it_is_stopped_becomes_a_note(marked):
    result = marked("""
        async def test_it(giambio_pool):
            giambio_pool.spawn(crash)
            try:
                await giambio.sleep(1)
            finally:
                raise KeyError("of the test")

        async def crash(): raise ValueError("of the fixture")
    """)
    text = result.text("test_it")
    assert "ValueError: of the fixture" in text
    assert "stopped by this, ended with KeyError('of the test')" in text


def test_errors_of_set_up_and_clean_up_are_reported_in_their_phase(marked):
    result = marked("""
        @pytest.fixture
        async def before(): raise ValueError("in the set-up")

        @pytest.fixture
        async def after():
            yield
            raise ValueError("in the clean-up")

        async def test_before(before): pass
        async def test_after(after): pass
    """)
    assert result["test_before"] == "error in setup"
    assert "in the set-up" in result.text("test_before")
    assert result["test_after"] == "passed, error in teardown"
    assert "in the clean-up" in result.text("test_after")


def test_a_fixture_that_failed_is_set_up_again_for_the_next_test(marked):
    result = marked("""
        times = []

        @pytest.fixture
        async def flaky():
            times.append(1)
            if len(times) == 1:
                raise ValueError
            return 5

        async def test_one(flaky): pass
        async def test_two(flaky): assert flaky == 5
    """)
    assert result["test_one"] == "error in setup"
    assert result["test_two"] == "passed"


@pytest.mark.skipif(
    pytest.version_tuple < (9, 1), reason="before, pytest handed out the async generator itself"
)
@pytest.mark.parametrize("scope", ["function", "session"])
def test_a_fixture_that_an_unmarked_test_has_asked_for_in_vain_can_be_used_by_others(inner, scope):
    result = inner(f"""
        @pytest.fixture(scope={scope!r})
        async def fixture():
            yield 1

        @pytest.fixture(scope={scope!r})
        async def user(fixture):
            yield fixture

        def test_unmarked(user): pass

        async def test_unmarked_too(fixture): pass

        @pytest.mark.giambio
        async def test_marked(fixture, user): assert fixture == user == 1
    """)
    assert result["test_unmarked"] == "error in setup"
    assert result["test_unmarked_too"] == "error in setup"
    assert "with no plugin or hook that handled it" in result.text("test_unmarked_too")
    assert result["test_marked"] == "passed"


def test_a_fixture_can_skip(marked):
    source = """
        @pytest.fixture
        async def it(): pytest.skip("not today")

        @pytest.fixture(scope="module")
        async def background():
            async with giambio.create_pool() as pool:
                await pool.spawn(skip).join()
                yield

        async def skip(): pytest.skip("not in the background either")

        async def test_it(it): pass
        async def test_background(background): pass
    """
    result = marked(source, "-rs")
    assert result["test_it"] == result["test_background"] == "skipped"
    assert "not in the background either" in result.out


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_a_fixture_must_yield_exactly_once(marked, kind):
    result = marked(f"""
        @pytest_giambio.fixture
        {kind} never():
            if False:
                yield

        @pytest_giambio.fixture
        {kind} twice():
            yield
            yield

        async def test_never(never): pass
        async def test_twice(twice): pass
    """)
    assert result["test_never"] == "error in setup"
    assert "fixture 'never' did not yield a value" in result.text("test_never")
    assert result["test_twice"] == "passed, error in teardown"
    assert "fixture 'twice' has more than one yield" in result.text("test_twice")


def test_a_fixture_may_leave_a_task_until_it_is_cleaned_up_but_not_longer(marked):
    result = marked("""
        @pytest.fixture
        async def short():
            giambio.spawn(giambio.sleep, 0)
            return 5

        @pytest.fixture
        async def long():
            giambio.spawn(giambio.sleep_forever)
            return 5

        async def test_short(short): await giambio.sleep(0)
        async def test_long(long): await giambio.sleep(0)
    """)
    assert result["test_short"] == "passed"
    assert result["test_long"] == "passed, error in teardown"
    assert "fixture 'long' has ended, and tasks that it spawned have not" in result.out


def test_a_scope_of_a_fixture_that_expires_does_not_stop_the_test(marked):
    assert marked("""
        @pytest.fixture
        async def impatient():
            async with giambio.skip_after(1) as scope:
                yield scope
            assert scope.timed_out

        @pytest.mark.giambio(clock="virtual")
        async def test_it(impatient):
            await giambio.sleep(2)
            assert impatient.cancel_called
    """).passed()


# The decorator


def test_a_plain_function_can_be_a_fixture_in_the_loop(inner):
    assert inner("""
        log = []

        @pytest_giambio.fixture
        def number():
            log.append(giambio.current_task().name)
            return 5

        @pytest_giambio.fixture(scope="module", params=[1, 2], ids=["one", "two"], name="factor")
        def make_factor(request):
            yield request.param
            log.append("clean up")

        @pytest.mark.giambio
        async def test_it(number, factor): assert number * factor in (5, 10)

        def test_plain(number, factor): assert number * factor in (5, 10)

        def test_afterwards(): assert log[:5] == ["number", "number", "clean up"] + ["number"] * 2
    """).passed()


def test_a_static_method_can_be_a_fixture(inner):
    assert inner("""
        class TestIt:
            @pytest_giambio.fixture
            @staticmethod
            async def number(): return 5

            def test_it(self, number): assert number == 5
    """).passed()


# Requests


def test_a_fixture_can_override_one_of_the_same_name_and_use_it(marked):
    assert marked(
        """
        @pytest.fixture
        async def number(number):
            return number + 1

        async def test_it(number): assert number == 6
        """,
        conftest="""
            import pytest

            @pytest.fixture
            async def number(): return 5
        """,
    ).passed()


def test_fixtures_with_parameters(marked):
    assert marked("""
        log = []

        @pytest.fixture(params=[1, 2], scope="module")
        async def number(request):
            yield request.param
            log.append(request.param)

        async def test_one(number): assert number in (1, 2)
        async def test_two(number): assert number in (1, 2)
        async def test_three(): assert log == [1]
    """).passed()


def test_autouse_and_plain_fixtures_mix_with_async_ones(marked):
    assert marked("""
        log = []

        @pytest.fixture(autouse=True)
        async def always(): log.append("always")

        @pytest.fixture
        def plain(number): return number + 1

        @pytest.fixture
        async def number(tmp_path): return len([tmp_path])

        async def test_it(plain):
            assert plain == 2
            assert log == ["always"]
    """).passed()


def test_the_value_of_a_fixture_can_be_requested_before_the_test_runs(marked):
    assert marked("""
        @pytest.fixture
        async def number(): return 5

        @pytest.fixture
        def either(request): return request.getfixturevalue("number")

        async def test_it(either, request):
            assert either == request.getfixturevalue("number") == 5
    """).passed()


def test_a_fixture_cannot_be_set_up_while_the_loop_runs(marked):
    result = marked("""
        @pytest.fixture
        async def number(): return 5

        async def test_it(request): request.getfixturevalue("number")
    """)
    assert result["test_it"] == "failed"
    text = result.text("test_it")
    assert text.startswith("fixture 'number' is set up in the loop")
    assert "make the fixture an argument of the test" in text
    assert ".py:" not in text  # no frame of pytest's, nor of the plugin


def test_a_fixture_that_outlives_a_test_cannot_be_set_up_in_a_loop_that_does_not(marked):
    result = marked("""
        @pytest.fixture(scope="module")
        async def number(): return 5

        @pytest.fixture
        async def other(): pass

        @pytest.fixture
        def late(other, request): return request.getfixturevalue("number")

        async def test_it(late): pass
    """)
    assert result["test_it"] == "error in setup"
    assert result.text("test_it").startswith("fixture 'number' outlives the test")


# Contexts


def test_context_variables_of_fixtures_reach_the_test_and_are_undone_after_it(marked):
    assert marked("""
        a = ContextVar("a", default="unset")
        b = ContextVar("b", default="unset")

        @pytest.fixture
        async def outer():
            a.set("outer")
            yield
            assert a.get() == "outer"
            assert b.get() == "unset"

        @pytest.fixture
        async def inner(outer):
            assert a.get() == "outer"
            a.set("inner")
            b.set("inner")

        @pytest.fixture
        def plain(inner): assert a.get() == "inner"

        async def test_it(plain, inner):
            assert (a.get(), b.get()) == ("inner", "inner")
            b.set("test")

        async def test_afterwards(): assert (a.get(), b.get()) == ("unset", "unset")
        def test_outside(): assert (a.get(), b.get()) == ("unset", "unset")
    """).passed()
