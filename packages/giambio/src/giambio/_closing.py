# SPDX-License-Identifier: Apache-2.0
"""Blocks at whose end something is closed: what all that has a plain `close` shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from giambio_kernel import checkpoint

if TYPE_CHECKING:
    from types import TracebackType


class ClosedByWith:
    """What ``with`` closes at the end of its block. A subclass has `close`."""

    __slots__ = ()

    def close(self) -> object:
        """Close it. Closing twice is fine."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class ClosedByAsyncWith:
    """What ``async with`` closes at the end of its block, without waiting. A subclass has `close`."""

    __slots__ = ()

    def close(self) -> object:
        """Close it. Closing twice is fine."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class ClosedAtOnce(ClosedByAsyncWith):
    """A stream that has no leave to take of the other side."""

    __slots__ = ()

    async def aclose(self) -> None:
        """Close it, also if this is cancelled: the spelling that all streams have.

        Checkpoint: always. It is closed also if it raises `CancelledError`.
        """
        self.close()
        await checkpoint()
