# SPDX-License-Identifier: Apache-2.0
"""Child processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from subprocess import DEVNULL, PIPE, STDOUT

import pytest

import giambio
from giambio import (
    CancelScope,
    ProcessFailed,
    ResourceClosed,
    open_pipe,
    open_process,
    run_process,
)
from giambio._processes.exit_watch import ExitWatch
from giambio._processes.group import ProcessGroup, _processes
from giambio.socket import socketpair
from giambio.testing import assert_checkpoints, cancel_sweep, wait_all_tasks_blocked

LARGE = os.urandom(1 << 20)

# Tells the number of a grandchild, which does not end by itself, and waits for it.
WITH_GRANDCHILD = "sleep 1000 & echo $!; wait"


@pytest.fixture(autouse=True)
def no_child_is_left():
    """Neither running nor as a zombie, whatever the test has done."""
    yield
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)


@pytest.fixture
def finish(run):
    """Return `run_process`, run."""
    return lambda *args, **options: run(partial(run_process, *args, **options))


def alive(pid):
    """Whether a process runs. An orphan may remain as a zombie where nobody reaps orphans."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def wait_until_dead(pid):
    """What was killed dies very soon, but not at once."""
    while alive(pid):
        time.sleep(0.001)


class TestRunProcess:
    """From the start to the end."""

    def test_output_is_captured(self, finish):
        done = finish(["sh", "-c", "echo out; echo err >&2"], capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"err\n")
        assert done.args == ["sh", "-c", "echo out; echo err >&2"]

    def test_what_is_not_captured_is_none(self, finish):
        done = finish(["true"])
        assert (done.returncode, done.stdout, done.stderr) == (0, None, None)

    def test_one_output_is_captured_or_both_as_one(self, finish):
        command = ["sh", "-c", "echo out; echo err >&2"]
        done = finish(command, stdout=PIPE, stderr=DEVNULL)
        assert (done.stdout, done.stderr) == (b"out\n", None)
        done = finish(command, stdout=PIPE, stderr=STDOUT)
        assert (done.stdout, done.stderr) == (b"out\nerr\n", None)

    def test_more_than_the_pipes_hold_goes_through_in_both_directions(self, finish):
        assert finish(["cat"], input=LARGE, stdout=PIPE).stdout == LARGE

    def test_input_that_is_not_wanted_is_dropped(self, finish):
        finish(["true"], input=LARGE)

    def test_without_input_there_is_nothing_to_read(self, finish):
        assert finish(["cat"], capture_output=True).stdout == b""

    def test_input_may_come_from_a_file(self, finish, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"content")
        with open(path, "rb") as file:
            assert finish(["cat"], stdin=file, stdout=PIPE).stdout == b"content"

    def test_options_are_those_of_the_standard_library(self, finish, tmp_path):
        done = finish(
            "pwd; echo $NAME", shell=True, stdout=PIPE, cwd=tmp_path, text=True,
            env={"NAME": "value", "PATH": os.environ["PATH"]},
        )  # fmt: skip
        assert done.stdout.splitlines() == [str(tmp_path), "value"]


class TestText:
    def test_it_goes_in_and_out_as_strings(self, finish):
        done = finish(["cat"], input="grüß\n", capture_output=True, encoding="latin-1")
        assert (done.stdout, done.stderr) == ("grüß\n", "")
        done = finish(["cat"], input="x", stdout=PIPE, text=True)
        assert done.stdout == "x"

    def test_line_ends_become_one_kind(self, finish):
        command = ["printf", r"a\r\nb\rc\nd"]
        assert finish(command, stdout=PIPE, text=True).stdout == "a\nb\nc\nd"
        assert finish(command, stdout=PIPE).stdout == b"a\r\nb\rc\nd"

    def test_what_cannot_be_decoded_is_an_error_unless_told_otherwise(self, finish):
        command = ["printf", r"\377"]
        with pytest.raises(UnicodeDecodeError):
            finish(command, stdout=PIPE, encoding="utf-8")
        done = finish(command, stdout=PIPE, encoding="utf-8", errors="replace")
        assert done.stdout == "\ufffd"

    def test_text_and_bytes_are_not_mixed_up(self, finish):
        with pytest.raises(TypeError, match="with text=True the input is a string"):
            finish(["cat"], input=b"x", text=True)
        with pytest.raises(TypeError, match="for a string say text=True"):
            finish(["cat"], input="x")


class TestFailure:
    def test_another_code_than_0_is_an_error_that_shows_what_was_captured(self, finish):
        with pytest.raises(ProcessFailed) as info:
            finish(["sh", "-c", "echo out; echo wrong >&2; exit 3"], capture_output=True)
        error = info.value
        assert (error.returncode, error.stdout, error.stderr) == (3, b"out\n", b"wrong\n")
        assert str(error).endswith("returned non-zero exit status 3.\nwrong")

    def test_without_error_output_it_shows_the_output_and_of_much_the_end(self, finish):
        with pytest.raises(ProcessFailed, match=r"status 1\.\nout\n"):
            finish("echo out; exit 1", shell=True, stdout=PIPE, text=True)
        with pytest.raises(ProcessFailed) as info:
            finish("yes | head -c 5000; echo end; exit 1", shell=True, stdout=PIPE)
        assert "[...]" in str(info.value)
        assert str(info.value).endswith("\ny\nend")
        with pytest.raises(ProcessFailed, match=r"status 1\."):
            finish(["false"])

    def test_it_may_be_looked_at_instead(self, finish):
        assert finish(["sh", "-c", "exit 3"], check=False).returncode == 3
        assert finish("kill -9 $$", shell=True, check=False).returncode == -9

    def test_a_program_that_is_not_there_is_an_error_at_once(self, run):
        async def main():
            with pytest.raises(FileNotFoundError):
                await run_process(["/no/such/program"], capture_output=True, input=b"x")

        run(main)

    def test_bad_use_is_an_error_that_says_how(self, finish):
        for options, message in (
            ({"stdin": PIPE}, "nobody would write to the pipe"),
            ({"stdin": DEVNULL, "input": b""}, "but not both"),
            ({"capture_output": True, "stderr": STDOUT}, "captures both"),
            ({"grace": -1}, "grace must be at least 0"),
            ({"grace": float("nan")}, "grace must be at least 0"),
        ):
            with pytest.raises(ValueError, match=message):
                finish(["true"], **options)
        with pytest.raises(TypeError, match="or say shell=True"):
            finish("true")
        with pytest.raises(TypeError, match="with shell=True the command is a string"):
            finish(["true"], shell=True)
        with pytest.raises(ValueError, match="the command is empty"):
            finish([])
        with pytest.raises(TypeError, match="put a with_timeout block around it"):
            finish(["true"], timeout=5)
        with pytest.raises(TypeError, match="text cannot be given: the pipes of a process carry"):
            open_process(["true"], text=True)


class TestCancellation:
    """Nothing of a process remains."""

    def test_a_cancelled_run_ends_the_process(self):
        async def main():
            with CancelScope() as scope:
                async with giambio.create_pool() as pool:
                    pool.spawn(run_process, ["sleep", "1000"])
                    await wait_all_tasks_blocked()
                    scope.cancel()

        giambio.run(main)

    def test_whatever_it_has_started_ends_too(self):
        async def main():
            with CancelScope() as scope:
                async with open_process(WITH_GRANDCHILD, shell=True, stdout=PIPE) as process:
                    pids.append(int(await process.stdout.receive()))
                    assert alive(pids[0])
                    scope.cancel()
                    await giambio.sleep_forever()

        pids = []
        giambio.run(main)
        assert not alive(pids[0])

    def test_a_grandchild_that_outlives_the_process_ends_too(self):
        async def main():
            with CancelScope() as scope:
                async with open_process("sleep 1000 & echo $!", shell=True, stdout=PIPE) as process:
                    pids.append(int(await process.stdout.receive()))
                    assert await process.wait() == 0
                    assert alive(pids[0])
                    scope.cancel()
                    await giambio.checkpoint()

        pids = []
        giambio.run(main)
        assert not alive(pids[0])

    def test_who_does_not_listen_is_killed_after_the_grace_time(self, run):
        """The virtual clock jumps over the grace time."""

        async def main():
            started = giambio.clock()
            with CancelScope() as scope:
                async with open_process(
                    f"trap '' TERM; {WITH_GRANDCHILD}", shell=True, stdout=PIPE, grace=30
                ) as process:
                    pids.append(int(await process.stdout.receive()))
                    scope.cancel()
                    await giambio.sleep_forever()
            assert process.returncode == -signal.SIGKILL
            assert giambio.clock() - started == pytest.approx(30)

        pids = []
        run(main)
        wait_until_dead(pids[0])

    def test_a_grandchild_that_does_not_listen_is_killed_too(self, run):
        """Its parent has ended long before the grace time is over."""

        async def main():
            started = giambio.clock()
            with CancelScope() as scope:
                async with open_process(
                    "(trap '' TERM; echo; exec sleep 1000) & echo $!", shell=True, stdout=PIPE
                ) as process:
                    output = b""
                    while len(output.splitlines()) < 2:
                        output += await process.stdout.receive()
                    pids.extend(int(line) for line in output.split())
                    await process.wait()
                    scope.cancel()
                    await giambio.checkpoint()
            assert giambio.clock() - started == pytest.approx(5)

        pids = []
        run(main)
        wait_until_dead(pids[0])

    def test_a_stopped_process_is_continued_to_terminate(self):
        async def main():
            with CancelScope() as scope:
                async with open_process(["sleep", "1000"], grace=float("inf")) as process:
                    process.send_signal(signal.SIGSTOP)
                    scope.cancel()
                    await giambio.checkpoint()
            assert process.returncode == -signal.SIGTERM

        giambio.run(main)

    def test_it_has_time_to_take_its_leave(self):
        """Its pipes are open meanwhile."""

        async def main():
            with CancelScope() as scope:
                async with open_process(
                    "trap 'echo bye; exit 7' TERM; echo ready; while true; do sleep 0.01; done",
                    shell=True, stdout=PIPE, grace=float("inf"),
                ) as process:  # fmt: skip
                    assert await process.stdout.receive() == b"ready\n"
                    scope.cancel()
                    await giambio.checkpoint()
            assert process.returncode == 7

        giambio.run(main)

    def test_without_a_group_only_the_process_itself_is_stopped(self, run):
        async def main():
            with CancelScope() as scope:
                async with open_process(
                    WITH_GRANDCHILD, shell=True, stdout=PIPE, new_group=False
                ) as process:
                    pids.append(int(await process.stdout.receive()))
                    assert os.getpgid(process.pid) == os.getpgrp()
                    scope.cancel()
                    await giambio.checkpoint()

        pids = []
        run(main)
        assert alive(pids[0])
        os.kill(pids[0], signal.SIGKILL)

    def test_an_error_in_the_block_stops_it_and_leaves_as_itself(self, run):
        async def main():
            async with open_process(["sleep", "1000"]):
                raise ValueError("x")

        with pytest.raises(ValueError, match="x"):
            run(main)

    def test_the_wait_at_the_end_of_the_block_can_be_cancelled(self):
        async def main():
            with CancelScope() as scope:
                async with giambio.create_pool() as pool:

                    async def block():
                        async with open_process(["sleep", "1000"]):
                            pass

                    pool.spawn(block)
                    await wait_all_tasks_blocked()
                    scope.cancel()

        giambio.run(main)

    def test_cancelled_before_it_begins_it_starts_nothing(self, run, monkeypatch):
        import subprocess

        async def main():
            with CancelScope() as scope:
                scope.cancel()
                await run_process(["true"], input=b"x", capture_output=True)
            assert scope.cancelled_caught

        monkeypatch.setattr(subprocess, "Popen", None)
        run(main)

    def test_every_cancellation_is_survived(self):
        async def main():
            done = await run_process(["cat"], input=b"x", capture_output=True)
            assert done.stdout == b"x"

        cancel_sweep(main)

    def test_another_ctrl_c_does_not_wait_for_the_grace_time(self):
        async def press_again():
            await wait_all_tasks_blocked()
            events.append("again")
            signal.raise_signal(signal.SIGINT)

        async def main():
            async with open_process(
                "trap '' TERM; echo; sleep 1000", shell=True, stdout=PIPE, grace=float("inf")
            ) as process:
                events.append(process)
                await process.stdout.receive()
                giambio.spawn(press_again)
                signal.raise_signal(signal.SIGINT)
                await giambio.sleep_forever()

        events = []
        with pytest.raises(KeyboardInterrupt):
            giambio.run(main)
        assert events[1:] == ["again"]
        assert events[0].returncode == -signal.SIGKILL

    @pytest.mark.parametrize("where", ["block", "stop"])
    def test_when_the_loop_breaks_off_it_is_killed(self, where):
        """Nothing can be awaited any more, not even its end."""

        class Broken(giambio.AsyncScheduler):
            broken = False

            def _poll(self, timeout, *, tell=False):
                if self.broken:
                    raise OSError("broken")
                super()._poll(timeout, tell=tell)

        async def main():
            scheduler = giambio.lowlevel.current_scheduler()
            async with open_process("trap '' TERM; echo; sleep 1000", shell=True, stdout=PIPE) as p:
                await p.stdout.receive()
                scheduler.broken = True
                if where == "stop":
                    raise ValueError("x")
                await giambio.sleep_forever()

        with pytest.raises(OSError, match="broken"):
            Broken().start(main)

    def test_when_the_loop_breaks_off_during_the_start_it_is_killed_too(self, monkeypatch):
        """The thread that starts it is not stopped by that."""
        import subprocess
        import threading

        broken = threading.Event()
        popen = subprocess.Popen

        def slow(*args, **options):
            assert broken.wait(10)
            child.append(popen(*args, **options))
            return child[0]

        class Broken(giambio.AsyncScheduler):
            def _idle(self, timeout, may_raise_deadlock):
                raise OSError("broken")

        async def main():
            async with open_process(["sleep", "1000"]):
                pass

        child = []
        monkeypatch.setattr(subprocess, "Popen", slow)
        with pytest.raises(OSError, match="broken"):
            Broken().start(main)
        broken.set()
        while not child or child[0].returncode is None:
            time.sleep(0.001)
        assert child[0].returncode == -signal.SIGKILL


class TestOpenProcess:
    """A process to talk to."""

    def test_a_conversation(self, run):
        async def main():
            async with open_process(["cat"], stdin=PIPE, stdout=PIPE) as process:
                for line in (b"one\n", b"two\n"):
                    await process.stdin.send_all(line)
                    assert await process.stdout.receive() == line
                assert process.returncode is None
                await process.stdin.aclose()
                assert await process.stdout.receive() == b""
                assert await process.wait() == process.returncode == 0
            assert process.stderr is None
            assert process.stdout.closed

        run(main)

    def test_the_block_waits_for_it(self, run):
        async def main():
            async with open_process(["cat"], stdin=PIPE) as process:
                assert repr(process) == f"<Process ['cat'] pid={process.pid}>"
            assert repr(process) == f"<Process ['cat'] pid={process.pid} returncode=0>"

        run(main)

    def test_any_number_of_tasks_wait_for_its_end(self, run):
        async def main():
            async with open_process(["cat"], stdin=PIPE) as process, giambio.create_pool() as pool:
                waits = [pool.spawn(process.wait) for _ in range(3)]
                await wait_all_tasks_blocked()
                waits[1].cancel()
                await wait_all_tasks_blocked()
                process.stdin.close()
                assert await waits[0].join() == await waits[2].join() == 0
                with assert_checkpoints():
                    assert await process.wait() == 0

        run(main)

    def test_signals_and_what_it_was_killed_by(self, run):
        async def main():
            for stop, code in (("terminate", -15), ("kill", -9)):
                async with open_process(["sleep", "1000"]) as process:
                    getattr(process, stop)()
                    assert await process.wait() == code
                    getattr(process, stop)()  # nothing, now that it has ended
                    process.send_signal(signal.SIGTERM)
                    with pytest.raises(ProcessLookupError):
                        os.kill(process.pid, 0)

        run(main)

    def test_a_virtual_clock_waits_for_it(self, run):
        async def main():
            async with open_process(["true"]) as process:
                with giambio.with_timeout(1):
                    assert await process.wait() == 0

        run(main)

    def test_its_output_may_go_to_another_one(self, run):
        async def main():
            async with (
                open_process(["printf", "b\na\n"], stdout=PIPE) as first,
                open_process(["sort"], stdin=first.stdout, stdout=PIPE) as sort,
            ):
                assert first.stdout.closed
                assert await sort.stdout.receive() == b"a\nb\n"

        run(main)

    def test_the_end_of_a_pipe_is_given_as_programs_expect_it(self, run):
        """It waits when there is nothing, instead of failing."""

        async def main():
            send, receive = open_pipe()
            async with open_process(["cat"], stdin=receive, stdout=PIPE) as process:
                with pytest.raises(ResourceClosed):
                    await receive.receive()
                await send.send_all(b"x")
                assert await process.stdout.receive() == b"x"
                send.close()

        run(main)

    def test_so_is_a_socket(self, run):
        async def main():
            here, there = socketpair()
            command = [sys.executable, "-c", "import os; print(os.get_blocking(0), flush=True)"]
            async with here, open_process(command, stdin=there, stdout=there):
                assert there.closed
                assert await giambio.BufferedStream(here).receive_until(b"\n") == b"True"

        run(main)

    def test_a_listening_socket_keeps_its_file(self, run, tmp_path):
        path = str(tmp_path / "s")

        async def main():
            listener = await giambio.open_unix_listener(path)
            async with open_process(["sleep", "1000"], stdin=listener) as process:
                assert listener.closed
                (await giambio.connect_unix(path)).close()
                process.kill()

        run(main)

    def test_the_end_of_a_pipe_is_as_it_was_if_the_program_cannot_be_started(self, run):
        async def main():
            send, receive = open_pipe()
            async with send, receive:
                with pytest.raises(FileNotFoundError):
                    async with open_process(["/no/such/program"], stdin=receive):
                        pass
                with giambio.skip_after(1) as scope:
                    await receive.receive()
                assert scope.timed_out

        run(main)

    def test_what_is_closed_is_not_handed_over_and_nothing_is_left_open(self, run):
        async def main():
            send, receive = open_pipe()
            left, right = socketpair()
            for end in (send, receive, left, right):
                end.close()
            for end in (receive, left):
                process = open_process(["cat"], stdin=end, stdout=PIPE)
                with pytest.raises(
                    ResourceClosed, match=r"closed.* cannot be handed over to .*cat"
                ):
                    async with process:
                        pass
                assert process.stdout is None

        run(main)

    def test_a_session_of_its_own_is_a_group_of_its_own(self, run):
        async def main():
            async with open_process(["sleep", "1000"], start_new_session=True) as process:
                assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
                process.kill()

        run(main)

    def test_somebody_elses_group_is_not_stopped_with_it(self, run):
        async def main():
            async with open_process(["sleep", "1000"]) as leader:
                async with open_process(["sleep", "1000"], process_group=leader.pid) as process:
                    process.terminate()
                assert leader.returncode is None
                leader.kill()

        run(main)

    def test_bad_use(self, run):
        async def main():
            process = open_process(["true"])
            assert repr(process) == "<Process ['true'] not started>"
            for use in ("pid", "returncode"):
                with pytest.raises(RuntimeError, match="is started by 'async with'"):
                    getattr(process, use)
            with pytest.raises(RuntimeError, match="is started by 'async with'"):
                await process.wait()
            with pytest.raises(RuntimeError, match="is started by 'async with'"):
                process.terminate()
            async with process:
                with pytest.raises(RuntimeError, match="only once"):
                    await process.__aenter__()

        run(main)


class TestWithoutDescriptorsForProcesses:
    """Elsewhere than on Linux, or where they are forbidden, a thread waits."""

    @pytest.fixture(params=["none", "forbidden", "no waitid either"], autouse=True)
    def system(self, request, monkeypatch):
        if request.param == "forbidden":

            def forbidden(pid):
                raise PermissionError

            monkeypatch.setattr(os, "pidfd_open", forbidden, raising=False)
        else:
            monkeypatch.delattr(os, "pidfd_open", raising=False)
        if request.param == "no waitid either":
            waitid = os.waitid
            monkeypatch.delattr(os, "waitid")
        yield
        if request.param == "no waitid either":
            os.waitid = waitid
            monkeypatch.undo()

    def test_the_end_is_noticed(self, run):
        async def main():
            async with open_process(["cat"], stdin=PIPE) as process, giambio.create_pool() as pool:
                waits = [pool.spawn(process.wait) for _ in range(2)]
                await wait_all_tasks_blocked()
                process.stdin.close()
                assert [await wait.join() for wait in waits] == [0, 0]

        run(main)

    def test_a_cancelled_one_is_stopped(self):
        async def main():
            with CancelScope() as scope:
                async with open_process(["sleep", "1000"], grace=float("inf")) as process:
                    scope.cancel()
                    await giambio.checkpoint()
            assert process.returncode == -signal.SIGTERM

        giambio.run(main)

    def test_a_late_thread_is_no_trouble(self, run):
        """It begins to wait when the process is gone, and ends when the loop is."""

        async def main():
            async with open_process(["true"]) as process:
                await process.wait()
                late = ExitWatch(process._child)
                await late.wait(busy=True)
                return late._thread

        run(main).tell()


def test_a_process_that_somebody_else_has_reaped_is_no_reason_to_hang(run):
    async def main():
        async with open_process(["true"]) as process:
            os.waitpid(process.pid, 0)  # noqa: ASYNC222  # that is the accident
            assert await process.wait() == 0  # nobody knows any more; so says the standard library

    run(main)


class TestProcessGroup:
    def test_nothing_is_sent_once_it_was_seen_empty(self, monkeypatch):
        sent = []

        def killpg(number, signal):
            sent.append((number, signal))
            raise ProcessLookupError

        monkeypatch.setattr(os, "killpg", killpg)
        group = ProcessGroup(4711)
        assert not group.look()
        group.send_signal(signal.SIGKILL)
        assert not group.lives()
        assert sent == [(4711, 0)]

    def test_who_may_not_be_signalled_is_there_all_the_same(self, monkeypatch):
        def killpg(number, signal):
            raise PermissionError

        monkeypatch.setattr(os, "killpg", killpg)
        group = ProcessGroup(4711)
        assert group.look()
        for found, lives in (
            ([("S", 1), ("R", 4711)], True),
            ([("Z", 4711), ("S", 4711)], True),
            ([("Z", 4711), ("X", 4711)], False),
            ([], True),  # no such table on this system
        ):
            monkeypatch.setattr("giambio._processes.group._processes", partial(list, found))
            assert group.lives() is lives

    def test_a_process_that_ends_while_it_is_looked_at_is_passed_over(self, monkeypatch):
        monkeypatch.setattr(
            "giambio._processes.group.iglob", lambda pattern: ["/proc/self/stat", "/proc/none/stat"]
        )

        assert _processes() == [("R", os.getpgrp())]

    def test_one_that_runs_as_somebody_else_can_only_be_waited_for(self, run, monkeypatch):
        async def main():
            def forbidden(number, signal):
                raise PermissionError

            with pytest.raises(ValueError, match="x"):
                async with open_process(["cat"], stdin=PIPE) as process:
                    monkeypatch.setattr(os, "killpg", forbidden)
                    with pytest.raises(PermissionError):
                        process.terminate()
                    process._destroy()  # what is called when the loop breaks off does not hang
                    process.stdin.close()
                    raise ValueError("x")
            assert process.returncode == 0

        run(main)
