# SPDX-License-Identifier: Apache-2.0
"""`Monitor`, what asks it, and the live view."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading

import pytest

import giambio
from giambio._command.cli import main as command_line
from giambio.debug import Monitor
from giambio.debug import _client as client
from giambio.debug import _monitor as monitor_module
from giambio.debug import _protocol as protocol
from giambio.testing import VirtualClock, wait_all_tasks_blocked

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs UNIX sockets")


@pytest.fixture(autouse=True)
def runtime(monkeypatch):
    """Sockets of monitors go here. The path is short, because those of UNIX sockets have to be."""
    with tempfile.TemporaryDirectory(prefix="g") as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", path)
        yield path


def ask_in_thread(**options):
    """Ask this very process, and return its view of itself."""
    return giambio.run_in_thread(lambda: client.ask(os.getpid(), **options))


async def sleeper(seconds):
    await giambio.sleep(seconds)


async def watched(fn, *args):
    """Return what *fn* returns, called in a thread while some tasks wait here."""
    lock = giambio.Lock()
    async with giambio.create_pool() as pool, lock:
        for _ in range(4):
            pool.spawn(sleeper, 3600)
        pool.spawn(lock.acquire)
        await wait_all_tasks_blocked()
        result = await giambio.run_in_thread(fn, *args)
        pool.cancel()
    return result


@pytest.fixture
def process():
    """Return a view of this process with some tasks in it."""

    async def main():
        with Monitor():
            return await watched(lambda: client.ask(os.getpid(), stacks=True))

    return giambio.run(main)


def lines(texts):
    return [re.sub(r"#\d+|0x[0-9a-f]+|[\d.]+ [mµ]?s\b", "N", text) for text in texts]


def test_a_process_can_be_looked_into(process):
    assert process.pid == os.getpid()
    assert process.tasks == 6
    assert process.versions.startswith(f"giambio {giambio.__version__}, Python 3.")
    (loop,) = process.loops
    assert loop.stuck is None
    assert loop.delay is not None
    shown = lines(client.format_trees(process))
    assert shown[0].startswith(f"process {os.getpid()}: ")
    assert shown[2].startswith("loop: 6 tasks, next timer in ")
    assert re.match(r"├─ sleeper × 4 +sleeps, .* to go", shown[4])
    assert re.match(r"└─ acquire N +waits for Lock at N, 1 waiting, held by main N", shown[5])
    assert len(client.format_trees(process, fold=False)) == 9
    table = lines(client.format_table(process))
    assert table[0].split() == ["TASK", "STATE", "FOR", "NAME", "DOES", "AT"]
    assert len(table) == 7
    stacks = client.format_stacks(process, "sleeper")
    assert "    await giambio.sleep(seconds)" in stacks
    with pytest.raises(client.NoMonitor, match="has no task 'nobody'"):
        client.format_stacks(process, "nobody")


def test_without_stacks_the_place_is_there_all_the_same():
    async def main():
        with Monitor():
            return await watched(lambda: client.ask(os.getpid()))

    (loop,) = giambio.run(main).loops
    places = [task.place for task in loop.tasks if task.name == "sleeper"]
    assert all(place.function == "sleeper" for place in places)
    assert all(len(task.stack) <= 1 for task in loop.tasks if task.state != "running")


def test_a_loop_that_is_stuck_is_shown_with_where(monkeypatch):
    monkeypatch.setattr(monitor_module, "_PROMPTLY", 0.001)

    def compute():
        def ask():
            begin.wait()
            views.append(client.ask(os.getpid()))

        begin = threading.Event()
        thread = threading.Thread(target=ask)
        thread.start()
        begin.set(), thread.join()  # here, in one line, because nobody knows how far it has come

    async def main():
        with Monitor():
            compute()

    views = []
    giambio.run(main)
    shown = client.format_trees(views[0])
    assert re.match(r"loop in MainThread: 1 task, STUCK for .* in a step of main #\d+", shown[2])
    assert re.match(r"main #\d+ is stuck here:", shown[5])
    assert any(line.startswith("    begin.set(), thread.join()  # here") for line in shown)


def test_a_loop_that_nobody_drives_is_said_to_be_so(monkeypatch):
    monkeypatch.setattr(monitor_module, "_PROMPTLY", 0.001)
    with Monitor(), giambio.EventLoop(clock=VirtualClock()) as loop:
        loop.start(sleeper, 1, loop=False)
        view = client.ask(os.getpid())
        while loop.tick():
            pass
    assert re.search(r"nobody has driven it for", client.format_trees(view)[2])


def test_runs_that_start_later_are_seen_and_those_that_ended_are_not():
    with Monitor():
        assert client.ask(os.getpid()).loops == ()
        assert giambio.run(ask_in_thread).tasks == 1
        assert client.ask(os.getpid()).loops == ()


def test_a_loop_inside_of_another_is_seen():
    async def main():
        return await giambio.hosting.run_inside(ask_in_thread)

    with Monitor():
        loops = giambio.run(main).loops
    assert [loop.tasks[0].name for loop in loops] == ["main", "run_in_thread"]


def test_a_loop_that_has_not_started_is_not_seen():
    with Monitor(), giambio.EventLoop() as loop:
        assert client.ask(os.getpid()).loops == ()
        loop.start(sleeper, 0)


def test_it_is_opened_once_and_closed_as_often_as_one_likes(runtime):
    monitor = Monitor()
    assert repr(monitor) == "<Monitor closed>"
    monitor.open()
    path = os.path.join(runtime, "giambio", f"{os.getpid()}.sock")
    assert repr(monitor) == f"<Monitor at {path!r}>"
    with pytest.raises(RuntimeError, match="is open already"):
        monitor.open()
    assert os.stat(path).st_mode & 0o777 == 0o600
    with pytest.raises(OSError, match=re.escape(path)):
        Monitor().open()
    monitor.close()
    monitor.close()
    assert not os.path.exists(path)
    with monitor:
        assert os.path.exists(path)
        os.unlink(path)


def test_the_socket_may_be_elsewhere_if_that_is_private(runtime):
    path = os.path.join(runtime, "mine")
    with Monitor(path):
        assert client.ask(os.getpid(), path=path).pid == os.getpid()
    os.chmod(runtime, 0o755)
    with pytest.raises(PermissionError, match="can be entered by other users"):
        Monitor(path).open()


def test_what_a_killed_process_left_behind_is_replaced(runtime):
    path = protocol.socket_path(os.getpid())
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    with Monitor():
        assert client.ask(os.getpid()).loops == ()


class TestPermission:
    """Nobody else gets in, and nobody else is believed."""

    def test_the_directory_must_be_private(self, runtime, monkeypatch):
        path = protocol.directory()
        assert path == os.path.join(runtime, "giambio")
        os.chmod(path, 0o711)
        with pytest.raises(PermissionError, match="its mode is 711, and should be 700"):
            protocol.directory()
        os.chmod(path, 0o700)
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
        with pytest.raises(PermissionError, match="belongs to another user"):
            protocol.directory()

    def test_something_else_in_its_place_is_refused(self, runtime):
        os.symlink(runtime, os.path.join(runtime, "giambio"))
        with pytest.raises(PermissionError, match="is not a directory"):
            protocol.directory()

    def test_without_a_runtime_directory_it_is_among_temporary_files(self, runtime, monkeypatch):
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        monkeypatch.setattr(tempfile, "tempdir", runtime)
        assert protocol.directory() == os.path.join(runtime, f"giambio-{os.geteuid()}")

    def test_another_user_is_neither_answered_nor_believed(self, monkeypatch):
        with Monitor() as monitor:
            monkeypatch.setattr(protocol, "peer_uid", lambda connection: 54321)
            with pytest.raises(PermissionError, match="user number 54321 is at the other end"):
                client.ask(os.getpid())
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(monitor.path)
                assert stranger.recv(10) == b""

    def test_the_system_tells_who_is_at_the_other_end(self):
        left, right = socket.socketpair()
        with left, right:
            assert protocol.peer_uid(left) == os.geteuid()


class TestRequests:
    """What is said on the socket."""

    @pytest.mark.parametrize("request_", [b"{", b"x" * 5000 + b"\n", b"\xff\n", b""])
    def test_nonsense_is_not_answered_and_does_no_harm(self, request_):
        with Monitor() as monitor:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(monitor.path)
                peer.sendall(request_)
                peer.shutdown(socket.SHUT_WR)
                try:
                    assert peer.recv(10) == b""
                except ConnectionError:
                    pass  # closed with what we sent unread
            assert client.ask(os.getpid()).pid == os.getpid()

    @pytest.mark.parametrize("request_", [b"[]\n", b'{"want": "more"}\n'])
    def test_what_is_not_known_is_refused(self, request_):
        with Monitor() as monitor, socket.socket(socket.AF_UNIX) as peer:
            peer.connect(monitor.path)
            peer.sendall(request_)
            assert "knows only" in json.loads(protocol.receive_all(peer))["error"]

    def test_somebody_who_goes_away_does_no_harm(self):
        with Monitor() as monitor:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(monitor.path)
            assert client.ask(os.getpid()).pid == os.getpid()

    def test_no_descriptors_left_is_the_programs_trouble_and_not_its_end(self, monkeypatch):
        def accept(self):
            if failures:
                failures.pop()
                raise OSError("too many open files")
            return real(self)

        real, failures = socket.socket.accept, [1]
        monkeypatch.setattr(monitor_module, "_PROMPTLY", 0.001)
        monkeypatch.setattr(socket.socket, "accept", accept)
        with Monitor():
            assert client.ask(os.getpid()).pid == os.getpid()

    @pytest.mark.parametrize(
        ("answer", "message"),
        [(b'{"error": "no"}', "answers: no"), (b"{", "does not answer"), (b"", "does not answer")],
    )
    def test_a_client_says_what_went_wrong(self, runtime, answer, message):
        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(runtime, "s"))
            listener.listen()
            thread = threading.Thread(target=serve)
            thread.start()
            with pytest.raises(client.NoMonitor, match=message):
                client.ask(os.getpid(), path=os.path.join(runtime, "s"))
            thread.join()


class TestWhoIsThere:
    """Which processes are monitored."""

    def test_a_process_without_a_monitor(self):
        with pytest.raises(client.NoMonitor, match=f"process {os.getpid()} has no monitor"):
            client.ask(os.getpid())
        with pytest.raises(client.NoMonitor, match="no process is monitored"):
            client.only_one()
        # One that belongs to somebody else, or is no number at all, is not said not to exist.
        with pytest.raises(client.NoMonitor, match="has no monitor"):
            client.ask(2**70)

    def test_a_process_that_does_not_exist_and_what_it_left_behind(self):
        pid = 2**22 + 1  # above what Linux gives
        path = protocol.socket_path(pid)
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
        with pytest.raises(client.NoMonitor, match=f"there is no process {pid}"):
            client.ask(pid)
        assert not os.path.exists(path)
        with pytest.raises(client.NoMonitor, match=f"there is no process {pid}"):
            client.ask(pid)
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
        assert client.monitored() == []

    def test_one_and_several(self, runtime):
        with Monitor():
            assert client.only_one() == os.getpid()
            with Monitor(protocol.socket_path(os.getppid())):
                with pytest.raises(client.NoMonitor, match="several processes are monitored"):
                    client.only_one()


PROGRAM = """
import os, sys, giambio

async def worker(n):
    await giambio.sleep(3600)

async def main():
    pid = os.fork()
    if not pid:
        sys.exit(0)  # closes its copy of the monitor, and must not take away its parent's
    os.waitpid(pid, 0)
    async with giambio.create_pool() as pool:
        for n in range(5):
            pool.spawn(worker, n)
        await giambio.checkpoint()
        print("ready", flush=True)
        await giambio.run_in_thread(sys.stdin.read)
        pool.cancel()

giambio.run(main)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_another_process_is_looked_into_from_the_command_line(runtime, tmp_path, capsys):
    (tmp_path / "program.py").write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, "-m", "giambio", "run", "program.py", "--monitor"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    ) as program:
        assert program.stdout.readline() == b"ready\n"
        said = []
        for words in (["ps"], ["ps", "PID"], ["tree"], ["tree", "PID", "--all"], ["where", "PID"]):
            arguments = [word.replace("PID", str(program.pid)) for word in words]
            assert command_line(arguments) == 0
            said.append(capsys.readouterr().out)
        # With one process its number may be omitted, also before the name of a task.
        assert command_line(["where", "main"]) == 0
        assert re.match(r"main #\d+: waits .*\n", capsys.readouterr().out)
        for words, complaint in [
            (["watch", "PID"], "watch needs a terminal"),
            (["where", "PID", "nobody"], f"process {program.pid} has no task 'nobody'"),
            (["where", "nobody"], "has no task 'nobody'"),
            (["where", "main", "nobody"], "'main' is not the number of a process"),
        ]:
            assert command_line([word.replace("PID", str(program.pid)) for word in words]) == 1
            assert complaint in capsys.readouterr().err
        program.stdin.close()
        assert program.wait() == 0
    assert re.search(rf"{program.pid} +6  \S.*-m giambio run program.py --monitor", said[0])
    assert re.search(r"worker +sleeps, .* to go +\S*program.py:5 worker", said[1])
    assert re.search(r"└─ worker × 5 +sleeps, .*program.py:5 worker", said[2])
    assert said[3].count("─ worker #") == 5
    assert re.search(r"worker × 5: .*\n.*\n +await giambio.sleep\(3600\)\n", said[4])
    for words in (["tree"], ["ps"]):
        assert command_line(words) == 1
        assert "no process is monitored" in capsys.readouterr().err
    assert os.listdir(protocol.directory()) == []
