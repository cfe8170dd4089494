# SPDX-License-Identifier: Apache-2.0
"""TLS over any stream."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Self

from giambio._sockets.base import DONE, room_in
from giambio._streams.protocols import TakesLeave
from giambio.exceptions import ConnectionBroken
from giambio_kernel import checkpoint, checkpoint_due

from .base import CHUNK, TLSBase

if TYPE_CHECKING:
    from giambio._sockets.base import Data, Done
    from giambio._streams.protocols import Stream


class TLSStream(TakesLeave, TLSBase):
    """TLS over another stream, for either side; a stream like any other.

    The handshake is made by `do_handshake` or `wrap`, or else by the first operation that needs it.
    What was agreed upon is told by the methods `version`, `cipher`, `getpeercert`,
    `selected_alpn_protocol` and so on, those of `ssl.SSLObject`. In TLS 1.3 a client whose
    certificate the server refuses learns that when it receives, not from the handshake.

    **The end.** An orderly end, announced by the other side, is ``b""``. If the stream below ends
    without that, somebody may have cut it off: `receive` raises `ConnectionBroken`. Protocols that
    tell the end of each message, such as HTTP, need not care and may pass
    ``suppress_ragged_eofs=True``. `aclose` and ``async with`` announce the own end, waiting no longer
    than 5 s until that is sent, and not for an answer; `close` does not. `send_eof` ends one direction
    alone, which only TLS 1.3 allows. `unwrap` ends TLS and goes on without it.

    **Cancelling.** A cancelled `receive` loses nothing, and a cancelled handshake is continued by the
    next operation. A `send_all` that is cancelled or fails after it has begun leaves half a record
    behind, after which nothing else can be sent: from then on sending raises `ConnectionBroken`.
    Receiving goes on. (If the stream below does not tell by ``bytes_sent`` how much it has sent,
    a handshake that is cancelled in the middle breaks the stream, too.)

    Renegotiation, which TLS 1.3 has abolished, is refused. The other side may go on without, or give up.

    Args:
        transport: The stream below, connected to the other side. It belongs to this one from now on.
        context: Certificates and settings; for a client, by default, those of
            `ssl.create_default_context`. Renegotiation is turned off in it.
        server_side: Whether this is the side of the server.
        server_hostname: The name of the server, for a client: it is asked for (SNI), and the
            certificate must be for it.
        session: A session of an earlier connection, to be resumed by a client.
        suppress_ragged_eofs: Whether an end that was not announced is an end like any other.

    Raises:
        TypeError: *transport* is no stream, or *context* none of the `ssl` module.
        ValueError: The context asks for a name that is not given, or there must be one.
        ssl.SSLError: The context is for the other side.

    Attributes:
        transport: The stream below.
    """

    __slots__ = ()

    def __init__(
        self,
        transport: Stream,
        context: ssl.SSLContext | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
        suppress_ragged_eofs: bool = False,
    ) -> None:
        super().__init__(
            transport, context, server_side, server_hostname, session, suppress_ragged_eofs
        )

    @classmethod
    async def wrap(
        cls,
        transport: Stream,
        context: ssl.SSLContext | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
        suppress_ragged_eofs: bool = False,
    ) -> Self:
        """Put TLS over a stream and make the handshake; the arguments are those of the class.

        A stream that was used in plain text before may be wrapped (STARTTLS). If it is a
        `BufferedStream`, wrap that one and not what lies below it: what is buffered belongs to TLS.

        Returns:
            The stream, ready for use.

        Raises:
            ValueError, ssl.SSLError, OSError: As for the class and `do_handshake`.

        Checkpoint: always. If it raises, also `CancelledError`, *transport* is closed.
        """
        try:
            stream = cls(
                transport,
                context,
                server_side=server_side,
                server_hostname=server_hostname,
                session=session,
                suppress_ragged_eofs=suppress_ragged_eofs,
            )
            await stream.do_handshake()
        except BaseException:
            transport.close()
            raise
        return stream

    def __repr__(self) -> str:
        state = "closed" if self._closed else self.version() or "before the handshake"
        return f"<{type(self).__name__} at {id(self):#x}, {state}, over {self.transport!r}>"

    @property
    def closed(self) -> bool:
        """Whether the stream was closed or unwrapped."""
        return self._closed

    async def do_handshake(self) -> None:
        """Make the handshake, unless it was made.

        Raises:
            ssl.SSLError: The two sides could not agree, or a certificate is not to be trusted. The
                other side was told, and the stream is of no use any more.
            ConnectionBroken: The other side ended the connection in the middle.
            ResourceClosed: The stream is closed, or was meanwhile.
            OSError: The connection broke.

        Checkpoint: always. If it is cancelled, the next operation continues it.
        """
        if self._closed:
            self._refuse_closed()
        async with self._handshake_lock:
            if not self._is_shaken:
                if self._no_send is not None:
                    raise ConnectionBroken(self._no_send, self)
                await self._advance(self._engine.do_handshake)
                self._is_shaken = True

    # Receiving

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait until something has come, and return it.

        Args:
            max_bytes: At most how much, in bytes; at least 1.

        Returns:
            From 1 to *max_bytes* bytes; ``b""`` if the other side has ended its stream.

        Raises:
            ValueError: *max_bytes* is less than 1.
            ConnectionBroken: The stream below has ended, and the other side had not said so.
            ssl.SSLError: What came was not TLS, or was tampered with.
            ResourceBusy: Another task receives from this stream.
            ResourceClosed: The stream is closed, or was meanwhile.
            OSError: The connection broke.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken.
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes!r}")
        self._start_receiving()
        engine = self._engine
        try:
            if checkpoint_due():
                await checkpoint()
            if not self._is_shaken:
                await self.do_handshake()
            while True:
                if engine.may_read:
                    try:
                        data = self._decrypt(max_bytes)
                    except ssl.SSLError as error:
                        await self._fail(error)
                        raise
                    if data is not None:
                        return data
                if not (engine.patient or self._flushing or self._no_send) and engine.has_output():
                    await self._flush()
                await self._feed()
        finally:
            self._receiver = None

    async def receive_into(self, buffer: bytearray | memoryview, max_bytes: int = 0) -> int:
        """Wait until something has come, and put it into *buffer*.

        Args:
            buffer: Where to put it, from the beginning.
            max_bytes: At most how much, in bytes; zero means as much as fits.

        Returns:
            How many bytes were put there; 0 if the other side has ended its stream.

        Raises:
            ValueError: The buffer is empty, or *max_bytes* negative.
            ResourceBusy, ResourceClosed, ssl.SSLError, OSError: As for `receive`.

        Checkpoint: always. If it raises `CancelledError`, nothing was taken.
        """
        with room_in(buffer, max_bytes) as view:
            data = await self.receive(len(view))
            view[: len(data)] = data
        return len(data)

    def _decrypt(self, max_bytes: int) -> bytes | None:
        """Return what OpenSSL can give of what it was fed, at the end ``b""``, ``None`` if nothing."""
        if self._ended:
            return b""
        if self._no_receive is not None:
            raise ConnectionBroken(self._no_receive, self)
        try:
            data = self._engine.read(max_bytes)
        except ssl.SSLEOFError as error:
            if not self._suppress_ragged_eofs:
                self._no_receive = "the connection was cut off: it ended and TLS did not say so"
                raise ConnectionBroken(self._no_receive, self) from error
            data = b""
        self._ended = data == b""
        return data

    # Sending

    async def send_all(self, data: Data) -> None:
        """Send all of it, waiting as long as that takes.

        Args:
            data: What to send.

        Raises:
            ConnectionBroken: An earlier `send_all` did not come to its end, or `send_eof` was called.
            ResourceBusy: Another task sends into this stream.
            ResourceClosed: The stream is closed, or was meanwhile.
            OSError: The connection broke.

        Checkpoint: always. If it raises, a part may have been sent: the exception has an attribute
        ``bytes_sent``. Of what it counts all was sent; more may have been, unless it is 0 and
        another `send_all` does not raise `ConnectionBroken`.
        """
        # A view costs as much as encrypting some hundred bytes, so only what is cut to pieces gets one.
        whole = data.__class__ is bytes and len(data) <= CHUNK
        view = data if whole else memoryview(data).cast("B")
        self._start_sending()
        sent = encrypted = 0
        try:
            if checkpoint_due():
                await checkpoint()
            if not self._is_shaken:
                await self.do_handshake()
            while sent < len(view):
                try:
                    encrypted += self._session.write(view[sent : sent + CHUNK])
                except ssl.SSLWantReadError:  # it has to answer something first
                    await self._flush()
                    await self._feed()
                    continue
                except ssl.SSLError as error:
                    await self._fail(error)
                    raise
                await self._flush()
                sent = encrypted
        except BaseException as error:
            if encrypted > sent:
                self._no_send = "an earlier send_all() was cancelled or failed in the middle"
            error.bytes_sent = sent  # type: ignore[attr-defined]
            raise
        finally:
            self._sender = None

    # The end

    async def send_eof(self) -> None:
        """End the own direction: the other side finds its end, and may go on sending.

        Raises:
            ValueError: The version of TLS is older than 1.3: there, the other side would stop, too.
            ConnectionBroken: An earlier `send_all` did not come to its end.
            ResourceBusy: Another task sends into this stream.
            ResourceClosed: The stream is closed.
            OSError: The connection broke.

        Checkpoint: always. If it is cancelled, it may be called again.
        """
        self._start_sending(again=True)
        try:
            await checkpoint()
            await self.do_handshake()
            if self.version() != "TLSv1.3":
                raise ValueError(
                    f"{self.version()} cannot end one direction only; aclose() ends both"
                )
            self._engine.say_goodbye()
            await self._flush()
        finally:
            self._sender = None

    async def unwrap(self) -> tuple[Stream, bytes]:
        """End TLS in both directions, to go on without it.

        Both sides must have agreed on this. Receive first what the other side has still to say.

        Returns:
            The stream below, which does not belong to this one any more; and what the other side has
            already sent after its end of TLS. Start a `BufferedStream` with it.

        Raises:
            ResourceBusy: Another task uses this stream.
            ssl.SSLError: The other side went on sending.
            ConnectionBroken: It ended the connection instead.
            ResourceClosed, OSError: As for `receive` and `send_all`.

        Checkpoint: always. If it is cancelled, it may be called again.
        """
        self._start_receiving()
        try:
            self._start_sending(again=True)
        except BaseException:
            self._receiver = None
            raise
        try:
            await checkpoint()
            await self.do_handshake()
            if self._engine.hold():
                raise ssl.SSLError("there is data that was not received")
            await self._advance(self._engine.unwrap)
        finally:
            self._receiver = self._sender = None
        self._closed = True
        return self.transport, self._engine.leftover()

    def close(self) -> Done:
        """Close the stream and the one below, at once; the result may be awaited.

        The other side is not told by TLS, and takes it for cut off. Tasks that wait on the stream
        get `ResourceClosed`. Closing twice is fine.
        """
        if not self._closed:
            self._closed = True
            self.transport.close()
        return DONE

    async def aclose(self) -> None:
        """Tell the other side that this is the end, and close the stream and the one below.

        It does not wait for an answer, nor longer than 5 s until this is sent.

        Checkpoint: always. The stream is closed also if it raises `CancelledError`.
        """
        if self._closed:
            await checkpoint()
            return
        try:
            if self._is_shaken and not (self._no_send or self._sender or self._flushing):
                self._engine.say_goodbye()
                await self._flush_last_words()
        finally:
            self._closed = True
            await self.transport.aclose()
