# SPDX-License-Identifier: Apache-2.0
"""``python -m giambio``: programs with tools attached, and the prompt."""

from __future__ import annotations

import builtins
import codecs
import io
import json
import os
import queue
import re
import select
import signal
import subprocess
import sys
import threading

import pytest

import giambio
from giambio._command import repl as _repl
from giambio._command.cli import main as command_line
from giambio._command.repl import Prompt
from giambio._run import attachments

PROGRAM = """
import sys
import giambio

async def child():
    await giambio.sleep(0)

async def main():
    async with giambio.create_pool() as pool:
        pool.spawn(child)
    print(__name__, sys.argv, sys.path[0])
    for _ in range(1200):
        await giambio.checkpoint()

giambio.run(main)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return the path of a program; what running it changes is put back."""
    monkeypatch.setattr(sys, "argv", sys.argv[:])
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


class TestRun:
    """``python -m giambio run``."""

    def test_tools_may_be_named_before_and_after_the_program(self, program, capsys):
        words = ["run", "--print", "program.py", "one", "--trace", "out.json", "--two", "2"]
        assert command_line(words) == 0
        out, err = capsys.readouterr()
        argv = [str(program), "one", "--two", "2"]
        assert out == f"__main__ {argv} {program.parent}\n"
        assert re.search(r"child #\d+: is spawned by main #\d+", err)
        assert "giambio: open out.json in https://ui.perfetto.dev" in err
        trace = json.loads((program.parent / "out.json").read_text())
        assert {event["name"] for event in trace["traceEvents"]} >= {"main", "child"}
        assert attachments == []

    def test_what_comes_after_two_dashes_and_help_are_the_programs(self, program, capsys):
        assert command_line(["run", "program.py", "--help", "--", "--trace", "x"]) == 0
        assert "program.py', '--help', '--trace', 'x']" in capsys.readouterr().out
        assert not (program.parent / "x").exists()

    def test_a_module(self, program, monkeypatch, capsys):
        monkeypatch.syspath_prepend(program.parent)
        assert command_line(["run", "-m", "program", "--help", "--busy-waits"]) == 0
        out, err = capsys.readouterr()
        assert "'--help']" in out
        assert "'--busy-waits'" not in out
        assert "has come back 1000 times in a row" in err

    def test_all_tools_at_once_are_gone_afterwards(self, program, capsys):
        before = signal.getsignal(signal.SIGUSR1)
        words = ["--watchdog", "100", "--busy-waits", "--dump", "--monitor", "--trace", "t"]
        assert command_line(["run", "program.py", *words]) == 0
        assert signal.getsignal(signal.SIGUSR1) == before
        assert attachments == []
        assert not [
            t for t in threading.enumerate() if t.name in ("giambio watchdog", "giambio monitor")
        ]

    def test_the_trace_of_a_program_that_fails_is_written_all_the_same(self, program, capsys):
        program.write_text(PROGRAM + "raise ZeroDivisionError\n")
        with pytest.raises(ZeroDivisionError):
            command_line(["run", "program.py", "--trace", "out.json"])
        assert json.loads((program.parent / "out.json").read_text())["traceEvents"]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ([], "no program is given"),
            (["-m"], "no program is given"),
            (["-m", "-x"], "expected a program, not -x"),
            (["missing.py"], "there is no file 'missing.py'"),
            (["-m", "missing"], "there is no module 'missing'"),
            (["-m", "missing.part"], "there is no module 'missing.part'"),
        ],
    )
    def test_a_program_that_is_not_there(self, words, message, capsys):
        assert command_line(["run", *words]) == 2
        assert message in capsys.readouterr().err


def test_it_says_which_version_it_is(capsys):
    with pytest.raises(SystemExit) as left:
        command_line(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith(f"giambio {giambio.__version__}, Python 3.")


def test_whoever_reads_the_answer_may_stop_to(monkeypatch):
    """As ``head`` does."""

    class Closed(io.StringIO):
        def fileno(self):
            return copy

        def write(self, text):
            raise BrokenPipeError

    from giambio.debug import _client

    copy = os.dup(0)
    process = _client.ProcessView(1, "program", "giambio 1.0", ())
    monkeypatch.setattr(_client, "monitored", lambda: [process])
    monkeypatch.setattr(sys, "stdout", Closed())
    assert command_line(["ps"]) == 0
    os.close(copy)


@pytest.fixture
def prompt(monkeypatch, tmp_path):
    """Return a prompt whose loop runs, to push lines to."""
    monkeypatch.setenv("HOME", str(tmp_path))
    # What the prompt shows last is kept there.
    monkeypatch.setattr(builtins, "_", None, raising=False)
    with Prompt() as prompt:
        yield prompt


class TestPrompt:
    """The prompt, line by line."""

    def push(self, prompt, *lines):
        for line in lines:
            prompt.push(line)

    def test_values_are_shown_and_await_works(self, prompt, capsys):
        self.push(prompt, "1 + 1", "await giambio.sleep(0) or 'slept'", "_")
        assert capsys.readouterr().out == "2\n'slept'\n'slept'\n"

    def test_blocks_go_over_several_lines(self, prompt, capsys):
        self.push(prompt, "async with giambio.create_pool() as pool:")
        self.push(prompt, "    task = pool.spawn(giambio.sleep, 0)", "", "task.done()")
        assert capsys.readouterr().out == "True\n"

    def test_names_and_context_variables_keep_their_values(self, prompt, capsys):
        self.push(prompt, "import contextvars", "v = contextvars.ContextVar('v')")
        self.push(prompt, "token = v.set(7)", "v.get()")
        assert capsys.readouterr().out == "7\n"

    def test_errors_are_shown_as_python_shows_them(self, prompt, capsys):
        self.push(prompt, "async def f(): 1/0", "", "await f()")
        err = capsys.readouterr().err
        assert err.startswith('Traceback (most recent call last):\n  File "<console>", line 1')
        assert "_repl" not in err
        assert "ZeroDivisionError: division by zero" in err
        assert sys.last_type is ZeroDivisionError

    def test_wrong_syntax_is_shown(self, prompt, capsys):
        self.push(prompt, "1 +* 1")
        assert "SyntaxError" in capsys.readouterr().err

    def test_tasks_go_on_while_nothing_is_typed(self, prompt):
        self.push(prompt, "import threading", "event = threading.Event()")
        self.push(prompt, "async def f():", "    await giambio.sleep(0)", "    event.set()", "")
        self.push(prompt, "task = giambio.spawn(f)")
        assert prompt._namespace["event"].wait(10)

    def test_a_task_that_fails_is_shown_and_the_others_go_on(self, prompt, capsys):
        self.push(prompt, "async def f(): 1/0", "", "bad = giambio.spawn(f)")
        self.push(prompt, "good = giambio.spawn(giambio.sleep_forever)")
        self.push(prompt, "await giambio.sleep(0)", "bad.done(), good.done()", "good.cancel()")
        out, err = capsys.readouterr()
        assert out == "(True, False)\n"
        assert err.startswith("task 'f' has failed:\nTraceback")
        assert "ZeroDivisionError" in err

    def test_tree_shows_all_tasks(self, prompt, capsys):
        self.push(
            prompt, "t = giambio.spawn(giambio.sleep, 60)", "await giambio.sleep(0)", "tree()"
        )
        out = re.sub(r" #\d+", "", capsys.readouterr().out)
        assert out.startswith("loop in giambio loop: 3 tasks")
        assert re.search(r"background +waits for the outside world", out)
        assert re.search(r"├─ sleep +sleeps, .* to go", out)
        assert re.search(r"└─ prompt +runs", out)

    def test_exit_leaves(self, prompt):
        with pytest.raises(SystemExit) as stop:
            prompt.push("raise SystemExit(3)")
        assert stop.value.code == 3

    def test_a_loop_that_has_broken_down_ends_it(self, prompt, capsys):
        prompt._loop.call_soon_threadsafe(lambda: 1 / 0)
        prompt._thread.join()
        with pytest.raises(SystemExit):
            prompt.push("1")
        err = capsys.readouterr().err
        assert err.startswith("the loop has ended\n")
        assert "ZeroDivisionError" in err

    def test_a_loop_that_ends_while_something_is_awaited(self, prompt, capsys):
        with pytest.raises(SystemExit):
            self.push(
                prompt,
                "giambio.current_task().parent.cancel()",
                "await giambio.sleep_forever()",
                "1",
            )
        assert "TaskCancelled" in capsys.readouterr().err


class Interrupting(queue.SimpleQueue):
    """A queue whose readers get Ctrl+C when something has happened."""

    def __init__(self):
        self.interrupts = []

    def get(self, timeout):
        if not self.interrupts:
            return super().get(timeout=timeout)
        self.interrupts.pop(0).wait()
        signal.raise_signal(signal.SIGINT)
        raise queue.Empty


class TestInterrupts:
    """Ctrl+C, which arrives where the prompt waits for what was typed."""

    def test_it_cancels_what_is_awaited(self, prompt, capsys):
        prompt._outcomes = Interrupting()
        waits = prompt._namespace["waits"] = threading.Event()
        prompt._outcomes.interrupts = [waits]
        prompt.push("waits.set() or await giambio.sleep_forever()")
        assert capsys.readouterr().err == "\nKeyboardInterrupt\n"
        prompt.push("1")
        assert capsys.readouterr().out == "1\n"

    def test_a_second_one_breaks_off_a_step_that_does_not_end(self, prompt, capsys):
        prompt._outcomes = Interrupting()
        spins = prompt._namespace["spins"] = threading.Event()
        prompt._outcomes.interrupts = [spins, spins]
        prompt.push("while True: spins.set()")
        prompt.push("")
        assert capsys.readouterr().err == "\nKeyboardInterrupt\n"
        prompt.push("1")
        assert capsys.readouterr().out == "1\n"

    def test_a_step_inside_of_the_library_is_not_broken_off(self, prompt):
        _repl._interrupt_step(None, None)
        prompt.push("task = giambio.current_task()")
        _repl._interrupt_step(prompt._namespace["task"], prompt._thread.ident)


class TestInteract:
    """The prompt from its banner to its end."""

    @pytest.fixture(autouse=True)
    def home(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setattr(builtins, "_", None, raising=False)

    @pytest.mark.parametrize(
        ("typed", "status", "said"),
        [
            ("1 + 1\n", 0, ""),
            ("raise SystemExit\n", 0, ""),
            ("raise SystemExit(3)\n", 3, ""),
            ("raise SystemExit('bye')\n", 1, "bye\n"),
        ],
    )
    def test_the_exit_status(self, monkeypatch, capsys, typed, status, said):
        lines = iter(typed.splitlines())

        def input(prompt):
            for line in lines:
                return line
            raise EOFError

        monkeypatch.setattr(builtins, "input", input)
        assert command_line([]) == status
        err = capsys.readouterr().err
        assert err.startswith(f"giambio {giambio.__version__}, Python 3.")
        assert err.endswith(said)

    def test_without_readline_there_is_no_history(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "readline", None)
        assert _repl._remember_history({})() is None

    def test_a_home_that_cannot_be_written_to_is_no_error(self, monkeypatch, tmp_path):
        pytest.importorskip("readline")
        monkeypatch.setenv("HOME", str(tmp_path / "missing"))
        _repl._remember_history({})()


# In a session of its own, so that Ctrl+C on the terminal is meant for it.
ON_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from giambio._command.cli import main
sys.exit(main([]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a UNIX terminal")
def test_a_session_on_a_terminal(tmp_path):
    """Ctrl+C clears the line, a task ticks while nothing is typed, and the history is kept."""
    import pty

    master, slave = pty.openpty()
    environment = {**os.environ, "HOME": str(tmp_path), "TERM": "dumb", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    ) as process:
        os.close(slave)
        decode = codecs.getincrementaldecoder("utf-8")().decode
        seen = ""

        def see(text):
            nonlocal seen
            while text not in seen:
                seen += decode(os.read(master, 65536))
            seen = seen[seen.index(text) + len(text) :]

        see(">>> ")
        os.write(master, b"t = giambio.spawn(giambio.sleep_forever); 'spa' 'wned'\n")
        see("'spawned'")
        see(">>> ")
        os.write(master, b"garbage")
        see("garbage")
        os.write(master, b"\x03")
        # A signal that comes just before it waits is overlooked by readline.
        while not select.select([master], [], [], 1)[0]:
            os.write(master, b"\x03")
        see("KeyboardInterrupt")
        see(">>> ")
        os.write(master, b"print('wait' 'ing', flush=True); await giambio.sleep_forever()\n")
        see("waiting")
        os.write(master, b"\x03")
        see("KeyboardInterrupt")
        see(">>> ")
        os.write(master, b"\x04")
        assert process.wait() == 0
    os.close(master)
    history = tmp_path / ".giambio_history"
    if history.exists():  # this Python has readline
        assert "giambio.spawn" in history.read_text()
