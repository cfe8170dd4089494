# SPDX-License-Identifier: Apache-2.0
"""Reading from a stream by count, by delimiter and by line.

What has come and was not taken is kept here, so a read that is cancelled halfway, or that finds the
end too early, loses nothing: the next one finds all of it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from giambio.exceptions import DelimiterNotFound, IncompleteRead
from giambio_kernel import checkpoint, checkpoint_due

from .lines import LineReader, Lines

if TYPE_CHECKING:
    from giambio._sockets.base import Data

    from .protocols import ReceiveStream

_CARRIAGE_RETURN = ord(b"\r")

# How much is asked from the stream below at a time.
_CHUNK = 65536
# Up to how much more is asked for than is missing, in the hope that it will be needed next.
_FEW = 4096


class BufferedStream(LineReader):
    """A stream with a buffer, for reading by count, by delimiter and by line.

    It is a stream itself: sending goes straight to the one below, `receive` gives what is buffered
    first. From the one below nothing should be received any more but through this one.

    Args:
        stream: The stream to read from, which belongs to this one from now on.
        initial: What was read from it before.
        limit: How long, in bytes, `receive_until` and `lines` let something become that does not
            end, if they are not told another limit. At most that much, and what comes along at a
            time, is buffered for them.

    Raises:
        TypeError: *stream* is none.
        ValueError: *limit* is less than 1.

    Attributes:
        stream: The stream below.
        limit: See above; may be changed.
    """

    __slots__ = ("_data", "_pos")

    stream: ReceiveStream
    limit: int
    # Invariant: what is buffered is `_data` from `_pos` on. It is the object that the stream has
    # given, and nothing was copied, until something is longer than that: then it is a bytearray.
    _data: bytes | bytearray
    _pos: int

    def __init__(self, stream: ReceiveStream, *, initial: bytes = b"", limit: int = 65536) -> None:
        super().__init__(stream, limit)
        self._data = initial
        self._pos = 0

    def __repr__(self) -> str:
        size = len(self._data) - self._pos
        return (
            f"<{type(self).__name__} at {id(self):#x}, {size} bytes buffered, of {self.stream!r}>"
        )

    @property
    def buffered(self) -> bytes:
        """What has come and was not taken."""
        return bytes(self._data[self._pos :])

    # Receiving

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return what is buffered; if nothing is, wait until something has come.

        Args:
            max_bytes: At most how much, in bytes; at least 1.

        Returns:
            From 1 to *max_bytes* bytes; ``b""`` if the other side has ended its stream.

        Raises:
            ValueError: *max_bytes* is less than 1.
            ResourceBusy, ResourceClosed, OSError: As the stream below.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken.
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes!r}")
        self._start()
        try:
            size = len(self._data) - self._pos
            if not size:
                return await self.stream.receive(max_bytes)
            if checkpoint_due():
                await checkpoint()
            return self._take(min(size, max_bytes))
        finally:
            self._reader = None

    async def receive_exactly(self, count: int) -> bytes:
        """Wait until so much has come, and return it.

        Args:
            count: How much, in bytes; nothing is waited for if it is 0.

        Raises:
            ValueError: *count* is negative.
            IncompleteRead: The stream ended before. What has come stays in the buffer.
            ResourceBusy, ResourceClosed, OSError: As the stream below.

        Checkpoint: always. If it raises, nothing was taken.
        """
        if count < 0:
            raise ValueError(f"count must be at least 0, not {count!r}")
        self._start()
        try:
            size = len(self._data) - self._pos
            if size >= count:
                if checkpoint_due():
                    await checkpoint()
                return self._take(count)
            return await self._collect(count, size)
        finally:
            self._reader = None

    async def _collect(self, count: int, size: int) -> bytes:
        """Return *count* bytes, of which *size* are there."""
        parts = [self._take(size)] if size else []
        try:
            while True:
                missing = count - size
                # Much is asked for exactly, so that none of it has to be cut off and copied.
                exactly = _FEW < missing < _CHUNK
                part = await self.stream.receive(missing if exactly else _CHUNK)
                if not part:
                    raise IncompleteRead(
                        f"the stream ended after {size} of {count} bytes", b"".join(parts)
                    )
                parts.append(part)
                size += len(part)
                if size >= count:
                    break
        except BaseException:
            self._data, self._pos = b"".join(parts), 0
            raise
        if size > count:
            self._data, self._pos = part, len(part) - (size - count)
            parts[-1] = part[: self._pos]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def receive_until(
        self, delimiter: bytes, *, limit: int | None = None, keep: bool = False
    ) -> bytes:
        """Wait until a delimiter has come, and return what came before it.

        Args:
            delimiter: What to look for, at least 1 byte. It is taken out of the stream.
            limit: At most how much may come before it, in bytes; by default the `limit` of the
                stream.
            keep: Whether the delimiter is at the end of what is returned.

        Raises:
            ValueError: *delimiter* is empty, or *limit* negative.
            DelimiterNotFound: More has come, and no delimiter. It stays in the buffer.
            IncompleteRead: The stream ended before. What has come stays in the buffer.
            ResourceBusy, ResourceClosed, OSError: As the stream below.

        Checkpoint: always. If it raises, nothing was taken.
        """
        if not delimiter:
            raise ValueError("the delimiter must not be empty")
        limit = self._limit_of(limit)
        self._start()
        try:
            size = await self._find(delimiter, limit)
            if size is None:
                rest = self.buffered
                raise IncompleteRead(
                    f"the stream ended after {len(rest)} bytes, before {delimiter!r}", rest
                )
            if keep:
                return self._take(size + len(delimiter))
            return self._take(size, skip=len(delimiter))
        finally:
            self._reader = None

    async def _find(self, delimiter: bytes, limit: int) -> int | None:
        """Wait for a delimiter, and return how much is before it; ``None`` if the stream ended."""
        if checkpoint_due():
            await checkpoint()
        scanned = 0
        while True:
            pos = self._pos
            at = self._data.find(delimiter, pos + scanned)
            size = (at if at >= 0 else len(self._data)) - pos
            # The end of the buffer may be the beginning of the delimiter.
            scanned = max(0, size - len(delimiter) + 1)
            if (size if at >= 0 else scanned) > limit:
                raise DelimiterNotFound(f"{delimiter!r} does not come within {limit} bytes")
            if at >= 0:
                return size
            if not await self._fill():
                return None

    def lines(self, *, limit: int | None = None, keep: bool = False) -> Lines[bytes]:
        """Return the lines that come, for ``async for``, until the stream ends.

        A line ends with a line feed, before which there may be a carriage return; the last one may
        have no end.

        Args:
            limit: At most how long a line may be, in bytes; by default the `limit` of the stream.
            keep: Whether lines have their ends on. Otherwise, an empty line is ``b""``.

        Raises:
            ValueError: *limit* is negative.
            DelimiterNotFound: Raised by the iteration when a line is longer. It stays in the buffer.
            ResourceBusy, ResourceClosed, OSError: By the iteration, as the stream below.

        Checkpoint: each line, always. If it is cancelled, no line is lost.
        """
        self._limit_of(limit)
        return Lines(partial(self.receive_line, limit=limit, keep=keep))

    async def receive_line(self, *, limit: int | None = None, keep: bool = False) -> bytes | None:
        """Wait for a line, and return it; ``None`` if the stream has ended. See `lines`.

        Args:
            limit: At most how long it may be, in bytes; by default the `limit` of the stream.
            keep: Whether it has its end on.

        Raises:
            ValueError: *limit* is negative.
            DelimiterNotFound: The line is longer. It stays in the buffer.
            ResourceBusy, ResourceClosed, OSError: As the stream below.

        Checkpoint: always. If it raises, nothing was taken.
        """
        limit = self._limit_of(limit)
        self._start()
        try:
            size = await self._find(b"\n", limit)
            if size is None:
                rest = len(self._data) - self._pos
                return self._take(rest) if rest else None
            if keep:
                return self._take(size + 1)
            returns = size > 0 and self._data[self._pos + size - 1] == _CARRIAGE_RETURN
            return self._take(size - returns, skip=1 + returns)
        finally:
            self._reader = None

    def _take(self, count: int, skip: int = 0) -> bytes:
        """Take so much out of the buffer, and drop so much after it."""
        data, pos = self._data, self._pos
        end = pos + count
        # A slice of all of a bytes object is the object itself.
        taken = data[pos:end] if isinstance(data, bytes) else bytes(memoryview(data)[pos:end])
        self._pos = end + skip
        if self._pos == len(data):
            self._data, self._pos = b"", 0
        return taken

    async def _fill(self) -> bool:
        """Wait until more has come, and say whether it has; otherwise the stream has ended."""
        new = await self.stream.receive(_CHUNK)
        if not new:
            return False
        data, pos = self._data, self._pos
        if pos == len(data):
            self._data, self._pos = new, 0
            return True
        if isinstance(data, bytes):
            self._data = bytearray(memoryview(data)[pos:])
        else:
            del data[:pos]
        self._data += new
        self._pos = 0
        return True

    # What goes straight to the stream below

    async def send_all(self, data: Data) -> None:
        """Send all of it into the stream below; see there.

        Raises:
            TypeError: That is one for receiving only.

        Checkpoint: always, as the stream below does.
        """
        await self._below("send_all")(data)
