# SPDX-License-Identifier: Apache-2.0
"""Where in a program something happens, for reports."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from giambio_kernel import interrupt_free_packages, package_of

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from giambio_kernel import Task


class Place(NamedTuple):
    """A line of the program, and what of the library it has called."""

    file: str
    line: int
    function: str
    called: str = ""
    """The operation that was called there; empty if there is none."""

    def __str__(self) -> str:
        """``file:line in function``, the file relative to the current directory if it is there."""
        return f"{self.short_file}:{self.line} in {self.function}{self.called}"

    @property
    def short_file(self) -> str:
        """The file, relative to the current directory if it is there."""
        here = os.getcwd() + os.sep
        return self.file.removeprefix(here)

    @property
    def source(self) -> str:
        """The text of the line; empty if it cannot be read."""
        import linecache

        return linecache.getline(self.file, self.line).strip()


_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep


def is_of_the_program(frame: FrameType) -> bool:
    """Whether a frame belongs to the program itself, and not to giambio or the standard library."""
    if package_of(frame) in interrupt_free_packages:
        return False
    file = frame.f_code.co_filename
    return not file.startswith(_STANDARD_LIBRARY) or "site-packages" in file


def place_of_frame(frame: FrameType, line: int | None = None) -> Place:
    """Return where a frame stands, or the *line* of it that is meant."""
    code = frame.f_code
    # Of a function in a function its own name is enough: the line is there, too.
    name = code.co_qualname.rpartition("<locals>.")[2]
    return Place(code.co_filename, line or frame.f_lineno, name)


def place_of_task(task: Task[Any]) -> Place | None:
    """Return where a task that does not run stands: the innermost line of the program itself.

    ``None`` if there is no such line: the task has ended, or runs nothing but the library's code.
    """
    called = ""
    for frame in reversed(task.stack()):
        if is_of_the_program(frame):
            return place_of_frame(frame)._replace(called=called)
        if package_of(frame) in interrupt_free_packages:
            # What that calls in turn is nothing that the program knows of.
            called = f" -> {frame.f_code.co_qualname}"
    return None


def place_of_error(error: BaseException) -> Place | None:
    """Return where an error was raised: the innermost line of the program itself, or of anything.

    Aids for tests that hide themselves from pytest's reports are not the program.
    """
    traceback: TracebackType | None = error.__traceback__
    found = None
    best = 0
    while traceback is not None:
        frame = traceback.tb_frame
        rank = 0
        if is_of_the_program(frame):
            hides = frame.f_locals.get("__tracebackhide__", False)
            rank = 1 if hides is True else 2
        if rank >= best:
            best = rank
            found = place_of_frame(frame, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def stack_of(task: Task[Any]) -> tuple[tuple[str, int], ...]:
    """Return something that is the same whenever a task waits in the same lines, called alike."""
    return tuple((frame.f_code.co_filename, frame.f_lineno) for frame in task.stack())
