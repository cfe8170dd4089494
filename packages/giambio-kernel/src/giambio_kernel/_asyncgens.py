# SPDX-License-Identifier: Apache-2.0
"""Async generators: closing those that were dropped, and those that are left at the end.

The body of an async generator can hold locks, files and ``finally`` blocks that await. When nobody
iterates it any more only the loop can close it, by running its ``aclose()`` in a task. That task
stands in a cancelled scope: the clean-up runs, but nothing in it can block, for there is nobody to
wait for it. ``contextlib.aclosing`` around the iteration avoids all this.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Any

from ._scope import CancelScope

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ._scheduler import AsyncScheduler


class AsyncGenerators:
    """The async generators first iterated under one loop that are not exhausted."""

    __slots__ = ("_alive", "_outer", "_scheduler")

    def __init__(self, scheduler: AsyncScheduler) -> None:
        self._scheduler = scheduler
        self._alive: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self._outer: Any = None

    def __len__(self) -> int:
        return len(self._alive)

    def install(self) -> None:
        """Make Python tell us of async generators; the thread may belong to another loop too."""
        self._outer = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(self._alive.add, self._on_dropped)

    def uninstall(self) -> None:
        """Give the hooks back to whoever had them."""
        sys.set_asyncgen_hooks(*self._outer)

    def _on_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        # Called by the garbage collector, in whichever thread.
        self._alive.discard(generator)
        try:
            self._scheduler._inbox.call_soon(self._close_dropped, (generator,))
        except RuntimeError:  # the loop is closed
            warnings.warn(_complaint(generator), ResourceWarning, source=generator, stacklevel=2)

    def _close_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._scheduler.spawn(_close, generator, scope=self._scheduler._system)
        warnings.warn(_complaint(generator), ResourceWarning, source=generator, stacklevel=2)

    async def close_all(self) -> None:
        """Close what is left. Closing one can iterate others, so until there are none."""
        while self._alive:
            generators = list(self._alive)
            self._alive.clear()
            for generator in generators:
                await _close(generator)


def _complaint(generator: AsyncGenerator[Any, Any]) -> str:
    name = getattr(generator, "__qualname__", generator)
    return (
        f"async generator {name!r} was dropped before it was exhausted; "
        "iterate it under 'async with contextlib.aclosing(...)'"
    )


async def _close(generator: AsyncGenerator[Any, Any]) -> None:
    try:
        with CancelScope() as scope:
            scope.cancel("the async generator was dropped")
            await generator.aclose()
    except Exception as error:
        _report_unraisable(error, generator)


def _report_unraisable(error: Exception, generator: AsyncGenerator[Any, Any]) -> None:
    """Give to `sys.unraisablehook` what there is no task to raise in.

    Python's own hook takes only what Python has made, and that makes it of what a callback raises.
    """
    target = _Complaint(error, generator)
    reference = weakref.ref(target, _Complaint(error, generator))
    del target
    del reference


class _Complaint:
    __slots__ = ("__weakref__", "_error", "_generator")

    def __init__(self, error: Exception, generator: AsyncGenerator[Any, Any]) -> None:
        self._error = error
        self._generator = generator

    def __call__(self, reference: object) -> None:
        raise self._error

    def __repr__(self) -> str:
        return f"closing of {self._generator!r}"
