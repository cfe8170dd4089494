# SPDX-License-Identifier: Apache-2.0
"""Coroutines that nobody awaited, which is a mistake and not a warning.

Python warns of them when they are dropped. A warning that the test expects, ignores or has made an
error of never gets here; any other fails the phase of the test in which it came.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ._compat import fail, show_warning

if TYPE_CHECKING:
    from collections.abc import Iterator

_NEVER_AWAITED = "was never awaited"


@contextmanager
def fail_for_unawaited(way_out: str = "") -> Iterator[None]:
    """Watch a phase of a test.

    Args:
        way_out: What to do about it, for the message.

    Raises:
        pytest.fail.Exception: A coroutine was made and never awaited. If the phase fails anyway,
            its error gets a note instead.
    """
    __tracebackhide__ = True
    recorded: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as recorded:
            yield
    except BaseException as error:
        for complaint in _sort_out(recorded):
            error.add_note(complaint)
        raise
    complaints = _sort_out(recorded)
    if complaints:
        fail("\n".join([*complaints, way_out]).strip())


def _sort_out(recorded: list[warnings.WarningMessage]) -> list[str]:
    """Return what is said of coroutines, and pass the other warnings on."""
    complaints = []
    for message in recorded:
        if message.category is RuntimeWarning and _NEVER_AWAITED in str(message.message):
            complaints.append(f"{message.message} (dropped at {message.filename}:{message.lineno})")
        else:
            show_warning(message)
    return complaints
