# SPDX-License-Identifier: Apache-2.0
"""A run inside of a run: one loop driven by a task of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from giambio._run import attach
from giambio_kernel import (
    AsyncScheduler,
    CancelledError,
    CancelScope,
    checkpoint,
    checkpoint_if_cancelled,
    current_scheduler,
    wait_readable,
)

from ._pace import Pace, SharedClock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from giambio_kernel import Clock, Policy

T = TypeVar("T")


async def run_inside(
    func: Callable[..., Coroutine[Any, Any, T]],
    *args: Any,
    debugger: object | Iterable[object] | None = None,
    clock: Clock | None = None,
    policy: Policy | None = None,
    deadlock: Literal["raise", "wait"] = "wait",
) -> T:
    """Run an async function in a loop of its own, which the current task drives.

    The inner loop may have its own clock, policy and debugger: a simulation on a virtual clock, say,
    inside of a server. Each turn of the current task is one pass of the inner loop. Primitives
    belong to the loop whose tasks wait on them; their plain functions, such as ``event.set()``, may
    be called from tasks of either.

    Args:
        func: An async function, the main task of the inner loop.
        *args: Its arguments.
        debugger: As for `giambio.run`.
        clock: As for `giambio.run`; if omitted, the inner loop shares the clock of the outer one.
        policy: As for `giambio.run`.
        deadlock: As for `giambio.run`; by default the inner loop waits, because tasks of the outer
            one may end the wait.

    Returns:
        What *func* returns.

    Raises:
        TaskCancelled: The main task was cancelled.
        OSError: Runs are nested deeper than the operating system allows; on Linux, five deep.
        BaseException: The first error of *func* or of a task spawned with `giambio.spawn`.

    Checkpoint: always. If the current task is cancelled, so is everything inside, and this raises
    when it has cleaned up; or returns, if *func* came to its end all the same.
    """
    ours = SharedClock(current_scheduler()) if clock is None else clock
    await checkpoint()
    loop = AsyncScheduler(clock=ours, debugger=debugger, policy=policy, deadlock=deadlock)
    attach(loop)
    pace = Pace(loop, ours, raises_deadlock=deadlock == "raise")
    with loop:
        task = loop.start(func, *args, loop=False)
        stopped = None
        try:
            await _drive(loop, pace)
        except CancelledError as cancelled:
            task.pool.cancel(cancelled.reason)
            stopped = cancelled
        if stopped is not None:
            # What is inside may need what is outside to clean up, so both must go on.
            with CancelScope(shield=True):
                await _drive(loop, pace)
    if stopped is not None and task.cancelled():
        await checkpoint_if_cancelled()
    return task.result()


async def _drive(loop: AsyncScheduler, pace: Pace) -> None:
    while loop.tick():
        wait = pace.seconds()
        if wait == 0.0:
            await checkpoint()
        else:
            with CancelScope(seconds=wait):
                await wait_readable(loop.fileno())
            pace.woken()
