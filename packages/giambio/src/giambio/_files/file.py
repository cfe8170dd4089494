# SPDX-License-Identifier: Apache-2.0
"""Files, used from worker threads.

No system lets a file be waited for as a socket is, and a slow disk or a network file system can take
seconds. So each operation is the standard one, called in a thread.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, AnyStr, Generic, ParamSpec, Self, TypeVar, overload

from giambio._sync.lock import Lock
from giambio._threads.calls import run_in_thread
from giambio_kernel import CancelScope, checkpoint_if_cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from os import PathLike
    from types import TracebackType
    from typing import IO, TypeAlias

    from _typeshed import OpenBinaryMode, OpenTextMode, ReadableBuffer, WriteableBuffer

    Opener: TypeAlias = Callable[[str, int], int]
    FileName: TypeAlias = str | bytes | PathLike[str] | PathLike[bytes] | int

P = ParamSpec("P")
T = TypeVar("T")


@overload
async def open_file(
    file: FileName,
    mode: OpenTextMode = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> AsyncFile[str]: ...


@overload
async def open_file(
    file: FileName,
    mode: OpenBinaryMode,
    buffering: int = -1,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> AsyncFile[bytes]: ...


@overload
async def open_file(
    file: FileName,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> AsyncFile[Any]: ...


async def open_file(
    file: FileName,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> AsyncFile[Any]:
    """Open a file. As the built-in `open`, in a thread.

    Use it with ``async with await open_file(…) as file``.

    Args:
        file: The path, or an open descriptor.
        mode: As for `open`.
        buffering: As for `open`.
        encoding: As for `open`.
        errors: As for `open`.
        newline: As for `open`.
        closefd: As for `open`.
        opener: As for `open`.

    Raises:
        OSError: It cannot be opened.
        ValueError: *mode* makes no sense.

    Checkpoint: always. If it raises `CancelledError`, nothing was opened.
    """
    return AsyncFile(
        await run_in_thread(open, file, mode, buffering, encoding, errors, newline, closefd, opener)
    )


def wrap_file(file: IO[AnyStr]) -> AsyncFile[AnyStr]:
    """Make a standard file object an asynchronous one.

    Args:
        file: A file object of any kind, or something that behaves as one: with a method ``close``,
            and one to read or to write.

    Raises:
        TypeError: It does not.
    """
    return AsyncFile(file)


class AsyncFile(Generic[AnyStr]):
    """A file whose operations are called in worker threads.

    Made by `open_file`, `Path.open`, `wrap_file` and `open_temporary_file`. The methods are those of
    the standard file object, which raises what it always raises; those that only some kinds of file
    have, such as ``read1``, raise `AttributeError` on the others. Operations of several tasks on one
    file take turns.

    Each method is a checkpoint. If it raises `CancelledError`, it had no effect; once it is under
    way it is not interrupted. ``async with`` closes the file at the end, and ``async for`` gives its
    lines, each with a call in a thread: to go through a large file reading it in portions is faster.

    Attributes:
        wrapped: The standard file object.
    """

    __slots__ = ("_turn", "wrapped")

    wrapped: IO[AnyStr]

    def __init__(self, file: IO[AnyStr]) -> None:
        if not hasattr(file, "close") or not (hasattr(file, "read") or hasattr(file, "write")):
            raise TypeError(f"expected a file object, not {file!r}")
        self.wrapped = file
        # File objects for text are not made for several threads.
        self._turn = Lock()

    def __repr__(self) -> str:
        return f"<AsyncFile of {self.wrapped!r}>"

    @property
    def name(self) -> Any:
        """What was opened: a path or a descriptor."""
        return self.wrapped.name

    @property
    def mode(self) -> str:
        """The mode that it was opened in."""
        return self.wrapped.mode

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self.wrapped.closed

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.wrapped.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.wrapped.isatty()

    def readable(self) -> bool:
        """Whether it can be read."""
        return self.wrapped.readable()

    def writable(self) -> bool:
        """Whether it can be written."""
        return self.wrapped.writable()

    def seekable(self) -> bool:
        """Whether it has positions to go to."""
        return self.wrapped.seekable()

    async def read(self, size: int = -1) -> AnyStr:
        """Read at most *size* bytes or characters, or up to the end; see `io.RawIOBase.read`."""
        return await self._do(self.wrapped.read, size)

    async def read1(self, size: int = -1) -> bytes:
        """Read with at most one call of the system; see `io.BufferedIOBase.read1`."""
        data: bytes = await self._do(self._special("read1"), size)
        return data

    async def readinto(self, buffer: WriteableBuffer) -> int:
        """Read into *buffer* and return how many bytes; see `io.BufferedIOBase.readinto`."""
        count: int = await self._do(self._special("readinto"), buffer)
        return count

    async def readinto1(self, buffer: WriteableBuffer) -> int:
        """As `readinto`, with at most one call of the system; see `io.BufferedIOBase.readinto1`."""
        count: int = await self._do(self._special("readinto1"), buffer)
        return count

    async def readall(self) -> bytes:
        """Read up to the end of an unbuffered file; see `io.RawIOBase.readall`."""
        data: bytes = await self._do(self._special("readall"))
        return data

    async def peek(self, size: int = 0) -> bytes:
        """Return bytes without going past them; see `io.BufferedReader.peek`."""
        data: bytes = await self._do(self._special("peek"), size)
        return data

    async def readline(self, size: int = -1) -> AnyStr:
        """Read a line, or at most *size* bytes or characters of it."""
        return await self._do(self.wrapped.readline, size)

    async def readlines(self, hint: int = -1) -> list[AnyStr]:
        """Read lines, up to the end or until they have more than *hint* bytes or characters."""
        return await self._do(self.wrapped.readlines, hint)

    async def write(self, data: AnyStr | ReadableBuffer) -> int:
        """Write *data* and return how much of it was taken: all, unless the file is unbuffered."""
        write: Callable[[Any], int] = self.wrapped.write
        return await self._do(write, data)

    async def writelines(self, lines: Iterable[AnyStr]) -> None:
        """Write all of *lines*; no line ends are added."""
        await self._do(self.wrapped.writelines, lines)

    async def flush(self) -> None:
        """Write what is in the buffer to the system."""
        await self._do(self.wrapped.flush)

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position and return it; see `io.IOBase.seek`."""
        return await self._do(self.wrapped.seek, offset, whence)

    async def tell(self) -> int:
        """Return the position."""
        return await self._do(self.wrapped.tell)

    async def truncate(self, size: int | None = None) -> int:
        """Cut the file to *size* bytes, or at the position, and return the size."""
        return await self._do(self.wrapped.truncate, size)

    async def close(self) -> None:
        """Write what is in the buffer and close the file, also if this is cancelled. Twice is fine.

        Checkpoint: on exit.
        """
        with CancelScope(shield=True):
            await self._do(self.wrapped.close)
        await checkpoint_if_cancelled()

    async def aclose(self) -> None:
        """Close the file: the spelling that streams have. See `close`.

        Checkpoint: on exit.
        """
        await self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AnyStr:
        if line := await self.readline():
            return line
        raise StopAsyncIteration

    def _special(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self.wrapped, name)
        return method

    async def _do(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._turn:
            return await run_in_thread(partial(method, *args, **kwargs))
