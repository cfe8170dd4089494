# SPDX-License-Identifier: Apache-2.0
"""Running a program to its end."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any, Literal, overload

from giambio._pool import create_pool

from .process import open_process

if TYPE_CHECKING:
    from giambio._files.pipes import PipeReceiveStream, PipeSendStream
    from giambio_kernel import Task

    from .process import Command, Redirection

# At most how much of the output is repeated in the message of an error, in characters: the end of
# it, where programs say what went wrong.
_TOLD = 2000


class ProcessFailed(subprocess.CalledProcessError):
    """A process has exited with another code than 0, and `run_process` was to check that.

    It is the error of the standard library, except that its message ends with the captured output,
    the error output if there is any.

    Attributes:
        returncode: What it exited with, or minus the number of the signal that killed it.
        cmd: The command.
        stdout: The captured output, or None.
        stderr: The captured error output, or None.
    """

    def __str__(self) -> str:
        output: bytes | str = self.stderr or self.stdout or ""
        if isinstance(output, bytes):
            output = output.decode(errors="backslashreplace")
        output = output.rstrip()
        if not output:
            return super().__str__()
        if len(output) > _TOLD:
            output = f"[...]{output[-_TOLD:]}"
        return f"{super().__str__()}\n{output}"


@overload
async def run_process(
    command: Command,
    *,
    input: bytes | bytearray | memoryview | None = None,
    capture_output: bool = False,
    stdin: Redirection = None,
    stdout: Redirection = None,
    stderr: Redirection = None,
    check: bool = True,
    text: Literal[False] = False,
    encoding: None = None,
    errors: None = None,
    **options: Any,
) -> subprocess.CompletedProcess[bytes]: ...


@overload
async def run_process(
    command: Command,
    *,
    input: str | None = None,
    capture_output: bool = False,
    stdin: Redirection = None,
    stdout: Redirection = None,
    stderr: Redirection = None,
    check: bool = True,
    text: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[str]: ...


async def run_process(
    command: Command,
    *,
    input: Any = None,
    capture_output: bool = False,
    stdin: Redirection = None,
    stdout: Redirection = None,
    stderr: Redirection = None,
    check: bool = True,
    text: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run a program to its end. As `subprocess.run`, with the differences given here.

    If this is cancelled, the program is stopped with its whole process group; see `open_process`.
    For a timeout put it into a `with_timeout` block.

    Args:
        command: The program and its arguments, in a sequence; with ``shell=True``, a string.
        input: What it is to read. If it does not read all of it, the rest is dropped.
        capture_output: Whether to capture both its outputs.
        stdin: Where its input comes from if there is no *input*: unlike in the standard library by
            default from nowhere, because a program in the background cannot read the terminal.
        stdout: Where its output goes; `subprocess.PIPE` captures it.
        stderr: Where its error output goes; `subprocess.PIPE` captures it, `subprocess.STDOUT`
            mixes it with the output.
        check: Whether to raise if it exits with another code than 0. Unlike in the standard
            library the default is to do so.
        text: Whether input and output are strings and not bytes; also if *encoding* or *errors* is
            given. Line ends become ``"\\n"``.
        encoding: The encoding of text; the one of the locale if omitted.
        errors: What to do with what cannot be encoded or decoded, as for `str.encode`.
        **options: As for `open_process`.

    Returns:
        With ``returncode``, ``stdout`` and ``stderr``, the latter two None unless captured.

    Raises:
        ProcessFailed: It exited with another code than 0.
        OSError: The program cannot be started: there is no such file, for example.
        TypeError: As for `open_process`; or the input is no text, or text.
        ValueError: As for `open_process`; or two ways were given for one stream.

    Checkpoint: always. If it raises `CancelledError`, the program was not started, or was stopped.
    """
    if input is not None:
        if stdin is not None:
            raise ValueError("give the input, or where it comes from, but not both")
        stdin = subprocess.PIPE
    elif stdin is None:
        stdin = subprocess.DEVNULL
    elif stdin == subprocess.PIPE:
        raise ValueError("nobody would write to the pipe: give the input, or use open_process()")
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("capture_output captures both, so neither stdout nor stderr is given")
        stdout = stderr = subprocess.PIPE
    codec = _Codec(text or encoding is not None or errors is not None, encoding, errors)
    data = codec.encode(input)
    async with (
        open_process(command, stdin=stdin, stdout=stdout, stderr=stderr, **options) as process,
        create_pool() as pool,
    ):
        if process.stdin is not None:
            pool.spawn(_feed, process.stdin, data)
        captured: list[Task[bytes] | None] = [
            None if stream is None else pool.spawn(_collect, stream)
            for stream in (process.stdout, process.stderr)
        ]
        code = await process.wait()
    output, error_output = (
        None if task is None else codec.decode(task.result()) for task in captured
    )
    if check and code:
        raise ProcessFailed(code, command, output, error_output)
    return subprocess.CompletedProcess(command, code, output, error_output)


async def _feed(stream: PipeSendStream, data: bytes) -> None:
    # When this is cancelled the pipes stay open, so that the process can take its leave.
    try:
        await stream.send_all(data)
    except BrokenPipeError:
        pass  # it wanted no more
    stream.close()


async def _collect(stream: PipeReceiveStream) -> bytes:
    collected = bytearray()
    while data := await stream.receive():
        collected += data
    return bytes(collected)


class _Codec:
    """How text becomes bytes and bytes become text; if it is about text at all."""

    def __init__(self, is_text: bool, encoding: str | None, errors: str | None) -> None:
        self._is_text = is_text
        self._encoding = encoding
        self._errors = errors or "strict"

    def _name(self) -> str:
        if self._encoding is None:
            import locale

            self._encoding = locale.getencoding()
        return self._encoding

    def encode(self, data: Any) -> bytes:
        if data is None:
            return b""
        if self._is_text is not isinstance(data, str):
            raise TypeError(
                f"with text=True the input is a string, not {data!r}"
                if self._is_text
                else "the input is bytes; for a string say text=True"
            )
        encoded: bytes = data.encode(self._name(), self._errors) if self._is_text else data
        return encoded

    def decode(self, data: bytes | None) -> Any:
        if data is None or not self._is_text:
            return data
        decoded = data.decode(self._name(), self._errors)
        return decoded.replace("\r\n", "\n").replace("\r", "\n")
