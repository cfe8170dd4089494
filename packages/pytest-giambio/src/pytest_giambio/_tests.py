# SPDX-License-Identifier: Apache-2.0
"""Running tests."""

from __future__ import annotations

import unittest
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import pytest

from ._compat import TestCaseFunction, argument_names, fail, hypothesis_of
from ._interrupts import interrupts
from ._items import promises_of, runner_of, settings_of, terms_of, used_by_test
from ._marker import MARKER
from ._program import Program
from ._unit import Unit

if TYPE_CHECKING:
    from collections.abc import Callable


def run_test(item: pytest.Function) -> None:
    """Run an async test function.

    Raises:
        BaseException: What it failed with.
    """
    __tracebackhide__ = True
    arguments = {name: item.funcargs[name] for name in argument_names(item)}
    _run_examples(item, item.obj, arguments)


def _run_examples(
    item: pytest.Function, function: Callable[..., Any], arguments: dict[str, Any]
) -> None:
    """Run a test; if it was decorated with ``@given``, once for each example."""
    __tracebackhide__ = True
    handle = hypothesis_of(function)
    if handle is None:
        _run(item, function, arguments)
        return
    inner = handle.inner_test

    @wraps(inner)  # hypothesis keeps what it knows of the test in its attributes
    def run_example(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        _run(item, partial(inner, *args), kwargs, is_example=True)

    handle.inner_test = run_example
    try:
        function(**arguments)
    finally:
        handle.inner_test = inner


def _run(
    item: pytest.Function,
    function: Callable[..., Any],
    arguments: dict[str, Any],
    *,
    is_example: bool = False,
) -> None:
    __tracebackhide__ = True
    program = Program(item.name, function, arguments, promises_of(item))
    if settings_of(item).simulated:
        from ._explore import run_simulated

        run_simulated(item, program, remember=not is_example)
    else:
        with interrupts.held():
            unit = Unit(item.name, program, {})
            runner_of(item).run_test(unit, used_by_test(item), terms_of(item))
    if program.returned is not None:
        item.warn(
            pytest.PytestReturnNotNoneWarning(
                f"{item.nodeid} returned {program.returned!r}, which decides nothing; did you mean "
                "to assert it?"
            )
        )


# unittest


def wrap_method(item: pytest.Function) -> None:
    """Let `unittest` call an async method of a plain test case through the loop.

    By itself it would call the method, drop the coroutine, and be content. Test cases that know what
    to do with async methods are left alone.

    Raises:
        pytest.fail.Exception: Such a test case was marked to be run on giambio.
    """
    assert isinstance(item, TestCaseFunction)
    test_case = type(item.instance)
    if _runs_methods_itself(test_case):
        if item.get_closest_marker(MARKER) is not None:
            fail(
                f"{test_case.__name__} runs its async methods itself, and not on giambio: derive it "
                "from unittest.TestCase, or take the marker away"
            )
        return
    method = item.obj

    @wraps(method)
    def run() -> None:
        __tracebackhide__ = True
        _run_examples(item, method, {})

    item.obj = run


def _runs_methods_itself(test_case: type) -> bool:
    return any(
        getattr(test_case, name, None) is not getattr(unittest.TestCase, name, None)
        for name in ("__call__", "run", "_callTestMethod")
    )
