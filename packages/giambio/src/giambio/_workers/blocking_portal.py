# SPDX-License-Identifier: Apache-2.0
"""A loop in a thread of its own, for programs that have none."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from giambio._run import run
from giambio._sync.event import Event
from giambio._threads.portal import Portal, open_portal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


def start_blocking_portal(**options: Any) -> BlockingPortal:
    """Run a loop in a thread of its own, for a program that has none.

    Use it with ``with start_blocking_portal() as portal``. At its end the block waits for the calls
    that were made, ends the loop and its thread; an exception, such as Ctrl+C, cancels the calls
    first.

    Args:
        **options: As for `giambio.run`: ``debugger``, ``clock`` and so on.
    """
    return BlockingPortal(options)


class BlockingPortal:
    """A loop in a thread of its own. Made by `start_blocking_portal`."""

    __slots__ = ("_error", "_options", "_portal", "_ready", "_stop", "_thread")

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._portal: Portal | None = None
        self._ready = threading.Event()
        self._stop: Event[None] = Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="giambio portal", daemon=True)

    def __enter__(self) -> Portal:
        try:
            self._thread.start()
            self._ready.wait()
        except RuntimeError:  # the system has no thread left
            raise
        except BaseException:  # Ctrl+C
            self._ready.wait()
            self._end(cancel="the start of the portal was interrupted")
            raise
        if self._portal is None:
            self._end()
        assert self._portal is not None
        return self._portal

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(cancel=None if exc is None else "the block that used the portal has failed")

    def _end(self, cancel: str | None = None) -> None:
        """Wait until the calls that have begun have ended, and the loop with them."""
        if cancel is not None:
            self._cancel(cancel)
        if self._portal is not None:
            self._portal.close()
            self._call_soon(self._stop.set)
        try:
            self._thread.join()
        except BaseException:  # Ctrl+C
            self._cancel("the wait for the end of the portal was interrupted")
            self._thread.join()
            raise
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error

    def _cancel(self, reason: str) -> None:
        if self._portal is not None:
            self._call_soon(self._portal._pool.cancel, reason)

    def _call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        assert self._portal is not None
        try:
            self._portal._scheduler.call_soon_threadsafe(fn, *args)
        except RuntimeError:
            pass  # the loop has ended by itself

    # In the thread

    def _run(self) -> None:
        try:
            run(self._main, **self._options)
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        async with open_portal() as portal:
            self._portal = portal
            self._ready.set()
            await self._stop.wait()
