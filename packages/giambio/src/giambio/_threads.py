# SPDX-License-Identifier: Apache-2.0
"""Threads: blocking code that a task can wait for.

A worker thread that has finished a call stays for a while and takes the next one, from whichever loop,
because starting a thread costs ten times as much as handing it a call.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from giambio_kernel import (
    Task,
    copy_context_outside,
    current_scheduler,
    current_task,
    reschedule,
    suspend,
)

from ._limiter import CapacityLimiter

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# How long a thread waits for another call before it ends, in seconds. Long enough to be there for
# the next request of a server, short enough to be gone when nobody needs it.
_IDLE_SECONDS = 10.0

# The threads that wait for a call, the one that waited least last. Appending and popping are atomic.
_idle: deque[_Worker] = deque()


class _Worker:
    """A thread that makes calls, one at a time."""

    __slots__ = ("_call", "_work")

    def __init__(self) -> None:
        self._call: _Call | None = None
        # Held while there is nothing to do; releasing it is how the thread is woken.
        self._work = threading.Lock()
        self._work.acquire()
        threading.Thread(target=self._run, name="giambio worker", daemon=True).start()

    def give(self, call: _Call) -> None:
        self._call = call
        self._work.release()

    def _run(self) -> None:
        while True:
            if not self._work.acquire(timeout=_IDLE_SECONDS):
                # Whoever takes the worker out of the deque decides: it itself, to end, or a caller.
                try:
                    _idle.remove(self)
                except ValueError:
                    self._work.acquire()
                else:
                    return
            call, self._call = self._call, None
            assert call is not None
            call.make()
            # Idle before the outcome is told: the loop may have the next call at once.
            _idle.append(self)
            call.tell()
            del call


class _Call:
    """One call of a function in a thread, and the task that waits for it."""

    __slots__ = (
        "_args", "_context", "_error", "_func", "_kwargs", "_limiter", "_result", "_task",
        "_wakeup", "abandon_on_cancel",
    )  # fmt: skip

    def __init__(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        abandon_on_cancel: bool,
    ) -> None:
        self._func = func
        self._args = args
        self._kwargs = kwargs
        self.abandon_on_cancel = abandon_on_cancel
        self._context = copy_context_outside()
        self._result: Any = None
        self._error: BaseException | None = None
        # The task that waits; None once it has stopped to.
        self._task: Task[Any] | None = None

    def __repr__(self) -> str:
        return f"<thread running {getattr(self._func, '__qualname__', self._func)!s}()>"

    async def run(self, limiter: CapacityLimiter) -> Any:
        """In the loop: hand the call to a thread and wait for the outcome."""
        await limiter.acquire_on_behalf_of(self)
        self._limiter = limiter
        self._task = current_task()
        self._wakeup = current_scheduler().open_wakeup(busy=True)
        try:
            worker = _idle.pop()
        except IndexError:
            worker = _Worker()
        worker.give(self)
        return await suspend(_abandon, self)

    def make(self) -> None:
        """In the thread: call the function."""
        try:
            self._result = self._context.run(self._func, *self._args, **self._kwargs)
        except BaseException as error:
            self._error = error
        # What it was given must not live as long as the thread is idle.
        del self._func, self._args, self._kwargs, self._context

    def tell(self) -> None:
        """In the thread: tell the loop that there is an outcome."""
        try:
            self._wakeup.call_soon(self._finish)
        except RuntimeError:
            pass  # the call was abandoned and the loop is closed

    def _finish(self) -> None:
        """In the loop: give back what was borrowed and wake the task."""
        self._wakeup.close()
        self._limiter.release_on_behalf_of(self)
        task, self._task = self._task, None
        if task is not None:
            reschedule(task, self._result, error=self._error)


def _abandon(task: Task[Any], error: BaseException) -> bool:
    call = task.waiting_on
    assert isinstance(call, _Call)
    if call.abandon_on_cancel:
        call._task = None
        return True
    return False


_DEFAULT_LIMIT = 40
_LIMITER_KEY = object()


def default_thread_limiter() -> CapacityLimiter:
    """Return the limiter of `run_in_thread` for this run: 40 threads at a time unless resized.

    Raises:
        RuntimeError: Not called from inside a loop.
    """
    kept = current_scheduler().locals
    limiter: CapacityLimiter | None = kept.get(_LIMITER_KEY)
    if limiter is None:
        limiter = kept[_LIMITER_KEY] = CapacityLimiter(_DEFAULT_LIMIT)
    return limiter


async def run_in_thread(
    func: Callable[..., T],
    /,
    *args: Any,
    limiter: CapacityLimiter | None = None,
    abandon_on_cancel: bool = False,
    **kwargs: Any,
) -> T:
    """Call a blocking function in a worker thread and wait for it.

    The thread sees a copy of the current context variables.

    Args:
        func: A plain function.
        *args: Its arguments.
        limiter: What bounds the number of threads; `default_thread_limiter` if omitted.
        abandon_on_cancel: What a cancellation does while the function runs. By default the wait
            goes on, the result is returned and the cancellation is delivered at the next
            checkpoint. If true, the wait ends and the thread is left to itself; its outcome is
            dropped.
        **kwargs: Its keyword arguments.

    Returns:
        What the function returns.

    Raises:
        BaseException: What the function raises.

    Checkpoint: always. If it raises `CancelledError` without *abandon_on_cancel*, the function was
    not called.
    """
    call = _Call(func, args, kwargs, abandon_on_cancel)
    result: T = await call.run(default_thread_limiter() if limiter is None else limiter)
    return result
