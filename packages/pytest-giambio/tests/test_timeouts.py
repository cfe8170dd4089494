# SPDX-License-Identifier: Apache-2.0
"""Limits of time: the marker's, the configuration's, and those of pytest-timeout."""

from __future__ import annotations

import signal
import sys
import threading

import pytest

from pytest_giambio import _timer


@pytest.fixture
def impatient(monkeypatch):
    """Wait less long than usual for what an expiry should bring about."""
    monkeypatch.setattr(_timer, "_GRACE", 0.02)


def test_a_test_that_takes_too_long_fails_with_the_tree_of_tasks(marked, free_alarm):
    result = marked("""
        @pytest.mark.giambio(timeout=0.2)
        async def test_it():
            async with giambio.create_pool() as pool:
                pool.spawn(giambio.sleep_forever)
                await waiting()

        async def waiting():
            await giambio.sleep(100)

        async def test_afterwards(): pass
    """)
    assert result["test_it"] == "failed"
    text = result.text("test_it")
    assert "Timeout: test 'test_it' took longer than 0.2 s:" in text
    assert "└─ sleep_forever: waits for <the outside world>" in text
    assert "in waiting" in text
    assert result["test_afterwards"] == "passed"


def test_in_a_thread_that_gets_no_signals_another_thread_watches(marked, monkeypatch):
    monkeypatch.setattr(_timer, "_signals_are_free", lambda: False)
    result = marked("""
        @pytest.mark.giambio(timeout=0.05)
        async def test_it(): await giambio.sleep(100)
    """)
    assert "Timeout: test 'test_it' took longer than 0.05 s:" in result.text("test_it")


def test_the_limit_of_the_configuration_also_counts_for_fixtures(marked, pytester, free_alarm):
    pytester.makeini("[pytest]\ngiambio_timeout = 0.05")
    result = marked("""
        @pytest.fixture
        async def before(): await giambio.sleep(100)

        async def test_before(before): pass

        @pytest.mark.giambio(timeout=0)
        async def test_no_limit(): await giambio.sleep(0.1)
    """)
    assert result["test_before"] == "error in setup"
    assert "Timeout: fixture 'before' took longer than 0.05 s:" in result.text("test_before")
    assert result["test_no_limit"] == "passed"


def test_the_clean_up_of_a_fixture_is_limited_by_itself(marked, free_alarm):
    result = marked("""
        from pytest_giambio._stash import OPTIONS

        @pytest.fixture
        async def after():
            yield
            await giambio.sleep(100)

        async def test_it(after, request):
            stash = request.config.stash  # only from here on, so that nothing else is too slow
            stash[OPTIONS] = stash[OPTIONS]._replace(timeout=0.05)
    """)
    assert result["test_it"] == "passed, error in teardown"
    assert "Timeout: fixture 'after' took longer than 0.05 s:" in result.text("test_it")


def test_what_a_test_does_when_it_is_stopped_is_told_as_well(marked, free_alarm):
    text = marked("""
        @pytest.mark.giambio(timeout=0.05)
        async def test_it():
            try:
                await giambio.sleep(100)
            finally:
                raise ValueError("in the clean-up")
    """).text("test_it")
    assert "ValueError: in the clean-up" in text
    assert "Timeout: test 'test_it' took longer than 0.05 s:" in text


def test_the_limit_is_one_of_real_time(marked, free_alarm):
    assert marked("""
        @pytest.mark.giambio(timeout=5, clock="virtual")
        async def test_it(): await giambio.sleep(1000)
    """).passed()


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs signals")
def test_a_step_that_blocks_is_interrupted(marked, free_alarm, impatient):
    result = marked("""
        import time

        @pytest.mark.giambio(timeout=0.05)
        async def test_it():
            async with giambio.create_pool() as pool:
                pool.spawn(block)

        async def block(): time.sleep(30)

        async def test_afterwards(): pass
    """)
    assert result["test_it"] == "failed"
    text = result.text("test_it")
    assert text.count("Timeout: test 'test_it' took longer than 0.05 s:") == 1
    assert "└─ block: running" in text
    assert ">   async def block(): time.sleep(30)" in text
    assert result["test_afterwards"] == "passed"


BLOCKING = """
    import signal
    import sys
    from pytest_giambio._timer import Timer

    @pytest.mark.giambio(timeout=100)
    async def test_it():
        async with giambio.create_pool() as pool:
            pool.spawn(block)

    async def block():
        {alarm}
"""


@pytest.mark.parametrize("way", ["signal", "thread"])
def test_the_step_that_was_running_when_the_time_was_over_is_named(
    marked, free_alarm, monkeypatch, way
):
    alarm = "signal.raise_signal(signal.SIGALRM)"
    if way == "thread":
        monkeypatch.setattr(_timer, "_signals_are_free", lambda: False)
        alarm = "Timer.active._alarm(sys._getframe(), may_raise=False)"
    text = marked(BLOCKING.format(alarm=alarm)).text("test_it")
    assert "task 'block' was running, at " in text
    assert f"test_it.py:17 in block    {alarm}" in text
    assert ("└─ block: running" in text) is (way == "signal")


def test_a_time_that_is_over_between_two_steps_names_no_line(marked, free_alarm):
    text = marked("""
        @pytest.mark.giambio(timeout=0.05)
        async def test_it(): await giambio.sleep(100)
    """).text("test_it")
    assert "was running" not in text


def test_a_test_that_does_not_end_when_it_is_cancelled_is_given_up(marked, free_alarm, impatient):
    result = marked("""
        @pytest.mark.giambio(timeout=0.05)
        async def test_it():
            with giambio.CancelScope(shield=True):
                await giambio.sleep(100)

        async def test_afterwards(): pass
    """)
    assert result["test_it"] == "failed"
    text = result.text("test_it")
    assert "Timeout: test 'test_it' took longer than 0.05 s:" in text
    assert "it did not end when it was cancelled, and was left where it is" in text
    assert result["test_afterwards"] == "passed"


def test_nobody_is_hurried_who_debugs(marked, free_alarm, impatient):
    class Bdb:
        __module__ = "bdb"

        def __call__(self, *args):
            return None

    trace = sys.gettrace()
    sys.settrace(Bdb())
    try:
        result = marked("""
            @pytest.mark.giambio(timeout=0.01)
            async def test_it(): await giambio.sleep(0.05)
        """)
    finally:
        sys.settrace(trace)
    assert result.passed()


def test_the_prompt_of_a_debugger_ends_the_limit(marked, free_alarm):
    assert marked("""
        import signal

        @pytest.mark.giambio(timeout=100)
        async def test_it(request):
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
            request.config.hook.pytest_enter_pdb(config=request.config, pdb=None)
            assert signal.getitimer(signal.ITIMER_REAL)[0] == 0

        def test_no_timer(request):
            request.config.hook.pytest_enter_pdb(config=request.config, pdb=None)
    """).passed()


def test_the_alarm_is_given_back(marked, free_alarm):
    assert marked("""
        @pytest.mark.giambio(timeout=100)
        async def test_it(): pass
    """).passed()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert not any(isinstance(each, threading.Timer) for each in threading.enumerate())


# pytest-timeout


def test_the_limit_of_pytest_timeout_counts_too(marked, free_alarm):
    pytest.importorskip("pytest_timeout")
    result = marked(
        """
        @pytest.mark.timeout(0.5)
        async def test_it(): await giambio.sleep(100)

        async def test_afterwards(): await giambio.sleep(0)
        """,
        beside="pytest_timeout",
    )
    assert result["test_it"] == "failed"
    text = result.text("test_it")
    assert "Timeout: test 'test_it' took longer than " in text
    assert "test_it: waits for the end of its sleep in " in text
    assert result["test_afterwards"] == "passed"


@pytest.mark.parametrize("arguments", ["explore=50", "cancel_at='every checkpoint'"])
def test_the_limit_of_pytest_timeout_ends_all_runs_of_a_simulated_test(
    inner, free_alarm, arguments
):
    """And is not taken for a failure of the one in which it came, to be run again and again."""
    result = inner(
        f"""
        import other_timer

        @pytest.mark.giambio({arguments})
        async def test_it():
            assert not other_timer.went_off
            other_timer.go_off()
        """,
        beside="other_timer",
        other_timer="""
            import pytest
            from typing import NamedTuple

            went_off = False

            def go_off():
                global went_off
                went_off = True
                pytest.fail("Timeout from the other timer")

            class Settings(NamedTuple):
                timeout: float

            class Hooks:
                @staticmethod
                @pytest.hookspec(firstresult=True)
                def pytest_timeout_set_timer(item, settings): pass

            def pytest_addhooks(pluginmanager):
                pluginmanager.add_hookspecs(Hooks)

            @pytest.hookimpl(wrapper=True)
            def pytest_runtest_protocol(item):
                item.config.hook.pytest_timeout_set_timer(item=item, settings=Settings(0))
                return (yield)
        """,
    )
    text = result.text("test_it")
    assert "Timeout from the other timer" in text
    assert "giambio-replay" not in text and "cannot be repeated" not in text


def test_any_plugin_with_its_hooks_is_paused_while_the_loop_runs(marked):
    """The same with a stand-in for pytest-timeout, so that it is tested without it, too."""
    result = marked(
        """
        import other_timer

        async def test_it():
            assert other_timer.calls == ["set 60", "cancel"]

        def test_afterwards():
            name, seconds = other_timer.calls[2].split()
            assert name == "set" and 0 < float(seconds) < 60
            assert other_timer.calls[3] == "cancel"
        """,
        beside="other_timer",
        other_timer="""
            import pytest
            from typing import NamedTuple

            calls = []

            class Settings(NamedTuple):
                timeout: float

            class Hooks:
                @staticmethod
                @pytest.hookspec(firstresult=True)
                def pytest_timeout_set_timer(item, settings): pass
                @staticmethod
                @pytest.hookspec(firstresult=True)
                def pytest_timeout_cancel_timer(item): pass

            def pytest_addhooks(pluginmanager):
                pluginmanager.add_hookspecs(Hooks)

            def pytest_timeout_set_timer(item, settings):
                if item.name == "test_it":
                    calls.append(f"set {settings.timeout:g}")
                return True

            def pytest_timeout_cancel_timer(item):
                if item.name == "test_it":
                    calls.append("cancel")
                return True

            @pytest.hookimpl(wrapper=True)
            def pytest_runtest_protocol(item):
                item.config.hook.pytest_timeout_set_timer(item=item, settings=Settings(60))
                try:
                    return (yield)
                finally:
                    item.config.hook.pytest_timeout_cancel_timer(item=item)
        """,
    )
    assert result.passed()
