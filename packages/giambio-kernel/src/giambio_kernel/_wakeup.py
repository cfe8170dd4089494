# SPDX-License-Identifier: Apache-2.0
"""Wake-ups from outside: calls that threads and signal handlers leave for the loop.

Leaving a call is appending to a deque. Only if the loop sleeps, or a host waits for it, is there
something to write to a pipe that the poller watches, and then once for a whole burst: `arm` is called
before the loop goes to sleep, and the first call afterwards disarms and writes. The loop looks at
the deque between arming and sleeping, so a call either is seen there or finds the pipe armed.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._scheduler import AsyncScheduler


class Inbox:
    """Calls to make in the thread of the loop."""

    __slots__ = ("_armed", "_receiver", "_sender", "calls")

    def __init__(self) -> None:
        self.calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        # Invariant: true while nobody looks at `calls` without being woken.
        self._armed = False
        # A pipe rather than an eventfd, because signal.set_wakeup_fd writes single bytes.
        if sys.platform == "win32":
            import socket

            self._receiver, sender = (end.detach() for end in socket.socketpair())
        else:
            self._receiver, sender = os.pipe()
        os.set_blocking(self._receiver, False)
        os.set_blocking(sender, False)
        # A file object knows that it is closed; a bare number might belong to somebody else by the
        # time that a late thread writes to it.
        self._sender = open(sender, "wb", buffering=0)  # noqa: SIM115

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is a call."""
        return self._receiver

    @property
    def signal_fd(self) -> int:
        """The descriptor for `signal.set_wakeup_fd`."""
        return self._sender.fileno()

    def call_soon(self, fn: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Leave a call; from any thread, also from a signal handler."""
        if self._sender.closed:
            raise RuntimeError(f"the loop is closed; {fn!r} will not be called")
        self.calls.append((fn, args))
        if self._armed:
            self.notify()

    def notify(self) -> None:
        """Wake whoever waits for the loop."""
        self._armed = False
        try:
            # Returns None if the pipe is full; then it is readable, which is all that is wanted.
            self._sender.write(b"\0")
        except (ValueError, OSError):
            pass  # the loop was closed meanwhile, or is being closed

    def notify_if_armed(self) -> None:
        """Wake whoever waits for the loop, unless that was done."""
        if self._armed:
            self.notify()

    def arm(self) -> None:
        """Make the next call write, because from now on nobody looks."""
        self._armed = True

    def disarm(self) -> None:
        """The loop looks for itself again."""
        self._armed = False

    def drain(self) -> None:
        """Empty the pipe."""
        try:
            while len(os.read(self._receiver, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass

    def run_calls(self, on_error: Callable[[BaseException], None]) -> None:
        """Make the calls that are here now; those that they leave in turn wait for the next look."""
        calls = self.calls
        for _ in range(len(calls)):
            fn, args = calls.popleft()
            try:
                fn(*args)
            except BaseException as error:
                on_error(error)

    def close(self) -> None:
        """Close the pipe. Calls that were left and not made are dropped."""
        # In this order a late thread finds it closed, and not a pipe that nobody reads from.
        self._sender.close()
        os.close(self._receiver)


class Wakeup:
    """A promise that something outside may call: a thread, a signal handler, another loop.

    Made by `AsyncScheduler.open_wakeup`. While one is open the loop is not deadlocked. Opened and
    closed in the thread of the loop, used in any; a context manager.
    """

    __slots__ = ("_busy", "_closed", "_scheduler")

    def __init__(self, scheduler: AsyncScheduler, busy: bool) -> None:
        self._scheduler = scheduler
        self._busy = busy
        self._closed = False
        scheduler.touch()
        scheduler._outside_waits += 1
        scheduler._busy_outside += busy

    def call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        """Call a plain function in the loop's thread. From any thread, or a signal handler.

        Args:
            fn: The function. An error that it raises fails the run.
            *args: Its arguments.

        Raises:
            RuntimeError: The loop is closed.
        """
        self._scheduler.call_soon_threadsafe(fn, *args)

    def close(self) -> None:
        """Announce that no call will come any more. Closing twice is fine."""
        if not self._closed:
            self._scheduler.touch()
            self._closed = True
            self._scheduler._outside_waits -= 1
            self._scheduler._busy_outside -= self._busy

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
