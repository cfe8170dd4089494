# SPDX-License-Identifier: Apache-2.0
"""Listening on a port: in all families, on the same number, with nothing left behind."""

from __future__ import annotations

import errno
import os
import socket as stdlib

import pytest

import giambio
from giambio import socket
from giambio._net import tcp as _tcp
from giambio.testing import assert_checkpoints


def has_ipv6():
    try:
        with stdlib.socket(stdlib.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


def close_all(listeners):
    for listener in listeners:
        listener.close()


class TwoAddresses:
    """A resolver for which every host has an address of each family, and the first one twice."""

    async def getaddrinfo(self, host, port, family, type, proto, flags):
        four = (stdlib.AF_INET, type, 6, "", ("127.0.0.1", port))
        return [four, (stdlib.AF_INET6, type, 6, "", ("::1", port, 0, 0)), four]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


@needs_ipv6
def test_both_families_get_the_same_port_from_the_system(run):
    async def main():
        with assert_checkpoints():
            listeners = await giambio.open_tcp_listeners(0)
        assert {each.family for each in listeners} == {stdlib.AF_INET, stdlib.AF_INET6}
        ports = {each.getsockname()[1] for each in listeners}
        assert len(ports) == 1
        for host in ("127.0.0.1", "::1"):
            (await giambio.connect_tcp(host, *ports)).close()
        close_all(listeners)

    run(main)


def test_a_port_that_is_given_and_a_host_that_is_given(run):
    async def main():
        [first] = await giambio.open_tcp_listeners(0, host="127.0.0.1")
        host, port = first.getsockname()
        assert host == "127.0.0.1"
        first.close()
        [second] = await giambio.open_tcp_listeners(port, host="127.0.0.1")
        assert second.getsockname() == (host, port)
        second.close()

    run(main)


@needs_ipv6
def test_an_address_that_a_name_has_twice_is_listened_on_once(run):
    async def main():
        socket.set_resolver(TwoAddresses())
        listeners = await giambio.open_tcp_listeners(0, host="giambio.test")
        assert len(listeners) == 2
        close_all(listeners)

    run(main)


def test_a_port_in_use_is_an_error_that_names_it(run):
    async def main():
        [first] = await giambio.open_tcp_listeners(0, host="127.0.0.1")
        async with first:
            port = first.getsockname()[1]
            with pytest.raises(OSError, match=rf"cannot listen on \('127.0.0.1', {port}\)") as it:
                await giambio.open_tcp_listeners(port, host="127.0.0.1")
            assert it.value.errno == errno.EADDRINUSE

    run(main)


@needs_ipv6
def test_a_number_that_is_taken_in_one_family_is_given_up_for_another(run, monkeypatch):
    calls = []
    listen = _tcp._listen

    def taken_at_first(family, proto, address, backlog, reuse_port):
        calls.append(address[1])
        if len(calls) == 2:
            raise OSError(errno.EADDRINUSE, "taken")
        return listen(family, proto, address, backlog, reuse_port)

    monkeypatch.setattr(_tcp, "_listen", taken_at_first)

    async def main():
        listeners = await giambio.open_tcp_listeners(0)
        close_all(listeners)
        return len(listeners), len(calls)

    assert run(main) == (2, 4)
    assert calls[0] == calls[2] == 0
    assert calls[1] and calls[3]


@needs_ipv6
def test_when_no_number_is_free_everywhere_the_search_ends(run, monkeypatch):
    listen = _tcp._listen

    def taken(family, proto, address, backlog, reuse_port):
        if address[1]:
            raise OSError(errno.EADDRINUSE, "taken")
        return listen(family, proto, address, backlog, reuse_port)

    monkeypatch.setattr(_tcp, "_listen", taken)
    with pytest.raises(OSError, match="taken"):
        run(giambio.open_tcp_listeners, 0)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_family_that_is_not_there_is_left_out(run, monkeypatch, number):
    listen = _tcp._listen

    def only_ipv4(family, proto, address, backlog, reuse_port):
        if family == stdlib.AF_INET6:
            raise OSError(number, "not here")
        return listen(family, proto, address, backlog, reuse_port)

    monkeypatch.setattr(_tcp, "_listen", only_ipv4)

    async def main():
        socket.set_resolver(TwoAddresses())
        [listener] = await giambio.open_tcp_listeners(0, host="giambio.test")
        assert listener.family == stdlib.AF_INET
        listener.close()

    run(main)


def test_an_address_of_another_machine_is_an_error(run):
    async def main():
        with pytest.raises(OSError, match="cannot listen on") as caught:
            await giambio.open_tcp_listeners(0, host="192.0.2.1")
        assert caught.value.errno == errno.EADDRNOTAVAIL

    run(main)


def test_an_error_that_is_none_of_the_system_leaves_nothing_open(run):
    async def main():
        with pytest.raises(OverflowError):
            await giambio.open_tcp_listeners(0, host="127.0.0.1", backlog=1 << 40)

    run(main)


@pytest.mark.skipif(not hasattr(stdlib, "SO_REUSEPORT"), reason="not on this system")
def test_a_port_can_be_shared_if_both_say_so(run):
    async def main():
        first = await giambio.open_tcp_listeners(0, host="127.0.0.1", reuse_port=True)
        port = first[0].getsockname()[1]
        second = await giambio.open_tcp_listeners(port, host="127.0.0.1", reuse_port=True)
        close_all(first + second)

    run(main)


def test_sharing_a_port_where_that_is_impossible_is_an_error(run, monkeypatch):
    monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)

    async def main():
        for function in (giambio.open_tcp_listeners, giambio.open_udp_endpoint):
            with pytest.raises(ValueError, match="cannot share a port"):
                await function(port=0, reuse_port=True)

    run(main)


@pytest.mark.skipif(os.name != "posix", reason="reads the option of POSIX systems")
def test_the_port_of_a_server_that_has_just_ended_can_be_used_again(run):
    async def main():
        [listener] = await giambio.open_tcp_listeners(0, host="127.0.0.1")
        assert listener.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEADDR)
        listener.close()

    run(main)
