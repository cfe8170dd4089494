# SPDX-License-Identifier: Apache-2.0
"""What bad connections do to a client and a server, with a proxy in between that makes them bad."""

from __future__ import annotations

import socket as stdlib
from math import inf

import pytest

import giambio
from giambio.testing import Break, Line, serve_fault_proxy, wait_all_tasks_blocked

MESSAGE = bytes(range(256)) * 4


async def echo(stream):
    while data := await stream.receive():
        await stream.send_all(data)


async def receive_all(stream):
    data = b""
    while more := await stream.receive():
        data += more
    return data


def through_proxy(run, talk, handler=echo, **lines):
    """Run ``talk(client)`` with a client of the handler whose bytes go through a proxy."""

    async def main():
        async with giambio.create_pool() as pool:
            errors = []
            server = await pool.start(
                giambio.serve_tcp,
                handler,
                0,
                host="127.0.0.1",
                on_error=lambda error, sock: errors.append(error),
            )
            proxy = await pool.start(serve_fault_proxy, "127.0.0.1", server.port, **lines)
            async with await giambio.connect_tcp("127.0.0.1", proxy.port) as client:
                result = await talk(client)
            await proxy.drain(grace=1)
            await server.drain(grace=1)
            assert not proxy.statistics().failed
            return result, [type(error) for error in errors]

    return run(main)


async def ask(client):
    await client.send_all(MESSAGE)
    await client.send_eof()
    return await receive_all(client)


def test_without_faults_everything_passes(run):
    assert through_proxy(run, ask) == (MESSAGE, [])


def test_a_stream_taken_apart_byte_by_byte_is_the_same_stream(run):
    sizes = []

    async def handler(stream):
        while data := await stream.receive():
            sizes.append(len(data))
            await stream.send_all(data)

    one = Line(piece=1)
    assert through_proxy(run, ask, handler, to_server=one, to_client=one) == (MESSAGE, [])
    assert len(sizes) > len(MESSAGE) / 4


def test_pieces_that_are_held_up_arrive_in_order(run):
    async def talk(client):
        start = giambio.clock()
        answer = await ask(client)
        return answer, giambio.clock() - start

    line = Line(piece=256, delay=1)
    (answer, seconds), errors = through_proxy(run, talk, to_server=line)
    assert (answer, errors) == (MESSAGE, [])
    assert seconds >= 4


def test_a_stream_that_is_cut_ends_early(run):
    answer, _ = through_proxy(run, ask, to_client=Line(limit=100))
    assert answer == MESSAGE[:100]


def test_a_reset_is_an_error_on_both_sides(run):
    async def talk(client):
        await client.send_all(MESSAGE)
        with pytest.raises(ConnectionResetError) as caught:
            while await client.receive():
                pass
        return caught.value.stream is client

    line = Line(limit=100, then=Break.RESET)
    assert through_proxy(run, talk, to_server=line) == (True, [ConnectionResetError])


def test_a_stream_that_is_half_closed_goes_on_in_the_other_direction(run):
    async def handler(stream):
        received = await receive_all(stream)
        await stream.send_all(b"%d, thank you" % len(received))

    async def talk(client):
        await client.send_all(MESSAGE)
        return await receive_all(client)

    line = Line(limit=100, then=Break.HALF_CLOSE)
    assert through_proxy(run, talk, handler, to_server=line) == (b"100, thank you", [])


def test_a_stream_that_stalls_is_what_timeouts_are_for(run):
    async def talk(client):
        await client.send_all(MESSAGE)
        received = b""
        while len(received) < 100:
            received += await client.receive()
        with giambio.skip_after(60) as scope:
            await client.receive()
        return received, scope.timed_out

    line = Line(limit=100, then=Break.STALL)
    (received, timed_out), _ = through_proxy(run, talk, to_client=line)
    assert (received, timed_out) == (MESSAGE[:100], True)


def test_with_a_limit_of_nothing_it_breaks_at_once(run):
    async def talk(client):
        with pytest.raises(ConnectionResetError):
            await client.receive()

    through_proxy(run, talk, to_client=Line(limit=0, then=Break.RESET))


def test_a_break_on_one_side_is_one_on_the_other(run):
    async def handler(stream):
        await stream.receive(1)  # what is left unread makes a reset of the end

    async def talk(client):
        await client.send_all(MESSAGE)
        with pytest.raises(ConnectionResetError):
            await client.receive()

    through_proxy(run, talk, handler)


def test_a_server_that_is_not_there_is_a_reset(run):
    async def main():
        with stdlib.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            async with giambio.create_pool() as pool:
                proxy = await pool.start(serve_fault_proxy, *unused.getsockname())
                async with await giambio.connect_tcp("127.0.0.1", proxy.port) as client:
                    with pytest.raises(ConnectionResetError):
                        await client.receive()
                pool.cancel()

    run(main)


@pytest.mark.parametrize("line", [Line(piece=0), Line(delay=-1), Line(limit=float("nan"))])
def test_a_line_that_cannot_be_is_refused(run, line):
    async def main():
        with pytest.raises(ValueError, match="pieces have at least 1 byte"):
            await serve_fault_proxy("127.0.0.1", 80, to_client=line)

    run(main)


def test_tls_survives_being_taken_apart_and_notices_being_cut(run, certificates):
    async def talk(message, **lines):
        async with giambio.create_pool() as pool:
            server = await pool.start(
                giambio.serve_tcp,
                echo,
                0,
                host="127.0.0.1",
                tls=certificates.server(),
                tls_handshake_timeout=inf,  # or virtual time might be over before the network is
            )
            proxy = await pool.start(serve_fault_proxy, "127.0.0.1", server.port, **lines)
            try:
                async with await giambio.connect_tcp(
                    "127.0.0.1",
                    proxy.port,
                    tls=certificates.client(),
                    server_hostname="giambio.test",
                ) as client:
                    await client.send_all(message)
                    received = b""
                    while len(received) < len(message):
                        received += await client.receive()
                    return received
            finally:
                await wait_all_tasks_blocked()
                pool.cancel()

    apart = Line(piece=1)
    assert run(lambda: talk(MESSAGE, to_client=apart, to_server=apart)) == MESSAGE
    with pytest.raises(giambio.ConnectionBroken):
        run(lambda: talk(MESSAGE * 16, to_client=Line(limit=10_000)))
