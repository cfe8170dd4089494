# SPDX-License-Identifier: Apache-2.0
"""What the README shows works, and what it points to exists."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def connect(port, process):
    while process.poll() is None:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except ConnectionRefusedError:
            time.sleep(0.01)  # its process is still starting
    pytest.fail(process.stderr.read())


def test_the_program_is_a_server_for_several_clients():
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    port = free_port()
    program = program.replace("1500", str(port)).replace("localhost", "127.0.0.1")
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program], stderr=subprocess.PIPE, text=True
    ) as process:
        with connect(port, process) as one, connect(port, process) as two:
            for client in (two, one):
                client.sendall(b"echo")
                assert client.recv(100) == b"echo"
            process.send_signal(signal.SIGINT)
            assert one.recv(100) == two.recv(100) == b""
        assert "\nKeyboardInterrupt" in process.stderr.read()


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda p: p.name
)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (ROOT / link).exists()] == []
