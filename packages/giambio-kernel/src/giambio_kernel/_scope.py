# SPDX-License-Identifier: Apache-2.0
"""Cancel scopes: the tree along which cancellation travels.

Cancellation is *level-triggered*: as long as a scope is cancelled, every checkpoint inside it raises,
and it stops when the scope is left. There is nothing to lose and nothing to forget.

The tree has no lists of children. A task stands in one innermost scope and a scope knows its parent,
so the open scopes of a task are a linked stack, and entering or leaving one costs a few assignments.
A scope that tasks were spawned in (a pool) keeps those tasks, and each of their stacks grows out of
it. Who is affected by a cancellation is found by walking these stacks when it happens, which is
rare; what a checkpoint has to test is one flag on its task, which is not.

Source: the model is N. J. Smith's, "Timeouts and cancellation for humans" (2018), as trio has it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

from ._clock import INFINITY, check_moment, check_seconds, no_number
from ._current import NOWHERE, current_task, get_running
from ._errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

    from ._task import Task

# From `inspect`, which is slow to import.
_ANY_GENERATOR = 0x20 | 0x200  # CO_GENERATOR | CO_ASYNC_GENERATOR


class CancelScope:
    """A block that can be cancelled, by hand or by a deadline, with everything that it started.

    Used once, with ``with``. It may be created, and cancelled, before it is entered and in another
    task than the one that enters it; its deadline and its shield can be changed while it is open.

    Args:
        seconds: Cancel this many seconds after entry. ``None``, the default, sets no deadline; zero
            cancels at the first checkpoint.
        deadline: Cancel at this moment of the loop's clock. With both, the earlier one counts.
        shield: Whether cancellation of the scopes around it stops here.

    Raises:
        ValueError: *seconds* is negative, or one of the times is not a number.
        TypeError: One is something else than a number.
    """

    __slots__ = (
        "__weakref__",
        "_cancel_called",
        "_cancelled_caught",
        "_deadline",
        "_deliveries",
        "_effective",
        "_outer_due",
        "_parent",
        "_reason",
        "_seconds",
        "_shield",
        "_task",
        "_tasks",
        "_timed_out",
    )

    label: ClassVar[str] = "scope"

    _seconds: float | None
    _deadline: float
    _shield: bool
    _cancel_called: bool
    # The next four exist only once the scope is cancelled: making a scope is a hot path.
    _cancelled_caught: bool
    _timed_out: bool
    _reason: str | None
    _deliveries: int
    # The state of a scope: new while it has no parent, open while it has a task, then closed.
    _parent: CancelScope | None
    _task: Task[Any] | None
    # Invariant: whether a checkpoint right inside this scope raises. It is `_cancel_called`, or
    # inherited from the parent unless shielded.
    _effective: bool
    # The due moment of the owner outside of this scope; what `_due` returns to when it is left.
    _outer_due: float
    # The tasks spawned in this scope that have not ended. A dict, because a set would order them
    # by address and two runs of a program would differ. None until the first one.
    _tasks: dict[Task[Any], None] | None

    def __init__(
        self, *, seconds: float | None = None, deadline: float = INFINITY, shield: bool = False
    ) -> None:
        if seconds is not None:
            check_seconds("seconds", seconds)
        if deadline is not INFINITY:
            check_moment("deadline", deadline)
        self._seconds = seconds
        self._deadline = deadline
        self._shield = shield
        self._cancel_called = self._effective = False
        self._parent = self._task = self._tasks = None

    def __enter__(self) -> Self:
        scheduler = get_running()
        task = scheduler.current
        if self._parent is not None:
            raise RuntimeError(f"{self!r} was entered before: a scope can be used only once")
        self._parent = parent = task._scope
        self._outer_due = due = task._due
        self._task = task
        task._scope = self
        seconds = self._seconds
        if seconds is not None:
            deadline = scheduler._now() + seconds
            if deadline < self._deadline:
                self._deadline = deadline
            else:
                deadline = self._deadline
            if deadline < due:
                task._due = deadline
            if not seconds:
                self._expire()
        elif self._deadline != INFINITY:
            if self._deadline < due:
                task._due = self._deadline
            if self._deadline <= scheduler._now():
                self._expire()
        if parent._effective or self._cancel_called:
            self._effective = self._cancel_called or not self._shield
            task.stopping = self._effective or task._interrupt is not None
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        task = self._task
        try:
            if task is None or task._scope is not self or get_running().current is not task:
                self._leave_misnested(exc)
        except RuntimeError:
            # The garbage collector closes the coroutine: the loop was dropped with its tasks.
            if task is None or get_running() is not NOWHERE or not isinstance(exc, GeneratorExit):
                raise
        parent: CancelScope = self._parent  # type: ignore[assignment]
        task._scope = parent
        task._due = self._outer_due
        self._task = None
        if task.stopping is not parent._effective:
            task.stopping = parent._effective or task._interrupt is not None
        if exc is None or not self._cancel_called:
            return False
        # If the cancellation of an outer scope is visible here, the exception belongs to that one.
        if parent._effective and not self._shield:
            return False
        return self._catch(task, exc)

    def _catch(self, task: Task[Any], exc: BaseException) -> bool:
        if isinstance(exc, CancelledError):
            rest = None
        elif isinstance(exc, BaseExceptionGroup):
            caught, rest = exc.split(CancelledError)
            if caught is None:
                return False
        else:
            return False
        self._cancelled_caught = True
        if (hooks := task.scheduler._hooks) is not None:
            hooks.after_cancel(task)
        if rest is not None:
            raise rest
        self.on_caught(exc)
        return True

    # What is seen from outside

    def __repr__(self) -> str:
        if self._parent is None:
            words = ["new"]
        elif self._task is None:
            words = ["closed"]
        else:
            words = [f"open in {self._task.name!r}"]
        if self._deadline != INFINITY:
            words.append(f"deadline={self._deadline:.6g}")
        if self._seconds is not None:
            words.append(f"seconds={self._seconds:g}")
        if self._shield:
            words.append("shielded")
        if self.timed_out:
            words.append("timed out")
        elif self._cancel_called:
            words.append("cancelled" if self._reason is None else f"cancelled: {self._reason}")
        return f"<{type(self).__name__} {', '.join(words)}>"

    @property
    def cancel_called(self) -> bool:
        """Whether the scope was cancelled, by `cancel` or by its deadline."""
        return self._cancel_called

    @property
    def cancelled_caught(self) -> bool:
        """Whether the block was left early because this scope was cancelled."""
        return self._cancel_called and self._cancelled_caught

    @property
    def timed_out(self) -> bool:
        """Whether it was the deadline that cancelled the scope."""
        return self._cancel_called and self._timed_out

    @property
    def reason(self) -> str | None:
        """What was given to `cancel`, or a sentence about the deadline; ``None`` if nothing."""
        return self._reason if self._cancel_called else None

    @property
    def deliveries(self) -> int:
        """How often a `CancelledError` of this scope was raised: once for each checkpoint it met."""
        return self._deliveries if self._cancel_called else 0

    @property
    def owner(self) -> Task[Any] | None:
        """The task that is inside this scope; ``None`` before entry and after exit."""
        return self._task

    @property
    def parent(self) -> CancelScope | None:
        """The scope around this one; ``None`` before entry."""
        return self._parent

    @property
    def tasks(self) -> tuple[Task[Any], ...]:
        """The tasks spawned in this scope that have not ended, in the order of spawning."""
        return tuple(self._tasks or ())

    @property
    def deadline(self) -> float:
        """The moment of the loop's clock at which the scope is cancelled; ``inf`` for never.

        Can be set at any time. A moment in the past cancels at the next checkpoint. Setting it on a
        scope that was made with ``seconds`` and not entered yet replaces those.

        Raises:
            ValueError: Set to what is not a number.
        """
        return self._deadline

    @deadline.setter
    def deadline(self, deadline: float) -> None:
        check_moment("deadline", deadline)
        if self._task is not None:
            self._task.scheduler.touch()
        self._deadline = deadline
        self._seconds = None
        if self._task is not None:
            refresh_due(self._task)

    @property
    def seconds(self) -> float | None:
        """How long after entry the deadline was to be; None if it was not given in this way."""
        return self._seconds

    @property
    def shield(self) -> bool:
        """Whether cancellation of the scopes around this one stops here. Can be set at any time."""
        return self._shield

    @shield.setter
    def shield(self, shield: bool) -> None:
        if self._task is not None:
            self._task.scheduler.touch()
        self._shield = shield
        if self._task is not None:
            self._refresh()

    def cancel(self, reason: str | None = None) -> None:
        """Cancel everything inside, now and until the scope is left.

        Args:
            reason: Why, for whoever reads the `CancelledError`. The first call decides; later ones
                change nothing, and neither does one after the scope was left.
        """
        if self._cancel_called or (self._task is None and self._parent is not None):
            return
        if self._task is not None:
            self._task.scheduler.touch()
        self._request(reason, timed_out=False)
        if self._task is not None:
            self._refresh()

    # For front ends to override

    watchful: bool = True
    """Whether `on_task_done` is called for every task; otherwise only for the last one, and for those
    that failed. A call less is a twentieth of the cost of a short task."""

    def on_task_done(self, task: Task[Any], error: BaseException | None) -> None:
        """React to the end of a task that was spawned in this scope.

        Called by the loop between two steps, so it must be short and must not raise. It has to take
        care of the error; a plain scope hands it to the run, which fails with it.

        Args:
            task: The task, which is in `tasks` no more.
            error: What it raised; ``None`` if it returned or was cancelled.
        """
        if error is not None:
            task.scheduler._root.fail(error)

    def on_caught(self, error: BaseException) -> None:
        """React to the fact that the block was left early because this scope was cancelled.

        Called while the scope is left. What it raises is raised by the block.

        Args:
            error: The `CancelledError` that was caught, or a group with some.
        """

    # How cancellation travels

    def _request(self, reason: str | None, *, timed_out: bool) -> None:
        self._cancel_called = True
        self._cancelled_caught = False
        self._timed_out = timed_out
        self._reason = reason
        self._deliveries = 0

    def _expire(self) -> None:
        """Cancel because the deadline has come."""
        if not self._cancel_called:
            self._request("the deadline has passed", timed_out=True)

    def _refresh(self) -> None:
        """Bring `_effective` here and below, and the flags of all tasks concerned, up to date."""
        parent = self._parent
        effective = self._cancel_called or (
            parent is not None and parent._effective and not self._shield
        )
        if effective is self._effective:
            return
        self._effective = effective
        # The scopes whose tasks are concerned. Not recursive: pools may be nested more deeply than
        # Python's stack.
        concerned = [self]
        if self._task is not None:
            _refresh_task(self._task, self, concerned)
        for scope in concerned:
            for task in scope._tasks or ():
                if task._scope is scope:
                    task._set_stopping(scope._effective)
                else:
                    _refresh_task(task, scope, concerned)

    def _leave_misnested(self, exc: BaseException | None) -> NoReturn:
        """Repair the stacks as well as possible, then say what was wrong."""
        task = self._task
        if task is None:
            state = "never entered" if self._parent is None else "left before"
            error = RuntimeError(f"{self!r} cannot be left: it was {state}")
            if exc is None:
                raise error  # what is handled here may tell how that came about
            raise error from exc
        assert self._parent is not None
        inner: list[CancelScope] = []
        scope: CancelScope | None = task._scope
        while scope is not self and scope is not None:
            inner.append(scope)
            scope = scope._parent
        current: Any = get_running()
        if current is not NOWHERE:
            current = current.current
        if current is task:
            message = (
                f"{self!r} was left while {inner[-1]!r}, which was entered later, is still open. "
                "Scopes must be left in the reverse order of entering them"
            )
            task._scope = self._parent
            for scope in inner:
                scope._task = None
                # Somebody may wait for its tasks, and nobody is there to cancel them any more.
                if not scope._cancel_called:
                    scope._request("its scope was left misnested", timed_out=False)
                scope._refresh()
        else:
            who = "outside of any task" if current is NOWHERE else f"in task {current.name!r}"
            message = f"{self!r} was left {who}, but entered in task {task.name!r}"
            if inner:
                inner[-1]._parent = self._parent
            else:
                task._scope = self._parent
        self._task = None
        refresh_due(task)
        task.stopping = task._scope._effective or task._interrupt is not None
        raise RuntimeError(
            f"{message}{_generator_in_stack()}. Do not yield inside of a scope that is entered "
            "there: enter it in the caller, or use an async context manager"
        ) from exc


class TimedScope(CancelScope):
    """A scope with a deadline some seconds after entry: ``CancelScope(seconds=...)`` for hot paths.

    A timeout around every receive is nothing unusual, and a call with keywords would be a fifth of
    its cost. Adds no fields, so that it can be mixed into a subclass of `CancelScope`.

    Args:
        seconds: Cancel this many seconds after entry; zero cancels at the first checkpoint.

    Raises:
        ValueError: *seconds* is negative or not a number.
        TypeError: It is something else than a number, such as ``None``.
    """

    __slots__ = ()

    def __init__(self, seconds: float) -> None:
        try:
            if not seconds >= 0.0:  # `check_seconds`, without the call
                raise ValueError(f"seconds must be at least 0, not {seconds!r}")
        except TypeError:
            raise no_number("seconds", seconds) from None
        self._seconds = seconds
        self._deadline = INFINITY
        self._shield = False
        self._cancel_called = self._effective = False
        self._parent = self._task = self._tasks = None


def _refresh_task(task: Task[Any], outer: CancelScope, concerned: list[CancelScope]) -> None:
    """Bring up to date the part of *task*'s stack that grows out of *outer*, and its flag.

    Scopes that changed and have tasks are added to *concerned*.
    """
    scopes: list[CancelScope] = []
    scope: CancelScope = task._scope
    while scope is not outer:
        scopes.append(scope)
        assert scope._parent is not None
        scope = scope._parent
    effective = outer._effective
    for scope in reversed(scopes):
        effective = scope._cancel_called or (effective and not scope._shield)
        if effective is scope._effective:
            return  # and so nothing inside it changes
        scope._effective = effective
        if scope._tasks:
            concerned.append(scope)
    task._set_stopping(effective)


def own_scopes(task: Task[Any]) -> Iterator[CancelScope]:
    """Yield the scopes that *task* itself is in, innermost first."""
    scope: CancelScope | None = task._scope
    while scope is not None and scope._task is task:
        yield scope
        scope = scope._parent


def refresh_due(task: Task[Any]) -> None:
    """Recompute when the next deadline of *task*'s own scopes is due, and arm it for that."""
    due = INFINITY
    for scope in reversed(list(own_scopes(task))):
        scope._outer_due = due
        if scope._deadline < due and not scope._cancel_called:
            due = scope._deadline
    task._due = due
    # The running task is armed when it suspends. Before that nothing can make a timer fire.
    scheduler = task.scheduler
    if due < task._armed and scheduler.current is not task:
        scheduler._timers.arm(task, due)


def expire_scopes(task: Task[Any], now: float) -> None:
    """Cancel those of *task*'s own scopes whose deadline has come, and arm the task for the rest."""
    for scope in reversed(list(own_scopes(task))):
        if scope._deadline <= now and not scope._cancel_called:
            scope._expire()
            scope._refresh()
    refresh_due(task)


def current_effective_deadline() -> float:
    """Return when the current task will be cancelled as far as is known now.

    Returns:
        The earliest deadline of the scopes around the caller, shields respected, on the loop's
        clock; ``inf`` if there is none, ``-inf`` if the task is in a cancelled scope.

    Raises:
        RuntimeError: Not called from inside a loop.
    """
    earliest = INFINITY
    scope: CancelScope | None = current_task()._scope
    while scope is not None:
        if scope._cancel_called:
            return -INFINITY
        earliest = min(earliest, scope._deadline)
        if scope._shield:
            break
        scope = scope._parent
    return earliest


def _generator_in_stack() -> str:
    """Name the generator that is running, which is what usually misplaces a scope."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_flags & _ANY_GENERATOR:
            return f" (by generator {frame.f_code.co_qualname!r}, line {frame.f_lineno})"
        frame = frame.f_back
    return ""
