# SPDX-License-Identifier: Apache-2.0
"""The fragments of code on the pages about clients and servers do what is said there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

import giambio
from giambio.testing import current_network, simulate

HOW_TO = Path(__file__).resolve().parent.parent / "docs" / "how-to"


def fragment(page, beginning):
    """Return the fragment of a page that has a line with this beginning."""
    text = (HOW_TO / f"{page}.md").read_text(encoding="utf-8")
    [found] = [
        code
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        if re.search(f"^ *{re.escape(beginning)}", code, re.MULTILINE)
    ]
    return found


async def perform(code, **names):
    """Run a fragment with the names that it takes for granted; return all that it has set."""
    source = "async def performed():\n" + textwrap.indent(code, "    ") + "    return locals()\n"
    space = {"giambio": giambio, **names}
    exec(source, space)
    return await space["performed"]()


async def one_answer(stream):
    await stream.receive()
    await stream.send_all(b"HTTP/1.0 200 OK\r\n\r\n")


def on_a_network(client):
    """Run a client where example.org is a host that answers on port 80."""

    async def main():
        async with giambio.create_pool() as pool:
            with current_network().host("example.org"):
                await pool.start(giambio.serve_tcp, one_answer, 80)
            result = await client()
            pool.cancel()
        return result

    return simulate(main)


def test_connecting(capsys):
    code = fragment("write-a-client", 'async with await giambio.connect_tcp("example.org", 80)')
    on_a_network(lambda: perform(code))
    assert capsys.readouterr().out == "b'HTTP/1.0 200 OK\\r\\n\\r\\n'\n"


def test_connecting_with_a_limit():
    code = fragment("write-a-client", "with giambio.with_timeout(10):")

    async def client():
        stream = (await perform(code))["stream"]
        assert stream.getpeername()[1] == 80
        stream.close()

    on_a_network(client)


def test_datagrams():
    code = fragment("write-a-client", "async with await giambio.open_udp_endpoint(port=5000)")

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(perform, code)
            await giambio.checkpoint()
            async with await giambio.connect_udp("localhost", 5000) as client:
                await client.send(b"hello")
                assert await client.receive() == b"hello"
            pool.cancel()

    simulate(main)


def test_letting_errors_through():
    code = fragment(
        "write-a-server", "await giambio.serve_tcp(handler, 8000, on_error=let_through)"
    )

    async def handler(stream):
        raise ValueError("a bug")

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(perform, code, handler=handler)
            await giambio.sleep(1)
            await giambio.connect_tcp("localhost", 8000)
            await giambio.sleep(1)

    with pytest.raises(ValueError, match="a bug"):
        simulate(main)


def test_tls(tmp_path, monkeypatch):
    import ssl

    import trustme

    ca = trustme.CA()
    certificate = ca.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "certificate.pem"))
    monkeypatch.chdir(tmp_path)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    serving = fragment("write-a-server", 'context.load_cert_chain("certificate.pem", "key.pem")')
    connecting = fragment("write-a-client", 'stream = await giambio.connect_tcp("example.org", 443')

    async def handler(stream):
        await stream.send_all(b"hello")

    async def main():
        async with giambio.create_pool() as pool:
            server = await pool.start(
                lambda **more: perform(
                    serving.replace("8443", "0, host='localhost', **more"),
                    ssl=ssl,
                    handler=handler,
                    more=more,
                )
            )
            code = connecting.replace("443", str(server.port)).replace("example.org", "localhost")
            async with (await perform(code))["stream"] as stream:
                assert await stream.receive() == b"hello"
            pool.cancel()

    giambio.run(main)
