# SPDX-License-Identifier: Apache-2.0
"""What stands in for the outside world in a run that is simulated; see `giambio.testing`.

A test that explores schedules must be repeatable to the last step, so nothing in it may depend on the
operating system. Whoever sets up such a run leaves in ``scheduler.locals``, under the keys below, what
is to be used instead; whoever reaches for the outside world looks there first. In ordinary runs there is
nothing, and it costs a look into a dict for each socket made, each name resolved, each thread called.
"""

from __future__ import annotations

import socket as _stdlib
from typing import TYPE_CHECKING, Any, Final, Protocol

from giambio_kernel import GiambioError, current_scheduler, get_running

if TYPE_CHECKING:
    from collections.abc import Callable

AddressInfo = tuple[_stdlib.AddressFamily, _stdlib.SocketKind, int, str, Any]
"""One of the addresses that a name stands for, as `socket.getaddrinfo` gives it."""

NETWORK: Final = object()
"""The key of the `Network` that sockets and names belong to."""

THREADS: Final = object()
"""The key of a function that stands in for `giambio._threads.cache.hand_over`."""

REFUSE: Final = object()
"""The key of a function that is told of what cannot be simulated, and raises `EscapedSimulation`."""


class EscapedSimulation(GiambioError):
    """A simulated run reached for the outside world, so it could not be repeated.

    Its message says for what, and what can be used instead.
    """


class Network(Protocol):
    """What makes sockets and resolves names in a simulated run.

    Its sockets are standard ones in all that `AsyncSocket` asks of one, but their descriptors are
    known to the poller of the simulation alone.
    """

    def socket(self, family: int, type: int, proto: int, fileno: int | None) -> _stdlib.socket:
        """Make a socket; as `socket.socket`."""
        ...

    def socketpair(
        self, family: int | None, type: int, proto: int
    ) -> tuple[_stdlib.socket, _stdlib.socket]:
        """Make two that are connected to each other; as `socket.socketpair`."""
        ...

    def check(self, sock: _stdlib.socket) -> None:
        """Raise `EscapedSimulation` if it is not one of these."""
        ...

    def is_readable(self, sock: _stdlib.socket) -> bool:
        """Whether reading would not wait."""
        ...

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | int | None,
        family: int,
        type: int,
        proto: int,
        flags: int,
    ) -> list[AddressInfo]:
        """Resolve a name at once; as `socket.getaddrinfo`."""
        ...

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """Resolve an address at once; as `socket.getnameinfo`."""
        ...


def simulated_network() -> Network | None:
    """Return the network that is used in place of the real one; None in ordinary runs."""
    try:
        network: Network | None = get_running().locals.get(NETWORK)
    except RuntimeError:  # outside of any loop a socket can be made, too
        return None
    return network


def refuse_if_simulated(what: str) -> None:
    """Raise `EscapedSimulation` in a simulated run. For what reaches outside and has no stand-in.

    Args:
        what: What is being done, to be named in the message: "starting a process".

    Raises:
        RuntimeError: Not called from inside a loop.
    """
    refuse: Callable[[str], None] | None = current_scheduler().locals.get(REFUSE)
    if refuse is not None:
        refuse(what)
