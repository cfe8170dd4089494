# SPDX-License-Identifier: Apache-2.0
"""Another library on the same kernel, in the manner of curio: what a front end needs, and no more.

It shows that `giambio` is only one of the libraries that `giambio_kernel` can carry: tasks that are
spawned with ``await``, groups whose results one reads afterwards, and sockets with ``recv`` and
``sendall``. All of it is made of public names of the kernel.
"""

from __future__ import annotations

import socket as stdlib
from typing import TYPE_CHECKING, Any, Self

from giambio_kernel import (
    AsyncScheduler,
    CancelledError,
    CancelScope,
    DeadlockError,
    Task,
    TaskCancelled,
    checkpoint,
    open_handle,
    reschedule,
    sleep,
    spawn_task,
    suspend,
    wait_readable,
    wait_writable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Socket", "TaskGroup", "join", "run", "sleep", "spawn", "timeout_after"]


def run(fn: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
    """Run an async function to its end."""
    return AsyncScheduler().start(fn, *args)


async def spawn(fn: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Task[Any]:
    """Start a task in the run; let it have its first step."""
    task = spawn_task(fn, *args)
    await checkpoint()
    return task


async def join(task: Task[Any]) -> Any:
    """Wait for a task; return its result or raise its error."""
    return await task.join()


def timeout_after(seconds: float) -> CancelScope:
    """Skip the rest of a ``with`` block when it takes too long."""
    return CancelScope(seconds=seconds)


class TaskGroup(CancelScope):
    """Waits for its tasks; the first error cancels the others and is raised at the end."""

    __slots__ = ("_error", "_members", "_waiting")

    async def __aenter__(self) -> Self:
        self._error: BaseException | None = None
        self._members: list[Task[Any]] = []
        self._waiting = False
        return self.__enter__()

    async def spawn(self, fn: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Task[Any]:
        """Start a task of the group."""
        self._members.append(spawn_task(fn, *args, scope=self))
        await checkpoint()
        return self._members[-1]

    @property
    def results(self) -> list[Any]:
        """What the tasks returned, in the order of spawning."""
        return [task.result() for task in self._members]

    def on_task_done(self, task: Task[Any], error: BaseException | None) -> None:
        if error is not None:
            self._error = self._error or error
            self.cancel("another task of the group failed")
        if self._waiting and not self.tasks and self.owner is not None:
            self._waiting = False
            reschedule(self.owner)

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        if error is not None:
            self.cancel("the body of the group failed")
        while self.tasks:
            self._waiting = True
            try:
                await suspend(self._keep_waiting, self)
            except (KeyboardInterrupt, DeadlockError) as interrupt:
                self._error = interrupt  # it goes before the errors of tasks
                self.cancel("the group was interrupted")
        if self.__exit__(kind, error, traceback):
            error = None
        if self._error is not None and isinstance(error, CancelledError | TaskCancelled | None):
            raise self._error
        return error is None

    def _keep_waiting(self, owner: Task[Any], error: BaseException) -> bool:
        """Wait on when the group is cancelled, for its tasks are, too; but not when interrupted."""
        second = isinstance(error, DeadlockError) and isinstance(self._error, DeadlockError)
        if second or isinstance(error, CancelledError):
            return False  # after a second deadlock, only the loop can break off
        self._waiting = False  # the last task may end before the owner has run again
        return True


class Socket:
    """A standard socket whose methods wait."""

    def __init__(self, sock: stdlib.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._handle = open_handle(sock.fileno())

    async def accept(self) -> tuple[Socket, Any]:
        sock, address = await self._retry(wait_readable, self._sock.accept)
        return Socket(sock), address

    async def recv(self, size: int) -> bytes:
        data: bytes = await self._retry(wait_readable, self._sock.recv, size)
        return data

    async def sendall(self, data: bytes) -> None:
        while data:
            data = data[await self._retry(wait_writable, self._sock.send, data) :]

    async def _retry(self, wait: Any, operation: Callable[..., Any], *args: Any) -> Any:
        await checkpoint()
        while True:
            try:
                return operation(*args)
            except BlockingIOError:
                await wait(self._handle)

    async def close(self) -> None:
        self._handle.close()
        self._sock.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
