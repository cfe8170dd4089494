# SPDX-License-Identifier: Apache-2.0
"""What pytest is told: errors taken out of groups, and made ones that pytest can digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from giambio import CancelledError, TaskCancelled

if TYPE_CHECKING:
    from collections.abc import Iterator

# What pytest has to see itself, not in a group: these end the session.
_ENDS_SESSION = (pytest.exit.Exception, KeyboardInterrupt, SystemExit)
# These decide the outcome of a test.
_OUTCOMES = (pytest.skip.Exception, pytest.xfail.Exception, pytest.fail.Exception)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors in a group, through groups in it; or the error itself if it is none."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def simplify(error: BaseException) -> BaseException:
    """Return the error that pytest should be given for *error*.

    From a group in which everything means the same to pytest (skip, xfail, fail), the first. From one
    in which something ends the session, that. A group of errors stays a group. A cancellation, which
    must not leave the loop, becomes an ordinary error.
    """
    found = list(leaves(error))
    errors = [each for each in found if not isinstance(each, CancelledError)]
    if not errors:
        cancelled = TaskCancelled(f"it was cancelled{_reason(found[0])}")
        return cancelled.with_traceback(found[0].__traceback__)
    chosen = error
    for each in errors:
        if isinstance(each, _ENDS_SESSION):
            chosen = each
            break
    else:
        for kind in _OUTCOMES:
            if all(isinstance(each, kind) for each in errors):
                chosen = errors[0]
                break
    if isinstance(chosen, pytest.skip.Exception):
        chosen.__notes__ = []  # pytest takes what is noted, such as the task, for part of the reason
    if chosen is not error:
        chosen.__cause__ = chosen.__cause__ or error
        return chosen
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, ExceptionGroup):
        # pytest takes anything that is no Exception for the end of everything.
        group = ExceptionGroup(error.message, [_as_exception(each) for each in errors])
        for note in getattr(error, "__notes__", ()):
            group.add_note(note)
        return group.with_traceback(error.__traceback__)
    return error if isinstance(error, (Exception, *_OUTCOMES, *_ENDS_SESSION)) else _foreign(error)


def _reason(cancelled: BaseException) -> str:
    reason = getattr(cancelled, "reason", None)
    return f": {reason}" if reason else ""


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else _foreign(error)


def _foreign(error: BaseException) -> Exception:
    name = type(error).__name__
    stand_in = RuntimeError(f"{name}: {error}" if str(error) else name)
    stand_in.__cause__ = error
    return stand_in.with_traceback(error.__traceback__)
