# SPDX-License-Identifier: Apache-2.0
"""How a monitor and its clients talk: where the socket is, who may use it, and what is said.

A request is a line of JSON; the answer is JSON up to the end of the stream. One request a connection.

The sockets of all monitored processes of a user lie in a directory that nobody else may enter, each
named after its process. A file system that forgets permissions is not trusted: both sides also ask the
operating system who is at the other end, and talk to nobody but their own user.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from typing import Any

from ._view import LoopView, Place, TaskView

# How long either side waits for the other, in seconds.
PATIENCE = 5.0
# Nobody has more to ask than this, in bytes.
LONGEST_REQUEST = 4096

_SUFFIX = ".sock"


def directory() -> str:
    """Return the directory of the sockets, which is made if it does not exist.

    It is ``giambio`` in the runtime directory of the user, or else in that for temporary files.

    Raises:
        PermissionError: It, or something else of its name, belongs to somebody else or can be
            entered by others.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime):
        path = os.path.join(runtime, "giambio")
    else:
        import tempfile

        path = os.path.join(tempfile.gettempdir(), f"giambio-{os.geteuid()}")
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    check_private(path)
    return path


def check_private(path: str) -> None:
    """Check that a directory is one that only this user may enter.

    Raises:
        PermissionError: It is not.
    """
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise PermissionError(f"{path!r} is not a directory, so no socket can be kept there safely")
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{path!r} belongs to another user (number {status.st_uid})")
    if status.st_mode & 0o077:
        raise PermissionError(
            f"{path!r} can be entered by other users (its mode is {status.st_mode & 0o777:o}, "
            "and should be 700)"
        )


def socket_path(pid: int) -> str:
    """Return where the socket of a process is, or would be."""
    return os.path.join(directory(), f"{pid}{_SUFFIX}")


def socket_pids() -> list[int]:
    """Return the numbers of the processes that have a socket, dead ones included."""
    names = [name.removesuffix(_SUFFIX) for name in os.listdir(directory())]
    return sorted(int(name) for name in names if name.isdecimal())


def peer_uid(connection: socket.socket) -> int | None:
    """Return the number of the user at the other end; None if this system does not tell."""
    if hasattr(socket, "SO_PEERCRED"):
        size = struct.calcsize("3i")
        answer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        _, uid, _ = struct.unpack("3i", answer)
        return int(uid)
    if sys.platform == "darwin" or "bsd" in sys.platform:  # pragma: no cover
        # struct xucred: a version, the user, and groups that do not matter here.
        answer = connection.getsockopt(0, 1, 256)  # SOL_LOCAL, LOCAL_PEERCRED
        return int(struct.unpack_from("=2I", answer)[1])
    return None  # pragma: no cover


def check_peer(connection: socket.socket) -> None:
    """Check that the other end of a connection belongs to the same user.

    Where the system does not tell, the private directory has to do.

    Raises:
        PermissionError: It does not.
    """
    uid = peer_uid(connection)
    if uid is not None and uid != os.geteuid():
        raise PermissionError(f"user number {uid} is at the other end")


def receive_all(connection: socket.socket, limit: int | None = None) -> bytes:
    """Return what comes up to the end of the stream; with a *limit*, up to the end of a line.

    Raises:
        TimeoutError: It took too long.
        ValueError: The line is too long.
    """
    received = bytearray()
    while data := connection.recv(65536):
        received += data
        if limit is not None:
            if len(received) > limit:
                raise ValueError(f"the request is longer than {limit} bytes")
            if data.endswith(b"\n"):
                break
    return bytes(received)


def encode_loop(view: LoopView, *, stacks: bool) -> dict[str, Any]:
    """Return a view of a loop in what JSON can take.

    Args:
        view: The view.
        stacks: Whether to include the whole stacks. The innermost place of the program is always
            there, and the stack of the running task, too.
    """
    encoded = view._asdict()
    encoded["tasks"] = tasks = []
    for task in view.tasks:
        fields = task._asdict()
        if not stacks and task.state != "running":
            fields["stack"] = () if task.place is None else (task.place,)
        tasks.append(fields)
    return encoded


def decode_loop(encoded: dict[str, Any]) -> LoopView:
    """Return the view that was encoded."""
    tasks = []
    for fields in encoded["tasks"]:
        fields["stack"] = tuple(Place(*place) for place in fields["stack"])
        fields["held_by"] = tuple(fields["held_by"])
        tasks.append(TaskView(**fields))
    return LoopView(**{**encoded, "tasks": tuple(tasks)})
