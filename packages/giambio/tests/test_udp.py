# SPDX-License-Identifier: Apache-2.0
"""UDP: endpoints for datagrams to and from anybody, and to and from one other side."""

from __future__ import annotations

import errno
import socket as stdlib
import sys

import pytest

import giambio
from giambio import ResourceBusy, ResourceClosed, UDPConnection, socket
from giambio.testing import assert_checkpoints, cancel_sweep, wait_all_tasks_blocked


def test_datagrams_go_to_and_fro(run):
    async def main():
        async with (
            await giambio.open_udp_endpoint("127.0.0.1") as server,
            await giambio.open_udp_endpoint("127.0.0.1") as client,
        ):
            with assert_checkpoints():
                await client.send(b"hello", ("127.0.0.1", server.port))
            with assert_checkpoints():
                data, address = await server.receive()
            assert (data, address) == (b"hello", client.address)
            await server.send(data.upper(), address)
            assert await client.receive() == (b"HELLO", server.address)

    run(main)


def test_a_connection_talks_to_one_other_side_only(run):
    async def main():
        async with (
            await giambio.open_udp_endpoint("127.0.0.1") as server,
            await giambio.open_udp_endpoint("127.0.0.1") as stranger,
            await giambio.connect_udp("127.0.0.1", server.port) as client,
        ):
            assert client.peer == server.address
            with assert_checkpoints():
                await client.send(b"hello")
            data, address = await server.receive()
            assert address == client.address
            await stranger.send(b"not for you", address)
            await server.send(data.upper(), address)
            with assert_checkpoints():
                assert await client.receive() == b"HELLO"

    run(main)


def test_an_empty_datagram_is_one_and_no_end(run):
    async def main():
        async with await giambio.open_udp_endpoint("127.0.0.1") as server:
            async with await giambio.connect_udp("127.0.0.1", server.port) as client:
                received = []
                for data in (b"one", b"", b"three"):
                    await client.send(data)
                async for data, address in server:
                    received.append(data)
                    await server.send(data, address)
                    if len(received) == 3:
                        break
                async for data in client:
                    received.append(data)
                    if len(received) == 6:
                        break
        assert received == [b"one", b"", b"three"] * 2

    run(main)


def test_the_largest_datagram_arrives_whole_and_a_larger_one_is_an_error(run):
    async def main():
        async with await giambio.open_udp_endpoint("127.0.0.1") as endpoint:
            largest = 65507 if sys.platform == "linux" else 9000
            await endpoint.send(bytes(largest), endpoint.address)
            assert len((await endpoint.receive())[0]) == largest
            with pytest.raises(OSError) as caught:
                await endpoint.send(bytes(70000), endpoint.address)
            assert caught.value.errno == errno.EMSGSIZE

    run(main)


def test_one_task_may_receive_while_another_one_sends_but_not_two_receive(run):
    async def main():
        async with await giambio.open_udp_endpoint("127.0.0.1") as endpoint:
            async with giambio.create_pool() as pool:
                receiving = pool.spawn(endpoint.receive)
                await wait_all_tasks_blocked()
                with pytest.raises(ResourceBusy):
                    await endpoint.receive()
                await endpoint.send(b"hello", endpoint.address)
                assert (await receiving.join())[0] == b"hello"

    run(main)


def test_any_number_of_tasks_may_send(run):
    # A task for each question is what a server of datagrams is made of. Now and then one of them waits
    # in the middle of sending, if only to let others run.
    async def main():
        async with (
            await giambio.open_udp_endpoint("127.0.0.1") as server,
            await giambio.connect_udp("127.0.0.1", server.port) as client,
        ):
            answers = set()
            async with giambio.create_pool() as pool:
                for number in range(300):
                    pool.spawn(client.send, b"%d" % number)
                    if number % 10 == 9:  # no more than fit into the buffer of the system
                        for _ in range(10):
                            pool.spawn(server.send, *await server.receive())
                        for _ in range(10):
                            answers.add(int(await client.receive()))
            assert answers == set(range(300))

    run(main)


@pytest.fixture
async def full():
    """A connection whose datagrams nobody takes, and which has no room for another one."""
    left, right = socket.socketpair(stdlib.AF_UNIX, stdlib.SOCK_DGRAM)
    async with UDPConnection(left) as connection, right:
        with pytest.raises(BlockingIOError):
            while True:
                left.socket.send(b"x")
        yield connection, right


@pytest.mark.giambio
async def test_tasks_send_in_the_order_in_which_they_came(full):
    connection, other = full
    async with giambio.create_pool() as pool:
        for data in b"a", b"b", b"c", b"d":
            task = pool.spawn(connection.send, data)
            if data == b"c":
                given_up = task
        await wait_all_tasks_blocked()
        given_up.cancel()
        received = []
        while b"d" not in received:
            received.append(await other.receive())
    assert received[-3:] == [b"a", b"b", b"d"]


@pytest.mark.giambio
async def test_closing_wakes_all_who_wait_to_send(full):
    connection, _ = full

    async def send():
        with pytest.raises(ResourceClosed):
            await connection.send(b"x")

    async with giambio.create_pool() as pool:
        for _ in range(3):
            pool.spawn(send)
        await wait_all_tasks_blocked()
        connection.close()


@pytest.mark.giambio
async def test_who_is_cancelled_while_it_sends_lets_the_next_one(full):
    connection, other = full
    async with giambio.create_pool() as pool:
        first = pool.spawn(connection.send, b"a")
        second = pool.spawn(connection.send, b"b")
        await wait_all_tasks_blocked()
        first.cancel()
        while await other.receive() != b"b":
            pass
        await second.join()


@pytest.mark.parametrize("connected", [False, True])
def test_closing_wakes_who_waits(run, connected):
    async def main():
        endpoint = await giambio.open_udp_endpoint("127.0.0.1")
        if connected:
            endpoint.close()
            endpoint = await giambio.connect_udp("127.0.0.1", 9)

        async def receive():
            with pytest.raises(ResourceClosed):
                async for _ in endpoint:
                    pass

        async with giambio.create_pool() as pool:
            pool.spawn(receive)
            await wait_all_tasks_blocked()
            with assert_checkpoints():
                await endpoint.aclose()
        assert "closed" in repr(endpoint)

    run(main)


def test_that_nobody_listens_shows_at_the_next_operation(run):
    async def main():
        with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        async with await giambio.connect_udp("127.0.0.1", port) as client:
            await client.send(b"hello")
            with pytest.raises(ConnectionRefusedError):
                await client.receive()
            await client.send(b"hello again")

    run(main)


def test_where_from_can_be_said(run):
    async def main():
        async with await giambio.open_udp_endpoint("127.0.0.1") as first:
            port = first.port
        async with await giambio.connect_udp(
            "127.0.0.1", 9, local_address=("127.0.0.1", port)
        ) as client:
            assert client.port == port
        async with await giambio.open_udp_endpoint(port=port) as everywhere:
            assert everywhere.address == ("0.0.0.0", port)

    run(main)


def test_a_port_in_use_is_an_error_and_leaves_nothing_open(run):
    async def main():
        async with await giambio.open_udp_endpoint("127.0.0.1") as first:
            with pytest.raises(OSError) as caught:
                await giambio.open_udp_endpoint("127.0.0.1", first.port)
            assert caught.value.errno == errno.EADDRINUSE
            with pytest.raises(OSError):
                await giambio.connect_udp("127.0.0.1", 9, local_address=("127.0.0.1", first.port))

    run(main)


@pytest.mark.skipif(not hasattr(stdlib, "SO_REUSEPORT"), reason="not on this system")
def test_both_families_may_have_the_same_port(run):
    """On some systems a socket for all addresses of IPv6 would take those of IPv4 along."""

    async def main():
        async with await giambio.open_udp_endpoint() as old:
            try:
                new = await giambio.open_udp_endpoint("::", old.port)
            except OSError as error:
                if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    pytest.skip("no IPv6 here")
                raise
            async with new:
                for host, endpoint in (("127.0.0.1", old), ("::1", new)):
                    async with await giambio.connect_udp(host, old.port) as client:
                        await client.send(b"hello")
                        assert (await endpoint.receive())[0] == b"hello"

    run(main)


def test_options(run):
    async def main():
        async with await giambio.open_udp_endpoint(
            "127.0.0.1", broadcast=True, reuse_port=True
        ) as first:
            assert first.socket.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_BROADCAST)
            second = await giambio.open_udp_endpoint("127.0.0.1", first.port, reuse_port=True)
            second.close()

    run(main)


def test_of_several_addresses_the_first_one_with_a_way_is_taken(run):
    class Resolver:
        async def getaddrinfo(self, host, port, family, type, proto, flags):
            nowhere = "255.255.255.255"  # without leave to broadcast there is no way
            return [
                (stdlib.AF_INET, type, 0, "", (address, port))
                for address in (nowhere, "127.0.0.1", "127.0.0.2")
            ]

        async def getnameinfo(self, sockaddr, flags):
            raise NotImplementedError

    async def main():
        socket.set_resolver(Resolver())
        async with await giambio.connect_udp("giambio.test", 9) as client:
            assert client.peer == ("127.0.0.1", 9)

    run(main)


def test_cancelled_anywhere_nothing_is_left_open():
    async def program():
        async with await giambio.open_udp_endpoint("127.0.0.1") as server:
            async with await giambio.connect_udp("127.0.0.1", server.port) as client:
                async with giambio.create_pool() as pool:
                    pool.spawn(client.send, b"hello")
                    pool.spawn(client.send, b"hello")
                    await server.send(*(await server.receive()))
                    await client.receive()

    cancel_sweep(program)
