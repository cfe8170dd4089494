# SPDX-License-Identifier: Apache-2.0
"""Which tests are run by the plugin, and what it says of those that cannot be."""

from __future__ import annotations

import pytest


def test_a_marked_test_runs_on_the_loop(inner):
    assert inner("""
        @pytest.mark.giambio
        async def test_it():
            assert giambio.current_task().name == "test_it"
    """).passed()


MARK_IT = (
    "To run it on giambio, mark the test with @pytest.mark.giambio, or set giambio_mode = auto."
)


def test_in_strict_mode_an_unmarked_async_test_fails_and_is_told_of_the_marker(inner):
    result = inner("""
        async def test_it(): pass

        class TestIt:
            async def test_method(self): pass

        async def test_generator(): yield
    """)
    for name in ("test_it", "test_method", "test_generator"):
        assert result[name] == "failed"
        text = result.text(name)
        assert text.startswith("async def functions are not natively supported")
        assert MARK_IT in text


def test_an_unmarked_async_test_of_hypothesis_is_told_of_the_marker(inner):
    pytest.importorskip("hypothesis")
    result = inner(
        """
        from hypothesis import given, strategies as st

        @given(number=st.integers())
        async def test_it(number): pass
        """,
        beside="_hypothesis_pytestplugin",
    )
    assert result["test_it"] == "failed"
    assert MARK_IT in result.text("test_it")


def test_an_unmarked_plain_test_that_uses_an_async_fixture_is_told_of_the_marker(inner):
    result = inner("""
        @pytest.fixture
        async def number(): return 5

        @pytest.fixture
        def next_number(number): return [number.close()]

        def test_it(next_number): pass
    """)
    if pytest.version_tuple >= (9, 1):  # older ones give the coroutine to the test, with a warning
        assert result["test_it"] == "error in setup"
        assert result.text("test_it").count(MARK_IT) == 1


def test_a_plain_function_that_returns_a_coroutine_is_no_async_test_and_is_told_so(marked):
    result = marked("""
        import functools

        def decorated(function):
            @functools.wraps(function)
            def call(*args): return function(*args)
            return call

        @decorated
        async def test_it(): pass
    """)
    assert result["test_it"] == "failed"
    assert "this is a plain one that returns a coroutine" in result.text("test_it")
    assert MARK_IT not in result.text("test_it")


def test_who_wants_another_plugin_is_not_told_of_the_marker(inner):
    result = inner(
        """
        @pytest.mark.trio
        async def test_trio(): pass

        @pytest.mark.asyncio
        async def test_asyncio(): pass
        """,
        conftest="""
            import pytest

            def pytest_configure(config):
                config.addinivalue_line("markers", "trio: of a plugin that is not there")
                config.addinivalue_line("markers", "asyncio: of another plugin")

            def pytest_pyfunc_call(pyfuncitem):
                if pyfuncitem.name == "test_asyncio":
                    pytest.fail("from another plugin")
        """,
    )
    assert result["test_trio"] == result["test_asyncio"] == "failed"
    assert "from another plugin" in result.text("test_asyncio")
    assert "giambio" not in result.text("test_trio") + result.text("test_asyncio")


@pytest.mark.parametrize("where", ["ini", "command line", "conftest"])
def test_in_auto_mode_an_async_test_needs_no_marker(inner, pytester, where):
    if where == "ini":
        pytester.makeini("[pytest]\ngiambio_mode = auto")
    if where == "conftest":
        pytester.makeconftest("giambio_mode = 'auto'")
    args = ["--giambio-mode=auto"] if where == "command line" else []
    assert inner("async def test_it(): await giambio.sleep(0)", *args).passed()


def test_the_mode_of_the_nearest_directory_counts(inner, pytester):
    test = "async def test_{}(): import giambio; await giambio.sleep(0)"
    for path, mode in {"a": "auto", "a/b": "strict", "a/b/c": "auto"}.items():
        pytester.mkdir(path)
        (pytester.path / path / "conftest.py").write_text(f"giambio_mode = {mode!r}")
        name = path.replace("/", "")
        (pytester.path / path / f"test_{name}.py").write_text(test.format(name))
    result = inner("async def test_top(): pass")
    outcomes = [result[f"test_{name}"] for name in ("top", "a", "ab", "abc")]
    assert outcomes == ["failed", "passed", "failed", "passed"]


def test_the_command_line_goes_before_the_directories(inner, pytester):
    pytester.makeconftest("giambio_mode = 'auto'")
    assert inner("async def test_it(): pass", "--giambio-mode=strict")["test_it"] == "failed"


def test_a_mode_that_does_not_exist_is_refused(inner, pytester):
    pytester.makeini("[pytest]\ngiambio_mode = always")
    result = inner("def test_it(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "giambio_mode must be strict or auto, not 'always'" in result.err


def test_a_mode_of_a_directory_that_does_not_exist_is_refused(inner, pytester):
    pytester.makeconftest("giambio_mode = True")
    result = inner("def test_it(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "conftest.py: giambio_mode must be strict or auto, not True" in result.err


@pytest.mark.parametrize(
    ("ini", "complaint"),
    [
        ("giambio_clock = sundial", "giambio_clock must be system or virtual, not 'sundial'"),
        ("giambio_timeout = -1", "giambio_timeout must be at least 0 seconds, not -1"),
    ],
)
def test_bad_ini_values_are_refused(inner, pytester, ini, complaint):
    pytester.makeini(f"[pytest]\n{ini}")
    result = inner("def test_it(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert complaint in result.err


def test_the_options_also_stand_in_a_toml_file(inner, pytester):
    pytester.makepyprojecttoml("""
        [tool.pytest.ini_options]
        giambio_mode = "auto"
        giambio_timeout = "2.5"
        giambio_clock = "virtual"
        strict_markers = true
        strict_config = true
    """)
    assert inner("async def test_it(): await giambio.sleep(100)").passed()


WRONG_ARGUMENTS = {
    "strategy='pct'": "strategy says nothing without explore",
    "target='worker'": "target says nothing without cancel_at",
    "explore=5, clock='system'": "clock='system' cannot be had: the time of a simulated test",
    "network='memory', timeout=5": "timeout limits the real time of a test, and a simulated one",
    "timout=1": "the giambio marker has no argument timout; did you mean timeout?",
    "xyz=1": "the giambio marker has no argument xyz; it takes clock, timeout, explore",
    "5": "the giambio marker takes keyword arguments only, not 5",
    "clock='sundial'": "clock must be 'system' or 'virtual', not 'sundial'",
    "timeout=-1": "timeout must be a number of seconds, not -1",
    "timeout=float('inf')": "timeout must be a number of seconds, not inf",
    "timeout=True": "timeout must be a number of seconds, not True",
    "explore='many'": "explore must be a whole number from 0, not 'many'",
    "seed=1.5": "seed must be a whole number from 0, not 1.5",
    "replay=7": "replay must be a string, not 7",
    "explore=5, strategy='best'": "strategy must be one of auto, fifo, lifo",
    "network='real'": "network must be 'memory' or a MemoryNetwork, not 'real'",
    "cancel_at='everywhere'": "cancel_at must be 'every checkpoint', 'every site', or",
    "cancel_at=[1, 'a']": "cancel_at must be 'every checkpoint', 'every site', or",
    "cancel_at=True": "cancel_at must be 'every checkpoint', 'every site', or",
}


def test_a_wrong_argument_of_the_marker_is_a_collection_error_that_names_the_test(inner, pytester):
    for number, arguments in enumerate(WRONG_ARGUMENTS):
        source = f"""
            import pytest
            @pytest.mark.giambio({arguments})
            async def test_it(): pass
        """
        pytester.makepyfile(**{f"test_{number}": source})
    result = inner("def test_good(): pass", "--continue-on-collection-errors")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result["test_good"] == "passed"
    for number, complaint in enumerate(WRONG_ARGUMENTS.values()):
        assert f"test_{number}.py::test_it: {complaint}" in result.out


def test_a_wrong_argument_that_comes_later_fails_the_test(inner):
    result = inner(
        "async def test_it(): pass",
        conftest="""
            import pytest
            def pytest_collection_modifyitems(items):
                items[0].add_marker(pytest.mark.giambio(timout=1))
        """,
    )
    assert result["test_it"] == "error in setup"
    assert "test_it.py::test_it: the giambio marker has no argument timout" in result.out


def test_a_marker_that_comes_too_late_fails_the_test(inner):
    result = inner("""
        @pytest.fixture(autouse=True)
        def mark(request): request.node.add_marker(pytest.mark.giambio)

        async def test_it(): pass
    """)
    assert result["test_it"] == "failed"
    assert "test_it.py::test_it was marked for giambio while its fixtures" in result.text("test_it")


def test_a_closer_marker_goes_before_one_further_away(inner):
    assert inner("""
        pytestmark = pytest.mark.giambio(clock="virtual", timeout=5)

        class TestIt:
            @pytest.mark.giambio(timeout=50)
            async def test_inner(self):
                await giambio.sleep(1000)
    """).passed()


def test_an_async_generator_is_no_test(inner):
    result = inner("""
        @pytest.mark.giambio
        async def test_it():
            yield
    """)
    assert "ERROR collecting" in result.out
    assert "an async generator cannot be a test" in result.out


def test_a_plain_test_cannot_ask_for_what_only_a_loop_has(inner):
    result = inner("""
        @pytest.mark.giambio(timeout=1)
        def test_it(): pass
    """)
    assert "timeout can only be asked for by an async test" in result.out


def test_plain_tests_beside_marked_ones_run_as_always(marked):
    assert marked("""
        def test_it(tmp_path):
            assert tmp_path.exists()

        class TestIt:
            def test_method(self): pass
    """).passed()


def test_tests_with_parameters_and_in_classes_get_their_arguments_and_instance(marked):
    assert marked("""
        class TestIt:
            @pytest.fixture
            async def number(self):
                self.seen = 5
                return 5

            @pytest.mark.parametrize("factor", [1, 2])
            async def test_it(self, number, factor):
                assert self.seen == number
                assert factor in (1, 2)
                assert type(self).__name__ == "TestIt"

            @staticmethod
            async def test_static(): await giambio.sleep(0)
    """).passed()


# Beside other plugins


def test_in_auto_mode_the_tests_of_other_plugins_are_left_alone(inner):
    result = inner(
        """
        @pytest.mark.trio
        async def test_trio(number): pass

        @pytest.fixture
        async def number(): return 5

        @pytest.mark.asyncio
        async def test_asyncio(): pass
        """,
        "--giambio-mode=auto",
        conftest="""
            import pytest
            def pytest_configure(config):
                config.addinivalue_line("markers", "trio: of another plugin")
                config.addinivalue_line("markers", "asyncio: of another plugin")
            def pytest_fixture_setup(fixturedef, request):
                if fixturedef.argname == "number":
                    fixturedef.cached_result = (7, fixturedef.cache_key(request), None)
                    return 7
            def pytest_pyfunc_call(pyfuncitem):
                assert pyfuncitem.funcargs.get("number", 7) == 7
                return True  # pretend to run it
        """,
    )
    assert result.passed()


def test_in_auto_mode_the_fixtures_of_other_plugins_are_left_alone(inner):
    assert inner(
        """
        async def number(): return 5
        number._force_asyncio_fixture = True
        number = pytest.fixture(number)

        async def test_it(number): assert number == 7
        """,
        "--giambio-mode=auto",
        conftest="""
            def pytest_fixture_setup(fixturedef, request):
                if fixturedef.argname == "number":
                    fixturedef.cached_result = (7, fixturedef.cache_key(request), None)
                    return 7
        """,
    ).passed()


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_pytest_asyncio_and_anyio_can_run_their_tests_in_the_same_file(inner, mode):
    pytest.importorskip("pytest_asyncio")
    pytest.importorskip("anyio")
    assert inner(
        """
        import anyio
        import asyncio
        import pytest_asyncio

        @pytest_asyncio.fixture
        async def of_asyncio():
            await asyncio.sleep(0)
            yield "asyncio"

        @pytest.fixture
        async def of_anyio(anyio_backend):
            await anyio.sleep(0)
            yield anyio_backend

        @pytest.fixture
        async def of_giambio():
            await giambio.sleep(0)
            yield "giambio"

        @pytest.mark.asyncio
        async def test_asyncio(of_asyncio):
            await asyncio.sleep(0)
            assert of_asyncio == "asyncio"

        @pytest.mark.anyio
        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_anyio(of_anyio):
            await anyio.sleep(0)
            assert of_anyio == "asyncio"

        @pytest.mark.giambio
        async def test_giambio(of_giambio):
            await giambio.sleep(0)
            assert of_giambio == "giambio"
        """,
        f"--giambio-mode={mode}",
        "-p",
        "anyio",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
        beside="pytest_asyncio.plugin",
    ).passed()


def test_two_plugins_in_auto_mode_are_refused(inner):
    result = inner(
        "async def test_it(): pass",
        "--giambio-mode=auto",
        beside="other_plugin",
        other_plugin="""
            def pytest_addoption(parser):
                parser.addini("anyio_mode", "mode of another plugin", default="auto")
        """,
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "giambio_mode and anyio_mode both ask for all async tests" in result.err


def test_a_test_marked_for_two_plugins_is_refused(inner):
    result = inner("""
        @pytest.mark.giambio
        @pytest.mark.anyio
        async def test_it(): pass
    """)
    assert "both giambio and anyio claim it" in result.out


def test_a_marked_test_that_another_plugin_has_made_its_own_is_refused(inner):
    result = inner(
        """
        pytestmark = pytest.mark.giambio
        async def test_it(): pass
        """,
        conftest="""
            import pytest

            class Coroutine(pytest.Function): pass
            Coroutine.__module__ = "pytest_asyncio.plugin"

            def pytest_pycollect_makeitem(collector, name, obj):
                if name == "test_it":
                    return Coroutine.from_parent(collector, name=name)
        """,
    )
    assert "both giambio and asyncio claim it" in result.out


def test_the_plugin_is_found_and_imports_giambio_only_when_it_is_needed(pytester, monkeypatch):
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    monkeypatch.delenv("PYTEST_PLUGINS")
    pytester.makepyfile("""
        import sys
        def test_it():
            assert "pytest_giambio.plugin" in sys.modules
            assert "giambio" not in sys.modules
    """)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
