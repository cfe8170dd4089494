# SPDX-License-Identifier: Apache-2.0
"""The stream sockets of a network in memory: listening, connecting, and what goes through.

Each side of a connection knows the other side, and what it does there takes effect when the packet that
says so has arrived.
"""

from __future__ import annotations

import errno
import socket as _stdlib
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from ._memory_socket import ERROR, HANGUP, READ, READ_HANGUP, WRITE, MemorySocket, failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._hosts import Host
    from ._simulated_network import SimulatedNetwork
    from ._wire import Flow

# How much of a stream may be under way, or wait to be read, in bytes.
_WINDOW = 65536

# When a connection whose request is lost is asked for again, and when that is given up, in seconds.
# Source: tcp_syn_retries of Linux, tcp(7).
_ASKED_AGAIN_AFTER = 1.0
_GIVEN_UP_AFTER = 127.0


class StreamSocket(MemorySocket):
    """A stream socket: new, listening, or one side of a connection."""

    def __init__(
        self, network: SimulatedNetwork, host: Host, family: int, kind: int, proto: int
    ) -> None:
        super().__init__(network, host, family, kind, proto)
        # The connections that were made and not accepted; None unless it listens.
        self._queue: deque[StreamSocket] | None = None
        self._backlog = 0
        # Invariant: while it is not connected it has no other side. One that was keeps it.
        self._peer: StreamSocket | None = None
        self._is_connecting = False
        self._flow: Flow | None = None
        # What has arrived and was not read, and how much of what was sent has not arrived.
        self._incoming = bytearray()
        self._under_way = 0
        self._end_arrived = self._end_sent = False

    def readiness(self) -> int:
        if self._queue is not None:
            return READ if self._queue else 0
        if self._error:
            return READ | WRITE | ERROR | HANGUP
        if self._peer is None:
            return 0 if self._is_connecting else WRITE | HANGUP
        mask = READ if self._incoming else 0
        if self._end_arrived:
            mask |= READ | READ_HANGUP | (HANGUP if self._end_sent else 0)
        return mask | (WRITE if self._room() or self._end_sent else 0)

    # Listening

    def listen(self, backlog: int = 128) -> None:
        if self._peer is not None or self._is_connecting:
            raise failure(errno.EINVAL)
        self._network.hosts.bind_for(self, None)
        self._queue = self._queue or deque()
        self._backlog = max(1, backlog)

    def accept(self) -> tuple[_stdlib.socket, Any]:
        if self._queue is None:
            raise failure(errno.EINVAL)
        if not self._queue:
            raise BlockingIOError
        connection = self._queue.popleft()
        connection.open()
        return connection, connection.remote

    def _welcome(self, client: StreamSocket, address: Any) -> bool:
        """A request for a connection has arrived. Returns False if there is no room for it."""
        assert self._queue is not None
        if len(self._queue) >= self._backlog:
            return False
        network = self._network
        # It gets its descriptor when it is accepted.
        server = StreamSocket(network, self.host, self._family, self._kind, self._proto)
        server.bound = address
        server.remote = network.hosts.source_address(client, address)
        server._join(client, network.new_flow(self.host.name, client.host.name))
        self._queue.append(server)
        self.changed()
        server._send(partial(client._connected_to, server, address))
        return True

    # Connecting

    def connect_ex(self, address: Any) -> int:
        if self._queue is not None:
            return errno.EINVAL
        if self._peer is not None:
            return errno.EISCONN
        if self._is_connecting:
            return errno.EALREADY
        network = self._network
        try:
            network.hosts.bind_for(self, address)
            target = network.hosts.host_at(self, address)
        except OSError as error:
            return error.errno or errno.EINVAL
        self._is_connecting = True
        self._flow = network.new_flow(self.host.name, target.name)
        network.call_later(_GIVEN_UP_AFTER, self._give_up)
        self._ask(target, address)
        return errno.EINPROGRESS

    def _ask(self, target: Host, address: Any) -> None:
        """Ask for a connection, again and again until there is room for it."""
        network = self._network

        def arrive() -> None:
            listener = network.hosts.receiver(target, self, address)
            if not self._is_connecting:
                pass
            elif not isinstance(listener, StreamSocket) or listener._queue is None:
                network.call_later(0.0, partial(self.break_off, errno.ECONNREFUSED))
            elif not listener._welcome(self, address):
                network.call_later(_ASKED_AGAIN_AFTER, partial(self._ask, target, address))

        if self._is_connecting:
            self._send(arrive, target)

    def _give_up(self) -> None:
        if self._is_connecting:
            self.break_off(errno.ETIMEDOUT)

    def _join(self, peer: StreamSocket, flow: Flow) -> None:
        self._peer = peer
        self._flow = flow
        self._is_connecting = False

    def _connected_to(self, server: StreamSocket, address: Any) -> None:
        """The answer has arrived: the connection is made."""
        if not self._is_connecting:  # it is closed, or was asked to come too late
            server.break_off(errno.ECONNRESET)
            return
        assert self._flow is not None
        self._join(server, self._flow)
        self.remote = address
        self.changed()

    def connect_pair(self, other: MemorySocket) -> None:
        assert isinstance(other, StreamSocket)
        for this, that in ((self, other), (other, self)):
            this._join(that, self._network.new_flow(this.host.name, that.host.name))
            this.remote = ""

    # What goes through

    def _room(self) -> int:
        peer = self._peer
        return 0 if peer is None else _WINDOW - self._under_way - len(peer._incoming)

    def _check_connected(self) -> StreamSocket:
        self._raise_error()
        if self._peer is None:
            if self._is_connecting:
                raise BlockingIOError
            raise failure(errno.ENOTCONN)
        return self._peer

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if self._incoming:
            data = bytes(self._incoming[:bufsize])
            if not flags & _stdlib.MSG_PEEK:
                del self._incoming[:bufsize]
                if self._peer is not None:
                    self._peer.changed()  # there is room again
            return data
        self._check_connected()
        if self._end_arrived:
            return b""
        raise BlockingIOError

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        return self.recv(bufsize, flags), None

    def send(self, data: Any, flags: int = 0) -> int:
        peer = self._check_connected()
        if self._end_sent:
            raise failure(errno.EPIPE)
        view = memoryview(data).cast("B")
        size = min(len(view), max(0, self._room()))
        if not size:
            if not len(view):
                return 0
            raise BlockingIOError
        content = bytes(view[:size])
        assert self._flow is not None
        first = self._flow.split(size)
        if first < size:
            source, target = self.host.name, peer.host.name
            self._network.note(f"what {source} sends to {target} arrives in two parts")
        for part in (content[:first], content[first:]):
            if part:
                self._under_way += len(part)
                self._send(partial(peer._take, self, part))
            if first < size:
                self._flow.pause()
        return size

    def sendto(self, data: Any, *args: Any) -> int:
        return self.send(data)

    def _take(self, sender: StreamSocket, content: bytes) -> None:
        """A part of the stream has arrived."""
        sender._under_way -= len(content)
        if self.is_closed:
            self._send(partial(sender.break_off, errno.ECONNRESET))
        elif not self._error:
            self._incoming += content
            self.changed()

    def shutdown(self, how: int) -> None:
        peer = self._check_connected()
        if how != _stdlib.SHUT_RD and not self._end_sent:
            self._end_sent = True
            self._send(peer._take_end)
        if how != _stdlib.SHUT_WR:
            self._end_arrived = True
        self.changed()

    def _take_end(self) -> None:
        self._end_arrived = True
        self.changed()

    # The end

    def _on_close(self) -> None:
        self._is_connecting = False
        for connection in self._queue or ():
            connection._hang_up(reset=True)
        self._hang_up(reset=bool(self._incoming))

    def _hang_up(self, *, reset: bool) -> None:
        """Tell the other side that this one is gone. Unread data makes that a reset, as in TCP."""
        peer = self._peer
        if peer is None or self._error:
            return
        if reset:
            self._send(partial(peer.break_off, errno.ECONNRESET))
        elif not self._end_sent:
            self._send(peer._take_end)
        self._end_sent = True

    def is_between(self, one: str, other: str) -> bool:
        """Whether it is a side of a connection between two hosts."""
        peer = self._peer
        return peer is not None and {self.host.name, peer.host.name} == {one, other}

    def break_both(self) -> None:
        """Break the connection, on both sides."""
        for side in (self, self._peer):
            if side is not None:
                side.break_off(errno.ECONNRESET)

    def break_off(self, code: int) -> None:
        """The connection has broken, or was not made."""
        if self.is_closed:
            return
        self._error = code
        self._is_connecting = False
        self._incoming.clear()
        self._end_arrived = self._end_sent = True
        self.changed()

    def _send(self, arrive: Callable[[], None], target: Host | None = None) -> None:
        """Let something happen on the other side, later."""
        if target is None:
            assert self._peer is not None
            target = self._peer.host
        assert self._flow is not None
        self._network.send_packet(self, self._flow, target, arrive)
