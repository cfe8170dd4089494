# SPDX-License-Identifier: Apache-2.0
"""Coroutines that nobody awaited, which is a mistake and not a warning.

Python warns of them when they are dropped. A warning that the test expects, ignores or has made an
error of never gets here; any other fails the phase of the test in which it came. All phases of a test
share one recorder of warnings: a fixture may have one of its own, such as ``recwarn``, from the set-up
to the clean-up, and recorders must be nested.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ._compat import fail, show_warning
from ._stash import WARNINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

_NEVER_AWAITED = "was never awaited"


@contextmanager
def warnings_recorded(item: pytest.Item) -> Iterator[None]:
    """Record the warnings of all phases of a test, and pass them on at the end."""
    recorded: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as recorded:
            item.stash[WARNINGS] = recorded
            yield
    finally:
        del item.stash[WARNINGS]
        for message in recorded:
            show_warning(message)


@contextmanager
def fail_for_unawaited(item: pytest.Item, way_out: str = "") -> Iterator[None]:
    """Watch a phase of a test.

    Args:
        item: The test.
        way_out: What to do about it, for the message.

    Raises:
        pytest.fail.Exception: A coroutine was made and never awaited. If the phase fails anyway,
            its error gets a note instead.
    """
    __tracebackhide__ = True
    try:
        yield
    except BaseException as error:
        for complaint in _take_complaints(item):
            error.add_note(complaint)
        raise
    complaints = _take_complaints(item)
    if complaints:
        fail("\n".join([*complaints, way_out]).strip())


def _take_complaints(item: pytest.Item) -> list[str]:
    """Return what is said of coroutines, which then is not passed on as a warning any more."""
    recorded = item.stash.get(WARNINGS, [])
    found = [
        each
        for each in recorded
        if each.category is RuntimeWarning and _NEVER_AWAITED in str(each.message)
    ]
    for each in found:
        recorded.remove(each)
    return [f"{each.message} (dropped at {each.filename}:{each.lineno})" for each in found]
