# SPDX-License-Identifier: Apache-2.0
"""What belongs to a test while pytest runs it: its settings, its runner, its promised fixtures."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest

from ._compat import (
    accept_function_scope,
    active_fixtures,
    definitions,
    fail,
    hypothesis_of,
    is_of_pytest,
    is_parameter,
)
from ._decorator import is_giambio_fixture
from ._marker import Settings, async_function, is_ours, read_marker
from ._runner import Runner, Terms
from ._stash import OPTIONS, PROMISES, RUNNER, SETTINGS, SHARED_RUNNER, SHARES_RUNNER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._compat import FixtureDef
    from ._program import Promise
    from ._unit import FixtureUnit

# What other plugins leave on the functions that they take for their own fixtures.
_MARKS_OF_OTHERS = ("_force_asyncio_fixture", "_force_trio_fixture")


def prepare(item: pytest.Function) -> None:
    """Begin with a test.

    Raises:
        pytest.fail.Exception: Its marker is wrong. Those that are there from the beginning were
            checked when the test was collected.
    """
    wrong = ""
    try:
        settings = _with_options(read_marker(item), item)
    except ValueError as error:
        wrong = f"{item.nodeid}: {error}"
    if wrong:  # outside of the handler, or both would be shown
        fail(wrong)
    item.stash[SETTINGS] = settings
    item.stash[PROMISES] = []
    if hypothesis_of(item.obj) is not None and async_function(item) is not None:
        _tell_hypothesis(item)


def _with_options(settings: Settings, item: pytest.Function) -> Settings:
    """Return what a test asks for and what was asked of it on the command line."""
    options = item.config.stash[OPTIONS]
    if options.explore is not None and (settings.explore or settings.cancel_at is not None):
        settings = settings._replace(explore=settings.explore and options.explore)
        if options.explore == 0:
            settings = settings._replace(cancel_at=None)
    if settings.simulated and async_function(item) is not None:
        if settings.seed is None:
            # Not the same for all tests, but the same in every run of each.
            seed = crc32(item.nodeid.encode()) + options.seed
            settings = settings._replace(seed=seed % 2**32)
        if options.replay is not None:
            settings = settings._replace(replay=options.replay)
    if "giambio_clock" in item.fixturenames:
        if settings.clock == "system" or settings.simulated:
            why = "is simulated" if settings.simulated else "asks for clock='system'"
            raise ValueError(
                f"giambio_clock is a virtual clock that the test may move, and the test {why}"
            )
        settings = settings._replace(clock="virtual")
    return settings


def _tell_hypothesis(item: pytest.Function) -> None:
    """Its check for fixtures that all examples share is for fixtures that all examples share."""
    if not any(
        each.scope == "function" and is_of_pytest(each) and not is_parameter(each)
        for several in definitions(item).values()
        for each in several
    ):
        accept_function_scope(item)


def settings_of(item: pytest.Function) -> Settings:
    """Return what a test asks for, or, if it is not ours, nothing."""
    return item.stash.get(SETTINGS, Settings())


def terms_of(item: pytest.Function) -> Terms:
    """Return on what terms the loop runs for a test."""
    settings = settings_of(item)
    options = item.config.stash[OPTIONS]
    limit = options.timeout if settings.timeout is None else settings.timeout
    return Terms(item, limit or None, (settings.clock or options.clock) == "virtual")


# Tests that are run several times


def runs_often(item: pytest.Function) -> bool:
    """Whether each run of a test has to set up its fixtures, because there are several."""
    if not is_ours(item) or async_function(item) is None:
        return False
    return settings_of(item).simulated or hypothesis_of(item.obj) is not None


def refuse_longer_lived(item: pytest.Function) -> None:
    """Fail if a test that is simulated uses a fixture that lives in the loop of other tests.

    Raises:
        pytest.fail.Exception: It does.
    """
    if shares_runner(item) and (used := used_by_test(item)):
        fail(
            f"fixture {used[0].name!r} outlives the test, so it lives in another loop than the "
            "test, which has a simulated one in each of its runs; give the fixture the scope "
            "'function', or let the test do without it"
        )


def refuse_crashed(item: pytest.Function) -> None:
    """Fail if a plain test uses a fixture that has failed in the background of another test.

    Raises:
        BaseException: What it failed with.
    """
    __tracebackhide__ = True
    if shares_runner(item):
        runner_of(item).refuse_crashed(used_by_test(item))


def promises_of(item: pytest.Function) -> list[Promise]:
    """Return what was promised to a test so far, in this order."""
    if PROMISES not in item.stash:
        fail(
            f"{item.nodeid} was marked for giambio while its fixtures were set up, which is too "
            "late; mark it when tests are collected, in pytest_collection_modifyitems for example"
        )
    return item.stash[PROMISES]


# Runners


def runner_of(item: pytest.Function) -> Runner:
    """Return the runner of a test: the shared one if it has to be, otherwise one of its own."""
    runner = item.stash.get(RUNNER, None)
    if runner is None:
        if shares_runner(item):
            runner = shared_runner(item.config)
        else:
            runner = Runner(virtual=terms_of(item).virtual)
        item.stash[RUNNER] = runner
    return runner


def shares_runner(item: pytest.Function) -> bool:
    """Whether a test needs the shared runner, because it uses a fixture that outlives it.

    To be asked first before a fixture of the test is set up, because then pytest has another
    function in its place; see `replaced_function`.
    """
    if SHARES_RUNNER not in item.stash:
        known = (each for several in definitions(item).values() for each in several)
        item.stash[SHARES_RUNNER] = any(
            each.scope != "function" and lives_in_loop(each, item) for each in known
        )
    return item.stash[SHARES_RUNNER]


def shared_runner(config: pytest.Config) -> Runner:
    """Return the runner of fixtures that outlive a test, and of the tests that use them."""
    runner = config.stash.get(SHARED_RUNNER, None)
    if runner is None:
        virtual = config.stash[OPTIONS].clock == "virtual"
        runner = config.stash[SHARED_RUNNER] = Runner(virtual=virtual)
    return runner


def close_runner(item: pytest.Item) -> None:
    """End the loop of a test that is over.

    Raises:
        BaseException: An error that was not raised anywhere else.
    """
    runner = item.stash[RUNNER]
    del item.stash[RUNNER]
    if runner is item.config.stash.get(SHARED_RUNNER, None):
        runner.clock.reset()
    else:
        runner.close()


def close_shared_runner(config: pytest.Config) -> None:
    """End the loop of the session.

    Raises:
        BaseException: An error that was not raised anywhere else.
    """
    runner = config.stash[SHARED_RUNNER]
    del config.stash[SHARED_RUNNER]
    runner.close()


# Fixtures


def lives_in_loop(fixturedef: FixtureDef[Any], item: pytest.Function) -> bool:
    """Whether a fixture is set up in the loop if *item* is the test that needs it."""
    function = fixturedef.func
    if is_giambio_fixture(function):
        return True
    if any(hasattr(function, mark) for mark in _MARKS_OF_OTHERS) or not is_ours(item):
        return False
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def used_by_fixture(fixturedef: FixtureDef[Any], item: pytest.Function) -> list[FixtureUnit]:
    """Return what is set up in the loop and used by a fixture, directly or through others."""
    known = definitions(item)
    names = list(fixturedef.argnames)
    for name in names:  # which grows meanwhile
        for each in known.get(name, ()):
            names += [further for further in each.argnames if further not in names]
    return _set_up(item, names)


def used_by_test(item: pytest.Function) -> list[FixtureUnit]:
    """Return what is set up in the loop for a test."""
    return _set_up(item, {*item.fixturenames, *active_fixtures(item)})


def _set_up(item: pytest.Function, names: Iterable[str]) -> list[FixtureUnit]:
    wanted = set(names)
    active = active_fixtures(item)
    known = definitions(item)
    return [
        unit
        for definition, unit in runner_of(item).fixtures.items()
        if (name := definition.argname) in wanted
        and (definition is active.get(name) or definition in known.get(name, ()))
    ]
