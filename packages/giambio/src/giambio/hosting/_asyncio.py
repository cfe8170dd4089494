# SPDX-License-Identifier: Apache-2.0
"""The bridge to asyncio: each side awaits what belongs to the other, in one thread."""

from __future__ import annotations

from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, TypeVar

from giambio.exceptions import TaskCancelled
from giambio_kernel import (
    CancelledError,
    checkpoint_if_cancelled,
    copy_context_outside,
    current_task,
    reschedule,
    suspend,
)

from ._hosted import start_in
from ._hosts import AsyncioHost

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from giambio_kernel import Clock, Policy, Task

T = TypeVar("T")


async def run_in_asyncio(
    func: Callable[..., Coroutine[Any, Any, T]],
    *args: Any,
    debugger: object | Iterable[object] | None = None,
    clock: Clock | None = None,
    policy: Policy | None = None,
) -> T:
    """Run an async function of giambio inside of asyncio, which drives its loop.

    To be awaited by an asyncio task, or handed to ``asyncio.run``::

        asyncio.run(run_in_asyncio(main))

    Inside of it, `await_asyncio` awaits what belongs to asyncio.

    Args:
        func: An async function, the main task.
        *args: Its arguments.
        debugger: As for `giambio.run`.
        clock: As for `giambio.run`.
        policy: As for `giambio.run`.

    Returns:
        What *func* returns.

    Raises:
        TaskCancelled: The main task was cancelled by itself.
        RuntimeError: No asyncio loop is running here.
        BaseException: The first error of the run.

    If the asyncio task is cancelled, so is everything in the run. This raises
    ``asyncio.CancelledError`` when all is cleaned up; or what went wrong while it was; or returns, if
    *func* came to its end all the same.

    Checkpoint: never; it is asyncio that this waits in.
    """
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "asyncio does not run here, and is to be the host: "
            "asyncio.run(giambio.hosting.run_in_asyncio(main)); without it there is giambio.run(main)"
        ) from None
    ended: asyncio.Future[object] = loop.create_future()
    cancelled = None
    with start_in(
        AsyncioHost(),
        func,
        *args,
        on_done=ended.set_result,
        debugger=debugger,
        clock=clock,
        policy=policy,
    ) as hosted:
        while not hosted.done():
            try:
                await asyncio.wait([ended])
            except asyncio.CancelledError as error:
                cancelled = error
                hosted.cancel(str(error) or "the asyncio task was cancelled")
        try:
            return hosted.result()
        except TaskCancelled:
            if cancelled is None or not hosted.task.cancelled():
                raise
    raise cancelled


async def await_asyncio(awaitable: Awaitable[T]) -> T:
    """Await what belongs to asyncio, in a run that asyncio hosts.

    Args:
        awaitable: A coroutine, task, future or other awaitable of asyncio.

    Returns:
        Its result.

    Raises:
        RuntimeError: Not called from inside a loop, or not in one that asyncio hosts; see
            `run_in_asyncio`.
        TaskCancelled: It was cancelled on asyncio's side.
        BaseException: What it raises, as itself.

    If the current task is cancelled, so is *awaitable*, once, as asyncio does it. This raises
    `CancelledError` when that has ended; or its error; or returns its result, if it comes to its end
    all the same, and the cancellation is delivered at the next checkpoint.

    Checkpoint: always.
    """
    future = _as_future(awaitable)
    task = current_task()
    asked = False

    def cancel(task: Task[Any], error: BaseException) -> bool:
        nonlocal asked
        if not asked:  # a second time would interrupt its clean-up
            asked = True
            reason = error.reason if isinstance(error, CancelledError) else None
            future.cancel(reason or f"task {task.name!r} of giambio was cancelled")
        return False  # it cleans up, and then the callback below comes

    future.add_done_callback(lambda _: reschedule(task), context=copy_context_outside())
    await suspend(cancel, future)
    if future.cancelled():
        await checkpoint_if_cancelled()
        raise TaskCancelled(f"{future!r} was cancelled by asyncio")
    return future.result()


def _as_future(awaitable: Awaitable[T]) -> asyncio.Future[T]:
    import asyncio

    current_task()  # outside of a loop of ours it says so
    try:
        host = asyncio.get_running_loop()
    except RuntimeError:
        if iscoroutine(awaitable):
            awaitable.close()  # or Python would complain of that, too
        raise RuntimeError(
            "this run is not hosted by asyncio, so nothing of asyncio's can be awaited in it; "
            "start it with asyncio.run(giambio.hosting.run_in_asyncio(main))"
        ) from None
    if iscoroutine(awaitable):
        # To what runs in asyncio, our loop is not the current one.
        return host.create_task(awaitable, context=copy_context_outside())
    return asyncio.ensure_future(awaitable, loop=host)
