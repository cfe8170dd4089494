# SPDX-License-Identifier: Apache-2.0
"""UNIX sockets: serving on one, and what becomes of its file."""

from __future__ import annotations

import errno
import os
import pathlib
import socket as stdlib
import stat
import sys
import tempfile

import pytest

import giambio
from giambio import socket
from giambio.testing import assert_checkpoints, cancel_sweep

pytestmark = pytest.mark.skipif(not hasattr(stdlib, "AF_UNIX"), reason="no UNIX sockets here")
only_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has names without files"
)


@pytest.fixture
def path():
    """Return a path for a socket, short enough for every system."""
    with tempfile.TemporaryDirectory() as folder:
        yield os.path.join(folder, "socket")


def exists(path):
    return os.path.exists(path)


async def echo(stream):
    while data := await stream.receive():
        await stream.send_all(data)


async def ask(path):
    async with await giambio.connect_unix(path) as client:
        await client.send_all(b"hello")
        return await client.receive()


def test_serving_and_connecting(run, path):
    async def main():
        async with giambio.create_pool() as pool:
            with assert_checkpoints():
                server = await pool.start(giambio.serve_unix, echo, path)
            assert server.addresses == (path,)
            assert repr(server) == f"<Server on {path}, 0 clients>"
            with assert_checkpoints():
                assert await ask(path) == b"hello"
            with pytest.raises(ValueError, match="listens on a UNIX socket, which has no port"):
                server.port
            await server.drain()
        assert not exists(path)

    run(main)


def test_serving_over_tls(path, certificates):
    async def main():
        async with giambio.create_pool() as pool:
            server = await pool.start(giambio.serve_unix, echo, path, tls=certificates.server())
            client = await giambio.TLSStream.wrap(
                await giambio.connect_unix(path),
                certificates.client(),
                server_hostname="giambio.test",
            )
            async with client:
                await client.send_all(b"hello")
                assert await client.receive() == b"hello"
            await server.drain()
        assert server.statistics().failed == 0

    giambio.run(main)


@pytest.mark.parametrize("kind", [os.fsencode, pathlib.Path])
def test_paths_of_other_types(run, path, kind):
    given = kind(path)

    async def main():
        async with await giambio.open_unix_listener(given) as listener:
            (await giambio.connect_unix(given)).close()
            (await listener.accept())[0].close()
        assert not exists(path)

    run(main)


@only_linux
def test_a_name_without_a_file(run):
    async def main():
        name = f"\0giambio test {os.getpid()}"
        async with giambio.create_pool() as pool:
            await pool.start(giambio.serve_unix, echo, name)
            assert await ask(name) == b"hello"
            pool.cancel()

    run(main)


def test_nobody_there(run, path):
    async def main():
        with pytest.raises(FileNotFoundError):
            await giambio.connect_unix(path)

    run(main)


def test_permissions(run, path):
    async def main():
        async with await giambio.open_unix_listener(path, mode=0o600):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    run(main)


def test_a_file_left_behind_by_a_process_that_was_killed_is_replaced(run, path):
    with stdlib.socket(stdlib.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
    assert exists(path)

    async def main():
        async with giambio.create_pool() as pool:
            await pool.start(giambio.serve_unix, echo, path)
            assert await ask(path) == b"hello"
            pool.cancel()

    run(main)


def test_a_socket_in_use_is_not(run, path):
    async def main():
        async with giambio.create_pool() as pool:
            server = await pool.start(giambio.serve_unix, echo, path)
            with pytest.raises(OSError, match="there is a socket that is in use") as caught:
                await giambio.open_unix_listener(path)
            assert caught.value.errno == errno.EADDRINUSE
            assert caught.value.filename == path
            assert await ask(path) == b"hello"
            await server.drain()

    run(main)


def test_nor_is_one_whose_queue_is_full(run, path):
    """Nobody accepts, so the system says only that it would have to wait."""
    with stdlib.socket(stdlib.AF_UNIX) as sock, stdlib.socket(stdlib.AF_UNIX) as client:
        sock.bind(path)
        sock.listen(0)
        client.connect(path)

        async def main():
            with pytest.raises(OSError, match="there is a socket that is in use"):
                await giambio.open_unix_listener(path)

        run(main)


def test_a_file_that_is_no_socket_is_left_alone(run, path):
    with open(path, "w") as file:
        file.write("precious")

    async def main():
        with pytest.raises(FileExistsError, match="a file that is no socket"):
            await giambio.open_unix_listener(path)

    run(main)
    with open(path) as file:
        assert file.read() == "precious"


def test_what_took_the_place_of_the_file_is_left_alone(run, path):
    async def main():
        first = await giambio.open_unix_listener(path)
        os.unlink(path)
        async with await giambio.open_unix_listener(path):
            first.close()
            (await giambio.connect_unix(path)).close()

    run(main)


def test_a_file_that_somebody_removed_is_not_missed(run, path):
    async def main():
        async with await giambio.open_unix_listener(path):
            os.unlink(path)

    run(main)


def test_a_file_that_may_not_be_removed_any_more_stays(run, path, monkeypatch):
    def refuse(path):
        raise PermissionError("no")

    async def main():
        listener = await giambio.open_unix_listener(path)
        with monkeypatch.context() as patched:
            patched.setattr(os, "unlink", refuse)
            listener.close()
        assert listener.closed
        assert exists(path)

    run(main)


def test_the_file_is_found_again_from_another_directory(run, path, monkeypatch):
    folder, name = os.path.split(path)
    monkeypatch.chdir(folder)

    async def main():
        async with await giambio.open_unix_listener(name):
            os.chdir("/")
        assert not exists(path)

    run(main)


def test_a_listener_that_gave_up_its_descriptor_leaves_the_file(run, path):
    async def main():
        listener = await giambio.open_unix_listener(path)
        fd = listener.detach()
        listener.close()
        assert exists(path)
        os.close(fd)

    run(main)


def test_when_listening_fails_nothing_is_left(run, path, monkeypatch):
    def refuse(*args):
        raise PermissionError("no")

    monkeypatch.setattr(os, "chmod", refuse)

    async def main():
        with pytest.raises(PermissionError):
            await giambio.open_unix_listener(path, mode=0o600)
        assert not exists(path)

    run(main)


def test_a_system_without_them_says_so(run, monkeypatch):
    monkeypatch.delattr(stdlib, "AF_UNIX")

    async def main():
        for function in (giambio.connect_unix, giambio.open_unix_listener):
            with pytest.raises(OSError, match="no UNIX sockets") as caught:
                await function("socket")
            assert caught.value.errno == errno.EAFNOSUPPORT

    run(main)


def test_cancelled_anywhere_connecting_and_listening_leave_nothing(path):
    async def program():
        async with await giambio.open_unix_listener(path) as listener:
            async with await giambio.connect_unix(path):
                (await listener.accept())[0].close()

    def check():
        assert not exists(path)

    cancel_sweep(program, check=check)


def test_descriptors_travel_to_a_server(run, path):
    received = []

    async def handler(stream):
        data, fds, _, _ = await socket.recv_fds(stream, 100, 4)
        received.append(data)
        for fd in fds:
            os.write(fd, b"from the server")
            os.close(fd)

    async def main():
        async with giambio.create_pool() as pool:
            server = await pool.start(giambio.serve_unix, handler, path)
            reading, writing = os.pipe()
            async with await giambio.connect_unix(path) as client:
                await socket.send_fds(client, [b"take this"], [writing])
                os.close(writing)
                assert await client.receive() == b""
            assert os.read(reading, 100) == b"from the server"
            os.close(reading)
            await server.drain()

    run(main)
    assert received == [b"take this"]
