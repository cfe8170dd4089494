# SPDX-License-Identifier: Apache-2.0
"""Streams in memory, where they do more than every stream does."""

from __future__ import annotations

import pytest

import giambio
from giambio import ResourceBusy, ResourceClosed, StapledStream
from giambio.testing import (
    assert_checkpoints,
    memory_pipe,
    memory_stream_pair,
    wait_all_tasks_blocked,
)


def test_there_is_room_for_so_much(run):
    async def main():
        sending, receiving = memory_pipe(5)
        async with sending, receiving, giambio.create_pool() as pool:
            await sending.send_all(b"12345")
            task = pool.spawn(sending.send_all, b"67")
            await wait_all_tasks_blocked()
            assert not task.done()
            assert "5 of 5 bytes buffered" in repr(sending)
            assert await receiving.receive(1) == b"1"
            await wait_all_tasks_blocked()
            assert not task.done()
            assert await receiving.receive() == b"23456"
            await task.join()
            assert await receiving.receive() == b"7"

    run(main)


def test_in_small_pieces_and_late(run):
    async def main():
        left, right = memory_stream_pair(max_chunk=2, delay=3)
        async with left, right:
            started = giambio.clock()
            await left.send_all(b"hello")
            assert giambio.clock() == started
            for n, part in enumerate((b"he", b"ll", b"o"), 1):
                assert await right.receive() == part
                assert giambio.clock() == started + 3 * n

    run(main)


@pytest.mark.parametrize("end", ["sending", "receiving"])
def test_a_reset_loses_what_is_buffered(run, end):
    async def main():
        sending, receiving = memory_pipe(5)
        async with sending, receiving, giambio.create_pool() as pool:

            async def send():
                with pytest.raises(ConnectionResetError) as caught:
                    await sending.send_all(b"1234567")
                assert caught.value.bytes_sent == 5

            sender = pool.spawn(send)
            await wait_all_tasks_blocked()
            {"sending": sending, "receiving": receiving}[end].reset()
            await sender.join()
            for _ in range(2):
                with pytest.raises(ConnectionResetError):
                    await receiving.receive()
                with pytest.raises(ConnectionResetError):
                    await sending.send_all(b"x")

    run(main)


def test_a_reset_wakes_the_reader(run):
    async def main():
        sending, receiving = memory_pipe()
        async with sending, receiving, giambio.create_pool() as pool:

            async def receive():
                with pytest.raises(ConnectionResetError):
                    await receiving.receive()

            pool.spawn(receive)
            await wait_all_tasks_blocked()
            sending.reset()

    run(main)


def test_nobody_is_there_to_receive(run):
    async def main():
        sending, receiving = memory_pipe()
        receiving.close()
        with pytest.raises(BrokenPipeError):
            await sending.send_all(b"x")
        sending.close()
        assert "closed" in repr(sending)
        with pytest.raises(ResourceClosed):
            await sending.send_eof()

    run(main)


def test_nothing_is_sent_after_the_end(run):
    async def main():
        sending, receiving = memory_pipe()
        with assert_checkpoints():
            await sending.send_eof()
        assert "ended" in repr(receiving)
        with pytest.raises(BrokenPipeError, match="send_eof"):
            await sending.send_all(b"x")
        await sending.aclose()
        assert await receiving.receive() == b""
        receiving.close()

    run(main)


def test_the_end_is_not_sent_while_another_task_sends(run):
    async def main():
        sending, receiving = memory_pipe(1)
        async with sending, receiving, giambio.create_pool() as pool:
            pool.spawn(sending.send_all, b"12").name = "writer"
            await wait_all_tasks_blocked()
            with pytest.raises(ResourceBusy, match="'writer'"):
                await sending.send_eof()
            pool.cancel()

    run(main)


def test_numbers_that_are_too_small():
    for options in ({"capacity": 0}, {"max_chunk": 0}, {"delay": -1}, {"delay": float("nan")}):
        for make in (memory_pipe, memory_stream_pair):
            with pytest.raises(ValueError, match="must be at least"):
                make(**options)


def test_stapled_halves_are_closed_together_also_if_one_fails(run):
    class Bad:
        send_all = None

        def close(self):
            raise OSError("close")

        async def aclose(self):
            raise OSError("aclose")

    async def main():
        for name in ("close", "aclose"):
            _, receiving = memory_pipe()
            stream = StapledStream(Bad(), receiving)
            assert "StapledStream" in repr(stream)
            with pytest.raises(OSError, match=name):
                await getattr(stream, name)()
            with pytest.raises(ResourceClosed):
                await receiving.receive()

    run(main)


def test_halves_in_the_wrong_order_and_none_at_all_are_refused_where_they_are_given():
    """Their place is easily mistaken; and the pipes of a process are None unless asked for."""
    sending, receiving = memory_pipe()
    for halves, method in (
        ((receiving, sending), r"send_all\(\)"),
        ((None, receiving), r"None has no send_all\(\)"),
        ((sending, None), r"None has no receive\(\)"),
    ):
        with pytest.raises(TypeError, match=f"send into and then .* receive from; .*{method}"):
            StapledStream(*halves)


def test_a_half_that_has_no_other_way_to_end_is_closed(run):
    class Half:
        send_all = None
        ended = False

        async def aclose(self):
            self.ended = True

        def close(self):
            pass

    async def main():
        half = Half()
        _, receiving = memory_pipe()
        async with StapledStream(half, receiving) as stream:
            await stream.send_eof()
            assert half.ended

    run(main)
