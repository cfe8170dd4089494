# SPDX-License-Identifier: Apache-2.0
"""The kernel carries a second front end, and that one is tiny."""

from __future__ import annotations

import ast
import importlib.util
import signal
import socket
import sys
from pathlib import Path

import pytest

from giambio_kernel import AsyncScheduler, CancelScope, DeadlockError, suspend

PATH = Path(__file__).resolve().parent.parent / "examples" / "tiny_frontend.py"
spec = importlib.util.spec_from_file_location("tiny_frontend", PATH)
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)


def test_it_has_at_most_150_lines_and_needs_the_kernel_alone():
    source = PATH.read_text()
    assert len(source.splitlines()) <= 150
    modules = {
        (node.module or "").partition(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
    }
    assert modules - set(sys.stdlib_module_names) == {"giambio_kernel"}


def test_tasks_are_spawned_and_joined():
    async def child(n):
        await tiny.sleep(0)
        return n * 2

    async def main():
        task = await tiny.spawn(child, 21)
        return await tiny.join(task)

    assert tiny.run(main) == 42


def test_a_group_waits_and_keeps_the_results():
    async def child(n):
        await tiny.sleep(0.001 * n)
        return n

    async def main():
        async with tiny.TaskGroup() as group:
            for n in (3, 1, 2):
                await group.spawn(child, n)
        return group.results

    assert tiny.run(main) == [3, 1, 2]


def test_the_first_error_cancels_the_others_and_is_raised():
    cancelled = []

    async def failing():
        raise ValueError("mine")

    async def sleeping():
        try:
            await tiny.sleep(1000)
        finally:
            cancelled.append(1)

    async def main():
        async with tiny.TaskGroup() as group:
            await group.spawn(sleeping)
            await group.spawn(failing)
            await tiny.sleep(1000)

    with pytest.raises(ValueError, match="mine"):
        tiny.run(main)
    assert cancelled == [1]


class TestAGroupThatIsInterrupted:
    """Ctrl+C and deadlocks are raised in the task that waits for its group, whose tasks end first."""

    async def _turns(self, n):
        for _ in range(n):
            await tiny.sleep(0)

    async def _cleans_up(self):
        try:
            await tiny.sleep(0.001)
        finally:
            with CancelScope(shield=True):
                await self._turns(2)

    async def _program(self, *children):
        group = tiny.TaskGroup()
        try:
            async with group:
                for function, *args in children:
                    await group.spawn(function, *args)
        finally:
            assert not group.tasks

    @pytest.mark.parametrize(
        "hook", ["before_task_step", "after_task_step", "on_task_exit", "before_io", "after_io"]
    )
    @pytest.mark.parametrize("turns", [(0,), (1,), (3,), (2, 5)])
    @pytest.mark.parametrize("cleans_up", [False, True])
    def test_ctrl_c_in_every_step(self, hook, turns, cleans_up):
        children = [(self._turns, n) for n in turns] + [(self._cleans_up,)] * cleans_up
        for number in range(1, 60):
            steps = []

            def step(self, *args, steps=steps, number=number):
                steps.append(args)
                if len(steps) == number:
                    signal.raise_signal(signal.SIGINT)

            debugger = type("Interrupter", (), {hook: step})()
            try:
                AsyncScheduler(debugger=debugger).start(self._program, *children)
            except KeyboardInterrupt as error:
                assert not isinstance(error.__context__, RuntimeError)
                continue
            assert len(steps) < number  # there are no more steps to come in
            return
        pytest.fail("it never ended by itself")

    @pytest.mark.parametrize("turns", range(4))
    def test_ctrl_c_just_before_it_waits(self, turns):
        """It wakes the task that waits for the group, and the last task of the group must not do so again."""

        async def main():
            async with tiny.TaskGroup() as group:
                await group.spawn(self._turns, turns)
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            tiny.run(main)

    def test_it_goes_before_the_errors_of_tasks(self):
        async def fails():
            raise ValueError

        async def fails_late():
            try:
                await tiny.sleep(1000)
            finally:
                with CancelScope(shield=True):
                    await tiny.sleep(0)
                    signal.raise_signal(signal.SIGINT)
                    await tiny.sleep(0.001)

        with pytest.raises(KeyboardInterrupt):
            tiny.run(self._program, (fails_late,), (fails,))

    def test_a_deadlock_is_raised_when_the_tasks_have_ended(self):
        ended = []

        async def waits_for_nobody():
            try:
                await suspend(lambda task, error: None, "nobody")
            finally:
                ended.append(1)

        with pytest.raises(DeadlockError, match="nobody"):
            tiny.run(self._program, (waits_for_nobody,), (waits_for_nobody,))
        assert ended == [1, 1]

    def test_a_task_that_cannot_be_stopped_does_not_keep_a_deadlock_going(self):
        async def stubborn():
            await suspend(lambda task, error: False, "what never comes")

        async def main():
            async with tiny.TaskGroup() as group:
                await group.spawn(stubborn)

        with pytest.raises(DeadlockError, match="what never comes"):
            tiny.run(main)

    def test_the_error_of_a_task_is_not_lost_when_the_group_is_cancelled_from_outside(self):
        async def fails_when_cancelled():
            try:
                await tiny.sleep(1000)
            finally:
                raise ValueError("mine")

        async def main():
            with tiny.timeout_after(0.001):
                async with tiny.TaskGroup() as group:
                    await group.spawn(fails_when_cancelled)
                    await tiny.sleep(1000)

        with pytest.raises(ValueError, match="mine"):
            tiny.run(main)


def test_a_timeout_skips_the_rest():
    async def main():
        with tiny.timeout_after(0.001) as scope:
            await tiny.sleep(1000)
        return scope.timed_out

    assert tiny.run(main)


def test_an_echo_server_with_many_clients():
    async def handler(client):
        async with client:
            while data := await client.recv(1000):
                await client.sendall(data)

    async def server(listener, group):
        while True:
            client, _ = await listener.accept()
            await group.spawn(handler, client)

    async def client(address):
        sock = socket.create_connection(address)
        async with tiny.Socket(sock) as peer:
            data = bytes(500_000)
            sender = await tiny.spawn(peer.sendall, data)
            received = 0
            while received < len(data):
                received += len(await peer.recv(65536))
            await tiny.join(sender)
        return received

    async def main():
        with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
            listener = tiny.Socket(sock)
            async with tiny.TaskGroup() as group:
                await group.spawn(server, listener, group)
                async with tiny.TaskGroup() as clients:
                    for _ in range(20):
                        await clients.spawn(client, sock.getsockname())
                group.cancel()
            await listener.close()
            return clients.results

    assert tiny.run(main) == [500_000] * 20
