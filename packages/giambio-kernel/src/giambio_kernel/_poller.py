# SPDX-License-Identifier: Apache-2.0
"""Pollers: how the loop asks the operating system which descriptors are ready.

One small protocol over epoll, kqueue and `selectors`. Masks have the values of epoll, which makes
that one, the one in production, a set of the operating system's own methods with nothing in between.

*Edge-triggered* means that readiness is reported when it comes, once, and the descriptor stays
registered; *level-triggered* that it is reported if it is there, also if it was there before. Whoever
uses an edge must remember it. `_io` does that. Whoever asks for a level removes the descriptor or
changes what it is watched for after a report; until then it may be reported again, or not.
"""

from __future__ import annotations

import errno
import os
import select
import sys
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable, Iterable

READ: Final = 0x1
URGENT: Final = 0x2
WRITE: Final = 0x4
ERROR: Final = 0x8
HANGUP: Final = 0x10
READ_HANGUP: Final = 0x2000

# From `selectors`, which is imported only if it is used.
_EVENT_READ: Final = 1
_EVENT_WRITE: Final = 2


class Poller(Protocol):
    """What the loop needs of the operating system."""

    edge_triggered: bool

    @property
    def poll(self) -> Callable[[float | None], Iterable[tuple[int, int]]]:
        """Wait at most so many seconds (``None``: for ever) and return ``(descriptor, mask)`` pairs.

        A property that returns the function, or a method, or the function itself as an attribute.
        """
        ...

    def add(self, fd: int, mask: int, edge: bool) -> None:
        """Start to watch *fd*. Raises `FileExistsError` if it is watched already."""
        ...

    def change(self, fd: int, mask: int, edge: bool) -> None:
        """Watch *fd* for *mask* from now on, and report what is ready now as a new edge.

        Raises `FileNotFoundError` if it is not watched.
        """
        ...

    def remove(self, fd: int) -> None:
        """Stop to watch *fd*. Raises `OSError` if it is not watched or not open."""
        ...

    def fileno(self) -> int:
        """Return a descriptor that is readable while `poll` has something to report.

        Raises `RuntimeError` if this poller has none.
        """
        ...

    def close(self) -> None: ...


if hasattr(select, "epoll"):
    # For the two directions an edge is asked for with the hang-up of the peer's sending side and
    # with urgent data, which an end of reading must not be predicted from (see `_io`).
    _EDGE: Final = select.EPOLLET | select.EPOLLRDHUP | select.EPOLLPRI
    # Who waits for a level waits once. If the descriptor was closed behind our back and a duplicate
    # keeps the registration alive, nobody can remove that, and it must not be reported for ever.
    _ONCE: Final = select.EPOLLONESHOT

    class EpollPoller:
        """Linux's epoll."""

        __slots__ = ("_epoll", "fileno", "poll")

        edge_triggered = True

        def __init__(self) -> None:
            self._epoll = epoll = select.epoll()
            self.poll: Callable[[float | None], Iterable[tuple[int, int]]] = epoll.poll
            self.fileno = epoll.fileno

        def add(self, fd: int, mask: int, edge: bool) -> None:
            self._epoll.register(fd, mask | (_EDGE if edge else _ONCE))

        def change(self, fd: int, mask: int, edge: bool) -> None:
            self._epoll.modify(fd, mask | (_EDGE if edge else _ONCE))

        def remove(self, fd: int) -> None:
            self._epoll.unregister(fd)

        def close(self) -> None:
            self._epoll.close()


if sys.platform != "linux" and hasattr(select, "kqueue"):

    class KqueuePoller:
        """kqueue, of macOS and the BSDs. One filter a direction, so it keeps what it asked for."""

        __slots__ = ("_kqueue", "_masks", "fileno")

        edge_triggered = True

        def __init__(self) -> None:
            self._kqueue = select.kqueue()
            self._masks: dict[int, int] = {}
            self.fileno = self._kqueue.fileno

        def poll(self, timeout: float | None) -> Iterable[tuple[int, int]]:
            ready: list[tuple[int, int]] = []
            for event in self._kqueue.control(None, 256, timeout):
                mask = READ if event.filter == select.KQ_FILTER_READ else WRITE
                if event.flags & select.KQ_EV_EOF:
                    mask |= READ_HANGUP if mask == READ else HANGUP
                ready.append((event.ident, mask))
            return ready

        def add(self, fd: int, mask: int, edge: bool) -> None:
            if fd in self._masks:
                raise FileExistsError(f"descriptor {fd} is watched already")
            self._masks[fd] = 0
            self.change(fd, mask, edge)

        def change(self, fd: int, mask: int, edge: bool) -> None:
            if fd not in self._masks:
                raise FileNotFoundError(f"descriptor {fd} is not watched")
            flags = select.KQ_EV_ADD | (select.KQ_EV_CLEAR if edge else 0)
            changes = []
            for bit, kind in ((READ, select.KQ_FILTER_READ), (WRITE, select.KQ_FILTER_WRITE)):
                if mask & bit:
                    changes.append(select.kevent(fd, kind, flags))
                elif self._masks[fd] & bit:
                    changes.append(select.kevent(fd, kind, select.KQ_EV_DELETE))
            self._kqueue.control(changes, 0)
            self._masks[fd] = mask

        def remove(self, fd: int) -> None:
            if fd not in self._masks:
                raise FileNotFoundError(f"descriptor {fd} is not watched")
            mask = self._masks.pop(fd)
            for bit, kind in ((READ, select.KQ_FILTER_READ), (WRITE, select.KQ_FILTER_WRITE)):
                if mask & bit:
                    self._kqueue.control([select.kevent(fd, kind, select.KQ_EV_DELETE)], 0)

        def close(self) -> None:
            self._kqueue.close()


class SelectorPoller:
    """Any selector of the standard library, for platforms that have nothing better.

    Args:
        selector: The selector to use; the platform's default one if omitted. It is closed with the
            poller.
    """

    __slots__ = ("_selector",)

    edge_triggered = False

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        if selector is None:
            from selectors import DefaultSelector

            selector = DefaultSelector()
        self._selector = selector

    def poll(self, timeout: float | None) -> Iterable[tuple[int, int]]:
        ready: list[tuple[int, int]] = []
        try:
            selected = self._selector.select(timeout)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            # select() fails as a whole if one descriptor was closed behind our back. Whoever waits
            # for that one is woken, and finds out.
            keys = [key for key in self._selector.get_map().values() if not _is_open(key.fd)]
            return [(key.fd, READ | WRITE | ERROR) for key in keys]
        for key, events in selected:
            mask = READ if events & _EVENT_READ else 0
            ready.append((key.fd, mask | WRITE if events & _EVENT_WRITE else mask))
        return ready

    def add(self, fd: int, mask: int, edge: bool) -> None:
        os.fstat(fd)  # select() and poll() would take any number
        try:
            self._selector.register(fd, self._events(mask))
        except KeyError:
            raise FileExistsError(f"descriptor {fd} is watched already") from None

    def change(self, fd: int, mask: int, edge: bool) -> None:
        try:
            self._selector.modify(fd, self._events(mask))
        except KeyError:
            raise FileNotFoundError(f"descriptor {fd} is not watched") from None

    def remove(self, fd: int) -> None:
        try:
            self._selector.unregister(fd)
        except KeyError:
            raise FileNotFoundError(f"descriptor {fd} is not watched") from None

    @staticmethod
    def _events(mask: int) -> int:
        return (_EVENT_READ if mask & READ else 0) | (_EVENT_WRITE if mask & WRITE else 0)

    def fileno(self) -> int:
        fileno = getattr(self._selector, "fileno", None)
        if fileno is None:
            raise RuntimeError(f"{type(self._selector).__name__} has no descriptor to wait on")
        return int(fileno())

    def close(self) -> None:
        self._selector.close()


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def default_poller() -> Poller:
    """Return the best poller of this platform."""
    if hasattr(select, "epoll"):
        return EpollPoller()
    if hasattr(select, "kqueue"):
        return KqueuePoller()  # type: ignore[name-defined,no-any-return,unused-ignore]
    return SelectorPoller()
