# SPDX-License-Identifier: Apache-2.0
"""The loop itself: a ready queue, and what puts tasks on it.

    look    calls from outside, timers, descriptors; waiting if nothing is ready    `_look`, `_idle`
    step    take a task from the ready queue and resume it until it yields         `_run_steps`
    end     keep the outcome, tell who waits for it                                 `_end`

A pass is a look and some steps. `tick`, which a user or another loop calls, steps the tasks that were
ready when it began; `run` steps as many as make a look pay, but never for long. Who drives the passes,
and how a run begins and ends, is in `_scheduler`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol, TypeVar

from ._clock import INFINITY, Clock, SystemClock
from ._current import NOWHERE
from ._errors import CancelledError, DeadlockError, InternalError, add_note
from ._report import format_tree
from ._root import RootScope
from ._scope import expire_scopes
from ._task import (
    ENDED,
    Task,
    TaskScope,
    begin,
    ended_cancelled,
    ended_failed,
    ended_well,
    started_before,
)
from ._timers import Timers
from ._tracebacks import asyncio_misses_its_loop, forget_loop, was_resumed
from .traps import AGAIN, PARKED, abort_sleep

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType

    from ._hooks import Hooks
    from ._io import Descriptors
    from ._scope import CancelScope
    from ._wakeup import Inbox
    from .traps import Request

T = TypeVar("T")

# How many operations in a row may finish without letting others run; see `checkpoint_due`.
_CREDIT = 64
# The longest stretch of steps between two looks, and how long a stretch should take, in seconds.
# A look costs 660 ns. Spread over 64 steps that is 10 ns each; and when steps are long, fewer of
# them are taken, so that I/O and timers wait about a quarter of a millisecond and not 64 steps.
_LONGEST_STRETCH = 64
_STRETCH_SECONDS = 0.00025

# In seconds. Pollers take only so much, epoll 24 days; after that the loop just looks again.
_LONGEST_WAIT = 86_400.0


class Policy(Protocol):
    """Decides which ready task runs next. Asked only when there is a choice."""

    def choose(self, ready: Sequence[Task[Any]]) -> int:
        """Return the index of the task to run next.

        Args:
            ready: The ready tasks, at least two, in the order in which they became ready.
        """
        ...


class Loop:
    """The state of a loop and how it moves. See `AsyncScheduler`, which is what one uses."""

    __slots__ = (
        "__weakref__",
        "_break_off",
        "_busy_outside",
        "_clock",
        "_clock_jumps",
        "_full_credit",
        "_hooks",
        "_idle_waiters",
        "_inbox",
        "_io",
        "_looked_at",
        "_now",
        "_outside_waits",
        "_policy",
        "_root",
        "_steps_left",
        "_stretch",
        "_system",
        "_timers",
        "credit",
        "current",
        "main_task",
        "ready",
    )

    step_code: ClassVar[frozenset[CodeType]]
    """The code of what calls the tasks, to find where the frames of a task begin."""

    def __init__(self, clock: Clock | None, policy: Policy | None) -> None:
        self.main_task: Task[Any] | None = None
        # Invariant: the task whose step it is; between steps an object that is no task.
        self.current: Task[Any] = NOWHERE
        self.ready: deque[Task[Any]] = deque()
        self._timers = Timers()
        self._root = RootScope()
        # The loop's own tasks: closers of async generators, clean-up. They outlive the others.
        self._system = RootScope()
        self._clock: Clock = SystemClock() if clock is None else clock
        self._now = self._clock.now
        self._clock_jumps = not isinstance(self._clock, SystemClock)
        self._policy = policy
        # What is left of the operations that may finish without a switch. With a policy there are
        # none, so that every operation is a place where the policy can switch.
        self._full_credit = self.credit = _CREDIT if policy is None else 0
        self._stretch = _LONGEST_STRETCH
        # As many items as steps are left in this stretch; emptying it ends the stretch.
        self._steps_left: list[None] = []
        self._looked_at = self._now()
        # How many tasks and open `Wakeup` handles wait for the outside world, and how many of the
        # handles stand for work in progress, which a virtual clock must not overtake.
        self._outside_waits = 0
        self._busy_outside = 0
        self._idle_waiters: dict[Task[Any], None] = {}
        # Set by a second Ctrl+C: leave the run now.
        self._break_off = False
        self._hooks: Hooks | None = None
        # Made when the run starts, because they hold descriptors.
        self._io: Descriptors
        self._inbox: Inbox

    # Looking

    def _look(self, timeout: float | None, may_raise_deadlock: bool) -> None:
        """See what has come: calls from outside, timers, I/O. Wait only if nothing is ready."""
        if self._io.forked:
            raise RuntimeError(
                "this process was forked from one that runs a giambio loop, and cannot go on with "
                "it: after os.fork() the child must exec or os._exit, or use a loop of its own"
            )
        if self._break_off:
            self._leave_at_once()
        now = self._now()
        took = now - self._looked_at
        self._looked_at = now
        if took > _STRETCH_SECONDS:
            self._stretch = self._stretch // 2 or 1
        elif self._stretch < _LONGEST_STRETCH:
            self._stretch *= 2
        if self._inbox.calls:
            self._inbox.run_calls(self._root.fail)
        timers = self._timers
        if timers._heap and timers._heap[0][0] <= now:
            self._fire_timers(now)
        if not self.ready:
            self._idle(timeout, may_raise_deadlock)
        elif self._io._handles:
            self._poll(0.0)

    def _idle(self, timeout: float | None, may_raise_deadlock: bool) -> None:
        """Nothing is ready: wait, or find that there is nothing to wait for."""
        deadline = self._timers.next()
        wait = self._clock.real_seconds(deadline)
        if (self._idle_waiters or self._clock_jumps) and self._use_standstill(deadline):
            return
        if wait == INFINITY and may_raise_deadlock and not self._may_hear_from_outside():
            self._break_deadlock()
            return
        if timeout is not None and timeout < wait:
            wait = timeout
        if _LONGEST_WAIT < wait < INFINITY:
            wait = _LONGEST_WAIT
        inbox = self._inbox
        inbox.arm()
        slept = not self._io._handles
        self._poll(0.0 if inbox.calls else None if wait == INFINITY else wait)
        inbox.disarm()
        if self._break_off:
            self._leave_at_once()
        self._looked_at = now = self._now()
        if inbox.calls:
            inbox.run_calls(self._root.fail)
        if self._timers._heap:
            self._fire_timers(now)
        if self._hooks is not None and slept:
            # Nobody waited for I/O, so that was a sleep. The look that belongs to this pass comes
            # now, where a debugger expects it: after the sleepers, before the steps.
            self._poll(0.0, tell=True)

    def _leave_at_once(self) -> NoReturn:
        self._break_off = False  # for whoever goes on all the same, or closes the loop
        raise KeyboardInterrupt

    def _use_standstill(self, deadline: float) -> bool:
        """Every task is blocked: wake who waits for that, or let a virtual clock jump."""
        self._poll(0.0)
        if self.ready or self._inbox.calls:
            return True
        if self._idle_waiters:
            for task in self._idle_waiters:
                task.undo_wait = None
                self.ready.append(task)
            self._idle_waiters.clear()
            return True
        if not self._busy_outside and self._clock.jump(deadline):
            self._looked_at = now = self._now()
            self._fire_timers(now)
            if self._hooks is not None:
                self._poll(0.0, tell=True)
            return True
        return False

    def _may_hear_from_outside(self) -> bool:
        return bool(self._outside_waits or self._inbox.calls or self._io.anyone_waits())

    def _poll(self, timeout: float | None, *, tell: bool = False) -> None:
        hooks = self._hooks
        if hooks is None or not (tell or self._io._handles):
            self._io.poll(timeout)
        else:
            told = INFINITY if timeout is None else timeout
            hooks.before_io(told)
            self._io.poll(timeout)
            hooks.after_io(told)

    def _fire_timers(self, now: float) -> None:
        task: Task[Any]
        for task in self._timers.pop_due(now):  # type: ignore[assignment]
            if task.undo_wait is abort_sleep and task._waiting_on <= now:
                task.undo_wait = None
                self.ready.append(task)
                if self._hooks is not None:
                    self._hooks.woke_up(task, now)
            if task._due <= now:
                expire_scopes(task, now)
            # The entry may have been for an earlier deadline than the one that counts now.
            due = task._due
            if task.undo_wait is abort_sleep and task._waiting_on < due:
                due = task._waiting_on
            if due < task._armed and task._step not in ENDED:
                self._timers.arm(task, due)

    def _break_deadlock(self) -> None:
        """Nothing can ever happen again: raise that in the main task."""
        error = DeadlockError(
            "no task can ever run again, for nothing is left that could wake one:\n"
            + format_tree(self)
        )
        main = self.main_task
        if main is not None and main.undo_wait is not None:
            main._interrupt = error
            main.stopping = True
            # If it cannot be undone at once, but others have been told to stop, it comes when they have.
            if main._try_abort() or self.ready:
                return
            main._interrupt = None
        # It has ended, or waits for something that cannot be undone.
        self._root.fail(error)
        if not self.ready:
            raise error

    # Stepping

    def _run_steps(self, limit: int) -> None:
        """Resume at most *limit* ready tasks, first come first served."""
        if self._hooks is not None or self._policy is not None:
            self._run_watched_steps(limit)
            return
        # The innermost loop of the library: everything in it is a local, and it does nothing that
        # is not needed by every step. With hooks tested for here it would cost 5 % more.
        ready = self.ready
        popleft = ready.popleft
        append = ready.append
        again = AGAIN
        parked = PARKED
        nobody = NOWHERE
        looked_at = self._looked_at
        self._steps_left = steps = [None] * limit
        for _ in steps:
            if not ready:
                break
            self.current = task = popleft()
            try:
                request = task.context.run(task._step, task)
            except StopIteration as stop:
                self.current = nobody
                task._step = ended_well
                task.wake_value = stop.value
                self._end(task)
            except BaseException as raised:
                self.current = NOWHERE
                self._end_badly(task, raised)
                self._end(task)
            else:
                # This is `_settle`, written out.
                if request is again:
                    append(task)
                else:
                    if request is not parked:
                        try:
                            queue = request.wait_queue
                            task._waiting_on = queue[task] = request
                        except Exception:
                            self._reject(task, request)
                            continue
                        task.undo_wait = queue
                    task._since = looked_at
                    if task.stopping and task.undo_wait is not None:
                        task._try_abort()
                if task._due < task._armed:
                    self._timers.arm(task, task._due)
        # Errors that left a task lead to this frame, so it forgets the task.
        self.current = task = NOWHERE

    def _run_watched_steps(self, limit: int) -> None:
        """The same with hooks and policy."""
        if self._hooks is not None and not self._hooks.debuggers:
            self._hooks = None  # the last one has failed
        ready = self.ready
        for _ in range(limit):
            if not ready:
                break
            if self._policy is None or len(ready) == 1:
                task = ready.popleft()
            else:
                index = self._policy.choose(ready)
                try:
                    task = ready[index]
                except (IndexError, TypeError):
                    raise InternalError(
                        f"{self._policy!r} chose {index!r} of {len(ready)} ready tasks; its choose() "
                        "must return an index"
                    ) from None
                del ready[index]
            if self._hooks is not None:
                self._hooks.before_task_step(task)
            self.current = task
            try:
                request = task.context.run(task._step, task)
            except StopIteration as stop:
                self.current = NOWHERE
                task._step = ended_well
                task.wake_value = stop.value
                self._end(task)
                continue
            except BaseException as raised:
                self.current = NOWHERE
                self._end_badly(task, raised)
                self._end(task)
                continue
            self.current = NOWHERE
            self._settle(task, request)
            if (hooks := self._hooks) is not None:
                hooks.after_task_step(task)
                if task.undo_wait is abort_sleep:
                    hooks.fell_asleep(task)

    def _settle(self, task: Task[Any], request: Request) -> None:
        """Do what a task has asked for in its step."""
        if request is AGAIN:
            self.ready.append(task)
        else:
            if request is not PARKED:
                try:
                    queue: Any = request.wait_queue
                    task._waiting_on = queue[task] = request
                except Exception:  # it is not ours
                    self._reject(task, request)
                    return
                task.undo_wait = queue
            task._since = self._looked_at
            if task.stopping and task.undo_wait is not None:
                task._try_abort()
        # Only now, because a deadline cannot come while its task runs.
        if task._due < task._armed:
            self._timers.arm(task, task._due)

    def _reject(self, task: Task[Any], request: object) -> None:
        """The task awaited something that another loop would understand."""
        error = InternalError(
            f"task {task.name!r} awaited {request!r}, which is not giambio's; {_FOREIGN}"
        )

        def throw(task: Task[Any]) -> object:
            task._step = task.coro.send
            return task.coro.throw(error)

        task._step = throw
        task.undo_wait = None
        self.ready.append(task)

    def _end(self, task: Task[Any]) -> None:
        """Tell who waits for it that a task has ended."""
        home = task._home
        if task._scope is not home:
            self._end_in_scope(task)
        if task._interrupt is not None:
            self._root.fail(task._interrupt)  # it ended without another checkpoint
        tasks: dict[Task[Any], None] = home._tasks  # type: ignore[assignment]
        del tasks[task]
        if task._armed != INFINITY:
            self._timers.disarm(task)
        watchers = task._watchers
        if watchers is not None:
            task._watchers = None
            for watcher in watchers:
                if isinstance(watcher, Task):
                    watcher.undo_wait = None
                    self.ready.append(watcher)
                else:
                    watcher(task)
        if self._hooks is not None:
            self._tell_end(self._hooks, task)
        if task.wake_error is not None or not tasks or home.watchful:
            home.on_task_done(task, task.wake_error)

    @staticmethod
    def _tell_end(hooks: Hooks, task: Task[Any]) -> None:
        if task._step is ended_cancelled:
            hooks.after_cancel(task)
        elif task.wake_error is not None:
            hooks.on_exception_raised(task, task.wake_error)
        hooks.on_task_exit(task)

    def _end_badly(self, task: Task[Any], raised: BaseException) -> None:
        if isinstance(raised, CancelledError):
            if task._scope._effective or task._home._effective or _is_of_outer_scope(raised, task):
                task._step = ended_cancelled
                task.wake_value = raised.reason
                return
            stray = InternalError(
                f"task {task.name!r} ended with a CancelledError, but nothing had cancelled it; "
                "to stop a task, call its cancel()"
            )
            stray.__cause__ = raised
            raised = stray
        elif task._step is begin and was_resumed(raised):
            # In its first step: somebody else has made that.
            raised = started_before(task.coro)
        task._step = ended_failed
        task.wake_error = raised
        forget_loop(raised, self.step_code)
        self._add_place(task, raised)

    @staticmethod
    def _add_place(task: Task[Any], raised: BaseException) -> None:
        """Note in an error where it comes from, unless that was done."""
        note = "in task: "
        try:
            if any(str(known).startswith(note) for known in getattr(raised, "__notes__", ())):
                return
        except Exception:
            return  # an error with notes of its own kind
        add_note(raised, note + task._path())
        if asyncio_misses_its_loop(raised):
            add_note(raised, f"under giambio: {_FOREIGN}")

    def _end_in_scope(self, task: Task[Any]) -> None:
        """A task returned although a scope that it had entered is still open."""
        scope = task._scope
        if scope.__class__ is TaskScope:
            scope._task = None  # they referred to each other
            return
        if task._step is not ended_well:
            return
        while scope is not task._home and scope.__class__ is not TaskScope:
            scope._task = None
            scope = scope._parent  # type: ignore[assignment]
        self._end_badly(
            task,
            RuntimeError(
                f"task {task.name!r} ended inside of {task._scope!r}, which it had entered and not "
                "left; use 'with', and close an async generator that yields inside of one, with "
                "contextlib.aclosing()"
            ),
        )
        task._scope = scope


def _is_of_outer_scope(raised: CancelledError, task: Task[Any]) -> bool:
    """Whether it was rightly raised, although a shield that was set meanwhile now hides its scope."""
    scope: CancelScope | None = task._scope
    while scope is not None:
        if scope is raised.scope:
            return True
        scope = scope._parent
    return False


_FOREIGN = (
    "what belongs to another library works only under that library's own loop; asyncio's can be awaited "
    "over a bridge, giambio.hosting.await_asyncio()"
)


Loop.step_code = frozenset(fn.__code__ for fn in (begin, Loop._run_steps, Loop._run_watched_steps))
