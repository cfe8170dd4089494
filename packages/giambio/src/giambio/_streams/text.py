# SPDX-License-Identifier: Apache-2.0
"""Text over a stream of bytes."""

from __future__ import annotations

import codecs
from functools import partial
from typing import TYPE_CHECKING

from giambio.exceptions import DelimiterNotFound, ResourceBusy
from giambio_kernel import checkpoint, checkpoint_due

from .lines import LineReader, Lines

if TYPE_CHECKING:
    from .protocols import ReceiveStream


class TextStream(LineReader):
    """Text over a stream of bytes, which is decoded and encoded.

    A character whose bytes come one after the other is received when the last of them is there.

    Args:
        stream: The stream of bytes, for both directions or for receiving only. It belongs to this
            one from now on.
        encoding: The name of the encoding.
        errors: What to do with what cannot be decoded or encoded; see `codecs`.
        limit: How long, in characters, `lines` lets a line become.

    Raises:
        TypeError: *stream* is none.
        LookupError: The encoding, or the way to treat errors, is not known.
        ValueError: *limit* is less than 1.

    Attributes:
        stream: The stream below.
        encoding: The name of the encoding.
        errors: What is done with what cannot be decoded or encoded.
        limit: See above; may be changed.
    """

    __slots__ = (
        "_decoder", "_encoder", "_pos", "_text", "encoding", "errors",
    )  # fmt: skip

    stream: ReceiveStream
    encoding: str
    errors: str
    limit: int
    # Invariant: decoded and not received yet is `_text` from `_pos` on, and while a line is waited for
    # what has come meanwhile.
    _text: str
    _pos: int

    def __init__(
        self,
        stream: ReceiveStream,
        encoding: str = "utf-8",
        *,
        errors: str = "strict",
        limit: int = 65536,
    ) -> None:
        codecs.lookup_error(errors)
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        # With a state, because some encodings begin with a mark, which must not be repeated.
        self._encoder = codecs.getincrementalencoder(encoding)(errors)
        super().__init__(stream, limit)
        self.encoding = encoding
        self.errors = errors
        self._text = ""
        self._pos = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}, {self.encoding}, over {self.stream!r}>"

    async def receive(self, max_chars: int = 65536) -> str:
        """Wait until something has come, and return it.

        Args:
            max_chars: At most how much, in characters; at least 1.

        Returns:
            From 1 to *max_chars* characters; ``""`` if the other side has ended its stream.

        Raises:
            ValueError: *max_chars* is less than 1.
            UnicodeDecodeError: What came is not in this encoding; it is lost.
            ResourceBusy, ResourceClosed, OSError: As the stream below.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken.
        """
        if max_chars < 1:
            raise ValueError(f"max_chars must be at least 1, not {max_chars!r}")
        self._start()
        try:
            if self._pos == len(self._text):
                self._text, self._pos = await self._receive_piece(), 0
            elif checkpoint_due():
                await checkpoint()
            return self._take(max_chars)
        finally:
            self._reader = None

    def lines(self, *, limit: int | None = None, keep: bool = False) -> Lines[str]:
        """Return the lines that come, for ``async for``, until the stream ends.

        A line ends with a line feed, before which there may be a carriage return; the last one may
        have no end.

        Args:
            limit: At most how long a line may be, in characters; by default the `limit` of the
                stream.
            keep: Whether lines have their ends on. Otherwise, an empty line is ``""``.

        Raises:
            ValueError: *limit* is negative.
            DelimiterNotFound: Raised by the iteration when a line is longer. It stays in the buffer.
            UnicodeDecodeError, ResourceBusy, ResourceClosed, OSError: By the iteration, as for
                `receive`.

        Checkpoint: each line, always. If it is cancelled, no line is lost.
        """
        self._limit_of(limit)
        return Lines(partial(self.receive_line, limit=limit, keep=keep))

    async def receive_line(self, *, limit: int | None = None, keep: bool = False) -> str | None:
        """Wait for a line, and return it; ``None`` if the stream has ended. See `lines`.

        Args:
            limit: At most how long it may be, in characters; by default the `limit` of the stream.
            keep: Whether it has its end on.

        Raises:
            ValueError: *limit* is negative.
            DelimiterNotFound: The line is longer. It stays in the buffer.
            UnicodeDecodeError, ResourceBusy, ResourceClosed, OSError: As for `receive`.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken.
        """
        limit = self._limit_of(limit)
        self._start()
        try:
            size = await self._find_end(limit)
            if size is None:
                return self._take(len(self._text)) or None
            line = self._take(size + 1)
            return line if keep else line[:-1].removesuffix("\r")
        finally:
            self._reader = None

    async def _find_end(self, limit: int) -> int | None:
        """Wait for a line feed, and return how much is before it; ``None`` if the stream ended."""
        if checkpoint_due():
            await checkpoint()
        at = self._text.find("\n", self._pos)
        if at < 0:
            size, has_ended = await self._gather(limit)
        else:
            size, has_ended = at - self._pos, False
        if size > limit:
            raise DelimiterNotFound(f"a line does not end within {limit} characters")
        return None if has_ended else size

    async def _gather(self, limit: int) -> tuple[int, bool]:
        """Wait for more until it has a line feed, and return how much is before, or is there.

        Ends earlier if that is more than *limit*, or the stream has ended; the flag tells the latter.
        """
        # Put together in the end, or a long line would be copied with every piece of it that comes.
        pieces = [self._text[self._pos :]]
        size = len(pieces[0])
        try:
            while size <= limit:
                piece = await self._receive_piece()
                if not piece:
                    return size, True
                pieces.append(piece)
                at = piece.find("\n")
                if at >= 0:
                    return size + at, False
                size += len(piece)
            return size, False
        finally:
            self._text, self._pos = "".join(pieces), 0

    async def _receive_piece(self) -> str:
        """Wait until there is more text, and return it; ``""`` if the stream has ended."""
        while True:
            data = await self.stream.receive()
            text = self._decode(data)
            if text or not data:
                return text

    def _decode(self, data: bytes) -> str:
        decoder = self._decoder
        try:
            return decoder.decode(data, not data)
        except UnicodeError:
            # It keeps the beginning of a character, to put it together with what comes next.
            decoder.setstate((b"", decoder.getstate()[1]))
            raise

    def _take(self, max_chars: int) -> str:
        taken = self._text[self._pos : self._pos + max_chars]
        self._pos += len(taken)
        if self._pos == len(self._text):
            self._text, self._pos = "", 0
        return taken

    async def send_all(self, text: str) -> None:
        """Encode text and send all of it.

        Raises:
            TypeError: The stream below is one for receiving only.
            UnicodeEncodeError: It cannot be encoded; nothing was sent.
            ResourceBusy, ResourceClosed, OSError: As the stream below.

        Checkpoint: always. If it raises, a part may have been sent: an attribute ``bytes_sent`` of
        the exception says how much of the encoded text.
        """
        send_all = self._below("send_all")
        encoder = self._encoder
        state = encoder.getstate()
        try:
            await send_all(encoder.encode(text))
        except BaseException as error:
            if isinstance(error, ResourceBusy) or getattr(error, "bytes_sent", None) == 0:
                encoder.setstate(state)  # the mark of the encoding has not gone out either
            raise
