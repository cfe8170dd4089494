# SPDX-License-Identifier: Apache-2.0
"""What the READMEs show works, and what they point to exists."""

from __future__ import annotations

import ast
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
READMES = [
    "README.md",
    *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("packages/*/README.md")),
]


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


@pytest.mark.parametrize("path", ["README.md", "packages/giambio/README.md"])
def test_the_program_is_a_server_for_several_clients_and_can_be_started_again(path):
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(), re.DOTALL)
    port = free_port()
    program = program.replace("1500", str(port)).replace("localhost", "127.0.0.1")
    for _ in range(2):  # right after it has closed its connections, which keeps the port busy
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


def test_the_program_is_the_example():
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example = ast.parse((ROOT / "examples" / "echo.py").read_text())
    for node in ast.walk(example):
        if isinstance(node, ast.AsyncFunctionDef):
            node.returns = None
            for argument in node.args.args:
                argument.annotation = None
    functions = [node for node in example.body if isinstance(node, ast.AsyncFunctionDef)]
    shown = [node for node in ast.parse(program).body if isinstance(node, ast.AsyncFunctionDef)]
    assert list(map(ast.unparse, shown)) == list(map(ast.unparse, functions))


def test_the_program_of_the_kernel_ticks_and_tocks():
    text = (ROOT / "packages/giambio-kernel/README.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    program = program.replace("seconds=3.5", "seconds=0.035").replace("sleep(1)", "sleep(0.01)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.split()[:4] == ["tick", "tock"] * 2


# Installing


@pytest.mark.parametrize("path", [*READMES, "docs/how-to/install.md"])
def test_the_ways_to_install_are_told_and_the_pythons_named(path):
    text = (ROOT / path).read_text()
    command = "pip install ./packages/giambio-kernel ./packages/giambio ./packages/pytest-giambio"
    assert command in text
    folder = (ROOT / path).parent
    name = folder.name if folder.parent.name == "packages" else "giambio"
    assert f"```sh\npip install {name}\n```" in text
    for package in ("giambio-kernel", "giambio", "pytest-giambio"):
        with open(ROOT / "packages" / package / "pyproject.toml", "rb") as file:
            project = tomllib.load(file)["project"]
        assert project["name"] == package
        assert project["requires-python"] == ">=3.11"
        tested = re.findall(r":: (3\.\d+)", " ".join(project["classifiers"]))
        assert "CPython 3.11 or newer" in text
        assert f"tested on {tested[0]} to {tested[-1]}" in text


@pytest.mark.parametrize("path", READMES)
def test_no_readme_names_a_package_index(path):
    assert not re.search(r"pypi|https?://", (ROOT / path).read_text(), re.IGNORECASE)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda p: p.name
)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (ROOT / link).exists()] == []
