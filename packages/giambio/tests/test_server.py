# SPDX-License-Identifier: Apache-2.0
"""Servers: a task for each connection, as many as may be, and an end that loses none."""

from __future__ import annotations

import errno
import logging
import math
import os
import signal
import socket as stdlib
import subprocess
import sys
import threading
from functools import partial

import pytest

import giambio
from giambio import LengthPrefixedStream, ResourceClosed, TLSStream
from giambio.testing import (
    MemoryNetwork,
    assert_checkpoints,
    cancel_sweep,
    explore,
    memory_stream_pair,
    wait_all_tasks_blocked,
)


async def echo(stream):
    while data := await stream.receive():
        await stream.send_all(data)


def serve(pool, handler=echo, **options):
    """Start a server on one address of this machine."""
    return pool.start(giambio.serve_tcp, handler, 0, host="127.0.0.1", **options)


def connect(server):
    return giambio.connect_tcp("127.0.0.1", server.port)


async def ask(server, data=b"hello"):
    """Say something to an echo server and return the answer."""
    async with await connect(server) as client:
        await client.send_all(data)
        return await client.receive()


class Gate:
    """A handler that waits until it is let go, and says what became of it."""

    def __init__(self):
        self.opened = giambio.Event()
        self.log = []

    async def __call__(self, stream):
        self.log.append("begins")
        try:
            await self.opened.wait()
            self.log.append("ends")
        except giambio.CancelledError:
            self.log.append("is cancelled")
            raise


async def until(condition):
    """Wait for something that the system brings about, when it likes."""
    while not condition():
        await giambio.sleep(0.001)


async def settled():
    """Give what should not happen some time to happen."""
    for _ in range(3):
        await wait_all_tasks_blocked()
        await giambio.sleep(0.001)


# Serving


def test_the_start_protocol_gives_the_server(run):
    async def main():
        async with giambio.create_pool() as pool:
            with assert_checkpoints():
                server = await serve(pool)
            assert isinstance(server, giambio.Server)
            assert server.addresses == (("127.0.0.1", server.port),)
            assert await ask(server) == b"hello"
            pool.cancel()

    run(main)


def test_without_a_pool_it_serves_until_cancelled(run):
    async def main():
        with giambio.skip_after(1) as scope:
            await giambio.serve_tcp(echo, 0, host="127.0.0.1")
        assert scope.timed_out

    run(main)


def test_many_connections_are_served_at_the_same_time(run):
    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool)
            answers = await giambio.gather(*(ask(server, b"%d" % n) for n in range(20)))
            assert answers == tuple(b"%d" % n for n in range(20))
            await server.drain()
        assert server.statistics() == (False, 0, float("inf"), 20, 0)

    run(main)


def test_a_stream_is_closed_when_its_handler_ends(run):
    streams = []

    async def handler(stream):
        streams.append(stream)

    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool, handler)
            async with await connect(server) as client:
                assert await client.receive() == b""
            assert streams[0].closed
            pool.cancel()

    run(main)


def test_each_handler_is_a_task_named_after_its_client(run):
    names = []

    async def handler(stream):
        names.append((giambio.current_task().name, stream.getpeername()))

    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool, handler)
            async with await connect(server) as client:
                await client.receive()
            pool.cancel()

    run(main)
    assert names == [(f"client {names[0][1]}", names[0][1])]


def test_a_server_tells_where_it_is_and_how_many_it_serves(run):
    async def main():
        async with giambio.create_pool() as pool:
            gate = Gate()
            server = await serve(pool, gate)
            assert repr(server) == f"<Server on ('127.0.0.1', {server.port}), 0 clients>"
            async with await connect(server):
                await until(lambda: server.clients == 1)
                [task] = server.holders()
                assert task.name.startswith("client ('127.0.0.1', ")
                server.stop_accepting()
                assert repr(server) == "<Server draining, 1 clients>"
                with pytest.raises(ResourceClosed, match="does not listen any more"):
                    server.port
                gate.opened.set()
                await server.wait_closed()
            assert repr(server) == "<Server closed, 0 clients>"

    run(main)


def test_cancelling_it_ends_everything(run):
    gate = Gate()

    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool, gate)
            async with await connect(server) as client:
                await until(lambda: gate.log)
                pool.cancel()
                with giambio.CancelScope(shield=True):
                    assert await client.receive() == b""
        assert gate.log == ["begins", "is cancelled"]
        assert not server.addresses

    run(main)


def test_one_of_several_listeners_can_be_closed(run):
    async def main():
        async with giambio.create_pool() as pool:
            listeners = [
                (await giambio.open_tcp_listeners(0, host="127.0.0.1"))[0] for _ in range(2)
            ]
            server = await pool.start(giambio.serve_listeners, echo, listeners)
            await settled()
            listeners[0].close()
            assert server.port == listeners[1].getsockname()[1]
            assert await ask(server) == b"hello"
            listeners[1].close()
            await server.wait_closed()

    run(main)


def test_one_that_was_closed_before_does_not_keep_the_others_from_serving(run):
    async def main():
        listeners = [
            *await giambio.open_tcp_listeners(0, host="127.0.0.1"),
            *await giambio.open_tcp_listeners(0, host="127.0.0.1"),
        ]
        listeners[0].close()
        async with giambio.create_pool() as pool:
            server = await pool.start(giambio.serve_listeners, echo, listeners)
            assert await ask(server) == b"hello"
            server.close()

    run(main)


def test_in_a_tree_of_tasks_one_sees_what_a_server_waits_for(run):
    async def main():
        async with giambio.create_pool() as pool:
            server = await pool.start(giambio.serve_tcp, echo, 0, host="127.0.0.1")
            waiting = pool.spawn(server.shutdown_on, signal.SIGTERM)
            await settled()
            names = {task.name for task in waiting.scheduler.tasks()}
            assert names >= {f"accept on {server.addresses[0]}", "shutdown_on"}
            server.close()

    run(main)


def test_a_listener_that_fails_ends_the_server(run, monkeypatch):
    async def broken(self):
        raise OSError(errno.EINVAL, "it broke")

    monkeypatch.setattr(giambio.AsyncSocket, "accept", broken)
    with pytest.raises(OSError, match="it broke"):
        run(giambio.serve_tcp, echo, 0)


def test_bad_use_is_refused_and_leaves_nothing_open(run):
    async def main():
        with pytest.raises(TypeError, match="expected an async function to serve with, not 3"):
            await giambio.serve_tcp(3, 0)
        with pytest.raises(TypeError, match="not <coroutine object echo"):
            await giambio.serve_tcp(echo(None), 0)
        with pytest.raises(TypeError, match="tls must be an ssl.SSLContext, not True"):
            await giambio.serve_tcp(echo, 0, tls=True)
        with stdlib.socket() as standard:
            with pytest.raises(TypeError, match=r"expected sockets of giambio, .*wrap_socket"):
                await giambio.serve_listeners(echo, [standard])
        listeners = [*await giambio.open_tcp_listeners(0), "127.0.0.1:8000"]
        with pytest.raises(TypeError, match="expected sockets of giambio, not '127"):
            await giambio.serve_listeners(echo, listeners)
        assert all(listener.closed for listener in listeners[:-1])
        (listener,) = await giambio.open_tcp_listeners(0, host="127.0.0.1")
        with pytest.raises(TypeError, match="not a socket; put it into a list"):
            await giambio.serve_listeners(echo, listener)
        assert listener.closed
        with pytest.raises(OSError, match=r"<AsyncSocket .*> does not listen: listen\(\) comes"):
            await giambio.serve_listeners(echo, [giambio.socket.socket()])
        with pytest.raises(ValueError, match="max_clients must be at least 1, not 0"):
            await giambio.serve_tcp(echo, 0, max_clients=0)
        with pytest.raises(ValueError, match="at least one listening socket"):
            await giambio.serve_listeners(echo, [])
        for takes_something_else in (lambda stream, address: echo(stream), main):
            with pytest.raises(
                TypeError, match=r"called with the stream .* getpeername\(\) returns"
            ):
                await giambio.serve_tcp(takes_something_else, 0)
        for no_plain_function in (3, ask):
            with pytest.raises(TypeError, match="on_error must be a plain function, not"):
                await giambio.serve_tcp(echo, 0, on_error=no_plain_function)

    run(main)


def test_tls_that_no_client_could_speak_to_is_refused(run, certificates):
    async def main():
        with pytest.raises(ValueError, match=r"a context for clients; .*Purpose.CLIENT_AUTH"):
            await giambio.serve_tcp(echo, 0, tls=certificates.client())
        for seconds in (-1, math.nan):
            with pytest.raises(ValueError, match="tls_handshake_timeout must be at least 0"):
                await giambio.serve_tcp(
                    echo, 0, tls=certificates.server(), tls_handshake_timeout=seconds
                )

    run(main)


# Too many clients


def test_no_more_clients_are_served_than_may_be(run):
    async def main():
        async with giambio.create_pool() as pool:
            gate = Gate()
            server = await serve(pool, gate, max_clients=2)
            clients = [await connect(server) for _ in range(4)]
            await until(lambda: len(gate.log) == 2)
            await settled()
            assert gate.log == ["begins"] * 2
            statistics = server.statistics()
            assert (statistics.clients, statistics.accepted, statistics.max_clients) == (2, 2, 2)
            gate.opened.set()
            for client in clients:
                assert await client.receive() == b""
                client.close()
            await server.drain()
            assert server.statistics().accepted == 4

    run(main)


def test_several_listeners_share_the_limit(run):
    async def main():
        async with giambio.create_pool() as pool:
            gate = Gate()
            listeners = [
                (await giambio.open_tcp_listeners(0, host="127.0.0.1"))[0] for _ in range(3)
            ]
            server = await pool.start(giambio.serve_listeners, gate, listeners, max_clients=1)
            ports = [listener.getsockname()[1] for listener in listeners]
            clients = [await giambio.connect_tcp("127.0.0.1", port) for port in ports]
            await until(lambda: gate.log)
            await settled()
            assert gate.log == ["begins"]
            gate.opened.set()
            for client in clients:
                assert await client.receive() == b""
                client.close()
            await server.drain()
        assert gate.log == ["begins", "ends"] * 3

    run(main)


def test_draining_does_not_wait_for_clients_that_wait_for_room(run):
    async def main():
        async with giambio.create_pool() as pool:
            gate = Gate()
            listeners = [
                (await giambio.open_tcp_listeners(0, host="127.0.0.1"))[0] for _ in range(2)
            ]
            server = await pool.start(giambio.serve_listeners, gate, listeners, max_clients=1)
            ports = [listener.getsockname()[1] for listener in listeners]
            clients = [await giambio.connect_tcp("127.0.0.1", port) for port in ports]
            await until(lambda: gate.log)
            await settled()
            await server.drain(grace=1)
            for client in clients:
                client.close()
        assert gate.log == ["begins", "is cancelled"]

    run(main)


@pytest.mark.skipif(os.name != "posix", reason="needs limits of POSIX systems")
def test_running_out_of_descriptors_is_survived(run, caplog):
    """The connection waits and is served when there are descriptors again; one warning a minute."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool)
            start = giambio.clock()
            client = giambio.socket.socket()
            await settled()
            taken = []
            top = os.dup(0)
            os.close(top)
            resource.setrlimit(resource.RLIMIT_NOFILE, (top + 5, hard))
            try:
                while True:
                    try:
                        taken.append(os.dup(0))
                    except OSError:
                        break
                await client.connect(("127.0.0.1", server.port))
                await giambio.sleep(1)
                assert server.statistics() == (True, 0, float("inf"), 0, 0)
                os.close(taken.pop())
                await client.send_all(b"hello")
                assert await client.receive() == b"hello"
                await giambio.sleep(60)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for fd in taken:
                    os.close(fd)
            client.close()
            await server.drain()
            return giambio.clock() - start

    with caplog.at_level(logging.WARNING, "giambio.server"):
        seconds = run(main)
    told = f"cannot accept connections for now: [Errno {errno.EMFILE}] {os.strerror(errno.EMFILE)}"
    messages = [record.message for record in caplog.records]
    assert messages == [told] * len(messages)
    assert 2 <= len(messages) <= 1 + seconds / 60


STARTED = """
import ssl, sys
import giambio


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    async with giambio.create_pool() as pool:
        before = "logging" in sys.modules, "giambio._tls.stream" in sys.modules
        await pool.start(serve, context)
        print(*before, "logging" in sys.modules, "giambio._tls.stream" in sys.modules)
        pool.cancel()


async def serve(context, *, task_status):
    await giambio.serve_tcp(handle, 0, host="127.0.0.1", tls=context, task_status=task_status)


async def handle(stream):
    pass


giambio.run(main)
"""


def test_what_a_server_needs_to_go_on_without_descriptors_it_has_read_before():
    # A program of its own, which has not imported `logging`: to warn, the server had to read a file.
    done = subprocess.run(
        [sys.executable, "-c", STARTED], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False False True True\n"


# Errors


def test_an_error_of_a_handler_is_logged_and_the_server_goes_on(run, caplog):
    async def handler(stream):
        if await stream.receive() == b"fail":
            raise ValueError("a bug")
        await stream.send_all(b"fine")

    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool, handler)
            assert await ask(server, b"fail") == b""
            assert await ask(server, b"go on") == b"fine"
            assert server.statistics().failed == 1
            pool.cancel()

    run(main)
    [record] = caplog.records
    assert (record.name, record.levelname) == ("giambio.server", "ERROR")
    assert record.message.startswith("an error while serving ('127.0.0.1', ")
    assert str(record.exc_info[1]) == "a bug"


def test_an_error_after_the_handler_has_closed_its_stream_is_logged_as_any_other(run, caplog):
    async def handler(stream):
        await stream.receive()
        await stream.close()
        raise ValueError("a bug")

    async def main():
        async with giambio.create_pool() as pool:
            assert await ask(await serve(pool, handler)) == b""
            pool.cancel()

    run(main)
    [record] = caplog.records
    assert record.message == "an error while serving a client that is gone"


def reset(client):
    """Close a socket so that the other side gets a reset."""
    client.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def test_that_a_client_breaks_its_connection_is_no_error(run, caplog):
    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool)
            client = await connect(server)
            await until(lambda: server.clients)
            reset(client)
            await until(lambda: server.statistics().failed == 1)
            pool.cancel()

    with caplog.at_level(logging.DEBUG, "giambio.server"):
        run(main)
    [record] = caplog.records
    assert record.levelname == "DEBUG"
    assert "a client that is gone broke: ConnectionResetError" in record.message


def test_that_another_connection_of_a_handler_breaks_is_one(run, caplog):
    async def handler(stream):
        await stream.receive()
        with stdlib.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            await giambio.connect_tcp(*unused.getsockname())

    async def main():
        async with giambio.create_pool() as pool:
            assert await ask(await serve(pool, handler)) == b""
            pool.cancel()

    run(main)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("level", ["DEBUG", "ERROR"])
def test_a_stream_over_the_connection_is_told_from_one_over_another(run, caplog, level):
    async def handler(stream):
        other, far_side = memory_stream_pair()
        await far_side.send_all(b"\4")
        broken = LengthPrefixedStream(stream if level == "DEBUG" else other, prefix=1, limit=3)
        await broken.receive()

    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool, handler)
            async with await connect(server) as client:
                await client.send_all(b"\4")
                await until(lambda: server.statistics().failed == 1)
            pool.cancel()

    with caplog.at_level(logging.DEBUG, "giambio.server"):
        run(main)
    assert [record.levelname for record in caplog.records] == [level]


def test_what_is_no_async_function_is_an_error_that_says_so(run, caplog):
    async def main():
        async with giambio.create_pool() as pool:
            async with await connect(await serve(pool, lambda stream: None)) as client:
                assert await client.receive() == b""
            pool.cancel()

    run(main)
    assert "async function" in str(caplog.records[0].exc_info[1])


def test_whoever_wants_errors_is_told_while_the_connection_is_open(run):
    told = []

    async def handler(stream):
        raise ValueError("a bug")

    def on_error(error, sock):
        told.append((str(error), sock.getpeername()[0], sock.closed))

    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool, handler, on_error=on_error)
            async with await connect(server) as client:
                assert await client.receive() == b""
            pool.cancel()

    run(main)
    assert told == [("a bug", "127.0.0.1", False)]


def test_what_that_raises_ends_the_server(run):
    async def handler(stream):
        if await stream.receive():
            raise ValueError("a bug")

    def on_error(error, sock):
        raise error

    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool, handler, on_error=on_error)
            async with await connect(server), await connect(server) as client:
                await until(lambda: server.clients == 2)
                await client.send_all(b"fail")
                await giambio.sleep_forever()

    with pytest.raises(ValueError, match="a bug"):
        run(main)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_ends_the_server(run, error):
    async def handler(stream):
        raise error

    async def main():
        async with giambio.create_pool() as pool:
            await ask(await serve(pool, handler))

    with pytest.raises(error):
        run(main)


# The end


def test_draining_lets_handlers_finish(run):
    async def main():
        async with giambio.create_pool() as pool:
            gate = Gate()
            server = await serve(pool, gate)
            async with await connect(server):
                await until(lambda: gate.log)
                draining = pool.spawn(server.drain, grace=10)
                await settled()
                assert not draining.done()
                assert not server.statistics().accepting
                gate.opened.set()
                await draining.join()
        assert gate.log == ["begins", "ends"]

    run(main)


def test_draining_refuses_new_connections_at_once(run):
    async def main():
        async with giambio.create_pool() as pool:
            gate = Gate()
            server = await serve(pool, gate)
            address = server.addresses[0]
            async with await connect(server):
                await until(lambda: gate.log)
                pool.spawn(server.drain)
                await settled()
                with pytest.raises(ConnectionRefusedError):
                    await giambio.connect_tcp(*address)
                gate.opened.set()

    run(main)


def test_handlers_that_take_longer_than_the_grace_time_are_cancelled(run):
    async def main():
        async with giambio.create_pool() as pool:
            gate = Gate()
            server = await serve(pool, gate)
            async with await connect(server):
                await until(lambda: gate.log)
                start = giambio.clock()
                await server.drain(grace=10)
                assert 10 <= giambio.clock() - start < 11
        assert gate.log == ["begins", "is cancelled"]

    run(main)


def test_without_a_grace_time_they_are_cancelled_at_once(run):
    async def main():
        async with giambio.create_pool() as pool:
            gate = Gate()
            server = await serve(pool, gate)
            async with await connect(server):
                await until(lambda: gate.log)
                start = giambio.clock()
                with assert_checkpoints():
                    await server.drain(grace=0)
                assert giambio.clock() == start
        assert gate.log == ["begins", "is cancelled"]

    run(main)


def test_draining_an_idle_server_and_one_that_has_ended_takes_no_time(run):
    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool)
            await server.drain()
            with assert_checkpoints():
                await server.drain()
            server.close()
            with assert_checkpoints():
                await server.wait_closed()

    run(main)


@pytest.mark.parametrize("grace", [-1, float("nan")])
def test_a_grace_time_that_is_none_is_refused_and_nothing_stops(run, grace):
    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool)
            with pytest.raises(ValueError, match="must be at least 0"):
                await server.drain(grace=grace)
            assert await ask(server) == b"hello"
            pool.cancel()

    run(main)


def test_a_drain_that_is_cancelled_leaves_the_handlers_alone(run):
    async def main():
        async with giambio.create_pool() as pool:
            gate = Gate()
            server = await serve(pool, gate)
            async with await connect(server):
                await until(lambda: gate.log)
                with giambio.skip_after(1):
                    await server.drain()
                assert not server.statistics().accepting
                assert server.clients == 1
                gate.opened.set()
        assert gate.log == ["begins", "ends"]

    run(main)


def test_a_handler_cannot_wait_for_its_own_server(run):
    async def main():
        async with giambio.create_pool() as pool:
            errors = []

            async def handler(stream):
                await server.drain()

            server = await serve(pool, handler, on_error=lambda *error: errors.append(error[0]))
            async with await connect(server) as client:
                assert await client.receive() == b""
            assert "a handler cannot drain its own server" in str(errors[0])
            pool.cancel()

    run(main)


def test_but_it_can_stop_it(run):
    async def main():
        async with giambio.create_pool() as pool:

            async def handler(stream):
                server.stop_accepting()
                await echo(stream)

            server = await serve(pool, handler)
            assert await ask(server) == b"hello"

    run(main)


def test_closing_cancels_all_handlers(run):
    async def main():
        async with giambio.create_pool() as pool:
            gate = Gate()
            server = await serve(pool, gate)
            async with await connect(server):
                await until(lambda: gate.log)
                server.close()
                await server.wait_closed()
        assert gate.log == ["begins", "is cancelled"]

    run(main)


# Every schedule, every cancellation


async def ask_two_and_drain():
    """On a network in memory; the two share a server that serves one at a time."""
    async with giambio.create_pool() as pool:
        server = await pool.start(giambio.serve_tcp, echo, 0, max_clients=1)

        async def ask(data):
            async with await giambio.connect_tcp("localhost", server.port) as client:
                await client.send_all(data)
                assert await client.receive() == data

        await giambio.gather(partial(ask, b"one"), partial(ask, b"two"))
        await server.drain(grace=5)
        assert server.statistics() == (False, 0, 1, 2, 0)


def test_it_stands_every_schedule():
    explore(ask_two_and_drain, network=MemoryNetwork(latency=(0, 0.01)), runs=30)


@pytest.mark.parametrize("target", [None, "serve_tcp"])
def test_it_stands_every_cancellation(target):
    allow = (giambio.TaskCancelled, ConnectionError, ResourceClosed, AssertionError)
    cancel_sweep(ask_two_and_drain, network="memory", target=target, allow=allow if target else ())


# Signals


needs_main_thread = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)


@needs_main_thread
def test_a_signal_drains_the_server(run):
    async def main():
        async with giambio.create_pool() as pool:
            gate = Gate()
            server = await serve(pool, gate)
            ending = pool.spawn(server.shutdown_on, signal.SIGTERM, signal.SIGINT, grace=10)
            async with await connect(server):
                await until(lambda: gate.log)
                signal.raise_signal(signal.SIGTERM)
                await until(lambda: not server.statistics().accepting)
                assert not ending.done()
                gate.opened.set()
                await ending.join()
        assert gate.log == ["begins", "ends"]

    run(main)


@needs_main_thread
def test_when_the_grace_time_after_a_signal_is_over_handlers_are_cancelled(run):
    async def main():
        async with giambio.create_pool() as pool:
            gate = Gate()
            server = await serve(pool, gate)
            pool.spawn(server.shutdown_on, signal.SIGTERM, grace=10)
            async with await connect(server):
                await until(lambda: gate.log)
                start = giambio.clock()
                signal.raise_signal(signal.SIGTERM)
                await server.wait_closed()
                assert 10 <= giambio.clock() - start < 11
        assert gate.log == ["begins", "is cancelled"]

    run(main)


@needs_main_thread
def test_a_second_signal_cuts_the_grace_time_short(run):
    async def main():
        async with giambio.create_pool() as pool:
            gate = Gate()
            server = await serve(pool, gate)
            pool.spawn(server.shutdown_on, signal.SIGTERM, signal.SIGINT)
            async with await connect(server):
                await until(lambda: gate.log)
                signal.raise_signal(signal.SIGTERM)
                await until(lambda: not server.statistics().accepting)
                signal.raise_signal(signal.SIGINT)
                await server.wait_closed()
        assert gate.log == ["begins", "is cancelled"]

    run(main)


@needs_main_thread
def test_a_server_that_ends_by_itself_waits_for_no_signal(run):
    async def main():
        before = signal.getsignal(signal.SIGTERM)
        async with giambio.create_pool() as pool:
            server = await serve(pool)
            ending = pool.spawn(server.shutdown_on, signal.SIGTERM)
            await settled()
            server.stop_accepting()
            await ending.join()
            assert signal.getsignal(signal.SIGTERM) is before
            with assert_checkpoints():
                await server.shutdown_on(signal.SIGTERM)

    run(main)


def test_bad_use_of_signals_is_refused_and_nothing_stops(run):
    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool)
            with pytest.raises(TypeError, match="at least one signal"):
                await server.shutdown_on()
            with pytest.raises(ValueError, match="must be at least 0"):
                await server.shutdown_on(signal.SIGTERM, grace=-1)
            assert server.statistics().accepting
            pool.cancel()

    run(main)


# TLS


def test_a_server_and_a_client_over_tls(certificates):
    async def handler(stream):
        assert isinstance(stream, giambio.TLSStream)
        await echo(stream)

    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool, handler, tls=certificates.server())
            client = await giambio.connect_tcp(
                "127.0.0.1", server.port, tls=certificates.client(), server_hostname="giambio.test"
            )
            async with client:
                await client.send_all(b"hello")
                assert await client.receive() == b"hello"
            by_address = await giambio.connect_tcp(
                b"127.0.0.1", server.port, tls=certificates.client()
            )
            await by_address.aclose()
            await server.drain()
        assert server.statistics().failed == 0

    giambio.run(main)


def test_over_tls_too_who_wants_errors_is_told_once_while_the_connection_is_open(certificates):
    told = []

    async def handler(stream):
        if await stream.receive() == b"fail":
            raise ValueError("a bug")
        raise ValueError("another bug")

    def on_error(error, sock):
        told.append((str(error), sock.getpeername()[0], sock.closed))
        if "another" in str(error):
            raise LookupError

    async def ask(server, data):
        async with await giambio.connect_tcp(
            "127.0.0.1", server.port, tls=certificates.client()
        ) as client:
            await client.send_all(data)
            return await client.receive()

    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool, handler, tls=certificates.server(), on_error=on_error)
            assert await ask(server, b"fail") == b""
            assert server.statistics().failed == 1
            await ask(server, b"end")
            await giambio.sleep_forever()

    with pytest.raises(LookupError):
        giambio.run(main)
    assert told == [("a bug", "127.0.0.1", False), ("another bug", "127.0.0.1", False)]


def test_a_certificate_that_is_not_trusted_breaks_the_connecting(certificates, caplog):
    import ssl

    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool, tls=certificates.server())
            with pytest.raises(ssl.SSLCertVerificationError):
                await giambio.connect_tcp("127.0.0.1", server.port, tls=True)
            await until(lambda: server.statistics().failed == 1)
            pool.cancel()

    with caplog.at_level(logging.DEBUG, "giambio.server"):
        giambio.run(main)
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_the_context_for_all_clients_of_a_run_is_made_once(certificates, monkeypatch):
    import ssl

    made = []
    context = certificates.client()
    monkeypatch.setattr(ssl, "create_default_context", lambda: made.append(1) or context)

    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool, tls=certificates.server())
            for _ in range(2):
                async with await giambio.connect_tcp("127.0.0.1", server.port, tls=True) as stream:
                    assert stream.version() == "TLSv1.3"
            await server.drain()

    for runs in (1, 2):
        giambio.run(main)
        assert len(made) == runs


@pytest.mark.parametrize("level", ["DEBUG", "ERROR"])
def test_the_connection_that_was_cut_off_is_told_from_another(certificates, caplog, level):
    async def handler(stream):
        below, far_side = memory_stream_pair()
        await far_side.send_eof()
        other = TLSStream(below, certificates.client(), server_hostname="giambio.test")
        await (stream if level == "DEBUG" else other).receive()

    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool, handler, tls=certificates.server())
            client = await giambio.connect_tcp(
                "127.0.0.1", server.port, tls=certificates.client(), server_hostname="giambio.test"
            )
            client.close()
            await until(lambda: server.statistics().failed == 1)
            pool.cancel()

    with caplog.at_level(logging.DEBUG, "giambio.server"):
        giambio.run(main)
    assert [record.levelname for record in caplog.records] == [level]


def test_a_handshake_that_takes_too_long_is_given_up(run, certificates, caplog):
    async def main():
        async with giambio.create_pool() as pool:
            server = await serve(pool, tls=certificates.server(), tls_handshake_timeout=5)
            async with await connect(server) as client:
                assert await client.receive() == b""
            assert server.statistics().failed == 1
            pool.cancel()

    with caplog.at_level(logging.DEBUG, "giambio.server"):
        run(main)
    assert "TooSlowError" in caplog.records[0].message
    assert caplog.records[0].levelname == "DEBUG"
