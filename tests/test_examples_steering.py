# SPDX-License-Identifier: Apache-2.0
"""The examples of loops that are driven, and of loops inside of others, do what they say."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STEERING = Path(__file__).resolve().parent.parent / "examples" / "steering"


def run_example(name):
    return subprocess.run(
        [sys.executable, "-W", "error", str(STEERING / f"{name}.py")],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.splitlines()


def test_a_while_of_our_own():
    assert run_example("own_while") == ["3", "2", "1", "lift-off after few ticks"]


def test_a_frame_loop():
    frames = run_example("frame_loop")
    assert len(frames) > 5
    assert frames[-1] == ".....h....t"


def test_policies_of_our_own():
    assert run_example("own_policies") == [
        "first come:   bAbAbA",
        "most urgent:  AAAbbb",
        "first come:   mmmm1mmmm1mmmm1111111111",
        "fair share:   m1m1m1m1m1m1m1m1m1m1m1m1",
    ]


def test_a_clock_of_our_own():
    assert run_example("own_clock") == [
        "while paused, 0.0 seconds have passed",
        "the bomb went off in time",
    ]


def test_a_poller_of_our_own():
    assert run_example("own_poller") == ["add at most 5000 times", "poll at most 5000 times"]


@pytest.mark.skipif(not importlib.util.find_spec("aiosqlite"), reason="aiosqlite is missing")
def test_a_library_of_asyncio():
    assert run_example("in_asyncio") == ["cancellable", "readable", "structured"]


def test_loops_in_threads():
    assert run_example("loops_in_threads") == [
        "and 1",
        "hare 2",
        "sleeps 1",
        "the 3",
        "tortoise 1",
    ]


CLICK_AND_WATCH = """
import tkinter as tk, in_tk
from giambio.hosting import TkHost, start_in

root = tk.Tk()
app = in_tk.App(root)
seen = []

def watch():
    text = app.label["text"]
    if not seen or seen[-1] != text:
        seen.append(text)
    if len(seen) == 5:
        root.destroy()
    else:
        root.after(5, watch)

with start_in(TkHost(root), app.run) as hosted:
    root.after(10, app.button.invoke)
    watch()
    root.mainloop()
print(*seen, sep=chr(10))
print("spins" if hosted.ticks > 50 else "waits")
"""


@pytest.mark.skipif(not importlib.util.find_spec("_tkinter"), reason="this Python has no Tk")
def test_a_window():
    command = [sys.executable, "-W", "error", "-c", CLICK_AND_WATCH]
    if not os.environ.get("DISPLAY"):
        if not shutil.which("xvfb-run"):
            pytest.skip("there is neither a display nor xvfb-run")
        command = ["xvfb-run", "-a", *command]
    told = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(STEERING)},
    ).stdout.splitlines()
    assert told == ["ready", "counting: 0", "counting: 1", "counting: 2", "ready", "waits"]
