# SPDX-License-Identifier: Apache-2.0
"""Blocking functions, called in worker threads, and tasks that wait for them.

A call has a *host*: the task that waits for it. While the function runs it can ask its host for
something (see `giambio.from_thread`): the host wakes, does it in the loop, answers, and waits on. So what
a thread asks for happens in a task, with that task's scopes around it, and is cancelled with them.
"""

from __future__ import annotations

import threading
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from giambio._simulation import THREADS
from giambio._sync.limiter import CapacityLimiter
from giambio.exceptions import CancelledError, WouldBlock
from giambio_kernel import (
    AsyncScheduler,
    Task,
    as_coroutine,
    checkpoint_if_cancelled,
    copy_context_outside,
    current_scheduler,
    current_task,
    replenish,
    reschedule,
    running,
    shielded_checkpoint,
    suspend,
)

from .cache import hand_over

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

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

    The thread sees a copy of the current context variables. From inside of *func* the functions of
    `giambio.from_thread` call back into the loop.

    Args:
        func: A plain function.
        *args: Its arguments.
        limiter: What bounds the number of threads; `default_thread_limiter` if omitted.
        abandon_on_cancel: What a cancellation does while the function runs. By default the wait
            goes on, the result is returned and the cancellation is delivered at the next
            checkpoint; a long function should look now and then whether it is wanted, with
            `giambio.from_thread.check_cancelled`. If true, the wait ends and the thread is left to
            itself; its outcome is dropped, and it counts for the limiter until it has ended.
        **kwargs: Its keyword arguments.

    Returns:
        What the function returns.

    Raises:
        TypeError: *func* is no function, or an async one.
        BaseException: What the function raises.
        RuntimeError: Not called from inside a loop; or the system has no thread left.

    Checkpoint: always. If it raises `CancelledError`, then without *abandon_on_cancel* the function
    either was not called or has itself let `check_cancelled` stop it.
    """
    if not callable(func):
        _refuse(func)
    scheduler = current_scheduler()
    if limiter is None:
        limiter = default_thread_limiter()
    call = ThreadCall(scheduler, func, args, kwargs, limiter, abandon_on_cancel)
    scheduler.credit -= 1
    if scheduler.credit < 0 or scheduler.current.stopping:
        await replenish()
    try:
        limiter.acquire_on_behalf_of_nowait(call)
    except WouldBlock:
        await limiter.acquire_on_behalf_of(call)
    result: T = await call.host()
    return result


def _refuse(func: object) -> NoReturn:
    if isinstance(func, CoroutineType):
        func.close()  # or Python would complain of that, too
    raise TypeError(
        f"expected a function to call in a thread, not {func!r}; its arguments come after it"
    )


class ThreadCall:
    """One call of a function in a thread."""

    __slots__ = (
        "_abandon_on_cancel", "_args", "_context", "_error", "_func", "_host", "_kwargs",
        "_limiter", "_requests", "_result", "_scheduler", "_stop_error", "_wakeup",
    )  # fmt: skip

    def __init__(
        self,
        scheduler: AsyncScheduler,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        limiter: CapacityLimiter,
        abandon_on_cancel: bool,
    ) -> None:
        self._func = func
        self._args = args
        self._kwargs = kwargs
        self._limiter = limiter
        self._abandon_on_cancel = abandon_on_cancel
        self._context = copy_context_outside()
        self._scheduler = scheduler
        self._result: Any = None
        self._error: BaseException | None = None
        # Why the host was to stop waiting, if it was.
        self._stop_error: BaseException | None = None
        # The task that waits; None when it does so no more.
        self._host: Task[Any] | None = None
        # What the function wants of the host: at most one request, put here by the thread.
        # Invariant: a request is answered, or taken back by the thread that put it here. For that
        # the thread looks for the host after putting it here, and the host goes before it looks.
        self._requests: list[Request] = []

    def __repr__(self) -> str:
        func = getattr(self, "_func", None)
        if func is None:
            return "<thread that has returned>"
        return f"<thread running {getattr(func, '__qualname__', func)!s}()>"

    # In the loop

    async def host(self) -> Any:
        """Hand the call to a thread, wait for the outcome, and do what the function asks for."""
        scheduler = self._scheduler
        self._host = scheduler.current
        self._wakeup = scheduler.open_wakeup(busy=True)
        try:
            scheduler.locals.get(THREADS, hand_over)(self)
        except BaseException:
            self._host = None
            self._finish()
            raise
        try:
            while (request := await suspend(_on_abort, self)) is not None:
                self._wakeup.close()  # while the function waits for us we may be deadlocked
                await request.serve(scheduler)
                self._wakeup = scheduler.open_wakeup(busy=True)
        except BaseException:
            if self._host is not None:  # the loop broke off
                self._leave()
            raise
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            if self._stop_error is not None and isinstance(error, CancelledError):
                await checkpoint_if_cancelled()  # raises what is due, as if the thread had not been
            raise error
        finally:
            del error

    def _finish(self) -> None:
        """The function has ended; called by the loop between two steps."""
        self._wakeup.close()
        self._limiter.release_on_behalf_of(self)
        host, self._host = self._host, None
        if host is not None:
            reschedule(host)

    def _leave(self) -> None:
        """The host waits no more, and the thread is left to itself."""
        self._host = None
        while self._requests:
            self._requests.pop().refuse(self._stopped())
        # Its end may still set somebody going who waits for the limiter, but it is not worked on
        # for anybody, so a virtual clock need not wait for it.
        self.set_busy(busy=False)

    def set_busy(self, *, busy: bool) -> None:
        """Say whether the function is at work, or waits for the loop itself."""
        self._wakeup.close()
        self._wakeup = self._scheduler.open_wakeup(busy=busy and self._host is not None)

    @property
    def scheduler(self) -> AsyncScheduler:
        """The loop that it was called from."""
        return self._scheduler

    def _deliver(self) -> None:
        """The function wants something; called by the loop between two steps."""
        if self._host is not None:
            reschedule(self._host, self._requests.pop())

    # In the thread

    def work(self) -> None:
        """Call the function."""
        try:
            result = self._context.run(self._func, *self._args, **self._kwargs)
            if result.__class__ is CoroutineType:
                result.close()  # or Python would complain of that, too
                raise TypeError(
                    f"{result.__qualname__}() is an async function: await it in the loop, or call "
                    "it from a thread with giambio.from_thread.run()"
                )
            self._result = result
        except BaseException as error:
            self._error = error
        # What it was given must not live until the outcome has been fetched.
        del self._func, self._args, self._kwargs, self._context

    def tell(self) -> None:
        """Tell the loop that there is an outcome."""
        try:
            self._scheduler.call_soon_threadsafe(self._finish)
        except RuntimeError:
            pass  # it was abandoned and the loop is closed

    def check_cancelled(self) -> None:
        """Raise if nobody waits for the outcome any more, or the host should not."""
        host = self._host
        if host is None or (self._stop_error is not None and host.stopping):
            raise self._stopped()

    def ask(self, request: Request) -> Any:
        """Have the host do something, and return the outcome."""
        self._requests.append(request)
        try:
            if self._host is None:
                raise RuntimeError
            self._scheduler.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # nobody is there to answer
            try:
                self._requests.pop()
            except IndexError:
                pass  # but the request was refused when the host went
            else:
                raise self._stopped() from None
        return request.wait()

    def _stopped(self) -> CancelledError:
        if isinstance(self._stop_error, CancelledError):
            return CancelledError(self._stop_error.reason)
        return CancelledError("the task that had called this thread waits no more")


def _on_abort(host: Task[Any], error: BaseException) -> bool:
    call = host.waiting_on
    assert isinstance(call, ThreadCall)
    call._stop_error = error
    if call._abandon_on_cancel:
        call._leave()
        return True
    return False


class Request:
    """Something that a function in a thread wants to have done in the loop."""

    __slots__ = ("_answered", "_args", "_context", "_error", "_fn", "_is_async", "_kwargs", "_result")  # fmt: skip

    def __init__(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], is_async: bool
    ) -> None:
        self._fn = fn
        self._args = args
        self._kwargs = kwargs
        self._is_async = is_async
        self._context = copy_context()
        self._result: Any = None
        self._error: BaseException | None = None
        # Held until there is an answer.
        self._answered = threading.Lock()
        self._answered.acquire()

    async def serve(self, scheduler: AsyncScheduler) -> None:
        """In the loop: do it in the current task, with the context variables of the thread."""
        self._context.run(running.set, scheduler)
        task = current_task()
        outer = task.context
        try:
            if self._is_async:
                task.context = self._context
                await shielded_checkpoint()  # from the next step on it counts
                self._result = await as_coroutine(self._fn, self._args, self._kwargs)
            else:
                self._result = self._context.run(self._call)
        except GeneratorExit:
            self.refuse(CancelledError("the loop broke off"))
            raise
        except BaseException as error:
            self._error = error
        finally:
            task.context = outer
        self._answered.release()

    def _call(self) -> Any:
        result = self._fn(*self._args, **self._kwargs)
        if result.__class__ is CoroutineType:
            result.close()
            raise TypeError(f"{result.__qualname__}() is an async function: use from_thread.run()")
        return result

    def refuse(self, error: BaseException) -> None:
        """In the loop: answer with an error instead."""
        self._error = error
        self._answered.release()

    def wait(self) -> Any:
        """In the thread: wait for the answer."""
        self._answered.acquire()
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise error
        finally:
            del error
