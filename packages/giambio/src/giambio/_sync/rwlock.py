# SPDX-License-Identifier: Apache-2.0
"""Locks that many may hold for reading, or one for writing."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from giambio.exceptions import ResourceBroken, WouldBlock
from giambio_kernel import (  # fmt: skip
    Task,
    WaitQueue,
    checkpoint,
    checkpoint_due,
    current_task,
    park,
    reschedule,
    unpark,
)

if TYPE_CHECKING:
    from types import TracebackType


class RWLockStatistics(NamedTuple):
    """What is known of an `RWLock`."""

    readers: tuple[Task[Any], ...]
    """The tasks that hold it for reading."""
    writer: Task[Any] | None
    """The task that holds it for writing."""
    readers_waiting: int
    """How many tasks wait to read."""
    writers_waiting: int
    """How many tasks wait to write."""


class _Mode(Enum):
    READ = "reading"
    WRITE = "writing"


class RWLock:
    """Lets many tasks read at the same time, or one write.

    Use it with ``async with lock.read:`` and ``async with lock.write:``. Tasks are let in in the order
    in which they came, and those that want to read and come one after the other, together. So writers
    do not starve: who comes to read while a writer waits, waits behind it.

    It belongs to the tasks that hold it, as a `Lock` does. A task cannot hold it twice: it would wait
    for itself as soon as a writer stood in between, and so would one that reads and wants to write.
    If a writer ends without releasing it, whoever waits or comes later gets `ResourceBroken`; if a
    reader does, writers get that.

    Attributes:
        read: To acquire and release it for reading.
        write: To acquire and release it for writing.
    """

    __slots__ = ("__weakref__", "_dead", "_readers", "_waiters", "_writer", "read", "write")

    # Invariants: there is a writer or there are readers, never both; the first who waits could not
    # be let in, except while a writer that was cancelled has not run yet and let it in.

    read: RWLockSide
    write: RWLockSide

    def __init__(self) -> None:
        self._readers: dict[Task[Any], None] = {}
        self._writer: Task[Any] | None = None
        # Each waiting task with its mode.
        self._waiters: WaitQueue = {}
        # The first holder that ended without releasing it.
        self._dead: Task[Any] | None = None
        self.read = RWLockSide(self, _Mode.READ)
        self.write = RWLockSide(self, _Mode.WRITE)

    def __repr__(self) -> str:
        if self._writer is not None:
            state = f"written by {self._name(self._writer)}"
        elif self._readers:
            state = "read by " + ", ".join(map(self._name, self._readers))
        else:
            state = "free"
        return f"<RWLock at {id(self):#x}, {state}, {len(self._waiters)} waiting>"

    @staticmethod
    def _name(task: Task[Any]) -> str:
        return f"{task.name!r}, which has ended" if task.done() else repr(task.name)

    def holders(self) -> tuple[Task[Any], ...]:
        """The tasks that hold it."""
        return tuple(self._readers) if self._writer is None else (self._writer,)

    def statistics(self) -> RWLockStatistics:
        """Return who holds it and how many tasks wait."""
        writers = sum(mode is _Mode.WRITE for mode in self._waiters.values())
        return RWLockStatistics(
            tuple(self._readers), self._writer, len(self._waiters) - writers, writers
        )

    # What the two sides do

    def _is_free_for(self, mode: _Mode) -> bool:
        """Whether it could be held in that mode now, if nobody waited."""
        return self._writer is None and (mode is _Mode.READ or not self._readers)

    def _give(self, task: Task[Any], mode: _Mode) -> None:
        if mode is _Mode.READ:
            self._readers[task] = None
        else:
            self._writer = task

    def _take_back(self, task: Task[Any]) -> None:
        if self._writer is task:
            self._writer = None
        else:
            del self._readers[task]
        self._let_in()

    def _let_in(self) -> None:
        """Let in those who have waited longest, as many as can be in together."""
        waiters = self._waiters
        while waiters:
            mode = next(iter(waiters.values()))
            if not self._is_free_for(mode):
                break
            task = unpark(waiters)
            assert task is not None
            self._give(task, mode)

    def _check_use(self, task: Task[Any], mode: _Mode) -> None:
        if self._writer is task or task in self._readers:
            self._refuse_twice(task, mode)
        holder = self._writer or next(iter(self._readers), None)
        if holder is not None and holder.scheduler is not task.scheduler:
            self._refuse_other_loop(holder)
        if self._dead is not None and (mode is _Mode.WRITE or self._writer is not None):
            raise self._broken()

    def _refuse_twice(self, task: Task[Any], mode: _Mode) -> NoReturn:
        held = _Mode.WRITE if self._writer is task else _Mode.READ
        raise RuntimeError(
            f"task {task.name!r} cannot acquire {self!r} for {mode.value}: it already holds it for "
            f"{held.value}, so it would wait for itself"
        )

    def _refuse_other_loop(self, holder: Task[Any]) -> NoReturn:
        raise RuntimeError(
            f"{self!r} belongs to task {holder.name!r} of another loop, which could not hand it over"
        )

    def _look_for_dead(self) -> None:
        """Notice holders that ended unwatched: in an async generator that others have to close."""
        for holder in self.holders():
            if holder.done():
                self._holder_ended(holder)

    def _holder_ended(self, task: Task[Any]) -> None:
        if self._dead is None:
            self._dead = task
        for waiter, mode in list(self._waiters.items()):
            if mode is _Mode.WRITE or self._writer is task:
                del self._waiters[waiter]
                reschedule(waiter, error=self._broken())
        self._let_in()

    def _broken(self) -> ResourceBroken:
        assert self._dead is not None
        return ResourceBroken(
            f"task {self._dead.name!r} ended without releasing {self!r}; use 'async with', which "
            "cannot forget to"
        )


class RWLockSide:
    """One of the two ways to hold an `RWLock`: its ``read`` or its ``write``."""

    __slots__ = ("_lock", "_mode")

    def __init__(self, lock: RWLock, mode: _Mode) -> None:
        self._lock = lock
        self._mode = mode

    def __repr__(self) -> str:
        return f"<{self._mode.value} of {self._lock!r}>"

    def acquire_nowait(self) -> None:
        """Acquire the lock in this way if that is possible at once.

        Raises:
            WouldBlock: It is not: the lock is held, or others wait.
            ResourceBroken: A task that held the lock has ended without releasing it.
            RuntimeError: The current task holds the lock, or one of another loop does.
        """
        lock, task = self._lock, current_task()
        lock._check_use(task, self._mode)
        if lock._waiters or not lock._is_free_for(self._mode):
            raise WouldBlock(f"{lock!r} is not free for {self._mode.value}")
        lock._give(task, self._mode)
        task.add_done_callback(lock._holder_ended)

    async def __aenter__(self) -> None:
        """Acquire the lock; see `acquire`."""
        if checkpoint_due():
            await checkpoint()
        lock, task = self._lock, current_task()
        lock._check_use(task, self._mode)
        if not lock._waiters and lock._is_free_for(self._mode):
            lock._give(task, self._mode)
            return
        try:
            await park(lock._waiters, lock, self._mode)
        except BaseException:
            # If this was a writer that gives up, the readers behind it may go on.
            lock._let_in()
            raise

    async def acquire(self) -> None:
        """Wait until the lock can be held in this way, and acquire it. Prefer ``async with``.

        Raises:
            RuntimeError: The current task holds the lock, or one of another loop does.
            ResourceBroken: A task that held the lock has ended without releasing it.

        Checkpoint: always. If it raises, the lock was not acquired.
        """
        await self.__aenter__()
        current_task().add_done_callback(self._lock._holder_ended)

    def release(self) -> None:
        """Give the lock back, and let in those who have waited longest.

        Raises:
            RuntimeError: The current task does not hold it in this way.
        """
        lock, task = self._lock, current_task()
        if not (lock._writer is task if self._mode is _Mode.WRITE else task in lock._readers):
            lock._look_for_dead()
            raise RuntimeError(
                f"task {task.name!r} cannot release {lock!r}: it does not hold it for "
                f"{self._mode.value}"
            )
        task.remove_done_callback(lock._holder_ended)
        lock._take_back(task)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
