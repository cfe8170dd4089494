# SPDX-License-Identifier: Apache-2.0
"""Setting up fixtures: in the loop, or, for tests that are run several times, by a promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from giambio.lowlevel import current_task

from . import _provided
from ._compat import bound_function, fail, is_of_pytest, item_of
from ._interrupts import interrupts
from ._items import (
    lives_in_loop,
    promises_of,
    runner_of,
    runs_often,
    shared_runner,
    shares_runner,
    terms_of,
    used_by_fixture,
)
from ._program import Promise
from ._unit import FixtureUnit

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from ._compat import FixtureDef


def replacement(
    fixturedef: FixtureDef[Any], request: pytest.FixtureRequest
) -> Callable[..., Any] | None:
    """Return what pytest has to call in place of the function of a fixture; None if nothing else."""
    item = item_of(request)
    shares_runner(item)  # as long as it can be told
    in_loop = lives_in_loop(fixturedef, item)
    if fixturedef.scope == "function" and runs_often(item):
        # What is set up once must have no memory, and what a running test asks for comes too late.
        once = is_of_pytest(fixturedef) or _is_provided(fixturedef) or _is_inside_loop()
        if in_loop or not once:
            return _promising(fixturedef, request, item)
    return _setting_up(fixturedef, request, item) if in_loop else None


def _is_provided(fixturedef: FixtureDef[Any]) -> bool:
    return fixturedef.func.__module__ == _provided.__name__


def _is_inside_loop() -> bool:
    try:
        current_task()
    except RuntimeError:
        return False
    return True


def _refuse_inside_loop(fixturedef: FixtureDef[Any]) -> None:
    if _is_inside_loop():
        fail(
            f"fixture {fixturedef.argname!r} is set up in the loop, which has to run for that, and "
            "runs the test already; make the fixture an argument of the test"
        )


def _promising(
    fixturedef: FixtureDef[Any], request: pytest.FixtureRequest, item: pytest.Function
) -> Callable[..., Any]:
    function = bound_function(fixturedef, request)

    def promise(**arguments: Any) -> Promise:
        __tracebackhide__ = True
        _refuse_inside_loop(fixturedef)
        made = Promise(fixturedef.argname, function, arguments)
        promises_of(item).append(made)
        return made

    return promise


def _setting_up(
    fixturedef: FixtureDef[Any], request: pytest.FixtureRequest, item: pytest.Function
) -> Callable[..., Any]:
    function = bound_function(fixturedef, request)

    def set_up(**arguments: Any) -> Any:
        __tracebackhide__ = True
        _refuse_inside_loop(fixturedef)
        runner = runner_of(item)
        if fixturedef.scope != "function" and runner is not shared_runner(item.config):
            fail(
                f"fixture {fixturedef.argname!r} outlives the test, which already has a loop that "
                "does not; make the fixture an argument of the test, or name it in "
                "pytest.mark.usefixtures"
            )
        unit = FixtureUnit(fixturedef.argname, function, arguments)
        changes = runner.set_up(unit, fixturedef, used_by_fixture(fixturedef, item), terms_of(item))

        def tear_down() -> None:
            __tracebackhide__ = True
            with interrupts.held(longer=True):
                try:
                    runner.tear_down(unit, fixturedef, changes, terms_of(item))
                except KeyboardInterrupt as interrupt:
                    interrupts.waiting = interrupt  # until the other fixtures have had their turn

        request.addfinalizer(tear_down)
        return unit.value

    return set_up
