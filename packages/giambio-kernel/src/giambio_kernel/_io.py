# SPDX-License-Identifier: Apache-2.0
"""Readiness of descriptors: what is known of each, and who waits for it.

There are two ways to wait, because there are two kinds of user.

*A handle that owns its descriptor* (every socket of ours) is registered once, edge-triggered, at its
first wait, and stays registered. It remembers what the last edge and the last operation said:
``may_read`` is false when there was nothing left to read, so the next reader waits first and never
meets ``BlockingIOError``. A system call and an exception less per request is worth a third of the
cost of an echo. The price is that the prediction must never be false while there is something to
read, for no second edge would come. Where it could be:

- the end of a stream, or an error, may come in the same edge as the last bytes; ``sticky`` is set by
  such an edge and nothing may be predicted any more;
- a read may stop early for a reason of its own: urgent data, a message with descriptors in a UNIX
  stream, a datagram. Only whoever reads knows, so it is the socket layer that clears ``may_read``;
- a wait was aborted: the edge may have come at the same moment. It is set again.

*A raw descriptor*, given as a number, is somebody else's: others may read from it, close it, reuse
the number. It is registered level-triggered for one wait and forgotten after it.

Registration is kept in the handle, not under the number alone: a number is reused as soon as it is
closed. A handle whose number was closed behind its back is replaced by the next one that registers
the number, and closing it afterwards leaves its successor alone.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from ._current import get_running
from ._errors import ResourceBusy, ResourceClosed
from ._poller import ERROR, HANGUP, READ, READ_HANGUP, URGENT, WRITE

if TYPE_CHECKING:
    from collections import deque

    from ._poller import Poller
    from ._scheduler import AsyncScheduler
    from ._task import Task
    from ._wakeup import Inbox

_READERS_CARE: Final = READ | URGENT | ERROR | HANGUP | READ_HANGUP
_WRITERS_CARE: Final = WRITE | ERROR | HANGUP
_STICKY: Final = URGENT | ERROR | HANGUP | READ_HANGUP


class HasFileno(Protocol):
    """What has a descriptor: a socket or a file of the standard library, for example."""

    def fileno(self) -> int: ...


def as_descriptor(source: int | HasFileno) -> int:
    """Return the descriptor that *source* is, or has."""
    if isinstance(source, int):
        fd = source
    elif hasattr(source, "fileno"):
        fd = source.fileno()
    else:
        raise TypeError(f"expected a descriptor, or an object that has one, not {source!r}")
    if fd < 0:
        raise ValueError(f"{source!r} has no open descriptor")
    return fd


class IOHandle:
    """One open descriptor and what is known of its readiness. Made by `open_handle`.

    At most one task may wait for each direction. Whoever owns the descriptor must close the handle
    first and the descriptor afterwards.

    Attributes:
        may_read: False only if reading is known to have nothing to give. The owner clears it when a
            read says so (`BlockingIOError`; for TCP also a short read, unless `sticky`).
        may_write: The same for writing.
        sticky: Whether an end, an error or urgent data was seen; then no short read may be taken
            for the last one.
        reader: The task that waits to read, if any.
        writer: The task that waits to write, if any.
        closed: Whether the handle, or the loop, was closed.
    """

    __slots__ = (
        "_edge",
        "_io",
        "_mask",
        "closed",
        "fd",
        "may_read",
        "may_write",
        "reader",
        "sticky",
        "writer",
    )

    fd: int
    may_read: bool
    may_write: bool
    sticky: bool
    reader: Task[Any] | None
    writer: Task[Any] | None
    closed: bool

    def __init__(self, io: Descriptors, fd: int, *, owned: bool) -> None:
        self.fd = fd
        self.may_read = self.may_write = True
        self.sticky = self.closed = False
        self.reader = self.writer = None
        self._io = io
        self._edge = owned and io.edge_triggered
        # Invariant: what the poller watches for us; 0 exactly if we are not in the table.
        self._mask = 0

    def __repr__(self) -> str:
        state = "closed" if self.closed else "watched" if self._mask else "not watched"
        waits = [
            f"{task.name!r} waits to {verb}"
            for task, verb in ((self.reader, "read"), (self.writer, "write"))
            if task is not None
        ]
        return f"<IOHandle fd={self.fd} {', '.join([state, *waits])}>"

    def close(self) -> None:
        """Forget the descriptor. Waiting tasks get `ResourceClosed`. Closing twice is fine.

        Raises:
            RuntimeError: A task of a loop in another thread waits for it; then nothing was closed.
        """
        if not self.closed:
            for task in (self.reader, self.writer):
                if task is not None and get_running() is not task.scheduler:
                    task.scheduler.touch()
            self._io.close_handle(self)

    def park_reader(self) -> None:
        """Let the current task wait until this may be read. It must yield `PARKED` next.

        For traps; others await `wait_readable`.

        Raises:
            ResourceBusy: Another task waits to read from it.
            ResourceClosed: It is closed.
            OSError: The descriptor is not open, or of a kind that cannot be waited for.
            RuntimeError: Not called from inside a loop, or in another one.
        """
        scheduler = get_running()
        task = scheduler.current
        if self.closed or self.reader is not None or self._io is not scheduler._io:
            self._refuse(scheduler, self.reader, "read from")
        if not self._mask & READ or not self._edge:
            self._io.watch(self, READ)
        self.reader = task
        task.undo_wait = _abort_read
        task._waiting_on = self

    def park_writer(self) -> None:
        """Let the current task wait until this may be written to. It must yield `PARKED` next.

        For traps; others await `wait_writable`.

        Raises:
            ResourceBusy: Another task waits to write to it.
            ResourceClosed: It is closed.
            OSError: The descriptor is not open, or of a kind that cannot be waited for.
            RuntimeError: Not called from inside a loop, or in another one.
        """
        scheduler = get_running()
        task = scheduler.current
        if self.closed or self.writer is not None or self._io is not scheduler._io:
            self._refuse(scheduler, self.writer, "write to")
        if not self._mask & WRITE or not self._edge:
            self._io.watch(self, WRITE)
        self.writer = task
        task.undo_wait = _abort_write
        task._waiting_on = self

    def _refuse(self, scheduler: AsyncScheduler, other: Task[Any] | None, verb: str) -> NoReturn:
        if self.closed:
            raise ResourceClosed(f"descriptor {self.fd} was closed")
        if other is not None:
            raise ResourceBusy(
                f"task {other.name!r} already waits to {verb} descriptor {self.fd}; "
                "only one task at a time may"
            )
        raise RuntimeError(f"descriptor {self.fd} belongs to another loop than this task")


def _abort_read(task: Task[Any], error: BaseException) -> None:
    handle: IOHandle = task._waiting_on
    handle.reader = None
    handle.may_read = True  # the edge may be on its way
    if not handle._edge:
        handle._io.settle(handle)


def _abort_write(task: Task[Any], error: BaseException) -> None:
    handle: IOHandle = task._waiting_on
    handle.writer = None
    handle.may_write = True
    if not handle._edge:
        handle._io.settle(handle)


class Descriptors:
    """All descriptors that the loop watches.

    Args:
        poller: Where to ask. It is closed with this table.
        inbox: Calls from outside, whose pipe is watched along with the rest.
        ready: The ready queue of the scheduler, which tasks are put on.
    """

    __slots__ = (
        "_handles", "_inbox", "_poll", "_poller", "_ready", "edge_triggered", "forked",
    )  # fmt: skip

    def __init__(self, poller: Poller, inbox: Inbox, ready: deque[Task[Any]]) -> None:
        self._poller = poller
        self._poll = poller.poll
        self._inbox = inbox
        poller.add(inbox.fileno(), READ, True)  # each report is followed by emptying it
        self._ready = ready
        self.edge_triggered: bool = poller.edge_triggered
        self._handles: dict[int, IOHandle] = {}
        # Set in a forked child: the poller is shared with the parent and must not be touched.
        self.forked: bool = False

    def __len__(self) -> int:
        return len(self._handles)

    def handles(self) -> tuple[IOHandle, ...]:
        """Return the handles that are watched now."""
        return tuple(self._handles.values())

    def anyone_waits(self) -> bool:
        """Whether a task waits for a descriptor. Asked often; usually the first handle says yes."""
        for handle in self._handles.values():
            if handle.reader is not None or handle.writer is not None:
                return True
        return False

    def fileno(self) -> int:
        return self._poller.fileno()

    def borrow(self, source: int | HasFileno) -> IOHandle:
        """Return a handle to wait once on a descriptor that is not ours, level-triggered."""
        fd = as_descriptor(source)
        handle = self._handles.get(fd)
        if handle is None:
            return IOHandle(self, fd, owned=False)
        if handle._edge:
            # An edge may have been seen before; watching anew reports what is ready now.
            try:
                self._poller.change(fd, handle._mask, True)
            except FileNotFoundError:
                # Its descriptor was closed behind its back, and this is another one of that number.
                self._evict(handle)
                return IOHandle(self, fd, owned=False)
        return handle

    def watch(self, handle: IOHandle, direction: int) -> None:
        """Watch *handle* for one direction more."""
        fd = handle.fd
        mask = handle._mask | direction
        if handle._mask:
            self._poller.change(fd, mask, handle._edge)
        else:
            predecessor = self._handles.get(fd)
            if predecessor is not None:
                # Its descriptor was closed behind its back and the number given to us.
                self._evict(predecessor)
            try:
                self._poller.add(fd, mask, handle._edge)
            except FileExistsError:
                # A handle for this descriptor was dropped without being closed.
                self._poller.remove(fd)
                self._poller.add(fd, mask, handle._edge)
            self._handles[fd] = handle
        handle._mask = mask

    def poll(self, timeout: float | None) -> None:
        """Wait at most *timeout* seconds and make ready whoever waits for what has come.

        No task runs in between, so nothing can close or reuse a descriptor within one batch.
        """
        handles = self._handles
        append = self._ready.append
        for fd, mask in self._poll(timeout):
            handle = handles.get(fd)
            if handle is None:
                if fd == self._inbox.fileno():
                    self._inbox.drain()
                # Otherwise a duplicate keeps a registration alive that was ours; being
                # edge-triggered, it comes up once.
                continue
            if mask & _READERS_CARE:
                handle.may_read = True
                if mask & _STICKY:
                    handle.sticky = True
                task = handle.reader
                if task is not None:
                    handle.reader = None
                    task.undo_wait = None
                    append(task)
            if mask & _WRITERS_CARE:
                handle.may_write = True
                task = handle.writer
                if task is not None:
                    handle.writer = None
                    task.undo_wait = None
                    append(task)
            if not handle._edge:
                self.settle(handle)

    def settle(self, handle: IOHandle) -> None:
        """Watch a level-triggered handle for what is still waited for, and for nothing else."""
        mask = (READ if handle.reader is not None else 0) | (
            WRITE if handle.writer is not None else 0
        )
        if mask == handle._mask:
            return
        if mask:
            self._poller.change(handle.fd, mask, False)
        else:
            self._forget(handle)
        handle._mask = mask

    def close_fd(self, source: int | HasFileno) -> None:
        """Forget whatever is known under the number of *source*, which is about to be closed."""
        handle = self._handles.get(as_descriptor(source))
        if handle is not None:
            self.close_handle(handle)

    def close_handle(self, handle: IOHandle) -> None:
        """Forget *handle* for good and wake whoever waits on it."""
        handle.closed = True
        self._wake_closed(handle)
        if handle._mask:
            self._forget(handle)
            handle._mask = 0

    def _forget(self, handle: IOHandle) -> None:
        del self._handles[handle.fd]
        if self.forked:
            return
        try:
            self._poller.remove(handle.fd)
        except OSError as error:
            # Closed behind our back; the operating system has forgotten it already.
            if error.errno not in (errno.EBADF, errno.ENOENT, None):
                raise
        except ValueError:
            pass  # selectors say it so

    def _evict(self, handle: IOHandle) -> None:
        self._wake_closed(handle)
        self._forget(handle)
        handle._mask = 0
        handle.may_read = handle.may_write = True

    def _wake_closed(self, handle: IOHandle) -> None:
        for task in (handle.reader, handle.writer):
            if task is not None:
                task._wake_with(ResourceClosed(f"descriptor {handle.fd} was closed while in use"))
        handle.reader = handle.writer = None

    def close(self) -> None:
        for handle in self.handles():
            handle.closed = True
            handle._mask = 0
        self._handles.clear()
        self._poller.close()
