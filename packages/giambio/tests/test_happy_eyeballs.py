# SPDX-License-Identifier: Apache-2.0
"""Connecting to a host of many addresses, with attempts whose delays are scripted."""

from __future__ import annotations

import errno
import socket as stdlib
import sys
from math import inf

import pytest

import giambio
from giambio import socket
from giambio._net.happy_eyeballs import connect_first, interleave_families
from giambio.testing import assert_checkpoints, cancel_sweep, wait_all_tasks_blocked

V4, V6 = stdlib.AF_INET, stdlib.AF_INET6


def target(name, family=V4):
    return (family, stdlib.SOCK_STREAM, 6, "", (name, 80))


class Connection:
    def __init__(self, name):
        self.name = name
        self.closed = False

    def close(self):
        self.closed = True


class Script:
    """Attempts that take so many seconds and then succeed or fail; it notes what happens when."""

    def __init__(self, **attempts):
        self.attempts = attempts
        self.log = []
        self.made = []

    @property
    def targets(self):
        return [target(name) for name in self.attempts]

    def note(self, what):
        self.log.append((round(giambio.clock(), 3), what))

    async def connect(self, target):
        name = target[4][0]
        seconds, error = self.attempts[name]
        self.note(f"{name} begins")
        try:
            await giambio.sleep(seconds)
        except giambio.CancelledError:
            self.note(f"{name} is cancelled")
            raise
        if error is not None:
            self.note(f"{name} fails")
            raise OSError(error, f"{name} failed")
        self.note(f"{name} succeeds")
        self.made.append(Connection(name))
        return self.made[-1]

    async def play(self, delay=0.25):
        start = giambio.clock()
        try:
            winner = await connect_first(self.connect, self.targets, delay)
        finally:
            self.log = [(round(when - start, 3), what) for when, what in self.log]
        return winner.name


REFUSED, UNREACHABLE = errno.ECONNREFUSED, errno.ENETUNREACH


def test_an_answer_in_time_leaves_the_other_addresses_alone(run):
    script = Script(a=(0.2, None), b=(0, None))
    assert run(script.play) == "a"
    assert script.log == [(0, "a begins"), (0.2, "a succeeds")]


def test_a_slow_address_is_overtaken_by_the_next_one(run):
    script = Script(a=(10, None), b=(0.1, None))
    assert run(script.play) == "b"
    assert script.log == [
        (0, "a begins"), (0.25, "b begins"), (0.35, "b succeeds"), (0.35, "a is cancelled"),
    ]  # fmt: skip


def test_a_slow_address_may_still_win(run):
    script = Script(a=(0.3, None), b=(0.1, None))
    assert run(script.play) == "a"
    assert script.log[-2:] == [(0.3, "a succeeds"), (0.3, "b is cancelled")]


def test_a_failure_starts_the_next_attempt_at_once(run):
    script = Script(a=(0.01, REFUSED), b=(0.01, UNREACHABLE), c=(0, None))
    assert run(script.play) == "c"
    assert script.log == [
        (0, "a begins"), (0.01, "a fails"), (0.01, "b begins"), (0.02, "b fails"),
        (0.02, "c begins"), (0.02, "c succeeds"),
    ]  # fmt: skip


def test_only_the_failure_of_the_latest_attempt_starts_the_next_one(run):
    """An older attempt that fails late does not hurry: RFC 8305 counts from the latest one."""
    script = Script(a=(0.3, REFUSED), b=(10, None), c=(0.1, None))
    assert run(script.play) == "c"
    assert (0.5, "c begins") in script.log


def test_with_an_infinite_delay_one_is_tried_at_a_time(run):
    script = Script(a=(100, REFUSED), b=(1, None))
    assert run(script.play, inf) == "b"
    assert (100, "b begins") in script.log


def test_with_no_delay_all_are_tried_together(run):
    script = Script(a=(3, None), b=(2, None), c=(1, None))
    assert run(script.play, 0) == "c"
    assert [when for when, what in script.log if "begins" in what] == [0, 0, 0]


def test_when_all_fail_the_first_error_is_raised_and_tells_of_the_others(run):
    script = Script(a=(1, REFUSED), b=(0, UNREACHABLE), c=(0, UNREACHABLE))
    with pytest.raises(ConnectionRefusedError, match="a failed") as caught:
        run(script.play)
    others = giambio.siblings(caught.value)
    assert [str(error) for error in others] == [
        f"[Errno {UNREACHABLE}] b failed",
        f"[Errno {UNREACHABLE}] c failed",
    ]
    assert "none of 3 addresses" in caught.value.__notes__[0]


def test_a_single_failure_is_raised_as_it_is(run):
    with pytest.raises(ConnectionRefusedError) as caught:
        run(Script(a=(1, REFUSED)).play)
    assert giambio.siblings(caught.value) == ()
    assert "none of" not in "".join(getattr(caught.value, "__notes__", []))


def test_of_two_that_succeed_in_the_same_tick_one_is_closed(run):
    script = Script(a=(1, None), b=(0.75, None))
    assert run(script.play) in ("a", "b")
    assert len(script.made) == 2
    assert [each.closed for each in script.made] == [False, True]


def test_an_error_that_is_none_of_the_network_ends_all_attempts(run):
    async def connect(target):
        if target[4][0] == "a":
            await giambio.sleep_forever()
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run(connect_first, connect, [target("a"), target("b")], 0.25)


def test_cancelled_anywhere_it_leaves_no_connection_behind():
    made = []

    async def connect(target):
        await giambio.sleep(1)
        made.append(Connection(target))
        await giambio.sleep(0)
        return made[-1]

    async def program():
        made.clear()
        try:
            (await connect_first(connect, [target("a"), target("b")], 1)).close()
        except giambio.CancelledError:
            # What `connect` had not returned yet is its own affair.
            if made and not made[-1].closed:
                made[-1].close()
            raise

    def check():
        assert all(each.closed for each in made)

    cancel_sweep(program, check=check)


def test_a_winner_is_closed_if_the_connecting_was_cancelled_in_the_same_tick(run):
    connection = Connection("a")
    connecting = giambio.CancelScope()

    async def connect(target):
        if target[4][0] == "b":
            await giambio.sleep_forever()
        await giambio.sleep(1)
        connecting.cancel()
        return connection

    async def main():
        with connecting:
            await connect_first(connect, [target("a"), target("b")], 0.25)
        assert connecting.cancelled_caught
        assert connection.closed

    run(main)


def test_families_take_turns_beginning_with_the_first():
    six = [target(f"::{n}", V6) for n in range(3)]
    four = [target(f"1.1.1.{n}") for n in range(2)]
    assert interleave_families([*six, *four]) == [six[0], four[0], six[1], four[1], six[2]]
    assert interleave_families([*four, *six])[0] == four[0]
    assert interleave_families(six) == six


# The whole of it, with a resolver and a network of its own


class Resolver:
    def __init__(self, *addresses):
        self.addresses = addresses

    async def getaddrinfo(self, host, port, family, type, proto, flags):
        found = [
            (V6 if ":" in each else V4, stdlib.SOCK_STREAM, 6, "", (each, port))
            for each in self.addresses
        ]
        return [each for each in found if family in (0, each[0])]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


def test_connecting_to_a_name_tries_the_families_in_turn(run, monkeypatch):
    script = Script(**{"1::": (10, None), "2::": (10, None), "1.1.1.1": (0, REFUSED)})

    async def connect_one(target, local):
        assert local is None
        return await script.connect(target)

    monkeypatch.setattr("giambio._net.tcp._connect_one", connect_one)

    async def main():
        socket.set_resolver(Resolver("1::", "2::", "1.1.1.1"))
        return (await giambio.connect_tcp("example.test", 80, happy_eyeballs_delay=1)).name

    assert run(main) == "1::"
    assert [entry for entry in script.log if "begins" in entry[1]] == [
        (0, "1:: begins"), (1, "1.1.1.1 begins"), (1, "2:: begins"),
    ]  # fmt: skip


def test_a_local_address_leaves_its_family_to_be_tried(run, monkeypatch):
    seen = []

    async def connect_one(target, local):
        seen.append((target[4][0], local[4]))
        return Connection("it")

    monkeypatch.setattr("giambio._net.tcp._connect_one", connect_one)

    async def main():
        socket.set_resolver(Resolver("1::", "1.1.1.1"))
        await giambio.connect_tcp("example.test", 80, local_address="127.0.0.1")
        await giambio.connect_tcp("example.test", 80, local_address=("127.0.0.1", 1234))

    run(main)
    assert seen == [("1.1.1.1", ("127.0.0.1", 0)), ("1.1.1.1", ("127.0.0.1", 1234))]


def test_the_scope_of_an_address_reaches_the_socket(run, monkeypatch):
    try:
        number = stdlib.if_nametoindex("lo")
    except OSError:
        pytest.skip("no interface named lo")
    seen = []

    async def connect_one(target, local):
        seen.append(target[4])
        return Connection("it")

    monkeypatch.setattr("giambio._net.tcp._connect_one", connect_one)
    run(giambio.connect_tcp, "fe80::1%lo", 80)
    run(giambio.connect_tcp, f"fe80::1%{number}", 80)
    assert seen == [("fe80::1", 80, 0, number)] * 2


@pytest.mark.parametrize("delay", [-1, float("nan")])
def test_a_delay_that_is_none_is_refused(run, delay):
    async def main():
        await giambio.connect_tcp("127.0.0.1", 80, happy_eyeballs_delay=delay)

    with pytest.raises(ValueError, match="happy_eyeballs_delay must be at least 0"):
        run(main)


def test_the_name_of_a_certificate_without_tls_is_refused(run):
    async def main():
        await giambio.connect_tcp("127.0.0.1", 80, server_hostname="example.test")

    with pytest.raises(ValueError, match="needs tls=True"):
        run(main)


# With real sockets


def test_a_refused_connection_is_an_error_that_names_the_address(run):
    async def main():
        with stdlib.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with assert_checkpoints():
                await giambio.connect_tcp("127.0.0.1", unused.getsockname()[1])

    with pytest.raises(ConnectionRefusedError, match=r"cannot connect to \('127.0.0.1', "):
        run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_small_pieces_are_sent_at_once_and_the_local_address_is_used(run):
    async def main():
        [listener] = await giambio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            async with await giambio.connect_tcp(
                "127.0.0.1", listener.getsockname()[1], local_address="127.0.0.2"
            ) as client:
                accepted, address = await listener.accept()
                async with accepted:
                    assert address[0] == client.getsockname()[0] == "127.0.0.2"
                    for end in (client, accepted):
                        assert end.getsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_NODELAY)

    run(main)


def test_a_cancelled_attempt_on_a_real_socket_leaves_nothing_open(run, monkeypatch):
    """The socket of an attempt that hangs is closed when that is cancelled; a leak would warn."""

    async def connect(self, address):
        await giambio.sleep_forever()

    monkeypatch.setattr(giambio.AsyncSocket, "connect", connect)

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(giambio.connect_tcp, "127.0.0.1", 80)
            await wait_all_tasks_blocked()
            pool.cancel()

    run(main)
