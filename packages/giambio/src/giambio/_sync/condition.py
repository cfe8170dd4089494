# SPDX-License-Identifier: Apache-2.0
"""Conditions: waiting, under a lock, for the moment at which something has become true."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from giambio._predicates import refuse_async
from giambio_kernel import (
    CancelScope,
    Task,
    WaitQueue,
    checkpoint,
    checkpoint_due,
    current_task,
    suspend,
)

from .lock import Lock, LockStatistics

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")


class ConditionStatistics(NamedTuple):
    """What is known of a `Condition`."""

    tasks_waiting: int
    """How many tasks wait to be notified."""
    lock: LockStatistics
    """What is known of its lock."""


class Condition:
    """A lock, and a place to wait for whoever changes what it protects.

    Example::

        async with condition:
            await condition.wait_for(lambda: len(parts) >= 3)
            ...  # there are three, and nobody else touches them

        async with condition:
            parts.append(part)
            condition.notify_all()

    A notified task goes from the queue of the condition to that of the lock: it runs when it has the
    lock, and nobody is woken in vain. A notification is never lost in a task that is cancelled: one
    that was notified returns from `wait`, and the cancellation comes at its next checkpoint.

    Args:
        lock: The lock to use; several conditions may share one. A new one if omitted.

    Raises:
        TypeError: *lock* is something else than a `Lock`.
    """

    __slots__ = ("__weakref__", "_lock", "_waiters")

    def __init__(self, lock: Lock | None = None) -> None:
        if lock is not None and not isinstance(lock, Lock):
            raise TypeError(f"a condition needs a giambio.Lock, not {lock!r}")
        self._lock = Lock() if lock is None else lock
        # Each waiting task with its `_Wait`.
        self._waiters: WaitQueue = {}

    def __repr__(self) -> str:
        return f"<Condition at {id(self):#x}, {len(self._waiters)} waiting, {self._lock!r}>"

    def locked(self) -> bool:
        """Whether a task holds the lock."""
        return self._lock.locked()

    async def acquire(self) -> None:
        """Acquire the lock. See `Lock.acquire`.

        Checkpoint: always. If it raises, the lock was not acquired.
        """
        await self._lock.acquire()

    def acquire_nowait(self) -> None:
        """Acquire the lock if it is free. See `Lock.acquire_nowait`."""
        self._lock.acquire_nowait()

    def release(self) -> None:
        """Release the lock. See `Lock.release`."""
        self._lock.release()

    async def __aenter__(self) -> None:
        """Acquire the lock."""
        await self._lock.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # If the lock broke during `wait`, that is the error, and not that it is not held.
        if exc is None or current_task() in self._lock.holders():
            await self._lock.__aexit__(exc_type, exc, traceback)

    async def wait(self) -> None:
        """Release the lock, wait to be notified, and acquire the lock again.

        Raises:
            RuntimeError: The current task does not hold the lock.
            ResourceBroken: A task that held the lock meanwhile ended without releasing it. Then the
                current task does not hold it.

        Checkpoint: always. However it ends, the task holds the lock; when it is cancelled, it
        acquires it before the `CancelledError` goes on.
        """
        task = self._check_held("wait for")
        lock = self._lock
        watched = lock._watched
        wait = _Wait(self)
        self._waiters[task] = wait
        lock.release()
        try:
            await suspend(_abort_wait, wait)
        except GeneratorExit:  # the coroutine is being closed; nothing can be awaited in it
            self._waiters.pop(task, None)
            raise
        except BaseException:
            if wait.notified:  # the lock is broken
                raise
            with CancelScope(shield=True):
                await lock.__aenter__()
            raise
        finally:
            if watched and lock._owner is task:
                lock._watch()

    async def wait_for(self, predicate: Callable[[], T]) -> T:
        """Wait until something is true, looking again whenever this is notified.

        Args:
            predicate: A plain function, called while the lock is held.

        Returns:
            What the predicate returned, the first true value.

        Raises:
            RuntimeError: The current task does not hold the lock.
            TypeError: The predicate is an async function.

        Checkpoint: always. However it ends, the task holds the lock, as for `wait`.
        """
        self._check_held("wait for")
        if checkpoint_due():
            await checkpoint()
        while not (result := predicate()):
            await self.wait()
        refuse_async(predicate, result)
        return result

    def notify(self, n: int = 1) -> None:
        """Wake the tasks that have waited longest; they go on when they get the lock, in turn.

        Args:
            n: How many. If fewer wait, all of them.

        Raises:
            TypeError: *n* is not a whole number.
            ValueError: *n* is negative.
            RuntimeError: The current task does not hold the lock.
        """
        self._check_held("notify")
        if not isinstance(n, int):
            raise TypeError(f"tasks are counted in whole numbers, not {n!r}")
        if n < 0:
            raise ValueError(f"n must be at least 0, not {n!r}")
        for task in list(islice(self._waiters, n)):
            wait = self._waiters.pop(task)
            wait.notified = True
            self._lock.wait_queue[task] = None

    def notify_all(self) -> None:
        """Wake all tasks that wait. See `notify`."""
        self.notify(len(self._waiters))

    def statistics(self) -> ConditionStatistics:
        """Return how many tasks wait, and the same of the lock."""
        return ConditionStatistics(len(self._waiters), self._lock.statistics())

    def _check_held(self, verb: str) -> Task[Any]:
        if self._lock._owner is not (task := current_task()):
            raise RuntimeError(
                f"task {task.name!r} cannot {verb} {self!r}: it does not hold the lock; use "
                "'async with condition:'"
            )
        return task


class _Wait:
    """What a task in `Condition.wait` waits on: first the condition, then its lock."""

    __slots__ = ("_condition", "notified")

    def __init__(self, condition: Condition) -> None:
        self._condition = condition
        # Invariant: the task stands in the queue of the lock, not of the condition, or has the lock.
        self.notified = False

    def __repr__(self) -> str:
        return repr(self._condition._lock if self.notified else self._condition)

    def holders(self) -> tuple[Task[Any], ...]:
        return self._condition._lock.holders() if self.notified else ()

    def forget(self, task: Task[Any]) -> bool:
        if not self.notified:
            del self._condition._waiters[task]
        return not self.notified


def _abort_wait(task: Task[Any], error: BaseException) -> bool:
    wait = task.waiting_on
    assert isinstance(wait, _Wait)
    return wait.forget(task)
