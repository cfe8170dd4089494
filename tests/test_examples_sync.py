# SPDX-License-Identifier: Apache-2.0
"""The examples about limits and deadlocks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

import giambio
from giambio.debug import DeadlockDetector
from giambio.testing import VirtualClock

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name):
    """Import an example without running its main part."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_crawler_visits_each_page_of_its_site_once(capsys):
    crawler = load("rate_limited_crawler")
    sizes = giambio.run(crawler.main, 10_000)
    assert sorted(sizes) == sorted(f"/{n}" for n in range(1, crawler.PAGES + 1))
    assert all(sizes.values())
    assert capsys.readouterr().out.startswith("30 pages in ")


def test_the_crawler_keeps_both_limits():
    crawler = load("rate_limited_crawler")
    times = []
    connections = 0

    async def fetch(path):
        nonlocal connections
        times.append(giambio.clock())
        connections += 1
        assert connections <= 3
        await giambio.sleep(0.5)
        connections -= 1
        number = int(path)
        return b"".join(b'href="%d" ' % n for n in (2 * number, 2 * number + 1) if n <= 40)

    async def main():
        return await crawler.Crawler(fetch, rate=4, connections=3).crawl("1")

    assert len(giambio.run(main, clock=VirtualClock())) == 40
    for n, start in enumerate(times):
        assert sum(when < start + 1 for when in times[n:]) <= 4 + 5 - 1


class TestCrossedLocks:
    """The same deadlock, seen in three ways."""

    def test_somebody_asks(self, capsys):
        giambio.run(load("crossed_locks").main, "ask", clock=VirtualClock())
        printed = capsys.readouterr().out
        assert printed.startswith("these tasks wait for each other")
        assert printed.count("waits for Lock") == 2
        assert printed.count("crossed_locks.py") == 2

    def test_the_wait_that_closes_the_circle_is_refused(self):
        with pytest.raises(giambio.DeadlockError, match="these tasks wait for each other"):
            giambio.run(
                load("crossed_locks").main,
                "detect",
                clock=VirtualClock(),
                debugger=DeadlockDetector(),
            )

    def test_nothing_else_is_going_on(self):
        with pytest.raises(giambio.DeadlockError, match="no task can ever run again") as caught:
            giambio.run(load("crossed_locks").main, "alone", clock=VirtualClock())
        first, second = str(caught.value).splitlines()[-2:]
        assert "move #2: waits for <Lock" in first
        assert "held by 'move #3'" in first
        assert "move #3: waits for <Lock" in second
        assert "held by 'move #2'" in second
