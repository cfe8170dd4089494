# SPDX-License-Identifier: Apache-2.0
"""Broadcasts: each item goes to all who have subscribed."""

from __future__ import annotations

from functools import partial
from typing import Generic, NamedTuple, TypeVar

from giambio._closing import ClosedByAsyncWith, ClosedByWith
from giambio._selection import Case, selecting, settle, settle_all
from giambio.exceptions import ResourceClosed, WouldBlock
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

from .subscription import Overflow, Subscription, check_options

T = TypeVar("T")


class BroadcastStatistics(NamedTuple):
    """What is known of a `Broadcast`."""

    subscriptions: int
    """How many there are."""
    full: int
    """For how many of them a sender has to wait."""
    tasks_waiting_to_send: int
    """How many tasks wait for that."""
    closed: bool
    """Whether nothing more can be sent."""


class Broadcast(ClosedByWith, ClosedByAsyncWith, Generic[T]):
    """Sends each item to all who have subscribed by then.

    Example::

        async with broadcast.subscribe() as news:
            async for item in news:
                ...

        await broadcast.send(item)

    Each subscription has a buffer of its own. If that of a slow one is full, its *overflow* says what
    happens to the next item:

    - ``"wait"``: senders wait until all have room, and then all get it: nothing is lost, and the
      slowest one sets the pace.
    - ``"drop_oldest"``: the subscription loses what it has not received for longest. With a capacity
      of one it always has the latest item.
    - ``"drop_newest"``: it does not get the new item.
    - ``"error"``: it is broken off: when it has received what it had, it gets `ResourceBroken`. So a
      slow subscriber disturbs nobody, and never misses an item without knowing.

    An item sent while nobody subscribes goes to nobody.

    Args:
        capacity: How many items a subscription buffers, unless it asks for another number.
        overflow: What happens if it is full, unless it asks for something else.

    Raises:
        ValueError: *capacity* is less than 1 or a fraction, or *overflow* is something else.
    """

    __slots__ = (
        "__weakref__", "_capacity", "_closed", "_full", "_overflow", "_senders", "_subscriptions",
    )  # fmt: skip

    # Invariant: nobody waits to send while all subscriptions that are to be waited for have room.
    # Each waiting task with its item.
    _senders: WaitQueue
    # How many subscriptions are to be waited for and have no room.
    _full: int

    def __init__(self, capacity: float = 16, *, overflow: Overflow = "wait") -> None:
        check_options(capacity, overflow)
        self._capacity = capacity
        self._overflow: Overflow = overflow
        self._subscriptions: dict[Subscription[T], None] = {}
        self._senders = {}
        self._full = 0
        self._closed = False

    def __repr__(self) -> str:
        closed = ", closed" if self._closed else ""
        return (
            f"<Broadcast at {id(self):#x}, {len(self._subscriptions)} subscriptions, "
            f"{self._full} full, {len(self._senders)} waiting to send{closed}>"
        )

    def subscribe(
        self, capacity: float | None = None, *, overflow: Overflow | None = None
    ) -> Subscription[T]:
        """Get every item that is sent from now on.

        Args:
            capacity: How many items to buffer; by default as many as the broadcast says.
            overflow: What happens to the next item if that is full; by default what it says.

        Returns:
            The subscription, to receive from. It must be closed, best with ``async with``: one that
            is forgotten fills up, and then may keep all senders waiting.

        Raises:
            ValueError: *capacity* is less than 1 or a fraction, or *overflow* is something else.
            ResourceClosed: The broadcast is closed.
        """
        capacity = self._capacity if capacity is None else capacity
        overflow = self._overflow if overflow is None else overflow
        check_options(capacity, overflow)
        if self._closed:
            raise ResourceClosed(f"{self!r} was closed; nothing more will be sent")
        subscription = Subscription(self, capacity, overflow)
        self._subscriptions[subscription] = None
        return subscription

    @trap
    def send(self, item: T) -> Trap[None]:
        """Send an item to all who have subscribed, waiting for those that are to be waited for.

        Args:
            item: What to send.

        Raises:
            ResourceClosed: The broadcast is closed, or was meanwhile.

        Checkpoint: always. If it raises, nobody gets the item.
        """
        scheduler = get_running()
        scheduler.credit = credit = scheduler.credit - 1
        if credit < 0 or scheduler.current.stopping:
            yield from replenish().__await__()
        if self._closed:
            raise self._closed_error()
        if not self._full:
            self._deliver(item)
            return
        enqueue(self._senders, self, item)
        task = yield PARKED
        if task.wake_error is not None:
            raise task.take_wake_error()

    def send_nowait(self, item: T) -> None:
        """Send an item to all who have subscribed if nobody is to be waited for.

        Args:
            item: What to send.

        Raises:
            WouldBlock: Somebody is; nobody gets the item.
            ResourceClosed: The broadcast is closed.
        """
        if self._closed:
            raise self._closed_error()
        if self._full:
            raise WouldBlock(f"{self!r} has subscriptions that are full")
        self._deliver(item)

    def _deliver(self, item: T) -> None:
        subscriptions = tuple(self._subscriptions)
        here = get_running()
        # Before anybody has got it. A function for this would make each delivery a fifth slower.
        for subscription in subscriptions:
            for task in subscription._receivers:
                if task.scheduler is not here:
                    task.scheduler.touch()
                break
        for subscription in subscriptions:
            subscription._add(item)

    def _has_room_again(self) -> None:
        """One subscription less is full."""
        self._full -= 1
        senders = self._senders
        while senders and not self._full:
            if selecting:
                settle(senders)
            item = next(iter(senders.values()))
            unpark(senders)
            self._deliver(item)

    def close(self) -> None:
        """Send nothing more. Closing twice is fine.

        Tasks that wait to send get `ResourceClosed`. The subscriptions end when they have received
        what they have.

        Raises:
            RuntimeError: Tasks of a loop in another thread wait. Then it was not closed.
        """
        touch_all(self._senders)
        for subscription in self._subscriptions:
            touch_all(subscription._receivers)
        self._closed = True
        if selecting:
            settle_all(self._senders)
        break_all(self._senders, self._closed_error)
        subscriptions, self._subscriptions = self._subscriptions, {}
        self._full = 0
        for subscription in subscriptions:
            subscription._end(Subscription._ended)

    def _closed_error(self) -> ResourceClosed:
        return ResourceClosed(f"{self!r} was closed")

    def select_sending(self, item: T) -> Case:
        """Return the case of sending *item*, for `sending`."""
        return Case(self, partial(self.send_nowait, item), self._senders, item)

    def statistics(self) -> BroadcastStatistics:
        """Return how many subscriptions there are, and how many tasks wait for them."""
        return BroadcastStatistics(
            len(self._subscriptions), self._full, len(self._senders), self._closed
        )
