# SPDX-License-Identifier: Apache-2.0
"""Lines, and what streams of bytes and of text that give them have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from giambio.exceptions import ResourceBusy
from giambio_kernel import Task, current_task

from .protocols import StreamWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .protocols import ReceiveStream

T = TypeVar("T")


class Lines(Generic[T]):
    """The lines of a stream, for ``async for``. Made by the ``lines`` methods of streams.

    It holds nothing: leaving the loop, or being cancelled in it, takes away no line but those that
    the loop has had.
    """

    __slots__ = ("_next",)

    def __init__(self, next_line: Callable[[], Coroutine[Any, Any, T | None]]) -> None:
        self._next = next_line

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Return the next line.

        Checkpoint: always. If it raises `CancelledError`, no line was taken.
        """
        line = await self._next()
        if line is None:
            raise StopAsyncIteration
        return line


class LineReader(StreamWrapper):
    """A stream with one reader at a time, which keeps what has come of a line up to a limit."""

    __slots__ = ("_reader", "limit")

    limit: int
    # The task that is in a reading operation.
    _reader: Task[Any] | None

    def __init__(self, stream: ReceiveStream, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit!r}")
        super().__init__(stream)
        self.limit = limit
        self._reader = None

    def _limit_of(self, limit: int | None) -> int:
        """Return the limit that an operation was given, or that of the stream.

        Raises:
            ValueError: It is negative.
        """
        if limit is None:
            return self.limit
        if limit < 0:
            raise ValueError(f"limit must be at least 0, not {limit!r}")
        return limit

    def _start(self) -> None:
        """Begin to read. Whoever does must set `_reader` to None in the end.

        Raises:
            ResourceBusy: Another task reads.
            ResourceClosed: The stream is closed.
        """
        self._check_open()
        if self._reader is not None:
            raise ResourceBusy(f"task {self._reader.name!r} already reads from {self!r}")
        self._reader = current_task()
