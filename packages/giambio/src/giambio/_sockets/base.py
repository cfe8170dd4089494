# SPDX-License-Identifier: Apache-2.0
"""What a socket of ours is made of: the standard one, a handle for the loop, and who uses it now."""

from __future__ import annotations

import socket as _stdlib
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from giambio._closing import ClosedAtOnce
from giambio._simulation import simulated_network
from giambio.exceptions import ResourceBusy, ResourceClosed
from giambio_kernel import (
    PARKED,
    IOHandle,
    Task,
    Trap,
    checkpoint,
    checkpoint_due,
    current_scheduler,
    current_task,
    get_running,
    open_handle,
    outcome,
    replenish,
    trap,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from giambio_kernel import AsyncScheduler

T = TypeVar("T")

Data: TypeAlias = bytes | bytearray | memoryview
"""What can be sent."""

# What a non-blocking operation raises when it would have to wait.
WOULD_BLOCK = (BlockingIOError, InterruptedError)

INET = frozenset((_stdlib.AF_INET, _stdlib.AF_INET6))


class SocketBase(ClosedAtOnce):
    """A standard socket and what does not wait; `AsyncSocket` has the operations that do."""

    __slots__ = (
        "__weakref__",
        "_handle",
        "_loop",
        "_receiver",
        "_recv",
        "_send",
        "_sender",
        "_short_means_empty",
        "family",
        "socket",
    )

    socket: _stdlib.socket
    # Asked once: the standard socket makes a member of an enumeration of a number each time.
    family: _stdlib.AddressFamily
    # The loop that it was used in last, and its handle there. Invariant: while there is no loop,
    # which is before its first use and once it is closed, there is no handle.
    _loop: AsyncScheduler | None
    _handle: IOHandle
    # The tasks that are in an operation of each direction. A handle knows who waits; but one that
    # was woken and has not run yet must not be overtaken either, in the middle of its `send_all`.
    _receiver: Task[Any] | None
    _sender: Task[Any] | None
    _recv: Callable[[int], bytes]
    _send: Callable[[Data], int]
    # Whether a short read means that nothing is left, until more comes: on a TCP stream it does,
    # on others it can mean a boundary between messages. See `giambio_kernel.IOHandle`.
    _short_means_empty: bool

    def __init__(self, sock: _stdlib.socket) -> None:
        if not isinstance(sock, _stdlib.socket):
            raise TypeError(f"expected a standard socket, not {sock!r}")
        if sock.fileno() == -1:
            raise ResourceClosed("the socket is closed")
        sock.setblocking(False)
        self.socket = sock
        self.family = sock.family
        # The methods of the standard socket, looked up once: 10 ns less for each use.
        self._recv = sock.recv
        self._send = sock.send
        # SCTP, for example, has streams with boundaries.
        self._short_means_empty = (
            sock.type == _stdlib.SOCK_STREAM
            and self.family in INET
            and sock.proto in (0, _stdlib.IPPROTO_TCP)
        )
        self._loop = self._receiver = self._sender = None

    def __repr__(self) -> str:
        sock = self.socket
        name = type(self).__name__
        if sock.fileno() == -1:
            return f"<{name} at {id(self):#x}, closed>"
        words = [f"fd={sock.fileno()}", _name(sock.family), _name(sock.type)]
        for method in ("getsockname", "getpeername"):
            try:
                words.append(f"{method[3:7]}={getattr(sock, method)()!r}")
            except OSError:
                pass  # not bound, or not connected
        return f"<{name} {' '.join(words)}>"

    # What does not wait

    @property
    def type(self) -> _stdlib.SocketKind:
        """The kind of socket."""
        return self.socket.type

    @property
    def proto(self) -> int:
        """The protocol."""
        return self.socket.proto

    @property
    def closed(self) -> bool:
        """Whether the socket was closed or detached."""
        return self.socket.fileno() == -1

    def fileno(self) -> int:
        """Return the descriptor; -1 if the socket is closed."""
        return self.socket.fileno()

    def getsockname(self) -> Any:
        """Return the own address."""
        self._check_open()
        return self.socket.getsockname()

    def getpeername(self) -> Any:
        """Return the address of the other side."""
        self._check_open()
        return self.socket.getpeername()

    def getsockopt(self, level: int, option: int, size: int = 0) -> Any:
        """Return an option; as a number, or with *size* as so many bytes."""
        self._check_open()
        return self.socket.getsockopt(level, option, *((size,) if size else ()))

    def setsockopt(
        self, level: int, option: int, value: int | Data | None, size: int | None = None
    ) -> None:
        """Set an option; with ``None`` and *size*, to a null pointer of that size.

        Raises:
            TypeError: *value* is ``None``, and no *size* is given.
            ResourceClosed: The socket is closed.
            OSError: As the standard method.
        """
        self._check_open()
        if value is None:
            if size is None:
                raise TypeError("setting an option to None needs a size")
            self.socket.setsockopt(level, option, None, size)
        else:
            self.socket.setsockopt(level, option, value)

    def get_inheritable(self) -> bool:
        """Whether child processes inherit the descriptor."""
        self._check_open()
        return self.socket.get_inheritable()

    def set_inheritable(self, inheritable: bool) -> None:
        """Set whether child processes inherit the descriptor."""
        self._check_open()
        self.socket.set_inheritable(inheritable)

    def is_readable(self) -> bool:
        """Whether reading would not wait now: something has come, or the end, or an error.

        A client that keeps connections for later asks this before it uses one again: on one that
        should be silent it means that the other side has closed it.

        Raises:
            ResourceClosed: The socket is closed.
        """
        import select

        self._check_open()
        network = simulated_network()
        if network is not None:
            return network.is_readable(self.socket)
        if not hasattr(select, "poll"):
            return bool(select.select([self.socket], [], [], 0)[0])
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def bind(self, address: Any) -> Done:
        """Bind the socket to an address, at once; the result may be awaited.

        Args:
            address: As for `socket.socket.bind`. A host name is resolved by the system, blocking;
                resolve it with `getaddrinfo` before if that can take long.

        Raises:
            ResourceClosed: The socket is closed.
            OSError: As the standard method.
        """
        self._check_open()
        try:
            self.socket.bind(address)
        except OSError as error:
            if error.errno is None:  # it is from Python: a path that is too long
                raise
            told = f"cannot bind to {address!r}: {error.strerror}"
            raise self._explained(type(error)(error.errno, told)) from None
        return DONE

    def listen(self, backlog: int = 128) -> Done:
        """Let the socket accept connections, at once; the result may be awaited.

        Args:
            backlog: How many connections the system keeps until they are accepted.

        Raises:
            ResourceClosed: The socket is closed.
            OSError: As the standard method.
        """
        self._check_open()
        self.socket.listen(backlog)
        return DONE

    def shutdown(self, how: int = _stdlib.SHUT_RDWR) -> Done:
        """Shut down one direction or both, at once; the result may be awaited.

        Tasks that wait for such a direction are woken by the system: a reader finds the end, a
        writer gets `BrokenPipeError`.

        Args:
            how: ``SHUT_RD``, ``SHUT_WR`` or ``SHUT_RDWR``.

        Raises:
            ResourceClosed: The socket is closed.
            OSError: As the standard method.
        """
        self._check_open()
        self.socket.shutdown(how)
        return DONE

    def close(self) -> Done:
        """Close the socket, at once; the result may be awaited. Closing twice is fine.

        Tasks that wait on it get `ResourceClosed`.

        Raises:
            RuntimeError: A task of a loop in another thread waits on it; then it was not closed.
        """
        self._leave_loop()
        self.socket.close()
        return DONE

    def detach(self) -> int:
        """Give up the descriptor without closing it, and return it.

        Tasks that wait on it get `ResourceClosed`.

        Raises:
            RuntimeError: A task of a loop in another thread waits on it; then it keeps the descriptor.
        """
        self._leave_loop()
        return self.socket.detach()

    # What they have in common

    def _check_open(self) -> None:
        if self.socket.fileno() == -1:
            raise ResourceClosed("the socket is closed")

    def _open(self) -> IOHandle:
        """Return the handle for the loop that runs here, or say why there can be none."""
        self._check_open()
        loop = current_scheduler()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.done():
                raise RuntimeError(f"{self!r} belongs to another loop than this task")
            network = simulated_network()
            if network is not None:
                network.check(self.socket)
            self._handle = open_handle(self.socket.fileno())
            self._loop = loop
        return self._handle

    def _leave_loop(self) -> None:
        if self._loop is not None:
            self._handle.close()
            self._loop = None

    def _start_reading(self, max_bytes: int = 1) -> IOHandle:
        """Return the handle for a reading operation, or say why there can be none."""
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes!r}")
        handle = self._open()
        if self._receiver is not None:
            raise ResourceBusy(f"task {self._receiver.name!r} already reads from {self!r}")
        return handle

    def _start_writing(self) -> IOHandle:
        """Return the handle for a writing operation, or say why there can be none."""
        handle = self._open()
        # The task itself may be in the middle of a larger operation, `sendfile` for example.
        if self._sender is not None and self._sender is not current_task():
            raise ResourceBusy(f"task {self._sender.name!r} already writes to {self!r}")
        return handle

    # Traps of their own, because of datagrams: with an `async def` around `wait_readable` the echo
    # of one costs a quarter more.

    @trap
    def _read(self, operation: Callable[..., T], *args: Any) -> Trap[T]:
        """Do a reading operation, waiting until there is something to read."""
        scheduler = get_running()
        if self._loop is scheduler and self._receiver is None:
            handle = self._handle
        else:
            handle = self._start_reading()
        self._receiver = scheduler.current
        try:
            scheduler.credit = credit = scheduler.credit - 1
            if credit < 0 or scheduler.current.stopping:
                yield from replenish().__await__()
            while True:
                if handle.may_read:
                    try:
                        # What is left after it is not known, so nothing is predicted.
                        return operation(*args)
                    except WOULD_BLOCK:
                        handle.may_read = False
                handle.park_reader()
                outcome((yield PARKED))
        except OSError as error:
            raise self._explained(error)
        finally:
            self._receiver = None

    @trap
    def _write(self, operation: Callable[..., T], *args: Any) -> Trap[T]:
        """Do a writing operation, waiting until there is room; it may be a part of a larger one."""
        scheduler = get_running()
        outer = self._sender
        if self._loop is scheduler and outer is None:
            handle = self._handle
        else:
            handle = self._start_writing()
        self._sender = scheduler.current
        try:
            scheduler.credit = credit = scheduler.credit - 1
            if credit < 0 or scheduler.current.stopping:
                yield from replenish().__await__()
            while True:
                try:
                    return operation(*args)
                except WOULD_BLOCK:
                    pass
                handle.park_writer()
                outcome((yield PARKED))
        except OSError as error:
            raise self._explained(error)
        finally:
            self._sender = outer

    def _explained(self, error: OSError) -> OSError | ResourceClosed:
        """Return what an error of the system means here."""
        if getattr(error, "stream", None) is self:
            return error  # it was explained further in
        if self.socket.fileno() == -1:
            closed = ResourceClosed("the socket was closed while in use")
            closed.__suppress_context__ = True
            return closed
        error.stream = self  # type: ignore[attr-defined]
        return error


def room_in(buffer: bytearray | memoryview, max_bytes: int) -> memoryview:
    """Return the bytes of *buffer* to receive into, for streams that have no system to check it.

    Raises:
        TypeError: It is no buffer, or may only be read. Whoever noticed that once something has
            come would have to drop it.
        ValueError: It is empty, or *max_bytes* negative.
    """
    view = memoryview(buffer).cast("B")
    if view.readonly:
        raise TypeError(f"expected a buffer that can be written to, not {buffer!r}")
    if max_bytes < 0 or not view:
        raise ValueError("there must be room for at least 1 byte")
    return view[: max_bytes or None]


def _name(constant: int) -> str:
    return str(getattr(constant, "name", constant))


class Done:
    """What an operation returns that is done already, but may be awaited like the others."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        if checkpoint_due():
            yield from checkpoint().__await__()


DONE = Done()
