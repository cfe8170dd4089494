# SPDX-License-Identifier: Apache-2.0
"""The examples of tools that show what a program does."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SEEING = Path(__file__).resolve().parent.parent / "examples" / "seeing"


def run_example(*words, **options):
    return subprocess.run(
        [sys.executable, "-W", "error", *words],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=SEEING,
        **options,
    )


def test_the_kitchen_is_shown_and_leaves_a_trace(tmp_path):
    path = tmp_path / "kitchen.json"
    done = run_example("-m", "giambio", "run", "--trace", str(path), "kitchen.py")
    assert sorted(done.stdout.splitlines()) == [f"dish {number} is served" for number in range(6)]
    assert re.search(r"main #\d+ +runs +kitchen\.py:\d+ main\n", done.stderr)
    events = json.loads(path.read_text())["traceEvents"]
    rows = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert {re.sub(r" #\d+", "", row) for row in rows} >= {"main", "Ada", "Grace", "guests"}


def test_what_blocks_and_what_waits_busily_is_found():
    said = run_example("blocked.py").stderr
    assert "task 'blocks' has run for" in said
    assert "should have been: await giambio.sleep(0.3)" in said
    assert "task 'waits_busily' has come back 20 times in a row" in said


def test_the_time_of_each_task_is_added_up():
    said = run_example("time_per_task.py").stdout
    assert re.search(r"thinks +11 steps", said)
    assert re.search(r"naps +6 steps", said)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs SIGUSR1")
def test_a_server_dumps_its_tasks_when_a_signal_comes():
    done = run_example("dump_and_monitor.py")
    assert re.search(r"python -m giambio tree \d+ asks at /", done.stdout)
    assert re.search(r"└─ serve × 1000 +sleeps, ", done.stderr)
