# SPDX-License-Identifier: Apache-2.0
"""Debuggers that print and log, that find what blocks or spins, and the dump when a signal comes."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import sys
import threading

import pytest

import giambio
from giambio.debug import (
    BusyWaitDetector,
    LogDebugger,
    PrintDebugger,
    SlowStepWatchdog,
    dump_on_signal,
)


async def nap(seconds=1):
    await giambio.sleep(seconds)


class TestNarrators:
    """`PrintDebugger` and `LogDebugger`."""

    def test_all_that_happens_is_printed(self, run):
        async def failing():
            raise ValueError("no")

        async def reader(sock):
            await sock.receive(1)

        async def main():
            left, right = giambio.socket.socketpair()
            with pytest.raises(ValueError, match="no"):
                async with left, right, giambio.create_pool() as pool:
                    pool.spawn(reader, left)
                    pool.spawn_after(1, failing)
                    await giambio.checkpoint()

        file = io.StringIO()
        run(main, debugger=PrintDebugger(file))
        text = re.sub(r" #\d+|descriptor \d+", "", file.getvalue())
        assert [line for line in text.splitlines() if "loop:" not in line] == [
            "   0.000000  run: begins",
            "   0.000000  main: runs",
            "   0.000000  reader: is spawned by main",
            "   0.000000  failing: is spawned by main",
            "   0.000000  failing: is to start in 1 s",
            "   0.000000  main: gives way",
            "   0.000000  reader: runs",
            "   0.000000  reader: waits to read from ",
            "   0.000000  main: runs",
            "   0.000000  main: waits for 2 tasks of its pool",
            "   1.000000  failing: runs",
            "   1.000000  failing: has failed: ValueError('no')",
            "   1.000000  failing: has ended",
            "   1.000000  main: is cancelled",
            "   1.000000  reader: is cancelled",
            "   1.000000  reader: runs",
            "   1.000000  reader: was ended by it",
            "   1.000000  reader: has ended",
            "   1.000000  main: runs",
            "   1.000000  main: has ended",
            "   1.000000  run: ends",
        ]
        assert "   0.000000  loop: looks at descriptors" in text
        assert "   0.000000  loop: has looked at the descriptors" in text

    def test_waiting_for_descriptors_says_for_how_long(self):
        file = io.StringIO()
        debugger = PrintDebugger(file)
        debugger.before_io(0.25)
        debugger.before_io(float("inf"))
        assert "loop: waits up to 250 ms for descriptors" in file.getvalue()
        assert "loop: waits for ever for descriptors" in file.getvalue()

    def test_sleeping_and_leaving_a_cancelled_block(self, run, capsys):
        async def main():
            with giambio.skip_after(1):
                await nap(2)
            await nap(3)

        only = {"before_sleep", "after_sleep", "after_cancel", "after_task_step"}
        run(main, debugger=PrintDebugger(only=only))
        said = re.sub(r" #\d+", "", capsys.readouterr().err).splitlines()
        assert said == [
            "   0.000000  main: stops to sleep",
            "   0.000000  main: sleeps for 2 s",
            "   1.000000  main: has left the cancelled block",
            "   1.000000  main: stops to sleep",
            "   1.000000  main: sleeps for 3 s",
            "   4.000000  main: has slept for 3 s",
        ]

    def test_all_is_logged_and_failures_are_warnings(self, run, caplog):
        async def main():
            raise ValueError("no")

        caplog.set_level(logging.DEBUG, logger="giambio")
        with pytest.raises(ValueError, match="no"):
            run(main, debugger=LogDebugger())
        assert [(each.levelname, each.giambio_hook) for each in caplog.records] == [
            ("DEBUG", "on_start"),
            ("DEBUG", "before_task_step"),
            ("WARNING", "on_exception_raised"),
            ("DEBUG", "on_task_exit"),
            ("DEBUG", "on_exit"),
        ]
        assert re.fullmatch(r"main #\d+: has failed: ValueError\('no'\)", caplog.messages[2])

    def test_the_logger_the_level_and_the_hooks_can_be_chosen(self, run, caplog):
        logger = logging.getLogger("mine")
        debugger = LogDebugger(logger, level=logging.ERROR, only={"on_exit"})
        run(nap, debugger=debugger)
        assert caplog.record_tuples == [("mine", logging.ERROR, "run: ends")]

    def test_a_hook_that_does_not_exist_is_an_error(self):
        with pytest.raises(ValueError, match="no hook is called 'on_spawn'"):
            PrintDebugger(only={"on_spawn"})


class TestSlowStepWatchdog:
    """The watchdog barks from a thread; here the slow steps last until it has."""

    def test_it_shows_the_stack_of_a_step_while_it_blocks(self):
        def report(slow):
            assert slow.task.name == "main"
            assert slow.seconds >= watchdog.seconds
            stacks.append([frame.f_code.co_name for frame in slow.stack])
            seen.set()

        def compute():
            seen.wait()

        async def main():
            # On a slow machine it may be seen before it gets to `compute`; then once more.
            while not any(stack[:2] == ["main", "compute"] for stack in stacks):
                seen.clear()
                await giambio.checkpoint()
                compute()

        stacks, seen = [], threading.Event()
        watchdog = SlowStepWatchdog(0.001, report=report)
        giambio.run(main, debugger=watchdog)
        assert repr(watchdog) == "<SlowStepWatchdog seconds=0.001>"
        assert not [t for t in threading.enumerate() if t.name == "giambio watchdog"]

    def test_it_prints_and_says_afterwards_how_long_it_took(self):
        class File(io.StringIO):
            def write(self, text):
                super().write(text)
                if "without giving way" in text:
                    barked.set()
                if "took about" in text:
                    over.set()

        async def main():
            while "    barked.wait()  # the line to blame\n" not in file.getvalue():
                barked.clear()
                await giambio.checkpoint()
                barked.wait()  # the line to blame
            while not over.is_set():
                await giambio.sleep(0.001)

        file, barked, over = File(), threading.Event(), threading.Event()
        giambio.run(main, debugger=SlowStepWatchdog(0.005, file=file))
        said = file.getvalue()
        assert re.match(r"giambio: task 'main' has run for [\d.]+ m?s without giving way", said)
        assert "that step of task 'main' took about" in said

    def test_a_report_that_fails_does_not_stop_it(self, monkeypatch):
        def report(slow):
            calls.append(slow)
            (first if len(calls) == 1 else second).set()
            raise ZeroDivisionError

        async def main():
            first.wait()
            await giambio.checkpoint()
            second.wait()

        monkeypatch.setattr(sys, "excepthook", lambda *args: errors.append(args[0]))
        calls, errors = [], []
        first, second = threading.Event(), threading.Event()
        giambio.run(main, debugger=SlowStepWatchdog(0.001, report=report))
        assert errors[:2] == [ZeroDivisionError] * 2

    def test_it_can_be_used_for_several_runs_and_be_closed(self, run):
        watchdog = SlowStepWatchdog(100)
        run(nap, debugger=watchdog)
        run(nap, debugger=watchdog)
        watchdog.close()
        assert not [t for t in threading.enumerate() if t.name == "giambio watchdog"]

    def test_removed_from_a_running_loop_and_closed_it_is_silent(self, run):
        async def main():
            scheduler = giambio.current_task().scheduler
            scheduler.add_debugger(watchdog)
            await giambio.checkpoint()
            scheduler.remove_debugger(watchdog)
            watchdog.close()

        watchdog = SlowStepWatchdog(100)
        run(main)
        assert watchdog._steps == {}
        assert not [t for t in threading.enumerate() if t.name == "giambio watchdog"]

    def test_a_limit_that_is_not_positive_is_an_error(self):
        with pytest.raises(ValueError, match="seconds must be positive, not 0"):
            SlowStepWatchdog(0)


class TestBusyWaitDetector:
    """What waits by asking again and again."""

    @pytest.fixture
    def find(self, run):
        """Return a function that runs an async function and returns what was found."""

        def find(main, **options):
            found = []
            options = {"turns": 50, "longest_step": 100.0, "report": found.append, **options}
            run(main, debugger=BusyWaitDetector(**options))
            return found

        return find

    def test_asking_again_and_again_is_found_once_for_each_place(self, find):
        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn(nap, 0.5)
                while not task.done():
                    await giambio.sleep(0.001)  # here

        found = find(main)
        assert [(each.task.name, each.turns) for each in found] == [("main", 50)]
        assert found[0].seconds == pytest.approx(0.049)
        assert re.fullmatch(r".*test_debug_tools\.py:\d+ .*main", found[0].place)

    @pytest.mark.parametrize(
        "give_way", [giambio.checkpoint, lambda: giambio.sleep(0), lambda: giambio.sleep_until(0)]
    )
    def test_all_ways_to_give_way_count(self, find, give_way):
        async def main():
            for _ in range(60):
                await give_way()

        assert len(find(main)) == 1

    def test_real_waiting_starts_the_count_anew(self, find):
        async def main():
            for n in range(200):
                await giambio.sleep(1 if n % 20 == 0 else 0)

        assert find(main) == []

    def test_operations_that_finish_at_once_are_no_waiting(self, find):
        async def main():
            event = giambio.Event()
            event.set()
            for _ in range(5000):
                await event.wait()

        assert find(main) == []

    def test_long_steps_are_work(self, find):
        async def main():
            for _ in range(200):
                await giambio.checkpoint()

        assert find(main, longest_step=0.0) == []

    def test_it_is_printed(self, run, capsys):
        async def main():
            for _ in range(20):
                await giambio.checkpoint()

        run(main, debugger=BusyWaitDetector(10, longest_step=100.0))
        said = capsys.readouterr().err
        assert said.count("giambio: task 'main' has come back 10 times in a row") == 1
        assert "let an Event wake it" in said

    def test_too_few_turns_are_an_error(self):
        with pytest.raises(ValueError, match="turns must be at least 2, not 1"):
            BusyWaitDetector(1)


class TestDumpOnSignal:
    """The signal is sent by the process to itself, which Python handles at once."""

    def test_all_loops_are_printed(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                pool.spawn(nap, 5)
                await giambio.checkpoint()
                signal.raise_signal(signal.SIGUSR1)  # here

        before = signal.getsignal(signal.SIGUSR1)
        file = io.StringIO()
        with dump_on_signal(file=file) as dump:
            run(main)
            assert repr(dump) == "<SignalDump SIGUSR1 open>"
        assert repr(dump) == "<SignalDump SIGUSR1 closed>"
        assert signal.getsignal(signal.SIGUSR1) == before
        lines = file.getvalue().splitlines()
        assert lines[0] == f"giambio: process {os.getpid()} was asked by SIGUSR1"
        assert lines[1] == "loop in MainThread: 2 tasks, next timer in 5 s"
        assert re.match(r"└─ nap #\d+ +sleeps, 5 s to go", lines[3])
        assert re.match(r"main #\d+ is running here:", lines[4])
        assert "    signal.raise_signal(signal.SIGUSR1)  # here" in lines

    def test_it_can_be_asked_for_inside_of_a_loop_and_with_stacks(self, run, tmp_path):
        async def main():
            with dump_on_signal(signal.SIGUSR2, file=file, stacks=True):
                async with giambio.create_pool() as pool:
                    pool.spawn(nap)
                    await giambio.checkpoint()
                    signal.raise_signal(signal.SIGUSR2)

        with (tmp_path / "dump").open("w", encoding="utf-8") as file:
            run(main)
        text = (tmp_path / "dump").read_text("utf-8")
        assert "    await giambio.sleep(seconds)" in text

    def test_without_a_loop_it_says_so(self, capfd):
        with dump_on_signal():
            signal.raise_signal(signal.SIGUSR1)
        assert "no loop is running" in capfd.readouterr().err

    def test_a_handler_that_came_later_stays(self):
        dump = dump_on_signal()
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        dump.close()
        dump.close()
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)

    def test_a_system_without_the_signal_has_to_be_told_another(self, monkeypatch):
        monkeypatch.delattr(signal, "SIGUSR1")
        with pytest.raises(ValueError, match="this system has no SIGUSR1"):
            dump_on_signal()
