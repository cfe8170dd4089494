# SPDX-License-Identifier: Apache-2.0
"""An echo over TLS: the server, and a client that says what was agreed upon.

    python tls_echo.py serve 8443 certificate.pem
    python tls_echo.py ask localhost 8443 authority.pem "good morning"

The first file holds the server's certificate and its key, the second one whom the client trusts.
"""

from __future__ import annotations

import signal
import ssl
import sys

import giambio

PROTOCOL = "echo/1"


def server_context(certificate: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols([PROTOCOL])
    return context


async def echo(stream: giambio.TLSStream) -> None:
    """Serve one client. The handshake is made, and the stream is closed when this ends."""
    if stream.selected_alpn_protocol() != PROTOCOL:
        return
    while data := await stream.receive():
        await stream.send_all(data)


async def serve(port: int, certificate: str) -> None:
    context = server_context(certificate)
    async with giambio.create_pool() as pool:
        server = await pool.start(giambio.serve_tcp, echo, port, tls=context)
        print(f"Listening on port {server.port}", flush=True)
        await server.shutdown_on(signal.SIGINT, signal.SIGTERM, grace=5)


def client_context(authority: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols([PROTOCOL])
    return context


async def ask(host: str, port: int, authority: str, text: str) -> str:
    with giambio.with_timeout(10):
        async with await giambio.connect_tcp(host, port, tls=client_context(authority)) as stream:
            cipher = stream.cipher()
            assert cipher is not None
            print(f"{stream.version()}, {cipher[0]}, {stream.selected_alpn_protocol()}")
            message = text.encode()
            await stream.send_all(message)
            answer = await giambio.BufferedStream(stream).receive_exactly(len(message))
    return answer.decode()


async def main(what: str, *args: str) -> None:
    if what == "serve":
        port, certificate = args
        await serve(int(port), certificate)
    else:
        host, number, authority, text = args
        print(await ask(host, int(number), authority, text))


if __name__ == "__main__":
    giambio.run(main, *sys.argv[1:])
