# SPDX-License-Identifier: Apache-2.0
"""How a socket gets a connection: by asking for one, or by accepting one."""

from __future__ import annotations

import errno
import os
import socket as _stdlib
from typing import TYPE_CHECKING, Any

from giambio.exceptions import CancelledError
from giambio_kernel import checkpoint, current_task, sleep, wait_writable

from .base import INET, SocketBase
from .names import resolve_address

if TYPE_CHECKING:
    from giambio_kernel import IOHandle

# What connecting says when it goes on by itself. Windows has a number of its own for it; elsewhere
# EWOULDBLOCK is EAGAIN, which says that there is no room.
_CONNECTING = {errno.EINPROGRESS, errno.EINTR, errno.EWOULDBLOCK} - {errno.EAGAIN}

# Errors of a connection that was in the queue, or of the network. Source: accept(2) of Linux, which
# asks to try again; EOPNOTSUPP, which it lists as well, is what a socket that cannot listen says.
_ACCEPT_AGAIN = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED", "ECONNRESET", "EPROTO", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET",
        "EHOSTUNREACH", "ENETUNREACH",
    )
    if hasattr(errno, name)
)  # fmt: skip

# What accept says of a socket that does not listen, and of one that never can.
_CANNOT_ACCEPT = frozenset((errno.EINVAL, errno.EOPNOTSUPP))


class ConnectingSocket(SocketBase):
    """What `AsyncSocket` does before it has a connection."""

    __slots__ = ()

    async def connect(self, address: Any) -> None:
        """Connect to an address.

        Args:
            address: As for `socket.socket.connect`. A host name is resolved first, to one address;
                `giambio.connect_tcp` tries all that the name stands for.

        Raises:
            ResourceBusy: Another task connects this socket, or writes to it.
            ResourceClosed: The socket is closed, or was meanwhile.
            OSError: The connection could not be made, or there is one already.

        Checkpoint: always. If it is cancelled, the socket is closed, because a connection that is
        half made is of no use.
        """
        handle = self._start_writing()
        if self.socket.type == _stdlib.SOCK_STREAM:
            self._refuse_if_connected()
        self._sender = current_task()
        try:
            address = await resolve_address(self.socket, address)
            await checkpoint()
            await self._connect_resolved(handle, address)
        except CancelledError:
            self.close()
            raise
        finally:
            self._sender = None

    def _refuse_if_connected(self) -> None:
        # Linux would let it pass once after a connection was waited for, and remain where it is.
        try:
            self.socket.getpeername()
        except OSError:
            return
        raise self._explained(OSError(errno.EISCONN, f"{self!r} is connected already"))

    async def _connect_resolved(self, handle: IOHandle, address: Any) -> None:
        pause = 0.001
        while True:
            code = self._connect_ex(address)
            if code != errno.EAGAIN or self.socket.family in INET:
                break
            # The listener of a UNIX socket has no room. There is nothing to wait for.
            await sleep(pause)
            pause = min(0.05, pause * 2)
        while code in _CONNECTING:
            await wait_writable(handle)
            # The wait may end early, with an edge of an attempt before this one.
            code = self.socket.getsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_ERROR)
            if not code and not self._is_connected():
                code = errno.EINPROGRESS
        if code:
            raise self._explained(
                OSError(code, f"cannot connect to {address!r}: {os.strerror(code)}")
            )

    def _connect_ex(self, address: Any) -> int:
        return self.socket.connect_ex(address)

    def _is_connected(self) -> bool:
        try:
            self.socket.getpeername()
        except OSError as error:
            return error.errno != errno.ENOTCONN
        return True

    async def _accept_standard(self) -> tuple[_stdlib.socket, Any]:
        while True:
            try:
                return await SocketBase._read(self, self._accept_now)
            except OSError as error:
                if error.errno in _CANNOT_ACCEPT:
                    told = f"{self!r} does not listen: listen() comes before accept()"
                    raise self._explained(OSError(error.errno, told)) from None
                if error.errno not in _ACCEPT_AGAIN:
                    raise

    def _accept_now(self) -> tuple[_stdlib.socket, Any]:
        return self.socket.accept()
