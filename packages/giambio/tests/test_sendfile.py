# SPDX-License-Identifier: Apache-2.0
"""Sending files, by the system and by reading them."""

from __future__ import annotations

import errno
import io
import os
import socket as stdlib

import pytest

import giambio
from giambio import ResourceBusy, ResourceClosed, socket
from giambio.lowlevel import IOHandle
from giambio.testing import wait_all_tasks_blocked

CONTENT = os.urandom(300_000)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(params=["by the system", "by reading"])
def way(request, monkeypatch):
    """Both ways of sending a file."""
    if request.param == "by reading":
        monkeypatch.delattr(os, "sendfile", raising=False)
    elif not hasattr(os, "sendfile"):
        pytest.skip("this system sends no files")
    return request.param


async def receive_all(sock):
    data = b""
    while more := await sock.receive():
        data += more
    return data


async def send(file, *args, **kwargs):
    """Send a file through a pair of sockets; return the result and what arrived."""
    left, right = socket.socketpair()
    async with left, right, giambio.create_pool() as pool:
        task = pool.spawn(receive_all, right)
        result = await left.sendfile(file, *args, **kwargs)
        await left.send_eof()
        return result, await task.join()


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, None), (1000, None), (0, 10), (1000, 200_000), (0, 10**9), (10**9, None), (0, 0), (5, 0)],
)
def test_a_part_of_a_file(run, path, way, offset, count):
    end = None if count is None else offset + count

    async def main():
        with path.open("rb") as file:
            file.seek(7)  # where it stood does not matter
            expected = CONTENT[offset:end]
            assert await send(file, offset, count) == (len(expected), expected)
            assert file.tell() == offset + len(expected)

    run(main)


def test_files_that_are_none_of_the_system_are_read(run):
    async def main():
        file = io.BytesIO(CONTENT)
        assert await send(file, 5, 100_000) == (100_000, CONTENT[5:100_005])
        assert file.tell() == 100_005

    run(main)


def test_something_that_can_only_be_read_is_read_from_where_it_stands(run):
    class Reader:
        def __init__(self):
            self.content = io.BytesIO(CONTENT)

        def read(self, size):
            return self.content.read(size)

    async def main():
        assert await send(Reader()) == (len(CONTENT), CONTENT)

    run(main)


def test_files_that_the_system_cannot_send_are_read(run, path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EINVAL, "not this file")

    async def main():
        monkeypatch.setattr(os, "sendfile", refuse, raising=False)
        with path.open("rb") as file:
            assert await send(file) == (len(CONTENT), CONTENT)

    run(main)


def test_a_pipe_can_be_sent(run):
    async def main():
        read, write = os.pipe()
        os.write(write, b"through a pipe")
        os.close(write)
        with os.fdopen(read, "rb") as file:
            assert await send(file) == (14, b"through a pipe")

    run(main)


def test_a_wrapped_file_is_unwrapped(run, path):
    class Wrapper:
        def __init__(self, file):
            self.wrapped = file

    async def main():
        with path.open("rb") as file:
            assert await send(Wrapper(file)) == (len(CONTENT), CONTENT)

    run(main)


def test_bad_arguments_are_refused(run, path):
    async def main():
        with path.open("rb") as file:
            with pytest.raises(ValueError, match="offset must be at least 0"):
                await send(file, -1)
            with pytest.raises(ValueError, match="count must be at least 0"):
                await send(file, 0, -1)
            async with socket.socket(type=stdlib.SOCK_DGRAM) as sock:
                with pytest.raises(ValueError, match="only stream sockets can send a file"):
                    await sock.sendfile(file)
        with path.open("r", encoding="latin-1") as file:
            with pytest.raises(ValueError, match="binary mode"):
                await send(file)
        for no_file in (path, str(path), None):
            with pytest.raises(TypeError, match=r"expected a file, not .*; giambio.open_file"):
                await send(no_file)

    run(main)


def test_when_it_is_cancelled_it_says_how_much_went_out(run, way, tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(20_000_000)

    async def sender(left, file):
        try:
            await left.sendfile(file)
        except giambio.CancelledError as error:
            assert error.bytes_sent == file.tell()
            raise

    async def main():
        left, right = socket.socketpair()
        with path.open("rb") as file:
            async with left, right:
                async with giambio.create_pool() as pool:
                    task = pool.spawn(sender, left, file)
                    task.name = "sender"
                    await wait_all_tasks_blocked()
                    while not isinstance(task.waiting_on, IOHandle):
                        await giambio.sleep(0.001)  # a thread reads
                    # Nobody else may send in between.
                    with pytest.raises(ResourceBusy, match="'sender' already writes to"):
                        await left.send_all(b"x")
                    pool.cancel()
                left.close()
                received = await receive_all(right)
            assert 0 < file.tell() == len(received) < 20_000_000

    run(main)


def test_a_broken_connection_is_an_error_that_says_how_much_went_out(run, way, path):
    async def main():
        left, right = socket.socketpair()
        right.close()
        with path.open("rb") as file:
            async with left:
                with pytest.raises(BrokenPipeError) as caught:
                    await left.sendfile(file)
            assert caught.value.bytes_sent == 0
            assert caught.value.stream is left
            with pytest.raises(ResourceClosed):
                await left.sendfile(file)

    run(main)


def test_a_file_that_is_closed_meanwhile_is_not_taken_for_one_that_has_got_its_number(
    run, way, tmp_path
):
    path = tmp_path / "large"
    path.write_bytes(bytes(8 << 20))
    other = tmp_path / "other"
    other.write_bytes(b"x" * (8 << 20))

    async def main():
        left, right = socket.socketpair()
        file = path.open("rb")
        number = file.fileno()

        async def sender():
            with pytest.raises(ValueError, match="closed file") as caught:
                await left.sendfile(file)
            left.close()
            return caught.value.bytes_sent

        async with left, right, giambio.create_pool() as pool:
            task = pool.spawn(sender)
            await wait_all_tasks_blocked()
            file.close()
            with other.open("rb") as taken:
                assert taken.fileno() == number
                received = await receive_all(right)
                assert not received.strip(b"\0")
                assert len(received) == await task.join()

    run(main)


def test_it_shares_the_line_with_others(run, way, path):
    """A large file does not keep other tasks from running."""

    async def main():
        left, right = socket.socketpair()
        turns = 0

        async def other():
            nonlocal turns
            while True:
                await giambio.checkpoint()
                turns += 1

        async with left, right, giambio.create_pool() as pool:
            pool.spawn(other)
            receiver = pool.spawn(receive_all, right)
            with path.open("rb") as file:
                await left.sendfile(file)
            await left.send_eof()
            await receiver.join()
            pool.cancel()
        assert turns > 2

    run(main)
