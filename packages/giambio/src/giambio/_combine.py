# SPDX-License-Identifier: Apache-2.0
"""Doing several things at once and putting the results together. None of it leaves a task behind."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, TypeVar, overload

from giambio_kernel import (
    CancelScope,
    Task,
    WaitQueue,
    add_siblings,
    as_coroutine,
    checkpoint,
    checkpoint_due,
    current_scheduler,
    current_task,
    park,
    unpark_all,
)

from ._pool import Pool, check_limit, create_pool, raise_as_is
from .exceptions import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from types import TracebackType

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
Item = TypeVar("Item")

Startable: TypeAlias = "Callable[[], Coroutine[Any, Any, T]] | Coroutine[Any, Any, T]"
"""What the functions here run: an async function without arguments, or the coroutine of one."""


@overload
async def gather(fn1: Startable[T1], /) -> tuple[T1]: ...


@overload
async def gather(fn1: Startable[T1], fn2: Startable[T2], /) -> tuple[T1, T2]: ...


@overload
async def gather(
    fn1: Startable[T1], fn2: Startable[T2], fn3: Startable[T3], /
) -> tuple[T1, T2, T3]: ...


@overload
async def gather(
    fn1: Startable[T1], fn2: Startable[T2], fn3: Startable[T3], fn4: Startable[T4], /
) -> tuple[T1, T2, T3, T4]: ...


@overload
async def gather(*fns: Startable[T]) -> tuple[T, ...]: ...


async def gather(*fns: Startable[Any]) -> tuple[Any, ...]:
    """Run several functions at once and return their results in order.

    The first error cancels the others, and is raised when they have ended.

    Args:
        *fns: Async functions without arguments, or coroutines: ``gather(fetch(a), fetch(b))``.

    Returns:
        Their results, in the order of the functions.

    Raises:
        BaseException: The first error, as itself; see `create_pool`.

    Checkpoint: always.
    """
    tasks: list[Task[Any]] = []
    try:
        async with create_pool() as pool:
            tasks.extend(pool.spawn(fn) for fn in fns)
        return tuple(task.result() for task in tasks)
    finally:
        tasks.clear()  # an error refers to this frame, and one of them to the error


async def race(*fns: Startable[T]) -> T:
    """Run several functions at once and return the result of the first to end.

    The others are cancelled, and have ended when this returns.

    Args:
        *fns: Async functions without arguments, or coroutines; at least one.

    Returns:
        What the first to end returned.

    Raises:
        ValueError: There is nothing to run.
        BaseException: The first to end raised this; or another one did while it was stopped.

    Checkpoint: always.
    """
    if not fns:
        raise ValueError("race() needs at least one function, or it would never end")
    ended: list[Task[T]] = []

    def note(task: Task[T]) -> None:
        ended.append(task)
        pool.cancel("another one was first")

    try:
        async with create_pool() as pool:
            for fn in fns:
                pool.spawn(fn).add_done_callback(note)
        return ended[0].result()
    finally:
        ended.clear()  # an error refers to this frame, and one of them to the error


def amap(
    fn: Callable[[Item], Coroutine[Any, Any, T]],
    items: Iterable[Item] | AsyncIterable[Item],
    *,
    limit: int | None = None,
    ordered: bool = True,
) -> Results[T]:
    """Call a function for each item, several at a time, and iterate over the results.

    Example::

        async for page in amap(fetch, urls, limit=10):
            ...

    An item is taken only when there is a free place for it, and no more than *limit* results wait
    to be asked for, so neither an endless source nor a slow consumer is a problem.

    Args:
        fn: An async function of one item.
        items: Where the items come from.
        limit: How many calls run at a time; ``None`` sets no limit.
        ordered: Whether results come in the order of the items, or as they are ready.

    Returns:
        An async iterator. Leaving the loop early cancels the calls that are running; they have
        ended at the latest when the pool around the loop ends, or at once with
        ``async with amap(...) as results``.

    Raises:
        ValueError: *limit* is less than 1 or a fraction.
        BaseException: Raised by the iteration: the first error of a call, or of the source, once
            the other calls are cancelled and have ended. If nobody asks for a result any more, it is
            raised at the end of the ``async with``, or by the pool around the loop.
    """
    if limit is not None:
        check_limit(limit)
    name = getattr(fn, "__name__", repr(fn))
    return Results(fn, items, limit, ordered, f"amap of {name}")


def as_completed(*fns: Startable[T]) -> Results[T]:
    """Run several functions at once and iterate over their results as they are ready.

    Args:
        *fns: Async functions without arguments, or coroutines.

    Returns:
        An async iterator over the results, the first to end first; see `amap`. When it is left early,
        coroutines that were not started are closed.
    """
    results: Results[T] = Results(as_coroutine, fns, None, ordered=False, label="as_completed")
    results._work.coros = [fn for fn in fns if isinstance(fn, CoroutineType)]
    return results


class Results(Generic[T]):
    """The results of `amap`, an async iterator. Also an async context manager, to stop it early.

    The calls run under a task of their own, because a pool that is open across a ``yield`` would be
    entered and left in places that do not nest. That task is a service of the nearest pool around
    the first use, so whatever happens it ends with that one. An error that nobody asks for any more
    is an error of that pool.
    """

    __slots__ = ("__weakref__", "_manager", "_work")

    def __init__(
        self,
        fn: Callable[[Any], Coroutine[Any, Any, T]],
        items: Iterable[Any] | AsyncIterable[Any],
        limit: int | None,
        ordered: bool,
        label: str,
    ) -> None:
        # All that the manager knows, so that this object can be dropped while it works.
        self._work: _Work[T] = _Work(fn, items, limit, ordered, label)
        self._manager: Task[Any] | None = None

    def __repr__(self) -> str:
        return repr(self._work)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Wait for the next result.

        Raises:
            StopAsyncIteration: There are no more.
            RuntimeError: It was begun in another loop.
            BaseException: The first error of a call or of the source.

        Checkpoint: always. If it is cancelled, so are the calls.
        """
        if self._manager is None:
            self._manager = _spawn_nearby(self._work.run)
            self._manager.name = self._work.label
        elif self._manager.scheduler is not current_scheduler():
            raise RuntimeError(f"{self!r} belongs to another loop; use it in one loop only")
        try:
            return await self._work.next()
        except (StopAsyncIteration, GeneratorExit):
            raise
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Cancel the calls that are running and wait for their end.

        Raises:
            Exception: What a call has raised, perhaps while it was stopped, and nobody was told.

        Checkpoint: always.
        """
        error = await self._close()
        if error is not None:
            try:
                raise_as_is(error)
            finally:
                del error  # it refers to this frame

    async def _close(self) -> Exception | None:
        self._work.closing = True
        if self._manager is None:
            self._work.end()
        else:
            self._manager.cancel("its results are not wanted any more")
        with CancelScope(shield=True):
            await self._work.wait_ended()
        return self._work.take_error()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        error = await self._close()
        try:
            if error is None or error is exc:
                return
            if exc is None or isinstance(exc, CancelledError):
                raise_as_is(error)
            add_siblings(exc, [error])
        finally:
            del error, exc  # the first may refer to this frame

    def __del__(self) -> None:
        manager = self._manager
        if manager is not None and not manager.done():
            try:
                manager.scheduler.call_soon_threadsafe(manager.cancel, "its results were dropped")
            except RuntimeError:
                pass  # the loop is closed, and so the task has ended


class _Work(Generic[T]):
    """What `Results` and its manager share."""

    __slots__ = (
        "_done", "_ended", "_error", "_fn", "_items", "_limit", "_ordered", "_running", "_waiting",
        "closing", "coros", "label",
    )  # fmt: skip

    # Whether somebody waits for the end, who will be told of an error.
    closing: bool
    # What it is, in reports.
    label: str
    # Coroutines to close at the end. Those that were not started would complain of that.
    coros: Sequence[Coroutine[Any, Any, T]]

    def __init__(
        self,
        fn: Callable[[Any], Coroutine[Any, Any, T]],
        items: Iterable[Any] | AsyncIterable[Any],
        limit: int | None,
        ordered: bool,
        label: str,
    ) -> None:
        self.label = label
        self._fn = fn
        self._items = items
        self._limit = limit
        self._ordered = ordered
        self._running = 0
        # Calls whose results were not taken yet, in the order in which they will be: ordered, all
        # of them; otherwise those that have ended.
        self._done: deque[Task[T]] = deque()
        # What went wrong and nobody was told yet.
        self._error: Exception | None = None
        self._ended = False
        self.closing = False
        # Whoever waits for something to change: the consumer, the manager.
        self._waiting: WaitQueue = {}
        self.coros = ()

    def __repr__(self) -> str:
        if self._ended:
            return f"<{self.label}, ended>"
        ready = len(self._done) - self._running * self._ordered
        return f"<{self.label}, {self._running} running, {ready} ready>"

    async def run(self) -> None:
        """Call the function for each item. The body of the manager."""
        try:
            async with create_pool() as pool:
                if not isinstance(self._items, AsyncIterable):
                    for item in self._items:
                        await self._call(pool, item)
                elif isinstance(self._items, AsyncGenerator):
                    async with aclosing(self._items) as items:
                        async for item in items:
                            await self._call(pool, item)
                else:
                    async for item in self._items:
                        await self._call(pool, item)
        except Exception as error:
            await self._hand_over(error)
        finally:
            self.end()

    async def _hand_over(self, error: Exception) -> None:
        """Raise *error* in whoever asks for a result next; or here, if nobody is going to."""
        self._error = error
        unpark_all(self._waiting)
        try:
            while self._error is not None:
                await park(self._waiting, self)
        except CancelledError:
            if self.closing or self.take_error() is None:
                raise
            raise_as_is(error)

    def take_error(self) -> Exception | None:
        """Return what nobody was told yet. The caller will raise it."""
        error, self._error = self._error, None
        if error is not None:
            self._done.clear()
            unpark_all(self._waiting)
        return error

    async def next(self) -> T:
        if checkpoint_due():
            await checkpoint()
        while True:
            if (error := self.take_error()) is not None:
                try:
                    raise error
                finally:
                    del error  # it refers to this frame
            # A call that ended badly has stopped the others; its error comes when they have ended.
            if self._done and (_is_good(self._done[0]) or self._ended):
                task = self._done.popleft()
                unpark_all(self._waiting)  # there may be room for another call now
                return task.result()
            if self._ended:
                raise StopAsyncIteration
            await park(self._waiting, self)

    async def _call(self, pool: Pool, item: Any) -> None:
        limit = self._limit
        while limit is not None and (
            self._running >= limit or len(self._done) - self._running * self._ordered >= limit
        ):
            await park(self._waiting, self)
        if checkpoint_due():
            await checkpoint()
        task = pool.spawn(self._fn, item)
        self._running += 1
        if self._ordered:
            self._done.append(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: Task[T]) -> None:
        self._running -= 1
        if not self._ordered:
            self._done.append(task)
        unpark_all(self._waiting)

    def end(self) -> None:
        """No result will be added any more."""
        self._ended = True
        unpark_all(self._waiting)
        for coro in self.coros:
            coro.close()

    async def wait_ended(self) -> None:
        while not self._ended:
            await park(self._waiting, self)


def _is_good(task: Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _spawn_nearby(fn: Callable[[], Coroutine[Any, Any, T]]) -> Task[Any]:
    """Start a task that ends with the nearest pool around the current task."""
    task = current_task()
    scope: CancelScope | None = task.scope
    while scope is not None:
        if isinstance(scope, Pool) and scope.accepts_tasks:
            return scope.service(fn)
        scope = scope.parent
    return current_scheduler().spawn(fn)
