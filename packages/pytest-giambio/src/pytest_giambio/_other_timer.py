# SPDX-License-Identifier: Apache-2.0
"""The timer of pytest-timeout, if that is there.

It watches the whole of a test from outside, without regard for the loop. While the loop runs, that timer
stands still, and ours does its work: it knows the tasks, and lets them clean up.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ._stash import OTHER_TIMER

if TYPE_CHECKING:
    from collections.abc import Iterator

# Zero would mean no limit.
_SHORTEST = 0.001


def note_other_timer(item: pytest.Item, settings: Any) -> None:
    """pytest-timeout starts its timer."""
    item.stash[OTHER_TIMER] = (settings, time.monotonic() + settings.timeout)


def forget_other_timer(item: pytest.Item) -> None:
    """pytest-timeout stops its timer."""
    if OTHER_TIMER in item.stash:
        del item.stash[OTHER_TIMER]


def error_of_other_timer(item: pytest.Item) -> type[BaseException]:
    """Return a class of errors that consists of the one which pytest-timeout raises in a test.

    It is ``pytest.fail.Exception``, as many others are, but one that comes when the time is over. In a
    test that is run many times it says nothing about the run in which it happens to come.
    """

    class Kind(type):
        def __instancecheck__(cls, error: object) -> bool:
            if not isinstance(error, pytest.fail.Exception) or OTHER_TIMER not in item.stash:
                return False
            _, deadline = item.stash[OTHER_TIMER]
            return time.monotonic() >= deadline

    class TimeIsUp(BaseException, metaclass=Kind):
        pass

    return TimeIsUp


@contextmanager
def other_timer_paused(item: pytest.Item) -> Iterator[float | None]:
    """Let the timer of pytest-timeout stand still. Gives the seconds that it has left, if it runs."""
    if OTHER_TIMER not in item.stash:
        yield None
        return
    settings, deadline = item.stash[OTHER_TIMER]
    hooks = item.config.hook
    hooks.pytest_timeout_cancel_timer(item=item)
    try:
        yield max(_SHORTEST, deadline - time.monotonic())
    finally:
        left = deadline - time.monotonic()
        # If nothing is left, ours went off, and a second alarm would hit pytest at its report.
        if left > 0.0:
            hooks.pytest_timeout_set_timer(item=item, settings=settings._replace(timeout=left))
