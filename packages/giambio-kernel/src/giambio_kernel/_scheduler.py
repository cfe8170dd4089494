# SPDX-License-Identifier: Apache-2.0
"""The scheduler: the life of a run, and what programs and front ends ask of their loop."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Iterable
from contextvars import copy_context
from enum import Enum
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from ._asyncgens import AsyncGenerators
from ._clock import INFINITY, check_seconds
from ._current import NOWHERE, running
from ._hooks import Hooks, is_debugger
from ._interrupt import InterruptHandler, put_back_after_fork
from ._io import Descriptors
from ._loop import Loop, Policy
from ._poller import Poller, default_poller
from ._report import Snapshot, take_snapshot
from ._root import RootScope
from ._task import Task, as_coroutine, begin, ended_cancelled
from ._wakeup import Inbox, Wakeup
from .traps import abort_sleep

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Coroutine
    from contextvars import Context

    from ._clock import Clock
    from ._scope import CancelScope

T = TypeVar("T")


class _Phase(Enum):
    NEW = "not started"
    RUNNING = "running"
    CLEANING_UP = "cleaning up"
    FINISHED = "finished"
    CLOSED = "closed"


class AsyncScheduler(Loop):
    """A loop: runs tasks, and tells them when time has passed and descriptors are ready.

    Used for one run, in one thread. ``start(main)`` does everything. To drive it yourself::

        with AsyncScheduler() as loop:
            task = loop.start(main, loop=False)
            while loop.tick():
                ...  # whatever else there is to do
        print(task.result())

    Args:
        clock: Where the time comes from; the system's monotonic clock if omitted.
        debugger: An object, or several in a list, whose methods are called when something happens;
            see `Hooks` for their names. Those it does not have are not called.
        poller: How to ask the system for ready descriptors; the platform's best way if omitted. It
            is closed with the loop.
        policy: Who decides which ready task runs next; first come, first served if omitted.
        deadlock: What to do when nothing can ever happen again: ``"raise"`` a `DeadlockError` in
            the main task, or ``"wait"``. By default `run` raises, and a loop that somebody else
            ticks waits, because whoever ticks may be the one to make something happen.

    Raises:
        ValueError: *deadlock* is something else.
        TypeError: An argument is a class and not an instance, or lacks what makes it one.

    Attributes:
        main_task: The main task; ``None`` before the start.
        current: The task whose step it is; between steps an object that is no task. For the hot
            paths of primitives; others use `current_task`.
        credit: How many more operations may finish at once without letting others run; see
            `checkpoint_due`. For the hot paths of primitives.
        locals: What libraries keep for the time of this run, each under a key of its own.
        ready: The tasks that are ready, in the order in which they will run. For the hot paths of
            primitives, which append a task that they have woken; others use `unpark` or `reschedule`.
    """

    __slots__ = (
        "_asyncgens",
        "_cleanups",
        "_deadlock",
        "_driven",
        "_phase",
        "_poller",
        "_thread",
        "locals",
    )

    # `Loop` sets them; declared again for type checkers.
    current: Task[Any]
    ready: deque[Task[Any]]
    main_task: Task[Any] | None

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        debugger: object | Iterable[object] | None = None,
        poller: Poller | None = None,
        policy: Policy | None = None,
        deadlock: Literal["raise", "wait"] | None = None,
    ) -> None:
        if deadlock not in (None, "raise", "wait"):
            raise ValueError(f"deadlock must be 'raise' or 'wait', not {deadlock!r}")
        if clock is not None:
            _check_is("clock", clock, "now")
        if poller is not None:
            _check_is("poller", poller, "poll")
        if policy is not None:
            _check_is("policy", policy, "choose")
        super().__init__(clock, policy)
        if debugger is not None:
            for each in _several(debugger):
                self.add_debugger(each)
        self.locals: dict[Any, Any] = {}
        self._poller = poller
        self._deadlock = deadlock
        self._phase = _Phase.NEW
        self._thread = threading.get_ident()
        # Whether somebody is in `run` or `tick`.
        self._driven = False
        self._cleanups: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self._asyncgens = AsyncGenerators(self)

    def __repr__(self) -> str:
        tasks = len(self.tasks())
        return f"<{type(self).__name__} {self._phase.value}, {tasks} task{'s' * (tasks != 1)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_phase", _Phase.NEW) not in (_Phase.NEW, _Phase.CLOSED):
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            self._release()

    # Driving the loop

    @overload
    def start(
        self, func: Callable[..., Coroutine[Any, Any, T]], *args: Any, loop: Literal[True] = True
    ) -> T: ...

    @overload
    def start(
        self, func: Callable[..., Coroutine[Any, Any, T]], *args: Any, loop: Literal[False]
    ) -> Task[T]: ...

    def start(
        self, func: Callable[..., Coroutine[Any, Any, T]], *args: Any, loop: bool = True
    ) -> T | Task[T]:
        """Start the run with a main task.

        Args:
            func: An async function.
            *args: Its arguments.
            loop: Whether to run to the end. If not, everything is set up and each `tick` is left
                to the caller, who also calls `close`.

        Returns:
            The result of *func*, or with ``loop=False`` its task.

        Raises:
            RuntimeError: The scheduler was used before, or ``loop=True`` inside a running loop.
            BaseException: With ``loop=True``, the error that the run failed with.
        """
        if self._phase is not _Phase.NEW:
            raise RuntimeError(f"{self!r} was started before; make a new one for every run")
        if loop:
            self._refuse_nesting()
        coro = as_coroutine(func, args)
        try:
            self._open()
        except BaseException:
            coro.close()
            raise
        try:
            if self._hooks is not None:
                self._hooks.on_start()
            # The main task is there from the start; no debugger is told that somebody spawned it.
            hooks, self._hooks = self._hooks, None
            task = self.main_task = self.adopt(coro, self._root)
            self._hooks = hooks
        except BaseException:  # Ctrl+C, say, which the run does not handle yet
            coro.close()
            self._release()
            raise
        if not loop:
            self._inbox.arm()
            return task
        result: T = self.run()
        return result

    def run(self) -> Any:
        """Run what was started to its end and close the loop.

        Returns:
            The result of the main task.

        Raises:
            RuntimeError: Nothing was started, or this is called inside a running loop.
            DeadlockError: Nothing could ever happen again.
            TaskCancelled: The main task was cancelled, not by an error.
            BaseException: The first error that the main task, or one in no pool, raised.
        """
        self._refuse_nesting()
        main = self.main_task
        if main is None:
            raise RuntimeError(f"nothing to run in {self!r}: call start(main) first")
        self._check_drivable()  # or what another thread runs would be released below
        try:
            self._drive_to_end(may_raise_deadlock=self._deadlock != "wait")
        finally:
            self._release()
        if (error := self._root.error) is not None:
            self._root.error = None
            raise error
        return main.result()

    def run_until(self, predicate: Callable[[], object]) -> None:
        """Run until a condition holds, then leave the loop alone with all its tasks as they are.

        Args:
            predicate: Called before the first pass and after each.

        Raises:
            RuntimeError: The run ended and the condition did not hold, or this is called inside a
                running loop.
            KeyboardInterrupt: Ctrl+C came too late for the main task to be given it. The tasks are
                as they are.
        """
        self._refuse_nesting()
        self._enter()
        try:
            with InterruptHandler(self):
                while not predicate():
                    if self.done():
                        raise RuntimeError("the run has ended, and the condition does not hold")
                    self._pass(None, may_raise_deadlock=self._deadlock != "wait")
        finally:
            self._leave()

    def tick(self, timeout: float | None = 0.0) -> bool:
        """Make one pass: wait for something to do, fire timers, collect I/O, run what is ready.

        A task that becomes ready meanwhile runs in the next pass. A task that raises is that task's
        affair, or its pool's: this does not raise it.

        Args:
            timeout: How long to wait if nothing is ready, in seconds; ``None`` waits until there is
                something.

        Returns:
            Whether work remains.

        Raises:
            ValueError: *timeout* is negative or not a number.
            RuntimeError: Nothing was started, this is another thread, or a task of this loop calls.
        """
        try:
            if timeout is not None and not timeout >= 0.0:
                raise ValueError(f"timeout must be at least 0, or None, not {timeout!r}")
        except TypeError:
            raise TypeError(f"timeout must be a number, or None, not {timeout!r}") from None
        self._enter()
        try:
            if not self.done():
                self._pass(timeout, may_raise_deadlock=self._deadlock == "raise")
        finally:
            self._leave()
        return not self.done()

    def done(self) -> bool:
        """Whether nothing is left to run."""
        return self._phase in (_Phase.FINISHED, _Phase.CLOSED)

    def close(self) -> None:
        """Cancel what is left, run its clean-up, and release the descriptors. Twice is fine.

        Raises:
            BaseException: An error that a task of the run ended with and nobody has seen.
            RuntimeError: Called by a task of this loop, or in another thread.
        """
        if self._phase is _Phase.CLOSED:
            return
        if self._phase is _Phase.NEW:
            self._phase = _Phase.CLOSED
            return
        self.touch()
        if self._driven:
            raise RuntimeError("a loop cannot be closed by its own tasks; cancel the main task")
        try:
            self._root.cancel("the loop was closed")
            self._drive_to_end(may_raise_deadlock=True)
        finally:
            self._release()
        if (error := self._root.error) is not None:
            self._root.error = None
            raise error

    def fileno(self) -> int:
        """Return a descriptor that is readable when a tick would have something from outside to do.

        With `next_deadline` this is all that another loop needs to host this one without a thread:
        watch the descriptor, set a timer, tick.

        Raises:
            RuntimeError: The loop is not open, or its poller has no such descriptor.
        """
        self._check_open()
        return self._io.fileno()

    def next_deadline(self) -> float:
        """Return when the next timer is due, on this loop's clock.

        Returns:
            The moment; now if a task is ready, and ``inf`` if there is no timer.
        """
        if self.ready or self._idle_waiters:
            return self._now()
        if self._phase is not _Phase.NEW and self._inbox.calls:
            return self._now()
        return self._timers.next()

    # What tasks and front ends ask for

    def clock(self) -> float:
        """Return the time on this loop's clock, in seconds."""
        return self._now()

    def current_task(self) -> Task[Any] | None:
        """Return the task whose step it is; ``None`` between steps."""
        return None if self.current is NOWHERE else self.current

    def tasks(self) -> tuple[Task[Any], ...]:
        """Return all tasks that have not ended, each before those that were spawned in its pools."""
        found = [*self._root.tasks, *self._system.tasks]
        for task in found:
            scope: CancelScope | None = task._scope
            inner: list[Task[Any]] = []
            while scope is not None and scope is not task._home:
                inner = [*scope.tasks, *inner]
                scope = scope._parent
            found.extend(inner)
        return tuple(found)

    def spawn(
        self,
        fn: Callable[..., Coroutine[Any, Any, T]] | Coroutine[Any, Any, T],
        *args: Any,
        name: str | None = None,
        scope: CancelScope | None = None,
        context: Context | None = None,
        delay: float | None = None,
        hold: Callable[[Task[Any], BaseException], object] | None = None,
        shield: bool = False,
    ) -> Task[T]:
        """Start a task. It makes its first step when its turn comes; the caller goes on.

        Args:
            fn: An async function, or the coroutine object that calling one gave.
            *args: The arguments of the function.
            name: What to call it; by default the name of the function.
            scope: The open scope to spawn it in, whose `CancelScope.on_task_done` is told of its
                end. By default the root scope: then an error in it fails the whole run. Whoever
                leaves a scope must have waited for its `CancelScope.tasks`, as a pool does; those
                that are left in it belong to nobody, and the run does not wait for them.
            context: The context to run in; by default a copy of the current one.
            delay: Start it after so many seconds, or when it is cancelled before.
            hold: Do not start it until somebody calls `reschedule` with it. This is called, as the
                *abort* of `suspend` is, when it is cancelled before; unless it refuses, the task is
                started then. Awaiting the task waits for its start.
            shield: Whether to shield it from the cancellation of *scope*, so that only its own
                `Task.cancel` stops it. Whoever asks for this must do that.

        Returns:
            The task.

        Raises:
            TypeError: *fn* is not an async function, or is a coroutine and there are arguments.
            ValueError: *delay* is negative or not a number.
            RuntimeError: The scope or the loop is not open, or this is another thread.
        """
        if delay is not None:
            check_seconds("delay", delay)
        task: Task[T] = self.adopt(as_coroutine(fn, args), scope or self._root, context, name)
        if shield:
            task._own_scope().shield = True
        if hold is None and delay is None:
            return task
        # Not yet: take it off the queue again, where it is the last one.
        self.ready.pop()
        task._since = self._looked_at
        if hold is not None:
            task.undo_wait = hold
            task._waiting_on = scope
        elif delay is not None:
            task.undo_wait = abort_sleep
            task._waiting_on = self._now() + delay
            self._timers.arm(task, task._waiting_on)
            if self._hooks is not None:
                self._hooks.on_task_schedule(task, delay)
        if task.stopping:
            task._try_abort()
        return task

    def adopt(
        self,
        coro: Coroutine[Any, Any, T],
        scope: CancelScope,
        context: Context | None = None,
        name: str | None = None,
    ) -> Task[T]:
        """Start a coroutine as a task of *scope*: `spawn` without its choices, for pools.

        Args:
            coro: A coroutine that has not begun.
            scope: An open scope, which is told of the end of the task.
            context: The context to run in; by default a copy of the current one.
            name: What to call the task; by default the name of the coroutine.

        Raises:
            TypeError: *coro* is not a coroutine.
            RuntimeError: The scope is not open, or this is another thread.
        """
        if coro.__class__ is not CoroutineType:
            raise TypeError(f"expected a coroutine, not {coro!r}")
        if scope._task is None and scope.__class__ is not RootScope:
            coro.close()  # or Python would complain of that, too
            raise RuntimeError(f"{scope!r} is not open, so nothing can be spawned in it")
        if running.get() is not self:
            try:
                self._check_running()
                self.touch()
            except RuntimeError:
                coro.close()
                raise
            context = copy_context() if context is None else context
            self._claim(context, coro)
        elif context is None:
            context = copy_context()
        else:
            self._claim(context, coro)
        task: Task[T] = Task()
        task.coro = coro
        task.context = context
        task.scheduler = self
        task._step = begin
        task._home = task._scope = scope
        task.stopping = scope._effective
        task._due = task._armed = INFINITY
        task._name = name
        task.undo_wait = task._interrupt = task.wake_error = task.wake_value = task._watchers = None
        tasks = scope._tasks
        if tasks is None:
            scope._tasks = {task: None}
        else:
            tasks[task] = None
        self.ready.append(task)
        if self._hooks is not None:
            self._hooks.on_task_spawn(task)
        return task

    def _claim(self, context: Context, coro: Coroutine[Any, Any, Any]) -> None:
        """Make this the loop that is found in *context*."""
        try:
            if context.get(running) is not self:  # or it may be that of the task that spawns
                context.run(running.set, self)
        except BaseException:
            coro.close()
            raise

    def call_soon_threadsafe(self, fn: Callable[..., object], *args: Any) -> None:
        """Call a plain function in the loop's thread, between two steps. From anywhere.

        May be used by any thread and in a signal handler. It does not keep the run alive, nor does
        the loop know that such a call may come; see `open_wakeup`.

        Args:
            fn: The function. An error that it raises fails the run.
            *args: Its arguments.

        Raises:
            RuntimeError: The loop is not open.
        """
        self._check_open()
        self._inbox.call_soon(fn, args)

    def touch(self) -> None:
        """Refuse another thread, and wake whoever hosts this loop. For primitives.

        To be called before something is changed that tasks of this loop wait for, by what may be used
        outside of them. `unpark` and `reschedule` do it themselves.

        Raises:
            RuntimeError: This is another thread than that of the loop.
        """
        if threading.get_ident() != self._thread:
            raise RuntimeError(_OTHER_THREAD)
        if not self._driven and self._phase not in (_Phase.NEW, _Phase.CLOSED):
            self._inbox.notify_if_armed()

    def open_wakeup(self, *, busy: bool = False) -> Wakeup:
        """Announce that a call may come from outside: from a thread, a signal, another loop.

        While the handle is open, a program whose tasks all wait is not deadlocked.

        Args:
            busy: Whether something is being worked on out there, so that the call will come by
                itself; then a virtual clock does not jump ahead of it.
        """
        return Wakeup(self, busy)

    def add_cleanup(self, fn: Callable[..., object], *args: Any) -> None:
        """Call a function at the end of the run, while the loop still lives. Last in, first out.

        Args:
            fn: A plain or an async function. It is called when all tasks have ended.
            *args: Its arguments.

        Raises:
            RuntimeError: The run has ended.
        """
        self._check_running()
        self._cleanups.append((fn, args))

    def add_debugger(self, debugger: object) -> None:
        """Tell *debugger*, too, what happens from now on.

        Raises:
            TypeError: It is a class, or has none of the methods of `Hooks`.
        """
        _refuse_class("debugger", debugger)
        if not is_debugger(debugger):
            raise TypeError(
                f"{debugger!r} is no debugger: it has none of the methods that are called, such as "
                "before_task_step()"
            )
        if self._hooks is None:
            self._hooks = Hooks(())
            self._steps_left.clear()  # what runs is the plain variant of the loop; leave it
        self._hooks.debuggers.append(debugger)

    def remove_debugger(self, debugger: object) -> None:
        """Tell *debugger* no more. Raises `ValueError` if it was not told."""
        if self._hooks is None or debugger not in self._hooks.debuggers:
            raise ValueError(f"{debugger!r} is not a debugger of this loop")
        self._hooks.debuggers.remove(debugger)
        if not self._hooks.debuggers:
            self._hooks = None

    def snapshot(self) -> Snapshot:
        """Return a read-only picture of the loop and of all its tasks."""
        return take_snapshot(self)

    # Opening, closing, and who may do what when

    def _open(self) -> None:
        self._thread = threading.get_ident()
        poller = default_poller() if self._poller is None else self._poller
        inbox = None
        try:
            inbox = Inbox()
            self._io = Descriptors(poller, inbox, self.ready)
        except BaseException:  # no descriptors left
            if inbox is not None:
                inbox.close()
            poller.close()
            raise
        self._inbox = inbox
        self._phase = _Phase.RUNNING
        _open_loops.add(self)

    def _release(self) -> None:
        """Give everything back to the system."""
        if self._phase is not _Phase.CLOSED:
            self._phase = _Phase.CLOSED
            try:
                self._io.close()
            finally:
                self._inbox.close()
                self.locals.clear()
                _open_loops.discard(self)

    def _pass(self, timeout: float | None, *, may_raise_deadlock: bool) -> None:
        """One pass: a look, then a step of each task that is ready after it."""
        self._look(timeout, may_raise_deadlock)
        self._run_steps(len(self.ready))
        if not self._root._tasks:
            self._wind_up()

    def _drive_to_end(self, *, may_raise_deadlock: bool) -> None:
        self._enter()
        try:
            with InterruptHandler(self):
                while not self.done():
                    self._look(None, may_raise_deadlock)
                    self._run_steps(self._stretch)
                    if not self._root._tasks:
                        self._wind_up()
        except BaseException as error:
            if self._io.forked:
                # The tasks are copies of the parent's, whose clean-up is the parent's affair;
                # dropping them would run it, too.
                _of_the_parent.extend(self.tasks())
                raise
            self._abandon()
            self._root.fail(error)
        finally:
            self._leave()

    def _wind_up(self) -> None:
        """All tasks of the run have ended: clean up, then finish."""
        if self._phase is _Phase.RUNNING:
            if self._inbox.calls:  # async generators that were dropped in the last steps, say
                self._inbox.run_calls(self._root.fail)
                if self._root._tasks:
                    return
            self._phase = _Phase.CLEANING_UP
            if self._cleanups or len(self._asyncgens):
                self.adopt(self._clean_up(), self._system)
        if self._phase is _Phase.CLEANING_UP and not self._system._tasks:
            if self._inbox.calls:  # the same for those that the clean-up itself has dropped
                self._inbox.run_calls(self._root.fail)
                if self._system._tasks or self._root._tasks:
                    return
            self._phase = _Phase.FINISHED
            if self._hooks is not None:
                self._hooks.on_exit()

    async def _clean_up(self) -> None:
        await self._asyncgens.close_all()
        while self._cleanups:
            fn, args = self._cleanups.pop()
            try:
                result = fn(*args)
                if isinstance(result, CoroutineType):
                    await result
            except Exception as error:
                self._root.fail(error)
        await self._asyncgens.close_all()

    def _abandon(self) -> None:
        """The loop itself has failed: close the coroutines, so that their clean-up can run."""
        tasks = self.tasks()
        for task in tasks:
            # Queues may outlive this run, and what they grant is for the living.
            if isinstance(task.undo_wait, dict):
                del task.undo_wait[task]
                task.undo_wait = None
        for task in reversed(tasks):
            task._step = ended_cancelled  # whoever asks is told that nothing can be awaited
            task.wake_value = "the loop broke off"
            try:
                self.current = task
                task.context.run(task.coro.close)
            except BaseException as error:
                self._root.fail(error)
            finally:
                self.current = NOWHERE
        self._root._tasks = self._system._tasks = None
        self.ready.clear()
        if self._hooks is not None and not self.done():  # or it has been told
            self._hooks.on_exit()

    def _enter(self) -> None:
        """Begin to drive the loop."""
        self._check_drivable()
        self._inbox.disarm()
        self._asyncgens.install()
        self._driven = True  # last, because Ctrl+C may come before, and then nobody undoes it

    def _check_drivable(self) -> None:
        self._check_open()
        if threading.get_ident() != self._thread:
            raise RuntimeError(_OTHER_THREAD)
        if self._driven:
            raise RuntimeError("a loop cannot be driven by one of its own tasks")

    def _leave(self) -> None:
        """Leave the loop alone; from now on whoever has work for it must say so."""
        self._asyncgens.uninstall()
        self._driven = False
        self._inbox.arm()
        if self._inbox.calls:
            self._inbox.notify()

    def _error_was_seen(self, task: Task[Any]) -> None:
        """Whoever drives the loop has looked at the outcome of *task*."""
        if task is self.main_task and not self._driven and self._root.error is task.wake_error:
            self._root.error = None

    def _check_open(self) -> None:
        if self._phase is _Phase.NEW:
            raise RuntimeError(f"{self!r} is not open yet: call start(main) first")
        if self._phase is _Phase.CLOSED:
            raise RuntimeError(f"{self!r} was closed; make a new one for every run")

    def _check_running(self) -> None:
        if self.done():
            raise RuntimeError(f"the run of {self!r} has ended")

    def _refuse_nesting(self) -> None:
        outer = running.get()
        if outer is NOWHERE or outer._io.forked:
            return  # the loop that a process was forked from does not run in it
        if outer.current is not NOWHERE and outer._is_here():
            raise RuntimeError(
                f"task {outer.current.name!r} cannot start a run inside of a run: "
                "await the function, or spawn it in a pool"
            )

    def _is_here(self) -> bool:
        return threading.get_ident() == self._thread


def _refuse_class(role: str, given: object) -> None:
    if isinstance(given, type):
        raise TypeError(f"pass an instance of the {role}: {given.__name__}()")


def _check_is(role: str, given: object, method: str) -> None:
    _refuse_class(role, given)
    if not hasattr(given, method):
        raise TypeError(f"{given!r} is no {role}: it has no {method}()")


def _several(debugger: object) -> Iterable[object]:
    """Return the debuggers of which there may be one or several."""
    if isinstance(debugger, Iterable) and not is_debugger(debugger):
        return [each for each in debugger if each is not None]
    return (debugger,)


_OTHER_THREAD = (
    "this loop belongs to another thread; from here only call_soon_threadsafe() may be used, or in a "
    "thread of run_in_thread() what giambio.from_thread has"
)

_of_the_parent: list[Task[Any]] = []

_open_loops: weakref.WeakSet[AsyncScheduler] = weakref.WeakSet()


def _mark_forked() -> None:
    for loop in _open_loops:
        loop._io.forked = True
    put_back_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mark_forked)
