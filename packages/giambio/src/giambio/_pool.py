# SPDX-License-Identifier: Apache-2.0
"""Pools: blocks that end when all the tasks spawned in them have ended.

A pool is a cancel scope that looks after its tasks. The first error in it cancels the rest, and leaves
the block as itself when all have ended.
"""

from __future__ import annotations

import sys
from collections import deque
from heapq import heappop, heappush
from types import CoroutineType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
    overload,
)

from giambio_kernel import (
    AsyncScheduler,
    CancelScope,
    Task,
    add_siblings,
    as_coroutine,
    checkpoint,
    current_scheduler,
    current_task,
    not_async,
    reschedule,
    suspend,
)

from ._numbers import check_count, check_seconds
from .exceptions import CancelledError, DeadlockError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

P = ParamSpec("P")
T = TypeVar("T")

# From `inspect`, which is slow to import.
_ASYNC_GENERATOR = 0x200


class Pool(CancelScope):
    """The tasks of one ``async with`` block. Made by `create_pool`.

    The block ends when its body and all tasks have ended. If one of them raises, the others are
    cancelled, and the error leaves the block once they have ended.

    Checkpoint: on exit.
    """

    __slots__ = (
        "_delayed",
        "_due",
        "_errors",
        "_errors_as",
        "_held",
        "_limit",
        "_scheduler",
        "_services",
        "_starting",
        "_waiting_owner",
        "watchful",
    )

    label = "pool"

    # Set on entry, not before: a timeout is also a pool, and mostly used as a plain scope.
    _scheduler: AsyncScheduler
    _errors_as: Literal["first", "group"]
    # What was raised, by identity: a task that joins another raises the same error again.
    _errors: dict[int, BaseException]
    # At most so many ordinary tasks run at a time; the others are held, first come first served.
    _limit: int | None
    _held: deque[Task[Any]]
    # Tasks of `spawn_after` that may not have started yet, and a heap of when they will. Only in a
    # pool with a limit.
    _delayed: set[Task[Any]]
    _due: list[tuple[float, int, Task[Any]]]
    # Tasks that live as long as the ordinary ones do, in the order in which they were started.
    _services: dict[Task[Any], None]
    # Tasks that somebody waits for in `start`.
    _starting: dict[Task[Any], TaskStatus[Any]]
    # The owner while it is parked in `_wait_for_tasks`. It is not asked of the scope, which misnesting
    # may have closed meanwhile.
    _waiting_owner: Task[Any] | None
    # Tasks that ended well are of interest only if there are held ones, services or starting ones.
    watchful: bool

    def __enter__(self) -> Self:
        raise RuntimeError("a pool waits for its tasks, so it is entered with 'async with'")

    async def __aenter__(self) -> Self:
        self._enter_pool("first", None)
        return self

    def _enter_pool(self, errors: Literal["first", "group"], limit: int | None) -> None:
        CancelScope.__enter__(self)
        self._scheduler = current_scheduler()
        self._errors_as = errors
        self._errors = {}
        self._limit = limit
        self._held = deque()
        self._services = {}
        self._starting = {}
        self._waiting_owner = None
        self.watchful = limit is not None
        if limit is not None:
            self._delayed = set()
            self._due = []

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:  # a checker takes `bool` for a block that is skipped as a matter of course
        if isinstance(exc, GeneratorExit):
            if not _in_closed_generator(self.owner):
                # The coroutine is being closed from outside; nothing can be awaited in it any more.
                self.cancel("the task that owns the pool was closed")
                return self.__exit__(exc_type, exc, traceback)
            self.cancel("the generator that owns the pool was closed")
        elif exc is not None and not isinstance(exc, CancelledError):
            self._add_error(exc)
        stopped_by = exc
        while True:
            await self._wait_for_tasks()
            if self._errors or stopped_by is not None:
                break
            # The end of a block is a checkpoint like any other: the rest of the program gets a
            # turn, and a cancellation that came while the block waited is delivered.
            try:
                await checkpoint()
            except CancelledError as cancelled:
                stopped_by = cancelled
            except BaseException as error:
                self._add_error(error)
            if not self._tasks:
                break
        try:
            if self._errors:
                # Errors go before a cancellation; if that came from outside, it is not lost: the
                # next checkpoint out there raises it. Those of this scope in a group end here.
                stopped_by = self._choose_error()
                self._errors = {}
                is_group = isinstance(stopped_by, BaseExceptionGroup)
                if self.__exit__(None, stopped_by if is_group else None, None):
                    return True
            elif self.__exit__(None, stopped_by, None):
                return True
            if stopped_by is not None and stopped_by is not exc:
                raise_as_is(stopped_by)
            return False
        finally:
            del stopped_by, exc  # it may refer to this frame
            if self._limit is not None:
                self._due.clear()  # its tasks refer to the pool

    # Starting tasks

    @property
    def scope(self) -> CancelScope:
        """The cancel scope around the tasks: the pool itself, which is one."""
        return self

    @property
    def errors(self) -> tuple[BaseException, ...]:
        """What has failed in it so far, in order; the end of the block raises it. Empty after that."""
        return tuple(getattr(self, "_errors", {}).values())

    @property
    def accepts_tasks(self) -> bool:
        """Whether tasks can be spawned now: it was entered with ``async with``, and is still open."""
        return self.owner is not None and hasattr(self, "_limit")

    @overload
    def spawn(
        self, func: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Task[T]: ...

    @overload
    def spawn(self, func: Coroutine[Any, Any, T], /) -> Task[T]: ...

    def spawn(self, func: Any, /, *args: Any, **kwargs: Any) -> Task[Any]:
        """Start a task in this pool and go on; it makes its first step when its turn comes.

        ``await pool.spawn(...)`` also waits until the task has been given its start, which makes a
        difference only in a pool with a limit, where it is how a producer is slowed down.

        Args:
            func: An async function; or the coroutine that calling one gave.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The task.

        Raises:
            TypeError: *func* is not an async function, or is a coroutine and there are arguments.
            RuntimeError: The pool is not open, or the call comes from another thread.
        """
        try:
            limit = self._limit
        except AttributeError:
            self._refuse_to_spawn(func)
        if func.__class__ is CoroutineType:
            coro = as_coroutine(func, args, kwargs)
        else:
            try:
                coro = func(*args, **kwargs)
            except TypeError:
                if callable(func):  # asked only now: it is a fiftieth of the cost of a short task
                    raise
                raise not_async(func, None) from None
            if coro.__class__ is not CoroutineType:
                raise not_async(func, coro)
        if limit is None:
            return self._scheduler.adopt(coro, self)
        if self._count_running() < limit:
            return self._scheduler.adopt(coro, self)
        task = self._scheduler.spawn(coro, scope=self, hold=_wait_for_turn)
        self._held.append(task)
        return task

    def spawn_after(
        self,
        seconds: float,
        func: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Task[T]:
        """Start a task in this pool some time from now; if it is cancelled before, then at once.

        Args:
            seconds: When to start it, from now. The limit of the pool does not hold it up, and does
                not count it before.
            func: An async function.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The task.

        Raises:
            ValueError: *seconds* is negative or not a number.
            TypeError: *func* is not an async function.
            RuntimeError: The pool is not open, or the call comes from another thread.
        """
        if not self.accepts_tasks:
            self._refuse_to_spawn(func)
        check_seconds("seconds", seconds)
        coro = as_coroutine(func, args, kwargs)
        task = self._scheduler.spawn(coro, scope=self, delay=seconds)
        if self._limit is not None:
            self._delayed.add(task)
            task.add_done_callback(self._delayed.discard)  # it may be cancelled before
            heappush(self._due, (self._scheduler.clock() + seconds, id(task), task))
        return task

    async def start(
        self, func: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Start a task in this pool and wait until it says that it has started.

        Args:
            func: An async function with a keyword parameter ``task_status``, a `TaskStatus`. It
                calls ``task_status.started(value)`` when it is ready for whatever it is for.
            *args: Its arguments.
            **kwargs: More keyword arguments.

        Returns:
            The value given to ``started``.

        Raises:
            RuntimeError: The task ended without calling ``started``, or the pool is not open.
            TaskCancelled: The task was cancelled before.
            BaseException: What the task raised before it called ``started``. The pool does not
                count this as an error of its own.

        Checkpoint: always. If the wait is cancelled, so is the task; one that the limit holds up is
        then started out of turn, and stops at its first checkpoint.
        """
        status: TaskStatus[Any] = TaskStatus()
        task = self.spawn(func, *args, task_status=status, **kwargs)
        self._starting[task] = status
        self.watchful = True
        try:
            value = await status._wait(task)
            if value is not _NOT_STARTED:
                return value
            await checkpoint()  # raises if the task was cancelled because the caller was
            if task.cancelled():
                return task.result()
            raise RuntimeError(f"task {task.name!r} ended without calling task_status.started()")
        finally:
            del task  # an error refers to this frame

    @overload
    def service(
        self, func: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Task[T]: ...

    @overload
    def service(self, func: Coroutine[Any, Any, T], /) -> Task[T]: ...

    def service(self, func: Any, /, *args: Any, **kwargs: Any) -> Task[Any]:
        """Start a task that lives as long as the ordinary ones of this pool do, and then is stopped.

        Services are stopped when the body and all ordinary tasks have ended, also when those are
        cancelled: the last one started is cancelled first, and has ended before the next one is.
        They do not count for the limit of the pool.

        Args:
            func: An async function.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The task, which can also be cancelled earlier.

        Raises:
            TypeError: *func* is not an async function.
            RuntimeError: The pool is not open, or the call comes from another thread.
        """
        if not self.accepts_tasks:
            self._refuse_to_spawn(func)
        # The shield is what lets it outlive the ordinary tasks when the pool is cancelled.
        task = self._scheduler.spawn(as_coroutine(func, args, kwargs), scope=self, shield=True)
        self._services[task] = None
        self.watchful = True
        return task

    def _refuse_to_spawn(self, func: object) -> NoReturn:
        if isinstance(func, CoroutineType):
            func.close()  # or Python would complain of that, too
        if self.owner is None:
            message = f"{self!r} is not open: spawn inside of its 'async with' block"
        else:
            message = (
                f"{self!r} was entered with 'with', which makes it a plain scope; to spawn tasks in "
                "it, enter it with 'async with'"
            )
        raise RuntimeError(message) from None

    def _count_running(self) -> int:
        count = len(self._tasks or ()) - len(self._services) - len(self._held)
        delayed = self._delayed
        if delayed:
            now = self._scheduler.clock()
            while self._due and self._due[0][0] <= now:
                delayed.discard(heappop(self._due)[2])
            count -= len(delayed)
        return count

    # The end of tasks, and of the block

    def on_task_done(self, task: Task[Any], error: BaseException | None) -> None:
        if self._services:
            self._services.pop(task, None)
        if self._starting and (status := self._starting.pop(task, None)) is not None:
            error = status._ended(error)
        if error is not None:
            if self.owner is None and self._waiting_owner is None:
                # The block was left without waiting, by a generator that was closed; nobody is
                # there to raise it but the run.
                super().on_task_done(task, error)
            else:
                self._add_error(error, task)
        if self._held and self._count_running() < self._limit:  # type: ignore[operator]
            reschedule(self._held.popleft())
        # The owner is woken for the last ordinary task, and then for each service.
        owner = self._waiting_owner
        if owner is not None and len(self._tasks) == len(self._services):  # type: ignore[arg-type]
            self._waiting_owner = None
            reschedule(owner)

    async def _wait_for_tasks(self) -> None:
        while self._tasks:
            if len(self._tasks) == len(self._services):
                last = next(reversed(self._services))
                last.cancel("the pool that it served has ended")
            self._waiting_owner = current_task()
            try:
                await suspend(_keep_waiting, self)
            except GeneratorExit:  # the loop was dropped unfinished, and nothing ends its tasks
                raise
            except BaseException as error:  # Ctrl+C, or a deadlock: meant for this task alone
                self._waiting_owner = None
                self._add_error(error)

    def _add_error(self, error: BaseException, task: Task[Any] | None = None) -> None:
        self._errors[id(error)] = error
        culprit = "the body of the pool" if task is None else f"task {task.name!r}"
        self.cancel(f"{culprit} failed with {type(error).__name__}")

    def _choose_error(self) -> BaseException:
        errors = list(self._errors.values())
        if self._errors_as == "group":
            return BaseExceptionGroup(f"{len(errors)} failed in a pool", errors)
        # Ctrl+C and exit go before errors of the program.
        chosen = next((error for error in errors if not isinstance(error, Exception)), errors[0])
        add_siblings(chosen, errors)
        return chosen

    def holders(self) -> tuple[Task[Any], ...]:
        """The tasks that the end of the block waits for."""
        return self.tasks


class _ConfiguredPool(Pool):
    __slots__ = ("_config",)

    def __init__(self, errors: Literal["first", "group"], limit: int | None) -> None:
        super().__init__()
        self._config = (errors, limit)

    async def __aenter__(self) -> Self:
        self._enter_pool(*self._config)
        return self


_ConfiguredPool.__name__ = "Pool"  # in reports


def create_pool(*, errors: Literal["first", "group"] = "first", limit: int | None = None) -> Pool:
    """Create a pool, for ``async with create_pool() as pool``.

    Args:
        errors: What leaves the block when something in it failed. ``"first"``: the first error, as
            itself; `siblings` returns the others. ``"group"``: always an `ExceptionGroup`, for
            ``except*``.
        limit: How many tasks run at a time; more of them are held until one ends, and started in
            the order of spawning. ``None`` sets no limit.

    Raises:
        ValueError: *errors* is something else, or *limit* is less than 1 or a fraction.
    """
    if errors not in ("first", "group"):
        raise ValueError(f"errors must be 'first' or 'group', not {errors!r}")
    if limit is not None:
        check_limit(limit)
    return _ConfiguredPool(errors, limit)


def check_limit(limit: int) -> None:
    """Refuse a limit of tasks at a time that cannot be kept."""
    check_count("limit", limit, 1, "None")


class TaskStatus(Generic[T]):
    """How a task that was started with `Pool.start` says that it is ready."""

    __slots__ = ("_abandoned", "_is_started", "_task", "_waiter")

    def __init__(self) -> None:
        self._task: Task[Any] | None = None
        self._waiter: Task[Any] | None = None
        self._is_started = self._abandoned = False

    def __repr__(self) -> str:
        of = "" if self._task is None else f" of {self._task.name!r}"
        return f"<TaskStatus{of}, {'started' if self._is_started else 'not started'}>"

    @overload
    def started(self: TaskStatus[None]) -> None: ...

    @overload
    def started(self, value: T) -> None: ...

    def started(self, value: Any = None) -> None:
        """Say that the task is ready; whoever waits in `Pool.start` goes on.

        Args:
            value: What `Pool.start` returns.

        Raises:
            RuntimeError: It was said before, or the task has ended; or this is another thread, and
                then it was not said.
        """
        if self._is_started:
            raise RuntimeError("task_status.started() was called twice")
        if self._waiter is not None and self._task is None:
            raise RuntimeError("task_status.started() was called after the end of the task")
        if self._waiter is not None:
            self._waiter.scheduler.touch()
        self._is_started = True
        # Whoever was waiting may have been cancelled, and the task with it; then nobody listens.
        if self._waiter is not None and not self._abandoned:
            assert self._task is not None
            del self._task.pool._starting[self._task]  # type: ignore[attr-defined]
            reschedule(self._waiter, value)

    async def _wait(self, task: Task[Any]) -> Any:
        self._task = task
        self._waiter = current_task()
        del task  # an error will refer to this frame
        return await suspend(_abandon_start, self)

    def _ended(self, error: BaseException | None) -> BaseException | None:
        """The task has ended unstarted. Returns the error if nobody else takes it."""
        assert self._waiter is not None
        self._task = None  # an error will refer to this, and the task to the error
        reschedule(self._waiter, _NOT_STARTED, error=error)
        return None

    def holders(self) -> tuple[Task[Any], ...]:
        """The task that is awaited."""
        return () if self._task is None else (self._task,)


_NOT_STARTED: Any = object()


def _abandon_start(waiter: Task[Any], error: BaseException) -> bool:
    """Cancel the task that is starting and wait for its end, as the structure demands."""
    status = waiter.waiting_on
    assert isinstance(status, TaskStatus) and status._task is not None
    status._abandoned = True
    status._task.cancel("the start() that waits for it was cancelled")
    pool = status._task.pool
    assert isinstance(pool, Pool)
    if status._task in pool._held:
        # Its turn may never come, and all that it has to do is to stop.
        pool._held.remove(status._task)
        reschedule(status._task)
    return False


def _keep_waiting(owner: Task[Any], error: BaseException) -> bool:
    """A pool waits for its tasks even if it is cancelled; they were cancelled, too.

    If they wait for ever all the same, which is a second deadlock, only the loop can break off.
    """
    if isinstance(error, CancelledError):
        return False
    pool = owner.waiting_on
    assert isinstance(pool, Pool)
    if isinstance(error, DeadlockError) and any(
        isinstance(each, DeadlockError) for each in pool._errors.values()
    ):
        return False
    pool._waiting_owner = None  # the last task may end before the owner has run again
    return True


def _in_closed_generator(owner: Task[Any] | None) -> bool:
    """Whether a `GeneratorExit` in the caller's caller is of ``aclose()``, in which one may await."""
    try:
        task = current_task()
    except RuntimeError:
        return False  # the garbage collector closes it
    if task is not owner or task.done():
        return False
    return bool(sys._getframe(2).f_code.co_flags & _ASYNC_GENERATOR)


def _wait_for_turn(task: Task[Any], error: BaseException) -> bool:
    """A cancelled task, too, is started when it is its turn, and stops at its first checkpoint."""
    return False


def raise_as_is(error: BaseException) -> NoReturn:
    """Raise *error* without making what is being handled here its context."""
    context = error.__context__
    try:
        raise error
    finally:
        object.__setattr__(error, "__context__", context)  # a frozen dataclass would refuse it
        del error, context
