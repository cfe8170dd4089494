# SPDX-License-Identifier: Apache-2.0
"""Functions called in other interpreters of this process, which do not share the lock of this one."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from giambio._simulation import refuse_if_simulated
from giambio._sync.limiter import CapacityLimiter
from giambio._threads.calls import run_in_thread
from giambio_kernel import current_scheduler

from .remote import describe_main, pack, perform, set_main, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_KEY = object()


def default_interpreter_limiter() -> CapacityLimiter:
    """Return the limiter of `run_in_interpreter` for this run: one per processor unless resized.

    Raises:
        RuntimeError: Not called from inside a loop.
    """
    return _interpreters().limiter


async def run_in_interpreter(
    func: Callable[..., T], /, *args: Any, limiter: CapacityLimiter | None = None, **kwargs: Any
) -> T:
    """Call a function in another interpreter of this process, in a thread, and wait for it.

    It runs at the same time as this one, on a processor of its own, and starts faster than a
    process. What it calls must support several interpreters, as the standard library does. The
    interpreters stay for the next call and end with the run.

    Args:
        func: A plain function that the other interpreter can import, as for `run_in_process`.
        *args: Its arguments. They, what it returns, and what it raises are pickled.
        limiter: What bounds the number of interpreters at work; `default_interpreter_limiter` if
            omitted.
        **kwargs: Its keyword arguments.

    Returns:
        What the function returns.

    Raises:
        RuntimeError: This Python has no interpreters for this: it needs 3.14.
        TypeError: *func* is no function, or an async one, or cannot be sent to another interpreter.
        BaseException: What the function raises, as for `run_in_process`.

    Checkpoint: always. If it raises `CancelledError`, the function was not called: once it is under
    way it cannot be stopped, and the result is returned.
    """
    refuse_if_simulated("calling a function in another interpreter")
    message = pack(func, args, kwargs)
    interpreters = _interpreters()
    reply = await run_in_thread(interpreters.call, message, limiter=limiter or interpreters.limiter)
    result: T = unpack(reply)
    return result


class _Interpreters:
    """The other interpreters of a run, and those of them that have nothing to do."""

    def __init__(self, module: Any) -> None:
        self.limiter = CapacityLimiter(os.cpu_count() or 1)
        # `concurrent.interpreters`, which the versions that types are checked for do not have.
        self._module = module
        self._main = describe_main()
        # Used by the threads; appending and popping are atomic.
        self._idle: list[Any] = []

    def call(self, message: bytes) -> bytes:
        """In a thread: make a call."""
        try:
            interpreter = self._idle.pop()
        except IndexError:
            interpreter = self._create()
        try:
            reply: bytes = interpreter.call(perform, message)
        finally:
            self._idle.append(interpreter)
        return reply

    def _create(self) -> Any:
        interpreter = self._module.create()
        interpreter.exec(f"import sys; sys.path[:] = {sys.path!r}")
        interpreter.call(set_main, *self._main)
        return interpreter

    async def end(self) -> None:
        """At the end of the run."""
        for interpreter in self._idle:
            await run_in_thread(interpreter.close)


def _interpreters() -> _Interpreters:
    scheduler = current_scheduler()
    interpreters: _Interpreters | None = scheduler.locals.get(_KEY)
    if interpreters is None:
        try:
            module = importlib.import_module("concurrent.interpreters")
        except ImportError:
            version = ".".join(map(str, sys.version_info[:2]))
            raise RuntimeError(
                f"calling functions in other interpreters needs Python 3.14, and this is {version}; "
                "use run_in_process() instead"
            ) from None
        interpreters = scheduler.locals[_KEY] = _Interpreters(module)
        scheduler.add_cleanup(interpreters.end)
    return interpreters
