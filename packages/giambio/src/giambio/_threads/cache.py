# SPDX-License-Identifier: Apache-2.0
"""The cache of worker threads, which all loops of the process share.

A thread that has finished a job stays for a while and takes the next one, from whichever loop, because
starting a thread costs ten times as much as handing it a job. The threads are daemons: neither an idle
one nor one that hangs in a call which nobody waits for any more keeps the interpreter from ending.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

# How long a thread waits for another job before it ends, in seconds. Long enough to be there for
# the next request of a server, short enough to be gone when nobody needs it.
_IDLE_SECONDS = 10.0


_give_way: Callable[[], object] = getattr(os, "sched_yield", int)


class Job(Protocol):
    """What a worker thread does."""

    def work(self) -> None:
        """Do it. Must not raise."""
        ...

    def tell(self) -> None:
        """Tell whoever waits that it is done. Must not raise."""
        ...


class _Worker:
    """A thread that does jobs, one at a time."""

    __slots__ = ("_has_job", "job")

    def __init__(self) -> None:
        # What it does now; None while it is idle.
        self.job: Job | None = None
        # Held while there is nothing to do; releasing it is how the thread is woken.
        self._has_job = threading.Lock()
        self._has_job.acquire()

    def start(self) -> None:
        threading.Thread(target=self._run, name="giambio worker", daemon=True).start()

    def give(self, job: Job) -> None:
        self.job = job
        self._has_job.release()

    def _run(self) -> None:
        _here.worker = self
        acquire = self._has_job.acquire
        while True:
            if not acquire(timeout=_IDLE_SECONDS):
                # Whoever takes the worker out of the deque decides: it itself, to end, or a caller.
                try:
                    _idle.remove(self)
                except ValueError:
                    acquire()
                else:
                    return
            job = self.job
            assert job is not None
            job.work()
            # Idle before the outcome is told: the loop may have the next job at once.
            self.job = None
            _idle.append(self)
            job.tell()
            # The loop was woken by that. If it runs now, the next job is here before this thread
            # has gone to sleep, and it takes a third less time from one job to the next: to sleep
            # and to be woken costs more than all the rest.
            _give_way()
            del job  # what it refers to must not live as long as this thread is idle


class _Here(threading.local):
    # The worker that this thread is; None in all others.
    worker: _Worker | None = None


_here = _Here()

# The workers that wait for a job, the one that waited least last: so that the others may end.
# Appending and popping are atomic.
_idle: deque[_Worker] = deque()

if hasattr(os, "register_at_fork"):
    # The child of a fork has none of these threads.
    os.register_at_fork(after_in_child=_idle.clear)


def hand_over(job: Job) -> None:
    """Let a worker thread do a job; a new one if none is idle.

    Args:
        job: What to do. Must not be handed over twice.

    Raises:
        RuntimeError: There is none and the system has no thread left, or the interpreter is ending.
    """
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
        worker.start()
    worker.give(job)


def current_job() -> Job | None:
    """Return what this thread does, if it is a worker thread; otherwise None."""
    worker = _here.worker
    return None if worker is None else worker.job
