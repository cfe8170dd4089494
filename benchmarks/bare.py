# SPDX-License-Identifier: Apache-2.0
"""The floor: what the same work costs on a loop written by hand, without features.

One small loop with tasks, a pool, timers, and just enough of each primitive to do what a row does. It
stands for the limit of pure Python, and every library is compared with it. What it leaves out is what
the others are paid for: cancellation of anything but `sleep` and `Connection.receive`, context variables,
errors that travel (the first one ends the run), names, reports, hooks, checks of wrong use, fairness
beyond first come, first served, more than one loop in a process.

It is not slow on purpose, nor fast by cheating: a task has a result, a pool wakes its owner when the
last task has ended, waiters are served in order, a timeout can fire, the loop looks at timers and
descriptors often enough, and a connection notices its end. Descriptors need Linux, because epoll is what
a hand-written loop would use.
"""

from __future__ import annotations

import select
from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count, repeat
from time import monotonic
from types import coroutine

# Without `typing`, which takes longer to import than everything else here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from queue import SimpleQueue
    from socket import socket
    from types import TracebackType
    from typing import Any, TypeAlias

    Trap: TypeAlias = Generator[Any, None, None]
    Main: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]

# A trap yields this if its task stays ready, and nothing if somebody will wake it.
AGAIN = True

# How many steps at most are made between two looks at timers and descriptors.
STRETCH = 256


class Cancelled(BaseException):
    """Raised in a task that was cancelled."""


class Task:
    """A coroutine and its result."""

    __slots__ = ("coro", "error", "handle", "pool", "result", "send", "until")

    coro: Coroutine[Any, Any, Any]
    send: Callable[[None], Any]
    pool: Pool | None
    result: Any
    # What to raise when it is resumed.
    error: BaseException | None
    # What it waits for, if that can be interrupted: a moment, or a descriptor.
    until: float
    handle: Connection | None

    def fire(self, when: float) -> None:
        """Wake from sleep, unless that was done and this is an old entry of the heap."""
        if self.until == when:
            self.until = 0.0
            ready.append(self)

    def cancel(self) -> None:
        self.interrupt(Cancelled())

    def interrupt(self, error: BaseException) -> None:
        """Raise *error* in the task if it sleeps or waits to receive."""
        if self.until:
            self.until = 0.0
        elif self.handle is not None:
            self.handle.reader = None
            self.handle = None
        else:
            return
        self.error = error
        ready.append(self)


class State:
    """What changes while the loop runs."""

    __slots__ = ("current", "dead", "main")

    # The task whose step it is.
    current: Task
    main: Task
    # How many entries of the heap belong to timeouts that are over.
    dead: int


state = State()
ready: deque[Task] = deque()
timers: list[tuple[float, int, Task | Timeout]] = []
ticket = count().__next__


def run(main: Main, *args: Any) -> Any:
    """Run a coroutine function to its end and return its result."""
    state.dead = 0
    state.main = start(main(*args), None)
    try:
        while not step(STRETCH):
            look()
    finally:
        ready.clear()
        timers.clear()
        descriptors.close()
    return state.main.result


def start(coro: Coroutine[Any, Any, Any], pool: Pool | None) -> Task:
    task = Task()
    task.coro = coro
    task.send = coro.send
    task.pool = pool
    task.error = task.handle = None
    task.until = 0.0
    ready.append(task)
    return task


def step(limit: int) -> bool:
    """Resume ready tasks, and say whether the main task has ended."""
    now = state
    popleft = ready.popleft
    append = ready.append
    for _ in repeat(None, limit):
        if not ready:
            break
        now.current = task = popleft()
        try:
            if task.send(None):
                append(task)
        except StopIteration as stop:
            task.result = stop.value
        except Cancelled:
            task.result = None
        else:
            continue
        pool = task.pool
        if pool is None:
            return True
        pool.live -= 1
        if pool.owner is not None and not pool.live:
            append(pool.owner)
            pool.owner = None
    return False


def look() -> None:
    """See what has come, and wait for something if nothing is ready."""
    timeout = 0.0
    if timers:
        now = monotonic()
        while timers and timers[0][0] <= now:
            when, _, sleeper = heappop(timers)
            sleeper.fire(when)
        if not ready and timers:
            # epoll counts in milliseconds and rounds up, so nobody wakes early.
            timeout = timers[0][0] - now
    if not ready and not timers:
        timeout = -1
    if timeout or descriptors.watched:
        descriptors.poll(timeout)


class Pool:
    """A block that ends when its tasks have ended."""

    __slots__ = ("live", "owner")

    def __init__(self) -> None:
        self.live = 0
        self.owner: Task | None = None

    def spawn(self, fn: Main, *args: Any) -> Task:
        self.live += 1
        return start(fn(*args), self)

    async def __aenter__(self) -> Pool:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self.live:
            await self.wait()

    @coroutine
    def wait(self) -> Trap:
        self.owner = state.current
        yield


# Time


@coroutine
def checkpoint() -> Trap:
    """Let the others run."""
    yield AGAIN


@coroutine
def sleep(seconds: float) -> Trap:
    task = state.current
    task.until = when = monotonic() + seconds
    heappush(timers, (when, ticket(), task))
    yield
    if task.error is not None:
        error, task.error = task.error, None
        raise error


class Timeout:
    """A block with a deadline: ``with Timeout(5): ...`` raises `TimeoutError`."""

    __slots__ = ("deadline", "task")

    def __init__(self, seconds: float) -> None:
        self.deadline = monotonic() + seconds

    def __enter__(self) -> Timeout:
        self.task: Task | None = state.current
        heappush(timers, (self.deadline, ticket(), self))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The entry stays in the heap. Now and then, all those that are over are thrown out.
        self.task = None
        state.dead += 1
        if state.dead > 1000 and state.dead * 2 > len(timers):
            sweep()

    def fire(self, when: float) -> None:
        if self.task is not None:
            self.task.interrupt(TimeoutError())


def sweep() -> None:
    timers[:] = [entry for entry in timers if entry[2].__class__ is Task or entry[2].task]  # type: ignore[union-attr]
    heapify(timers)
    state.dead = 0


# Waiting for each other


class Event:
    """Something that happens once."""

    __slots__ = ("is_set", "waiters")

    def __init__(self) -> None:
        self.is_set = False
        self.waiters: list[Task] = []

    def set(self) -> None:
        self.is_set = True
        ready.extend(self.waiters)

    @coroutine
    def wait(self) -> Trap:
        if not self.is_set:
            self.waiters.append(state.current)
            yield


class Lock:
    """Lets one task in, in order; handed over to the next one when that waits."""

    __slots__ = ("is_held", "waiters")

    def __init__(self) -> None:
        self.is_held = False
        self.waiters: deque[Task] = deque()

    @coroutine
    def __aenter__(self) -> Trap:
        if self.is_held:
            self.waiters.append(state.current)
            yield
        else:
            self.is_held = True

    async def __aexit__(self, *exc_info: object) -> None:
        if self.waiters:
            ready.append(self.waiters.popleft())
        else:
            self.is_held = False


class Queue:
    """A queue with room for some items."""

    __slots__ = ("getters", "items", "putters", "room")

    def __init__(self, room: int) -> None:
        self.room = room
        self.items: deque[Any] = deque()
        self.getters: deque[Task] = deque()
        self.putters: deque[Task] = deque()

    @coroutine
    def put(self, item: Any) -> Trap:
        items = self.items
        while len(items) >= self.room:
            self.putters.append(state.current)
            yield
        items.append(item)
        if self.getters:
            ready.append(self.getters.popleft())

    @coroutine
    def get(self) -> Generator[Any, None, Any]:
        items = self.items
        while not items:
            self.getters.append(state.current)
            yield
        if self.putters:
            ready.append(self.putters.popleft())
        return items.popleft()


class Channel:
    """A rendezvous: an item goes from the hand of the sender to that of the receiver."""

    __slots__ = ("receivers", "senders")

    def __init__(self) -> None:
        self.receivers: deque[Task] = deque()
        self.senders: deque[tuple[Task, Any]] = deque()

    @coroutine
    def send(self, item: Any) -> Trap:
        if self.receivers:
            receiver = self.receivers.popleft()
            receiver.result = item
            ready.append(receiver)
        else:
            self.senders.append((state.current, item))
            yield

    @coroutine
    def receive(self) -> Generator[Any, None, Any]:
        if self.senders:
            sender, item = self.senders.popleft()
            ready.append(sender)
            return item
        task = state.current
        self.receivers.append(task)
        yield
        return task.result


# Descriptors


class Descriptors:
    """What epoll watches: each descriptor once, edge-triggered, for as long as it is open."""

    __slots__ = ("epoll", "watched")

    def __init__(self) -> None:
        self.epoll: select.epoll | None = None
        self.watched: dict[int, Connection | Worker] = {}

    def watch(self, fd: int, watcher: Connection | Worker) -> None:
        if self.epoll is None:
            self.epoll = select.epoll()
        self.watched[fd] = watcher
        self.epoll.register(fd, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)

    def watch_writing(self, fd: int) -> None:
        assert self.epoll is not None
        self.epoll.modify(fd, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLOUT | select.EPOLLET)

    def poll(self, timeout: float) -> None:
        if self.epoll is None:
            self.epoll = select.epoll()
        for fd, mask in self.epoll.poll(timeout):
            self.watched[fd].notice(mask)

    def close(self) -> None:
        if self.epoll is not None:
            self.epoll.close()
            self.epoll = None
            self.watched.clear()


descriptors = Descriptors()

_ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_READABLE = select.EPOLLIN | _ENDED
_WRITABLE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR


class Connection:
    """A socket whose operations wait. One task may receive and one may send."""

    __slots__ = ("_recv", "_send", "ended", "fd", "readable", "reader", "sock", "writer")

    def __init__(self, sock: socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.fd = sock.fileno()
        self._recv = sock.recv
        self._send = sock.send
        # An edge tells that there is something to read, and a short read that there is no more,
        # except that the end of the stream may have come in the same edge.
        self.readable = self.ended = False
        self.reader: Task | None = None
        self.writer: Task | None = None
        descriptors.watch(self.fd, self)

    def notice(self, mask: int) -> None:
        if mask & _READABLE:
            self.readable = True
            if mask & _ENDED:
                self.ended = True
            if self.reader is not None:
                self.reader.handle = None
                ready.append(self.reader)
                self.reader = None
        if mask & _WRITABLE and self.writer is not None:
            ready.append(self.writer)
            self.writer = None

    @coroutine
    def receive(self, size: int) -> Generator[Any, None, bytes]:
        while True:
            if self.readable:
                try:
                    data = self._recv(size)
                except BlockingIOError:
                    self.readable = False
                else:
                    if len(data) < size and not self.ended:
                        self.readable = False
                    return data
            self.reader = task = state.current
            task.handle = self
            yield
            if task.error is not None:
                error, task.error = task.error, None
                raise error

    @coroutine
    def send_all(self, data: bytes) -> Trap:
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return
        rest = memoryview(data)[sent:]
        descriptors.watch_writing(self.fd)
        while rest:
            self.writer = state.current
            yield
            try:
                rest = rest[self._send(rest) :]
            except BlockingIOError:
                pass

    @coroutine
    def accept(self) -> Generator[Any, None, socket]:
        while True:
            if self.readable:
                try:
                    return self.sock.accept()[0]
                except BlockingIOError:
                    self.readable = False
            self.reader = state.current
            yield

    def close(self) -> None:
        del descriptors.watched[self.fd]
        self.sock.close()


class Endpoint(Connection):
    """A socket for datagrams, to and from anybody. One task may receive and one may send."""

    __slots__ = ("_recvfrom", "_sendto")

    def __init__(self, sock: socket) -> None:
        super().__init__(sock)
        self._recvfrom = sock.recvfrom
        self._sendto = sock.sendto

    @coroutine
    def receive_from(self, size: int) -> Generator[Any, None, tuple[bytes, Any]]:
        while True:
            if self.readable:
                try:
                    return self._recvfrom(size)
                except BlockingIOError:
                    # Only this tells that there is no more: the size of a datagram says nothing.
                    self.readable = False
            self.reader = state.current
            yield

    @coroutine
    def send_to(self, data: bytes, address: Any) -> Trap:
        while True:
            try:
                self._sendto(data, address)
            except BlockingIOError:
                descriptors.watch_writing(self.fd)
                self.writer = state.current
                yield
            else:
                return


# Threads


class Worker:
    """A thread that makes one call after the other, for tasks that wait for the result."""

    def __init__(self) -> None:
        import os
        import threading
        from queue import SimpleQueue

        self.calls: SimpleQueue[tuple[Task, Callable[..., Any], tuple[Any, ...]] | None]
        self.calls = SimpleQueue()
        self.done: deque[Task] = deque()
        self.wakeup = os.eventfd(0, os.EFD_NONBLOCK)
        self.write = os.eventfd_write
        descriptors.watch(self.wakeup, self)
        threading.Thread(target=self.work, daemon=True).start()

    @coroutine
    def call(self, fn: Callable[..., Any], *args: Any) -> Generator[Any, None, Any]:
        task = state.current
        self.calls.put((task, fn, args))
        yield
        return task.result

    def work(self) -> None:
        while (call := self.calls.get()) is not None:
            task, fn, args = call
            task.result = fn(*args)
            self.done.append(task)
            # Each write is an edge, so nobody needs to read.
            self.write(self.wakeup, 1)

    def notice(self, mask: int) -> None:
        while self.done:
            ready.append(self.done.popleft())

    def close(self) -> None:
        import os

        self.calls.put(None)
        del descriptors.watched[self.wakeup]
        os.close(self.wakeup)
