# SPDX-License-Identifier: Apache-2.0
"""Units: what pytest waits for. The test is one, and each fixture with both its halves is one.

A unit is a task with a pool around it, which takes what the unit starts with `giambio.spawn`. Its
coroutine never raises: how it ended is kept for whoever tells pytest. That a fixture is one task from
the set-up to the end is what makes it possible to yield inside of a pool or a timeout.
"""

from __future__ import annotations

import inspect
import signal
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from giambio import CancelledError, CancelScope, Pool, Task, TaskState, checkpoint, siblings
from giambio.lowlevel import reschedule, suspend

from ._compat import fail
from ._outcome import leaves

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from giambio import AsyncScheduler

# How often a task that was left over gets a turn to end by itself.
_TURNS = 10


class UnitPool(Pool):
    """The pool around a unit."""

    label = "root"

    def __init__(self) -> None:
        super().__init__()
        self._services_of_libraries: set[Task[Any]] = set()

    def service(self, func: Any, /, *args: Any, **kwargs: Any) -> Task[Any]:
        task = super().service(func, *args, **kwargs)
        self._services_of_libraries.add(task)
        return task

    def left_over(self) -> list[Task[Any]]:
        """Return the tasks that somebody started here and should have waited for."""
        return [task for task in self.tasks if task not in self._services_of_libraries]


class Unit:
    """Something that pytest waits for.

    Attributes:
        name: What it is called in reports.
        task: Its task; None before the start.
        error: What it ended with, if it ended badly.
        context: The context that it runs in.
        used: The fixtures that it uses, which it cannot go on without.
        stopped_by: The error of one of those, because of which it was cancelled.
        timeout: What to fail with if it took too long.
    """

    kind = "test"

    def __init__(self, name: str, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        self.name = name
        self._function = function
        self._arguments = arguments
        self.task: Task[None] | None = None
        self.error: BaseException | None = None
        self.context: Context
        self.used: list[FixtureUnit] = []
        self.stopped_by: BaseException | None = None
        self.timeout: BaseException | None = None

    def start(self, scheduler: AsyncScheduler) -> None:
        """Start the task, in a copy of the current context."""
        self.context = copy_context()
        self.task = scheduler.spawn(self._run, name=self.name, context=self.context)

    def ended(self) -> bool:
        """Whether all of it is over."""
        return self.task is not None and self.task.done()

    def stop(self, error: BaseException) -> None:
        """Cancel it because of *error*, which one of the fixtures that it uses has failed with."""
        if self.stopped_by is None and self.task is not None:
            self.stopped_by = error
            self.task.cancel("a fixture that it uses has failed")

    def expire(self, failure: BaseException) -> None:
        """Cancel it because it takes too long."""
        assert self.task is not None
        self.timeout = failure
        self.task.cancel("it took too long")

    async def _run(self) -> None:
        __tracebackhide__ = True
        try:
            async with UnitPool() as self.pool:
                await self._live()
        except BaseException as error:
            self.error = error

    async def _live(self) -> None:
        __tracebackhide__ = True
        await self._function(**self._arguments)
        await self._refuse_left_over()

    async def _refuse_left_over(self) -> None:
        """Fail if tasks are left in the root pool, once they had the chance to end."""
        for _ in range(_TURNS):
            if all(task.state is TaskState.WAITING for task in self.pool.left_over()):
                break
            await checkpoint()
        left_over = self.pool.left_over()
        if not left_over:
            return
        tasks = "\n".join(f"  {task!r}" for task in left_over)
        self.pool.cancel(f"the {self.kind} has ended")
        fail(
            f"{self.kind} {self.name!r} has ended, and tasks that it spawned have not:\n{tasks}\n"
            "join or cancel them, or spawn them in a pool: giambio.create_pool(), giambio_pool"
        )


class FixtureUnit(Unit):
    """A fixture. Between its halves it waits for its release.

    Attributes:
        value: What the fixture is worth, once it is set up.
        is_set_up: Whether it is set up.
        crash: The error that something in the background failed with while it was in use.
        crash_was_told: Whether a test has failed with that.
        on_crash: Called with the fixture when that happens.
    """

    kind = "fixture"

    def __init__(self, name: str, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        super().__init__(name, function, arguments)
        self.value: Any = None
        self.is_set_up = False
        self.crash: BaseException | None = None
        self.crash_was_told = False
        self.on_crash: Callable[[FixtureUnit], object] | None = None
        # Set also while the task is on its way out of a wait that was cancelled.
        self._released = False
        # Invariant: whether the task is parked in `_wait_for_release`.
        self._is_parked = False

    def settled(self) -> bool:
        """Whether the set-up is over, well or badly."""
        return self.is_set_up or self.ended()

    def release(self) -> None:
        """Let the second half run: nobody uses the fixture any more."""
        self._released = True
        if self._is_parked:
            self._is_parked = False
            assert self.task is not None
            reschedule(self.task)

    def was_told(self, failure: BaseException | None = None) -> bool:
        """Whether it has ended with nothing but what a test has failed with.

        Args:
            failure: What the loop as a whole has failed with.
        """
        assert self.error is not None
        told = {id(failure)}
        if self.crash is not None and self.crash_was_told:
            told |= {id(self.crash), *map(id, siblings(self.crash))}
        elif failure is None:
            return False
        return all(
            id(each) in told or isinstance(each, CancelledError) for each in leaves(self.error)
        )

    async def _live(self) -> None:
        __tracebackhide__ = True
        function = self._function
        made = function(**self._arguments)
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            value = await _resume(made)
            if value is _END:
                fail(f"fixture {self.name!r} did not yield a value")
            self._publish(value)
            cancelled = await self._wait_for_release()
            if await _resume(made, cancelled) is not _END:
                await _close(made)
                fail(
                    f"fixture {self.name!r} has more than one yield; what comes after the first is "
                    "its clean-up"
                )
        else:
            self._publish(await made if inspect.iscoroutine(made) else made)
            if self.pool.left_over():
                await self._wait_for_release()
        await self._refuse_left_over()

    def _publish(self, value: Any) -> None:
        self.value = value
        self.is_set_up = True

    async def _wait_for_release(self) -> BaseException | None:
        """Wait between the halves.

        Returns:
            The cancellation that reached the fixture meanwhile: a scope in it that is open across
            the yield was cancelled. The generator has to be given that, so that the scope gets it.
        """
        while not self._released:
            try:
                await self._park()
            except KeyboardInterrupt:
                # It came in the set-up, after the last checkpoint: for whatever runs now.
                signal.raise_signal(signal.SIGINT)
            except CancelledError as cancelled:
                # By a failure in the background, or on purpose. Its users stop, or do not, and only
                # then comes the second half; nothing in there may block, as in any cancelled scope.
                self.crash = _failure_behind(cancelled)
                if self.crash is not None and self.on_crash is not None:
                    self.on_crash(self)
                if not self._released:
                    with CancelScope(shield=True):
                        await self._park()
                return cancelled
        return None

    async def _park(self) -> None:
        self._is_parked = True
        await suspend(self._unpark, _EndOfUse())

    def _unpark(self, task: Task[Any], error: BaseException) -> None:
        self._is_parked = False


_END = object()


async def _resume(made: Any, cancelled: BaseException | None = None) -> Any:
    """Run a generator, of either kind, to its next yield.

    Args:
        made: The generator.
        cancelled: What to raise where it stands.

    Returns:
        What it yields; `_END` if it has ended.
    """
    __tracebackhide__ = True
    try:
        if inspect.isgenerator(made):
            return next(made) if cancelled is None else made.throw(cancelled)
        return await (made.__anext__() if cancelled is None else made.athrow(cancelled))
    except (StopIteration, StopAsyncIteration):
        return _END


async def _close(made: Any) -> None:
    if inspect.isgenerator(made):
        made.close()
    else:
        await made.aclose()


class _EndOfUse:
    """What a fixture waits on."""

    def __repr__(self) -> str:
        return "the end of the tests that use it"


def _failure_behind(cancelled: CancelledError) -> BaseException | None:
    """Return the error because of which a pool, or the whole loop, was cancelled."""
    scope = cancelled.scope
    errors: tuple[BaseException, ...] = getattr(scope, "errors", ())
    for error in errors:
        if not isinstance(error, Exception):
            return error
    if errors:
        return errors[0]
    root_error: BaseException | None = getattr(scope, "error", None)
    return root_error
