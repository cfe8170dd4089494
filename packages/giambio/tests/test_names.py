# SPDX-License-Identifier: Apache-2.0
"""Names of hosts: who resolves them, and that nothing waits for them that need not."""

from __future__ import annotations

import enum
import ipaddress
import socket as stdlib
import threading

import pytest

import giambio
from giambio import socket
from giambio.testing import (
    assert_checkpoints,
    current_network,
    simulate,
    wait_all_tasks_blocked,
)

LOOPBACK = (stdlib.AF_INET, stdlib.SOCK_STREAM, 6, "", ("127.0.0.1", 80))


@pytest.fixture
def no_threads(monkeypatch):
    """Make the test fail if a thread is asked for."""

    def refuse(job):
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr("giambio._threads.calls.hand_over", refuse)


def answer(monkeypatch, function, *results):
    """Let the standard function return or raise what is given, in turn; return what it is asked."""
    asked = []
    original = getattr(stdlib, function)
    results = list(results)

    def scripted(*args):
        if function == "getaddrinfo" and args[-1] & stdlib.AI_NUMERICHOST:
            return original(*args)
        asked.append(args)
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(stdlib, function, scripted)
    return asked


@pytest.mark.parametrize("host", ["127.0.0.1", b"127.0.0.1", "::1", "127.1", None])
def test_a_numeric_address_never_touches_a_thread(run, no_threads, host):
    async def main():
        with assert_checkpoints():
            found = await socket.getaddrinfo(host, 80)
        assert found == stdlib.getaddrinfo(host, 80)

    run(main)


def test_nor_does_a_numeric_port_in_letters_or_an_address_asked_for_as_numbers(run, no_threads):
    async def main():
        assert (await socket.getaddrinfo("127.0.0.1", "80"))[0][4] == ("127.0.0.1", 80)
        flags = stdlib.NI_NUMERICHOST | stdlib.NI_NUMERICSERV
        with assert_checkpoints():
            assert await socket.getnameinfo(("127.0.0.1", 80), flags) == ("127.0.0.1", "80")

    run(main)


def test_a_numeric_address_of_another_family_is_refused_at_once(run, no_threads):
    async def main():
        with pytest.raises(stdlib.gaierror):
            await socket.getaddrinfo("127.0.0.1", 80, stdlib.AF_INET6)

    run(main)


def test_the_scope_of_an_address_is_kept(run, no_threads):
    async def main():
        try:
            number = stdlib.if_nametoindex("lo")
        except OSError:
            pytest.skip("no interface named lo")
        found = await socket.getaddrinfo("fe80::1%lo", 80, type=stdlib.SOCK_STREAM)
        assert found[0][4] == ("fe80::1", 80, 0, number)

    run(main)


def test_a_port_in_letters_and_the_broadcast_address_can_be_used(run, no_threads):
    async def main():
        async with await giambio.open_udp_endpoint("127.0.0.1") as endpoint:
            await endpoint.send(b"to myself", ("127.0.0.1", str(endpoint.port)))
            assert (await endpoint.receive())[0] == b"to myself"
            with pytest.raises(PermissionError):  # the system's: it needs leave to broadcast
                await endpoint.send(b"to all", ("<broadcast>", endpoint.port))

    run(main)


def test_a_name_is_resolved_in_a_thread(run, monkeypatch):
    asked = answer(monkeypatch, "getaddrinfo", [LOOPBACK])
    main_thread = threading.current_thread()
    original = stdlib.getaddrinfo

    def check_thread(*args):
        if not args[-1] & stdlib.AI_NUMERICHOST:
            assert threading.current_thread() is not main_thread
        return original(*args)

    monkeypatch.setattr(stdlib, "getaddrinfo", check_thread)

    async def main():
        with assert_checkpoints():
            assert await socket.getaddrinfo("giambio.test", 80, type=1) == [LOOPBACK]

    run(main)
    assert asked == [(b"giambio.test", 80, 0, 1, 0, 0)]


def test_the_name_of_an_address_is_looked_for_in_a_thread(run, monkeypatch):
    asked = answer(monkeypatch, "getnameinfo", ("giambio.test", "http"))

    async def main():
        with assert_checkpoints():
            found = await socket.getnameinfo(("127.0.0.1", 80), 0)
        assert found == ("giambio.test", "http")

    run(main)
    assert asked == [(("127.0.0.1", 80), 0)]


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "bücher..test", "ü" * 70, "a\0b", "ü\0"])
def test_what_cannot_be_a_name_is_an_error_like_any_other_name(run, monkeypatch, host):
    """The standard module raises `UnicodeError` or `ValueError` here, which nobody expects."""
    no_such_host = stdlib.gaierror(stdlib.EAI_NONAME, "no such host")
    answer(monkeypatch, "getaddrinfo", no_such_host, no_such_host)

    async def main():
        with pytest.raises(stdlib.gaierror):
            await socket.getaddrinfo(host, 80)
        async with socket.socket() as sock:
            with pytest.raises(stdlib.gaierror):
                await sock.connect((host, 80))

    run(main)


def test_a_name_that_is_not_found_is_named(run, monkeypatch):
    """With many look-ups under way nobody knows otherwise which of them it was."""
    no_such_host = stdlib.gaierror(stdlib.EAI_NONAME, "no such host")
    answer(monkeypatch, "getaddrinfo", no_such_host, no_such_host)
    told = r"cannot resolve 'giambio\.test', port 80: no such host"
    with pytest.raises(stdlib.gaierror, match=told) as caught:
        run(giambio.connect_tcp, "giambio.test", 80)
    assert caught.value.errno == stdlib.EAI_NONAME
    with pytest.raises(stdlib.gaierror, match=r"cannot resolve '127\.0\.0\.1', port 'no-service'"):
        run(socket.getaddrinfo, "127.0.0.1", "no-service")


def test_a_name_of_other_letters_is_encoded(run, monkeypatch):
    asked = answer(monkeypatch, "getaddrinfo", [LOOPBACK])
    run(socket.getaddrinfo, "bücher.test", 80)
    assert asked[0][0] == b"xn--bcher-kva.test"


def test_slow_names_keep_nothing_else_from_the_threads(run, monkeypatch):
    """Even with all threads for names in use, and others waiting for one, other work goes on."""
    hang = threading.Event()
    original = stdlib.getaddrinfo

    def hanging(*args):
        if args[-1] & stdlib.AI_NUMERICHOST:
            return original(*args)
        hang.wait()
        return [LOOPBACK]

    monkeypatch.setattr(stdlib, "getaddrinfo", hanging)

    async def main():
        async with giambio.create_pool() as pool:
            for n in range(25):
                pool.spawn(socket.getaddrinfo, f"host{n}.test", 80)
            for _ in range(3):
                await giambio.checkpoint()
            assert await giambio.run_in_thread(len, "abc") == 3
            assert giambio.default_thread_limiter().borrowed_tokens == 0
            pool.cancel()
        hang.set()  # the threads were abandoned: nobody waited for them

    run(main)


# A resolver of one's own


class Hosts:
    """Resolves what it knows, and hands on the rest."""

    def __init__(self, known, rest=None):
        self.known = known
        self.rest = rest
        self.asked = []

    async def getaddrinfo(self, host, port, family, type, proto, flags):
        self.asked.append((host, port))
        if host in self.known:
            return [(stdlib.AF_INET, type or stdlib.SOCK_STREAM, 0, "", (self.known[host], port))]
        return await self.rest.getaddrinfo(host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr, flags):
        return "giambio.test", str(sockaddr[1])


def test_a_resolver_of_ones_own_is_asked_for_names_only(run, no_threads):
    async def main():
        hosts = Hosts({"giambio.test": "127.0.0.1", "bücher.test": "127.0.0.2"})
        socket.set_resolver(hosts)
        with assert_checkpoints():
            assert (await socket.getaddrinfo("giambio.test", 80))[0][4] == ("127.0.0.1", 80)
        assert (await socket.getaddrinfo("bücher.test", 80))[0][4] == ("127.0.0.2", 80)
        await socket.getaddrinfo("127.0.0.1", 80)
        assert hosts.asked == [("giambio.test", 80), ("bücher.test", 80)]
        assert await socket.getnameinfo(("127.0.0.1", 80), 0) == ("giambio.test", "80")

    run(main)


def test_every_operation_asks_it(run, no_threads):
    async def main():
        socket.set_resolver(Hosts({"giambio.test": "127.0.0.1"}))
        [listener] = await giambio.open_tcp_listeners(0, host="giambio.test")
        port = listener.getsockname()[1]
        async with listener, await giambio.connect_tcp("giambio.test", port):
            async with socket.socket() as sock:
                await sock.connect(("giambio.test", port))
        endpoint = await giambio.open_udp_endpoint("giambio.test")
        async with endpoint:
            await endpoint.send(b"to myself", ("giambio.test", endpoint.port))
            assert (await endpoint.receive())[0] == b"to myself"

    run(main)


def test_it_can_hand_on_to_the_one_before(run, monkeypatch):
    asked = answer(monkeypatch, "getaddrinfo", [LOOPBACK])

    async def main():
        hosts = Hosts({})
        hosts.rest = socket.set_resolver(hosts)
        assert isinstance(hosts.rest, socket.SystemResolver)
        assert await socket.getaddrinfo("giambio.test", 80) == [LOOPBACK]
        assert socket.set_resolver(None) is hosts

    run(main)
    assert len(asked) == 1


def test_it_is_asked_in_a_simulated_run_as_well():
    async def main():
        hosts = Hosts({"giambio.test": "127.0.0.9"})
        hosts.rest = socket.set_resolver(hosts)
        assert (await socket.getaddrinfo("giambio.test", 80, type=1))[0][4] == ("127.0.0.9", 80)
        with current_network().host("example.org"):
            [listener] = await giambio.open_tcp_listeners(80, host="example.org")
        async with listener, await giambio.connect_tcp("example.org", 80) as client:
            assert client.getpeername() == listener.getsockname()
        with pytest.raises(stdlib.gaierror):
            await socket.getaddrinfo("nobody.test", 80)
        assert (await socket.SystemResolver().getnameinfo(("127.0.0.1", 80), 0))[0] == "localhost"

    simulate(main)


def test_it_belongs_to_one_loop(run, monkeypatch):
    asked = answer(monkeypatch, "getaddrinfo", [LOOPBACK])

    async def main():
        socket.set_resolver(Hosts({"giambio.test": "127.0.0.9"}))

    run(main)
    assert run(socket.getaddrinfo, "giambio.test", 80) == [LOOPBACK]
    assert len(asked) == 1


def test_what_is_no_resolver_is_refused(run):
    async def main():
        with pytest.raises(TypeError, match=r"a resolver has a method getaddrinfo\(\)"):
            socket.set_resolver(len)

    run(main)


def test_a_resolver_that_finds_nothing_has_found_no_host(run):
    class Nothing(Hosts):
        async def getaddrinfo(self, *args):
            return []

    async def main():
        socket.set_resolver(Nothing({}))
        for connect in (giambio.connect_tcp, giambio.connect_udp):
            with pytest.raises(stdlib.gaierror, match=r"'giambio\.test' has no such address"):
                await connect("giambio.test", 80)

    run(main)


@pytest.mark.parametrize("port", [-1, 65536, 70000, "-1", "70000", b"70000"])
def test_a_port_that_is_none_is_refused(run, port):
    """Some systems would take the rest of dividing it by 65536."""
    with pytest.raises(ValueError, match="a number from 0 to 65535"):
        run(giambio.connect_tcp, "127.0.0.1", port)


@pytest.mark.parametrize("port", [80.0, test_a_port_that_is_none_is_refused])
def test_what_is_no_port_at_all_is_an_error_that_says_so(run, port):
    """The standard module says that it has expected an Int."""
    with pytest.raises(TypeError, match=r"the name of a service, not (80\.0|<function)"):
        run(giambio.serve_tcp, giambio.sleep, port)


@pytest.mark.parametrize("host", [ipaddress.ip_address("127.0.0.1"), ("127.0.0.1", 80)])
def test_what_is_no_host_is_an_error_that_says_so(run, host):
    with pytest.raises(TypeError, match=r"a host is .* in a string, not (IPv4Address|\('127)"):
        run(giambio.connect_tcp, host, 80)


def test_a_port_may_be_a_number_with_a_name(run):
    class Port(enum.IntEnum):
        HTTP = 80

    found = run(socket.getaddrinfo, "127.0.0.1", Port.HTTP)
    assert found == stdlib.getaddrinfo("127.0.0.1", 80)


def test_a_waiting_look_up_can_be_cancelled(run, monkeypatch):
    async def main():
        class Never:
            async def getaddrinfo(self, *args):
                await giambio.sleep_forever()

            getnameinfo = getaddrinfo

        socket.set_resolver(Never())
        async with giambio.create_pool() as pool:
            pool.spawn(giambio.connect_tcp, "giambio.test", 80)
            pool.spawn(socket.getnameinfo, ("127.0.0.1", 80), 0)
            await wait_all_tasks_blocked()
            pool.cancel()

    run(main)
