# SPDX-License-Identifier: Apache-2.0
"""The live view of ``python -m giambio watch``: its frames, its keys, and a session on a terminal."""

from __future__ import annotations

import codecs
import os
import re
import signal
import sys
import threading

import pytest

if sys.platform == "win32":
    pytest.skip("needs a UNIX terminal", allow_module_level=True)

import pty
import termios

from giambio.debug import _watch as watch_module
from giambio.debug._client import NoMonitor, ProcessView
from giambio.debug._view import LoopView, Place, TaskView
from giambio.debug._watch import Options, Row, Watch, compose, paint, split_keys


def task(number, name, parent=None, **fields):
    fields = {"state": "waiting", "doing": "sleeps", "seconds": 5.0, **fields}
    defaults = {"deadline": None, "stopping": False, "held_by": ()}
    place = Place("/program.py", len(name), name, own=True)
    return TaskView(
        number=number, name=name, parent=parent, stack=(place,), **{**defaults, **fields}
    )


TASKS = (
    task(1, "main", doing="waits for its pool", seconds=60.0),
    *(task(number, "child", 1) for number in (2, 3, 4, 5)),
    task(6, "busy", 1, state="running", doing="runs", seconds=None),
    task(7, "next", 1, state="ready", doing="is ready to run", seconds=None),
    task(8, "leaving", 1, stopping=True),
)
LOOP = LoopView(time=100.0, thread="MainThread", next_deadline=None, tasks=TASKS, delay=0.0005)
PROCESS = ProcessView(42, "python program.py", "giambio 1, Python 3", (LOOP,))


def text_of(screen):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen).split("\r\n")


class TestFrames:
    """What is painted."""

    def test_a_tree_in_colours(self):
        rows = compose(PROCESS, Options())
        assert [row.style for row in rows] == [
            "plain",
            *("waiting", "waiting", "running", "ready", "cancelled"),
            "plain",
        ]
        assert rows[0].text == "loop in MainThread: 8 tasks, 1 ready, answers in 500 µs"
        assert re.match(r"├─ child × 4 +sleeps +5 s +/program.py:5 child$", rows[2].text)

    def test_without_folding_each_task_has_a_line(self):
        assert len(compose(PROCESS, Options(fold=False))) == 10

    def test_a_table_begins_with_who_has_waited_longest(self):
        rows = compose(PROCESS, Options(mode="table"))
        assert rows[0].text.split() == ["TASK", "STATE", "FOR", "NAME", "DOES", "AT"]
        assert rows[1].text.split()[0] == "#1"
        assert len(rows) == 9

    def test_stacks(self):
        rows = compose(PROCESS, Options(mode="stacks"))
        assert '  File "/program.py", line 4, in main' in [row.text for row in rows]

    def test_a_loop_that_is_stuck_stands_out(self):
        process = PROCESS._replace(loops=(LOOP._replace(stuck=3.0, delay=None),))
        rows = compose(process, Options())
        assert rows[0].style == "stuck"
        assert "STUCK for 3 s in a step of busy #6" in rows[0].text
        assert ("busy #6 is stuck here:", "stuck") in rows

    def test_a_screen_is_filled_and_nothing_is_wider_or_higher_than_it(self):
        rows = [Row("x" * 100, "plain"), Row("second", "note")]
        screen = paint("head", rows, Options(), 20, 6)
        assert text_of(screen) == [
            "head".ljust(20),
            "x" * 19 + "…",
            "second",
            "",
            "",
            "q quit   arrows scr…",
        ]
        assert screen.startswith("\x1b[H\x1b[7mhead")
        assert screen.endswith("\x1b[J")

    def test_what_is_below_and_that_it_is_paused_is_said(self):
        rows = [Row(str(number), "plain") for number in range(10)]
        shown = text_of(paint("head", rows, Options(top=3, paused=True), 60, 6))
        assert shown[1:5] == ["3", "4", "5", "6"]
        assert shown[5].startswith("3 more below   PAUSED   q quit")

    @pytest.mark.parametrize("lines", [0, 1, 2])
    def test_a_window_with_hardly_a_line_is_no_error(self, lines):
        shown = paint("head", [Row("x", "plain")], Options(), 1, lines)
        assert len(text_of(shown)) == max(1, lines)


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"q", ["q"]),
        (b"jk\x03", ["down", "up", "q"]),
        (b"\x1b[A\x1bOBt", ["up", "down", "t"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[F", ["page up", "page down", "home", "end"]),
        (b"\x1b[15~f", ["f"]),  # F5, which means nothing here
        (b"\x1b", []),
    ],
)
def test_keys_are_told_apart(typed, keys):
    assert split_keys(typed) == keys


class Terminal:
    """The other side of a terminal in which somebody watches."""

    def __init__(self, ask):
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (8, 80))
        self.before = termios.tcgetattr(self.slave)
        self.watch = Watch(42, interval=0.01, keys=self.slave, screen=self.slave, ask=ask)
        self.thread = threading.Thread(target=self.watch.run)
        self.decode = codecs.getincrementaldecoder("utf-8")().decode
        self.seen = ""

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc_info):
        os.write(self.master, b"q")
        self.see("\x1b[?1049l")
        self.thread.join()
        assert termios.tcgetattr(self.slave) == self.before
        os.close(self.master)
        os.close(self.slave)

    def type(self, keys):
        os.write(self.master, keys)

    def see(self, text):
        """Wait until it is on the screen, and forget what came before."""
        while text not in self.seen:
            self.seen += self.decode(os.read(self.master, 65536))
        self.seen = self.seen[self.seen.index(text) + len(text) :]


def test_a_session_on_a_terminal():
    def ask(pid, *, stacks):
        assert pid == 42
        may_answer.wait()
        if trouble:
            raise NoMonitor("gone")
        return PROCESS._replace(command="asked for stacks") if stacks else PROCESS

    trouble, may_answer = [], threading.Event()
    with Terminal(ask) as terminal:
        terminal.see("asking process 42")
        may_answer.set()
        terminal.see("process 42: python program.py")
        terminal.see("child × 4")
        terminal.type(b"f")
        terminal.see("child #5")
        terminal.type(b"G")
        terminal.see("leaving")
        terminal.type(b"f")
        terminal.type(b"t")
        terminal.see("TASK  STATE")
        terminal.type(b"t")
        terminal.see("child × 4")
        terminal.type(b"w")
        terminal.see("asked for stacks")
        terminal.see('File "/program.py"')
        terminal.type(b"jw")
        terminal.see("child × 4")
        terminal.type(b" ")
        terminal.see("PAUSED")
        terminal.type(b" ")
        trouble.append(1)
        terminal.see("gone")
        # What was known last stays.
        terminal.see("child × 4")


def test_ctrl_c_ends_it_and_the_terminal_is_as_it_was():
    def ask(pid, *, stacks):
        raise NoMonitor("nobody")

    def interrupt():
        raise KeyboardInterrupt

    terminal = Terminal(ask)
    terminal.watch._wait = interrupt
    terminal.watch.run()
    terminal.see("\x1b[?1049l")
    assert termios.tcgetattr(terminal.slave) == terminal.before
    os.close(terminal.master)
    os.close(terminal.slave)


def test_a_window_that_changes_its_size_is_painted_anew():
    calls = []
    with watch_module._Resizing(lambda: calls.append(1)):
        signal.raise_signal(signal.SIGWINCH)
    signal.raise_signal(signal.SIGWINCH)
    assert calls == [1]
