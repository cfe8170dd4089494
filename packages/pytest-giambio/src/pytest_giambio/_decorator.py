# SPDX-License-Identifier: Apache-2.0
"""The decorator for fixtures that live in the loop whatever test uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

P = ParamSpec("P")
T = TypeVar("T")

_MARK = "_is_giambio_fixture"

ScopeName = Literal["session", "package", "module", "class", "function"]


@overload
def fixture(function: Callable[P, T], /) -> Callable[P, T]: ...


@overload
def fixture(
    *,
    scope: ScopeName | Callable[[str, pytest.Config], ScopeName] = "function",
    params: Iterable[object] | None = None,
    autouse: bool = False,
    ids: Iterable[object] | Callable[[Any], object | None] | None = None,
    name: str | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]: ...


def fixture(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a fixture that is set up, and cleaned up, in giambio's loop.

    For the tests that this plugin runs, ``@pytest.fixture`` on an async function does the same. This
    one also takes plain functions, which need a loop around them (to spawn a task, say), and its
    fixtures can be used by plain tests, too, as long as nothing has to happen in the background
    while such a test runs: the loop stands still then.

    Args:
        function: An async function, an async generator function, or a plain one or generator. What
            it returns, or yields, is the value. Code after the yield cleans up, in the same task.
        **options: As for `pytest.fixture`: *scope*, *params*, *autouse*, *ids*, *name*.

    Returns:
        The fixture; without *function*, a decorator.
    """
    if function is None:
        return lambda function: _make(function, options)
    return _make(function, options)


def _make(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    target = getattr(function, "__func__", function)  # of a static or class method
    setattr(target, _MARK, True)
    return pytest.fixture(**options)(function)


def is_giambio_fixture(function: object) -> bool:
    """Whether a function was decorated with `fixture`."""
    return getattr(function, _MARK, False) is True
