# SPDX-License-Identifier: Apache-2.0
"""The hooks that pytest calls.

pytest imports this file in every run where the plugin is installed. So giambio itself, and what needs it,
is imported when the first test or fixture is met that runs on it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from . import _options
from ._compat import (
    TestCaseFunction,
    as_if_never_set_up,
    replaced_function,
    says_that_nobody_ran_it,
)
from ._decorator import is_giambio_fixture
from ._interrupts import interrupts
from ._marker import MARKER_HELP, async_function, check_item, is_ours
from ._other_timer import forget_other_timer, note_other_timer
from ._provided import giambio_clock as giambio_clock
from ._provided import giambio_pool as giambio_pool
from ._provided import giambio_tcp_port as giambio_tcp_port
from ._provided import giambio_tcp_port_factory as giambio_tcp_port_factory
from ._provided import giambio_udp_port as giambio_udp_port
from ._provided import giambio_udp_port_factory as giambio_udp_port_factory
from ._stash import HIDDEN_FRAMES, OPTIONS, RUNNER, SHARED_RUNNER, SHARES_RUNNER
from ._unawaited import fail_for_unawaited, warnings_recorded
from ._untaken import untaken_explained

if TYPE_CHECKING:
    from collections.abc import Generator

    from ._compat import FixtureDef


# Configuration


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make options and ini values known."""
    _options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the options, and make the marker known."""
    config.addinivalue_line("markers", MARKER_HELP)
    config.stash[OPTIONS] = _options.read_options(config)
    _options.refuse_two_autos(config)


def pytest_plugin_registered(plugin: object, manager: pytest.PytestPluginManager) -> None:
    """Look for ``giambio_mode`` in each ``conftest.py``."""
    config = manager.get_plugin("pytestconfig")
    if config is not None:
        _options.note_directory(config, plugin)


# Collection


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Check the markers of what was made."""
    made = yield
    for each in made if isinstance(made, list) else (made,):
        if isinstance(each, pytest.Function):
            check_item(each)
    return made


# Fixtures


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Set up a fixture in the loop, if that is where it belongs."""
    __tracebackhide__ = True
    item = getattr(request, "_pyfuncitem", None)
    if not isinstance(item, pytest.Function) or not (
        is_ours(item) or is_giambio_fixture(fixturedef.func)
    ):
        try:
            with untaken_explained(item):
                return (yield)
        except BaseException as error:
            if says_that_nobody_ran_it(error):
                as_if_never_set_up(fixturedef)
            raise
    from ._fixtures import replacement

    function = replacement(fixturedef, request)
    if function is None:
        return (yield)
    # What is set up halfway would never be cleaned up.
    with interrupts.held(), replaced_function(fixturedef, function):
        return (yield)


# Tests


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Listen for coroutines that are never awaited, and let Ctrl+C name a line of the program."""
    if not is_ours(item) and not _is_async_method(item):
        return (yield)
    try:
        with warnings_recorded(item):
            return (yield)
    except KeyboardInterrupt as interrupt:
        if not _shows_all_frames(item):
            from ._frames import without_library

            interrupt.__traceback__ = without_library(interrupt.__traceback__)
        interrupt.__notes__ = []  # pytest prints them, such as the task, in the midst of a heading
        raise


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin with a test of ours."""
    if is_ours(item):
        from ._items import prepare

        prepare(item)


@pytest.hookimpl(tryfirst=True, wrapper=True, specname="pytest_runtest_setup")
def pytest_watch_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Let no fixture forget an ``await``."""
    __tracebackhide__ = True
    try:
        if not is_ours(item):
            return (yield)
        with fail_for_unawaited(item):
            return (yield)
    finally:
        interrupts.tell()  # if it came while a fixture of another test was cleaned up


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Let nobody forget an ``await``, and `unittest` not forget to call its async methods."""
    __tracebackhide__ = True
    if not _is_async_method(item):
        if not is_ours(item):
            return (yield)
        with fail_for_unawaited(item):
            return (yield)
    way_out = ""
    if is_ours(item):
        from ._tests import wrap_method

        wrap_method(item)
    else:
        way_out = (
            "unittest.TestCase does not run async methods; mark the class with "
            "pytest.mark.giambio, or set giambio_mode = auto"
        )
    with fail_for_unawaited(item, way_out):
        return (yield)


def _is_async_method(item: pytest.Item) -> bool:
    return isinstance(item, TestCaseFunction) and async_function(item) is not None


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test of ours."""
    __tracebackhide__ = True
    if async_function(pyfuncitem) is None or not is_ours(pyfuncitem):
        if SHARED_RUNNER in pyfuncitem.config.stash:
            from ._items import refuse_crashed

            refuse_crashed(pyfuncitem)
        return None
    from ._tests import run_test

    run_test(pyfuncitem)
    return True


@pytest.hookimpl(wrapper=True, specname="pytest_pyfunc_call")
def pytest_explain_untaken(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Say how an async test that nobody has run could be run."""
    __tracebackhide__ = True
    with untaken_explained(pyfuncitem):
        return (yield)


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """End the loop of a test when its fixtures are cleaned up."""
    __tracebackhide__ = True
    breaks_off = False
    try:
        if not is_ours(item):
            return (yield)
        with fail_for_unawaited(item):
            return (yield)
    except (KeyboardInterrupt, pytest.exit.Exception):
        breaks_off = True
        raise
    finally:
        if not breaks_off:  # or what is left is cleaned up at the end of the session, in this loop
            _close_runner(item)
            interrupts.tell()


def _close_runner(item: pytest.Item) -> None:
    if RUNNER in item.stash:
        from ._items import close_runner

        close_runner(item)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """End the loop of fixtures that outlive tests. pytest cleans them up in this hook."""
    try:
        return (yield)
    finally:
        for item in getattr(session, "items", ()):
            _close_runner(item)  # after Ctrl+C
        if SHARED_RUNNER in session.config.stash:
            from ._items import close_shared_runner

            close_shared_runner(session.config)
        interrupts.waiting = None  # it ends already


# Reports


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Hide the library's frames only while the report is made."""
    try:
        return (yield)
    finally:
        put_back = item.stash.get(HIDDEN_FRAMES, None)
        if put_back is not None:
            del item.stash[HIDDEN_FRAMES]
            put_back()


# No wrapper, because the errors of a unittest.TestCase are put there by a hook, too.
@pytest.hookimpl(specname="pytest_runtest_makereport")
def pytest_hide_library(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Let the line of the program be the last one that a failure of ours shows."""
    if call.excinfo is None or _shows_all_frames(item):
        return
    if is_ours(item) or SHARES_RUNNER in item.stash:
        from ._frames import hide_library

        item.stash[HIDDEN_FRAMES] = hide_library(call.excinfo)


def _shows_all_frames(item: pytest.Item) -> bool:
    return bool(item.config.getoption("fulltrace", False))


# Timers, ours and others


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """Remember how much time pytest-timeout gives to a test."""
    note_other_timer(item, settings)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    """Forget it."""
    forget_other_timer(item)


def pytest_enter_pdb() -> None:
    """Let whoever debugs take their time."""
    if "giambio" not in sys.modules:
        return
    from ._timer import Timer

    if Timer.active is not None:
        Timer.active.cancel()
