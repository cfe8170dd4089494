# SPDX-License-Identifier: Apache-2.0
"""Sockets that the standard library has wrapped in TLS, against its blocking ones in a thread."""

from __future__ import annotations

import contextlib
import io
import os
import socket as stdlib
import ssl
import struct
import threading

import pytest

import giambio
from giambio import ResourceBusy, ResourceClosed, TLSSocket, socket
from giambio.testing import assert_checkpoints, wait_all_tasks_blocked

VERSIONS = ["TLSv1_2", "TLSv1_3"]


@pytest.fixture
def run():
    """In real time, because the other side is a thread."""

    def run(func, *args):
        async def limited():
            with giambio.with_timeout(20):
                await func(*args)

        giambio.run(limited)

    return run


@pytest.fixture
def peer():
    """Run a blocking function in a thread; an error in it fails the test."""
    threads, errors = [], []

    def start(fn, *args):
        def body():
            try:
                fn(*args)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        threads.append(thread)

    yield start
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def tcp_pair():
    with stdlib.create_server(("127.0.0.1", 0)) as listener:
        left = stdlib.create_connection(listener.getsockname())
        right, _ = listener.accept()
    for sock in (left, right):
        sock.setsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_NODELAY, 1)
    return left, right


@pytest.fixture(params=VERSIONS)
def pair(request, certificates, peer):
    """Return a function that makes a client of ours and runs a server in a thread."""

    def make(serve, **options):
        left, right = tcp_pair()
        server_context = certificates.server(version=request.param)

        def body():
            # We may be gone before it has finished its handshake or its reading, which newer versions
            # of OpenSSL also write in.
            with contextlib.suppress(ConnectionError):
                with server_context.wrap_socket(right, server_side=True) as sock:
                    serve(sock)

        peer(body)
        client = certificates.client(version=request.param).wrap_socket(
            left, server_hostname="giambio.test", do_handshake_on_connect=False, **options
        )
        return giambio.wrap_socket(client)

    return make


def read_exactly(sock, size):
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        assert more
        data += more
    return data


async def receive_exactly(sock, size):
    data = b""
    while len(data) < size:
        more = await sock.receive(size - len(data))
        assert more
        data += more
    return data


def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)


class TestSession:
    """The handshake is made when it is needed, and what was agreed can be asked."""

    def test_the_first_operation_makes_the_handshake(self, run, pair):
        async def main():
            async with pair(echo) as sock:
                assert isinstance(sock, TLSSocket)
                assert sock.version() is None
                await sock.send_all(b"hello")
                assert sock.version() in ("TLSv1.2", "TLSv1.3")
                assert await sock.receive() == b"hello"

        run(main)

    def test_reader_and_writer_may_both_be_first(self, run, pair):
        async def main():
            async with pair(echo) as sock, giambio.create_pool() as pool:
                task = pool.spawn(sock.receive)
                pool.spawn(sock.send_all, b"hello")
                assert await task.join() == b"hello"

        run(main)

    def test_facts(self, run, pair, certificates):
        async def main():
            async with pair(echo) as sock:
                with pytest.raises(ValueError):
                    sock.getpeercert()
                with assert_checkpoints():
                    await sock.do_handshake()
                with assert_checkpoints():
                    await sock.do_handshake()
                names = dict(sock.getpeercert()["subjectAltName"])
                assert names["DNS"] == "giambio.test"
                assert ssl.DER_cert_to_PEM_cert(sock.getpeercert(binary_form=True))
                assert sock.cipher()[2] >= 128
                assert sock.shared_ciphers() is None or sock.shared_ciphers()
                assert sock.selected_alpn_protocol() is None
                assert sock.server_hostname == "giambio.test"
                assert not sock.server_side
                assert not sock.session_reused
                assert isinstance(sock.context, ssl.SSLContext)
                assert isinstance(sock.session, ssl.SSLSession)
                if sock.version() == "TLSv1.2":
                    assert sock.get_channel_binding()
                assert "TLSSocket" in repr(sock)

        run(main)

    def test_one_that_has_shaken_hands_before_is_used_as_it_is(self, run, certificates, peer):
        left, right = tcp_pair()

        def serve():
            with certificates.server().wrap_socket(right, server_side=True) as sock:
                echo(sock)

        peer(serve)
        client = certificates.client().wrap_socket(left, server_hostname="giambio.test")

        async def main():
            async with giambio.wrap_socket(client) as sock:
                assert sock.version() == "TLSv1.3"
                await sock.send_all(b"hello")
                assert await sock.receive() == b"hello"

        run(main)

    def test_a_certificate_that_is_not_trusted_breaks_it_off(self, run, certificates, peer):
        left, right = tcp_pair()

        def serve():
            with pytest.raises(ssl.SSLError):
                certificates.server().wrap_socket(right, server_side=True)
            right.close()

        peer(serve)

        async def main():
            client = ssl.create_default_context().wrap_socket(
                left, server_hostname="giambio.test", do_handshake_on_connect=False
            )
            async with giambio.wrap_socket(client) as sock:
                with pytest.raises(ssl.SSLCertVerificationError) as caught:
                    await sock.receive()
                assert caught.value.stream is sock
                assert sock.closed

        run(main)

    def test_cancelled_in_the_handshake_it_is_closed(self, run, certificates):
        left, right = tcp_pair()

        async def main():
            client = certificates.client().wrap_socket(
                left, server_hostname="giambio.test", do_handshake_on_connect=False
            )
            sock = giambio.wrap_socket(client)
            with giambio.skip_after(0.01) as scope:
                await sock.receive()
            assert scope.cancelled_caught and sock.closed
            right.close()

        run(main)

    def test_without_a_connection_there_is_no_handshake(self, run, certificates):
        async def main():
            client = certificates.client().wrap_socket(
                stdlib.socket(), server_hostname="giambio.test"
            )
            async with giambio.wrap_socket(client) as sock:
                for operation in (sock.receive, sock.do_handshake, lambda: sock.send_all(b"x")):
                    with pytest.raises(OSError):
                        await operation()
                    assert not sock.closed

        run(main)


class TestData:
    """All of it goes through, whatever the sizes."""

    @pytest.mark.parametrize("size", [1, 100, 16384, 16385])
    def test_records_are_read_in_pieces(self, run, pair, size):
        """What was decrypted already is no news to the system."""
        message = os.urandom(50_000)

        async def main():
            async with pair(lambda sock: sock.sendall(message)) as sock:
                got = b""
                while data := await sock.receive(size):
                    assert len(data) <= size
                    got += data
                assert got == message

        if size == 1:
            message = message[:500]
        run(main)

    def test_both_directions_at_once(self, run, pair):
        message = os.urandom(3_000_000)

        async def main():
            async with pair(echo) as sock, giambio.create_pool() as pool:
                pool.spawn(sock.send_all, message)
                assert await receive_exactly(sock, len(message)) == message

        run(main)

    def test_into_a_buffer_and_some(self, run, pair):
        async def main():
            async with pair(echo) as sock:
                assert await sock.send_some(b"") == 0
                with assert_checkpoints():
                    await sock.send_all(b"")
                assert await sock.send_some(b"hello") == 5
                buffer = bytearray(3)
                assert await sock.receive_into(buffer) == 3
                assert buffer == b"hel"
                assert sock.pending() == 2
                assert sock.is_readable()
                assert await sock.receive() == b"lo"
                assert not sock.is_readable()

        run(main)

    def test_a_file(self, run, pair):
        content = os.urandom(200_000)

        async def main():
            async with pair(echo) as sock, giambio.create_pool() as pool:
                task = pool.spawn(receive_exactly, sock, 100_000)
                assert await sock.sendfile(io.BytesIO(content), 5, 100_000) == 100_000
                assert await task.join() == content[5:100_005]

        run(main)

    def test_the_end(self, run, pair):
        async def main():
            async with pair(lambda sock: sock.unwrap().close()) as sock:
                assert await sock.receive() == b""
                assert await sock.receive() == b""

        run(main)

    @pytest.mark.parametrize("suppress", [True, False])
    def test_an_end_without_a_goodbye(self, run, pair, suppress):
        def cut_off(sock):
            sock.sendall(b"x")
            sock.recv(1)
            stdlib.socket.shutdown(sock, stdlib.SHUT_RDWR)

        async def main():
            async with pair(cut_off, suppress_ragged_eofs=suppress) as sock:
                assert await sock.receive() == b"x"
                await sock.send_all(b"y")
                if suppress:
                    assert await sock.receive() == b""
                else:
                    with pytest.raises(ssl.SSLEOFError):
                        await sock.receive()

        run(main)

    def test_a_reset(self, run, pair):
        def reset(sock):
            sock.recv(1)
            sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

        async def main():
            async with pair(reset, suppress_ragged_eofs=False) as sock:
                await sock.send_all(b"x")
                # Python 3.11 takes the one for the other.
                with pytest.raises((ConnectionResetError, ssl.SSLEOFError)) as caught:
                    await sock.receive()
                assert caught.value.stream is sock
                with pytest.raises(OSError) as caught:
                    await sock.send_all(b"x" * 100_000)
                assert caught.value.bytes_sent <= 100_000

        run(main)


class TestTwoTasks:
    """Exclusion and cancellation."""

    def test_two_of_a_kind_are_refused(self, run, pair):
        def stall(sock):
            sock.recv(1)
            done.wait()

        done = threading.Event()

        async def main():
            async with pair(stall) as sock, giambio.create_pool() as pool:
                await sock.send_all(b"x")
                pool.spawn(sock.receive).name = "reader"
                pool.spawn(sock.send_all, bytes(20_000_000)).name = "writer"
                await giambio.sleep(0.05)
                with pytest.raises(ResourceBusy, match="'reader' already reads"):
                    await sock.receive()
                with pytest.raises(ResourceBusy, match="'writer' already writes"):
                    await sock.send_all(b"x")
                with pytest.raises(ResourceBusy):
                    await sock.unwrap()
                pool.cancel()
                done.set()

        try:
            run(main)
        finally:
            done.set()

    def test_a_cancelled_read_loses_nothing_and_a_cancelled_send_closes(self, run, pair):
        def stall(sock):
            sock.recv(1)
            sock.sendall(b"answer")
            done.wait()

        done = threading.Event()

        async def main():
            sock = pair(stall)
            await sock.do_handshake()
            with giambio.skip_after(0.01) as scope:
                await sock.receive()
            assert scope.cancelled_caught
            await sock.send_all(b"x")
            assert await sock.receive() == b"answer"
            with giambio.CancelScope() as scope:
                scope.cancel()
                await sock.send_all(b"x")  # before it begins
            assert not sock.closed
            with giambio.skip_after(0.05) as scope:
                try:
                    await sock.send_all(bytes(20_000_000))
                except giambio.CancelledError as error:
                    assert 0 < error.bytes_sent < 20_000_000
                    raise
            assert scope.cancelled_caught
            assert sock.closed
            done.set()

        try:
            run(main)
        finally:
            done.set()

    def test_who_needs_the_direction_in_which_another_waits_is_parked(self, run, pair):
        """A write that needs to read first, as in a renegotiation, while a reader waits."""
        go_on = threading.Event()

        def serve(sock):
            sock.sendall(b"!")
            go_on.wait()
            sock.sendall(b"a")
            assert sock.recv(1) == b"b"

        async def main():
            async with pair(serve) as sock:
                # The tickets of TLS 1.3 come before it, and would end the reader's wait below.
                assert await sock.receive() == b"!"
                send = sock.socket.send
                attempts = []

                def needs_to_read(data):
                    attempts.append(data)
                    if len(attempts) == 1:
                        raise ssl.SSLWantReadError
                    return send(data)

                async with giambio.create_pool() as pool:
                    reader = pool.spawn(sock.receive)
                    await wait_all_tasks_blocked()
                    writer = pool.spawn(sock._write, needs_to_read, b"b")
                    await wait_all_tasks_blocked()
                    assert writer.waiting_on is sock
                    go_on.set()
                    assert await reader.join() == b"a"
                    assert await writer.join() == 1
                assert len(attempts) == 2

        try:
            run(main)
        finally:
            go_on.set()

    def test_closing_wakes_everybody(self, run, pair):
        async def main():
            outcomes = []

            async def attempt(operation, *args):
                with pytest.raises(ResourceClosed):
                    await operation(*args)
                outcomes.append("closed")

            sock = pair(lambda sock: sock.recv(1))
            await sock.do_handshake()

            def needs_to_read(data):
                if not sock.closed:
                    raise ssl.SSLWantReadError
                return sock.socket.send(data)

            async with giambio.create_pool() as pool:
                pool.spawn(attempt, sock.receive)
                await wait_all_tasks_blocked()
                pool.spawn(attempt, sock._write, needs_to_read, b"x")
                await wait_all_tasks_blocked()
                sock.close()
            assert outcomes == ["closed", "closed"]
            for operation in (sock.receive, sock.do_handshake, lambda: sock.send_all(b"x")):
                with pytest.raises(ResourceClosed):
                    await operation()

        run(main)


class TestEnds:
    """Closing, unwrapping, shutting down."""

    @pytest.mark.parametrize("how", ["aclose", "block", "close"])
    def test_whether_goodbye_is_said(self, run, pair, how):
        def serve(sock):
            sock.suppress_ragged_eofs = False
            sock.sendall(b"!")  # so that its handshake is over before we close
            if how == "close":
                with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
                    sock.recv(1)
            else:
                assert sock.recv(1) == b""

        async def main():
            sock = pair(serve)
            assert await sock.receive(1) == b"!"
            if how == "block":
                async with sock:
                    pass
            else:
                await getattr(sock, how)()
            assert sock.closed

        run(main)

    def test_goodbye_to_one_that_is_gone_is_fine(self, run, pair):
        async def main():
            async with pair(lambda sock: None) as sock:
                await sock.do_handshake()
                while await sock.receive():
                    pass

        run(main)

    def test_going_on_in_plain_text(self, run, pair):
        def serve(sock):
            plain = sock.unwrap()
            plain.sendall(b"plain")
            assert plain.recv(5) == b"text."
            plain.close()

        async def main():
            sock = pair(serve)
            await sock.do_handshake()
            with assert_checkpoints():
                plain = await sock.unwrap()
            assert sock.closed
            assert type(plain) is socket.AsyncSocket
            async with plain:
                assert await receive_exactly(plain, 5) == b"plain"
                await plain.send_all(b"text.")

        run(main)

    def test_unwrapping_while_the_other_side_sends_is_an_error(self, run, pair):
        def serve(sock):
            sock.sendall(b"data")
            with pytest.raises(OSError):
                while sock.recv(1):
                    sock.sendall(b"more")
                raise BrokenPipeError

        async def main():
            sock = pair(serve)
            await sock.do_handshake()
            await giambio.sleep(0.01)
            with pytest.raises(ssl.SSLError, match="(?i)application.data.after.close"):
                await sock.unwrap()
            assert sock.closed

        run(main)

    def test_one_direction_cannot_be_ended(self, run, pair):
        async def main():
            async with pair(echo) as sock:
                await sock.do_handshake()
                with pytest.raises(ValueError, match="TLSStream can"):
                    await sock.send_eof()
                with pytest.raises(ValueError, match="both directions"):
                    sock.shutdown(stdlib.SHUT_WR)
                # What the standard socket refuses is refused.
                with pytest.raises(ValueError, match="recvfrom not allowed"):
                    await sock.recvfrom(1)
                with pytest.raises(NotImplementedError):
                    sock.dup()
                await sock.shutdown()
                # The other side may complain meanwhile, which nobody is there to hear, and so may OpenSSL.
                with contextlib.suppress(ConnectionError):
                    assert await sock.receive() == b""
                with pytest.raises(OSError):
                    await sock.send_all(b"not in plain text")

        run(main)


class TestConnections:
    """Connecting and accepting make the handshake."""

    @pytest.mark.parametrize("at_once", [True, False])
    def test_connecting_and_accepting(self, run, certificates, at_once):
        async def main():
            listener = certificates.server().wrap_socket(
                stdlib.create_server(("127.0.0.1", 0)),
                server_side=True,
                do_handshake_on_connect=at_once,
            )
            client = certificates.client().wrap_socket(
                stdlib.socket(), server_hostname="giambio.test", do_handshake_on_connect=at_once
            )
            async with (
                giambio.wrap_socket(listener) as listening,
                giambio.wrap_socket(client) as ours,
                giambio.create_pool() as pool,
            ):
                task = pool.spawn(listening.accept)
                with pytest.raises(ValueError, match="server's side"):
                    await listening.connect(listening.getsockname())
                await ours.connect(listening.getsockname())
                theirs, address = await task.join()
                assert address == ours.getsockname()
                for sock in (ours, theirs):
                    assert sock.version() == ("TLSv1.3" if at_once else None)
                async with theirs:
                    reader = pool.spawn(theirs.receive)
                    await ours.send_all(b"hello")
                    assert await reader.join() == b"hello"
                    assert theirs.server_side

        run(main)

    def test_a_session_is_resumed(self, run, certificates, peer):
        listener = stdlib.create_server(("127.0.0.1", 0))
        context = certificates.server(version="TLSv1_2")

        def serve():
            with listener:
                for _ in range(2):
                    sock, _ = listener.accept()
                    with context.wrap_socket(sock, server_side=True) as tls:
                        echo(tls)

        peer(serve)

        async def main():
            session = None
            client = certificates.client(version="TLSv1_2")
            for n in range(2):
                sock = client.wrap_socket(
                    stdlib.socket(), server_hostname="giambio.test", session=session
                )
                async with giambio.wrap_socket(sock) as ours:
                    await ours.connect(listener.getsockname())
                    assert ours.session_reused is bool(n)
                    session = ours.session

        run(main)

    def test_bad_clients_are_passed_over(self, run, certificates):
        async def main():
            listener = certificates.server().wrap_socket(
                stdlib.create_server(("127.0.0.1", 0)), server_side=True
            )
            async with giambio.wrap_socket(listener) as listening, giambio.create_pool() as pool:
                task = pool.spawn(listening.accept)
                with stdlib.create_connection(listening.getsockname()) as bad:
                    bad.send(b"GET / HTTP/1.0\r\n\r\n")
                    await giambio.sleep(0.01)
                    with stdlib.create_connection(listening.getsockname()) as gone:
                        linger = struct.pack("ii", 1, 0)
                        gone.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, linger)
                    client = certificates.client().wrap_socket(
                        stdlib.socket(), server_hostname="giambio.test"
                    )
                    async with giambio.wrap_socket(client) as ours:
                        await ours.connect(listening.getsockname())
                        theirs, _ = await task.join()
                        theirs.close()

        run(main)

    def test_one_that_cannot_even_be_wrapped_is_passed_over(self, run, certificates, monkeypatch):
        async def main():
            listener = certificates.server().wrap_socket(
                stdlib.create_server(("127.0.0.1", 0)),
                server_side=True,
                do_handshake_on_connect=False,
            )
            attempts = []
            wrap = ssl.SSLContext.wrap_socket

            def flaky(self, sock, *args, **kwargs):
                attempts.append(sock)
                if len(attempts) == 1:
                    sock.close()
                    raise OSError("gone")
                return wrap(self, sock, *args, **kwargs)

            monkeypatch.setattr(ssl.SSLContext, "wrap_socket", flaky)
            async with giambio.wrap_socket(listener) as listening:
                clients = [stdlib.create_connection(listening.getsockname()) for _ in range(2)]
                (await listening.accept())[0].close()
                for client in clients:
                    client.close()
            assert len(attempts) == 2

        run(main)

    def test_cancelled_while_a_client_shakes_hands(self, run, certificates):
        async def main():
            listener = certificates.server().wrap_socket(
                stdlib.create_server(("127.0.0.1", 0)), server_side=True
            )
            async with giambio.wrap_socket(listener) as listening:
                with stdlib.create_connection(listening.getsockname()) as slow:
                    with giambio.skip_after(0.01) as scope:
                        await listening.accept()
                    assert scope.cancelled_caught
                    slow.settimeout(5)
                    assert slow.recv(1) == b""

        run(main)
