# SPDX-License-Identifier: Apache-2.0
"""Portals: how threads that giambio did not start use a loop, and programs without one have one.

A call through a portal is a task in the pool of the portal. Its outcome goes to the thread that made the
call, and to nobody else: an error there does not disturb the loop.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from giambio._pool import create_pool
from giambio._simulation import refuse_if_simulated
from giambio.exceptions import CancelledError, ResourceClosed, TaskCancelled
from giambio_kernel import as_coroutine, current_scheduler

from .cache import current_job
from .calls import ThreadCall
from .entered import EnteredManager

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from contextvars import Context
    from types import TracebackType

    from giambio._pool import Pool
    from giambio_kernel import AsyncScheduler, Task, Wakeup

    from .cache import Job

P = ParamSpec("P")
T = TypeVar("T")


class Portal:
    """A way into a loop for other threads. Made by `open_portal` and `start_blocking_portal`.

    All methods may be called from any thread, several at a time; those that block, not from the
    thread of the loop.
    """

    __slots__ = ("__weakref__", "_calls", "_closed", "_guard", "_pool", "_scheduler", "_thread", "_wakeup")  # fmt: skip

    _scheduler: AsyncScheduler
    _pool: Pool
    _wakeup: Wakeup

    def __init__(self) -> None:
        self._closed = True
        # Who made a call and has no outcome yet.
        # Invariant: changed only with the guard held, and nothing is added once it is closed.
        self._calls: dict[_Call, None] = {}
        self._guard = threading.Lock()
        self._thread = 0

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Portal at {id(self):#x}, {state}, {len(self._calls)} calls>"

    async def __aenter__(self) -> Self:
        if hasattr(self, "_pool"):
            raise RuntimeError(f"{self!r} was entered before: a portal can be used only once")
        refuse_if_simulated("letting other threads in")
        self._scheduler = current_scheduler()
        self._thread = threading.get_ident()
        self._pool = create_pool()
        await self._pool.__aenter__()
        self._wakeup = self._scheduler.open_wakeup()
        self._closed = False
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self.close()
        if not isinstance(exc, GeneratorExit):
            # Those that were made and the loop has not looked at yet.
            for call in list(self._calls):
                call.begin()
        try:
            return await self._pool.__aexit__(exc_type, exc, traceback)
        finally:
            self._wakeup.close()
            for call in list(self._calls):  # the loop broke off
                call.refuse()

    @property
    def closed(self) -> bool:
        """Whether it takes no more calls."""
        return self._closed

    def close(self) -> None:
        """Take no more calls. Those that were made go on. Closing twice is fine."""
        with self._guard:
            self._closed = True

    # Blocking calls

    def run(
        self,
        fn: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an async function in the loop and wait for it.

        It is a task of its own, and sees a copy of the context variables of this thread. If the
        wait is interrupted, by Ctrl+C for example, the task is cancelled.

        Args:
            fn: An async function.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            What it returns.

        Raises:
            BaseException: What it raises.
            TypeError: *fn* is not an async function.
            TaskCancelled: It was cancelled with the portal.
            ResourceClosed: The portal is closed, or its loop broke off.
            RuntimeError: This is the thread of the loop.
        """
        self._refuse_to_block()
        future: Future[T] = self._spawn(_Call(self, fn, args, kwargs, current_job()))
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise
        finally:
            del future  # an error in it would refer to this frame

    def run_sync(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a plain function in the loop and wait for it.

        Args:
            fn: A plain function. The loop stands still meanwhile, so it must be short.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            What it returns.

        Raises:
            BaseException: What it raises.
            TypeError: *fn* is an async function.
            TaskCancelled, ResourceClosed, RuntimeError: As for `run`.
        """
        return self.run(_call_plainly, fn, args, kwargs)

    # Calls that go on in the background

    def spawn(
        self,
        fn: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Future[T]:
        """Start a task in the loop, and go on.

        Args:
            fn: An async function.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            A future of the standard library for its outcome. Cancelling the future cancels the
            task; the future counts as cancelled at once, while the task still cleans up.

        Raises:
            ResourceClosed: The portal is closed.
        """
        return self._spawn(_Call(self, fn, args, kwargs))

    def _spawn(self, call: _Call) -> Future[Any]:
        future = call.future
        with self._guard:
            if self._closed:
                raise ResourceClosed("the portal is closed")
            self._calls[call] = None
        try:
            self._scheduler.call_soon_threadsafe(call.begin)
        except RuntimeError:  # the loop has broken off
            call.refuse()
        return future

    def start(
        self, fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any
    ) -> tuple[Future[T], Any]:
        """Start a task in the loop, and wait until it says that it has started.

        Args:
            fn: An async function with a keyword parameter ``task_status``. It calls
                ``task_status.started(value)`` when it is ready for whatever it is for.
            *args: Its arguments.
            **kwargs: More keyword arguments.

        Returns:
            The future for its outcome, as `spawn` returns, and the value given to ``started``.

        Raises:
            BaseException: What it raised before it called ``started``.
            RuntimeError: It ended without calling ``started``, or this is the thread of the loop.
            TaskCancelled, ResourceClosed: As for `run`.
        """
        self._refuse_to_block()
        status = _Status()
        future: Future[T] = self.spawn(fn, *args, task_status=status, **kwargs)
        future.add_done_callback(status.ended)
        try:
            return future, status.future.result()
        except BaseException:
            future.cancel()
            raise

    def enter(self, manager: AbstractAsyncContextManager[T, bool | None]) -> EnteredManager[T]:
        """Use an async context manager in a plain ``with`` block.

        Both ends of the manager run in one task, which waits in between.

        Args:
            manager: The async context manager.

        Returns:
            A context manager for ``with portal.enter(manager) as value``.
        """
        return EnteredManager(self, manager)

    def _refuse_to_block(self) -> None:
        if threading.get_ident() == self._thread:
            raise RuntimeError(
                "a portal is for other threads; in the thread of its loop this would wait for ever"
            )


def open_portal() -> Portal:
    """Open a way into the running loop for threads that giambio did not start.

    Use it with ``async with open_portal() as portal``, and give *portal* to the threads. At its end
    the block takes no more calls and waits for those that were made; an exception cancels them.
    While it is open the program counts as waiting for the outside world.

    Checkpoint: on exit.
    """
    return Portal()


class _Call:
    """A call that a thread has made through a portal."""

    __slots__ = ("_args", "_begun", "_caller", "_context", "_fn", "_kwargs", "_portal", "future")

    def __init__(
        self,
        portal: Portal,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        caller: Job | None = None,
    ) -> None:
        self._portal = portal
        self._begun = False
        self._fn = fn
        self._args = args
        self._kwargs = kwargs
        self._context: Context = copy_context()
        # The thread that waits, if it is one of this loop's own; while it waits for the loop, a
        # virtual clock need not wait for it.
        self._caller: ThreadCall | None = None
        if isinstance(caller, ThreadCall) and caller.scheduler is portal._scheduler:
            self._caller = caller
        self.future: Future[Any] = Future()

    # In the loop

    def begin(self) -> None:
        """Start the task, between two steps, unless that was done."""
        if self._begun:
            return
        self._begun = True
        portal = self._portal
        if self.future.cancelled():
            self._end()
        else:
            if self._caller is not None:
                self._caller.set_busy(busy=False)
            task = portal._scheduler.spawn(
                self._run(),
                name=getattr(self._fn, "__name__", None),
                scope=portal._pool,
                context=self._context,
            )
            self.future.add_done_callback(lambda future: self._cancel(task, future))

    async def _run(self) -> None:
        try:
            result = await as_coroutine(self._fn, self._args, self._kwargs)
        except CancelledError as error:
            reason = f": {error.reason}" if error.reason else ""
            self._end(error=TaskCancelled(f"a call through the portal was cancelled{reason}"))
            raise
        except GeneratorExit:
            self.refuse()
            raise
        except BaseException as error:
            self._end(error=error)
        else:
            self._end(result)
        finally:
            if self._caller is not None:
                self._caller.set_busy(busy=True)

    def _end(self, result: Any = None, *, error: BaseException | None = None) -> None:
        portal = self._portal
        with portal._guard:
            if self not in portal._calls:
                return
            del portal._calls[self]
        future = self.future
        del self.future  # or an error in it would refer to itself by way of our frames
        if not future.set_running_or_notify_cancel():
            return  # nobody wants it any more
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def refuse(self) -> None:
        self._end(error=ResourceClosed("the loop broke off before this call had ended"))

    # In the thread

    def _cancel(self, task: Task[Any], future: Future[Any]) -> None:
        if future.cancelled():
            scheduler = self._portal._scheduler
            try:
                scheduler.call_soon_threadsafe(task.cancel, "its future was cancelled")
            except RuntimeError:
                pass  # the loop has ended, and so has the task


async def _call_plainly(fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    result = fn(*args, **kwargs)
    if isinstance(result, CoroutineType):
        result.close()
        raise TypeError(f"{result.__qualname__}() is an async function: use portal.run()")
    return result


class _Status:
    """How a task that was started with `Portal.start` says that it is ready."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: Future[Any] = Future()

    def started(self, value: Any = None) -> None:
        if self.future.done():
            raise RuntimeError("task_status.started() was called twice")
        self.future.set_result(value)

    def ended(self, future: Future[Any]) -> None:
        if self.future.done():
            return
        if future.cancelled():
            self.future.cancel()
            return
        self.future.set_exception(
            future.exception()
            or RuntimeError("the task ended without calling task_status.started()")
        )
