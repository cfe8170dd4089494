# SPDX-License-Identifier: Apache-2.0
"""Fair queues of waiting tasks, which every primitive is built on.

Who parks first is unparked first. Unparking takes the task out of the queue in the same moment, and
being cancelled does, too, so a task is either granted what it waited for or cancelled, never both; and
what it was granted stays its own when a cancellation comes before it has run.

A queue is a plain dict from each waiting task to what it offers: its order is that of insertion, and
one that gives up is removed in constant time. (A deque would be searched from one end; at 10,000 waiters
that took 22 µs.) The first one is found behind the places of those that left before it, so in a long
queue `unpark` closes the gap now and then.

Example::

    class Gate:
        def __init__(self):
            self.is_open = False
            self.wait_queue = {}

        async def wait(self):
            if not self.is_open:
                await park(self.wait_queue, self)

        def open(self):
            self.is_open = True
            unpark_all(self.wait_queue)

A primitive with one queue, which brings no offers along, may yield itself to the loop, in a trap of its
own. That saves the coroutine of `park`, and the loop has the task at hand already; it makes an event
round trip a quarter faster::

        @trap
        def wait(self):
            task = get_running().current  # outside of a loop this says so
            if not self.is_open:
                yield self
                if task.wake_error is not None:  # `outcome`, without the call
                    raise task.take_wake_error()
"""

from __future__ import annotations

from itertools import count
from math import isqrt
from typing import TYPE_CHECKING, Any, TypeAlias

from ._current import get_running
from .traps import PARKED, trap

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._task import Task
    from .traps import Trap

WaitQueue: TypeAlias = "dict[Task[Any], Any]"
"""Waiting tasks, in the order in which they came, each with what it offers."""

# Behind how many it is worth while to look after the gap in front of the first.
_LONG = 256
# All departures from long queues. They are counted together; that the interval is odd keeps two queues
# that take turns from hiding one another.
_departures = count(1)


@trap
def park(queue: WaitQueue, waiting_on: object, offer: Any = None) -> Trap[Any]:
    """Wait at the end of a queue until unparked.

    Args:
        queue: The queue. Nothing else may change it but the functions of this family.
        waiting_on: What the task waits for, to be shown in reports: the primitive. If it has a
            method ``holders()``, the report asks it for the tasks that could end the wait.
        offer: What the task brings along for whoever unparks it.

    Returns:
        The value given by whoever unparks it.

    Raises:
        RuntimeError: Not called from inside a loop.

    Checkpoint: always. If it raises, the task has left the queue.
    """
    enqueue(queue, waiting_on, offer)
    return outcome((yield PARKED))


def enqueue(queue: WaitQueue, waiting_on: object, offer: Any = None) -> None:
    """Put the current task at the end of a queue. It must yield `PARKED` next.

    Args:
        queue: The queue.
        waiting_on: As for `park`.
        offer: As for `park`.

    Raises:
        RuntimeError: Not called from inside a loop.
    """
    task = get_running().current
    task.undo_wait = queue  # to be left when the wait is aborted
    task._waiting_on = waiting_on
    queue[task] = offer


def outcome(task: Task[Any]) -> Any:
    """Return what the task was unparked with.

    Args:
        task: The task that the loop sent in answer to `PARKED`: the current one.

    Raises:
        BaseException: The error that it was unparked with, such as a `CancelledError`.
    """
    if task.wake_error is not None:
        raise task.take_wake_error()
    return task.wake_value


def unpark(queue: WaitQueue, value: Any = None) -> Task[Any] | None:
    """Wake the task that has waited longest.

    Args:
        queue: The queue.
        value: What its `park` returns.

    Returns:
        The task; ``None`` if none waits.

    Raises:
        RuntimeError: The task belongs to a loop in another thread.
    """
    if len(queue) == 1:
        # The most common case by far, and `popitem` is twice as fast as looking for the first.
        task, offer = queue.popitem()
        if get_running() is not task.scheduler:
            queue[task] = offer  # unless it may be woken from here
            task.scheduler.touch()
            del queue[task]
    else:
        for task in queue:  # noqa: B007
            break
        else:
            return None
        if get_running() is not task.scheduler:
            task.scheduler.touch()
        del queue[task]
        if len(queue) > _LONG and next(_departures) % (8 * isqrt(len(queue)) | 1) == 0:
            _close_gap(queue)
    task.undo_wait = None
    task.wake_value = value
    task.scheduler.ready.append(task)
    return task


def _close_gap(queue: WaitQueue) -> None:
    """Rebuild a queue without the places of those that left.

    Rarely enough to cost no more than the searching does in between, which leaves 0.6 µs of 3.4 at
    10,000 waiters and 1.2 of 9 at 50,000 (CPython 3.11).
    """
    rest = queue.copy()
    queue.clear()
    queue.update(rest)


def unpark_all(queue: WaitQueue, value: Any = None) -> None:
    """Wake all tasks of a queue, in the order in which they came.

    Args:
        queue: The queue.
        value: What their `park` returns.

    Raises:
        RuntimeError: The tasks belong to a loop in another thread.
    """
    wake(queue, value)
    queue.clear()


def break_all(queue: WaitQueue, error: Callable[[], BaseException]) -> None:
    """Wake all tasks of a queue with an error, in the order in which they came.

    Args:
        queue: The queue.
        error: Called for each task to make the exception that its `park` raises.

    Raises:
        RuntimeError: The tasks belong to a loop in another thread.
    """
    wake(queue, None)
    for task in queue:
        task.wake_error = error()
    queue.clear()


def wake(queue: WaitQueue, value: Any) -> None:
    """Wake all tasks of a queue that is thrown away: `unpark_all` without emptying it.

    Args:
        queue: The queue, to which nobody else refers.
        value: What their `park` returns.

    Raises:
        RuntimeError: The tasks belong to a loop in another thread.
    """
    here = get_running()
    for task in queue:
        scheduler = task.scheduler
        if here is not scheduler:
            try:
                scheduler.touch()
            except RuntimeError:
                _put_back(queue, task)
                raise
        task.undo_wait = None
        task.wake_value = value
        scheduler.ready.append(task)


def _put_back(queue: WaitQueue, refused: Task[Any]) -> None:
    """Let those wait again that were woken before one that may not be woken from here.

    To look at all of them beforehand would make each event slower, for a mistake of a program.
    """
    for task in queue:
        if task is refused:
            break
        task.scheduler.ready.remove(task)
        # Whoever waits in other queues, too, must leave them all, and says so by what it waits on.
        task.undo_wait = getattr(task._waiting_on, "undo_wait", queue)
        task.wake_value = None


def touch_all(queue: WaitQueue) -> None:
    """Refuse another thread than that of the tasks of a queue, and wake whoever hosts their loop.

    To be called before something is changed that they wait for, if that is not all done by one call
    of `unpark` or its like: what is refused must have had no effect. For one task there is
    `AsyncScheduler.touch`.

    Args:
        queue: The queue.

    Raises:
        RuntimeError: One of the tasks belongs to a loop in another thread.
    """
    here = get_running()
    for task in queue:
        if task.scheduler is not here:
            task.scheduler.touch()
