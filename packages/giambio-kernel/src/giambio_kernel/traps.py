# SPDX-License-Identifier: Apache-2.0
"""The traps: how a task hands control to its loop.

A trap does its work in plain Python first and yields only if the task must really wait. There are three
things to yield, and the loop answers with the task itself, which spares the trap a look-up:

- `AGAIN`: let the others run, I stay ready;
- `PARKED`: I have said how to undo the wait, and somebody will reschedule me;
- an object with a ``wait_queue``: put me at its end, that is what I wait on.

A trap is written as a generator but must be a real coroutine function, so that forgetting its
``await`` gives Python's own warning. The `trap` decorator makes one of the other. No other function
yields to the loop; here are the general ones, and a primitive may add its own.
"""

from __future__ import annotations

import types
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar

from ._clock import INFINITY
from ._current import current_scheduler, current_task, get_running
from ._io import HasFileno, IOHandle, as_descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context

    from ._scheduler import AsyncScheduler
    from ._scope import CancelScope
    from ._task import Task

P = ParamSpec("P")
T = TypeVar("T")

# From `inspect`, which is slow to import.
_CO_GENERATOR = 0x20
_CO_COROUTINE = 0x80


class Signal(Enum):
    """What a trap tells the loop about its task."""

    AGAIN = "ready again, after the others"
    PARKED = "waiting to be rescheduled"

    def __repr__(self) -> str:
        # This is what another library's loop prints when it is given one.
        return f"<{self.value}: a word between giambio's tasks and giambio's loop>"


# As globals they are found three times as fast as on the enumeration.
AGAIN: Final = Signal.AGAIN
PARKED: Final = Signal.PARKED


class HasWaitQueue(Protocol):
    """A primitive that tasks wait on in one queue. It is shown in reports as what they wait on."""

    @property
    def wait_queue(self) -> dict[Task[Any], Any] | None:
        """Where a task is put that yields this; not None at that moment.

        It is left when the wait is aborted, and by `unpark` and its like.
        """
        ...


Request: TypeAlias = "Signal | HasWaitQueue"
"""What a trap yields."""

Trap: TypeAlias = "Generator[Request, Task[Any], T]"
"""What a trap is made of: a generator that yields requests, is sent its task, and returns a `T`."""


trap_code: set[types.CodeType] = set()
"""The code of all traps, to find their frames."""


def trap(function: Callable[P, Trap[T]]) -> Callable[P, types.CoroutineType[Any, Any, T]]:
    """Turn a generator function that yields requests into a coroutine function.

    ``types.coroutine`` marks the generator as awaitable; setting the flag of native coroutines in
    its place makes Python see one in every respect, the never-awaited warning included, and costs
    a coroutine less for each call than an ``async def`` around an awaitable (95 to 170 ns per
    suspension against 155 to 290, CPython 3.11 to 3.13).
    """
    code = function.__code__.replace(
        co_flags=function.__code__.co_flags & ~_CO_GENERATOR | _CO_COROUTINE
    )
    try:
        made = types.FunctionType(
            code,
            function.__globals__,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
    except ValueError:  # an interpreter that checks the flags
        return types.coroutine(function)  # type: ignore[return-value]
    trap_code.add(code)
    made.__kwdefaults__ = function.__kwdefaults__
    # Whoever asks for its signature is to be told what awaiting it gives, not what it is made of.
    annotations = made.__annotations__ = dict(function.__annotations__)
    returned = annotations.get("return")
    if isinstance(returned, str) and returned.startswith("Trap["):
        annotations["return"] = returned[len("Trap[") : -1]
    made.__qualname__ = function.__qualname__
    made.__module__ = function.__module__
    made.__doc__ = function.__doc__
    return made


# Giving way


@trap
def checkpoint() -> Trap[None]:
    """Let other tasks run, and be cancelled if that is due.

    Checkpoint: always.
    """
    task = yield AGAIN
    if task.stopping:
        raise task._take_stop_error()


@trap
def checkpoint_if_cancelled() -> Trap[None]:
    """Be cancelled if that is due; otherwise go on without letting others run.

    Raises:
        RuntimeError: Not called from inside a loop.

    Checkpoint: always, but it only lets others run when it raises.
    """
    if current_task().stopping:
        task = yield AGAIN
        if task.stopping:
            raise task._take_stop_error()


@trap
def shielded_checkpoint() -> Trap[None]:
    """Let other tasks run without being cancelled here.

    Checkpoint: never, although it lets others run.
    """
    yield AGAIN


def checkpoint_due() -> bool:
    """Say whether an operation that could finish at once must ``await checkpoint()`` before it.

    This is how an operation is a checkpoint without the price of one. It asks first; if the answer
    is no, it takes effect and returns. The answer is yes if the task was cancelled, and every so
    often in any case, so that a task that never has to wait does not starve the others.

    Raises:
        RuntimeError: Not called from inside a loop.
    """
    scheduler = get_running()
    scheduler.credit -= 1
    if scheduler.credit < 0:
        scheduler.credit = scheduler._full_credit
        return True
    return scheduler.current.stopping


@trap
def replenish() -> Trap[None]:
    """Pass a checkpoint, and have the credit of operations that need not do so again.

    For the hot paths of primitives, which save the call of `checkpoint_due` by asking themselves::

        scheduler = running.get()
        scheduler.credit -= 1
        if scheduler.credit < 0 or scheduler.current.stopping:
            await replenish()

    Raises:
        RuntimeError: Not called from inside a loop.

    Checkpoint: always.
    """
    scheduler = get_running()
    scheduler.credit = scheduler._full_credit
    task = yield AGAIN
    if task.stopping:
        raise task._take_stop_error()


# Waiting for somebody


@trap
def suspend(
    abort: Callable[[Task[Any], BaseException], object], waiting_on: object = None
) -> Trap[Any]:
    """Wait until somebody calls `reschedule` with the current task.

    Whoever calls this has just put the task somewhere to be found again: in a queue of waiters, say.

    Args:
        abort: Called as ``abort(task, error)`` when *error*, usually a `CancelledError`, is to be
            raised here instead. It must undo the wait, so that nobody reschedules the task any
            more, or return ``False`` to refuse; any other result means that it is undone. After a
            refusal the task goes on waiting, and a cancellation is delivered at its next checkpoint.
            If it calls `reschedule` with the task, that counts as a refusal, too.
        waiting_on: What the task waits for, to be shown in reports. *abort* finds it as
            ``task.waiting_on``. If it has a method ``holders()``, the report asks it for the tasks
            that could end the wait.

    Returns:
        What was given to `reschedule`.

    Raises:
        BaseException: The error that was given to `reschedule`.
        RuntimeError: Not called from inside a loop.

    Checkpoint: always.
    """
    task = get_running().current
    task.undo_wait = abort
    task._waiting_on = waiting_on
    yield PARKED
    if task.wake_error is not None:
        raise task.take_wake_error()
    value = task.wake_value
    task.wake_value = task._waiting_on = None
    return value


def reschedule(
    task: Task[Any], value: object = None, *, error: BaseException | None = None
) -> None:
    """Make a task that waits in `suspend` ready again.

    Args:
        task: The task to wake.
        value: What its `suspend` returns.
        error: What its `suspend` raises instead.

    Raises:
        RuntimeError: The task does not wait, or this is another thread than that of its loop.
    """
    scheduler = task.scheduler
    if get_running() is not scheduler:
        scheduler.touch()
    if task.undo_wait is None:
        raise RuntimeError(f"{task!r} does not wait, so it cannot be rescheduled")
    task.undo_wait = None
    task.wake_value = value
    task.wake_error = error
    scheduler.ready.append(task)


# Waiting for time


@trap
def sleep(seconds: float) -> Trap[None]:
    """Pause the current task.

    Args:
        seconds: How long, in seconds of the loop's clock; never shorter, and longer by what the
            system's timer and the other tasks take. Zero only lets other tasks run. Infinity is
            `sleep_forever`.

    Raises:
        ValueError: *seconds* is negative or not a number.
        TypeError: It is something else than a number, such as ``None``.
        RuntimeError: Not called from inside a loop.

    Checkpoint: always.
    """
    try:
        if not seconds >= 0.0:
            raise ValueError(f"seconds must be at least 0, not {seconds!r}")
    except TypeError:
        raise TypeError(
            f"seconds must be a number, not {seconds!r}; sleep_forever() sets no end"
        ) from None
    scheduler = current_scheduler()
    if not seconds:
        task = yield AGAIN  # `checkpoint`, without the call
        if task.stopping:
            raise task._take_stop_error()
    elif seconds == INFINITY:
        yield from sleep_forever().__await__()
    else:
        now = scheduler._now()
        _fall_asleep(scheduler, now, now + seconds)
        task = yield PARKED
        if task.wake_error is not None:
            raise task.take_wake_error()


@trap
def sleep_until(when: float) -> Trap[None]:
    """Pause the current task until a moment of the loop's clock.

    Args:
        when: The moment, as told by `clock`. In the past it only lets other tasks run; infinity is
            `sleep_forever`.

    Raises:
        ValueError: *when* is not a number.
        TypeError: It is something else than a number, such as ``None``.
        RuntimeError: Not called from inside a loop.

    Checkpoint: always.
    """
    try:
        if not when <= INFINITY:
            raise ValueError("when must be a number, not nan")
    except TypeError:
        raise TypeError(
            f"when must be a number, not {when!r}; sleep_forever() sets no end"
        ) from None
    scheduler = current_scheduler()
    now = scheduler._now()
    if when <= now:
        yield from checkpoint().__await__()
    elif when == INFINITY:
        yield from sleep_forever().__await__()
    else:
        _fall_asleep(scheduler, now, when)
        task = yield PARKED
        if task.wake_error is not None:
            raise task.take_wake_error()


class Sleep(NamedTuple):
    """What a sleeping task waits on."""

    until: float
    """The moment of the loop's clock at which it wakes."""


def _fall_asleep(scheduler: AsyncScheduler, now: float, when: float) -> None:
    task = scheduler.current
    if scheduler._hooks is not None:
        scheduler._hooks.falls_asleep(task, now)
    task.undo_wait = abort_sleep
    task._waiting_on = when
    due = when if when < task._due else task._due
    if due < task._armed:
        scheduler._timers.arm(task, due)


def abort_sleep(task: Task[Any], error: BaseException) -> None:
    """Nothing to undo: the timer finds that the task does not sleep any more.

    The loop recognises a sleeping task by this function and finds the moment in ``_waiting_on``.
    """


async def sleep_forever() -> None:
    """Pause the current task until it is cancelled.

    It waits for the outside world, so a program in which a task does this is not deadlocked.

    Raises:
        RuntimeError: Not called from inside a loop.

    Checkpoint: always.
    """
    scheduler = current_scheduler()
    scheduler._outside_waits += 1
    try:
        await suspend(_abort_nothing, OUTSIDE_WORLD)
    finally:
        scheduler._outside_waits -= 1


def _abort_nothing(task: Task[Any], error: BaseException) -> None:
    pass


class _OutsideWorld:
    def __repr__(self) -> str:
        return "<the outside world>"


OUTSIDE_WORLD: Final = _OutsideWorld()


# Waiting for descriptors


@trap
def wait_readable(source: int | HasFileno | IOHandle) -> Trap[None]:
    """Wait until a descriptor can be read, or has an end or an error to report.

    Args:
        source: A descriptor, or an object with ``fileno()``, which is waited on level-triggered,
            once; or a handle that owns one
            (see `open_handle`), which stays registered and may wake its reader spuriously.

    Raises:
        ResourceBusy: Another task waits to read from it.
        ResourceClosed: It was closed meanwhile, by `IOHandle.close` or `notify_closing`.
        TypeError: It is no descriptor and has none.
        ValueError: It is closed.
        OSError: The descriptor is not open, or of a kind that cannot be waited for, such as a file.
        RuntimeError: Not called from inside a loop.

    Checkpoint: always.
    """
    handle = source if isinstance(source, IOHandle) else current_scheduler()._io.borrow(source)
    handle.park_reader()
    task = yield PARKED
    if task.wake_error is not None:
        raise task.take_wake_error()


@trap
def wait_writable(source: int | HasFileno | IOHandle) -> Trap[None]:
    """Wait until a descriptor can be written to, or has an error to report.

    Args:
        source: A descriptor, what has one, or a handle, as for `wait_readable`.

    Raises:
        ResourceBusy: Another task waits to write to it.
        ResourceClosed: It was closed meanwhile, by `IOHandle.close` or `notify_closing`.
        TypeError: It is no descriptor and has none.
        ValueError: It is closed.
        OSError: The descriptor is not open, or of a kind that cannot be waited for, such as a file.
        RuntimeError: Not called from inside a loop.

    Checkpoint: always.
    """
    handle = source if isinstance(source, IOHandle) else current_scheduler()._io.borrow(source)
    handle.park_writer()
    task = yield PARKED
    if task.wake_error is not None:
        raise task.take_wake_error()


def notify_closing(source: int | HasFileno) -> None:
    """Tell the loop that a descriptor is about to be closed, and wake who waits for it.

    Args:
        source: The descriptor, or what has it, still open. Tasks that wait for it get
            `ResourceClosed`.

    Raises:
        RuntimeError: Not called from inside a loop.
    """
    current_scheduler()._io.close_fd(source)


def open_handle(source: int | HasFileno) -> IOHandle:
    """Take charge of a descriptor, to wait for it many times at little cost.

    Args:
        source: A descriptor that nobody else waits for, or what has it. It must be non-blocking and
            stay open until the handle is closed.

    Raises:
        RuntimeError: Not called from inside a loop.
    """
    return IOHandle(current_scheduler()._io, as_descriptor(source), owned=True)


# Tasks


def spawn_task(
    fn: Callable[..., Coroutine[Any, Any, T]] | Coroutine[Any, Any, T],
    *args: Any,
    name: str | None = None,
    scope: CancelScope | None = None,
    context: Context | None = None,
    delay: float | None = None,
) -> Task[T]:
    """Start a task. See `AsyncScheduler.spawn`, which can also be called from outside.

    Raises:
        RuntimeError: Not called from inside a loop.
    """
    return current_scheduler().spawn(
        fn, *args, name=name, scope=scope, context=context, delay=delay
    )


async def wait_all_tasks_blocked() -> None:
    """Wait until no other task can run before time passes or something comes from outside.

    Tasks in this same function count as blocked; all of them are woken together, before a virtual
    clock jumps.

    Raises:
        RuntimeError: Not called from inside a loop.

    Checkpoint: always.
    """
    scheduler = current_scheduler()
    task = current_task()
    waiters = scheduler._idle_waiters
    waiters[task] = None
    await suspend(_abort_idle_wait, waiters)


def _abort_idle_wait(task: Task[Any], error: BaseException) -> None:
    del task.scheduler._idle_waiters[task]
