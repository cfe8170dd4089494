# SPDX-License-Identifier: Apache-2.0
"""Timeouts: blocks with a deadline, as plain scopes or as pools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from giambio_kernel import CancelScope, TimedScope

from ._pool import Pool
from .exceptions import TooSlowError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Timeout(Pool):
    """A block with a deadline, left silently when that has passed.

    With ``async with`` it is a pool, and the deadline counts for its tasks, too. With plain ``with``
    it is a cancel scope, which costs less. ``timed_out`` says what happened, and ``deadline`` can be
    moved while the block runs.
    """

    __slots__ = ()
    label = "timeout"

    if TYPE_CHECKING:

        def __enter__(self) -> Self: ...

    else:  # without the cost of a call
        __enter__ = CancelScope.__enter__


class FailingTimeout(Timeout):
    """A block with a deadline that raises `TooSlowError`."""

    __slots__ = ()

    if TYPE_CHECKING:
        # Not `bool`: what comes after a block that returns is not reached.
        def __exit__(  # type: ignore[override]
            self,
            exc_type: type[BaseException] | None,
            exc: BaseException | None,
            traceback: TracebackType | None,
        ) -> bool | None: ...

    def on_caught(self, error: BaseException) -> None:
        if self.timed_out:
            within = "" if self.seconds is None else f" within {self.seconds:g} s"
            raise TooSlowError(f"the block did not end{within}") from error


# The constructor is one of the hot paths, and a function around it would be a tenth of the cost of
# the block. Hence classes with names of functions.


class with_timeout(TimedScope, FailingTimeout):  # noqa: N801
    """Give a block so much time, and raise an error if it takes longer.

    Works as ``with with_timeout(5) as scope`` and, with tasks to spawn in it, as
    ``async with with_timeout(5) as pool``.

    Args:
        seconds: How long the block may take from its entry on the loop's clock. Zero ends it at its
            first checkpoint, infinity never.

    Raises:
        ValueError: *seconds* is negative or not a number.
        TypeError: It is something else than a number, such as ``None``.
        TooSlowError: Raised by the block when the time is over and it had to be cancelled. A block
            that came to its end all the same raises nothing.
    """

    __slots__ = ()


class skip_after(TimedScope, Timeout):  # noqa: N801
    """Give a block so much time, and skip the rest of it if it takes longer.

    Works as ``with skip_after(5) as scope`` and, with tasks to spawn in it, as
    ``async with skip_after(5) as pool``. Afterwards ``scope.timed_out`` says whether time ran out
    and ``scope.cancelled_caught`` whether that cut the block short.

    Args:
        seconds: How long the block may take from its entry on the loop's clock. Zero ends it at its
            first checkpoint, infinity never.

    Raises:
        ValueError: *seconds* is negative or not a number.
        TypeError: It is something else than a number, such as ``None``.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        async def __aexit__(
            self,
            exc_type: type[BaseException] | None,
            exc: BaseException | None,
            traceback: TracebackType | None,
        ) -> bool: ...


class with_timeout_at(FailingTimeout):  # noqa: N801
    """Give a block time until a moment of the loop's clock; otherwise like `with_timeout`.

    Args:
        when: The moment, as told by `clock`. One in the past ends the block at its first checkpoint.

    Raises:
        ValueError: *when* is not a number.
        TooSlowError: Raised by the block, as with `with_timeout`.
    """

    __slots__ = ()

    def __init__(self, when: float) -> None:
        super().__init__(deadline=when)


class skip_at(Timeout):  # noqa: N801
    """Skip the rest of a block at a moment of the loop's clock; otherwise like `skip_after`.

    Args:
        when: The moment, as told by `clock`. One in the past ends the block at its first checkpoint.

    Raises:
        ValueError: *when* is not a number.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        async def __aexit__(
            self,
            exc_type: type[BaseException] | None,
            exc: BaseException | None,
            traceback: TracebackType | None,
        ) -> bool: ...

    def __init__(self, when: float) -> None:
        super().__init__(deadline=when)
