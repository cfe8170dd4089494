# SPDX-License-Identifier: Apache-2.0
"""The short programs on the pages about clients and servers do what is said there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import giambio
from giambio.testing import current_network, simulate

HOW_TO = Path(__file__).resolve().parent.parent / "docs" / "how-to"


def function(page, name, containing=""):
    """Return a function that a page defines; if there are several, the one with certain words."""
    text = (HOW_TO / f"{page}.md").read_text(encoding="utf-8")
    (code,) = (
        code
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        if re.search(rf"^async def {name}\b", code, re.MULTILINE) and containing in code
    )
    space = {}
    exec(code.replace("\ngiambio.run(main)\n", ""), space)
    return space[name]


async def one_answer(stream):
    await stream.receive()
    await stream.send_all(b"HTTP/1.0 200 OK\r\n\r\n")


def on_a_network(client, *args):
    """Run a client where example.org is a host that answers on port 80."""

    async def main():
        async with giambio.create_pool() as pool:
            with current_network().host("example.org"):
                await pool.start(giambio.serve_tcp, one_answer, 80)
            result = await client(*args)
            pool.cancel()
        return result

    return simulate(main)


def test_connecting(capsys):
    on_a_network(function("write-a-client", "main"))
    assert capsys.readouterr().out == "b'HTTP/1.0 200 OK\\r\\n\\r\\n'\n"


def test_connecting_with_a_limit():
    async def client():
        connect = function("write-a-client", "connect", "with_timeout(10)")
        async with await connect("example.org", 80) as stream:
            assert stream.getpeername()[1] == 80

    on_a_network(client)


def test_datagrams():
    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(function("write-a-client", "echo"), 5000)
            await giambio.checkpoint()
            async with await giambio.connect_udp("localhost", 5000) as client:
                await client.send(b"hello")
                assert await client.receive() == b"hello"
            pool.cancel()

    simulate(main)


def test_letting_errors_through():
    async def handler(stream):
        raise ValueError("a bug")

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(function("write-a-server", "serve", "on_error=let_through"), handler, 8000)
            await giambio.sleep(1)
            await giambio.connect_tcp("localhost", 8000)
            await giambio.sleep(1)

    with pytest.raises(ValueError, match="a bug"):
        simulate(main)


def test_tls(tmp_path, monkeypatch):
    import trustme

    ca = trustme.CA()
    certificate = ca.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "certificate.pem"))
    monkeypatch.chdir(tmp_path)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    async def handler(stream):
        await stream.send_all(b"hello")

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(function("write-a-server", "serve", "tls=context"), handler, 443)
            await giambio.sleep(1)
            async with await function("write-a-client", "connect", "tls=True")("localhost") as tls:
                assert await tls.receive() == b"hello"
            pool.cancel()

    simulate(main)
