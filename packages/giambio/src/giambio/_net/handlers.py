# SPDX-License-Identifier: Apache-2.0
"""What a server is given to serve with, and what becomes of its errors."""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeAlias

from giambio._streams.protocols import TakesLeave
from giambio.exceptions import ResourceClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from giambio._sockets.async_socket import AsyncSocket
    from giambio._tls.stream import TLSStream

PlainHandler: TypeAlias = "Callable[[AsyncSocket], Coroutine[Any, Any, object]]"
TLSHandler: TypeAlias = "Callable[[TLSStream], Coroutine[Any, Any, object]]"
Handler: TypeAlias = "PlainHandler | TLSHandler"
"""What serves one connection: an async function of its stream."""

OnError: TypeAlias = "Callable[[Exception, AsyncSocket], object]"
"""What is told of an error while a connection was served, and of the socket of that connection."""


def check_handler(handler: Any) -> None:
    """Refuse what could not serve a client when one comes.

    Raises:
        TypeError: It is no function, or not one of a stream alone.
    """
    if not callable(handler):
        if isinstance(handler, CoroutineType):
            handler.close()  # or Python would complain of that, too
        raise TypeError(f"expected an async function to serve with, not {handler!r}")
    from inspect import signature  # slow to import

    try:
        takes = signature(handler)
    except (TypeError, ValueError):  # it does not tell, as some that are written in C
        return
    try:
        takes.bind(None)
    except TypeError as error:
        raise TypeError(
            f"the handler is called with the stream of a connection, and nothing else: {error} of "
            f"{handler!r}; the address of the client is what its getpeername() returns"
        ) from None


def check_on_error(on_error: Any) -> None:
    """Refuse what could not be told of an error.

    Raises:
        TypeError: It is no plain function.
    """
    from inspect import iscoroutinefunction  # slow to import

    if not callable(on_error) or iscoroutinefunction(on_error):
        raise TypeError(f"on_error must be a plain function, not {on_error!r}")


def log_error(error: Exception, sock: AsyncSocket) -> None:
    """Log an error of a handler: what a server does if it is not told otherwise."""
    try:
        peer = sock.getpeername() or "a client"
    except (OSError, ResourceClosed):
        peer = "a client that is gone"
    if _is_of(error, sock):
        logger().debug("the connection of %s broke: %r", peer, error)
    else:
        logger().error("an error while serving %s", peer, exc_info=error)


def _is_of(error: Exception, sock: AsyncSocket) -> bool:
    """Whether it is this connection that broke, which is its client's affair."""
    stream = getattr(error, "stream", None)
    while isinstance(stream, TakesLeave):  # one of ours over another one
        stream = getattr(stream, "transport", None) or getattr(stream, "stream", None)
    return stream is sock


def logger() -> Any:
    """Return what servers log to."""
    import logging

    return logging.getLogger("giambio.server")
