# SPDX-License-Identifier: Apache-2.0
"""Tracebacks without the frames of the library, for the reports of failures.

How a pool hands an error on, or where inside of `Event.wait` a deadlock is raised, says nothing about a
program. What a reader looks for is the last line of the program itself.
"""

from __future__ import annotations

import linecache
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from giambio_kernel import package_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    import pytest

_LIBRARY = ("giambio", "giambio_kernel", "pytest_giambio")
_PYTEST = ("_pytest", "pluggy")


def hide_library(excinfo: pytest.ExceptionInfo[BaseException]) -> Callable[[], None]:
    """Take the library's frames out of an error, its causes, and the members of a group.

    Returns:
        A function that puts them back. Who debugs wants all of them.
    """
    shown = excinfo.traceback
    originals = [(error, error.__traceback__) for error in _connected(excinfo.value)]
    for error, traceback in originals:
        _set_traceback(error, without_library(traceback))
    if excinfo.value.__traceback__ is not None:
        make: Any = type(shown)
        excinfo.traceback = make(excinfo.value.__traceback__)

    def put_back() -> None:
        excinfo.traceback = shown
        for error, traceback in originals:
            _set_traceback(error, traceback)

    return put_back


def _set_traceback(error: BaseException, traceback: TracebackType | None) -> None:
    # That of a frozen dataclass, say, cannot be assigned to.
    BaseException.with_traceback(error, traceback)


def _connected(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that are shown together with it."""
    found = [error]
    for each in found:  # which grows meanwhile
        yield each
        members = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        for other in (each.__cause__, each.__context__, *members):
            if other is not None and not any(other is known for known in found):
                found.append(other)


def without_library(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the library's frames, but for the last if the program has none."""
    kept = []
    last = None
    has_program = is_inside = False
    entry = traceback
    while entry is not None:
        package = package_of(entry.tb_frame)
        # What the library calls of the standard library is its affair, too.
        is_inside = package in _LIBRARY or (is_inside and package in sys.stdlib_module_names)
        if is_inside:
            last = entry
        else:
            kept.append(entry)
            has_program = has_program or package not in _PYTEST
        entry = entry.tb_next
    if last is not None and not has_program:
        kept.append(last)
    for each in reversed(kept):
        entry = TracebackType(entry, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return entry


def place_in_program(frame: FrameType | None) -> str | None:
    """Return the line of the program at which a frame of a task stands, or that has called it."""
    while frame is not None:
        package = package_of(frame)
        if package == __package__:
            break  # outside of any task
        if package not in _LIBRARY and package not in sys.stdlib_module_names:
            file, line = frame.f_code.co_filename, frame.f_lineno
            source = linecache.getline(file, line).strip()
            return f"{file}:{line} in {frame.f_code.co_qualname}    {source}".rstrip()
        frame = frame.f_back
    return None
