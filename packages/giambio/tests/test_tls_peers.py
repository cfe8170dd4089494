# SPDX-License-Identifier: Apache-2.0
"""TLS streams against others: Python's blocking sockets in a thread, and the program of OpenSSL."""

from __future__ import annotations

import os
import shutil
import socket as stdlib
import ssl
import struct
import subprocess
import threading

import pytest

import giambio
from giambio import BufferedStream, ConnectionBroken, TLSStream, run_in_thread, wrap_socket
from giambio.testing import Break, Line, serve_fault_proxy

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the program openssl is not installed"
)
VERSIONS = ["TLSv1_2", "TLSv1_3"]


@pytest.fixture
def run():
    """In real time, because the other side is a thread or a process."""

    def run(func):
        async def limited():
            with giambio.with_timeout(30):
                await func()

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
        thread.join(30)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


@pytest.fixture
def tcp():
    """Return a function that makes two standard sockets that are connected."""

    def tcp():
        with stdlib.create_server(("127.0.0.1", 0)) as listener:
            left = stdlib.create_connection(listener.getsockname())
            right, _ = listener.accept()
        for sock in (left, right):
            sock.setsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_NODELAY, 1)
        return left, right

    return tcp


async def receive_exactly(stream, size):
    data = b""
    while len(data) < size:
        more = await stream.receive()
        assert more
        data += more
    return data


class TestPython:
    """The standard library's own sockets."""

    @pytest.mark.parametrize("version", VERSIONS)
    def test_client(self, run, peer, tcp, certificates, version):
        message = os.urandom(1_000_000)
        left, right = tcp()

        def serve():
            context = certificates.server(version=version, alpn=["echo"])
            with context.wrap_socket(right, server_side=True) as sock:
                sock.suppress_ragged_eofs = False
                while data := sock.recv(65536):
                    sock.sendall(data)
                if version == "TLSv1_3":  # the other direction is open
                    sock.sendall(b"you are done")
                    sock.unwrap().close()

        async def main():
            async with await TLSStream.wrap(
                wrap_socket(left),
                certificates.client(version=version, alpn=["echo"]),
                server_hostname="giambio.test",
            ) as stream:
                assert stream.selected_alpn_protocol() == "echo"
                async with giambio.create_pool() as pool:
                    pool.spawn(stream.send_all, message)
                    assert await receive_exactly(stream, len(message)) == message
                if version == "TLSv1_3":
                    await stream.send_eof()
                    assert await receive_exactly(stream, 12) == b"you are done"
                    assert await stream.receive() == b""

        peer(serve)
        run(main)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_server(self, run, peer, tcp, certificates, version):
        message = os.urandom(1_000_000)
        left, right = tcp()

        def ask():
            context = certificates.client(version=version)
            with context.wrap_socket(left, server_hostname="giambio.test") as sock:
                sock.suppress_ragged_eofs = False
                sender = threading.Thread(target=sock.sendall, args=(message,))
                sender.start()
                got = bytearray()
                while len(got) < len(message):
                    got += sock.recv(65536)
                sender.join()
                assert got == message
                sock.unwrap().close()

        async def main():
            stream = TLSStream(
                wrap_socket(right), certificates.server(version=version), server_side=True
            )
            async with stream:
                while data := await stream.receive():
                    await stream.send_all(data)

        peer(ask)
        run(main)

    def test_cut_off_and_reset(self, run, peer, tcp, certificates):
        def serve(right, option):
            with certificates.server().wrap_socket(right, server_side=True) as sock:
                sock.sendall(b"hello")
                assert sock.recv(1) == b"x"
                if option:
                    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, option)

        async def main():
            for option, error in (
                (b"", ConnectionBroken),
                (struct.pack("ii", 1, 0), ConnectionResetError),
            ):
                left, right = tcp()
                peer(serve, right, option)
                async with TLSStream(
                    wrap_socket(left), certificates.client(), server_hostname="giambio.test"
                ) as stream:
                    assert await receive_exactly(stream, 5) == b"hello"
                    await stream.send_all(b"x")
                    with pytest.raises(error):
                        await stream.receive()

        run(main)

    def test_going_on_in_plain_text(self, run, peer, tcp, certificates):
        left, right = tcp()

        def serve():
            with certificates.server().wrap_socket(right, server_side=True) as sock:
                assert sock.recv(1) == b"x"
                with sock.unwrap() as plain:
                    plain.sendall(b"in plain text\n")

        async def main():
            stream = TLSStream(
                wrap_socket(left), certificates.client(), server_hostname="giambio.test"
            )
            await stream.send_all(b"x")
            assert await stream.receive() == b""
            plain, rest = await stream.unwrap()
            async with BufferedStream(plain, initial=rest) as plain:
                assert await plain.receive_until(b"\n") == b"in plain text"

        peer(serve)
        run(main)


class OpenSSL:
    """The program of OpenSSL as one side of a connection. What it says comes through a pipe."""

    def __init__(self, *arguments):
        self._process = subprocess.Popen(
            ["openssl", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self.said = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._process.kill()
        self._process.communicate()

    def type(self, text):
        self._process.stdin.write(text)

    def hear(self, text):
        """Wait until it has said this."""
        while text not in self.said:
            more = os.read(self._process.stdout.fileno(), 65536)
            assert more, self.said
            self.said += more
        before, _, self.said = self.said.partition(text)
        return before


async def hear(program, text):
    await run_in_thread(program.hear, text, abandon_on_cancel=True)


@pytest.fixture(scope="module")
def files(certificates, tmp_path_factory):
    """Return the paths of a certificate with its key, and of the authority's certificate."""
    directory = tmp_path_factory.mktemp("certificates")
    own, authority = directory / "own.pem", directory / "ca.pem"
    certificates.server_certificate.private_key_and_cert_chain_pem.write_to_path(own)
    certificates.ca.cert_pem.write_to_path(authority)
    return str(own), str(authority)


@needs_openssl
class TestOpenSSL:
    """The program of OpenSSL, which also does what Python's module cannot ask for."""

    @pytest.fixture
    def ask_server(self, run, certificates, files):
        """Run a client of ours against ``openssl s_server``."""

        def ask_server(version, ask, *options):
            def start():
                server = OpenSSL(
                    "s_server", "-accept", "127.0.0.1:0", "-cert", files[0], "-naccept", "1",
                    "-tls" + version[4:], *options,
                )  # fmt: skip
                server.hear(b"ACCEPT ")
                return server, int(server.hear(b"\n").rpartition(b":")[2])

            async def main():
                server, port = await run_in_thread(start)
                with server:
                    sock = giambio.socket.socket()
                    await sock.connect(("127.0.0.1", port))
                    async with TLSStream(
                        sock, certificates.client(version=version), server_hostname="giambio.test"
                    ) as stream:
                        await ask(stream, server)

            run(main)

        return ask_server

    @pytest.fixture
    def serve_client(self, run, certificates, files):
        """Run a server of ours against ``openssl s_client``."""

        def serve_client(version, serve, *options):
            async def main():
                listener = giambio.socket.socket()
                listener.bind(("127.0.0.1", 0))
                listener.listen()
                with OpenSSL(
                    "s_client", "-connect", f"127.0.0.1:{listener.getsockname()[1]}",
                    "-CAfile", files[1], "-verify_return_error", "-servername", "giambio.test",
                    "-verify_hostname", "giambio.test", "-tls" + version[4:], *options,
                ) as client:  # fmt: skip
                    async with listener:
                        sock, _ = await listener.accept()
                    async with TLSStream(
                        sock, certificates.server(version=version), server_side=True
                    ) as stream:
                        await serve(stream, client)

            run(main)

        return serve_client

    @pytest.mark.parametrize("version", VERSIONS)
    def test_client(self, ask_server, version):
        async def ask(stream, server):
            await stream.send_all(b"hello\n")
            assert await receive_exactly(stream, 6) == b"olleh\n"
            if version == "TLSv1_3":
                await stream.send_eof()
                assert await stream.receive() == b""

        ask_server(version, ask, "-rev")

    @pytest.mark.parametrize("version", VERSIONS)
    def test_server(self, serve_client, version):
        async def serve(stream, client):
            client.type(b"hello\n")
            assert await receive_exactly(stream, 6) == b"hello\n"
            await stream.send_all(b"good day\n")
            await hear(client, b"good day\n")
            client.type(b"Q\n")
            assert await stream.receive() == b""

        serve_client(version, serve)

    def test_a_server_that_renegotiates_is_refused(self, ask_server):
        async def ask(stream, server):
            await stream.send_all(b"hello\n")
            await hear(server, b"hello\n")
            server.type(b"r\n")
            # It gives up when it is refused; others may go on.
            with pytest.raises(ssl.SSLError, match="(?i)alert handshake failure"):
                await stream.receive()
            await hear(server, b"no renegotiation")

        ask_server("TLSv1_2", ask)

    def test_a_client_that_renegotiates_is_refused(self, serve_client):
        async def serve(stream, client):
            await stream.send_all(b"hello\n")
            await hear(client, b"hello\n")
            client.type(b"R\n")
            with pytest.raises(ssl.SSLError, match="(?i)alert handshake failure"):
                await stream.receive()
            await hear(client, b"no renegotiation")

        serve_client("TLSv1_2", serve)

    def test_keys_change(self, ask_server):
        async def ask(stream, server):
            for n in range(3):
                for command in (b"k\n", b"K\n"):  # its own keys; and ours, too
                    # It knows a command only at the beginning of what it reads at once, and has read
                    # it when it reads what came later from the other side.
                    server.type(command)
                    await stream.send_all(b"question %d\n" % n)
                    await hear(server, b"question %d\n" % n)
                    server.type(b"news\n")
                    assert await receive_exactly(stream, 5) == b"news\n"
                    await stream.send_all(b"answer %d\n" % n)
                    await hear(server, b"answer %d\n" % n)

        ask_server("TLSv1_3", ask)


class TestBadConnections:
    """Ourselves on both sides, with a proxy between that treats the bytes badly."""

    message = os.urandom(20_000)

    @pytest.fixture
    def through_proxy(self, run, certificates):
        """Connect to an echo over TLS through a proxy, and use the connection."""

        async def echo(stream):
            while data := await stream.receive():
                await stream.send_all(data)

        def through_proxy(use, **lines):
            async def main():
                async with giambio.create_pool() as pool:
                    server = await pool.start(
                        giambio.serve_tcp,
                        echo,
                        0,
                        host="127.0.0.1",
                        tls=certificates.server(),
                        on_error=lambda error, sock: None,
                    )
                    proxy = await pool.start(serve_fault_proxy, "127.0.0.1", server.port, **lines)
                    async with await giambio.connect_tcp(
                        "127.0.0.1",
                        proxy.port,
                        tls=certificates.client(),
                        server_hostname="giambio.test",
                    ) as stream:
                        await use(stream)
                    pool.cancel()

            run(main)

        return through_proxy

    def test_in_small_pieces(self, through_proxy):
        async def use(stream):
            await stream.send_all(self.message)
            assert await receive_exactly(stream, len(self.message)) == self.message

        through_proxy(use, to_server=Line(piece=150), to_client=Line(piece=170))

    @pytest.mark.parametrize("how", [Break.CUT, Break.RESET, Break.HALF_CLOSE])
    @pytest.mark.parametrize("limit", [1, 700, 10_000])
    def test_one_that_breaks_is_never_taken_for_one_that_has_ended(self, through_proxy, limit, how):
        got = bytearray()

        async def use(stream):
            await stream.send_all(self.message)
            while True:
                data = await stream.receive()
                assert data
                got.extend(data)

        with pytest.raises((ConnectionError, ssl.SSLError)):
            through_proxy(use, to_client=Line(limit=limit, then=how))
        assert self.message.startswith(got)
