# SPDX-License-Identifier: Apache-2.0
"""What holds for every stream, tried with every kind of stream that we have.

A kind is an async function that returns two connected streams; to have another one tried, add it to
the list.
"""

from __future__ import annotations

import itertools
import os
import socket as stdlib
import tempfile
from typing import NamedTuple

import pytest

import giambio
from giambio import (
    BufferedStream,
    DelimitedStream,
    HalfCloseableStream,
    LengthPrefixedStream,
    ReceiveStream,
    ResourceBusy,
    ResourceClosed,
    SendStream,
    StapledStream,
    Stream,
    TextStream,
    TLSStream,
    socket,
)
from giambio.testing import (
    MemoryNetwork,
    assert_checkpoints,
    cancel_sweep,
    memory_stream_pair,
    simulate,
    wait_all_tasks_blocked,
)

# The kinds


async def socketpair(contexts):
    return socket.socketpair()


async def accepted(listener, family):
    async with listener:
        client = socket.socket(family, socket.SOCK_STREAM)
        task = giambio.spawn(listener.accept)
        await client.connect(listener.getsockname())
        return client, (await task.join())[0]


async def tcp(contexts):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return await accepted(listener, socket.AF_INET)


async def unix(contexts):
    with tempfile.TemporaryDirectory() as directory:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.path.join(directory, "s"))
        listener.listen()
        return await accepted(listener, socket.AF_UNIX)


async def memory(contexts):
    return memory_stream_pair(1000)


async def memory_by_single_bytes(contexts):
    return memory_stream_pair(1, max_chunk=1)


async def memory_delayed(contexts):
    return memory_stream_pair(1000, delay=0.1)


async def stapled(contexts):
    (send_left, receive_right), (send_right, receive_left) = (
        socket.socketpair(),
        socket.socketpair(),
    )
    return StapledStream(send_left, receive_left), StapledStream(send_right, receive_right)


async def pipes(contexts):
    (send_left, receive_right), (send_right, receive_left) = (
        giambio.open_pipe(),
        giambio.open_pipe(),
    )
    return StapledStream(send_left, receive_left), StapledStream(send_right, receive_right)


async def buffered(contexts):
    left, right = memory_stream_pair(1000)
    return BufferedStream(left), BufferedStream(right)


async def over_tls(pair, contexts, version="TLSv1_3"):
    client, server = contexts(version)
    left = TLSStream(pair[0], client, server_hostname="giambio.test")
    right = TLSStream(pair[1], server, server_side=True)
    await giambio.gather(left.do_handshake, right.do_handshake)
    return left, right


async def tls_over_memory(contexts):
    return await over_tls(memory_stream_pair(1000), contexts)


async def tls_by_single_bytes(contexts):
    return await over_tls(memory_stream_pair(1, max_chunk=1), contexts)


async def tls_1_2_over_memory(contexts):
    return await over_tls(memory_stream_pair(), contexts, "TLSv1_2")


async def tls_over_tcp(contexts):
    return await over_tls(await tcp(contexts), contexts)


async def tls_in_tls(contexts):
    return await over_tls(await tls_over_memory(contexts), contexts)


async def buffered_tls_over_buffered(contexts):
    left, right = await over_tls(await buffered(contexts), contexts)
    return BufferedStream(left), BufferedStream(right)


async def simulated(contexts):
    return await tcp(contexts)


async def tls_over_simulated(contexts):
    return await tls_over_tcp(contexts)


BAD_NETWORK = MemoryNetwork(latency=(0.001, 0.1), loss=0.1, fragmentation=0.5)


class Kind(NamedTuple):
    make: object
    network: object = None
    is_slow: bool = False  # so much that large messages take too long
    can_half_close: bool = True


KINDS = [
    Kind(socketpair),
    Kind(tcp),
    Kind(unix),
    Kind(memory),
    Kind(memory_by_single_bytes, is_slow=True),
    Kind(memory_delayed, is_slow=True),
    Kind(stapled),
    Kind(pipes),
    Kind(buffered),
    Kind(tls_over_memory),
    Kind(tls_by_single_bytes, is_slow=True),
    Kind(tls_1_2_over_memory, can_half_close=False),
    Kind(tls_over_tcp),
    Kind(tls_in_tls),
    Kind(buffered_tls_over_buffered),
    Kind(simulated, BAD_NETWORK),
    Kind(tls_over_simulated, BAD_NETWORK),
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.make.__name__)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def contexts(certificates):
    cache = {}

    def contexts(version):
        if version not in cache:
            cache[version] = (
                certificates.client(version=version),
                certificates.server(version=version),
            )
        return cache[version]

    return contexts


@pytest.fixture
def on_pair(run, kind, contexts):
    """Run an async function with two connected streams, and close them afterwards."""

    def on_pair(func):
        async def main():
            left, right = await kind.make(contexts)
            try:
                await func(left, right)
            finally:
                left.close()
                right.close()

        if kind.network is None:
            run(main)
        else:
            simulate(main, network=kind.network)

    return on_pair


async def receive_all(stream, max_bytes=65536):
    data = b""
    while more := await stream.receive(max_bytes):
        assert len(more) <= max_bytes
        data += more
    return data


async def receive_exactly(stream, size):
    data = b""
    while len(data) < size:
        data += await stream.receive(size - len(data))
    return data


# More than any of them takes without being read.
LARGE = bytes(8_000_000)

# What holds for all of them


def test_it_is_a_stream(on_pair, kind):
    async def main(left, right):
        for protocol in (SendStream, ReceiveStream, Stream, HalfCloseableStream):
            assert isinstance(left, protocol)

    on_pair(main)


@pytest.mark.parametrize(
    "cls", [BufferedStream, TextStream, LengthPrefixedStream, DelimitedStream, TLSStream]
)
def test_what_is_none_is_refused_where_it_is_given(cls):
    with stdlib.socket() as sock:
        for none in (sock, 5, None):
            with pytest.raises(TypeError, match=r"expected a stream, not .*wrap_socket"):
                cls(none)


def test_all_bytes_come_in_order_and_then_the_end_for_ever(on_pair, kind):
    messages = [os.urandom(size) for size in (1, 0, 10, 100 if kind.is_slow else 150_000)]

    async def main(left, right):
        async def send():
            for message in messages:
                await left.send_all(message)
            await left.aclose()

        async with giambio.create_pool() as pool:
            pool.spawn(send)
            assert await receive_all(right) == b"".join(messages)
        assert await right.receive() == b""
        assert await right.receive(1) == b""

    on_pair(main)


@pytest.mark.parametrize("max_bytes", [1, 7])
def test_no_more_is_received_than_was_asked_for(on_pair, max_bytes):
    message = os.urandom(50)

    async def main(left, right):
        async with giambio.create_pool() as pool:
            pool.spawn(left.send_all, message)
            got = b""
            while len(got) < len(message):
                data = await right.receive(max_bytes)
                assert 1 <= len(data) <= max_bytes
                got += data
            assert got == message
        with pytest.raises(ValueError, match="at least 1, not 0"):
            await right.receive(0)

    on_pair(main)


@pytest.mark.parametrize("kind_of_data", [bytearray, memoryview])
def test_what_holds_bytes_can_be_sent(on_pair, kind_of_data):
    async def main(left, right):
        async with giambio.create_pool() as pool:
            pool.spawn(left.send_all, kind_of_data(b"hello"))
            assert await receive_exactly(right, 5) == b"hello"

    on_pair(main)


@pytest.mark.parametrize("no_bytes", ["text", None, 5])
def test_what_holds_no_bytes_is_refused_and_does_no_harm(on_pair, no_bytes):
    async def main(left, right):
        with pytest.raises(TypeError):
            await left.send_all(no_bytes)
        async with giambio.create_pool() as pool:
            pool.spawn(left.send_all, b"hello")
            assert await receive_exactly(right, 5) == b"hello"

    on_pair(main)


def test_both_directions_at_once(on_pair, kind):
    message = os.urandom(200 if kind.is_slow else 200_000)

    async def main(left, right):
        async with giambio.create_pool() as pool:
            for stream in (left, right):
                pool.spawn(stream.send_all, message)
            for task in [
                pool.spawn(receive_exactly, stream, len(message)) for stream in (left, right)
            ]:
                assert await task.join() == message

    on_pair(main)


def test_every_operation_is_a_checkpoint(on_pair, kind):
    async def main(left, right):
        with assert_checkpoints():
            await left.send_all(b"")
        async with giambio.create_pool() as pool:
            pool.spawn(left.send_all, b"hello")
            for _ in range(5):
                with assert_checkpoints():
                    await right.receive(1)
        if kind.can_half_close:
            async with giambio.create_pool() as pool:
                pool.spawn(receive_all, right)
                with assert_checkpoints():
                    await left.send_eof()
            for _ in range(2):
                with assert_checkpoints():
                    assert await right.receive() == b""
        for _ in range(2):
            with assert_checkpoints():
                await left.aclose()

    on_pair(main)


def test_one_direction_ends_and_the_other_goes_on(on_pair, kind):
    async def main(left, right):
        if not kind.can_half_close:
            with pytest.raises(ValueError):
                await left.send_eof()
            return
        async with giambio.create_pool() as pool:
            pool.spawn(left.send_all, b"question")
            assert await receive_exactly(right, 8) == b"question"
        async with giambio.create_pool() as pool:
            pool.spawn(left.send_eof)
            assert await right.receive() == b""
        with pytest.raises((OSError, ResourceClosed)):
            await left.send_all(b"x")
        async with giambio.create_pool() as pool:
            pool.spawn(right.send_all, b"answer")
            assert await receive_exactly(left, 6) == b"answer"
            pool.spawn(right.aclose)
            assert await left.receive() == b""

    on_pair(main)


def test_one_task_at_a_time_in_each_direction(on_pair):
    async def main(left, right):
        async with giambio.create_pool() as pool:
            pool.spawn(left.receive).name = "reader"
            await wait_all_tasks_blocked()
            with pytest.raises(ResourceBusy, match="'reader'"):
                await left.receive()
            pool.spawn(left.send_all, LARGE).name = "writer"
            await wait_all_tasks_blocked()
            with pytest.raises(ResourceBusy, match="'writer'"):
                await left.send_all(b"x")
            pool.cancel()

    on_pair(main)


def test_closing_wakes_who_waits_and_refuses_who_comes_later(on_pair):
    async def main(left, right):
        async def attempt(operation, *args):
            with pytest.raises(ResourceClosed):
                await operation(*args)

        async with giambio.create_pool() as pool:
            pool.spawn(attempt, left.receive)
            pool.spawn(attempt, left.send_all, LARGE)
            await wait_all_tasks_blocked()
            await left.close()
        await attempt(left.receive)
        await attempt(left.send_all, b"x")
        left.close()
        await left.aclose()

    on_pair(main)


def test_a_block_closes_also_when_it_is_cancelled(on_pair):
    async def main(left, right):
        with giambio.CancelScope() as scope:
            async with left as entered:
                assert entered is left
                scope.cancel()
        with pytest.raises(ResourceClosed):
            await left.receive()
        with giambio.CancelScope() as scope:
            scope.cancel()
            await right.aclose()
        with pytest.raises(ResourceClosed):
            await right.send_all(b"x")

    on_pair(main)


def test_sending_to_one_who_is_gone_is_an_oserror(on_pair):
    async def main(left, right):
        right.close()
        with pytest.raises(OSError) as caught:
            while True:
                await left.send_all(bytes(1000))
        assert 0 <= caught.value.bytes_sent <= 1000

    on_pair(main)


def test_a_cancelled_receive_loses_nothing(on_pair, kind):
    message = os.urandom(100)

    async def main(left, right):
        got = b""
        async with giambio.create_pool() as pool:
            pool.spawn(left.send_all, message)
            for patience in itertools.cycle([0, 0.05, 0.1]):
                with giambio.CancelScope() as scope:
                    pool.spawn(cancel_later, scope, patience)
                    got += await right.receive(3)
                if len(got) == len(message):
                    break
            assert got == message

    async def cancel_later(scope, seconds):
        await giambio.sleep(seconds)
        scope.cancel()

    on_pair(main)


def test_what_is_cancelled_before_it_begins_has_no_effect(on_pair):
    async def main(left, right):
        with giambio.CancelScope() as scope:
            scope.cancel()
            await left.send_all(b"never")
        assert scope.cancelled_caught
        async with giambio.create_pool() as pool:
            pool.spawn(left.send_all, b"hello")
            assert await receive_exactly(right, 5) == b"hello"

    on_pair(main)


def test_a_cancelled_send_says_how_much_it_has_sent(on_pair):
    async def main(left, right):
        told = []

        async def send():
            try:
                await left.send_all(LARGE)
            except giambio.CancelledError as error:
                told.append(error.bytes_sent)
                raise

        async with giambio.create_pool() as pool:
            pool.spawn(send)
            await wait_all_tasks_blocked()
            pool.cancel()
        assert 0 <= told[0] < len(LARGE)
        left.close()
        got = 0
        try:
            while data := await right.receive():
                got += len(data)
        except OSError:
            pass  # one of TLS tells that it was cut off
        assert got >= told[0]

    on_pair(main)


@pytest.mark.parametrize("role", ["sender", "receiver"])
def test_wherever_it_is_cancelled_nothing_hangs_or_stays_open(kind, contexts, role):
    """The other side gets the beginning of what was sent, and never anything else."""
    if kind.is_slow:
        return  # nothing new, and thousands of checkpoints
    message = bytes(range(200)) * 10
    received = bytearray()

    async def sender(stream):
        try:
            for start in range(0, len(message), 500):
                await stream.send_all(message[start : start + 500])
            await stream.aclose()
        except OSError:
            pass
        finally:
            stream.close()

    async def receiver(stream):
        try:
            while data := await stream.receive(300):
                received.extend(data)
        except OSError:
            pass
        finally:
            stream.close()

    async def main():
        received.clear()
        left, right = await kind.make(contexts)
        try:
            async with giambio.create_pool() as pool:
                pool.spawn(sender, left)
                pool.spawn(receiver, right)
        finally:
            left.close()
            right.close()

    def check():
        assert message.startswith(received)

    cancel_sweep(main, target=role, check=check, network=kind.network)
