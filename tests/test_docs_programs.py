# SPDX-License-Identifier: Apache-2.0
"""Programs that stand on pages run, and print what stands below them."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import giambio
from giambio.testing import VirtualClock, memory_stream_pair

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
PYTHON = re.compile(r"^```python\n((?:.*\n)*?)```$(?:\n\n```text\n((?:.*\n)*?)```$)?", re.MULTILINE)


def programs():
    """Return the programs on all pages that do something: where they stand, and what they print."""
    for page in sorted(DOCS.glob("*/*.md")):
        for number, (code, printed) in enumerate(PYTHON.findall(page.read_text()), 1):
            if re.search(r"^giambio\.run\(", code, re.MULTILINE):
                yield f"{page.parent.name}/{page.stem} {number}", code, printed


PROGRAMS = {where: (code, printed) for where, code, printed in programs()}
# What they print where the page does not say it.
PRINTED = {
    "tutorial/1-first-steps 1": "no answer",
    "tutorial/1-first-steps 3": """
        sleep was spawned
        sleep was spawned
        sleep has ended
        sleep has ended
        main has ended
    """,
    "how-to/producer-consumer 1": "0\n1\n2",
    "how-to/read-and-write-files 1": "draft.txt 20",
    "how-to/read-lines-and-frames 4": "",
    "how-to/run-tasks 1": "2 4\n6\n8\n10\n12\n14\n16",
    "how-to/run-tasks 2": "42\n8",
    "how-to/run-tasks 3": "",
    "how-to/run-tasks 4": "serving one",
    "how-to/run-tasks 5": "still working, 0\nstill working, 1\nstill working, 2",
    "how-to/wait-for-each-other 1": "Ada got the key\nGrace got the key",
    "how-to/wait-for-each-other 2": "most: 3\nleft: 0",
}
# These ask the system, or talk to a server: see below.
ELSEWHERE = {
    "tutorial/1-first-steps 2",
    "how-to/run-processes 1",
    "how-to/run-processes 3",
    "how-to/write-a-client 1",
}


def execute(code, monkeypatch, clock):
    """Run a program as if it had been typed in."""
    run = giambio.run
    with monkeypatch.context() as patch:
        patch.setattr(giambio, "run", lambda *args, **more: run(*args, clock=clock, **more))
        patch.syspath_prepend(EXAMPLES)
        exec(compile(code, "page", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("where", sorted(PROGRAMS.keys() - ELSEWHERE))
def test_a_program_prints_what_is_expected(where, monkeypatch, capsys):
    code, printed = PROGRAMS[where]
    execute(code, monkeypatch, VirtualClock())
    expected = printed or textwrap.dedent(PRINTED[where])
    assert capsys.readouterr().out.strip() == expected.strip()


def test_names_of_tasks_are_seen(monkeypatch, capsys):
    execute(PROGRAMS["how-to/run-tasks 3"][0], monkeypatch, VirtualClock())
    said = capsys.readouterr().err
    assert re.findall(r"client \d", said) == ["client 0", "client 1", "client 2"]

    async def fail():
        raise ValueError

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(fail).name = "client 2"

    with pytest.raises(ValueError) as caught:
        giambio.run(main)
    (note,) = caught.value.__notes__
    assert f"`{note}`" in (DOCS / "how-to" / "run-tasks.md").read_text()


@pytest.mark.parametrize("where", ["how-to/run-processes 1", "how-to/run-processes 3"])
def test_programs_that_run_others(where, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two", "three"):
        (tmp_path / name).touch()
    execute(PROGRAMS[where][0], monkeypatch, None)
    expected = os.uname().release if where.endswith("1") else repr(b"two\nthree\none\n")
    assert capsys.readouterr().out.strip() == expected


def test_the_client_of_the_tutorial_talks_to_its_server():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    serving, asking = (
        [sys.executable, "-c", code.replace("1500", port)]
        for code in ((EXAMPLES / "echo.py").read_text(), PROGRAMS["tutorial/1-first-steps 2"][0])
    )
    with subprocess.Popen(serving) as server:
        for _ in range(100):  # its process takes a moment to start
            done = subprocess.run(asking, capture_output=True, text=True)
            if done.returncode == 0 or server.poll() is not None:
                break
        server.kill()
    assert done.stdout == "b'hello'\n"


# Functions that a page shows without calling them


def function(page, name):
    """Return a function, or a class, that a page defines."""
    text = (DOCS / f"{page}.md").read_text()
    (code,) = (
        code
        for code, _ in PYTHON.findall(text)
        if re.search(rf"^(async def|def|class) {name}\b", code, re.MULTILINE)
        and "\ngiambio.run(" not in code
    )
    space = {"__name__": "page"}
    exec(compile(code, f"{page}.md", "exec"), space)
    return space[name]


def run(fn, *args):
    return giambio.run(fn, *args, clock=VirtualClock())


def test_waiting_for_the_first_of_several(capsys):
    serve = function("how-to/fan-out", "serve")

    async def main():
        orders, shutdown, outbox = giambio.Queue(1), giambio.Event(), giambio.Queue(1)
        await serve(orders, shutdown, outbox, "a report")
        assert outbox.get_nowait() == "a report"
        outbox.put_nowait("not collected")
        orders.put_nowait("tea")
        await serve(orders, shutdown, outbox, "a report")
        assert capsys.readouterr().out == "an order: tea\n"
        await serve(orders, shutdown, outbox, "a report")
        assert giambio.clock() == 30

    run(main)


@pytest.mark.parametrize(("name", "data"), [("ask", b"what?"), ("send", b"x" * 65536)])
def test_limits_of_rates(name, data):
    limited = function("how-to/limit-rates-and-concurrency", name)

    async def main():
        client, server = memory_stream_pair()
        for _ in range(20):
            await limited(client, data)
            for _ in range(0, len(data), 65536):
                assert await server.receive(65536) == data
        took = giambio.clock()
        client.close()
        server.close()
        return took

    assert run(main) == pytest.approx((20 - 5) / 10 if name == "ask" else 19 * 65536 / 1e6)


def test_reading_lines():
    shout = function("how-to/read-lines-and-frames", "shout")

    async def main():
        client, server = memory_stream_pair()
        async with giambio.create_pool() as pool, client:
            pool.spawn(shout, server)
            await client.send_all(b"hello\r\nthere\n")
            await client.send_eof()
            return await giambio.BufferedStream(client).receive_exactly(12)

    assert run(main) == b"HELLO\nTHERE\n"


def test_reading_on_behind_a_line_that_is_too_long():
    next_line = function("how-to/read-lines-and-frames", "next_line")

    async def main():
        client, server = memory_stream_pair()
        await client.send_all(b"x" * 25 + b"\nshort\n")
        await client.send_eof()
        text = giambio.TextStream(server, limit=10)
        lines = [await next_line(text) for _ in range(5)]
        assert lines == ["x" * 10, "x" * 10, "x" * 5, "short", None]

    giambio.run(main)


def test_reading_on_after_a_timeout():
    read_header = function("how-to/read-lines-and-frames", "read_header")

    async def main():
        client, server = memory_stream_pair()
        async with giambio.create_pool() as pool, client, giambio.BufferedStream(server) as stream:
            header = pool.spawn(read_header, stream)
            await client.send_all(b"begin")
            assert await client.receive() == b"Still there?\r\n"
            await client.send_all(b"end\r\n\r\n")
            return await header.join()

    assert run(main).startswith(b"beginend")


def test_making_with_a_timeout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "make").write_text('#!/bin/sh\necho "$1" > made\n')
    (tmp_path / "make").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    giambio.run(function("how-to/run-processes", "make"), "docs")
    assert (tmp_path / "made").read_text() == "docs\n"


def test_starting_an_editor(tmp_path, monkeypatch):
    (tmp_path / "notes").touch()
    with open(tmp_path / "notes") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        giambio.run(function("how-to/run-processes", "edit"), "cat", tmp_path / "notes")


def test_recording_for_a_while(tmp_path):
    giambio.run(function("how-to/see-what-happens", "record"), 0.01, tmp_path / "trace.json")
    assert "traceEvents" in (tmp_path / "trace.json").read_text()


class Library:
    """Blocking code, as one has it."""

    def fetch(self, query, timeout):
        return [query, timeout]

    def scan(self, page):
        return page

    def set_callback(self, callback):
        self.callback = callback

    def work(self):
        self.callback("an event")


def test_calling_blocking_code(capsys):
    giambio.run(function("how-to/use-threads", "show_rows"), Library())
    assert capsys.readouterr().out == "['select …', 10]\n"
    assert giambio.run(function("how-to/use-threads", "scan"), Library(), 7) == 7


def test_being_called_from_a_thread():
    events = []

    async def handle(event):
        events.append(event)

    giambio.run(function("how-to/use-threads", "use"), Library(), handle)
    assert events == ["an event"]


def test_a_deadline_that_is_moved():
    receive_all = function("how-to/limit-time-and-clean-up", "receive_all")

    async def main():
        client, server = memory_stream_pair()
        async with client, server, giambio.create_pool() as pool:
            receiving = pool.spawn(receive_all, server)
            for _ in range(5):
                await giambio.sleep(50)
                await client.send_all(b"x")
            assert not receiving.done()

    clock = VirtualClock()
    with pytest.raises(giambio.TooSlowError):
        giambio.run(main, clock=clock)
    assert clock.now() == 5 * 50 + 60


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("how-to/limit-time-and-clean-up", "talk"),
        ("how-to/come-from-asyncio-trio-or-curio", "instead"),
        ("how-to/come-from-asyncio-trio-or-curio", "asyncio_habits"),
    ],
)
def test_saying_goodbye(page, name):
    talk = function(page, name)

    async def main():
        client, server = memory_stream_pair()
        async with client:
            async with giambio.create_pool() as pool:
                pool.spawn(talk, server)
                await giambio.sleep(1)
                pool.cancel()
            server.close()
            return await client.receive()

    assert run(main).strip() == (b"" if name == "asyncio_habits" else b"Goodbye")


def test_a_peer_that_does_not_read_keeps_nobody():
    talk = function("how-to/limit-time-and-clean-up", "talk")

    async def main():
        client, server = memory_stream_pair(capacity=1)
        async with client, server:
            async with giambio.create_pool() as pool:
                pool.spawn(talk, server)
                await giambio.sleep(1)
                pool.cancel()
        return giambio.clock()

    assert run(main) == 6


def test_being_told_why():
    log = []

    async def main():
        async with giambio.create_pool() as pool:
            task = pool.spawn(function("how-to/limit-time-and-clean-up", "work"), log)
            await giambio.sleep(1)
            task.cancel("enough")

    run(main)
    assert log == ["given up: enough"]


def test_an_account_with_a_lock():
    account = function("how-to/wait-for-each-other", "Account")()

    async def main():
        await giambio.gather(account.withdraw(70), account.withdraw(70))

    run(main)
    assert account.balance == 30


def test_refusing_deadlocks():
    async def main():
        one, other = giambio.Lock(), giambio.Lock()

        async def take(first, second):
            async with first:
                await giambio.sleep(0)
                async with second:
                    pass

        async with giambio.create_pool() as pool:
            pool.service(giambio.sleep_forever)
            pool.spawn(take, one, other)
            pool.spawn(take, other, one)

    with pytest.raises(giambio.DeadlockError):
        function("how-to/find-deadlocks", "test")(main)


def test_the_marker_of_the_tutorial(pytester):
    (code,) = (
        code
        for code, _ in PYTHON.findall((DOCS / "tutorial" / "2-find-a-race.md").read_text())
        if "pytest.mark" in code
    )
    pytester.makeini("[pytest]")
    pytester.makepyfile(code)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


# What examples print

CLOCKED = """
import random, sys
import giambio
from giambio.testing import VirtualClock

random.seed(2)
import {module}
try:
    giambio.run({module}.main, *{args}, clock=VirtualClock())
except giambio.DeadlockError as error:
    print("DeadlockError:", error)
"""


def plain(text):
    """Return an output without what differs each time: addresses, folders, line breaks."""
    text = re.sub(r"0x[0-9a-f]+", "0x…", text)
    text = re.sub(r"[\w/.-]*/(?=\w+\.py)", "", text)
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("output", "module", "args"),
    [
        ("seeing/kitchen.txt", "kitchen", (6,)),
        ("crossed_locks.txt", "crossed_locks", ("ask",)),
        ("crossed_locks_alone.txt", "crossed_locks", ("alone",)),
    ],
)
def test_the_output_of_an_example(output, module, args):
    path = EXAMPLES / output
    done = subprocess.run(
        [sys.executable, "-c", CLOCKED.format(module=module, args=args)],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert plain(path.read_text()) in plain(done.stdout + done.stderr)


def test_the_output_of_the_tools_that_find_what_blocks():
    path = EXAMPLES / "seeing" / "blocked.txt"
    command = [sys.executable, path.with_suffix(".py")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr

    def untimed(text):
        return re.sub(r"[\d.]+ ms", "… ms", plain(text))

    assert untimed(path.read_text()) == untimed(said)
