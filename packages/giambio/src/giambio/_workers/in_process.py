# SPDX-License-Identifier: Apache-2.0
"""Functions called in worker processes: those that need a processor of their own, or may be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from giambio._processes.process import Process, open_process
from giambio._simulation import refuse_if_simulated
from giambio._sync.limiter import CapacityLimiter
from giambio._timeouts import skip_after
from giambio.exceptions import ResourceBroken
from giambio.socket import AsyncSocket, socketpair
from giambio_kernel import current_scheduler

from .remote import describe_main, pack, unpack
from .worker import HEADER

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_KEY = object()

# How long an idle worker has to end when the run does, until it is killed, in seconds.
_GRACE = 5.0


def default_process_limiter() -> CapacityLimiter:
    """Return the limiter of `run_in_process` for this run: a process per processor unless resized.

    Raises:
        RuntimeError: Not called from inside a loop.
    """
    return _workers().limiter


async def run_in_process(
    func: Callable[..., T], /, *args: Any, limiter: CapacityLimiter | None = None, **kwargs: Any
) -> T:
    """Call a function in a worker process and wait for it.

    Cancelling kills the worker, whatever the function does. Worker processes stay for the next
    call, with all that the functions have left in them, and end with the run. If a signal such as
    ``SIGTERM`` kills the program, they end when the call that they are at has.

    Args:
        func: A plain function that the worker can import: it stands in a module, not inside of
            another function. If it stands in the main module of the program, that is imported
            there, so what it does must stand behind ``if __name__ == "__main__"``.
        *args: Its arguments. They, what it returns, and what it raises are pickled.
        limiter: What bounds the number of processes; `default_process_limiter` if omitted.
        **kwargs: Its keyword arguments.

    Returns:
        What the function returns.

    Raises:
        TypeError: *func* is no function, or an async one, or cannot be sent to another process.
        BaseException: What the function raises, with a note of where; as a `RuntimeError` that
            tells of it if it cannot be pickled.
        ResourceBroken: The worker has ended during the call: the function ended it, for example,
            or the system needed its memory.
        RuntimeError: The main module, imported in a worker for a function in it, runs the program.
        OSError: The system has no process or descriptor left.

    Checkpoint: always. If it raises `CancelledError`, the function was not called, or was killed
    in the middle.
    """
    refuse_if_simulated("calling a function in a process")
    message = pack(func, args, kwargs)
    workers = _workers()
    async with limiter or workers.limiter:
        worker = workers.take() or _Worker()
        try:
            # It is worked on out there, so a virtual clock must wait.
            with current_scheduler().open_wakeup(busy=True):
                reply = await worker.call(message)
        except BaseException as error:
            await worker.discard(error)
            raise
        workers.idle.append(worker)
    result: T = unpack(reply)
    return result


class _Worker:
    """A worker process, and the socket to talk to it."""

    __slots__ = ("_process", "_sock")

    _process: Process
    _sock: AsyncSocket | None

    def __init__(self) -> None:
        self._sock = None

    def is_alive(self) -> bool:
        return self._process.returncode is None

    async def call(self, message: bytes) -> bytes:
        """Have it make a call, and return the message with the outcome; start it if need be."""
        if self._sock is None:
            await self._start()
        sock = self._sock
        assert sock is not None
        try:
            await sock.send_all(len(message).to_bytes(HEADER) + message)
            reply = bytearray()
            size = HEADER
            while len(reply) < size:
                data = await sock.receive()
                if not data:
                    break
                reply += data
                if size == HEADER and len(reply) >= HEADER:
                    size += int.from_bytes(reply[:HEADER])
            else:
                return bytes(reply[HEADER:])
        except ConnectionError:
            pass
        code = await self._process.wait()
        raise ResourceBroken(f"the worker process has ended during the call, with {code}")

    async def _start(self) -> None:
        ours, theirs = socketpair()
        fd = theirs.fileno()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from giambio._workers.worker import serve; serve({fd}, *{describe_main()!r})"
        )
        # The options that this interpreter was started with, as `multiprocessing` does.
        options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        command = [sys.executable, *options, "-c", code]
        try:
            self._process = open_process(command, stdin=subprocess.DEVNULL, pass_fds=(fd,))
            await self._process.__aenter__()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._sock = ours

    def close(self) -> None:
        """Hang up; then it ends by itself."""
        assert self._sock is not None
        self._sock.close()

    def destroy(self) -> None:
        """Leave nothing behind, without waiting in a loop."""
        self.close()
        self._process._destroy()

    async def discard(self, error: BaseException) -> None:
        """Kill it, and wait for its end unless the loop has broken off."""
        if self._sock is not None:
            self._process.kill()
            self.close()
            await self._process.__aexit__(type(error), error, None)

    async def end(self) -> None:
        """Let it end."""
        self.close()
        with skip_after(_GRACE):
            await self._process.wait()
        self._process.kill()
        await self._process.__aexit__(None, None, None)


class _Workers:
    """The worker processes of a run that have nothing to do."""

    def __init__(self) -> None:
        self.limiter = CapacityLimiter(os.cpu_count() or 1)
        # The one that has waited least last.
        self.idle: list[_Worker] = []

    def take(self) -> _Worker | None:
        while self.idle:
            worker = self.idle.pop()
            if worker.is_alive():
                return worker
            worker.close()
        return None

    def __del__(self) -> None:
        # Some are left if the loop broke off.
        while self.idle:
            self.idle.pop().destroy()

    async def end(self) -> None:
        """At the end of the run."""
        while self.idle:
            await self.idle.pop().end()


def _workers() -> _Workers:
    scheduler = current_scheduler()
    workers: _Workers | None = scheduler.locals.get(_KEY)
    if workers is None:
        workers = scheduler.locals[_KEY] = _Workers()
        scheduler.add_cleanup(_end_workers)
    return workers


async def _end_workers() -> None:
    # Not a method: nothing but ``locals`` refers to the object, so that it goes when the loop does.
    await _workers().end()
