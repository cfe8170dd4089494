# SPDX-License-Identifier: Apache-2.0
"""Paths, whose questions to the file system are asked in worker threads."""

from __future__ import annotations

import os
import pathlib
import sys
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from giambio._threads.calls import run_in_thread
from giambio_kernel import checkpoint, checkpoint_due

from .file import AsyncFile, open_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from _typeshed import OpenBinaryMode, OpenTextMode, StrPath

    _PurePath = pathlib.PurePath
else:
    # The class for paths of this system, which a program may also get by PurePath().
    _PurePath = type(pathlib.PurePath())

P = ParamSpec("P")
T = TypeVar("T")

# How many entries of a folder are fetched with one call in a thread.
_PORTION = 100


class Path(_PurePath):
    """A path of the file system. As `pathlib.Path`, but what asks the system must be awaited.

    What only works with the text of the path, ``/``, ``parent``, ``suffix`` and the like, comes from
    `pathlib.PurePath`, whose subclass this is: it can be given to whatever takes a path, and is equal
    to a `pathlib.Path` of the same parts.

    Each async method does in a worker thread what the one of `pathlib.Path` does that has its name,
    and raises what that one raises. It is a checkpoint; if it raises `CancelledError`, it had no
    effect; once it is under way it is not interrupted. What gives several paths, such as
    `iterdir`, is an async iterator.
    """

    __slots__ = ()

    @classmethod
    async def cwd(cls) -> Self:
        """Return the current folder."""
        return cls(await run_in_thread(os.getcwd))

    @classmethod
    async def home(cls) -> Self:
        """Return the home folder of the user."""
        return cls(await run_in_thread(pathlib.Path.home))

    # What is there

    async def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return what the system knows of it."""
        return await self._do(pathlib.Path.stat, follow_symlinks=follow_symlinks)

    async def lstat(self) -> os.stat_result:
        """Return what the system knows of it, or of the link itself if it is one."""
        return await self._do(pathlib.Path.lstat)

    async def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is such a file or folder."""
        return await run_in_thread(os.path.exists if follow_symlinks else os.path.lexists, self)

    async def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a regular file, or a link to one."""
        return await run_in_thread(_is, os.path.isfile, self, follow_symlinks)

    async def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder, or a link to one."""
        return await run_in_thread(_is, os.path.isdir, self, follow_symlinks)

    async def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return await self._do(pathlib.Path.is_symlink)

    async def is_mount(self) -> bool:
        """Whether another file system is mounted there."""
        return await self._do(pathlib.Path.is_mount)

    async def is_socket(self) -> bool:
        """Whether it is a UNIX socket."""
        return await self._do(pathlib.Path.is_socket)

    async def is_fifo(self) -> bool:
        """Whether it is a named pipe."""
        return await self._do(pathlib.Path.is_fifo)

    async def is_block_device(self) -> bool:
        """Whether it is a block device."""
        return await self._do(pathlib.Path.is_block_device)

    async def is_char_device(self) -> bool:
        """Whether it is a character device."""
        return await self._do(pathlib.Path.is_char_device)

    async def owner(self, **options: bool) -> str:
        """Return the name of the user that it belongs to.

        Args:
            **options: ``follow_symlinks``, which `pathlib.Path.owner` takes since Python 3.13.
        """
        owner: Callable[..., str] = pathlib.Path.owner
        return await self._do(owner, **options)

    async def group(self, **options: bool) -> str:
        """Return the name of the group that it belongs to. See `owner`."""
        group: Callable[..., str] = pathlib.Path.group
        return await self._do(group, **options)

    async def samefile(self, other_path: StrPath) -> bool:
        """Whether *other_path* leads to the same file."""
        # As a string, or the method would take one of us for one of them.
        return await self._do(pathlib.Path.samefile, os.fspath(other_path))

    # Where it leads to

    async def absolute(self) -> Self:
        """Return it as seen from the root, without following links."""
        return self._new(await self._do(pathlib.Path.absolute))

    async def resolve(self, strict: bool = False) -> Self:
        """Return it as seen from the root, with links followed and dots resolved."""
        return self._new(await self._do(pathlib.Path.resolve, strict))

    async def expanduser(self) -> Self:
        """Return it with ``~`` and ``~user`` replaced by the home folder."""
        return self._new(await self._do(pathlib.Path.expanduser))

    async def readlink(self) -> Self:
        """Return where the symbolic link points to."""
        return self._new(await self._do(pathlib.Path.readlink))

    # Folders

    def iterdir(self) -> AsyncIterator[Self]:
        """Go through the entries of the folder: ``async for entry in path.iterdir()``."""
        return _Fetch(lambda: map(self._new, pathlib.Path(self).iterdir()))

    def glob(self, pattern: str, **options: bool | None) -> AsyncIterator[Self]:
        """Go through what matches *pattern*, seen from here.

        Args:
            pattern: As for `pathlib.Path.glob`.
            **options: Those that `pathlib.Path.glob` takes in the Python that runs this:
                ``case_sensitive`` since 3.12, ``recurse_symlinks`` since 3.13.
        """
        return _Fetch(lambda: map(self._new, self._globbed("glob", pattern, options)))

    def rglob(self, pattern: str, **options: bool | None) -> AsyncIterator[Self]:
        """Go through what matches *pattern* here or in any folder below. See `glob`."""
        return _Fetch(lambda: map(self._new, self._globbed("rglob", pattern, options)))

    def walk(
        self,
        top_down: bool = True,
        on_error: Callable[[OSError], object] | None = None,
        follow_symlinks: bool = False,
    ) -> AsyncIterator[tuple[Self, list[str], list[str]]]:
        """Go through all folders from here on: each with the names of its folders and files.

        Args:
            top_down: Whether a folder comes before those in it; then names may be taken out of the
                list of folders, so that they are not entered.
            on_error: Called, in a thread, with the error of a folder that cannot be read. By
                default such folders are passed over.
            follow_symlinks: Whether to enter folders through links.
        """

        def start() -> Iterator[tuple[Self, list[str], list[str]]]:
            for folder, folders, files in os.walk(self, top_down, on_error, follow_symlinks):
                yield self._new(folder), folders, files

        # Not ahead of the caller, who may change the list.
        return _Fetch(start, portion=1)

    async def mkdir(
        self,
        mode: int = 0o777,
        parents: bool = False,
        exist_ok: bool = False,
        **options: int | None,
    ) -> None:
        """Make a folder.

        Args:
            mode: Its permissions, less those of the umask.
            parents: Whether to make the folders that it is to be in, too.
            exist_ok: Whether it may be there already.
            **options: ``parent_mode``, which `pathlib.Path.mkdir` takes since Python 3.15.
        """
        mkdir: Any = pathlib.Path.mkdir
        await self._do(mkdir, mode, parents, exist_ok, **options)

    async def rmdir(self) -> None:
        """Remove the folder, which must be empty."""
        await self._do(pathlib.Path.rmdir)

    # Links and names

    async def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:
        """Make the file if it is not there, and set its time to now."""
        await self._do(pathlib.Path.touch, mode, exist_ok)

    async def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file or link."""
        await self._do(pathlib.Path.unlink, missing_ok)

    async def rename(self, target: StrPath) -> Self:
        """Give it another name, and return that. An existing file is replaced where POSIX rules."""
        return self._new(await self._do(pathlib.Path.rename, target))

    async def replace(self, target: StrPath) -> Self:
        """Give it another name, and return that. An existing file is replaced."""
        return self._new(await self._do(pathlib.Path.replace, target))

    async def symlink_to(self, target: StrPath, target_is_directory: bool = False) -> None:
        """Make this a symbolic link to *target*."""
        await self._do(pathlib.Path.symlink_to, target, target_is_directory)

    async def hardlink_to(self, target: StrPath) -> None:
        """Make this another name of the file *target*."""
        await self._do(pathlib.Path.hardlink_to, target)

    async def chmod(self, mode: int, *, follow_symlinks: bool = True) -> None:
        """Change who may do what with it."""
        await self._do(pathlib.Path.chmod, mode, follow_symlinks=follow_symlinks)

    async def lchmod(self, mode: int) -> None:
        """Change that of the link itself, where the system can."""
        await self._do(pathlib.Path.lchmod, mode)

    # Content

    async def read_bytes(self) -> bytes:
        """Return all that is in the file."""
        return await self._do(pathlib.Path.read_bytes)

    async def read_text(
        self,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> str:
        """Return all that is in the file, as text."""
        return await run_in_thread(_read_text, self, encoding, errors, newline)

    async def write_bytes(self, data: bytes | bytearray | memoryview) -> int:
        """Make *data* all that is in the file, and return its size."""
        return await self._do(pathlib.Path.write_bytes, data)

    async def write_text(
        self,
        data: str,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> int:
        """Make *data* all that is in the file, and return its length."""
        return await self._do(pathlib.Path.write_text, data, encoding, errors, newline)

    @overload
    async def open(
        self,
        mode: OpenTextMode = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> AsyncFile[str]: ...

    @overload
    async def open(
        self,
        mode: OpenBinaryMode,
        buffering: int = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
    ) -> AsyncFile[bytes]: ...

    @overload
    async def open(
        self,
        mode: str,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> AsyncFile[Any]: ...

    async def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> AsyncFile[Any]:
        """Open the file: ``async with await path.open() as file``. See `giambio.open_file`."""
        return await open_file(self, mode, buffering, encoding, errors, newline)

    # What pathlib has in newer versions of Python only

    if sys.version_info >= (3, 12):

        async def is_junction(self) -> bool:
            """Whether it is a junction of Windows."""
            return await self._do(pathlib.Path.is_junction)

    if sys.version_info >= (3, 13):

        @classmethod
        def from_uri(cls, uri: str) -> Self:
            """Return the path that a URI beginning with ``file:`` stands for."""
            return cls(pathlib.Path.from_uri(uri))

    if sys.version_info >= (3, 14):

        async def copy(self, target: StrPath, **options: bool) -> Self:
            """Copy it, with all that is in it, and return the copy.

            Args:
                target: Where to.
                **options: ``follow_symlinks`` and ``preserve_metadata``, as for `pathlib.Path.copy`.
            """
            copy: Callable[..., StrPath] = pathlib.Path.copy
            # As a string, or pathlib would ask the target to do its part.
            return self._new(await self._do(copy, os.fspath(target), **options))

        async def copy_into(self, target_dir: StrPath, **options: bool) -> Self:
            """Copy it into a folder, and return the copy. See `copy`."""
            copy_into: Callable[..., StrPath] = pathlib.Path.copy_into
            return self._new(await self._do(copy_into, os.fspath(target_dir), **options))

        async def move(self, target: StrPath) -> Self:
            """Move it, also to another file system, and return where it is then."""
            return self._new(await self._do(pathlib.Path.move, os.fspath(target)))

        async def move_into(self, target_dir: StrPath) -> Self:
            """Move it into a folder, and return where it is then. See `move`."""
            return self._new(await self._do(pathlib.Path.move_into, os.fspath(target_dir)))

    def _new(self, path: StrPath) -> Self:
        return type(self)(path)

    def _globbed(self, method: str, pattern: str, options: dict[str, Any]) -> Iterator[StrPath]:
        found: Iterator[StrPath] = getattr(pathlib.Path(self), method)(pattern, **options)
        return found

    async def _do(
        self,
        method: Callable[Concatenate[pathlib.Path, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await run_in_thread(partial(method, pathlib.Path(self), *args, **kwargs))


def _is(kind: Callable[[Path], bool], path: Path, follow_symlinks: bool) -> bool:
    return kind(path) and (follow_symlinks or not os.path.islink(path))


def _read_text(path: Path, encoding: str | None, errors: str | None, newline: str | None) -> str:
    if newline is None:
        return pathlib.Path(path).read_text(encoding, errors)
    with open(path, encoding=encoding, errors=errors, newline=newline) as file:
        return file.read()


class _Fetch(Generic[T]):
    """Goes through what a plain iterator gives, which is started and advanced in a thread."""

    __slots__ = ("_here", "_iterator", "_portion", "_start")

    def __init__(self, start: Callable[[], Iterator[T]], portion: int = _PORTION) -> None:
        self._start = start
        self._portion = portion
        self._iterator: Iterator[T] | None = None
        # Fetched and not given out yet, the next one last.
        self._here: list[T] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if not self._here:
            self._here = await run_in_thread(self._fetch)
            self._here.reverse()
        elif checkpoint_due():
            await checkpoint()
        if not self._here:
            raise StopAsyncIteration
        return self._here.pop()

    def _fetch(self) -> list[T]:
        if self._iterator is None:
            self._iterator = self._start()
        return list(islice(self._iterator, self._portion))
