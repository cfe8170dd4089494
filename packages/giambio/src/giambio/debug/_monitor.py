# SPDX-License-Identifier: Apache-2.0
"""The monitor: lets the user who runs a program look into it from another terminal.

It answers in a thread of its own, which reads the state of the loops without their help, so it
answers also when a loop is stuck in a long step; then it says so, and where.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import socket
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Self

from ._loops import KnownLoops
from ._protocol import (
    LONGEST_REQUEST,
    PATIENCE,
    check_peer,
    check_private,
    encode_loop,
    receive_all,
    socket_path,
)
from ._view import LoopView, look_at

if TYPE_CHECKING:
    from giambio_kernel import AsyncScheduler

# How long a loop has to answer before it is said to be stuck, in seconds.
_PROMPTLY = 0.1
# How long the loop is let in now and then while the monitor looks at many tasks, in seconds.
_BREATH = 0.001


class _Probe:
    """A call left for a loop, to see how long it takes to answer."""

    __slots__ = ("answered", "delay", "sent")

    def __init__(self) -> None:
        self.sent = time.monotonic()
        self.delay = 0.0
        self.answered = threading.Event()

    def answer(self) -> None:
        self.delay = time.monotonic() - self.sent
        self.answered.set()


class Monitor:
    """Answers ``python -m giambio ps``, ``tree``, ``where`` and ``watch`` about this process.

    A context manager, or `open` and `close`. Inside of a loop it shows that loop; in any case, all
    runs that start while it is open. It costs the loops nothing while nobody asks.

    It can be reached by the same user on the same machine and by nobody else: through a socket in a
    directory that only this user may enter, and who connects is checked. It only tells; nothing can
    be changed through it. Not on Windows.

    Args:
        path: Where to put the socket, in a directory that only this user may enter; by default where
            ``python -m giambio`` looks for it.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._given_path = None if path is None else os.fspath(path)
        self.path: str | None = None
        """Where the socket is; None while the monitor is closed."""
        self._loops = KnownLoops()
        self._probes: weakref.WeakKeyDictionary[AsyncScheduler, _Probe]
        self._probes = weakref.WeakKeyDictionary()
        self._pid = 0

    def __repr__(self) -> str:
        return f"<Monitor {'closed' if self.path is None else f'at {self.path!r}'}>"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def open(self) -> None:
        """Open the socket and start to answer.

        Raises:
            RuntimeError: It is open, or this system has no UNIX sockets.
            PermissionError: The directory is not private.
            OSError: The socket cannot be made.
        """
        if self.path is not None:
            raise RuntimeError(f"{self!r} is open already")
        if not hasattr(socket, "AF_UNIX"):  # pragma: no cover
            raise RuntimeError("the monitor needs UNIX sockets, which this system does not have")
        path = self._given_path or socket_path(os.getpid())
        check_private(os.path.dirname(os.path.abspath(path)))
        self._listener = _listen(path)
        self.path = path
        self._pid = os.getpid()
        self._alarm, self._waker = socket.socketpair()
        self._loops.open()
        self._thread = threading.Thread(target=self._serve, name="giambio monitor", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Stop to answer and remove the socket. Closing twice is fine."""
        path, self.path = self.path, None
        if path is None:
            return
        atexit.unregister(self.close)
        self._loops.close()
        if os.getpid() == self._pid:
            self._waker.send(b"\0")
            self._thread.join()
            with contextlib.suppress(FileNotFoundError):  # somebody has tidied up
                os.unlink(path)
        # A forked child has copies of the sockets, but neither the thread nor the file is its own.
        for each in (self._listener, self._alarm, self._waker):
            each.close()

    # In the thread

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._alarm, selectors.EVENT_READ)
            while True:
                if any(key.fileobj is self._alarm for key, _ in selector.select()):
                    return
                try:
                    connection, _ = self._listener.accept()
                except OSError:  # too many open files: the program's trouble, not ours
                    time.sleep(_PROMPTLY)
                    continue
                with connection:
                    try:
                        self._converse(connection)
                    except (OSError, ValueError):
                        pass  # a stranger, or somebody who went away or talks nonsense

    def _converse(self, connection: socket.socket) -> None:
        import json

        connection.settimeout(PATIENCE)
        check_peer(connection)
        request = json.loads(receive_all(connection, LONGEST_REQUEST))
        if not isinstance(request, dict) or request.get("want") != "view":
            answer: dict[str, Any] = {"error": "this monitor knows only the request 'view'"}
        else:
            answer = self._look(stacks=bool(request.get("stacks")))
        connection.sendall(json.dumps(answer).encode())

    def _look(self, *, stacks: bool) -> dict[str, Any]:
        from giambio import __version__

        return {
            "giambio": __version__,
            "python": sys.version.partition(" ")[0],
            "pid": os.getpid(),
            "command": _command(),
            "loops": [
                encode_loop(view, stacks=stacks)
                for view in map(self._look_at, self._loops.alive())
                if view is not None
            ],
        }

    def _look_at(self, scheduler: AsyncScheduler) -> LoopView | None:
        probe = self._probes.get(scheduler)
        if probe is None or probe.answered.is_set():
            probe = self._probes[scheduler] = _Probe()
            try:
                scheduler.call_soon_threadsafe(probe.answer)
            except RuntimeError:  # it has not started yet, or has just ended
                del self._probes[scheduler]
                return None
        if probe.answered.wait(_PROMPTLY):
            view = look_at(scheduler, breathe=_breathe)
            return view._replace(delay=probe.delay)
        view = look_at(scheduler)
        return view._replace(stuck=time.monotonic() - probe.sent)


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            listener.bind(path)
        except OSError as error:
            if not _is_stale(path):
                error.filename = path
                raise
            os.unlink(path)
            listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(8)
        # Somebody who connects and goes away again must not keep `accept` waiting.
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_stale(path: str) -> bool:
    """Whether there is a socket that nobody listens to, left by a process that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _command() -> str:
    return " ".join(getattr(sys, "orig_argv", sys.argv))


def _breathe() -> None:
    time.sleep(_BREATH)
