# SPDX-License-Identifier: Apache-2.0
"""The poller protocol, on each poller of this machine; and kqueue on a stand-in."""

from __future__ import annotations

import importlib.util
import os
import select
import selectors
import socket
import types

import pytest

from giambio_kernel import SelectorPoller, _poller, default_poller
from giambio_kernel._poller import HANGUP, READ, READ_HANGUP, WRITE

POLLERS = {
    "default": default_poller,
    "select": lambda: SelectorPoller(selectors.SelectSelector()),
    "poll": lambda: SelectorPoller(selectors.PollSelector()),
}


@pytest.fixture(params=POLLERS)
def poller(request):
    poller = POLLERS[request.param]()
    yield poller
    poller.close()


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def test_readiness_is_reported_for_what_is_watched(poller, pair):
    left, right = pair
    poller.add(left.fileno(), READ, False)
    assert list(poller.poll(0.0)) == []
    right.send(b"x")
    assert [(fd, mask & (READ | WRITE)) for fd, mask in poller.poll(None)] == [
        (left.fileno(), READ)
    ]
    poller.change(left.fileno(), READ | WRITE, False)
    ((_, mask),) = poller.poll(1.0)
    assert mask & READ
    assert mask & WRITE
    poller.remove(left.fileno())
    assert list(poller.poll(0.0)) == []


def test_watching_twice_and_changing_the_unknown_are_errors(poller, pair):
    left, _ = pair
    with pytest.raises(FileNotFoundError):
        poller.change(left.fileno(), READ, False)
    with pytest.raises(OSError):
        poller.remove(left.fileno())
    poller.add(left.fileno(), READ, False)
    with pytest.raises(FileExistsError):
        poller.add(left.fileno(), READ, False)


def test_an_edge_is_reported_once_and_again_after_a_change(pair):
    poller = default_poller()
    if not poller.edge_triggered:
        pytest.skip("this platform has no edges")
    left, right = pair
    poller.add(left.fileno(), READ, True)
    right.send(b"x")
    assert len(list(poller.poll(1.0))) == 1
    assert list(poller.poll(0.0)) == []
    poller.change(left.fileno(), READ, True)
    assert len(list(poller.poll(1.0))) == 1
    poller.close()


def test_a_poller_of_one_poller_sees_the_other(pair):
    """What lets another loop host ours."""
    poller = default_poller()
    left, right = pair
    poller.add(left.fileno(), READ, True)
    assert select.select([poller.fileno()], [], [], 0)[0] == []
    right.send(b"x")
    assert select.select([poller.fileno()], [], [], 1)[0] == [poller.fileno()]
    poller.close()


class FakeKqueue:
    """Behaves as the manual says kqueue does, for read and write filters."""

    def __init__(self):
        self.filters = {}
        self.active = []
        self.closed = False

    def fileno(self):
        return 99

    def control(self, changes, max_events, timeout=None):
        for change in changes or ():
            key = change.ident, change.filter
            if change.flags & select.KQ_EV_DELETE:
                del self.filters[key]
            else:
                self.filters[key] = change.flags
        events, self.active = self.active[:max_events], self.active[max_events:]
        return events

    def close(self):
        self.closed = True


@pytest.fixture
def kqueue_poller(monkeypatch):
    """A poller of a second copy of the module, imported as on a system with kqueue."""
    names = {
        "kqueue": FakeKqueue,
        "kevent": lambda ident, filter, flags: types.SimpleNamespace(
            ident=ident, filter=filter, flags=flags
        ),
        "KQ_FILTER_READ": -1,
        "KQ_FILTER_WRITE": -2,
        "KQ_EV_ADD": 1,
        "KQ_EV_DELETE": 2,
        "KQ_EV_CLEAR": 32,
        "KQ_EV_EOF": 0x8000,
    }
    for name, value in names.items():
        monkeypatch.setattr(select, name, value, raising=False)
    monkeypatch.delattr(select, "epoll", raising=False)
    monkeypatch.setattr("sys.platform", "darwin")
    spec = importlib.util.spec_from_file_location("giambio_kernel._poller_of_bsd", _poller.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.default_poller()


class TestKqueue:
    """Against a stand-in: what is asked of the system, and how its answers are read."""

    def test_each_direction_is_a_filter_of_its_own(self, kqueue_poller):
        kqueue = kqueue_poller._kqueue
        kqueue_poller.add(5, READ, True)
        assert kqueue.filters == {(5, -1): 1 | 32}
        kqueue_poller.change(5, READ | WRITE, True)
        assert kqueue.filters == {(5, -1): 33, (5, -2): 33}
        kqueue_poller.change(5, WRITE, False)
        assert kqueue.filters == {(5, -2): 1}
        kqueue_poller.remove(5)
        assert kqueue.filters == {}

    def test_the_unknown_and_the_known_are_errors_as_with_the_others(self, kqueue_poller):
        with pytest.raises(FileNotFoundError):
            kqueue_poller.change(5, READ, True)
        with pytest.raises(FileNotFoundError):
            kqueue_poller.remove(5)
        kqueue_poller.add(5, READ, True)
        with pytest.raises(FileExistsError):
            kqueue_poller.add(5, READ, True)

    def test_events_are_translated_and_an_end_is_told(self, kqueue_poller):
        event = types.SimpleNamespace
        kqueue_poller._kqueue.active = [
            event(ident=3, filter=-1, flags=0),
            event(ident=4, filter=-2, flags=0),
            event(ident=5, filter=-1, flags=0x8000),
            event(ident=6, filter=-2, flags=0x8000),
        ]
        assert kqueue_poller.poll(0.0) == [
            (3, READ),
            (4, WRITE),
            (5, READ | READ_HANGUP),
            (6, WRITE | HANGUP),
        ]
        assert kqueue_poller.fileno() == 99
        kqueue_poller.close()
        assert kqueue_poller._kqueue.closed


def test_without_epoll_and_kqueue_there_is_always_selectors(monkeypatch):
    monkeypatch.delattr(select, "epoll", raising=False)
    monkeypatch.delattr(select, "kqueue", raising=False)
    poller = default_poller()
    assert type(poller).__name__ == "SelectorPoller"
    poller.close()


def test_selectors_survive_a_descriptor_closed_behind_their_back():
    poller = SelectorPoller(selectors.SelectSelector())
    read, write = os.pipe()
    poller.add(read, READ, False)
    os.close(read)
    os.close(write)
    ((fd, mask),) = poller.poll(0.0)
    assert fd == read
    assert mask & READ
    with pytest.raises(OSError):
        poller.add(read, READ, False)
    poller.close()
