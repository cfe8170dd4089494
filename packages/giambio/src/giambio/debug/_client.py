# SPDX-License-Identifier: Apache-2.0
"""Clients of monitors: what ``python -m giambio ps`` and the like ask of another process."""

from __future__ import annotations

import os
import socket
from typing import Any, NamedTuple

from ._protocol import PATIENCE, check_peer, decode_loop, receive_all, socket_path, socket_pids
from ._tree import in_columns, stuck_lines, summary, task_line, tree_lines, where_lines
from ._view import LoopView


class ProcessView(NamedTuple):
    """What was known of a process at one moment."""

    pid: int
    command: str
    versions: str
    """Of giambio and of Python, there."""
    loops: tuple[LoopView, ...]

    @property
    def tasks(self) -> int:
        """How many tasks it has."""
        return sum(len(loop.tasks) for loop in self.loops)


NONE_IS_MONITORED = (
    "no process is monitored: start one with 'python -m giambio run --monitor', or let it open a "
    "giambio.debug.Monitor"
)


class NoMonitor(Exception):
    """There is nobody who would answer. The text says why, and what to do."""


def ask(pid: int, *, stacks: bool = False, path: str | None = None) -> ProcessView:
    """Look into another process.

    Args:
        pid: Its number.
        stacks: Whether to get the whole stacks.
        path: Where its socket is, if not at the usual place.

    Raises:
        NoMonitor: The process does not exist, is not monitored, or does not answer.
        PermissionError: Somebody else listens there, or the directory of the sockets is not private.
    """
    import json

    path = socket_path(pid) if path is None else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(path)
            check_peer(connection)
            request = {"want": "view", "stacks": stacks}
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(receive_all(connection))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            _tidy_up(pid, path)
            raise NoMonitor(_why_not(pid)) from error
        except (TimeoutError, ConnectionError, ValueError) as error:
            raise NoMonitor(
                f"process {pid} does not answer; it may be busy with something that keeps "
                "the interpreter from all its threads"
            ) from error
    if "error" in answer:
        raise NoMonitor(f"process {pid} answers: {answer['error']}")
    return ProcessView(
        answer["pid"],
        answer["command"],
        f"giambio {answer['giambio']}, Python {answer['python']}",
        tuple(decode_loop(loop) for loop in answer["loops"]),
    )


def _why_not(pid: int) -> str:
    if not _exists(pid):
        return f"there is no process {pid}"
    return (
        f"process {pid} has no monitor: start it with 'python -m giambio run --monitor', "
        "or let it open a giambio.debug.Monitor"
    )


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _tidy_up(pid: int, path: str) -> None:
    """Remove the socket of a process that was killed."""
    if not _exists(pid):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass


def monitored() -> list[ProcessView]:
    """Return all monitored processes of this user that answer."""
    found: list[ProcessView] = []
    for pid in socket_pids():
        try:
            found.append(ask(pid))
        except NoMonitor:
            pass
    return found


def only_one() -> int:
    """Return the number of the monitored process, if there is exactly one.

    Raises:
        NoMonitor: There is none, or more than one.
    """
    found = monitored()
    if len(found) == 1:
        return found[0].pid
    if not found:
        raise NoMonitor(NONE_IS_MONITORED)
    raise NoMonitor(
        "several processes are monitored; say which:\n" + "\n".join(format_processes(found))
    )


def format_processes(processes: list[ProcessView]) -> list[str]:
    """Return a table of processes."""
    rows = [("PID", "TASKS", "COMMAND")]
    rows += [(str(each.pid), str(each.tasks), each.command) for each in processes]
    return [f"{pid:>8} {tasks:>7}  {command}" for pid, tasks, command in rows]


def format_process(process: ProcessView) -> str:
    """Return a line about a process."""
    return f"process {process.pid}: {process.command} ({process.versions})"


def format_table(process: ProcessView) -> list[str]:
    """Return a table of all tasks, those that have waited longest first."""
    rows = [("TASK", "STATE", "FOR", "NAME", "DOES", "AT")]
    tasks = [task for loop in process.loops for task in loop.tasks]
    names = {task.number: task.name for task in tasks}
    for task in sorted(tasks, key=lambda task: (-(task.seconds or 0.0), task.number)):
        line = task_line(task, names)
        rows.append(
            (f"#{task.number}", task.state, line.seconds, task.name, line.doing, line.place)
        )
    widths = [max(len(row[n]) for row in rows) for n in range(5)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]])
        for row in rows
    ]


def format_trees(process: ProcessView, *, fold: bool = True) -> list[str]:
    """Return the trees of all loops of a process."""
    lines = [format_process(process)]
    for loop in process.loops:
        lines += ["", summary(loop), *in_columns(tree_lines(loop, fold=fold))]
        lines += stuck_lines(loop)
    return lines


def format_stacks(process: ProcessView, only: str | None = None) -> list[str]:
    """Return the stacks of all tasks, or of those of one name or number.

    Raises:
        NoMonitor: No task has that name or number.
    """
    lines: list[str] = []
    for loop in process.loops:
        lines += where_lines(loop, only=only)
    if only is not None and not lines:
        raise NoMonitor(f"process {process.pid} has no task {only!r}; 'tree' shows those it has")
    return lines
