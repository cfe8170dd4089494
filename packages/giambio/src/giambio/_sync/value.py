# SPDX-License-Identifier: Apache-2.0
"""Values that change, and that tasks can wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

from giambio._predicates import refuse_async
from giambio_kernel import WaitQueue, checkpoint, checkpoint_due, park, reschedule, touch_all

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class ValueStatistics(NamedTuple):
    """What is known of a `Value`."""

    tasks_waiting: int
    """How many tasks wait for it to change in some way."""


class Value(Generic[T]):
    """A value that changes, and that tasks can wait for: a state, a number of connections.

    Whether somebody has waited long enough is decided in the moment of each change. So no value is
    missed, however short it lasts, and whoever waited gets the one that it waited for, although there
    may be another by the time that it runs.

    Args:
        value: The first value.
    """

    __slots__ = ("__weakref__", "_value", "_version", "_waiters")

    def __init__(self, value: T) -> None:
        self._value = value
        # How often it was set; tells an iterator whether it has seen the present value.
        self._version = 0
        # Each waiting task with its predicate.
        self._waiters: WaitQueue = {}

    def __repr__(self) -> str:
        return f"<Value at {id(self):#x}, {self._value!r}, {len(self._waiters)} waiting>"

    @property
    def value(self) -> T:
        """The value now. Setting it wakes those who wait for the new one."""
        return self._value

    @value.setter
    def value(self, value: T) -> None:
        self.set(value)

    def set(self, value: T) -> None:
        """Change the value. One that equals the old one counts as a change, too.

        Args:
            value: The new value.

        Raises:
            RuntimeError: Tasks of a loop in another thread wait for it. Then nothing was changed.
        """
        waiters = self._waiters
        if waiters:
            touch_all(waiters)
        self._value = value
        self._version += 1
        for task, predicate in list(waiters.items()):
            error = None
            try:
                is_awaited = predicate(value)
            except Exception as raised:  # its owner is to blame, not whoever sets the value
                error = raised
            # The predicate may have set another value, or cancelled somebody.
            if task in waiters and (error is not None or is_awaited):
                reschedule(task, value, error=error)
                del waiters[task]

    async def wait_for(self, predicate: Callable[[T], object]) -> T:
        """Wait for a value of which something is true; if that is so now, do not wait.

        Args:
            predicate: A plain function of the value. It is called in the moment of each change.

        Returns:
            The value that it was true of.

        Raises:
            Exception: What the predicate raised.
            TypeError: The predicate is an async function.

        Checkpoint: always.
        """
        if checkpoint_due():
            await checkpoint()
        if answer := predicate(self._value):
            refuse_async(predicate, answer)
            return self._value
        value: T = await park(self._waiters, self, predicate)
        return value

    async def wait_value(self, value: T) -> T:
        """Wait until the value equals another one; if it does now, do not wait.

        Args:
            value: What to wait for.

        Returns:
            The value that was equal to it.

        Checkpoint: always.
        """
        return await self.wait_for(lambda now: now == value)

    async def wait_change(self) -> T:
        """Wait until the value is set.

        Returns:
            The new value.

        Checkpoint: always.
        """
        value: T = await park(self._waiters, self, _any)
        return value

    def changes(self) -> Changes[T]:
        """Iterate over the values: the present one, then whenever it was changed, the newest.

        A slow loop skips values that were changed again meanwhile, and never waits for one that it
        has missed. To see each one, use a `Broadcast`.
        """
        return Changes(self)

    def statistics(self) -> ValueStatistics:
        """Return how many tasks wait."""
        return ValueStatistics(len(self._waiters))


class Changes(Generic[T]):
    """The values of a `Value`, newest only. Made by `Value.changes`."""

    __slots__ = ("_seen", "_source")

    def __init__(self, source: Value[T]) -> None:
        self._source = source
        self._seen = -1

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Wait until the value is another than the last time; the first time, return it.

        Checkpoint: always. If it raises, the change is still to be seen.
        """
        source = self._source
        if source._version == self._seen:
            await park(source._waiters, source, _any)
        elif checkpoint_due():
            await checkpoint()
        self._seen = source._version
        return source._value


def _any(value: Any) -> bool:
    return True
