# SPDX-License-Identifier: Apache-2.0
"""Making tasks take turns."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from giambio._sync.event import Event
from giambio_kernel import checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Sequencer:
    """Lets blocks of different tasks run in the order of their numbers.

    Example::

        sequencer = Sequencer()

        async def one():
            async with sequencer(0):
                ...  # first
            async with sequencer(2):
                ...  # third

        async def two():
            async with sequencer(1):
                ...  # second
    """

    def __init__(self) -> None:
        self._events: dict[int, Event[None]] = {}
        self._used: set[int] = set()
        self._broken = False

    @asynccontextmanager
    async def __call__(self, position: int) -> AsyncIterator[None]:
        """Wait until all blocks with lower numbers have ended.

        Args:
            position: The number, from 0; each can be used once.

        Raises:
            RuntimeError: The number was used before, or waiting for an earlier block was cancelled,
                so that it will never end.
            ValueError: It is none, or negative.

        Checkpoint: on entry.
        """
        if not isinstance(position, int) or position < 0:  # type: ignore[redundant-expr]
            raise ValueError(f"positions of a sequencer are numbers from 0, not {position!r}")
        if position in self._used:
            raise RuntimeError(f"position {position} of the sequencer was used before")
        self._used.add(position)
        self._check()
        try:
            if position:
                await self._event(position).wait()
            else:
                await checkpoint()
        except BaseException:
            self._broken = True
            for event in self._events.values():
                event.set()
            raise
        self._check()
        try:
            yield
        finally:
            self._event(position + 1).set()

    def _check(self) -> None:
        if self._broken:
            raise RuntimeError("the sequencer is broken: a task that waited for its turn gave up")

    def _event(self, position: int) -> Event[None]:
        return self._events.setdefault(position, Event())
