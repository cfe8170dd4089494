# SPDX-License-Identifier: Apache-2.0
"""The network in memory behaves as the real one does, with what can go wrong on it."""

from __future__ import annotations

import errno
import socket as standard
from functools import partial

import pytest

import giambio
import giambio.socket
from giambio.testing import (
    EscapedSimulation,
    MemoryNetwork,
    cancel_sweep,
    current_network,
    explore,
    simulate,
    wait_all_tasks_blocked,
)


async def echo(stream):
    while data := await stream.receive():
        await stream.send_all(data)


async def connected(port=80):
    """Return both sides of a connection from host ``client`` to host ``server``."""
    network = current_network()
    with network.host("server"):
        listener = giambio.socket.socket()
    listener.bind(("", port))
    listener.listen()
    with network.host("client"):
        client = giambio.socket.socket()
    await client.connect(("server", port))
    server, _ = await listener.accept()
    listener.close()
    return client, server


class TestStreams:
    """What is sent arrives, in order, and later."""

    def test_the_usual_functions_work_on_it(self):
        async def main():
            network = current_network()
            async with giambio.create_pool() as pool:
                with network.host("server"):
                    server = await pool.start(giambio.serve_tcp, echo, 7)
                async with await giambio.connect_tcp("server", 7) as stream:
                    await stream.send_all(b"hello")
                    assert await stream.receive() == b"hello"
                    assert stream.getpeername() == ("10.0.0.2", 7)
                await server.drain(grace=1)
            return giambio.clock()

        assert simulate(main, network=MemoryNetwork(latency=0.5)) == 0.5 * 5

    def test_so_does_tls(self, certificates):
        async def main():
            network = current_network()
            tls = certificates.server()
            async with giambio.create_pool() as pool:
                with network.host("giambio.test"):
                    serve = partial(giambio.serve_tcp, tls=tls)
                    server = await pool.start(serve, echo, 443)
                tls = certificates.client()
                async with await giambio.connect_tcp("giambio.test", 443, tls=tls) as stream:
                    await stream.send_all(b"hello")
                    assert await stream.receive() == b"hello"
                await server.drain(grace=1)

        simulate(main)

    def test_the_same_seed_gives_the_same_times(self):
        async def main():
            client, server = await connected()
            async with client, server:
                times = []
                for _ in range(5):
                    await client.send_all(b"x")
                    await server.receive()
                    times.append(giambio.clock())
            return times

        assert simulate(main, seed=1) == simulate(main, seed=1)
        assert simulate(main, seed=1) != simulate(main, seed=2)

    def test_a_large_message_is_stopped_until_somebody_reads(self):
        async def main():
            client, server = await connected()
            async with client, server, giambio.create_pool() as pool:
                sending = pool.spawn(client.send_all, bytes(200_000))
                await giambio.sleep(1)
                assert not sending.done()
                received = 0
                while received < 200_000:
                    received += len(await server.receive())
                await sending.join()

        simulate(main)

    def test_data_comes_in_parts_and_in_order_whatever_is_lost(self):
        async def main():
            client, server = await connected()
            async with client, server:
                for number in range(50):
                    await client.send_all(b"%04d" % number)
                await client.send_eof()
                parts = []
                while part := await server.receive():
                    parts.append(part)
            assert b"".join(parts) == b"".join(b"%04d" % number for number in range(50))
            return parts, [str(fault) for fault in current_network().faults]

        network = MemoryNetwork(latency=(0.0, 0.1), loss=0.3, fragmentation=0.5)
        parts, faults = simulate(main, network=network)
        assert any(len(part) % 4 for part in parts)
        assert any("from client to server is lost and sent again" in fault for fault in faults)

    @pytest.mark.parametrize("latency", [0.0, 1.0])
    @pytest.mark.parametrize("local", [False, True])
    def test_parts_are_seen_one_by_one_also_when_all_packets_take_the_same_time(
        self, latency, local
    ):
        async def main():
            client, server = giambio.socket.socketpair() if local else await connected()
            async with client, server:
                await client.send_all(b"abcd")
                received = [await server.receive(10)]
                while sum(map(len, received)) < 4:
                    received.append(await server.receive(10))
                return len(received)

        network = MemoryNetwork(latency=latency, fragmentation=0.999)
        assert simulate(main, network=network) == 2

    def test_half_of_it_can_be_closed(self):
        async def main():
            client, server = await connected()
            async with client, server:
                await client.send_eof()
                assert await server.receive() == b""
                await server.send_all(b"answer")
                assert await client.receive() == b"answer"
                with pytest.raises(BrokenPipeError):
                    await client.send_all(b"more")

        simulate(main)

    def test_closing_with_unread_data_is_a_reset(self):
        async def main():
            client, server = await connected()
            async with client:
                await client.send_all(b"x")
                await giambio.sleep(1)
                server.close()
                with pytest.raises(ConnectionResetError):
                    await client.receive()
                assert await client.receive() == b""

        simulate(main)

    def test_sending_to_one_that_is_gone_is_answered_by_a_reset(self):
        async def main():
            client, server = await connected()
            server.close()
            async with client:
                assert await client.receive() == b""
                await client.send_all(b"x")
                await giambio.sleep(1)
                with pytest.raises(ConnectionResetError):
                    await client.send_all(b"x")

        simulate(main)

    def test_pairs_and_names_without_files(self):
        async def main():
            left, right = giambio.socket.socketpair()
            async with left, right:
                await left.send_all(b"stream")
                assert await right.receive() == b"stream"
            left, right = giambio.socket.socketpair(type=standard.SOCK_DGRAM)
            async with left, right:
                await left.send_all(b"one")
                await left.send_all(b"two")
                assert [await right.receive(), await right.receive()] == [b"one", b"two"]
            async with await giambio.open_unix_listener("\0name") as listener:
                async with await giambio.connect_unix("\0name") as client:
                    server, _ = await listener.accept()
                    async with server:
                        await client.send_all(b"x")
                        assert await server.receive() == b"x"
            with pytest.raises(ConnectionRefusedError):
                await giambio.connect_unix("\0name")
            assert giambio.clock() == 0.0

        simulate(main)

    def test_reading_into_buffers_and_peeking(self):
        async def main():
            left, right = giambio.socket.socketpair()
            async with left, right:
                await left.sendmsg([b"ab", b"cd"])
                assert right.is_readable()
                assert await right.recvfrom(2, standard.MSG_PEEK) == (b"ab", None)
                buffer = bytearray(1)
                assert await right.receive_into(buffer) == 1
                first, second = bytearray(2), bytearray(2)
                assert (await right.recvmsg_into([first, second]))[0] == 3
                assert (buffer, first, second) == (b"a", b"bc", b"d\0")
                assert not right.is_readable()

        simulate(main)


class TestConnecting:
    """Who cannot be reached says so, at once or after a while."""

    def test_nobody_listens(self):
        async def main():
            with current_network().host("server"):
                pass
            with pytest.raises(ConnectionRefusedError):
                await giambio.connect_tcp("server", 1)
            with pytest.raises(OSError, match="No route to host"):
                await giambio.connect_tcp("10.0.0.99", 1)

        simulate(main)

    def test_a_name_that_nobody_has(self):
        async def main():
            with pytest.raises(giambio.socket.gaierror, match="no host is called 'nobody'"):
                await giambio.connect_tcp("nobody", 1)

        simulate(main)

    def test_a_listener_without_room_is_asked_again(self):
        async def main():
            listener = giambio.socket.socket()
            listener.bind(("", 80))
            listener.listen(1)
            async with listener, giambio.create_pool() as pool:
                tasks = [pool.spawn(giambio.connect_tcp, "localhost", 80) for _ in range(2)]
                await giambio.sleep(0.5)
                assert sorted(task.done() for task in tasks) == [False, True]
                for _ in tasks:
                    (await listener.accept())[0].close()
                for task in tasks:
                    (await task.join()).close()
            assert giambio.clock() >= 1

        simulate(main)

    def test_what_was_not_accepted_is_reset(self):
        async def main():
            listener = giambio.socket.socket()
            listener.bind(("", 80))
            listener.listen()
            async with await giambio.connect_tcp("localhost", 80) as client:
                await giambio.sleep(1)
                listener.close()
                with pytest.raises(ConnectionResetError):
                    await client.receive()

        simulate(main)

    def test_addresses_are_checked(self):
        async def main():
            async with giambio.socket.socket() as one, giambio.socket.socket() as other:
                one.bind(("localhost", 80))
                one.listen()
                for address, code in (
                    (("", 80), errno.EADDRINUSE),
                    (("10.9.9.9", 80), errno.EADDRNOTAVAIL),
                ):
                    with pytest.raises(OSError) as caught:
                        other.bind(address)
                    assert caught.value.errno == code
                other.bind(("", 0))
                assert other.getsockname() == ("0.0.0.0", 49152)

        simulate(main)

    def test_both_families_have_names_if_wanted(self):
        async def main():
            with current_network().host("server"):
                listener = giambio.socket.socket(standard.AF_INET6)
            listener.bind(("::", 80))
            listener.listen()
            found = await giambio.socket.getaddrinfo("server", 80, type=standard.SOCK_STREAM)
            assert [each[4][0] for each in found] == ["fd00::2", "10.0.0.2"]
            async with listener, await giambio.connect_tcp("server", 80) as client:
                assert client.family == standard.AF_INET6
            name = await giambio.socket.getnameinfo(("fd00::2", 80, 0, 0), 0)
            assert name == ("server", "80")

        simulate(main, network=MemoryNetwork(ipv6=True))

    def test_giving_up_while_connecting(self):
        async def main(pause):
            listener = giambio.socket.socket()
            listener.bind(("", 80))
            listener.listen()
            async with listener:
                with giambio.skip_after(pause):
                    await giambio.connect_tcp("localhost", 80)
                await giambio.sleep(5)
                if not listener.is_readable():
                    return
                server, _ = await listener.accept()
                async with server:
                    with pytest.raises(ConnectionResetError):
                        await server.receive()

        network = MemoryNetwork(latency=1)
        simulate(main, 0.5, network=network)
        simulate(main, 1.5, network=network)

    def test_what_was_under_way_to_one_that_is_closed(self):
        async def main():
            client, server = await connected()
            async with client:
                await client.send_all(b"x")
                server.close()
                assert await client.receive() == b""
                await giambio.sleep(5)
                with pytest.raises(ConnectionResetError):
                    await client.receive()

        simulate(main, network=MemoryNetwork(latency=1))

    def test_addresses_have_names(self):
        async def main():
            ask = giambio.socket.getnameinfo
            assert await ask(("127.0.0.1", 80), 0) == ("localhost", "80")
            assert await ask(("10.9.9.9", 80), 0) == ("10.9.9.9", "80")
            assert await ask(("10.0.0.1", 80), standard.NI_NUMERICHOST) == ("10.0.0.1", "80")
            with pytest.raises(giambio.socket.gaierror, match="no host has the address"):
                await ask(("10.9.9.9", 80), standard.NI_NAMEREQD)

        simulate(main)

    def test_descriptors_can_be_waited_for_as_such(self):
        async def main():
            left, right = giambio.socket.socketpair()
            async with left, right, giambio.create_pool() as pool:
                waiting = pool.spawn(giambio.lowlevel.wait_readable, right.fileno())
                await wait_all_tasks_blocked()
                assert not waiting.done()
                await left.send_all(b"x")
                await waiting.join()
                await giambio.lowlevel.wait_readable(right.fileno())
                assert await right.recvmsg(5) == (b"x", [], 0, None)

        simulate(main)


class TestWhatSocketsRefuse:
    """Mistakes get the error that the system would give."""

    @staticmethod
    def code_of(operation, *args):
        with pytest.raises(OSError) as caught:
            operation(*args)
        return caught.value.errno

    def test_of_streams(self):
        async def main():
            client, server = await connected()
            listener = giambio.socket.socket()
            listener.listen()
            assert listener.getsockname() == ("0.0.0.0", 49152)
            new = giambio.socket.socket()
            async with client, server, listener, new:
                for sock, address, code in (
                    (client, ("server", 80), errno.EISCONN),
                    (listener, ("10.0.0.2", 80), errno.EINVAL),
                    (new, ("10.0.0.99", 80), errno.EHOSTUNREACH),
                ):
                    assert sock.socket.connect_ex(address) == code
                assert new.socket.connect_ex(("10.0.0.2", 80)) == errno.EINPROGRESS
                assert new.socket.connect_ex(("10.0.0.2", 80)) == errno.EALREADY
                with pytest.raises(BlockingIOError):
                    new.socket.send(b"x")
                await giambio.sleep(1)
                assert self.code_of(new.socket.send, b"x") == errno.ECONNREFUSED
                assert self.code_of(new.socket.recv, 1) == errno.ENOTCONN
                assert self.code_of(new.getpeername) == errno.ENOTCONN
                assert self.code_of(client.listen) == errno.EINVAL
                assert self.code_of(client.bind, ("", 1)) == errno.EINVAL
                assert self.code_of(client.socket.accept) == errno.EINVAL
                with pytest.raises(BlockingIOError):
                    listener.socket.accept()
                assert await client.send_some(b"") == 0
                server.shutdown(standard.SHUT_RD)
                assert await server.receive() == b""

        simulate(main)

    def test_of_datagrams(self):
        async def main():
            make = giambio.socket.socket
            async with make(type=standard.SOCK_DGRAM) as one, make(type=standard.SOCK_DGRAM) as two:
                assert one.getsockname() == ("0.0.0.0", 0)
                assert self.code_of(one.socket.send, b"x") == errno.EDESTADDRREQ
                assert one.socket.connect_ex(("10.0.0.99", 1)) == 0
                assert self.code_of(one.socket.send, b"x") == errno.EHOSTUNREACH
                two.bind(("", 9))
                address = ("127.0.0.1", 9)
                assert self.code_of(one.socket.sendto, bytes(65508), address) == errno.EMSGSIZE
                for _ in range(300):
                    await one.sendto(b"x", 0, address)
                await giambio.sleep(1)
                count = 0
                while two.is_readable():
                    assert await two.receive_into(bytearray(10)) == 1
                    count += 1
                assert count == 256
                two.shutdown(standard.SHUT_RD)
                assert await two.receive() == b""

        simulate(main)

    def test_what_they_are_can_be_asked(self):
        async def main():
            async with giambio.socket.socket() as sock:
                assert (sock.family, sock.type, sock.proto) == (
                    standard.AF_INET,
                    standard.SOCK_STREAM,
                    0,
                )
                sock.set_inheritable(True)
                assert not sock.get_inheritable()
                sock.setsockopt(standard.SOL_SOCKET, standard.SO_KEEPALIVE, 1)
                assert sock.getsockopt(standard.SOL_SOCKET, standard.SO_KEEPALIVE) == 1
                assert sock.getsockopt(standard.SOL_SOCKET, standard.SO_LINGER, 8) == bytes(8)
                assert "SOCK_STREAM, not bound" in repr(sock.socket)
            assert "closed" in repr(sock.socket)

        simulate(main)

    def test_what_is_not_there(self):
        async def main(use):
            left, right = giambio.socket.socketpair()
            async with left, right:
                await use(left)

        async def detach(sock):
            sock.detach()

        async def send_descriptor(sock):
            await giambio.socket.send_fds(sock, [b"x"], [0])

        async def of_a_descriptor(sock):
            giambio.socket.socket(fileno=0)

        async def raw(sock):
            giambio.socket.socket(type=standard.SOCK_RAW)

        async def other_family(sock):
            giambio.socket.socket(99)

        for use in (detach, send_descriptor, of_a_descriptor, raw, other_family):
            with pytest.raises(EscapedSimulation):
                simulate(main, use)


class TestDatagrams:
    """They are lost, late, or there twice."""

    @staticmethod
    async def exchange(count):
        network = current_network()
        with network.host("receiver"):
            receiver = await giambio.open_udp_endpoint(port=9)
        received = []
        async with receiver, await giambio.connect_udp("receiver", 9) as sender:
            for number in range(count):
                await sender.send(bytes([number]))
            with giambio.skip_after(1):
                async for data, _ in receiver:
                    received.append(data[0])
        return received

    def test_on_a_good_network_all_arrive(self):
        network = MemoryNetwork(latency=0.1)
        assert simulate(self.exchange, 20, network=network) == list(range(20))

    def test_some_are_lost(self):
        received = simulate(self.exchange, 50, network=MemoryNetwork(loss=0.2))
        assert received == sorted(received)
        assert 20 < len(received) < 50

    def test_some_are_overtaken(self):
        received = simulate(self.exchange, 50, network=MemoryNetwork(reordering=0.2))
        assert sorted(received) == list(range(50)) != received

    def test_some_are_there_twice(self):
        received = simulate(self.exchange, 50, network=MemoryNetwork(duplication=0.2))
        assert sorted(set(received)) == list(range(50))
        assert len(received) > 50

    def test_who_is_connected_is_told_that_nobody_listens(self):
        async def main():
            async with await giambio.connect_udp("localhost", 9) as sender:
                await sender.send(b"x")
                with pytest.raises(ConnectionRefusedError):
                    await sender.receive()

        simulate(main)

    def test_broadcasts_go_to_all_hosts(self):
        async def main():
            network = current_network()
            endpoints = []
            for name in ("a", "b"):
                with network.host(name):
                    endpoints.append(await giambio.open_udp_endpoint(port=9))
            async with await giambio.open_udp_endpoint(broadcast=True) as sender:
                await sender.send(b"x", ("255.255.255.255", 9))
                for endpoint in endpoints:
                    async with endpoint:
                        assert (await endpoint.receive())[0] == b"x"
            async with await giambio.open_udp_endpoint() as sender:
                with pytest.raises(PermissionError):
                    await sender.send(b"x", ("255.255.255.255", 9))

        simulate(main)


class TestFaults:
    """Partitions and resets, by hand and by chance."""

    def test_a_partition_holds_streams_back_and_loses_datagrams(self):
        async def main():
            network = current_network()
            client, server = await connected()
            with network.host("server"):
                receiver = await giambio.open_udp_endpoint(port=9)
            with network.host("client"):
                sender = await giambio.connect_udp("server", 9)
            async with client, server, receiver, sender:
                network.partition("client", {"server"})
                await client.send_all(b"late")
                await sender.send(b"lost")
                with giambio.skip_after(10) as scope:
                    await server.receive()
                assert scope.timed_out
                network.heal()
                assert await server.receive() == b"late"
                await sender.send(b"x")
                assert (await receiver.receive())[0] == b"x"
            assert [fault.what for fault in network.faults] == [
                "partition: client | server",
                "a datagram from client to server is lost",
                "the partition is healed",
            ]

        simulate(main)

    def test_in_a_partition_connecting_takes_two_minutes(self):
        async def main():
            network = current_network()
            with network.host("server"):
                pass
            network.partition(["localhost"], ["server"])
            with pytest.raises(TimeoutError):
                await giambio.connect_tcp("server", 80)
            assert giambio.clock() == 127

        simulate(main)

    def test_resetting_by_hand(self):
        async def main():
            client, server = await connected()
            async with client, server:
                assert current_network().reset("client", "server") == 1
                assert current_network().reset("client", "localhost") == 0
                for side in (client, server):
                    with pytest.raises(ConnectionResetError):
                        await side.receive()

        simulate(main)

    def test_resets_by_chance(self):
        async def main():
            client, server = await connected()
            async with client, server:
                with pytest.raises(ConnectionResetError):
                    while True:
                        await client.send_all(b"x")
                        await server.receive()
            assert "is reset" in str(current_network().faults[-1])

        simulate(main, network=MemoryNetwork(resets=0.1), seed=1)


class TestBadUse:
    """What makes no sense is refused, and what escapes is named."""

    @pytest.mark.parametrize(
        "options", [
            {"loss": 1.0}, {"loss": -0.1}, {"loss": "x"}, {"latency": -1}, {"latency": (2, 1)},
            {"latency": (1, 2, 3)}, {"latency": "x"},
        ],
    )  # fmt: skip
    def test_numbers_are_checked(self, options):
        with pytest.raises(ValueError, match=next(iter(options))):
            MemoryNetwork(**options)

    def test_a_network_says_what_it_is_like(self):
        async def main():
            return repr(current_network())

        text = simulate(main, network=MemoryNetwork(latency=1, loss=0.5))
        assert text.startswith("<SimulatedNetwork of 1 hosts, MemoryNetwork(")
        assert "latency=(1, 1), loss=0.5" in text

    def test_one_group_is_no_partition(self):
        async def main():
            with pytest.raises(ValueError, match="at least two groups"):
                current_network().partition("a")

        simulate(main)

    def test_a_host_is_in_one_group_of_a_partition(self):
        async def main():
            network = current_network()
            with network.host("a"), network.host("b"), network.host("c"):
                pass
            with pytest.raises(ValueError, match="host 'b' is in two groups"):
                network.partition(["a", "b"], ["b", "c"])

        simulate(main)

    def test_a_misspelled_host_does_not_make_a_test_pass(self):
        async def main():
            network = current_network()
            with network.host("server"):
                pass
            message = "no host is called 'sevrer', only 'localhost', 'server'"
            with pytest.raises(ValueError, match=message):
                network.partition("localhost", "sevrer")
            with pytest.raises(ValueError, match=message):
                network.reset("localhost", "sevrer")
            with pytest.raises(ValueError, match="the name of a host must be a string, not 3"):
                with network.host(3):
                    pass

        simulate(main)

    def test_a_run_without_one_says_so(self, run):
        async def main():
            with pytest.raises(RuntimeError, match="no network in memory"):
                current_network()

        run(main)

    def test_the_real_network_is_refused(self):
        async def use_standard_socket():
            left, right = standard.socketpair()
            with left, right:
                await giambio.wrap_socket(left).receive()

        async def use_descriptor():
            left, right = standard.socketpair()
            with left, right:
                await giambio.lowlevel.wait_readable(left.fileno())

        async def use_file():
            await giambio.open_unix_listener("/nowhere/at/all")

        async def duplicate():
            async with giambio.socket.socket() as sock:
                sock.dup()

        for program in (use_standard_socket, use_descriptor, use_file, duplicate):
            with pytest.raises(EscapedSimulation, match="is not possible in a simulated run"):
                simulate(program)

    @pytest.mark.parametrize(
        "program",
        [
            giambio.socket.socketpair,
            lambda: giambio.socket.socket(),
            lambda: giambio.socket.getaddrinfo("localhost", 1),
            lambda: giambio.socket.getnameinfo(("127.0.0.1", 1), 0),
        ],
    )
    def test_while_exploring_without_a_network_there_is_none(self, program):
        async def main():
            result = program()
            if hasattr(result, "__await__"):
                await result

        with pytest.raises(EscapedSimulation, match="sockets need network='memory'"):
            explore(main)

    def test_waiting_for_what_never_comes_is_a_deadlock(self):
        async def main():
            client, server = await connected()
            async with client, server:
                await client.receive()

        with pytest.raises(giambio.DeadlockError, match="wait for the outside world"):
            simulate(main)


def test_what_is_left_open_is_found():
    async def main():
        sock = giambio.socket.socket()
        await giambio.checkpoint()
        sock.close()

    with pytest.raises(AssertionError, match="unclosed <memory socket of host 'localhost'"):
        cancel_sweep(main, network="memory")


def test_a_server_and_its_clients_under_many_schedules():
    """Whatever the order of tasks and the state of the network, each client gets its own answer."""

    async def main():
        network = current_network()

        async def ask(number):
            question = b"question %d" % number
            async with await giambio.connect_tcp("server", 7) as stream:
                await stream.send_all(question)
                await stream.send_eof()
                answer = b""
                while part := await stream.receive():
                    answer += part
            assert answer == question

        async with giambio.create_pool() as pool:
            with network.host("server"):
                server = await pool.start(giambio.serve_tcp, echo, 7)
            async with giambio.create_pool() as clients:
                for number in range(3):
                    clients.spawn(ask, number)
            await server.drain(grace=10)

    report = explore(
        main,
        runs=60,
        seed=0,
        network=MemoryNetwork(latency=(0.0, 0.1), loss=0.1, fragmentation=0.3),
    )
    assert report.schedules == 60
    cancel_sweep(main, cancel_at="every site", network="memory")


def test_idle_waiters_come_before_packets():
    async def main():
        client, server = await connected()
        async with client, server:
            await client.send_all(b"x")
            await wait_all_tasks_blocked()
            assert giambio.clock() == 2

    simulate(main, network=MemoryNetwork(latency=1))
