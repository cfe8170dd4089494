# SPDX-License-Identifier: Apache-2.0
"""The fixtures of this plugin. All names begin with ``giambio_``, so that they are in nobody's way."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from ._compat import fail, item_of
from ._decorator import fixture
from ._marker import is_ours

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from giambio import Pool
    from giambio.testing import VirtualClock


@fixture
async def giambio_pool() -> AsyncIterator[Pool]:
    """A pool for what is to go on in the background of a test.

    What was spawned in it is cancelled when the test has ended. If something in it fails, so does the
    test, with that error.
    """
    from giambio import create_pool

    async with create_pool() as pool:
        yield pool
        pool.cancel("the test has ended")


@pytest.fixture
def giambio_clock(request: pytest.FixtureRequest) -> VirtualClock:
    """The clock of a test, which is virtual because of this fixture.

    When all tasks wait it jumps to the next deadline. ``autojump`` and ``rate`` can be set, and
    ``advance(seconds)`` moves it.
    """
    from ._items import runner_of

    item = item_of(request)
    if not is_ours(item):
        fail("giambio_clock is for tests that run on giambio; mark this one")
    return runner_of(item).clock.of_tests


@pytest.fixture(scope="session")
def giambio_tcp_port_factory() -> Callable[[], int]:
    """A function that returns a TCP port of the loopback address that is free, a new one each time."""
    return _make_factory(socket.SOCK_STREAM)


@pytest.fixture(scope="session")
def giambio_udp_port_factory() -> Callable[[], int]:
    """A function that returns a UDP port of the loopback address that is free, a new one each time."""
    return _make_factory(socket.SOCK_DGRAM)


@pytest.fixture
def giambio_tcp_port(giambio_tcp_port_factory: Callable[[], int]) -> int:
    """A TCP port of the loopback address that is free."""
    return giambio_tcp_port_factory()


@pytest.fixture
def giambio_udp_port(giambio_udp_port_factory: Callable[[], int]) -> int:
    """A UDP port of the loopback address that is free."""
    return giambio_udp_port_factory()


def _make_factory(kind: socket.SocketKind) -> Callable[[], int]:
    given: set[int] = set()

    def find_port() -> int:
        while True:
            with socket.socket(socket.AF_INET, kind) as sock:
                sock.bind(("127.0.0.1", 0))
                port: int = sock.getsockname()[1]
            if port not in given:
                given.add(port)
                return port

    return find_port
