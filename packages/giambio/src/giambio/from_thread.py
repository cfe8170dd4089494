# SPDX-License-Identifier: Apache-2.0
"""What a function that `giambio.run_in_thread` calls can ask of the loop that it was called from.

Threads that giambio did not start use a portal instead; see `giambio.open_portal`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

from giambio_kernel import current_task

from ._threads.cache import current_job
from ._threads.calls import Request, ThreadCall

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")


def run(fn: Callable[P, Coroutine[object, object, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run an async function in the task that waits for this thread, and wait for it.

    It runs inside of the scopes of that task, and is cancelled with it; it sees the context
    variables of the thread.

    Args:
        fn: An async function.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Returns:
        What it returns.

    Raises:
        BaseException: What it raises.
        CancelledError: The task was cancelled while this ran, or waits no more. Let it pass: it
            ends the function that was called in the thread, and then the task.
        TypeError: *fn* is not an async function.
        RuntimeError: This is no thread of `giambio.run_in_thread`.
    """
    call = _current_call("run")
    result: T = call.ask(Request(fn, args, kwargs, is_async=True))
    return result


def run_sync(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a plain function in the task that waits for this thread.

    This is how a thread sets an event, sends with ``send_nowait``, or spawns a task.

    Args:
        fn: A plain function. It is called between two steps of other tasks, so it must be short.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Returns:
        What it returns.

    Raises:
        BaseException: What it raises.
        CancelledError: The task waits no more. See `run`.
        TypeError: *fn* is an async function.
        RuntimeError: This is no thread of `giambio.run_in_thread`.
    """
    call = _current_call("run_sync")
    result: T = call.ask(Request(fn, args, kwargs, is_async=False))
    return result


def check_cancelled() -> None:
    """Raise if the task that waits for this thread was cancelled, or waits no more.

    A function that takes long calls this now and then, and lets the error pass, so that it can be
    stopped.

    Raises:
        CancelledError: It was cancelled.
        RuntimeError: This is no thread of `giambio.run_in_thread`.
    """
    _current_call("check_cancelled").check_cancelled()


def _current_call(name: str) -> ThreadCall:
    call = current_job()
    if isinstance(call, ThreadCall):
        try:
            task = current_task()
        except RuntimeError:
            return call
        raise RuntimeError(
            f"from_thread.{name}() would block the loop of task {task.name!r}, which runs in this "
            "thread; call the function directly"
        )
    raise RuntimeError(
        f"from_thread.{name}() works only in functions that run_in_thread() calls; other threads "
        "use a portal, see giambio.open_portal()"
    )
