# SPDX-License-Identifier: Apache-2.0
"""How TLS gets its bytes to and from the stream below.

OpenSSL works in memory (see `TLSEngine`). Moving bytes between it and the stream below is all that is
done here, with three rules:

- what came is in its buffer before anything else can happen, so a cancelled reader loses nothing;
- what TLS itself has to say (answers to changes of keys, refusals) is sent before waiting for more, by
  the reader; but never while another task sends, for that one takes it along, and waiting for it
  could be for ever: the other side may not read before we do;
- of what could not be sent the rest is kept, if the stream below says how much it took.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, NoReturn

from giambio._sockets.tls_facts import TLSFacts
from giambio._streams.protocols import check_stream
from giambio._sync.lock import Lock
from giambio._timeouts import skip_after
from giambio.exceptions import ConnectionBroken, ResourceBusy, ResourceClosed
from giambio_kernel import Task, WaitQueue, current_task, park, unpark_all

from .engine import TLSEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from giambio._streams.protocols import Stream

# How much is encrypted before it is sent, and how much is asked from the stream below.
CHUNK = 65536
# How long, in seconds, a goodbye or the reason of a failure may take to be sent. Somebody who does not
# read must not keep us from closing.
_LAST_WORDS = 5.0


class TLSBase(TLSFacts):
    """TLS, the stream below, and who uses it now; `TLSStream` has the operations."""

    __slots__ = (
        "__weakref__",
        "_closed",
        "_ended",
        "_engine",
        "_feeding",
        "_flushing",
        "_handshake_lock",
        "_is_shaken",
        "_no_receive",
        "_no_send",
        "_receiver",
        "_sender",
        "_session",
        "_suppress_ragged_eofs",
        "_unfed",
        "_unflushed",
        "transport",
    )

    transport: Stream
    _session: ssl.SSLObject
    # The tasks that are in an operation of each direction.
    _receiver: Task[Any] | None
    _sender: Task[Any] | None
    # Why a direction is of no use any more.
    _no_receive: str | None
    _no_send: str | None

    def __init__(
        self,
        transport: Stream,
        context: ssl.SSLContext | None,
        server_side: bool,
        server_hostname: str | None,
        session: ssl.SSLSession | None,
        suppress_ragged_eofs: bool,
    ) -> None:
        check_stream(transport)
        if context is None:
            if server_side:
                raise ValueError("a server needs a context, with its certificate")
            context = ssl.create_default_context()
        if not hasattr(context, "wrap_bio"):
            raise TypeError(f"context must be an ssl.SSLContext, not {context!r}")
        if not server_side and context.check_hostname and server_hostname is None:
            # A socket of the ssl module says this by itself; an object in memory checks nothing then.
            raise ValueError("the context checks the name of the server: server_hostname is needed")
        self.transport = transport
        self._engine = TLSEngine(context, server_side, server_hostname, session)
        self._session = self._engine.session
        self._suppress_ragged_eofs = suppress_ragged_eofs
        self._handshake_lock = Lock()
        self._is_shaken = self._closed = self._ended = False
        self._receiver = self._sender = self._no_receive = self._no_send = None
        # Whether a task receives from the stream below, or sends into it; and who waits for that.
        self._feeding = self._flushing = False
        self._unfed: WaitQueue = {}
        self._unflushed: WaitQueue = {}

    async def _advance(self, step: Callable[[], object]) -> None:
        """Do a step of the protocol until it is done, sending and receiving what it needs."""
        done = False
        while not done:
            try:
                step()
                done = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLEOFError as error:
                self._no_send = self._no_receive = "the other side ended the connection"
                raise ConnectionBroken(self._no_receive, self) from error
            except ssl.SSLError as error:
                await self._fail(error)
                raise
            engine = self._engine
            if engine.has_output() and (self._is_shaken or not (done and engine.patient)):
                await self._flush()
            if not done:
                await self._feed()

    async def _fail(self, error: ssl.SSLError) -> None:
        """Tell the other side why this goes no further."""
        error.stream = self  # type: ignore[attr-defined]
        try:
            await self._flush_last_words()
        finally:
            self._no_send = self._no_receive = f"TLS has failed: {error}"

    async def _flush_last_words(self) -> None:
        """Send what is left to say, unless that cannot be done, or not in time."""
        if not (self._no_send or self._flushing):
            try:
                with skip_after(_LAST_WORDS):
                    await self._flush()
            except (OSError, ResourceClosed):
                pass

    def _start_receiving(self) -> None:
        if self._closed:
            self._refuse_closed()
        if self._receiver is not None:
            raise ResourceBusy(f"task {self._receiver.name!r} already receives from {self!r}")
        self._receiver = current_task()

    def _start_sending(self, *, again: bool = False) -> None:
        if self._closed:
            self._refuse_closed()
        if self._sender is not None:
            raise ResourceBusy(f"task {self._sender.name!r} already sends into {self!r}")
        if self._engine.goodbye_said and not again:
            raise ConnectionBroken("the own direction was ended by send_eof()", self)
        if self._no_send is not None:
            raise ConnectionBroken(self._no_send, self)
        self._sender = current_task()

    def _refuse_closed(self) -> NoReturn:
        raise ResourceClosed("the TLS stream is closed")

    async def _feed(self) -> None:
        """Give OpenSSL more; if another task does that already, wait until it has."""
        if self._feeding:
            await park(self._unfed, self)
            return
        self._feeding = True
        try:
            data = await self.transport.receive(CHUNK)
        finally:
            self._feeding = False
            if self._unfed:
                unpark_all(self._unfed)
        self._engine.feed(data)

    async def _flush(self) -> None:
        """Send what is encrypted; if another task does that already, wait until it has."""
        while self._flushing:
            await park(self._unflushed, self)
        if self._no_send is not None:
            raise ConnectionBroken(self._no_send, self)
        engine = self._engine
        self._flushing = True
        try:
            while data := engine.take_output():
                try:
                    await self.transport.send_all(data)
                except BaseException as error:
                    sent = getattr(error, "bytes_sent", None)
                    if sent is None:
                        self._no_send = "TLS was cancelled or failed in the middle of a record"
                    else:
                        engine.put_back(data[sent:])
                    raise
        finally:
            self._flushing = False
            if self._unflushed:
                unpark_all(self._unflushed)
