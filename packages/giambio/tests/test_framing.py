# SPDX-License-Identifier: Apache-2.0
"""Messages over a stream: whole, in order, and in sync whatever is cancelled."""

from __future__ import annotations

import pytest

import giambio
from giambio import (
    BufferedStream,
    ConnectionBroken,
    DelimitedStream,
    EndOfChannel,
    LengthPrefixedStream,
)
from giambio.exceptions import DelimiterNotFound, IncompleteRead, ResourceBusy
from giambio.testing import (
    assert_checkpoints,
    cancel_sweep,
    memory_stream_pair,
    wait_all_tasks_blocked,
)

BOTH = pytest.mark.parametrize("cls", [LengthPrefixedStream, DelimitedStream])


@BOTH
@pytest.mark.parametrize("max_chunk", [None, 1])
def test_messages_come_whole_and_then_the_end(run, cls, max_chunk):
    messages = [b"hello", b"", b"x" * 1000, memoryview(b"view"), bytearray(b"array")]

    async def main():
        left, right = (cls(stream) for stream in memory_stream_pair(max_chunk=max_chunk))
        async with left, right:
            for message in messages:
                with assert_checkpoints():
                    await left.send(message)
            await left.send_eof()
            for message in messages:
                with assert_checkpoints():
                    assert await right.receive() == message
            for _ in range(2):
                with pytest.raises(EndOfChannel):
                    await right.receive()
            assert [message async for message in right] == []
            await right.send(b"bye")
            right.close()
            assert [message async for message in left] == [b"bye"]
            assert cls.__name__ in repr(left)

    run(main)


@BOTH
def test_an_end_in_the_middle_is_an_error(run, cls):
    async def main():
        left, right = memory_stream_pair()
        framed = cls(right)
        async with left, framed:
            await left.send_all(b"\0\0\0\x05hell")
            await left.send_eof()
            for _ in range(2):
                with pytest.raises(IncompleteRead) as caught:
                    await framed.receive()
                assert caught.value.partial.endswith(b"hell")

    run(main)


def test_an_end_in_the_middle_of_the_length_is_an_error(run):
    async def main():
        left, right = memory_stream_pair()
        framed = LengthPrefixedStream(right)
        async with left, framed:
            await left.send_all(b"\0\0")
            await left.send_eof()
            with pytest.raises(IncompleteRead):
                await framed.receive()

    run(main)


def test_forms_of_the_length(run):
    async def main():
        left, right = memory_stream_pair()
        async with left, right:
            await LengthPrefixedStream(left, prefix=2).send(b"a")
            await LengthPrefixedStream(left, prefix=3, byteorder="little").send(b"b")
            assert await right.receive() == b"\0\1a\1\0\0b"
            short = LengthPrefixedStream(left, prefix=1)
            await short.send(bytes(255))
            with pytest.raises(ValueError, match="256 bytes, and may have 255 at most"):
                await short.send(bytes(256))
            for options in (
                {"prefix": 0},
                {"prefix": 9},
                {"limit": 0},
                {"prefix": 1, "limit": 256},
                {"byteorder": "middle"},
            ):
                with pytest.raises(ValueError):
                    LengthPrefixedStream(left, **options)

    run(main)


def test_forms_of_the_delimiter(run):
    async def main():
        left, right = memory_stream_pair()
        async with left, right:
            framed = DelimitedStream(left, b"\r\n", limit=10)
            await framed.send(b"a\nb\r")
            assert await right.receive() == b"a\nb\r\r\n"
            with pytest.raises(ValueError, match="delimiter"):
                await framed.send(b"a\r\nb")
            with pytest.raises(ValueError, match="delimiter"):
                await DelimitedStream(left, b"aa").send(b"xa")
            with pytest.raises(ValueError, match="may have 10 at most"):
                await framed.send(bytes(11))
            with pytest.raises(ValueError, match="empty"):
                DelimitedStream(left, b"")
            for no_bytes in ("\n", 10, None):
                with pytest.raises(TypeError, match="must be bytes, not"):
                    DelimitedStream(left, no_bytes)

    run(main)


def test_what_is_too_long_is_refused_before_it_is_received(run):
    async def main():
        left, right = memory_stream_pair()
        async with left, right:
            await left.send_all(b"\xff\xff\xff\xff")
            framed = LengthPrefixedStream(right)
            for _ in range(2):
                with pytest.raises(ConnectionBroken, match="4294967295 bytes is to come"):
                    await framed.receive()
            await left.send_all(bytes(20))
            with pytest.raises(DelimiterNotFound):
                await DelimitedStream(right, limit=10).receive()

    run(main)


def test_a_buffer_that_is_there_is_used(run):
    async def main():
        left, right = memory_stream_pair()
        async with left:
            buffered = BufferedStream(right, initial=b"one\ntw")
            framed = DelimitedStream(buffered)
            assert framed.stream is buffered
            assert await framed.receive() == b"one"
            await left.send_all(b"o\n")
            assert await framed.receive() == b"two"
            await framed.aclose()

    run(main)


@BOTH
def test_many_tasks_may_send(run, cls):
    messages = [bytes([65 + n]) * 50 for n in range(10)]

    async def main():
        left, right = (cls(stream) for stream in memory_stream_pair(7))
        async with left, right, giambio.create_pool() as pool:
            for message in messages:
                pool.spawn(left.send, message)
            for message in messages:
                assert await right.receive() == message

    run(main)


@BOTH
def test_half_a_message_is_the_last_one(run, cls):
    async def main():
        left, right = (cls(stream) for stream in memory_stream_pair(10))
        async with left, right, giambio.create_pool() as pool:
            with giambio.skip_after(1) as scope:
                await left.send(bytes(100))
            assert scope.cancelled_caught
            with pytest.raises(ConnectionBroken, match="in the middle"):
                await left.send(b"x")
            # Waiting for its turn, one may be cancelled without harm.
            sender = pool.spawn(right.send, b"y" * 100)
            await wait_all_tasks_blocked()
            with giambio.skip_after(1):
                await right.send(b"never")
            pool.spawn(right.send, b"z")
            assert await left.receive() == b"y" * 100
            assert await left.receive() == b"z"
            await sender.join()

    run(main)


@BOTH
def test_a_message_that_was_refused_does_no_harm(run, cls):
    async def main():
        left, right = memory_stream_pair(3)
        framed = cls(left)
        async with framed, right, giambio.create_pool() as pool:
            pool.spawn(left.send_all, bytes(10))
            await wait_all_tasks_blocked()
            with pytest.raises(ResourceBusy):
                await framed.send(b"x")
            got = b""
            while len(got) < 10:
                got += await right.receive()
            await wait_all_tasks_blocked()
            pool.spawn(framed.send, b"y")
            assert await cls(right).receive() == b"y"

    run(main)


@BOTH
def test_wherever_receiving_is_cancelled_it_stays_in_sync(cls):
    got = []

    async def main():
        got.clear()
        left, right = (cls(stream) for stream in memory_stream_pair(4, max_chunk=3))
        async with left, right, giambio.create_pool() as pool:
            pool.spawn(send, left)
            pool.spawn(receive, right, 2)
            await wait_all_tasks_blocked()
            pool.spawn(receive, right, 3 - len(got))

    async def send(framed):
        for message in (b"one", b"", b"three"):
            await framed.send(message)

    async def receive(framed, count):
        for _ in range(count):
            got.append(await framed.receive())

    def check():
        assert got == [b"one", b"", b"three"]

    cancel_sweep(main, target="receive", check=check)
