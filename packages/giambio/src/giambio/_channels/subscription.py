# SPDX-License-Identifier: Apache-2.0
"""Subscriptions: what one of those who listen to a broadcast receives, and what it misses."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, Self, TypeAlias, TypeVar

from giambio._closing import ClosedByAsyncWith, ClosedByWith
from giambio._numbers import check_count
from giambio._selection import Case, selecting, settle, settle_all
from giambio.exceptions import EndOfChannel, ResourceBroken, ResourceClosed, WouldBlock
from giambio_kernel import (
    PARKED,
    Trap,
    WaitQueue,
    break_all,
    enqueue,
    get_running,
    replenish,
    touch_all,
    trap,
    unpark,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .broadcast import Broadcast

T = TypeVar("T")


Overflow: TypeAlias = Literal["wait", "drop_oldest", "drop_newest", "error"]
"""What happens to an item that a subscriber has no room for."""

_POLICIES = ("wait", "drop_oldest", "drop_newest", "error")


class SubscriptionStatistics(NamedTuple):
    """What is known of a `Subscription`."""

    items_buffered: int
    """How many items were sent and not received yet."""
    capacity: float
    """How many of them there may be."""
    missed: int
    """How many items there was no room for."""
    tasks_waiting_to_receive: int
    """How many tasks wait for an item."""


class Subscription(ClosedByWith, ClosedByAsyncWith, Generic[T]):
    """What one subscriber of a `Broadcast` receives. Made by `Broadcast.subscribe`.

    ``async for item in subscription`` receives until the broadcast is closed. Used with ``async with``,
    it is closed at the end.
    """

    __slots__ = (
        "__weakref__", "_broadcast", "_capacity", "_closed", "_items", "_missed", "_over", "_overflow",
        "_receivers",
    )  # fmt: skip

    # Invariant: nobody waits to receive while there is an item.
    _receivers: WaitQueue
    # Why no more items come: the method that makes the error to raise when the buffered ones are
    # received, unbound, or each subscription would refer to itself. None while it is subscribed.
    _over: Callable[[Subscription[T]], Exception] | None

    def __init__(self, broadcast: Broadcast[T], capacity: float, overflow: Overflow) -> None:
        self._broadcast = broadcast
        self._capacity = capacity
        self._overflow: Overflow = overflow
        self._items: deque[T] = deque()
        self._receivers = {}
        self._missed = 0
        self._over = None
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._over is None else "ended"
        return (
            f"<Subscription at {id(self):#x}, {state}, {len(self._items)} of {self._capacity:g} "
            f"buffered, {self._missed} missed, {len(self._receivers)} waiting>"
        )

    @property
    def missed(self) -> int:
        """How many items it did not get because there was no room for them."""
        return self._missed

    @trap
    def receive(self) -> Trap[T]:
        """Receive an item, waiting until there is one.

        Returns:
            The item that was sent first, of those that are buffered.

        Raises:
            EndOfChannel: The broadcast is closed, and all that was sent was received.
            ResourceBroken: There was no room for an item, and *overflow* is ``"error"``.
            ResourceClosed: The subscription is closed, or was meanwhile.

        Checkpoint: always. If it raises, no item was taken.
        """
        scheduler = get_running()
        scheduler.credit = credit = scheduler.credit - 1
        if credit < 0 or scheduler.current.stopping:
            yield from replenish().__await__()
        item: T
        if self._items:
            item = self._take()
            return item
        if self._over is not None:
            raise self._over(self)
        enqueue(self._receivers, self)
        task = yield PARKED
        if task.wake_error is not None:
            raise task.take_wake_error()
        item = task.wake_value
        return item

    def receive_nowait(self) -> T:
        """Receive an item if there is one.

        Raises:
            WouldBlock: There is none.
            EndOfChannel: The broadcast is closed, and all that was sent was received.
            ResourceBroken: There was no room for an item, and *overflow* is ``"error"``.
            ResourceClosed: The subscription is closed.
        """
        if self._items:
            return self._take()
        if self._over is not None:
            raise self._over(self)
        raise WouldBlock(f"{self!r} has no item")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Receive an item; see `receive`. The iteration stops when the broadcast has ended."""
        try:
            return await self.receive()
        except EndOfChannel:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Get no more items, and drop those that are buffered. Closing twice is fine.

        Tasks that wait to receive get `ResourceClosed`; senders do not wait for it any more.

        Raises:
            RuntimeError: Tasks of a loop in another thread wait. Then it was not closed.
        """
        if self._closed:
            return
        was_waited_for = self._over is None and self._is_to_be_waited_for()
        touch_all(self._receivers)
        if was_waited_for:
            touch_all(self._broadcast._senders)
        self._closed = True
        self._items.clear()
        self._broadcast._subscriptions.pop(self, None)
        self._end(Subscription._closed_error)
        if was_waited_for:
            self._broadcast._has_room_again()

    def select_case(self) -> Case:
        """Return the case of receiving an item, for `select`."""
        return Case(self, self.receive_nowait, self._receivers)

    def statistics(self) -> SubscriptionStatistics:
        """Return how full it is, what it has missed and how many tasks wait."""
        return SubscriptionStatistics(
            len(self._items), self._capacity, self._missed, len(self._receivers)
        )

    # What the broadcast does with it

    def _is_to_be_waited_for(self) -> bool:
        return self._overflow == "wait" and len(self._items) >= self._capacity

    def _add(self, item: T) -> None:
        items = self._items
        if self._receivers:
            if selecting:
                settle(self._receivers)
            unpark(self._receivers, item)
        elif len(items) < self._capacity:
            items.append(item)
            self._broadcast._full += self._is_to_be_waited_for()
        else:
            self._missed += 1
            if self._overflow == "drop_oldest":
                items.popleft()
                items.append(item)
            elif self._overflow == "error":
                del self._broadcast._subscriptions[self]
                self._end(Subscription._overflowed)

    def _take(self) -> T:
        was_waited_for = self._over is None and self._is_to_be_waited_for()
        if was_waited_for:
            for task in self._broadcast._senders:
                task.scheduler.touch()  # before anything has happened
                break
        item = self._items.popleft()
        if was_waited_for:
            self._broadcast._has_room_again()
        return item

    def _end(self, error: Callable[[Subscription[T]], Exception]) -> None:
        """No more items come."""
        self._over = error
        if selecting:
            settle_all(self._receivers)
        break_all(self._receivers, partial(error, self))

    def _ended(self) -> EndOfChannel:
        return EndOfChannel("the broadcast was closed, and nothing is left to receive")

    def _overflowed(self) -> ResourceBroken:
        return ResourceBroken(
            f"{self!r} was broken off: it was full when the next item came; receive faster, or give "
            "it more capacity or another overflow"
        )

    def _closed_error(self) -> ResourceClosed:
        return ResourceClosed("this subscription was closed")


def check_options(capacity: float, overflow: str) -> None:
    check_count("capacity", capacity, 1)
    if overflow not in _POLICIES:
        raise ValueError(
            f"overflow must be one of {', '.join(map(repr, _POLICIES))}, not {overflow!r}"
        )
