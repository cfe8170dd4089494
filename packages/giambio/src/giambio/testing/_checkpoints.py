# SPDX-License-Identifier: Apache-2.0
"""Asserting that code passes a checkpoint, or that it does not."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from giambio_kernel import current_scheduler, current_task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from giambio_kernel import Task


class _Watcher:
    """A debugger that notes when one task is resumed, and so had given up control."""

    def __init__(self, task: Task[Any]) -> None:
        self.task = task
        self.yields = 0

    def before_task_step(self, task: Task[Any]) -> None:
        if task is self.task:
            self.yields += 1


@contextmanager
def _watch() -> Iterator[_Watcher]:
    scheduler = current_scheduler()
    watcher = _Watcher(current_task())
    # Without credit every operation that is a checkpoint really gives way.
    credit = scheduler.credit
    scheduler.credit = 0
    scheduler.add_debugger(watcher)
    try:
        yield watcher
    finally:
        scheduler.remove_debugger(watcher)
        scheduler.credit = credit


@contextmanager
def assert_checkpoints() -> Iterator[None]:
    """Fail unless the block passes a checkpoint, or ends with an exception.

    Raises:
        AssertionError: It came to its end without one.
        RuntimeError: Not called from inside a loop.
    """
    with _watch() as watcher:
        yield
        if not watcher.yields:
            raise AssertionError("the block passed no checkpoint")


@contextmanager
def assert_no_checkpoints() -> Iterator[None]:
    """Fail if the block passes a checkpoint.

    Raises:
        AssertionError: It did.
        RuntimeError: Not called from inside a loop.
    """
    with _watch() as watcher:
        yield
        if watcher.yields:
            raise AssertionError(f"the block passed a checkpoint {watcher.yields} times")
