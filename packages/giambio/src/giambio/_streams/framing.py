# SPDX-License-Identifier: Apache-2.0
"""Messages over a stream: each with its length before it, or with a delimiter after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NoReturn, Self

from giambio._sync.lock import Lock
from giambio.exceptions import ConnectionBroken, EndOfChannel, IncompleteRead, ResourceBusy

from .buffered import BufferedStream
from .protocols import StreamWrapper

if TYPE_CHECKING:
    from giambio._sockets.base import Data

    from .protocols import Stream


class FramedStream(StreamWrapper):
    """Messages over a stream of bytes. See `LengthPrefixedStream` and `DelimitedStream`.

    It is used like a channel: `send`, `receive`, ``async for`` until the other side ends its stream.
    Any number of tasks may send; their messages go out whole, in the order in which the tasks came.

    Attributes:
        stream: The stream below, with a buffer.
        limit: How long a message may be, in bytes, sent or received. Whoever is on the other side can
            make us keep that much.
    """

    __slots__ = ("_broken", "_lock", "limit")

    stream: BufferedStream
    limit: int

    def __init__(self, stream: Stream, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit!r}")
        super().__init__(stream if isinstance(stream, BufferedStream) else BufferedStream(stream))
        self.limit = limit
        self._lock = Lock()
        # Whether half a message was sent.
        self._broken = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}, over {self.stream!r}>"

    def _encode(self, message: memoryview) -> bytes:
        """Return what is sent for a message."""
        raise NotImplementedError

    async def receive(self) -> bytes:
        """Wait until a message has come, and return it."""
        raise NotImplementedError

    async def send(self, message: Data) -> None:
        """Send a message, after those of the tasks that came before.

        Raises:
            ValueError: It is longer than the limit, or cannot be sent in this form.
            ConnectionBroken: Sending an earlier one did not come to its end.
            ResourceClosed, OSError: As the stream below.

        Checkpoint: always. If it raises once a part has gone out, nothing more can be sent.
        """
        view = memoryview(message).cast("B")
        if len(view) > self.limit:
            raise ValueError(
                f"the message has {len(view)} bytes, and may have {self.limit} at most"
            )
        data = self._encode(view)
        async with self._lock:
            if self._broken:
                raise ConnectionBroken(
                    "an earlier message was cancelled or failed in the middle", self
                )
            try:
                await self.stream.send_all(data)
            except ResourceBusy:
                raise  # somebody sends into the stream below, and nothing of this went out
            except BaseException as error:
                self._broken = bool(getattr(error, "bytes_sent", True))
                raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Receive a message; see `receive`. The iteration stops when the other side has ended."""
        try:
            return await self.receive()
        except EndOfChannel:
            raise StopAsyncIteration from None


class LengthPrefixedStream(FramedStream):
    """Messages that each have their length before them, as an unsigned number.

    Args:
        stream: The stream of bytes, which belongs to this one from now on.
        prefix: How many bytes the number has, from 1 to 8.
        byteorder: Its first byte: the ``"big"`` end of it, as is usual in networks, or the
            ``"little"`` one.
        limit: How long a message may be, in bytes; 1 MiB by default, or what the number can tell.

    Raises:
        TypeError: *stream* is none.
        ValueError: A number is out of range, or *byteorder* something else.
    """

    __slots__ = ("_byteorder", "_prefix", "_size")

    # What the number said of the message that is to be received next; the number is gone already.
    _size: int | None

    def __init__(
        self,
        stream: Stream,
        *,
        prefix: int = 4,
        byteorder: Literal["big", "little"] = "big",
        limit: int | None = None,
    ) -> None:
        if not 1 <= prefix <= 8:
            raise ValueError(f"prefix must be from 1 to 8, not {prefix!r}")
        if byteorder not in ("big", "little"):
            raise ValueError(f"byteorder must be 'big' or 'little', not {byteorder!r}")
        most = (1 << 8 * prefix) - 1
        if limit is None:
            limit = min(1 << 20, most)
        elif limit > most:
            raise ValueError(f"a number of {prefix} bytes tells at most {most}, not {limit!r}")
        super().__init__(stream, limit)
        self._prefix = prefix
        self._byteorder: Literal["big", "little"] = byteorder
        self._size = None

    def _encode(self, message: memoryview) -> bytes:
        return b"".join((len(message).to_bytes(self._prefix, self._byteorder), message))

    async def receive(self) -> bytes:
        """Wait until a message has come, and return it.

        Raises:
            EndOfChannel: The other side has ended its stream after a whole message.
            IncompleteRead: It has ended it in the middle of one.
            ConnectionBroken: The message is longer than the limit. It stays where it is.
            ResourceBusy: Another task receives.
            ResourceClosed, OSError: As the stream below.

        Checkpoint: always. If it raises `CancelledError`, nothing is lost.
        """
        if self._size is None:
            try:
                number = await self.stream.receive_exactly(self._prefix)
            except IncompleteRead as error:
                _refuse_end(error)
            self._size = int.from_bytes(number, self._byteorder)
        if self._size > self.limit:
            raise ConnectionBroken(
                f"a message of {self._size} bytes is to come, and may have {self.limit} at most",
                self,
            )
        message = await self.stream.receive_exactly(self._size)
        self._size = None
        return message


class DelimitedStream(FramedStream):
    """Messages that each have a delimiter after them, which is not in them.

    Args:
        stream: The stream of bytes, which belongs to this one from now on.
        delimiter: What ends a message, at least 1 byte.
        limit: How long a message may be, in bytes, without the delimiter.

    Raises:
        TypeError: *stream* is none, or *delimiter* not bytes.
        ValueError: *delimiter* is empty, or *limit* less than 1.
    """

    __slots__ = ("_delimiter",)

    def __init__(self, stream: Stream, delimiter: bytes = b"\n", *, limit: int = 65536) -> None:
        if not isinstance(delimiter, bytes):
            raise TypeError(f"the delimiter must be bytes, not {delimiter!r}")
        if not delimiter:
            raise ValueError("the delimiter must not be empty")
        super().__init__(stream, limit)
        self._delimiter = delimiter

    def _encode(self, message: memoryview) -> bytes:
        data = b"".join((message, self._delimiter))
        # Also where the end of the message and the delimiter make another one.
        if data.find(self._delimiter) < len(message):
            raise ValueError(f"the message has the delimiter {self._delimiter!r} in it")
        return data

    async def receive(self) -> bytes:
        """Wait until a message has come, and return it without its delimiter.

        Raises:
            EndOfChannel: The other side has ended its stream after a whole message.
            IncompleteRead: It has ended it in the middle of one.
            DelimiterNotFound: The message is longer than the limit. It stays where it is.
            ResourceBusy: Another task receives.
            ResourceClosed, OSError: As the stream below.

        Checkpoint: always. If it raises `CancelledError`, nothing is lost.
        """
        try:
            return await self.stream.receive_until(self._delimiter, limit=self.limit)
        except IncompleteRead as error:
            _refuse_end(error)


def _refuse_end(error: IncompleteRead) -> NoReturn:
    """Raise that the stream has ended: between two messages, or in the middle of one."""
    if error.partial:
        raise error
    raise EndOfChannel("the other side has ended its stream") from None
