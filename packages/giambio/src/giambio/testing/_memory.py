# SPDX-License-Identifier: Apache-2.0
"""Streams in memory: for tests of whatever works on a stream, without sockets and with mishaps."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, NoReturn

from giambio._closing import ClosedAtOnce
from giambio._numbers import check_seconds
from giambio._sockets.base import DONE
from giambio._streams.protocols import StapledStream
from giambio.exceptions import ResourceBusy, ResourceClosed
from giambio_kernel import (
    Task,
    WaitQueue,
    checkpoint,
    checkpoint_due,
    current_task,
    park,
    sleep,
    unpark_all,
)

if TYPE_CHECKING:
    from giambio._sockets.base import Data, Done


class _Pipe:
    """What the two ends of one direction share."""

    __slots__ = ("buffer", "capacity", "ended", "error", "receivers", "senders")

    capacity: int
    # Invariant: at most `capacity` bytes, sent and not received yet.
    buffer: bytearray
    # Whether nothing more will be sent.
    ended: bool
    # What went wrong for both ends: the number of an error of the system.
    error: int
    # Tasks that wait for bytes, and for room.
    receivers: WaitQueue
    senders: WaitQueue

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.buffer = bytearray()
        self.ended = False
        self.error = 0
        self.receivers = {}
        self.senders = {}

    def wake(self) -> None:
        """Let everybody look again."""
        unpark_all(self.receivers)
        unpark_all(self.senders)

    def raise_error(self) -> NoReturn:
        raise OSError(self.error, os.strerror(self.error))


class _End(ClosedAtOnce):
    """What both ends of a pipe have in common."""

    __slots__ = ("__weakref__", "_closed", "_pipe", "_user")

    # The task that is in an operation of this end.
    _user: Task[Any] | None

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._closed = False
        self._user = None

    def __repr__(self) -> str:
        pipe = self._pipe
        state = "closed, " if self._closed else "ended, " if pipe.ended else ""
        return (
            f"<{type(self).__name__} at {id(self):#x}, {state}"
            f"{len(pipe.buffer)} of {pipe.capacity} bytes buffered>"
        )

    def reset(self) -> None:
        """Break the pipe: what is buffered is lost, and both ends get `ConnectionResetError`."""
        self._break(errno.ECONNRESET)

    def _break(self, error: int) -> None:
        pipe = self._pipe
        pipe.error = pipe.error or error
        pipe.buffer.clear()
        pipe.wake()

    def _start(self, verb: str) -> None:
        self._check_open()
        if self._user is not None:
            raise ResourceBusy(f"task {self._user.name!r} already {verb} {self!r}")
        self._user = current_task()

    def _check_open(self) -> None:
        if self._closed:
            raise ResourceClosed(f"this {type(self).__name__} was closed")

    def close(self) -> Done:
        """Close this end, at once; the result may be awaited. Closing twice is fine.

        The task that waits on it gets `ResourceClosed`.
        """
        if not self._closed:
            self._closed = True
            self._leave()
            self._pipe.wake()
        return DONE

    def _leave(self) -> None:
        raise NotImplementedError


class MemorySendStream(_End):
    """The end of a pipe in memory that is sent into. Made by `memory_pipe`.

    When it is closed, the other end finds what is buffered, and then the end.
    """

    __slots__ = ()

    async def send_all(self, data: Data) -> None:
        """Send all of it, waiting for room.

        Raises:
            BrokenPipeError: The other end is closed, or `send_eof` was called.
            ConnectionResetError: The pipe was broken by `reset`.
            ResourceBusy: Another task sends into it.
            ResourceClosed: This end is closed, or was meanwhile.

        Checkpoint: always. If it raises, a part may have been sent: the exception has an attribute
        ``bytes_sent``.
        """
        view = memoryview(data).cast("B")
        self._start("sends into")
        pipe = self._pipe
        sent = 0
        try:
            if checkpoint_due():
                await checkpoint()
            while True:
                self._check_open()
                if pipe.error:
                    pipe.raise_error()
                if pipe.ended:
                    raise BrokenPipeError(errno.EPIPE, "send_eof() was called before")
                room = pipe.capacity - len(pipe.buffer)
                pipe.buffer += view[sent : sent + room]
                sent = min(len(view), sent + room)
                unpark_all(pipe.receivers)
                if sent == len(view):
                    return
                await park(pipe.senders, self)
        except BaseException as error:
            error.bytes_sent = sent  # type: ignore[attr-defined]
            raise
        finally:
            self._user = None

    async def send_eof(self) -> None:
        """End the stream: the other end finds what is buffered, and then the end.

        Raises:
            ResourceBusy: Another task sends into it.
            ResourceClosed: This end is closed.

        Checkpoint: on entry.
        """
        self._start("sends into")
        try:
            await checkpoint()
            self._check_open()
            self._leave()
            self._pipe.wake()
        finally:
            self._user = None

    def _leave(self) -> None:
        self._pipe.ended = True


class MemoryReceiveStream(_End):
    """The end of a pipe in memory that is received from. Made by `memory_pipe`.

    When it is closed, sending into the other end raises `BrokenPipeError`.
    """

    __slots__ = ("_delay", "_max_chunk")

    def __init__(self, pipe: _Pipe, max_chunk: int | None, delay: float) -> None:
        super().__init__(pipe)
        self._max_chunk = max_chunk
        self._delay = delay

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait until something has come, and return it.

        Args:
            max_bytes: At most how much, in bytes; at least 1.

        Returns:
            From 1 to *max_bytes* bytes, and no more than `memory_pipe` was told to give at a time;
            ``b""`` if the other end has ended the stream.

        Raises:
            ValueError: *max_bytes* is less than 1.
            ConnectionResetError: The pipe was broken by `reset`.
            ResourceBusy: Another task receives from it.
            ResourceClosed: This end is closed, or was meanwhile.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken.
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes!r}")
        if self._max_chunk is not None:
            max_bytes = min(max_bytes, self._max_chunk)
        self._start("receives from")
        pipe = self._pipe
        try:
            if self._delay:
                await sleep(self._delay)
            elif checkpoint_due():
                await checkpoint()
            while True:
                self._check_open()
                if pipe.error:
                    pipe.raise_error()
                if pipe.buffer:
                    data = bytes(pipe.buffer[:max_bytes])
                    del pipe.buffer[:max_bytes]
                    unpark_all(pipe.senders)
                    return data
                if pipe.ended:
                    return b""
                await park(pipe.receivers, self)
        finally:
            self._user = None

    def _leave(self) -> None:
        self._break(errno.EPIPE)


def memory_pipe(
    capacity: int = 65536, *, max_chunk: int | None = None, delay: float = 0.0
) -> tuple[MemorySendStream, MemoryReceiveStream]:
    """Make a stream for one direction, in memory.

    Args:
        capacity: How many bytes may be sent and not received, at least 1. With 1 each byte waits
            until the one before it was taken.
        max_chunk: At most how many bytes are received at a time; 1 shows who takes a message for
            what comes at once.
        delay: How long each receiving takes, in seconds; on a virtual clock, usually.

    Returns:
        The end to send into, and the end to receive from.

    Raises:
        ValueError: A number is too small.
    """
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1, not {capacity!r}")
    if max_chunk is not None and max_chunk < 1:
        raise ValueError(f"max_chunk must be at least 1, not {max_chunk!r}")
    check_seconds("delay", delay)
    pipe = _Pipe(capacity)
    return MemorySendStream(pipe), MemoryReceiveStream(pipe, max_chunk, delay)


def memory_stream_pair(
    capacity: int = 65536, *, max_chunk: int | None = None, delay: float = 0.0
) -> tuple[
    StapledStream[MemorySendStream, MemoryReceiveStream],
    StapledStream[MemorySendStream, MemoryReceiveStream],
]:
    """Make two streams in memory that are connected to each other.

    The halves of each, ``sending`` and ``receiving``, have a method ``reset``, which breaks that
    direction.

    Args:
        capacity: As for `memory_pipe`, for each direction.
        max_chunk: As for `memory_pipe`.
        delay: As for `memory_pipe`.

    Raises:
        ValueError: A number is too small.
    """
    to_right, from_left = memory_pipe(capacity, max_chunk=max_chunk, delay=delay)
    to_left, from_right = memory_pipe(capacity, max_chunk=max_chunk, delay=delay)
    return StapledStream(to_right, from_right), StapledStream(to_left, from_left)
