# SPDX-License-Identifier: Apache-2.0
"""Tests that are simulated: under many schedules, cancelled everywhere, on a network in memory."""

from __future__ import annotations

import os
import shlex
from itertools import dropwhile
from typing import TYPE_CHECKING, Any, cast
from zlib import crc32

import pytest

from giambio import DeadlockError
from giambio.testing import (
    ExplorationFailure,
    NotDeterministic,
    ReplayMismatch,
    SweepFailure,
    cancel_sweep,
    explore,
    replay,
    simulate,
)

from ._compat import fail
from ._items import refuse_longer_lived, settings_of
from ._other_timer import error_of_other_timer
from ._outcome import simplify

if TYPE_CHECKING:
    from giambio.testing import Report, SweepReport

    from ._marker import Settings
    from ._program import Program

# What a test says about itself, and not about a schedule.
_THROUGH = (pytest.skip.Exception, pytest.xfail.Exception, pytest.exit.Exception)


def run_simulated(item: pytest.Function, program: Program, *, remember: bool) -> None:
    """Run a test as its marker asks: in many schedules, with cancellations, on a simulated network.

    Args:
        item: The test.
        program: What to run.
        remember: Whether to keep the schedule of a failure, and to begin with the one that was kept;
            not for a single one of many examples.

    Raises:
        BaseException: What it failed with. If that was in one of many runs, a note says in which.
    """
    __tracebackhide__ = True
    refuse_longer_lived(item)
    settings = settings_of(item)
    failure: BaseException
    try:
        if settings.replay is not None:
            try:
                report = _replay(item, settings, program, settings.replay)
            except ReplayMismatch as error:
                if remember or not error.has_changed:
                    raise
                return  # hypothesis also tries examples that were not the one which failed
            item.add_report_section("call", "giambio", f"replayed, and passed: {report}")
            return
        if remember:
            _try_what_failed_last(item, settings, program)
        _simulate(item, settings, program)
        return
    except (ExplorationFailure, SweepFailure) as found:
        failure = found
        if remember:
            _remember(item, found.replay)
    except (NotDeterministic, ReplayMismatch, BaseExceptionGroup, *_THROUGH) as error:
        failure = error
    # Outside of the handler, so that what the library has raised is not shown as well.
    if isinstance(failure, (BaseExceptionGroup, *_THROUGH)):
        raise simplify(failure)
    error_of_test = failure.__cause__
    if error_of_test is None or isinstance(failure, NotDeterministic):
        fail(str(failure))
    text = str(failure)
    if isinstance(error_of_test, DeadlockError):
        text = _without_finding(text)  # the tree of tasks is the error's own message
    error_of_test.add_note(f"\n{text}")
    raise simplify(error_of_test)


def _without_finding(report: str) -> str:
    """Leave out what comes after the first line of a report, and is indented."""
    head, *rest = report.splitlines()
    return "\n".join([head, *dropwhile(lambda line: line.startswith("  "), rest)])


def _simulate(item: pytest.Function, settings: Settings, program: Program) -> None:
    __tracebackhide__ = True
    if settings.explore:
        report = explore(
            program,
            runs=settings.explore,
            strategy=cast("Any", settings.strategy or "auto"),
            seed=settings.seed,
            seconds=settings.timeout or None,
            **_common(item, settings),
        )
        item.add_report_section("call", "giambio", str(report))
    if settings.cancel_at is not None:
        swept = cancel_sweep(
            program,
            cancel_at=settings.cancel_at,
            target=settings.target,
            seed=settings.seed or 0,
            **_common(item, settings),
        )
        item.add_report_section("call", "giambio", f"cancelled: {swept}")
    if not settings.explore and settings.cancel_at is None:
        simulate(program, network=settings.network, seed=settings.seed or 0)


def _common(item: pytest.Function, settings: Settings) -> dict[str, Any]:
    return {
        "network": settings.network,
        "through": (*_THROUGH, error_of_other_timer(item)),
        "label": item.nodeid,
        "replay_with": f"pytest {_how_to_select(item)} --giambio-replay={{replay}}",
    }


def _how_to_select(item: pytest.Function) -> str:
    """Return what to type after ``pytest``, as part of a format."""
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    selection = shlex.quote("::".join([path, *item.nodeid.split("::")[1:]]))
    return selection.replace("{", "{{").replace("}", "}}")


def _replay(
    item: pytest.Function, settings: Settings, program: Program, string: str
) -> Report | SweepReport:
    __tracebackhide__ = True
    return replay(program, string, **_common(item, settings))


# Schedules that failed


def _try_what_failed_last(item: pytest.Function, settings: Settings, program: Program) -> None:
    __tracebackhide__ = True
    cache = _cache_of(item)
    string = None if cache is None else cache.get(_key(item), None)
    if not isinstance(string, str):
        return
    try:
        _replay(item, settings, program, string)
    except ReplayMismatch:
        pass  # the test has changed, or the version of giambio
    _remember(item, None)


def _remember(item: pytest.Function, string: str | None) -> None:
    cache = _cache_of(item)
    if cache is not None:
        cache.set(_key(item), string)


def _cache_of(item: pytest.Function) -> pytest.Cache | None:
    return getattr(item.config, "cache", None)  # which pytest can be told to do without


def _key(item: pytest.Function) -> str:
    # One for each test, so that several processes are not in each other's way.
    return f"giambio/failures/{crc32(item.nodeid.encode()):08x}"
