# SPDX-License-Identifier: Apache-2.0
"""UDP: endpoints that exchange datagrams with anybody, or with one other side."""

from __future__ import annotations

import socket as _stdlib
from typing import TYPE_CHECKING, Any, Self

from giambio import socket
from giambio._closing import ClosedByAsyncWith
from giambio._sockets.names import resolve_local
from giambio_kernel import park, unpark

if TYPE_CHECKING:
    from giambio._simulation import AddressInfo
    from giambio._sockets.async_socket import AsyncSocket
    from giambio._sockets.base import Data, Done
    from giambio_kernel import WaitQueue

# No datagram is larger.
_LARGEST = 65535


class _DatagramSocket(ClosedByAsyncWith):
    """What both kinds of endpoints have in common.

    Any number of tasks may send, one task for each question that came, say: a datagram is sent at
    once or not at all, so they only have to wait for each other where the system has no room. A socket
    would refuse the second of two that send, but only when the first one happens to wait.
    """

    __slots__ = ("__weakref__", "_is_sending", "_turns", "socket")

    socket: AsyncSocket
    # Whether a task sends, or was woken to be the next. It is a lock, written out in both kinds of
    # `send`: with a `Lock` an exchange of two datagrams takes 5 % longer, with a method for both 3 %.
    _is_sending: bool
    _turns: WaitQueue

    def __init__(self, sock: AsyncSocket) -> None:
        self.socket = sock
        self._is_sending = False
        self._turns = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.socket!r}>"

    @property
    def address(self) -> Any:
        """The own address: for IPv4 a pair of host and port."""
        return self.socket.getsockname()

    @property
    def port(self) -> int:
        """The own port."""
        port: int = self.address[1]
        return port

    def close(self) -> Done:
        """Close it, at once; the result may be awaited. Waiting tasks get `ResourceClosed`."""
        return self.socket.close()

    async def aclose(self) -> None:
        """Close it, also if this is cancelled.

        Checkpoint: always.
        """
        await self.socket.aclose()

    async def _wait_for_turn(self) -> None:
        self.socket._open()  # is it closed, or of another loop?
        await park(self._turns, self)


class UDPEndpoint(_DatagramSocket):
    """A UDP socket that exchanges datagrams with anybody. Made by `open_udp_endpoint`.

    ``async for data, address in endpoint`` receives for ever. One task may receive while any number
    of others send.

    Attributes:
        socket: The `AsyncSocket`, for its options: broadcast, multicast.
    """

    __slots__ = ()

    async def send(self, data: Data, address: tuple[Any, ...]) -> None:
        """Send a datagram, after those of the tasks that came before. Nobody tells whether it arrives.

        Args:
            data: What to send; may be empty.
            address: Host and port. A name is resolved first.

        Raises:
            OSError: It is too large (``EMSGSIZE``), or there is no way to get there.
            socket.gaierror: The host could not be resolved.
            ResourceBusy: A task sends on the `socket` itself.
            ResourceClosed: As for `AsyncSocket.sendto`.

        Checkpoint: always. If it raises `CancelledError`, nothing was sent.
        """
        if self._is_sending:
            await self._wait_for_turn()
        self._is_sending = True
        try:
            await self.socket.sendto(data, address)
        finally:
            if self._turns:
                unpark(self._turns)
            else:
                self._is_sending = False

    async def receive(self) -> tuple[bytes, Any]:
        """Wait for a datagram, and return it with the address that it came from.

        Raises:
            ResourceBusy, ResourceClosed, OSError: As for `AsyncSocket.recvfrom`.

        Checkpoint: always. If it raises `CancelledError`, nothing was received.
        """
        return await self.socket.recvfrom(_LARGEST)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[bytes, Any]:
        return await self.socket.recvfrom(_LARGEST)


class UDPConnection(_DatagramSocket):
    """A UDP socket that exchanges datagrams with one other side. Made by `connect_udp`.

    ``async for data in connection`` receives for ever. One task may receive while any number of
    others send.

    Attributes:
        socket: The `AsyncSocket`.
    """

    __slots__ = ()

    @property
    def peer(self) -> Any:
        """The address of the other side."""
        return self.socket.getpeername()

    async def send(self, data: Data) -> None:
        """Send a datagram, after those of the tasks that came before. Nobody tells whether it arrives.

        Args:
            data: What to send; may be empty.

        Raises:
            ConnectionRefusedError: An earlier one was refused: nobody listens there. This one was
                not sent; the next one may be.
            OSError: It is too large (``EMSGSIZE``), or there is no way to get there.
            ResourceBusy: A task sends on the `socket` itself.
            ResourceClosed: As for `AsyncSocket.send_some`.

        Checkpoint: always. If it raises `CancelledError`, nothing was sent.
        """
        if self._is_sending:
            await self._wait_for_turn()
        self._is_sending = True
        try:
            await self.socket.send_some(data)
        finally:
            if self._turns:
                unpark(self._turns)
            else:
                self._is_sending = False

    async def receive(self) -> bytes:
        """Wait for a datagram from the other side; others are not let through.

        Returns:
            The datagram. An empty one is one, too, and no end.

        Raises:
            ConnectionRefusedError: One that was sent was refused: nobody listens there.
            ResourceBusy, ResourceClosed, OSError: As for `AsyncSocket.receive`.

        Checkpoint: always. If it raises `CancelledError`, nothing was received.
        """
        return await self.socket.receive(_LARGEST)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await self.socket.receive(_LARGEST)


async def open_udp_endpoint(
    host: str | bytes | None = None,
    port: int | str = 0,
    *,
    broadcast: bool = False,
    reuse_port: bool = False,
) -> UDPEndpoint:
    """Open a UDP socket that receives from anybody and sends to anybody of its family.

    Args:
        host: What to receive on: a name or numeric address of this machine. ``None`` means all its
            addresses of IPv4; ``"::"`` all of IPv6.
        port: A number, or the name of a service; with zero the system chooses one.
        broadcast: Whether it may send to broadcast addresses.
        reuse_port: Whether several sockets may have the same port, and the system distributes the
            datagrams. All of them must say so.

    Raises:
        OSError: The port is in use, or reserved, or the address is none of this machine.
        socket.gaierror: The host has no address.
        ValueError: *reuse_port* is not possible on this system.

    Checkpoint: always. If it raises, no socket is left open.
    """
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("this system cannot share a port")
    found = await socket.getaddrinfo(
        "0.0.0.0" if host is None else host, port, type=_stdlib.SOCK_DGRAM
    )
    family, kind, proto, _, address = found[0]
    sock = socket.socket(family, kind, proto)
    try:
        if broadcast:
            sock.setsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_BROADCAST, 1)
        if reuse_port:
            sock.setsockopt(_stdlib.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == _stdlib.AF_INET6:
            # Those of IPv4 can have a socket of their own, with the same port.
            sock.setsockopt(_stdlib.IPPROTO_IPV6, _stdlib.IPV6_V6ONLY, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return UDPEndpoint(sock)


async def connect_udp(
    host: str | bytes,
    port: int | str,
    *,
    local_address: str | tuple[str, int] | None = None,
) -> UDPConnection:
    """Open a UDP socket that exchanges datagrams with one other side.

    Nothing is sent for that: whether anybody is there shows later, or never.

    Args:
        host: A name or numeric address. Of several addresses the first one is taken to which there
            is a way.
        port: A number, or the name of a service.
        local_address: Where to send from: an address, or a pair of one and a port.

    Raises:
        OSError: There is no way to get there from here.
        socket.gaierror: The host has no address, or *local_address* is none or of another family.

    Checkpoint: always. If it raises, no socket is left open.
    """
    local = await resolve_local(local_address, _stdlib.SOCK_DGRAM)
    family = _stdlib.AF_UNSPEC if local is None else local[0]
    *others, last = await socket.getaddrinfo(host, port, family, _stdlib.SOCK_DGRAM)
    for target in others:
        try:
            return await _connect(target, local)
        except OSError:
            pass  # no way to this one
    return await _connect(last, local)


async def _connect(target: AddressInfo, local: AddressInfo | None) -> UDPConnection:
    family, kind, proto, _, address = target
    sock = socket.socket(family, kind, proto)
    try:
        if local is not None:
            sock.bind(local[4])
        await sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return UDPConnection(sock)
