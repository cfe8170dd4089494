# SPDX-License-Identifier: Apache-2.0
"""Coroutines that nobody awaited, which is a mistake and not a warning.

Python warns of them when they are dropped. A warning that the test expects, ignores or has made an
error of never gets here; any other fails the phase of the test in which it came. All phases of a test
share one recorder of warnings: a fixture may have one of its own, such as ``recwarn``, from the set-up
to the clean-up, and recorders must be nested.
"""

from __future__ import annotations

import gc
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ._compat import add_to_message, error_of_test_case, fail, show_warning
from ._stash import WARNINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

_NEVER_AWAITED = "was never awaited"

# What pytest and unittest call before and after tests, and cannot await.
_SET_UPS = (
    "(setup|teardown)_(module|class|method|function)", "(setUp|tearDown)(Module|Class)?"
)  # fmt: skip


class Recorder:
    """The warnings of a test.

    Attributes:
        new: Those in which nobody has looked for complaints yet.
        others: Those that are only to be passed on.
    """

    def __init__(self) -> None:
        self.new: list[warnings.WarningMessage] = []
        self.others: list[warnings.WarningMessage] = []
        self._before_collection = 0

    def on_collection(self, phase: str, info: object) -> None:
        """Set apart what the garbage collector has found: an earlier test may have dropped it."""
        if phase == "start":
            self._before_collection = len(self.new)
        else:
            self.others += self.new[self._before_collection :]
            del self.new[self._before_collection :]

    def take_complaints(self) -> list[str]:
        """Return what is said of coroutines, which then is not passed on as a warning any more."""
        complaints = []
        for warning in self.new:
            if warning.category is RuntimeWarning and _NEVER_AWAITED in str(warning.message):
                complaints.append(_as_complaint(warning))
            else:
                self.others.append(warning)
        self.new.clear()
        return complaints

    def let_pass(self) -> None:
        """Have no complaints."""
        self.others += self.new
        self.new.clear()


@contextmanager
def warnings_recorded(item: pytest.Item) -> Iterator[None]:
    """Record the warnings of all phases of a test, and pass them on at the end."""
    recorder = item.stash[WARNINGS] = Recorder()
    gc.callbacks.append(recorder.on_collection)
    try:
        with warnings.catch_warnings(record=True) as recorder.new:
            yield
    finally:
        gc.callbacks.remove(recorder.on_collection)
        del item.stash[WARNINGS]
        for message in (*recorder.others, *recorder.new):
            show_warning(message)


@contextmanager
def fail_for_unawaited(item: pytest.Item, way_out: str = "") -> Iterator[None]:
    """Watch a phase of a test.

    Args:
        item: The test.
        way_out: What to do about it, for the message.

    Raises:
        pytest.fail.Exception: A coroutine was made and never awaited. If the phase fails anyway,
            its error tells of that, too.
    """
    __tracebackhide__ = True
    recorder = item.stash.get(WARNINGS, None) or Recorder()  # no other plugin need know of ours
    try:
        yield
    except BaseException as error:
        _complain_in(error, recorder)
        raise
    error_of_method = error_of_test_case(item)
    if error_of_method is not None:
        _complain_in(error_of_method, recorder)
    elif complaints := recorder.take_complaints():
        fail("\n".join([*complaints, way_out]).strip())


def _complain_in(error: BaseException, recorder: Recorder) -> None:
    if isinstance(error, pytest.skip.Exception | pytest.xfail.Exception):
        recorder.let_pass()
    for complaint in recorder.take_complaints():
        add_to_message(error, complaint)


def _as_complaint(warning: warnings.WarningMessage) -> str:
    text = f"{warning.message} (dropped at {warning.filename}:{warning.lineno})"
    if re.search(rf"\b({'|'.join(_SET_UPS)})' {_NEVER_AWAITED}", text):
        text += "\nit is called and not awaited; make it an async fixture, with autouse=True"
    return text
