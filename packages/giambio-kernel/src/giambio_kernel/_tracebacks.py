# SPDX-License-Identifier: Apache-2.0
"""Tracebacks of errors that have left a task: what they tell, and what of them is to be forgotten.

A traceback keeps its frames alive, and these what they refer to. A frame of the loop, or of a trap, knows
the task, which knows the error: that would be a circle, and all that the program had in its own frames
would stay until the garbage collector comes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ._interrupt import package_of
from ._task import begin
from .traps import trap_code

if TYPE_CHECKING:
    from types import CodeType, FrameType


def forget_loop(error: BaseException, step_code: frozenset[CodeType]) -> None:
    """Take the frames of the loop out of the traceback, and the task out of those of traps.

    Those of the loop are of no interest to whoever reads it.

    Args:
        error: What left a task.
        step_code: The code of what calls the tasks.
    """
    entry = error.__traceback__
    while entry is not None and entry.tb_frame.f_code in step_code:
        if entry.tb_frame.f_code is begin.__code__:
            entry.tb_frame.clear()  # the others lead to it, and it to the task and the error
        entry = entry.tb_next
    error.with_traceback(entry)  # an assignment may be refused, as a frozen dataclass does
    while entry is not None:
        if entry.tb_frame.f_code in trap_code:
            try:
                entry.tb_frame.clear()
            except RuntimeError:
                pass  # it has caught the error, which came here all the same, and goes on
        entry = entry.tb_next


def was_resumed(error: BaseException) -> bool:
    """Whether it is of a trap that was sent no task, but ``None``, as if it were to begin."""
    if not isinstance(error, AttributeError) or error.obj is not None:
        return False
    frame = _innermost(error)
    return frame is not None and frame.f_code in trap_code


def asyncio_misses_its_loop(error: BaseException) -> bool:
    """Whether it comes out of asyncio, which was called although its loop does not run."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or asyncio._get_running_loop() is not None:
        return False
    frame = _innermost(error)
    return frame is not None and package_of(frame) == "asyncio"


def _innermost(error: BaseException) -> FrameType | None:
    """Return the frame that raised it."""
    entry = error.__traceback__
    while entry is not None and entry.tb_next is not None:
        entry = entry.tb_next
    return None if entry is None else entry.tb_frame
