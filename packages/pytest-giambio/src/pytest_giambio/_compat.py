# SPDX-License-Identifier: Apache-2.0
"""What is not public API of pytest, and of what it uses. All of it stands here.

Checked with pytest 8.4, 9.0, 9.1 and 9.2; `nox -s plugin` runs the tests of this package with each.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from _pytest.fixtures import FixtureDef as FixtureDef
from _pytest.fixtures import resolve_fixture_function
from _pytest.unittest import TestCaseFunction as TestCaseFunction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


def item_of(request: pytest.FixtureRequest) -> pytest.Function:
    """Return the test that a fixture is set up for, also if the fixture outlives it."""
    item: pytest.Function = request._pyfuncitem
    return item


def argument_names(item: pytest.Function) -> tuple[str, ...]:
    """Return the names of the fixtures that the test function takes as arguments."""
    return item._fixtureinfo.argnames


def definitions(item: pytest.Function) -> Mapping[str, Sequence[FixtureDef[Any]]]:
    """Return the fixtures that a test is known to use, each with those that it overrides first."""
    return item._fixtureinfo.name2fixturedefs


def active_fixtures(item: pytest.Function) -> Mapping[str, FixtureDef[Any]]:
    """Return the fixtures that were set up for a test, or found set up, by name."""
    return item._request._fixture_defs


def bound_function(
    fixturedef: FixtureDef[Any], request: pytest.FixtureRequest
) -> Callable[..., Any]:
    """Return the function of a fixture, bound to the instance that the test runs on."""
    return resolve_fixture_function(fixturedef, request)


@contextmanager
def replaced_function(fixturedef: FixtureDef[Any], function: Callable[..., Any]) -> Iterator[None]:
    """Let pytest call another function for a fixture, for the time of the block.

    So pytest itself keeps the value, the error and the finalizers. A hook that did that in its
    place, or that raised before it, would leave a fixture that cannot be set up again.
    """
    original = fixturedef.func
    fixturedef.func = function  # type: ignore[misc]
    try:
        yield
    finally:
        fixturedef.func = original  # type: ignore[misc]


def as_if_never_set_up(fixturedef: FixtureDef[Any]) -> None:
    """Make up for what pytest forgets when it refuses to set up an async fixture.

    It keeps finalizers that it will not run, since there was no set-up; and in the next test that uses
    the fixture, it stumbles over them.
    """
    if fixturedef.cached_result is None:
        fixturedef._finalizers.clear()


def is_of_pytest(fixturedef: FixtureDef[Any]) -> bool:
    """Whether a fixture is one of pytest's own, such as ``tmp_path``, and not a user's set-up."""
    if "_setup_" in fixturedef.argname and fixturedef.argname.startswith("_"):
        return False  # calls setup_method() or setup_function(), which are the user's
    return _package_of(fixturedef.func) == "_pytest"


def is_parameter(fixturedef: FixtureDef[Any]) -> bool:
    """Whether a fixture only hands on what a test is parametrized with."""
    return getattr(fixturedef.func, "__name__", "") == "get_direct_param_fixture_func"


def _package_of(function: object) -> str:
    return str(getattr(function, "__module__", "")).partition(".")[0]


def fail(message: str) -> NoReturn:
    """Fail the current phase of a test with a message alone.

    Not as `pytest.fail`, whose frame is hidden: it wonders about tracebacks of which nothing is left.
    """
    raise pytest.fail.Exception(message, pytrace=False)


def error_of_test_case(item: pytest.Item) -> BaseException | None:
    """Return what a method of a `unittest.TestCase` has failed with, which is not raised."""
    reported = getattr(item, "_excinfo", None)
    return reported[0].value if reported else None


# How pytest, and hypothesis for it, begin to say that no plugin has run an async function.
_NOBODY_RAN_IT = (
    "async def functions are not natively supported",
    "with no plugin or hook that handled it",
    "Hypothesis doesn't know how to run async test functions",
)


def says_that_nobody_ran_it(error: BaseException) -> bool:
    """Whether a test fails because it, or a fixture of it, is async and was left to pytest."""
    is_complaint = isinstance(error, pytest.fail.Exception) or (
        type(error).__module__ == "hypothesis.errors"
    )
    return is_complaint and any(each in str(error) for each in _NOBODY_RAN_IT)


def add_to_message(error: BaseException, text: str) -> None:
    """Add to what is said of an error; like a note, but shown wherever the message is."""
    if not isinstance(error, pytest.fail.Exception) or error.pytrace:
        error.add_note(text)
    else:
        error.msg = f"{error.msg}\n{text}"


def show_warning(message: warnings.WarningMessage) -> None:
    """Pass on a warning that was recorded."""
    show = getattr(warnings, "_showwarnmsg", None)
    if show is not None:  # it keeps the source, which tells where a resource was allocated
        show(message)
    else:
        warnings.showwarning(
            message.message, message.category, message.filename, message.lineno, message.file
        )


def hypothesis_of(function: object) -> Any:
    """Return the handle that ``@given`` leaves on a test; None if there is none."""
    return getattr(function, "hypothesis", None)


def accept_function_scope(item: pytest.Function) -> None:
    """Tell hypothesis that the fixtures of a test are set up anew for each example."""
    import sys

    hypothesis = sys.modules["hypothesis"]
    function = getattr(item.obj, "__func__", item.obj)
    known = getattr(function, "_hypothesis_internal_use_settings", hypothesis.settings.default)
    function._hypothesis_internal_use_settings = hypothesis.settings(
        parent=known,
        suppress_health_check=[
            *known.suppress_health_check,
            hypothesis.HealthCheck.function_scoped_fixture,
        ],
    )
