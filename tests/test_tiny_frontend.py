# SPDX-License-Identifier: Apache-2.0
"""The kernel carries a second front end, and that one is tiny."""

from __future__ import annotations

import ast
import importlib.util
import socket
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parent.parent / "examples" / "tiny_frontend.py"
spec = importlib.util.spec_from_file_location("tiny_frontend", PATH)
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)


def test_it_has_at_most_150_lines_and_needs_the_kernel_alone():
    source = PATH.read_text()
    assert len(source.splitlines()) <= 150
    modules = {
        (node.module or "").partition(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
    }
    assert modules - set(sys.stdlib_module_names) == {"giambio_kernel"}


def test_tasks_are_spawned_and_joined():
    async def child(n):
        await tiny.sleep(0)
        return n * 2

    async def main():
        task = await tiny.spawn(child, 21)
        return await tiny.join(task)

    assert tiny.run(main) == 42


def test_a_group_waits_and_keeps_the_results():
    async def child(n):
        await tiny.sleep(0.001 * n)
        return n

    async def main():
        async with tiny.TaskGroup() as group:
            for n in (3, 1, 2):
                await group.spawn(child, n)
        return group.results

    assert tiny.run(main) == [3, 1, 2]


def test_the_first_error_cancels_the_others_and_is_raised():
    cancelled = []

    async def failing():
        raise ValueError("mine")

    async def sleeping():
        try:
            await tiny.sleep(1000)
        finally:
            cancelled.append(1)

    async def main():
        async with tiny.TaskGroup() as group:
            await group.spawn(sleeping)
            await group.spawn(failing)
            await tiny.sleep(1000)

    with pytest.raises(ValueError, match="mine"):
        tiny.run(main)
    assert cancelled == [1]


def test_a_timeout_skips_the_rest():
    async def main():
        with tiny.timeout_after(0.001) as scope:
            await tiny.sleep(1000)
        return scope.timed_out

    assert tiny.run(main)


def test_an_echo_server_with_many_clients():
    async def handler(client):
        async with client:
            while data := await client.recv(1000):
                await client.sendall(data)

    async def server(listener, group):
        while True:
            client, _ = await listener.accept()
            await group.spawn(handler, client)

    async def client(address):
        sock = socket.create_connection(address)
        async with tiny.Socket(sock) as peer:
            data = bytes(500_000)
            sender = await tiny.spawn(peer.sendall, data)
            received = 0
            while received < len(data):
                received += len(await peer.recv(65536))
            await tiny.join(sender)
        return received

    async def main():
        with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
            listener = tiny.Socket(sock)
            async with tiny.TaskGroup() as group:
                await group.spawn(server, listener, group)
                async with tiny.TaskGroup() as clients:
                    for _ in range(20):
                        await clients.spawn(client, sock.getsockname())
                group.cancel()
            await listener.close()
            return clients.results

    assert tiny.run(main) == [500_000] * 20
