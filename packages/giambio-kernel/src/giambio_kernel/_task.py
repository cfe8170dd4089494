# SPDX-License-Identifier: Apache-2.0
"""Tasks: a coroutine, what it waits for, and how it ended."""

from __future__ import annotations

from enum import Enum
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ._clock import INFINITY
from ._current import current_task
from ._errors import CancelledError, InternalError, TaskCancelled
from ._scope import CancelScope, own_scopes
from .traps import Sleep, abort_sleep, checkpoint, checkpoint_due, suspend

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context
    from types import FrameType

    from ._scheduler import AsyncScheduler

T = TypeVar("T")

# How many names a path shows of its beginning, and of its end.
_NAMES_SHOWN = 20


class TaskState(Enum):
    """Where a task is in its life."""

    NEW = "new"
    """Spawned; its first step is still to come."""
    READY = "ready"
    """It will run when its turn comes."""
    RUNNING = "running"
    """It is the one that runs now."""
    WAITING = "waiting"
    """It waits for something; `Task.waiting_on` says what."""
    DONE = "done"
    """It has ended, with a result, an error, or because it was cancelled."""


class Task(Generic[T]):
    """A coroutine that the loop runs. Made by spawning, never by hand.

    Attributes:
        coro: The coroutine.
        context: The `contextvars.Context` that its steps run in: a copy, made when it was spawned,
            of the spawner's.
        scheduler: The scheduler that runs it.
        stopping: Whether the next checkpoint raises. For the hot paths of primitives.
        undo_wait: How to undo its wait, a `WaitQueue` to leave or a function to call; None if it does
            not wait. For the hot paths of primitives: who makes the task ready sets it to None, after
            taking it out of the queue; others use `unpark` or `reschedule`.
        wake_value: What the trap that it was woken in returns. For the hot paths of primitives;
            others use `outcome`.
        wake_error: What that trap raises instead, if not None: ``raise task.take_wake_error()``.
    """

    # The loop fills these in itself (`AsyncScheduler.adopt`), because a spawn is a hot path and
    # calling `__init__` costs a third more.
    __slots__ = (
        "__weakref__",
        "_armed",
        "_due",
        "_home",
        "_interrupt",
        "_name",
        "_scope",
        "_since",
        "_step",
        "_waiting_on",
        "_watchers",
        "context",
        "coro",
        "scheduler",
        "stopping",
        "undo_wait",
        "wake_error",
        "wake_value",
    )

    coro: Coroutine[Any, Any, T]
    context: Context
    scheduler: AsyncScheduler
    _name: str | None
    # What the loop calls to resume the task: `begin`, then the coroutine's own `send`, in the end
    # one of the `ended_` functions below, which are never called and tell how the task ended.
    _step: Callable[[Task[Any]], Any]
    # Where it was spawned, and the innermost scope that it is in now.
    _home: CancelScope
    _scope: CancelScope
    # Invariant: whether the next checkpoint raises: `_scope._effective` or an interrupt.
    stopping: bool
    # An error that is to be raised at the next checkpoint whatever the scopes say: Ctrl+C, deadlock.
    _interrupt: BaseException | None
    # A `WaitQueue` to leave is so common that it needs no function. Invariant: the task waits exactly
    # if this is not None. Whoever makes it ready sets it to None in the same breath, so nothing can be
    # both granted and cancelled.
    undo_wait: Callable[[Task[Any], BaseException], object] | dict[Task[Any], Any] | None
    _waiting_on: Any
    # When it began to wait, as of the loop's last look at the clock.
    _since: float
    # After the end, the outcome of the task.
    wake_value: Any
    wake_error: BaseException | None
    # The earliest deadline of its own scopes, and the moment its entry in the timer heap is for.
    _due: float
    _armed: float
    # Who waits for the end of this task, tasks and callbacks; tasks that map to False wait for its
    # start only.
    _watchers: dict[Task[Any] | Callable[[Task[Any]], object], bool] | None

    def __repr__(self) -> str:
        state = self.state.value
        if self._step is ended_cancelled:
            state = "cancelled"
        elif self._step is ended_failed:
            state = f"failed: {self.wake_error!r}"
        elif self.undo_wait is not None:
            waiting_on = self.waiting_on
            # Not the whole of another task: tasks may wait for each other.
            shown = (
                f"<Task {waiting_on.name!r}>" if isinstance(waiting_on, Task) else repr(waiting_on)
            )
            state = f"waiting on {shown}"
        return f"<Task {self.name!r} {state}>"

    # What is seen from outside

    @property
    def name(self) -> str:
        """What the task is called in reports: by default, its function. Can be set."""
        name = self._name
        if name is None:
            name = getattr(self.coro, "__name__", None) or type(self.coro).__name__
        return name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def state(self) -> TaskState:
        """Where it is in its life."""
        if self._step in ENDED:
            return TaskState.DONE
        if self.scheduler.current is self:
            return TaskState.RUNNING
        if self._step is begin:
            return TaskState.NEW
        return TaskState.READY if self.undo_wait is None else TaskState.WAITING

    @property
    def scope(self) -> CancelScope:
        """The innermost cancel scope that it is in now."""
        return self._scope

    @property
    def pool(self) -> CancelScope:
        """The scope that it was spawned in: a front end's pool, or the root scope of the run."""
        return self._home

    @property
    def parent(self) -> Task[Any] | None:
        """The task whose pool it was spawned in. Outside of pools the main task; its own is None."""
        owner = self._home.owner
        if owner is None and self.scheduler.main_task is not self:
            return self.scheduler.main_task
        return owner

    @property
    def waiting_on(self) -> object:
        """What it waits for: an event, a lock, another task, an I/O handle, a `Sleep`, …

        ``None`` if it does not wait.
        """
        if self.undo_wait is None:
            return None
        if self.undo_wait is abort_sleep:
            return Sleep(self._waiting_on)
        return self._waiting_on

    @property
    def waiting_since(self) -> float | None:
        """When it began to wait, on the loop's clock, to within a tick; None if it does not wait."""
        return None if self.undo_wait is None else self._since

    def done(self) -> bool:
        """Whether it has ended, in whichever way."""
        return self._step in ENDED

    def cancelled(self) -> bool:
        """Whether it ended because it was cancelled."""
        return self._step is ended_cancelled

    def result(self) -> T:
        """Return what the task returned.

        Raises:
            TaskCancelled: The task was cancelled.
            BaseException: The very exception that the task ended with.
            RuntimeError: The task has not ended.
        """
        step = self._step
        if step is ended_well:
            return cast("T", self.wake_value)
        if step is ended_failed:
            assert self.wake_error is not None
            self.scheduler._error_was_seen(self)
            try:
                raise self.wake_error
            finally:
                del self  # the error refers to this frame
        if step is ended_cancelled:
            reason = f": {self.wake_value}" if self.wake_value else ""
            raise TaskCancelled(f"task {self.name!r} was cancelled{reason}", self)
        raise RuntimeError(f"task {self.name!r} has not ended yet; await task.join() waits for it")

    def exception(self) -> BaseException | None:
        """Return the exception that the task ended with; ``None`` if it returned or was cancelled.

        Raises:
            RuntimeError: The task has not ended.
        """
        if self._step in ENDED:
            self.scheduler._error_was_seen(self)
            return self.wake_error
        raise RuntimeError(f"task {self.name!r} has not ended yet; await task.join() waits for it")

    def stack(self) -> list[FrameType]:
        """Return the frames that the task is suspended in, outermost first.

        They are found through ``await``, through generators and through async generators. Empty
        when the task has ended, and while it runs: then its frames are on Python's own stack.
        """
        frames: list[FrameType] = []
        awaited: Any = None if self.scheduler.current is self else self.coro
        while awaited is not None:
            frame = None
            following = None
            for prefix in ("cr", "gi", "ag"):
                frame = getattr(awaited, f"{prefix}_frame", None)
                if frame is not None:
                    inner = "yieldfrom" if prefix == "gi" else "await"
                    following = getattr(awaited, f"{prefix}_{inner}", None)
                    break
            if frame is None:
                # The awaitable of an async generator or of a coroutine tells nobody what it
                # wraps, except the garbage collector.
                awaited = _wrapped(awaited)
                continue
            frames.append(frame)
            awaited = following
        return frames

    def holders(self) -> tuple[Task[Any], ...]:
        """The tasks that could end a wait for this one: itself."""
        return (self,)

    # What can be done with it

    def cancel(self, reason: str | None = None) -> None:
        """Cancel this task alone: every checkpoint in it raises from now on, until it ends.

        Args:
            reason: Why, for the `CancelledError` and for `TaskCancelled`.

        Cancelling twice, or a task that has ended, changes nothing. One that was not started yet
        is started and gets to its first checkpoint, so that its clean-up runs as written.
        """
        if self._step in ENDED:
            return
        self.scheduler.touch()
        self._own_scope().cancel(reason)

    def _own_scope(self) -> CancelScope:
        """Return the scope of this task alone. Only a few tasks need one, so it is made on demand."""
        # It goes under the stack of the task, on top of the scope that it was spawned in.
        lowest: CancelScope | None = None
        for lowest in own_scopes(self):  # noqa: B007
            pass
        if lowest.__class__ is TaskScope:
            assert lowest is not None
            return lowest
        own = TaskScope()
        own._parent = self._home
        own._task = self
        own._outer_due = INFINITY
        # If a cancellation is just on its way down from there, this task will be told through it.
        was_told = self.stopping if lowest is None else lowest._effective or lowest._shield
        own._effective = self._home._effective and was_told
        if lowest is None:
            self._scope = own
        else:
            lowest._parent = own
        return own

    async def join(self) -> T:
        """Wait for the end of the task and return its result.

        Any number of tasks may join, also after the end. Cancelling the join leaves the task alone.

        Returns:
            What the task returned.

        Raises:
            TaskCancelled: The task was cancelled.
            BaseException: The very exception that the task ended with.
            RuntimeError: A task joins itself.

        Checkpoint: always.
        """
        if self._step in ENDED:
            if checkpoint_due():
                await checkpoint()
        elif current_task() is self:
            raise RuntimeError(f"task {self.name!r} cannot wait for its own end")
        else:
            await self._watch(until_end=True)
        try:
            return self.result()
        finally:
            del self  # an error refers to this frame

    def add_done_callback(self, fn: Callable[[Task[T]], object]) -> None:
        """Call ``fn(task)`` when the task ends; at once if it has. Adding it twice calls it once.

        Args:
            fn: A plain function that is called between two steps, so it must be short and must not
                raise.
        """
        if self._step in ENDED:
            fn(self)
        elif self._watchers is None:
            self._watchers = {fn: True}
        else:
            self._watchers[fn] = True

    def remove_done_callback(self, fn: Callable[[Task[T]], object]) -> None:
        """Do not call *fn* at the end. Nothing happens if it was not to be called."""
        if self._watchers is not None:
            self._watchers.pop(fn, None)

    def __await__(self) -> Generator[Any, Any, Task[T]]:
        """Wait until the task has been given its start. See `AsyncScheduler.spawn`.

        Raises:
            RuntimeError: It had started before.
        """
        if self._step is not begin:
            raise RuntimeError(
                f"task {self.name!r} has already started; to wait for its end and get its result, "
                "use: await task.join()"
            )
        if self.undo_wait is not None:
            yield from self._watch(until_end=False).__await__()
        elif checkpoint_due():
            yield from checkpoint().__await__()
        return self

    async def _watch(self, *, until_end: bool) -> None:
        watcher = current_task()
        if watcher.scheduler is not self.scheduler:
            raise RuntimeError(f"task {self.name!r} belongs to another loop than the current task")
        if self._watchers is None:
            self._watchers = {}
        self._watchers[watcher] = until_end
        await suspend(_abort_watch, self)

    # What the kernel's other files do with it

    def _set_stopping(self, effective: bool) -> None:
        """The scope that it stands in has become cancelled, or has stopped to be."""
        stopping = effective or self._interrupt is not None
        if stopping is self.stopping:
            return
        self.stopping = stopping
        if stopping:
            if (hooks := self.scheduler._hooks) is not None:
                hooks.before_cancel(self)
            if self.undo_wait is not None:
                self._try_abort()

    def _try_abort(self) -> bool:
        """Raise what is due in a waiting task. Returns whether that was possible."""
        error = self._interrupt or self._cancelled_error()
        abort = self.undo_wait
        assert abort is not None
        if isinstance(abort, dict):
            del abort[self]
        elif abort(self, error) is False or self.undo_wait is None:
            # In the second case it has woken the task itself, which was granted what it waited for.
            if self._interrupt is None and isinstance(error, CancelledError):
                error._scope._deliveries -= 1  # it is not raised
            return False
        if self._interrupt is not None:
            self._interrupt = None
            self.stopping = self._scope._effective
        self.undo_wait = None
        self.wake_error = error
        self.scheduler.ready.append(self)
        return True

    def _wake_with(self, error: BaseException) -> None:
        """Make a waiting task ready and let its trap raise *error*."""
        self.undo_wait = None
        self.wake_error = error
        self.scheduler.ready.append(self)

    def take_wake_error(self) -> BaseException:
        """Return what the trap has to raise, once. So no frame keeps the exception in a variable."""
        error, self.wake_error = self.wake_error, None
        self._waiting_on = None
        assert error is not None
        return error

    def _take_stop_error(self) -> BaseException:
        """Return what a checkpoint has to raise."""
        interrupt = self._interrupt
        if interrupt is None:
            return self._cancelled_error()
        self._interrupt = None
        self.stopping = self._scope._effective
        return interrupt

    def _cancelled_error(self) -> CancelledError:
        outermost = None
        scope: CancelScope | None = self._scope
        while scope is not None:
            if scope._cancel_called:
                outermost = scope
            if scope._shield:
                break
            scope = scope._parent
        assert outermost is not None
        outermost._deliveries += 1
        reason = outermost._reason
        error = CancelledError() if reason is None else CancelledError(reason)
        error._scope = outermost
        return error

    def _path(self) -> str:
        """The names from the main task down to this one."""
        names: list[str] = []
        task: Task[Any] | None = self
        while task is not None:
            names.append(str(task.name))
            parent = task.parent
            if parent is not None and task._home.owner is not None:
                names.append(task._home.label)
            task = parent
        if len(names) > 2 * _NAMES_SHOWN:
            names[_NAMES_SHOWN:-_NAMES_SHOWN] = [f"… {len(names) - 2 * _NAMES_SHOWN} more …"]
        return " > ".join(reversed(names))


class TaskScope(CancelScope):
    """The scope of a single task, made when that task is cancelled or shielded."""

    __slots__ = ()
    label = "task"


def begin(task: Task[Any]) -> object:
    """Run the first step. It runs whatever happened to the task before: see `Task.cancel`."""
    task.wake_error = None
    watchers = task._watchers
    if watchers is not None:
        for watcher in [watcher for watcher, until_end in watchers.items() if not until_end]:
            del watchers[watcher]
            assert isinstance(watcher, Task)
            watcher.undo_wait = None
            task.scheduler.ready.append(watcher)
    request = task.coro.send(None)
    # Only now: many a task ends in its first step and never needs the bound method.
    task._step = task.coro.send
    return request


def ended_well(task: Task[Any]) -> object:
    """The task returned; ``wake_value`` is the result."""
    raise InternalError(f"{task!r} was resumed after its end")


def ended_failed(task: Task[Any]) -> object:
    """The task raised ``wake_error``."""
    raise InternalError(f"{task!r} was resumed after its end")


def ended_cancelled(task: Task[Any]) -> object:
    """The task was cancelled; ``wake_value`` is the reason."""
    raise InternalError(f"{task!r} was resumed after its end")


ENDED = frozenset((ended_well, ended_failed, ended_cancelled))


def _abort_watch(task: Task[Any], error: BaseException) -> None:
    watchers = task._waiting_on._watchers
    del watchers[task]


def _wrapped(awaitable: object) -> object:
    import gc

    for referent in gc.get_referents(awaitable):
        if hasattr(referent, "ag_frame") or hasattr(referent, "cr_frame"):
            return referent
    return None


def as_coroutine(
    fn: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
) -> Coroutine[Any, Any, Any]:
    """Call an async function and return the coroutine, or say clearly what it is instead.

    Args:
        fn: An async function; or, without arguments, a coroutine, which is returned as it is.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Raises:
        TypeError: *fn* is something else, or a coroutine and there are arguments.
        RuntimeError: It is a coroutine that has begun.
    """
    if isinstance(fn, CoroutineType):
        if args or kwargs:
            fn.close()  # or Python would complain of that, too
            raise TypeError(
                f"{fn.__qualname__}() was called already, so the arguments have nowhere to go: "
                f"pass the function and its arguments, spawn({fn.__name__}, ...)"
            )
        if fn.cr_frame is None or fn.cr_suspended or fn.cr_running:
            raise started_before(fn)
        return fn
    if not callable(fn):
        raise not_async(fn, None)
    coro = fn(*args, **(kwargs or {}))
    if isinstance(coro, CoroutineType):
        return coro
    raise not_async(fn, coro)


def started_before(coro: Coroutine[Any, Any, Any]) -> RuntimeError:
    """Return the error to raise for a coroutine that was to begin as a task and has begun before."""
    name = getattr(coro, "__qualname__", "")
    return RuntimeError(
        f"coroutine {name!r} was spawned or awaited before, and runs only once: pass the function"
    )


def not_async(fn: Any, made: Any) -> TypeError:
    """Return the error to raise for what is no function, or gave *made*, which is no coroutine."""
    if not callable(fn):
        hint = "; a * before it passes what is in it" if isinstance(fn, list | tuple) else ""
        return TypeError(f"expected an async function, not {fn!r}{hint}")
    name = getattr(fn, "__qualname__", repr(fn))
    if hasattr(made, "__aiter__"):
        return TypeError(f"{name} is an async generator function: iterate it in an async function")
    return TypeError(f"{name} is not an async function: calling it gave {made!r}, no coroutine")
