# SPDX-License-Identifier: Apache-2.0
"""Async context managers in the plain ``with`` blocks of a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from giambio._sync.event import Event

if TYPE_CHECKING:
    from concurrent.futures import Future
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from giambio._pool import TaskStatus

    from .portal import Portal

T = TypeVar("T")


class EnteredManager(Generic[T]):
    """An async context manager that a thread uses through a portal. Made by `Portal.enter`."""

    __slots__ = ("_future", "_leave", "_manager", "_portal")

    _future: Future[bool]

    def __init__(
        self, portal: Portal, manager: AbstractAsyncContextManager[T, bool | None]
    ) -> None:
        self._portal = portal
        self._manager = manager
        # How the block in the thread ended.
        self._leave: Event[tuple[Any, Any, Any]] = Event()

    def __enter__(self) -> T:
        self._future, value = self._portal.start(self._hold)
        entered: T = value
        return entered

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        try:
            self._portal._scheduler.call_soon_threadsafe(
                self._leave.trigger, (exc_type, exc, traceback)
            )
        except RuntimeError:
            pass  # the loop has ended, and the future knows how
        return self._future.result()

    async def _hold(self, *, task_status: TaskStatus[T]) -> bool:
        manager = self._manager
        task_status.started(await manager.__aenter__())
        try:
            outcome = await self._leave.wait()
        except BaseException as error:  # cancelled
            if await manager.__aexit__(type(error), error, error.__traceback__):
                return False
            raise
        return bool(await manager.__aexit__(*outcome))
