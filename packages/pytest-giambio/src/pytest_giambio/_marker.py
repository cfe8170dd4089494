# SPDX-License-Identifier: Apache-2.0
"""The marker: what a test may ask for, and which tests are ours."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import pytest

from ._compat import TestCaseFunction, hypothesis_of
from ._options import CLOCKS, mode_of

if TYPE_CHECKING:
    from collections.abc import Callable

MARKER = "giambio"

MARKER_HELP = (
    "giambio(*, clock=None, timeout=None, explore=None, strategy=None, seed=None, replay=None, "
    "network=None, cancel_at=None, target=None): run this async test on giambio's loop; "
    "clock='virtual' lets time jump, timeout=5 gives it five seconds, explore=1000 tries so many "
    "schedules, cancel_at='every checkpoint' cancels it everywhere, one run each"
)

# As `giambio.testing.explore` has them, which is not imported before a test needs it.
STRATEGIES = ("auto", "fifo", "lifo", "random", "pct", "starve", "exhaustive")

# Tests with one of these markers are another plugin's, in auto mode, too.
_OTHERS = ("anyio", "asyncio", "curio", "tornado", "trio", "twisted")


class Settings(NamedTuple):
    """What the markers of a test ask for. None: nothing was said."""

    clock: str | None = None
    timeout: float | None = None
    explore: int | None = None
    strategy: str | None = None
    seed: int | None = None
    replay: str | None = None
    network: Any = None
    cancel_at: Any = None
    target: str | None = None

    @property
    def simulated(self) -> bool:
        """Whether the test is to be run in worlds of its own, and not in a loop of pytest's."""
        asked = (self.explore or None, self.cancel_at, self.network, self.replay)
        return any(each is not None for each in asked)


def read_marker(item: pytest.Item) -> Settings:
    """Return what the markers of a test ask for; for each argument the closest one counts.

    Raises:
        ValueError: An argument is unknown, or its value is not one that it may have. The message
            does not name the test.
    """
    found: dict[str, Any] = {}
    for mark in item.iter_markers(MARKER):
        if mark.args:
            raise ValueError(
                f"the giambio marker takes keyword arguments only, not {mark.args[0]!r}; "
                f"they are {', '.join(Settings._fields)}"
            )
        for name, value in mark.kwargs.items():
            if name not in Settings._fields:
                raise ValueError(_unknown(name))
            if name not in found:
                found[name] = _CHECKS[name](name, value) if value is not None else None
    return Settings(**found)


def _unknown(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, Settings._fields, 1)
    hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(Settings._fields)}"
    return f"the giambio marker has no argument {name}; {hint}"


def _check_clock(name: str, value: Any) -> Any:
    if value not in CLOCKS:
        raise ValueError(f"{name} must be {' or '.join(map(repr, CLOCKS))}, not {value!r}")
    return value


def _check_seconds(name: str, value: Any) -> Any:
    if not (_is_a(int | float, value) and 0 <= value < math.inf):
        raise ValueError(f"{name} must be a number of seconds, not {value!r}")
    return value


def _check_count(name: str, value: Any) -> Any:
    if not (_is_a(int, value) and value >= 0):
        raise ValueError(f"{name} must be a whole number from 0, not {value!r}")
    return value


def _check_text(name: str, value: Any) -> Any:
    if not _is_a(str, value):
        raise ValueError(f"{name} must be a string, not {value!r}")
    return value


def _is_a(kind: Any, value: object) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _check_strategy(name: str, value: Any) -> Any:
    if value not in STRATEGIES:
        raise ValueError(f"{name} must be one of {', '.join(STRATEGIES)}, not {value!r}")
    return value


def _check_network(name: str, value: Any) -> Any:
    if value != "memory" and type(value).__name__ != "MemoryNetwork":
        raise ValueError(f"{name} must be 'memory' or a MemoryNetwork, not {value!r}")
    return value


def _check_where(name: str, value: Any) -> Any:
    numbers = [value] if _is_a(int, value) else value
    if value not in ("every checkpoint", "every site") and not (
        isinstance(numbers, list | tuple | range) and all(_is_a(int, each) for each in numbers)
    ):
        raise ValueError(
            f"{name} must be 'every checkpoint', 'every site', or the numbers of some checkpoints, "
            f"not {value!r}"
        )
    return value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "clock": _check_clock,
    "timeout": _check_seconds,
    "explore": _check_count,
    "strategy": _check_strategy,
    "seed": _check_count,
    "replay": _check_text,
    "network": _check_network,
    "cancel_at": _check_where,
    "target": _check_text,
}


def async_function(item: pytest.Item) -> Callable[..., Any] | None:
    """Return the async function of a test, with ``@given`` the one inside; None if it has none."""
    function = getattr(item, "obj", None)
    handle = hypothesis_of(function)
    if handle is not None:
        function = handle.inner_test
    return function if inspect.iscoroutinefunction(function) else None


def is_ours(item: object) -> TypeGuard[pytest.Function]:
    """Whether a test is to be run, or its async fixtures are to be set up, by this plugin."""
    if not isinstance(item, pytest.Function):
        return False
    if item.get_closest_marker(MARKER) is not None:
        return True
    return mode_of(item) == "auto" and not is_marked_for_another(item)


def is_marked_for_another(item: object) -> bool:
    """Whether a test has the marker of another async plugin."""
    return isinstance(item, pytest.Item) and any(map(item.get_closest_marker, _OTHERS))


def check_item(item: pytest.Function) -> None:
    """Say what is wrong with a test before any test runs.

    Raises:
        pytest.Collector.CollectError: The marker has an argument that is unknown or bad, or the
            function is not one that can be run.
    """
    if not is_ours(item):
        return
    try:
        _check_combination(read_marker(item), item)
        _check_function(item)
    except ValueError as error:
        raise pytest.Collector.CollectError(f"{item.nodeid}: {error}") from None


def _check_combination(settings: Settings, item: pytest.Function) -> None:
    # Only what the test itself asks for; a marker of its module may be meant for other tests.
    own = {name for mark in _own_markers(item) for name in mark.kwargs}
    if settings.replay is None:
        for name, needed in (("strategy", "explore"), ("target", "cancel_at")):
            if name in own and getattr(settings, needed) is None:
                raise ValueError(f"{name} says nothing without {needed}")
    if settings.simulated:
        if "clock" in own and settings.clock == "system":
            raise ValueError(
                "clock='system' cannot be had: the time of a simulated test is virtual"
            )
        if "timeout" in own and settings.explore is None:
            raise ValueError(
                "timeout limits the real time of a test, and a simulated one never waits; only "
                "together with explore it says how long to try schedules"
            )


def _own_markers(item: pytest.Function) -> list[pytest.Mark]:
    return [mark for mark in item.own_markers if mark.name == MARKER]


def _check_function(item: pytest.Function) -> None:
    own = _own_markers(item)
    rival = next(filter(item.get_closest_marker, _OTHERS), None) if own else None
    if rival is None and type(item).__module__.startswith("pytest_asyncio."):
        rival = "asyncio"  # in its auto mode that plugin makes a test its own, marked or not
    if rival is not None:
        raise ValueError(
            f"both giambio and {rival} claim it; take one marker away, or set {rival}_mode so that "
            "it leaves alone what is not marked"
        )
    function = item.obj
    if inspect.isasyncgenfunction(function):
        raise ValueError(
            "an async generator cannot be a test; take out the yield, or make it a fixture"
        )
    if async_function(item) is None and not isinstance(item, TestCaseFunction):
        # A marker of the module or the class may mean the async tests in it; one of its own does not.
        asked = [name for mark in own for name in mark.kwargs]
        if asked:
            raise ValueError(
                f"{', '.join(asked)} can only be asked for by an async test, "
                "and this one is a plain function"
            )
