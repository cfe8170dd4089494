# SPDX-License-Identifier: Apache-2.0
"""Every program of the documents that the project began with runs and does what they promise."""

from __future__ import annotations

import gc
import importlib.util
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import giambio
from giambio.testing import VirtualClock

SEEDS = Path(__file__).resolve().parent.parent / "examples" / "seeds"


def load(name):
    """Import a program without running its main part."""
    spec = importlib.util.spec_from_file_location(f"seed_{name}", SEEDS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def output_of(name, function, *args, capsys, **options):
    """Run a function of a program in virtual time and return the lines that it prints."""
    giambio.run(getattr(load(name), function), *args, clock=VirtualClock(), **options)
    return capsys.readouterr().out.splitlines()


def script(name, *args):
    return [sys.executable, "-u", str(SEEDS / f"{name}.py"), *args]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("hello", ["Hello, world!"]),
        ("calling", ["Hello from async_one!", "Hello from async_two!"]),
        ("countdown", ["5", "4", "3", "2", "1"]),
        ("own_ticks", ["[0, 1, 2, 3] after 7 ticks"]),
    ],
)
def test_programs_that_just_print(name, lines):
    done = subprocess.run(script(name), capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == lines
    assert done.stderr == ""


def test_sleep_double_sleeps_twice_as_long(capsys):
    clock = VirtualClock()
    giambio.run(load("sleep_double").sleep_double, 2, clock=clock)
    assert clock.now() == 4


def test_a_forgotten_await_does_not_sleep_and_python_says_why(capsys):
    with pytest.warns(RuntimeWarning, match="coroutine 'sleep' was never awaited"):
        lines = output_of("forgotten_await", "sleep_double_broken", 2, capsys=capsys)
        gc.collect()
    assert lines == ["Taking a nap!", "Slept for 0.00 seconds!"]


def test_what_the_prompt_shows_for_a_call_without_await():
    coroutine = giambio.sleep(1)
    assert re.fullmatch(r"<coroutine object sleep at 0x[0-9a-f]+>", repr(coroutine))
    coroutine.close()


def test_two_children_that_are_joined(capsys):
    assert output_of("two_children_joined", "main", capsys=capsys) == [
        "[parent] Spawning children",
        "[parent] Children spawned, awaiting completion",
        "[child 1] Gonna sleep for 1 seconds!",
        "[child 2] Gonna sleep for 2 seconds!",
        "[child 1] I woke up! Slept for 1.0 seconds",
        "[child 2] I woke up! Slept for 2.0 seconds",
        "[parent] Execution terminated in 2.0 seconds",
    ]


def test_two_children_in_a_pool(capsys):
    assert output_of("two_children_in_a_pool", "main", capsys=capsys) == [
        "[main] Children spawned, awaiting completion",
        "[child] Child spawned!! Sleeping for 2 seconds",
        "[child 1] Child spawned!! Sleeping for 2 seconds",
        "[child] Had a nice nap!",
        "[child 1] Had a nice nap!",
        "[main] Children execution complete in 2.00 seconds",
    ]


def test_the_trace_of_the_debugger_is_that_of_the_document(capsys):
    """Line by line; only the measured 2.01 seconds are exactly 2 on a virtual clock."""
    debugger = load("debugger").Debugger()
    assert output_of("debugger", "main", capsys=capsys, debugger=debugger) == [
        "## Started running",
        "-> About to run a step for 'main'",
        ">> A task named 'child' was spawned",
        ">> A task named 'child1' was spawned",
        "[main] Children spawned, awaiting completion",
        "<- Ran a step for 'main'",
        "-> About to run a step for 'child'",
        "[child] Child spawned!! Sleeping for 2 seconds",
        "<- Ran a step for 'child'",
        "# About to put 'child' to sleep for 2.00 seconds",
        "-> About to run a step for 'child1'",
        "[child 1] Child spawned!! Sleeping for 2 seconds",
        "<- Ran a step for 'child1'",
        "# About to put 'child1' to sleep for 2.00 seconds",
        "# Task 'child' slept for 2.00 seconds",
        "# Task 'child1' slept for 2.00 seconds",
        "!! About to check for I/O for up to 0.00 seconds",
        "!! Done I/O check (timeout 0.00 seconds)",
        "-> About to run a step for 'child'",
        "[child] Had a nice nap!",
        "<< Task 'child' exited",
        "-> About to run a step for 'child1'",
        "[child 1] Had a nice nap!",
        "<< Task 'child1' exited",
        "-> About to run a step for 'main'",
        "<- Ran a step for 'main'",
        "-> About to run a step for 'main'",
        "[main] Children execution complete in 2.00 seconds",
        "<< Task 'main' exited",
        "## Finished running",
    ]


class Conversation:
    """A running echo server and what one sees of it."""

    def __init__(self, name):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            script(name, str(self.port)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert "erving asynchronously at" in self.process.stderr.readline()

    def connect(self):
        peer = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        stream = peer.makefile("rwb", buffering=0)
        peer.close()  # the stream keeps it open
        assert stream.readline() == (
            b"Welcome to the server pal, feel free to send me something!\n"
        )
        assert stream.read(3) == b"-> "
        return stream

    def log(self):
        """Wait for the end, and return what was logged, without the times."""
        out, err = self.process.communicate(timeout=30)
        return out, re.sub(r"\d\d/\d\d/\d{4} [AP]M ", "", err)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.process.kill()
        self.process.communicate()


def ask(stream, line):
    stream.write(line)
    answer = stream.readline()
    assert stream.read(3) == b"-> "
    return answer


@pytest.mark.parametrize("name", ["echo_pool", "echo_wrapped"])
class TestEchoServer:
    """The server that is built step by step in the documents."""

    def test_it_talks_to_several_clients_at_the_same_time(self, name):
        with Conversation(name) as server, server.connect() as one, server.connect() as two:
            assert ask(two, b"yay!\n") == b"Got: yay!\n"
            assert ask(one, b"async server test\n") == b"Got: async server test\n"
            assert ask(two, b"again\n") == b"Got: again\n"

    def test_exit_stops_the_server_with_the_exception_of_the_handler(self, name):
        with Conversation(name) as server, server.connect() as one, server.connect() as two:
            one.write(b"exit\n")
            assert one.readline() == b"Shutting down the server\n"
            assert one.read(1) == b""
            assert two.read(1) == b""  # the other handler was cancelled, and closed its socket
            out, log = server.log()
            assert out == ""
            assert log.splitlines()[-1] == "[ERROR] Exiting due to a Exception: "
            assert "Task" not in log
            assert server.process.returncode == 0

    def test_ctrl_c_stops_the_server(self, name):
        with Conversation(name) as server, server.connect() as one:
            server.process.send_signal(signal.SIGINT)
            assert one.read(1) == b""
            _, log = server.log()
            assert log.splitlines()[-1] == "[INFO] Ctrl+C detected, exiting"
            assert server.process.returncode == 0

    def test_the_log_says_who_came_and_went(self, name):
        with Conversation(name) as server:
            with server.connect() as one:
                assert ask(one, b"hello\n") == b"Got: hello\n"
            lines = [server.process.stderr.readline() for _ in range(4)]
        when = r"\[INFO\] \d\d/\d\d/\d{4} [AP]M "
        client = r"127\.0\.0\.1:\d+"
        for line, expected in zip(
            lines,
            [
                rf"{client} connected",
                rf"Got: b'hello\\n' from {client}",
                rf"Echoed back b'hello\\n' to {client}",
                rf"Connection from {client} closed",
            ],
            strict=True,
        ):
            assert re.fullmatch(when + expected + "\n", line), line


def test_the_echo_server_with_tasks_in_the_root_pool():
    with Conversation("echo_spawn") as server, server.connect() as one, server.connect() as two:
        assert ask(two, b"yay!\n") == b"Got: yay!\n"
        assert ask(one, b"test\n") == b"Got: test\n"
        server.process.send_signal(signal.SIGINT)
        out, _ = server.log()
        assert out == "Exiting due to a KeyboardInterrupt: ''\n"


def test_the_oldest_program_connects_twice_at_the_same_time():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen(script("event_loop", address), stdout=subprocess.PIPE, text=True)
        peers = [listener.accept()[0] for _ in range(2)]  # both, before either gets anything
        for peer in peers:
            with peer:
                peer.sendall(b"data")
        out, _ = process.communicate(timeout=30)
    assert out == "[[b'data'], [b'data']]\n"
