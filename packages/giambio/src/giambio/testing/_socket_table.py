# SPDX-License-Identifier: Apache-2.0
"""The sockets of a network in memory that are open, by their descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._memory_socket import MemorySocket

# Far above what a system gives out, so that nobody takes one for a real descriptor.
_FIRST_DESCRIPTOR = 1 << 30


class SocketTable:
    """Open sockets, and which of them may have become ready."""

    __slots__ = ("_changed", "_last", "_sockets")

    def __init__(self) -> None:
        self._sockets: dict[int, MemorySocket] = {}
        self._last = _FIRST_DESCRIPTOR
        # Those that may have become ready since somebody looked. A dict keeps their order.
        self._changed: dict[int, None] = {}

    def __contains__(self, fd: int) -> bool:
        return fd in self._sockets

    def sockets(self) -> tuple[MemorySocket, ...]:
        """Return all of them, in the order in which they were opened."""
        return tuple(self._sockets.values())

    def add(self, sock: MemorySocket) -> int:
        """Give a socket a descriptor, which no other one gets."""
        self._last += 1
        self._sockets[self._last] = sock
        return self._last

    def remove(self, fd: int) -> None:
        """Forget a socket that is closed."""
        del self._sockets[fd]

    def note_change(self, fd: int) -> None:
        """Note that a socket may have become ready."""
        self._changed[fd] = None

    def take_changed(self) -> list[int]:
        """Return the descriptors that may have become ready since the last call."""
        changed = list(self._changed)
        self._changed.clear()
        return changed

    def readiness(self, fd: int) -> int:
        """Return what would not wait, as a mask; zero for one that is closed."""
        sock = self._sockets.get(fd)
        return 0 if sock is None else sock.readiness()

    def close_all(self, *, complain: bool) -> None:
        """Close what is open at the end of a run.

        Args:
            complain: Whether to warn of it, as the sockets would do themselves when they are dropped.
        """
        for sock in self.sockets():
            if complain:
                sock.complain()
            sock.close()
