# SPDX-License-Identifier: Apache-2.0
"""Child processes, which live as long as a block."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from giambio._files.pipes import PipeEnd, PipeReceiveStream, PipeSendStream
from giambio._numbers import check_seconds
from giambio._simulation import refuse_if_simulated
from giambio._sockets.base import SocketBase
from giambio._threads.calls import run_in_thread
from giambio._timeouts import skip_after
from giambio.exceptions import ResourceClosed
from giambio_kernel import CancelScope, checkpoint, checkpoint_due, sleep

from .exit_watch import ExitWatch
from .group import ProcessGroup

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

Argument: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"
Command: TypeAlias = "Argument | Sequence[Argument]"
Redirection: TypeAlias = Any
"""What `subprocess` takes: None, PIPE, DEVNULL, STDOUT, a descriptor, or an object that has one."""

# How long to wait before looking again whether somebody is left in a process group, in seconds:
# twice as long each time, up to the second one.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.25

_OURS = {"bufsize", "encoding", "errors", "text", "universal_newlines"}


def open_process(
    command: Command,
    *,
    stdin: Redirection = None,
    stdout: Redirection = None,
    stderr: Redirection = None,
    shell: bool = False,
    new_group: bool = True,
    grace: float = 5.0,
    **options: Any,
) -> Process:
    """Start a child process that lives as long as a block.

    Use it with ``async with``::

        async with giambio.open_process(["sort"], stdin=PIPE, stdout=PIPE) as process:
            await process.stdin.send_all(text)
            await process.stdin.aclose()
            result = await process.stdout.receive()

    At the end the block closes our ends of the pipes and waits for the process. If the block is
    cancelled, or raises, the process is stopped first, with whatever it has started: its whole
    process group is asked to terminate, and killed if it has not after the grace time.
    In no case does a zombie remain.

    Args:
        command: The program and its arguments, in a sequence; with *shell*, a string.
        stdin: Where its input comes from. By default, as for the others, it has ours;
            `subprocess.PIPE` gives it a pipe, whose other end is `Process.stdin`; the end of a
            pipe, `Process.stdout` of another one for example, or an `AsyncSocket` is handed over,
            and closed here; the rest is as for `subprocess.Popen`.
        stdout: Where its output goes.
        stderr: Where its error output goes; `subprocess.STDOUT` for where its output does.
        shell: Whether the shell is to interpret *command*.
        new_group: Whether it gets a process group of its own. A program that talks to the terminal
            itself, an editor for example, needs ``False``; then only the process itself is stopped.
        grace: How long it has from being asked to terminate until it is killed, in seconds of the
            loop's clock.
        **options: As for `subprocess.Popen`: ``cwd``, ``env``, ``pass_fds`` and so on.

    Raises:
        TypeError: *command* is a string without *shell*, or no string with it; or an option is a
            timeout, or for text, while the pipes carry bytes.
        ValueError: *command* is empty, or *grace* negative or not a number.

    Entering the block raises `OSError` if the program cannot be started: there is no such file,
    for example; and `ResourceClosed` if what it is to be given is closed. It is a checkpoint; if it
    raises `CancelledError`, nothing was started.
    """
    if shell is not isinstance(command, str):
        raise TypeError(
            "with shell=True the command is a string"
            if shell
            else "the command must be a sequence, ['ls', '-l'] for example; or say shell=True"
        )
    if not command:
        raise ValueError("the command is empty: it begins with the program")
    if "timeout" in options:
        raise TypeError("timeout cannot be given: put a with_timeout block around it")
    if refused := sorted(_OURS.intersection(options)):
        raise TypeError(
            f"{refused[0]} cannot be given: the pipes of a process carry bytes; run_process() has "
            "text=True"
        )
    check_seconds("grace", grace)
    options["shell"] = shell
    if new_group and not options.get("start_new_session"):
        options.setdefault("process_group", 0)
    redirections = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
    return Process(command, redirections, options, new_group, grace)


class Process:
    """A child process. Made by `open_process`.

    Attributes:
        args: The command.
        stdin: Our end of the pipe to its input; None if that is no pipe.
        stdout: Our end of the pipe from its output; None if that is no pipe.
        stderr: Our end of the pipe from its error output; None if that is no pipe.
    """

    __slots__ = (
        "__weakref__", "_child", "_given_up", "_grace", "_group", "_has_group", "_options",
        "_redirections", "_watch", "args", "stderr", "stdin", "stdout",
    )  # fmt: skip

    args: Command
    stdin: PipeSendStream | None
    stdout: PipeReceiveStream | None
    stderr: PipeReceiveStream | None

    _group: ProcessGroup | None
    _watch: ExitWatch

    def __init__(
        self,
        command: Command,
        redirections: dict[str, Redirection],
        options: dict[str, Any],
        has_group: bool,
        grace: float,
    ) -> None:
        self.args = command
        self.stdin = self.stdout = self.stderr = None
        self._redirections = redirections
        self._options = options
        self._has_group = has_group and not options.get("process_group")
        self._grace = grace
        # Set by the thread that starts it.
        self._child: subprocess.Popen[bytes] | None = None
        self._group = None
        # Whether the loop broke off while the thread was at that.
        self._given_up = False

    def __repr__(self) -> str:
        child = self._child
        if child is None:
            state = "not started"
        elif child.returncode is None:
            state = f"pid={child.pid}"
        else:
            state = f"pid={child.pid} returncode={child.returncode}"
        return f"<Process {self.args!r} {state}>"

    @property
    def pid(self) -> int:
        """The number of the process.

        Raises:
            RuntimeError: It was not started yet.
        """
        return self._started().pid

    @property
    def returncode(self) -> int | None:
        """What it exited with, or minus the signal that killed it. None while it runs.

        Raises:
            RuntimeError: It was not started yet.
        """
        child = self._started()
        if child.returncode is None and child.poll() is not None and self._group is not None:
            self._group.look()  # now or never: its number is free if nobody is left
        return child.returncode

    async def wait(self) -> int:
        """Wait until it has exited.

        Any number of tasks may do that. Meanwhile somebody must read its output if that goes to
        pipes, or it may wait for that, too.

        Returns:
            What it exited with, or minus the number of the signal that killed it.

        Raises:
            RuntimeError: It was not started yet.

        Checkpoint: always. If it raises `CancelledError`, the process goes on.
        """
        self._started()
        if checkpoint_due():
            await checkpoint()
        while (code := self.returncode) is None:
            await self._watch.wait(busy=True)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal to the process itself; nothing if it has exited.

        Raises:
            PermissionError: It runs as somebody else.
            RuntimeError: It was not started yet.
        """
        self._started()
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to terminate, with its whole process group. A stopped one is continued for that.

        Raises:
            PermissionError: They run as somebody else.
            RuntimeError: It was not started yet.
        """
        self._send_to_all(signal.SIGTERM)
        self._send_to_all(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, with its whole process group.

        Raises:
            PermissionError: They run as somebody else.
            RuntimeError: It was not started yet.
        """
        self._send_to_all(signal.SIGKILL)

    def _send_to_all(self, number: int) -> None:
        self.send_signal(number) if self._group is None else self._group.send_signal(number)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise RuntimeError(f"{self!r} is started by 'async with'")
        return self._child

    # Starting

    async def __aenter__(self) -> Self:
        if self._child is not None:
            raise RuntimeError(f"{self!r} was entered before: it can be used only once")
        refuse_if_simulated("starting a process")
        theirs: list[int] = []
        given = dict.fromkeys(
            end for end in self._redirections.values() if isinstance(end, PipeEnd | SocketBase)
        )
        for end in given:
            if end.closed:
                raise ResourceClosed(f"{end!r} cannot be handed over to {self.args!r}")
        try:
            for name in ("stdin", "stdout", "stderr"):
                if self._redirections[name] == subprocess.PIPE:
                    theirs.append(self._open_pipe(name))
            for end in given:
                os.set_blocking(end.fileno(), True)  # as programs expect it
            # Not in the loop: it takes a millisecond, and much longer when the program lies on a
            # slow file system, or when we are large and have to be copied.
            await run_in_thread(self._start)
        except BaseException:
            self._given_up = True  # before it is looked whether there is a child
            for end in given:
                os.set_blocking(end.fileno(), False)
            self._destroy()
            self._close_pipes()
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        for end in given:
            # Not that of a UNIX listener, who would take its file along.
            end.close() if isinstance(end, PipeEnd) else os.close(end.detach())
        return self

    def _open_pipe(self, name: str) -> int:
        """Make a pipe for one of the three, and return the end of the child."""
        receiving, sending = os.pipe()
        if name == "stdin":
            self.stdin = PipeSendStream(sending)
            theirs = receiving
        else:
            setattr(self, name, PipeReceiveStream(receiving))
            theirs = sending
        self._redirections[name] = theirs
        return theirs

    def _start(self) -> None:
        """In a thread: start it."""
        child = subprocess.Popen(self.args, **self._redirections, **self._options)
        self._watch = ExitWatch(child)
        if self._has_group:
            self._group = ProcessGroup(child.pid)
        self._child = child
        if self._given_up:
            self._destroy()

    # Ending

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc is None:
                self._close_pipes()
                await self.wait()
            elif not isinstance(exc, GeneratorExit):  # otherwise nothing can be awaited
                await self._stop()
        except BaseException as error:
            if exc is None and not isinstance(error, GeneratorExit):
                await self._stop()
            raise
        finally:
            self._destroy()
            self._close_pipes()

    async def _stop(self) -> None:
        """Ask all of them to terminate, wait, and kill who is left."""
        with CancelScope(shield=True):
            try:
                self.terminate()
                with skip_after(self._grace):
                    await self._wait_for_all()
                self.kill()
            except PermissionError:
                pass  # it runs as somebody else, and we can only wait
            await self.wait()

    async def _wait_for_all(self) -> None:
        # Not busy: a virtual clock goes on to the end of the grace time, so that a test need not
        # wait for a process that does not listen.
        while self.returncode is None:
            await self._watch.wait(busy=False)
        group = self._group
        pause = _FIRST_PAUSE
        while group is not None and not group.empty and await run_in_thread(group.lives):
            await sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _destroy(self) -> None:
        """Kill it if it runs, and reap it, standing still for that moment.

        For when nothing can be awaited; otherwise it does nothing.
        """
        if self._child is not None and self.returncode is None:
            try:
                self.kill()
            except PermissionError:
                return  # `subprocess` keeps it in mind, and reaps it when the next one is started
            self._child.wait()

    def _close_pipes(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
