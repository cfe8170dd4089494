# SPDX-License-Identifier: Apache-2.0
"""Reading by count, by delimiter and by line, in bytes and in text: nothing is lost, whatever happens."""

from __future__ import annotations

import os
from functools import partial

import pytest

import giambio
from giambio import BufferedStream, ResourceBusy, ResourceClosed, TextStream
from giambio.exceptions import DelimiterNotFound, IncompleteRead
from giambio.testing import (
    assert_checkpoints,
    cancel_sweep,
    memory_pipe,
    memory_stream_pair,
    wait_all_tasks_blocked,
)


@pytest.fixture(params=[None, 1, 3], ids=["at once", "single bytes", "in threes"])
def stream_of(request):
    """Return a function that makes a stream that gives some bytes, in pieces, and then ends."""

    async def stream_of(data, cls=BufferedStream, **options):
        sending, receiving = memory_pipe(max_chunk=request.param)
        await sending.send_all(data)
        await sending.send_eof()
        return cls(receiving, **options)

    return stream_of


class TestExactly:
    """So many bytes, not more and not less."""

    def test_counts(self, run, stream_of):
        async def main():
            async with await stream_of(b"hello, world") as stream:
                assert await stream.receive_exactly(0) == b""
                assert await stream.receive_exactly(5) == b"hello"
                assert await stream.receive_exactly(1) == b","
                assert await stream.receive_exactly(6) == b" world"
                assert await stream.receive_exactly(0) == b""
                with pytest.raises(ValueError):
                    await stream.receive_exactly(-1)

        run(main)

    def test_an_early_end_leaves_what_has_come(self, run, stream_of):
        async def main():
            async with await stream_of(b"hello") as stream:
                for _ in range(2):
                    with pytest.raises(IncompleteRead, match="after 5 of 6 bytes") as caught:
                        await stream.receive_exactly(6)
                    assert caught.value.partial == b"hello"
                assert stream.buffered == b"hello"
                assert await stream.receive_exactly(5) == b"hello"
                with pytest.raises(IncompleteRead) as caught:
                    await stream.receive_exactly(1)
                assert caught.value.partial == b""

        run(main)

    def test_large_ones_are_not_copied_more_than_once(self, run):
        """What comes in one piece is handed on as it is, and of much no more is asked than missing."""
        asked = []

        class Pieces:
            async def receive(self, max_bytes):
                asked.append(max_bytes)
                return pieces.pop(0)

        pieces = [bytes(65536), bytes(10_000), bytes(24_464), b"tail!"]

        async def main():
            first = pieces[0]
            stream = BufferedStream(Pieces())
            assert await stream.receive_exactly(65536) is first
            assert await stream.receive_exactly(34_464) == bytes(34_464)
            assert asked == [65536, 34_464, 24_464]
            assert await stream.receive_exactly(4) == b"tail"
            assert asked[3] == 65536
            assert stream.buffered == b"!"

        run(main)

    def test_cancelled_nothing_is_lost(self, run):
        async def main():
            sending, receiving = memory_pipe()
            async with sending, BufferedStream(receiving) as stream:
                await sending.send_all(b"hello")
                with giambio.skip_after(1) as scope:
                    await stream.receive_exactly(10)
                assert scope.cancelled_caught
                assert stream.buffered == b"hello"
                await sending.send_all(b"world")
                assert await stream.receive_exactly(10) == b"helloworld"

        run(main)


class TestUntil:
    """Up to a delimiter."""

    @pytest.mark.parametrize("delimiter", [b"|", b"\r\n", b"aab"])
    def test_delimiters(self, run, stream_of, delimiter):
        async def main():
            async with await stream_of(
                b"one" + delimiter + delimiter + b"aa" + delimiter + b"rest"
            ) as stream:
                assert await stream.receive_until(delimiter) == b"one"
                assert await stream.receive_until(delimiter, keep=True) == delimiter
                assert await stream.receive_until(delimiter) == b"aa"
                with pytest.raises(IncompleteRead, match="before") as caught:
                    await stream.receive_until(delimiter)
                assert caught.value.partial == stream.buffered == b"rest"
                with pytest.raises(ValueError):
                    await stream.receive_until(b"")
                with pytest.raises(ValueError):
                    await stream.receive_until(b"|", limit=-1)

        run(main)

    def test_limits(self, run, stream_of):
        async def main():
            async with await stream_of(b"12345\r\n123456\r\n\r\n", limit=5) as stream:
                assert await stream.receive_until(b"\r\n") == b"12345"
                for _ in range(2):
                    with pytest.raises(DelimiterNotFound, match="within 5 bytes"):
                        await stream.receive_until(b"\r\n")
                assert await stream.receive_until(b"\r\n", limit=6) == b"123456"
                assert await stream.receive_until(b"\r\n", limit=0) == b""

        run(main)

    def test_a_delimiter_that_never_comes_is_not_waited_for(self, run):
        async def main():
            sending, receiving = memory_pipe(max_chunk=1)
            async with sending, BufferedStream(receiving, limit=5) as stream:
                await sending.send_all(b"12345\r\r\r\r")
                with pytest.raises(DelimiterNotFound):
                    await stream.receive_until(b"\r\n")
                assert stream.buffered == b"12345\r\r"

        run(main)

    def test_what_has_come_already_is_used_first(self, run):
        async def main():
            sending, receiving = memory_pipe()
            async with sending, BufferedStream(receiving, initial=b"one;tw") as stream:
                await sending.send_all(b"o;three")
                assert await stream.receive_until(b";") == b"one"
                assert await stream.receive(1) == b"t"
                assert await stream.receive_until(b";") == b"wo"
                assert await stream.receive() == b"three"

        run(main)


class TestLines:
    """Lines, of bytes and of characters."""

    @pytest.mark.parametrize("text", ["", "\n", "\r\n", "a", "a\n", "ä\r\n\nb\rc\r\r\n\u20ac"])
    @pytest.mark.parametrize("keep", [False, True])
    def test_lines(self, run, stream_of, text, keep):
        expected = text.split("\n")
        if keep:
            expected[:-1] = [line + "\n" for line in expected[:-1]]
        else:
            expected[:-1] = [line.removesuffix("\r") for line in expected[:-1]]
        if not expected[-1]:
            expected.pop()

        async def main():
            async with await stream_of(text.encode()) as stream:
                lines = [line async for line in stream.lines(keep=keep)]
                assert lines == [line.encode() for line in expected]
            async with await stream_of(text.encode(), TextStream) as stream:
                assert [line async for line in stream.lines(keep=keep)] == expected

        run(main)

    @pytest.mark.parametrize(("cls", "made_of"), [(BufferedStream, str.encode), (TextStream, str)])
    def test_a_line_can_be_received_alone(self, run, stream_of, cls, made_of):
        async def main():
            async with await stream_of(b"first\r\n\nlast", cls) as stream:
                assert await stream.receive_line() == made_of("first")
                assert await stream.receive_line(keep=True) == made_of("\n")
                assert await stream.receive_line() == made_of("last")
                assert await stream.receive_line() is None
                with pytest.raises(ValueError, match="limit must be at least 0"):
                    await stream.receive_line(limit=-1)

        run(main)

    @pytest.mark.parametrize("cls", [BufferedStream, TextStream])
    def test_limits(self, run, stream_of, cls):
        async def main():
            async with await stream_of(b"12345\r\n1234567\n", cls, limit=6) as stream:
                lines = stream.lines()
                assert await anext(lines) in (b"12345", "12345")
                for _ in range(2):
                    with pytest.raises(DelimiterNotFound):
                        await anext(lines)
                assert len([line async for line in stream.lines(limit=7)]) == 1
                with pytest.raises(ValueError):
                    stream.lines(limit=-1)
            with pytest.raises(ValueError):
                await stream_of(b"", cls, limit=0)

        run(main)

    @pytest.mark.parametrize("cls", [BufferedStream, TextStream])
    def test_leaving_the_loop_takes_nothing_away(self, run, stream_of, cls):
        async def main():
            async with await stream_of(b"one\ntwo\nthree", cls) as stream:
                async for line in stream.lines():
                    assert line in (b"one", "one")
                    break
                assert len([line async for line in stream.lines()]) == 2

        run(main)

    @pytest.mark.parametrize("cls", [BufferedStream, TextStream])
    def test_wherever_it_is_cancelled_no_line_is_lost(self, cls):
        got = []

        async def main():
            got.clear()
            sending, receiving = memory_pipe(3, max_chunk=2)
            stream = cls(receiving)
            async with sending, stream, giambio.create_pool() as pool:
                pool.spawn(sending.send_all, b"one\ntwo\n\nthree\n")
                pool.spawn(read, stream)
                await wait_all_tasks_blocked()
                pool.spawn(read, stream, 4 - len(got))

        async def read(stream, most=2):
            if most:
                async for line in stream.lines():
                    got.append(line)
                    most -= 1
                    if not most:
                        break

        def check():
            expected = [b"one", b"two", b"", b"three"]
            if cls is TextStream:
                expected = [line.decode() for line in expected]
            assert got == expected

        async def alone():
            await main()
            check()

        giambio.run(alone)
        # The first task of this name; the second one takes over.
        cancel_sweep(main, target="read", check=check)


class TestStream:
    """It is a stream itself."""

    @pytest.mark.parametrize("cls", [BufferedStream, TextStream])
    def test_every_operation_is_a_checkpoint(self, run, cls):
        async def main():
            sending, receiving = memory_pipe()
            async with sending, cls(receiving) as stream:
                await sending.send_all(b"hello\n" * 10)
                lines = stream.lines()
                for _ in range(3):
                    with assert_checkpoints():
                        await anext(lines)
                    with assert_checkpoints():
                        await stream.receive(1)
                if cls is BufferedStream:
                    with assert_checkpoints():
                        await stream.receive_exactly(0)
                    for count in (1, 2):
                        with assert_checkpoints():
                            await stream.receive_exactly(count)
                    for _ in range(3):
                        with assert_checkpoints():
                            await stream.receive_until(b"\n")
                with pytest.raises(ValueError):
                    await stream.receive(0)

        run(main)

    @pytest.mark.parametrize("cls", [BufferedStream, TextStream])
    def test_one_reader_at_a_time(self, run, cls):
        async def main():
            sending, receiving = memory_pipe()
            async with sending, cls(receiving) as stream, giambio.create_pool() as pool:
                pool.spawn(anext, stream.lines()).name = "reader"
                await wait_all_tasks_blocked()
                for operation in (stream.receive, stream.lines().__anext__):
                    with pytest.raises(ResourceBusy, match="'reader' already reads"):
                        await operation()
                pool.cancel()

        async def anext(lines):
            await lines.__anext__()

        run(main)

    @pytest.mark.parametrize("how", ["close", "aclose"])
    @pytest.mark.parametrize("cls", [BufferedStream, TextStream])
    def test_what_has_come_is_not_given_out_once_it_is_closed(self, run, stream_of, cls, how):
        async def main():
            stream = await stream_of(b"line\nanother line\n", cls)
            lines = stream.lines()
            await anext(lines)
            await getattr(stream, how)()
            operations = [stream.receive, lines.__anext__]
            if cls is BufferedStream:
                operations += [
                    partial(stream.receive_exactly, 1),
                    partial(stream.receive_until, b"\n"),
                ]
            for operation in operations:
                with pytest.raises(ResourceClosed, match="Stream at .* is closed"):
                    await operation()

        run(main)

    @pytest.mark.parametrize("cls", [BufferedStream, TextStream])
    def test_one_for_receiving_only_says_so(self, run, cls):
        async def main():
            _, receiving = memory_pipe()
            async with cls(receiving) as stream:
                with pytest.raises(TypeError, match=r"has no send_all\(\)"):
                    await stream.send_all((cls is TextStream and "x") or b"x")
                with pytest.raises(TypeError, match=r"has no send_eof\(\)"):
                    await stream.send_eof()
                assert cls.__name__ in repr(stream)

        run(main)

    def test_random_reads_give_what_was_sent(self, run, stream_of):
        message = os.urandom(400) + b"\n" + os.urandom(400)

        async def main():
            for seed in range(5):
                async with await stream_of(message) as stream:
                    got, n = b"", seed
                    while len(got) < len(message):
                        n = (n * 1103515245 + 12345) % (1 << 31)
                        size = min(n % 30, len(message) - len(got))
                        if n % 3 == 0:
                            got += await stream.receive_exactly(size)
                        elif n % 3 == 1:
                            got += await stream.receive(size + 1)
                        else:
                            try:
                                got += await stream.receive_until(b"\n", keep=True, limit=size)
                            except (DelimiterNotFound, IncompleteRead):
                                pass
                    assert got == message

        run(main)


class TestText:
    """Characters in place of bytes."""

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
    def test_both_ways(self, run, encoding):
        async def main():
            left, right = (
                TextStream(stream, encoding) for stream in memory_stream_pair(max_chunk=1)
            )
            async with left, right:
                for text in ("größer\n", "und noch größer\n"):
                    await left.send_all(text)
                lines = right.lines(keep=True)
                assert await anext(lines) == "größer\n"
                got = ""
                while not got.endswith("\n"):
                    got += await right.receive(3)
                assert got == "und noch größer\n"
                assert encoding in repr(left)
                left.close()
                assert await right.receive() == ""

        run(main)

    @pytest.mark.parametrize(("cls", "made_of"), [(BufferedStream, str.encode), (TextStream, str)])
    def test_a_long_line_comes_in_many_pieces(self, run, cls, made_of):
        class Pieces:
            def __init__(self):
                self.left = 1 << 10

            async def receive(self, max_bytes=65536):
                self.left -= 1
                return b"%07d," % self.left + (b"\n\nrest" if self.left == 0 else b"")

        async def main():
            stream = cls(Pieces())
            numbers = (f"{number:07}," for number in reversed(range(1 << 10)))
            assert await stream.receive_line() == made_of("".join(numbers))
            assert await stream.receive_line() == made_of("")
            assert await stream.receive() == made_of("rest")

        run(main)

    def test_the_mark_of_the_encoding_goes_out_with_the_first_text_that_does(self, run):
        async def main():
            left, right = (TextStream(stream, "utf-16") for stream in memory_stream_pair())
            with giambio.CancelScope() as scope:
                scope.cancel()
                await left.send_all("never")
            async with giambio.create_pool() as pool:
                pool.spawn(left.stream.send_all, bytes(100_000))
                await wait_all_tasks_blocked()
                with pytest.raises(ResourceBusy):
                    await left.send_all("never")
                pool.spawn(right.stream.receive)
            await right.stream.receive()
            await left.send_all("hello")
            assert await right.receive() == "hello"

        run(main)

    def test_the_own_direction_is_ended_alone(self, run):
        async def main():
            left, right = (TextStream(stream) for stream in memory_stream_pair())
            await left.send_all("question")
            await left.send_eof()
            assert [await right.receive(), await right.receive()] == ["question", ""]
            await right.send_all("answer")
            assert await left.receive() == "answer"

        run(main)

    def test_a_character_comes_when_it_is_complete(self, run):
        async def main():
            sending, receiving = memory_pipe()
            async with sending, TextStream(receiving) as stream:
                await sending.send_all("x€".encode()[:3])
                assert await stream.receive() == "x"
                await sending.send_all("€".encode()[2:])
                assert await stream.receive() == "€"

        run(main)

    def test_what_is_no_text(self, run, stream_of):
        async def main():
            async with await stream_of(b"\xff", TextStream) as stream:
                with pytest.raises(UnicodeDecodeError):
                    await stream.receive()
            async with await stream_of(b"\xe2\x82", TextStream) as stream:
                with pytest.raises(UnicodeDecodeError):  # it ends in the middle of a character
                    await anext(stream.lines())
            async with await stream_of(b"a\xffb", TextStream, errors="replace") as stream:
                assert [line async for line in stream.lines()] == ["a\ufffdb"]
            with pytest.raises(LookupError):
                TextStream(None, "no such thing")
            with pytest.raises(LookupError):
                TextStream(None, errors="no such thing")

        run(main)

    @pytest.mark.parametrize(
        ("encoding", "broken", "good"),
        [("utf-8", b"\xe2\x82\xff", b"x"), ("utf-16", b"\xfe\xff\xdc\x00", b"\x00x")],
    )
    def test_what_is_no_text_is_forgotten(self, run, encoding, broken, good):
        async def main():
            # In two pieces, of which the first one could have become a character.
            sending, receiving = memory_pipe(max_chunk=len(broken) - 1)
            async with sending, TextStream(receiving, encoding) as stream:
                await sending.send_all(broken)
                with pytest.raises(UnicodeDecodeError):
                    await stream.receive()
                await sending.send_all(good)
                assert await stream.receive() == "x"

        run(main)

    def test_an_end_in_the_middle_of_a_character_is_an_error_once(self, run, stream_of):
        async def main():
            async with await stream_of(b"\xe2\x82", TextStream) as stream:
                with pytest.raises(UnicodeDecodeError):
                    await stream.receive()
                assert await stream.receive() == ""

        run(main)
