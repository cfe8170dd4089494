# SPDX-License-Identifier: Apache-2.0
"""Serving: accepting connections, a task for each, and an end that lets them finish.

A server is two blocks, one inside the other: the tasks that accept, in a scope that can be cancelled
alone, and around them the tasks that serve. Leaving the inner one and waiting at the end of the outer
one is all that draining is.
"""

from __future__ import annotations

import errno
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from giambio._numbers import check_numbers, check_seconds
from giambio._pool import create_pool
from giambio._sockets.async_socket import AsyncSocket
from giambio._sync.event import Event
from giambio._timeouts import skip_after, with_timeout
from giambio.exceptions import ResourceClosed
from giambio_kernel import (
    CancelScope,
    WaitQueue,
    as_coroutine,
    current_scheduler,
    current_task,
    park,
    sleep,
    unpark_all,
)

from .handlers import check_handler, check_on_error, log_error, logger

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Iterable

    from giambio._pool import Pool, TaskStatus
    from giambio_kernel import Task

    from .handlers import Handler, OnError

# What accept says when there are no descriptors or no memory. The connection goes on waiting.
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
# How long to wait then, in seconds. Nothing tells when a descriptor becomes free; ten looks a second
# cost nothing, and no client notices a tenth of a second in a machine in that state.
_EXHAUSTED_PAUSE = 0.1
# How often to warn of it, in seconds.
_EXHAUSTED_WARNINGS = 60.0


class ServerStatistics(NamedTuple):
    """What is known of a `Server`."""

    accepting: bool
    """Whether it takes new connections."""
    clients: int
    """How many connections are being served."""
    max_clients: float
    """How many may be at a time."""
    accepted: int
    """How many connections were accepted so far."""
    failed: int
    """How many of them ended with an error."""


class Server:
    """What serves connections now. Made by `serve_tcp`, `serve_unix` and `serve_listeners`.

    Attributes:
        listeners: The sockets that connections come in by.
    """

    __slots__ = (
        "__weakref__",
        "_accepted",
        "_accepting",
        "_clients",
        "_ended",
        "_failed",
        "_handler",
        "_handshake_timeout",
        "_max_clients",
        "_on_error",
        "_room",
        "_running",
        "_tls",
        "listeners",
    )

    listeners: tuple[AsyncSocket, ...]
    # The pool of the tasks that serve. Set when serving begins.
    _clients: Pool
    # How many of them there are. Invariant: more than `_max_clients` never run.
    _running: int
    # The tasks that accept, while there is no room. All are woken when there is, and look again.
    _room: WaitQueue

    def __init__(
        self,
        handler: Handler,
        listeners: Iterable[AsyncSocket],
        tls: ssl.SSLContext | None,
        handshake_timeout: float,
        max_clients: int | None,
        on_error: OnError | None,
    ) -> None:
        self.listeners = tuple(listeners)
        self._handler: Callable[[Any], Coroutine[Any, Any, object]] = handler
        self._tls = tls
        self._handshake_timeout = handshake_timeout
        self._max_clients: float = inf if max_clients is None else max_clients
        self._on_error = on_error or log_error
        self._accepting = CancelScope()
        self._ended: Event[None] = Event()
        self._running = self._accepted = self._failed = 0
        self._room = {}

    def __repr__(self) -> str:
        where = ", ".join(str(address) for address in self.addresses)
        state = f"on {where}" if where else "closed" if self._ended.is_set() else "draining"
        return f"<Server {state}, {self._running} clients>"

    @property
    def addresses(self) -> tuple[Any, ...]:
        """The addresses that it listens on; none when it accepts no more."""
        return tuple(sock.getsockname() for sock in self.listeners if not sock.closed)

    @property
    def port(self) -> int:
        """The port of the first address that it listens on; with ``port=0`` the system has chosen it.

        Raises:
            ResourceClosed: It accepts no more.
            ValueError: It listens on UNIX sockets, which have none.
        """
        if not self.addresses:
            raise ResourceClosed(f"{self!r} does not listen any more")
        match self.addresses[0]:
            case (_, int(port), *_):
                return port
        raise ValueError(f"{self!r} listens on a UNIX socket, which has no port")

    @property
    def clients(self) -> int:
        """How many connections are being served."""
        return self._running

    def statistics(self) -> ServerStatistics:
        """Return how many connections are served and were, and how many failed."""
        accepting = not self._accepting.cancel_called and not self._ended.is_set()
        return ServerStatistics(
            accepting, self._running, self._max_clients, self._accepted, self._failed
        )

    def holders(self) -> tuple[Task[Any], ...]:
        """The tasks that serve, for whoever waits for room or for the end."""
        return self._clients.tasks

    # The end

    def stop_accepting(self) -> None:
        """Close the listening sockets, and go on serving. Doing so twice is fine.

        Connections that the system had made and that were not accepted yet are reset.
        """
        self._accepting.cancel("the server stops accepting")
        for listener in self.listeners:
            listener.close()

    def close(self) -> None:
        """Stop accepting and cancel all handlers, at once. Closing twice is fine."""
        self.stop_accepting()
        if not self._ended.is_set():
            self._clients.cancel("the server was closed")

    async def wait_closed(self) -> None:
        """Wait until it accepts no more and the last handler has ended.

        Checkpoint: always.
        """
        await self._ended.wait()

    async def drain(self, *, grace: float = inf) -> None:
        """Stop accepting, let the handlers finish, and cancel those that take too long.

        Args:
            grace: How long they may take, in seconds of the loop's clock. Zero cancels them at once.

        Raises:
            ValueError: *grace* is negative or not a number.
            RuntimeError: Called by a handler of this server, which would wait for itself.

        Checkpoint: always. If it is cancelled, the server has stopped accepting, and its handlers
        go on.
        """
        if getattr(self, "_clients", None) is current_task().pool:
            raise RuntimeError(
                "a handler cannot drain its own server, for it would wait for itself; "
                "use stop_accepting(), or let another task do it"
            )
        timeout = skip_after(grace)
        self.stop_accepting()
        with timeout:
            await self._ended.wait()
        self.close()
        await self._ended.wait()

    async def shutdown_on(self, *signals: int, grace: float = inf) -> None:
        """Wait for one of these signals, then drain the server. Returns when the server has ended.

        A second signal cuts the grace time short. If the server ends by itself, nothing is waited
        for. Each of several servers can wait for the same signals.

        Args:
            *signals: Their numbers, at least one: ``signal.SIGTERM, signal.SIGINT``.
            grace: How long handlers may take to finish, in seconds of the loop's clock.

        Raises:
            ValueError: *grace* is negative or not a number, or a signal cannot be received.
            TypeError: No signal is given.
            RuntimeError: Not in the main thread, the only one in which Python handles signals.

        Checkpoint: always.
        """
        from giambio._signals import open_signal_receiver

        timeout = skip_after(grace)
        with open_signal_receiver(*signals) as received:

            async def obey() -> None:
                await received.receive()
                self.stop_accepting()
                with timeout:
                    await received.receive()
                self.close()

            async with create_pool() as pool:
                pool.service(obey).name = "shutdown_on"
                await self._ended.wait()

    # Serving

    async def _serve(self, task_status: TaskStatus[Server] | None) -> None:
        try:
            self._check()
            self._get_ready()
            async with create_pool() as self._clients:
                with self._accepting:
                    async with create_pool() as acceptors:
                        for listener in self.listeners:
                            task = acceptors.spawn(self._accept_from, listener)
                            if not listener.closed:  # then it will say so itself
                                task.name = f"accept on {listener.getsockname()}"
                        if task_status is not None:
                            task_status.started(self)
                self.stop_accepting()
        finally:
            self._ended.set()
            self.stop_accepting()

    def _check(self) -> None:
        """Refuse what would show only when a client comes, or block the loop."""
        given: tuple[Any, ...] = self.listeners
        # What is something else is not closed with them.
        self.listeners = tuple(sock for sock in given if isinstance(sock, AsyncSocket))
        check_handler(self._handler)
        for listener in given:
            if not isinstance(listener, AsyncSocket):
                raise TypeError(
                    f"expected sockets of giambio, not {listener!r}; use giambio.wrap_socket"
                )
        if self._tls is not None:
            self._check_tls(self._tls)
        check_on_error(self._on_error)
        check_numbers(max_clients=self._max_clients)
        if not self._max_clients >= 1:
            raise ValueError(f"max_clients must be at least 1, not {self._max_clients!r}")
        if not self.listeners:
            raise ValueError("there must be at least one listening socket")

    def _check_tls(self, context: ssl.SSLContext) -> None:
        if not hasattr(context, "wrap_bio"):
            raise TypeError(f"tls must be an ssl.SSLContext, not {context!r}")
        if context.protocol.name == "PROTOCOL_TLS_CLIENT":
            raise ValueError(
                "tls is a context for clients; for a server there is "
                "ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)"
            )
        check_seconds("tls_handshake_timeout", self._handshake_timeout)

    def _get_ready(self) -> None:
        """Import what is needed later, perhaps when there is no descriptor left to read it from."""
        logger()
        if self._tls is not None:
            import giambio._tls.stream  # noqa: F401

    async def _accept_from(self, listener: AsyncSocket) -> None:
        warn_at = -inf
        while True:
            await self._wait_for_room()
            try:
                sock, address = await listener.accept()
            except ResourceClosed:
                return  # somebody has closed it, to go on with the others
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                now = current_scheduler().clock()
                if now >= warn_at:
                    logger().warning("cannot accept connections for now: %s", error)
                    warn_at = now + _EXHAUSTED_WARNINGS
                await sleep(_EXHAUSTED_PAUSE)
                continue
            try:
                await self._wait_for_room()  # another listener may have been quicker
            except BaseException:
                sock.close()
                raise
            self._running += 1
            self._accepted += 1
            task = self._clients.spawn(self._serve_client, sock)
            task.name = f"client {address}" if address else "client"

    async def _wait_for_room(self) -> None:
        while self._running >= self._max_clients:
            await park(self._room, self)

    async def _serve_client(self, sock: AsyncSocket) -> None:
        try:
            async with sock:
                if self._tls is None:
                    try:
                        await as_coroutine(self._handler, (sock,), {})
                    except Exception as error:
                        self._tell(error, sock)
                else:
                    await self._serve_over_tls(sock, self._tls)
        finally:
            self._running -= 1
            unpark_all(self._room)

    async def _serve_over_tls(self, sock: AsyncSocket, context: ssl.SSLContext) -> None:
        from giambio._tls.stream import TLSStream

        try:
            stream = TLSStream(sock, context, server_side=True)
            with with_timeout(self._handshake_timeout):
                await stream.do_handshake()
        except Exception as error:
            error.stream = sock  # type: ignore[attr-defined]
            self._tell(error, sock)
            return
        async with stream:
            try:
                await as_coroutine(self._handler, (stream,), {})
            except Exception as error:
                self._tell(error, sock)  # while it is open

    def _tell(self, error: Exception, sock: AsyncSocket) -> None:
        self._failed += 1
        self._on_error(error, sock)


async def serve_listeners(
    handler: Handler,
    listeners: Iterable[AsyncSocket],
    *,
    tls: ssl.SSLContext | None = None,
    tls_handshake_timeout: float = 30.0,
    max_clients: int | None = None,
    on_error: OnError | None = None,
    task_status: TaskStatus[Server] | None = None,
) -> None:
    """Accept connections from listening sockets and serve each in a task of its own, until cancelled.

    `serve_tcp` and `serve_unix` make the sockets, too; this is for those that come from elsewhere,
    inherited from another process for example.

    Args:
        handler: An async function that is called with the stream of each connection, which is closed
            when it ends.
        listeners: The sockets, which must listen already. They are closed at the end.
        tls: Certificates, to serve over TLS; the handler gets a `TLSStream` then, after the
            handshake, and otherwise an `AsyncSocket`.
        tls_handshake_timeout: How long a handshake may take, in seconds of the loop's clock.
        max_clients: How many connections are served at a time. Beyond that none is accepted: clients
            wait in the system's queue. ``None`` sets no limit.
        on_error: Called with an `Exception` that left the handler, or the handshake, and the socket
            of the connection, still open. What it raises ends the server, cancels the other handlers
            and is raised here. By default errors are logged and the server goes on: as errors
            to the logger ``giambio.server``, but those of the connection itself, which breaks when
            its client chooses to, at level DEBUG.
        task_status: Given by `Pool.start`, which then returns the `Server`.

    Raises:
        TypeError: *handler* is no function, *on_error* no plain one, a listener no `AsyncSocket`, or
            *tls* no context.
        ValueError: *max_clients* is less than 1, *tls_handshake_timeout* negative or not a number,
            *tls* for the client's side, or there are no listeners.
        OSError: A listening socket failed. Running out of descriptors is no failure: the server
            tries again, ten times a second, and logs a warning once a minute.

    Checkpoint: always. Returns without having been cancelled only after `Server.drain` and the like.
    """
    if isinstance(listeners, AsyncSocket):
        listeners.close()
        raise TypeError("expected a list of listening sockets, not a socket; put it into a list")
    server = Server(handler, listeners, tls, tls_handshake_timeout, max_clients, on_error)
    await server._serve(task_status)
