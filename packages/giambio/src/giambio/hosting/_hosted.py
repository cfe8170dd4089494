# SPDX-License-Identifier: Apache-2.0
"""A run that another loop drives: ticked when its descriptor is readable or a timer is due."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from giambio._closing import ClosedByWith
from giambio._numbers import check_seconds
from giambio._run import attach
from giambio_kernel import AsyncScheduler, SystemClock, copy_context_outside

from ._pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from giambio_kernel import Clock, Policy, Task

    from ._hosts import Host

T = TypeVar("T")


class Hosted(ClosedByWith, Generic[T]):
    """A run in a host. Made by `start_in`; a context manager, which closes it.

    Attributes:
        loop: The loop that runs.
        task: Its main task.
        ticks: How many passes the host has made.
    """

    # Invariant: as long as the run has not ended and no tick is under way, the host watches the
    # descriptor, and has a call of `_on_timer` to make if there is a next deadline.

    __slots__ = (
        "__weakref__",
        "_budget",
        "_due",
        "_ended",
        "_error",
        "_error_seen",
        "_fd",
        "_host",
        "_on_done",
        "_pace",
        "_ticking",
        "_timer",
        "_watched",
        "loop",
        "task",
        "ticks",
    )

    loop: AsyncScheduler
    task: Task[T]
    ticks: int

    def __init__(
        self,
        host: Host,
        loop: AsyncScheduler,
        task: Task[T],
        pace: Pace,
        on_done: Callable[[Hosted[T]], object] | None,
        budget: float,
    ) -> None:
        self.loop = loop
        self.task = task
        self.ticks = 0
        self._host = host
        self._pace = pace
        self._on_done = on_done
        self._budget = budget
        self._fd = loop.fileno()
        self._watched = False
        # The call that the host was asked for, and the deadline that it is for.
        self._timer: Any = None
        self._due = 0.0
        self._ticking = False
        self._ended = False
        self._error: BaseException | None = None
        self._error_seen = False

    def __repr__(self) -> str:
        if not self._ended:
            state = "running"
        elif self._error is None:
            state = "ended"
        else:
            state = f"failed: {self._error!r}"
        return f"<Hosted {self.task.name!r} {state}, {self.ticks} ticks>"

    def __del__(self) -> None:
        # A run that was forgotten before its end is told of by its loop.
        if getattr(self, "_error", None) is not None and not self._error_seen:
            warnings.warn(
                f"nobody has asked for the result of {self!r}",
                RuntimeWarning,
                source=self,
                stacklevel=2,
            )

    # What the one who started it does with it

    def done(self) -> bool:
        """Whether the run has ended, and its loop is closed."""
        return self._ended

    def result(self) -> T:
        """Return what the main task returned.

        Raises:
            RuntimeError: The run has not ended.
            TaskCancelled: The main task was cancelled.
            BaseException: The first error of the run.
        """
        if not self._ended:
            raise RuntimeError(f"{self!r} has not ended yet")
        if self._error is not None:
            self._error_seen = True
            raise self._error
        return self.task.result()

    def cancel(self, reason: str | None = None) -> None:
        """Cancel everything in the run, which ends when it has cleaned up. From any thread.

        Args:
            reason: Why, for whoever reads the `CancelledError`. Cancelling twice, or a run that has
                ended, changes nothing.
        """
        try:
            self.loop.call_soon_threadsafe(self.task.pool.cancel, reason)
        except RuntimeError:
            pass  # it is closed

    def close(self) -> None:
        """Cancel what is left, run its clean-up now, and leave the host. Closing twice is fine.

        The host does not get a turn before all is cleaned up. `cancel` lets it go on meanwhile.

        Raises:
            RuntimeError: A task of this run calls; it should cancel the run.
            BaseException: An error of the run that nobody has asked for.
        """
        if self._ticking:
            raise RuntimeError("a run cannot be closed by its own tasks; use its cancel()")
        if not self._ended:
            self._finish(None)
        if self._error is not None and not self._error_seen:
            self._error_seen = True
            raise self._error

    # What the host does with it

    def _attach(self) -> None:
        try:
            self._watch()
            self._arm(self._pace.seconds())
        except BaseException:
            self._finish(None)
            raise

    def _watch(self) -> None:
        self._host.watch(self._fd, self._on_readable)
        self._watched = True

    def _on_readable(self) -> None:
        if self._ticking:
            # A task runs the host's loop again: it waits for an answer in a dialogue, say. It is
            # one of our steps that waits there, so nothing can be done, and nothing should be asked.
            self._unwatch()
        elif not self._ended:
            self._pace.woken()
            self._tick()

    def _on_timer(self) -> None:
        self._timer = None
        if not self._ticking and not self._ended:
            self._tick()

    def _tick(self) -> None:
        self._ticking = True
        try:
            goes_on, wait = self._make_passes()
            self._ticking = False
            if goes_on:
                if not self._watched:
                    self._watch()
                self._arm(wait)
                return
            error = None
        except BaseException as raised:
            # Neither the loop nor the host raises in ordinary life; the run cannot go on.
            error = raised
        self._ticking = False
        self._finish(error)
        if self._on_done is not None:
            self._on_done(self)

    def _make_passes(self) -> tuple[bool, float | None]:
        """Tick until nothing is ready or the budget is used up.

        Returns whether work remains, and how long it can wait.
        """
        end = time.monotonic() + self._budget if self._budget else 0.0
        while True:
            self.ticks += 1
            if not self.loop.tick():
                return False, None
            wait = self._pace.seconds()
            if wait != 0.0 or time.monotonic() >= end:
                return True, wait

    def _arm(self, wait: float | None) -> None:
        """Have the host call in so many seconds; never for None."""
        due = self.loop.next_deadline()
        if self._timer is not None:
            if wait and due == self._due:
                return  # as most often: something came, and the next deadline is the same
            self._disarm()
        if wait is not None:
            self._due = due
            self._timer = self._host.call_later(wait, self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            timer, self._timer = self._timer, None
            self._host.cancel_call(timer)

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._host.unwatch(self._fd)

    def _finish(self, error: BaseException | None) -> None:
        """Leave the host, close the loop and keep what went wrong."""
        self._ended = True
        for leave in (self._unwatch, self._disarm, self.loop.close):
            try:
                leave()
            except BaseException as raised:
                error = error or raised
        self._error = error


def _check_host(host: object) -> None:
    if isinstance(host, type):
        raise TypeError(f"pass an instance of the host: {host.__name__}(...)")
    for method in ("watch", "unwatch", "call_later", "cancel_call"):
        if not hasattr(host, method):
            raise TypeError(f"{host!r} is no host: it has no {method}()")


def start_in(
    host: Host,
    func: Callable[..., Coroutine[Any, Any, T]],
    *args: Any,
    on_done: Callable[[Hosted[T]], object] | None = None,
    budget: float = 0.002,
    debugger: object | Iterable[object] | None = None,
    clock: Clock | None = None,
    policy: Policy | None = None,
    deadlock: Literal["raise", "wait"] = "wait",
) -> Hosted[T]:
    """Start a run that another loop drives, in the same thread.

    The host is asked to call when there is something to do, and not otherwise: a run whose tasks all
    wait costs nothing. The host may use plain functions of giambio between its calls, such as
    ``event.set()`` and ``channel.send_nowait()``.

    Ctrl+C is the host's affair: no handler for it is installed.

    Args:
        host: The other loop; see `Host`.
        func: An async function, the main task.
        *args: Its arguments.
        on_done: Called by the host with the `Hosted` when the run has ended by itself, in whichever
            way; not if it was closed. It may use `Hosted.result`. What it raises is raised to the
            host.
        budget: How long to go on within one call of the host while tasks are ready, in seconds.
            Zero makes one pass for each call, which is fairest to the host and costs most.
        debugger: As for `giambio.run`.
        clock: As for `giambio.run`.
        policy: As for `giambio.run`.
        deadlock: As for `giambio.run`; by default the run waits, because the host may make
            something happen.

    Returns:
        The run. Close it, or use it with ``with``.

    Raises:
        ValueError: *budget* is negative or not a number.
        TypeError: *func* is not an async function, or *host* lacks a method of `Host`.
        BaseException: What the host raises when it is asked to watch.
    """
    check_seconds("budget", budget)
    _check_host(host)
    real = SystemClock() if clock is None else clock
    loop = AsyncScheduler(clock=real, debugger=debugger, policy=policy, deadlock=deadlock)
    attach(loop)
    task = loop.start(func, *args, loop=False)
    pace = Pace(loop, real, raises_deadlock=deadlock == "raise")
    hosted: Hosted[T] = Hosted(host, loop, task, pace, on_done, budget)
    # A host may keep a copy of this context for its callbacks, and those are in no task of ours.
    copy_context_outside().run(hosted._attach)
    return hosted
