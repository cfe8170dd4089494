# SPDX-License-Identifier: Apache-2.0
"""Temporary files and folders."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any, overload

from giambio._threads.calls import run_in_thread
from giambio_kernel import CancelScope, checkpoint_if_cancelled

from .file import AsyncFile
from .path import Path

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed import OpenBinaryMode, OpenTextMode, StrPath


@overload
async def open_temporary_file(
    mode: OpenBinaryMode = "w+b",
    *,
    named: bool = False,
    suffix: str | None = None,
    prefix: str | None = None,
    dir: StrPath | None = None,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
) -> AsyncFile[bytes]: ...


@overload
async def open_temporary_file(
    mode: OpenTextMode,
    *,
    named: bool = False,
    suffix: str | None = None,
    prefix: str | None = None,
    dir: StrPath | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> AsyncFile[str]: ...


async def open_temporary_file(
    mode: str = "w+b", *, named: bool = False, **options: Any
) -> AsyncFile[Any]:
    """Open a new file that disappears when it is closed.

    Use it with ``async with await open_temporary_file() as file``.

    Args:
        mode: As for `open`.
        named: Whether others can open it by the path in its attribute ``name``. Otherwise it has no
            name, where the system can do that, and nobody else sees it.
        **options: ``suffix``, ``prefix`` and ``dir`` as for `tempfile.NamedTemporaryFile`; and
            ``encoding``, ``errors`` and ``newline`` as for `open`.

    Raises:
        OSError: It cannot be made.

    Checkpoint: always. If it raises `CancelledError`, nothing was made.
    """
    make: Any = tempfile.NamedTemporaryFile if named else tempfile.TemporaryFile
    return AsyncFile(await run_in_thread(make, mode, **options))


class TemporaryDirectory:
    """A new folder that is removed, with all that is in it, at the end of a block.

    ``async with TemporaryDirectory() as path`` gives its `giambio.Path`. Both ends of the block are
    checkpoints; the folder is removed also if the second one raises `CancelledError`.

    Args:
        suffix: What its name ends with.
        prefix: What its name begins with.
        dir: Where to make it; by default where temporary files of this system belong.
        ignore_cleanup_errors: Whether it is no error if something in it cannot be removed.
    """

    __slots__ = ("_folder", "_options")

    _folder: tempfile.TemporaryDirectory[str]

    def __init__(
        self,
        suffix: str | None = None,
        prefix: str | None = None,
        dir: StrPath | None = None,
        ignore_cleanup_errors: bool = False,
    ) -> None:
        self._options: tuple[Any, ...] = (suffix, prefix, dir, ignore_cleanup_errors)

    async def __aenter__(self) -> Path:
        self._folder = await run_in_thread(tempfile.TemporaryDirectory, *self._options)
        return Path(self._folder.name)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with CancelScope(shield=True):
            await run_in_thread(self._folder.cleanup)
        await checkpoint_if_cancelled()
