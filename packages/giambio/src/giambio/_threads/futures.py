# SPDX-License-Identifier: Apache-2.0
"""Awaiting futures of the standard library: of executors, and of calls into other loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from giambio._simulation import refuse_if_simulated
from giambio.exceptions import TaskCancelled
from giambio_kernel import checkpoint, checkpoint_due, current_task, reschedule, suspend

if TYPE_CHECKING:
    from concurrent.futures import Future

    from giambio_kernel import Task

T = TypeVar("T")


async def await_future(future: Future[T], *, abandon_on_cancel: bool = False) -> T:
    """Wait for a ``concurrent.futures.Future``, which another thread completes.

    Executors make such futures, and so does `Portal.spawn`, through which a task can wait for a task
    of a loop in another thread.

    Args:
        future: The future. Several may wait for it, in any thread.
        abandon_on_cancel: What to do when the current task is cancelled and the future cannot be:
            wait for its end all the same, or leave it to itself.

    Returns:
        Its result.

    Raises:
        BaseException: Its error, as itself.
        TaskCancelled: Somebody else has cancelled it.
        TypeError: It is no such future; one of asyncio's, for example.

    If the current task is cancelled, the future is, too. That is possible for a call that an executor has
    not begun, and for a call through a portal at any time.

    Checkpoint: always.
    """
    if not hasattr(future, "set_running_or_notify_cancel"):
        raise TypeError(f"expected a concurrent.futures.Future, not {future!r}")
    if not future.done():
        refuse_if_simulated("waiting for another thread")
        await _until_done(future, abandon_on_cancel)
    elif checkpoint_due():
        await checkpoint()
    if future.cancelled():
        raise TaskCancelled(f"{future!r} was cancelled")
    return future.result()


async def _until_done(future: Future[Any], abandon_on_cancel: bool) -> None:
    waiter: Task[Any] | None = current_task()
    scheduler = current_task().scheduler

    def wake() -> None:
        if waiter is not None:
            reschedule(waiter)

    def on_done(_: object) -> None:  # in whichever thread
        try:
            scheduler.call_soon_threadsafe(wake)
        except RuntimeError:
            pass  # nobody waits any more, and the loop is closed

    def abort(task: Task[Any], error: BaseException) -> bool:
        nonlocal waiter
        if not (future.cancel() or abandon_on_cancel):
            return False
        waiter = None
        return True

    # It is worked on out there, so this is no deadlock, and a virtual clock does not overtake it.
    with scheduler.open_wakeup(busy=True):
        future.add_done_callback(on_done)
        await suspend(abort, future)
