# SPDX-License-Identifier: Apache-2.0
"""What a byte stream is, and making one of two.

The protocols say what code that works on any stream may use. Whatever has these methods is a stream;
nothing need be inherited. `AsyncSocket` of a connected stream socket is one, `TLSStream` and
`BufferedStream` are, on any other; for tests there are those of `giambio.testing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, runtime_checkable

from giambio._sockets.base import DONE
from giambio.exceptions import ResourceClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from types import TracebackType

    from giambio._sockets.base import Data, Done


class _Closeable(Protocol):
    """What all streams have in common.

    `close` ends the use of the stream at once, for both sides, without telling the other side more
    than the layers below do by themselves; tasks that wait on the stream get `ResourceClosed`.
    `aclose`, which ``async with`` calls, takes leave as the protocol of the stream asks for, and
    closes it also if it is cancelled. Closing twice is fine.
    """

    def close(self) -> Awaitable[None]:
        """Close it at once. The result may be awaited; nothing depends on that."""
        ...

    async def aclose(self) -> None:
        """Take leave of the other side, and close."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...


@runtime_checkable
class SendStream(_Closeable, Protocol):
    """A stream that bytes can be sent into."""

    async def send_all(self, data: Data) -> None:
        """Send all of it; if it raises, ``bytes_sent`` of the exception says how much went out.

        One task at a time may send; another one gets `ResourceBusy`. An `OSError` says that the
        connection broke.
        """
        ...


@runtime_checkable
class ReceiveStream(_Closeable, Protocol):
    """A stream that bytes can be received from."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait until something has come; return from 1 to *max_bytes* bytes, ``b""`` at the end.

        One task at a time may receive; another one gets `ResourceBusy`. Being cancelled loses
        nothing. An `OSError` says that the connection broke.
        """
        ...


@runtime_checkable
class Stream(SendStream, ReceiveStream, Protocol):
    """A stream for both directions, which two tasks may use at the same time."""


@runtime_checkable
class HalfCloseableStream(Stream, Protocol):
    """A stream of which one direction can be ended alone."""

    async def send_eof(self) -> None:
        """End the own direction: the other side finds the end, and may go on sending."""
        ...


class TakesLeave:
    """Whatever ends its block with `aclose`."""

    __slots__ = ()

    async def aclose(self) -> None:
        """Take leave of the other side, and close."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def check_stream(stream: object) -> None:
    """Refuse what is no stream, for neither direction, where it is given and not where it is used.

    Raises:
        TypeError: It is none.
    """
    if not (hasattr(stream, "receive") or hasattr(stream, "send_all")):
        raise TypeError(
            f"expected a stream, not {stream!r}; giambio.wrap_socket() makes one of a socket"
        )


class StreamWrapper(TakesLeave):
    """What has another stream, and is closed with it."""

    __slots__ = ("__weakref__", "_closed", "stream")

    stream: ReceiveStream
    # What is kept here is not given out any more, either.
    _closed: bool

    def __init__(self, stream: ReceiveStream) -> None:
        check_stream(stream)
        self.stream = stream
        self._closed = False

    def close(self) -> Awaitable[None]:
        """Close the stream below, at once; the result may be awaited."""
        self._closed = True
        return self.stream.close()

    async def aclose(self) -> None:
        """Take leave as the stream below does, and close it.

        Checkpoint: always. It is closed also if it raises `CancelledError`.
        """
        self._closed = True
        await self.stream.aclose()

    async def send_eof(self) -> None:
        """End the own direction of the stream below; see there.

        Raises:
            TypeError: That one has no such operation.

        Checkpoint: always, as the stream below does.
        """
        await self._below("send_eof")()

    def _check_open(self) -> None:
        if self._closed:
            raise ResourceClosed(f"{self!r} is closed")

    def _below(self, name: str) -> Any:
        method = getattr(self.stream, name, None)
        if method is None:
            raise TypeError(f"{self.stream!r} has no {name}()")
        return method


S = TypeVar("S", bound=SendStream)
R = TypeVar("R", bound=ReceiveStream)

if TYPE_CHECKING:
    # mypy does not find S and R where a stream is expected, as in ``TextStream(StapledStream(s, r))``,
    # unless it is told that this is one.
    class _Halves(TakesLeave, HalfCloseableStream): ...
else:
    _Halves = TakesLeave


class StapledStream(_Halves, Generic[S, R]):
    """A stream for both directions, made of one for each: the two pipes of a child process, say.

    Ending the own direction with `send_eof` calls the same of the sending half if it has one, and
    closes that half otherwise.

    Args:
        sending: What to send into.
        receiving: What to receive from.

    Raises:
        TypeError: One of them is not for its direction.

    Attributes:
        sending: The half for sending.
        receiving: The half for receiving.
    """

    __slots__ = ("receiving", "sending")

    sending: S
    receiving: R

    def __init__(self, sending: S, receiving: R) -> None:
        for half, method in ((sending, "send_all"), (receiving, "receive")):
            if not hasattr(half, method):
                raise TypeError(
                    f"expected what to send into and then what to receive from; "
                    f"{half!r} has no {method}()"
                )
        self.sending = sending
        self.receiving = receiving

    def __repr__(self) -> str:
        return f"<StapledStream {self.sending!r} and {self.receiving!r}>"

    async def send_all(self, data: Data) -> None:
        """Send all of it; see `SendStream.send_all`.

        Checkpoint: always, as the sending half does.
        """
        await self.sending.send_all(data)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait until something has come, and return it; see `ReceiveStream.receive`.

        Checkpoint: always, as the receiving half does.
        """
        return await self.receiving.receive(max_bytes)

    async def send_eof(self) -> None:
        """End the own direction.

        Checkpoint: always, as the sending half does.
        """
        send_eof: Any = getattr(self.sending, "send_eof", self.sending.aclose)
        await send_eof()

    def close(self) -> Done:
        """Close both halves, at once; the result may be awaited."""
        try:
            self.sending.close()
        finally:
            self.receiving.close()
        return DONE

    async def aclose(self) -> None:
        """Take leave in both directions and close both halves, also if one of them fails.

        Checkpoint: always. Both are closed also if it raises.
        """
        try:
            await self.sending.aclose()
        finally:
            await self.receiving.aclose()
