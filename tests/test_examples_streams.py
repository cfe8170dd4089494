# SPDX-License-Identifier: Apache-2.0
"""The examples for streams, framing and TLS."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

import giambio
from giambio.testing import memory_stream_pair

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name):
    """Import an example without running its main part."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def execute(name, *args):
    """Run an example to its end, and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@contextmanager
def serving(name, *args):
    """Run an example that serves; yield its port, and then ask it to end, and see that it does."""
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / f"{name}.py"), "serve", "0", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield re.search(r"\d+", process.stdout.readline())[0]
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) == (0, "")
        finally:
            process.kill()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Return the paths of a certificate with its key, and of the one of its authority."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    own = authority.issue_cert("localhost")
    own.private_key_and_cert_chain_pem.write_to_path(directory / "own.pem")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    return directory / "own.pem", directory / "ca.pem"


needs_signals = pytest.mark.skipif(os.name != "posix", reason="sends signals")


@needs_signals
def test_the_echo_over_tls(certificates):
    own, authority = certificates
    with serving("tls_echo", own) as port:
        agreed, answer = execute("tls_echo", "ask", "localhost", port, authority, "good morning")
        assert agreed.startswith("TLSv1.3, TLS_") and agreed.endswith(", echo/1")
        assert answer == "good morning"


def test_changing_to_tls(certificates):
    assert execute("starttls", *certificates) == [
        "HELLO for all to hear",
        "go ahead",
        "HELLO in secret",
    ]


@needs_signals
def test_the_store():
    with serving("message_store") as port:
        answers = execute(
            "message_store", "ask", "localhost", port,
            '{"get": "x"}', '{"set": "x", "to": [1, 2]}', '{"get": "x"}', "{}", "what?",
        )  # fmt: skip
    assert answers == [
        '{"value": null}',
        '{"done": true}',
        '{"value": [1, 2]}',
        '{"error": "not understood"}',
        '{"error": "not JSON"}',
    ]


def test_the_store_in_memory_byte_by_byte():
    example = load("message_store")

    async def main():
        client, server = memory_stream_pair(max_chunk=1)
        async with giambio.create_pool() as pool:
            pool.spawn(example.Store().serve_client, server)
            answers = await example.ask(client, ['{"set": "x", "to": 1}', '{"get": "x"}'])
            assert answers == ['{"done": true}', '{"value": 1}']
        server.close()

    giambio.run(main)
