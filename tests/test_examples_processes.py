# SPDX-License-Identifier: Apache-2.0
"""The examples for processes, signals, files and threads do what they say."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import giambio
from giambio._files.stdio import StandardInput
from giambio.testing import VirtualClock

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name):
    """Import an example without running its main part."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_commands_run_side_by_side(capfd):
    giambio.run(load("parallel_commands").main, ["echo one; echo two", "echo three"])
    lines = capfd.readouterr().out.splitlines()
    assert sorted(lines) == [
        "echo one; echo two: one",
        "echo one; echo two: two",
        "echo three: three",
    ]


def test_a_command_that_fails_stops_the_others():
    with pytest.raises(RuntimeError, match="'exit 3' failed with 3"):
        giambio.run(load("parallel_commands").main, ["sleep 1000", "exit 3"])


def test_settings_are_read_again_and_the_end_is_orderly(tmp_path):
    settings = tmp_path / "settings.txt"
    settings.write_text("one")
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / "reload_on_signal.py"), str(settings)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "settings: one\n"
        settings.write_text("two")
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "settings: two\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "cleaned up\n"
    assert process.returncode == 0


def test_checksums_of_files(tmp_path):
    (tmp_path / "folder").mkdir()
    expected = []
    for name in ("one", "folder/other"):
        (tmp_path / name).write_text(name)
        expected.append(f"{hashlib.sha256(name.encode()).hexdigest()} {tmp_path / name}")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "checksums.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(done.stdout.splitlines()) == sorted(expected)


def test_progress_comes_out_of_a_thread(capsys):
    giambio.run(load("threads_and_progress").main, 30)
    assert capsys.readouterr().out.splitlines() == [
        "row 0",
        "row 10",
        "row 20",
        "30 rows exported",
    ]


def test_plain_code_uses_a_loop(capsys):
    load("loop_for_plain_code").main()
    assert capsys.readouterr().out.splitlines() == [
        "2",
        "[4, 6]",
        "session open",
        "session closed",
    ]


@pytest.mark.parametrize(
    ("typed", "said"), [(b"Guido\n", "Hello, Guido!"), (None, "Never mind."), (b"", "Never mind.")]
)
def test_a_question_does_not_wait_for_ever(typed, said, capsys, monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setattr(giambio, "open_stdin", lambda: StandardInput(reading))
    if typed is not None:
        os.write(writing, typed)
        os.close(writing)
    giambio.run(load("ask").main, clock=VirtualClock())
    assert capsys.readouterr().out.splitlines() == ["What is your name?", said]
    os.close(reading)
    if typed is None:
        os.close(writing)
