# SPDX-License-Identifier: Apache-2.0
"""Waiting in several queues at once, and leaving all of them when one of them grants.

A task in `select` stands in the wait queue of each primitive that it was given. Whoever unparks it
there must take it out of the other queues in the same breath, or two of them would grant. So a primitive
that can be selected asks before each `unpark` whether anybody selects at all, which is one look at a dict
that is empty in most programs::

    if selecting:
        settle(self._waiters)
    unpark(self._waiters, item)

and before it wakes all tasks of a queue it calls `settle_all`. That is why the task is granted one thing
and not two, also when both come in the same tick, and why a select costs the others next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from giambio_kernel import CancelScope, Task, WaitQueue, current_scheduler, current_task, suspend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Case:
    """One of the things that a `select` may do.

    Args:
        source: What it is done with: a channel, a queue, an event. It is what a report shows.
        attempt: A plain function that does it if that is possible at once and returns the result, or
            raises `WouldBlock`; any other error leaves the select.
        queue: Where to wait otherwise. Whoever unparks a task there calls `settle` first, and gives
            it the result.
        offer: What to bring along, as for `park`.
        on_wait: Called when the task stands in the queue and is about to wait. It must not unpark it.
        outside: Whether the grant may come from another thread, so that a program in which all tasks
            wait is not deadlocked.
    """

    __slots__ = ("attempt", "offer", "on_wait", "outside", "queue", "source")

    source: object
    attempt: Callable[[], Any]
    queue: WaitQueue
    offer: Any
    on_wait: Callable[[], object] | None
    outside: bool

    def __init__(
        self,
        source: object,
        attempt: Callable[[], Any],
        queue: WaitQueue,
        offer: Any = None,
        *,
        on_wait: Callable[[], object] | None = None,
        outside: bool = False,
    ) -> None:
        self.source = source
        self.attempt = attempt
        self.queue = queue
        self.offer = offer
        self.on_wait = on_wait
        self.outside = outside

    def __repr__(self) -> str:
        return repr(self.source)

    def select_case(self) -> Case:
        """A case can be given to `select` as it is."""
        return self


class Selectable(Protocol):
    """What `select` can wait for."""

    def select_case(self) -> Case:
        """Return what to do if it is this that is selected: to receive, for a channel."""
        ...


class SelectableForSending(Protocol):
    """What `sending` can be told to send into."""

    def select_sending(self, item: Any) -> Case:
        """Return the case of sending *item*."""
        ...


class Selection:
    """A task that waits for one of several cases; what it waits on, in reports."""

    __slots__ = ("_cases", "chosen")

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = cases
        # The index of the case that was granted, or that broke.
        self.chosen: int | None = None

    def __repr__(self) -> str:
        return f"<one of {', '.join(map(repr, self._cases))}>"

    @property
    def undo_wait(self) -> Callable[[Task[Any], BaseException], object]:
        """How the wait is undone: in all the queues, not in that of one primitive."""
        return _abort

    def holders(self) -> tuple[Task[Any], ...]:
        """The tasks that hold what one of the cases waits for."""
        found: dict[Task[Any], None] = {}
        for case in self._cases:
            holders = getattr(case.source, "holders", None)
            if not callable(holders) or not (tasks := holders()):
                return ()  # anybody may end the wait
            found.update(dict.fromkeys(tasks))
        return tuple(found)

    async def wait(self, deadline: float) -> Any:
        """Wait until one case is granted, and return its result. At the deadline, return nothing."""
        task = current_task()
        wakeup = None
        if any(case.outside for case in self._cases):
            wakeup = current_scheduler().open_wakeup()
        selecting[task] = self
        for case in self._cases:
            case.queue[task] = case.offer
        try:
            for case in self._cases:
                if case.on_wait is not None:
                    case.on_wait()
            with CancelScope(deadline=deadline):
                return await suspend(_abort, self)
        finally:
            if task in selecting:  # on_wait failed, or the coroutine is being closed from outside
                _abort(task)
            del task  # an error leads to this frame
            if wakeup is not None:
                wakeup.close()

    def leave(self, task: Task[Any], granted: WaitQueue | None = None) -> None:
        """Leave all queues but the one that grants, which whoever grants takes it out of."""
        for index, case in enumerate(self._cases):
            if case.queue is granted:
                self.chosen = index
            else:
                del case.queue[task]


selecting: dict[Task[Any], Selection] = {}
"""The tasks that select, each with what. Primitives only ask whether it is empty."""


def settle(queue: WaitQueue) -> None:
    """Take the first task of a queue out of the other queues that it selects from, if it does.

    Args:
        queue: The queue that it is about to be unparked from. May be empty.

    Raises:
        RuntimeError: The task belongs to a loop in another thread.
    """
    for task in queue:
        settle_task(task, queue)
        break


def settle_all(queue: WaitQueue) -> None:
    """Do so for all tasks of a queue, before they are woken together.

    Args:
        queue: The queue.

    Raises:
        RuntimeError: One of them belongs to a loop in another thread.
    """
    for task in queue:
        settle_task(task, queue)


def settle_task(task: Task[Any], queue: WaitQueue) -> None:
    """Do so for one task of a queue, before it is taken out of the middle.

    Args:
        task: The task.
        queue: The queue.

    Raises:
        RuntimeError: The task belongs to a loop in another thread.
    """
    selection = selecting.get(task)
    if selection is not None:
        task.scheduler.touch()  # in another thread `unpark` is going to raise; then it must still wait
        del selecting[task]
        selection.leave(task, queue)


def _abort(task: Task[Any], error: BaseException | None = None) -> None:
    selecting.pop(task).leave(task)
