# SPDX-License-Identifier: Apache-2.0
"""Running a program, and what belongs to the run as a whole."""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from giambio_kernel import AsyncScheduler, as_coroutine, current_scheduler

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterable

    from giambio_kernel import Clock, Policy, Poller, Task

    from .socket import AsyncSocket

P = ParamSpec("P")
T = TypeVar("T")

# Whoever wants to see every run of this process puts a function here.
# Empty, it costs a run one test.
attachments: list[Callable[[AsyncScheduler], object]] = []


def attach(scheduler: AsyncScheduler) -> None:
    """Show a new scheduler to all `attachments`. To be called by whatever starts a run."""
    for attachment in tuple(attachments):
        attachment(scheduler)


def run(
    func: Callable[..., Coroutine[Any, Any, T]],
    *args: Any,
    debugger: object | Iterable[object] | None = None,
    clock: Clock | None = None,
    policy: Policy | None = None,
    deadlock: Literal["raise", "wait"] = "raise",
) -> T:
    """Run an async function, and everything that it spawns, to the end.

    Ctrl+C raises `KeyboardInterrupt` in *func* at its next checkpoint. Everything else is cancelled
    then, and when it has cleaned up, this raises it, too.

    Args:
        func: An async function, the main task.
        *args: Its arguments.
        debugger: Who is told what happens: an object with some of the methods of
            `giambio.debug.BaseDebugger`, or a list of such.
        clock: Where the time comes from; the system's clock if omitted.
        policy: Who decides which ready task runs next; first come, first served if omitted.
        deadlock: What to do when every task waits for another one: ``"raise"`` a `DeadlockError`
            in *func*, or ``"wait"`` all the same.

    Returns:
        What *func* returns.

    Raises:
        RuntimeError: This is called inside a running loop.
        TypeError: *func* is not an async function.
        TaskCancelled: The main task was cancelled.
        BaseException: The first error of *func* or of a task spawned with `spawn`, as itself.
    """
    scheduler = AsyncScheduler(clock=clock, debugger=debugger, policy=policy, deadlock=deadlock)
    if attachments:
        attach(scheduler)
    return scheduler.start(func, *args)


@overload
def spawn(
    func: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
) -> Task[T]: ...


@overload
def spawn(func: Coroutine[Any, Any, T], /) -> Task[T]: ...


def spawn(func: Any, /, *args: Any, **kwargs: Any) -> Task[Any]:
    """Start a task in the root pool of this run, which lives until all its tasks have ended.

    Prefer `Pool.spawn`: an error in a task of the root pool cancels the whole run, which then raises
    it. ``await spawn(...)`` works, too, and returns the task as well, without waiting for its end.

    Args:
        func: An async function; or the coroutine that calling one gave.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Returns:
        The task.

    Raises:
        TypeError: *func* is not an async function, or is a coroutine and there are arguments.
        RuntimeError: Not called from inside a loop.
    """
    try:
        scheduler = current_scheduler()
    except RuntimeError:
        if isinstance(func, CoroutineType):
            func.close()  # or Python would complain of that, too
        raise
    return scheduler.spawn(as_coroutine(func, args, kwargs))


def clock() -> float:
    """Return the time on the loop's clock, in seconds since some fixed moment.

    Raises:
        RuntimeError: Not called from inside a loop.
    """
    return current_scheduler().clock()


class EventLoop(AsyncScheduler):
    """The oldest spelling of a loop: ``loop = EventLoop(); loop.start(main)``."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        debugger: object | Iterable[object] | None = None,
        poller: Poller | None = None,
        policy: Policy | None = None,
        deadlock: Literal["raise", "wait"] | None = None,
    ) -> None:
        super().__init__(
            clock=clock, debugger=debugger, poller=poller, policy=policy, deadlock=deadlock
        )
        if attachments:
            attach(self)

    def wrap_socket(self, sock: socket.socket) -> AsyncSocket:
        """Make a standard socket an asynchronous one. See `giambio.wrap_socket`."""
        from .socket import wrap_socket

        return wrap_socket(sock)
