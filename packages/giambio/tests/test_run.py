# SPDX-License-Identifier: Apache-2.0
"""`giambio.run` and what belongs to a run as a whole; the package itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import giambio
from giambio.debug import BaseDebugger
from giambio.testing import VirtualClock


async def nothing():
    pass


def test_it_returns_the_result(run):
    """The first giambio dropped it."""

    async def main(a):
        return a

    assert run(main, 7) == 7


def test_it_is_refused_inside_of_a_run(run):
    async def main():
        giambio.run(nothing)

    with pytest.raises(RuntimeError, match="inside of a run"):
        run(main)


def test_options_are_handed_on(run):
    class Policy:
        def choose(self, ready):
            chosen.append(len(ready))
            return 0

    class Debugger(BaseDebugger):
        def on_start(self):
            chosen.append("start")

    chosen = []

    async def main():
        giambio.spawn(nothing)
        await giambio.checkpoint()

    run(main, policy=Policy(), debugger=Debugger(), clock=VirtualClock())
    assert chosen == ["start", 2]
    with pytest.raises(giambio.DeadlockError):
        run(giambio.Event().wait)


def test_an_event_loop_is_the_oldest_spelling():
    loop = giambio.EventLoop()
    left, right = socket.socketpair()

    async def main():
        async with loop.wrap_socket(left) as one, loop.wrap_socket(right) as two:
            await one.send_all(b"hello")
            return await two.receive(10)

    assert loop.start(main) == b"hello"


def test_a_scheduler_can_be_ticked_by_hand():
    """In the first giambio ``loop=False`` could not really be ticked."""

    async def child(n):
        await giambio.sleep(0.001 * n)
        return n

    async def main():
        async with giambio.create_pool() as pool:
            tasks = [pool.spawn(child, n) for n in range(3)]
        return [task.result() for task in tasks]

    with giambio.AsyncScheduler() as loop:
        task = loop.start(main, loop=False)
        ticks = 1
        while loop.tick(0.01):
            ticks += 1
        assert task.result() == [0, 1, 2]
    assert ticks > 3


def test_the_base_debugger_has_every_hook_and_does_nothing(run):
    async def child():
        raise ValueError("no")

    async def main():
        try:
            async with giambio.create_pool() as pool:
                pool.spawn_after(1, giambio.sleep, 1)
                pool.spawn(child)
                with giambio.skip_after(1):
                    await giambio.sleep(5)
        except ValueError:
            pass

    run(main, debugger=BaseDebugger())
    hooks = [name for name in vars(BaseDebugger) if not name.startswith("__")]
    assert len(hooks) == 14


def test_a_second_ctrl_c_closes_the_pools_of_a_run_that_does_not_end():
    events = []

    async def child():
        try:
            await giambio.sleep_forever()
        finally:
            events.append("child closed")

    async def main():
        thread.start()
        try:
            async with giambio.create_pool() as pool:
                pool.spawn(child)
                await giambio.run_in_thread(time.sleep, 0.5)
        finally:
            events.append("main closed")

    def interrupt():
        for _ in range(2):
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        giambio.run(main)
    thread.join()
    assert events == ["child closed", "main closed"]
    assert time.monotonic() - began < 60
    giambio.run(giambio.run_in_thread, time.sleep, 0.5)  # let the thread end within the test


class TestThePackage:
    """Importing is cheap, and what is public is there."""

    def test_every_lazy_name_is_there(self):
        for name in dir(giambio):
            assert getattr(giambio, name) is not None or name.startswith("__")

    def test_unknown_names_are_an_attribute_error(self):
        with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
            giambio.nonsense

    def test_slow_modules_are_not_imported_before_they_are_used(self):
        slow = ["ssl", "subprocess", "concurrent.futures", "asyncio", "socket", "inspect"]
        program = "import sys, giambio\nprint(*[m for m in sys.argv[1:] if m in sys.modules])"
        done = subprocess.run(
            [sys.executable, "-S", "-c", _with_path(program), *slow],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == []

    def test_public_names_say_where_they_are_public(self):
        assert giambio.create_pool.__module__ == "giambio"
        assert giambio.Pool.__module__ == "giambio"
        assert giambio.CancelledError.__module__ == "giambio_kernel"
        assert giambio.TooSlowError.__module__ == "giambio.exceptions"


def _with_path(program):
    """Without site, which may import anything, the packages have to be found by hand."""
    return f"import sys; sys.path[:0] = {sys.path!r}\n{program}"


def test_a_forgotten_await_gives_pythons_own_warning(run):
    """The text that the first documents promise."""

    async def main():
        giambio.sleep(2)

    with pytest.warns(RuntimeWarning, match="coroutine 'sleep' was never awaited"):
        run(main)
