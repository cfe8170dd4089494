# SPDX-License-Identifier: Apache-2.0
"""A connection that begins in plain text and changes to TLS, as those of mail servers do.

The program plays both sides, over streams in memory:

    python starttls.py certificate.pem authority.pem
"""

from __future__ import annotations

import ssl
import sys

import giambio
from giambio import BufferedStream, TLSStream
from giambio.testing import memory_stream_pair


async def serve(stream: giambio.Stream, context: ssl.SSLContext) -> None:
    """Answer line by line until the other side has no more to say."""
    how = b"in secret" if isinstance(stream, TLSStream) else b"for all to hear"
    async with BufferedStream(stream) as lines:
        async for line in lines.lines():
            if line != b"STARTTLS":
                await lines.send_all(line + b" " + how + b"\r\n")
                continue
            await lines.send_all(b"go ahead\r\n")
            # What is in the buffer belongs to TLS: put it over the buffer, not below it.
            secure = await TLSStream.wrap(lines, context, server_side=True)
            await serve(secure, context)
            return


async def talk(stream: giambio.Stream, context: ssl.SSLContext) -> list[str]:
    """Say hello in plain text and in secret, and return all answers."""
    answers = []
    lines = BufferedStream(stream)
    for command in (b"HELLO", b"STARTTLS"):
        await lines.send_all(command + b"\r\n")
        answers.append(await lines.receive_until(b"\r\n"))
    secure = await TLSStream.wrap(lines, context, server_hostname="localhost")
    async with BufferedStream(secure) as lines:
        await lines.send_all(b"HELLO\r\n")
        answers.append(await lines.receive_until(b"\r\n"))
    return [answer.decode() for answer in answers]


async def main(certificate: str, authority: str) -> None:
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(certificate)
    client, server = memory_stream_pair()
    async with giambio.create_pool() as pool:
        pool.spawn(serve, server, server_context)
        for answer in await talk(client, ssl.create_default_context(cafile=authority)):
            print(answer)


if __name__ == "__main__":
    giambio.run(main, *sys.argv[1:])
