# SPDX-License-Identifier: Apache-2.0
"""Memory channels: a way for items from some tasks to others, with two ends that can be closed."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any, Generic, NamedTuple, Self, TypeVar

from giambio._closing import ClosedByAsyncWith, ClosedByWith
from giambio._numbers import check_count
from giambio._selection import Case, selecting, settle, settle_all, settle_task
from giambio.exceptions import EndOfChannel, ResourceBroken, ResourceClosed, WouldBlock
from giambio_kernel import (
    PARKED,
    Task,
    Trap,
    WaitQueue,
    break_all,
    enqueue,
    get_running,
    replenish,
    reschedule,
    trap,
    unpark,
)

T = TypeVar("T")


class ChannelStatistics(NamedTuple):
    """What is known of a memory channel."""

    items_buffered: int
    """How many items were sent and not received yet."""
    capacity: float
    """How many of them there may be."""
    open_senders: int
    """How many ends to send into are open."""
    open_receivers: int
    """How many ends to receive from are open."""
    tasks_waiting_to_send: int
    """How many tasks wait for room."""
    tasks_waiting_to_receive: int
    """How many tasks wait for an item."""


class _Channel(Generic[T]):
    """What the ends of a channel share.

    Invariants: nobody waits to receive while there is an item, buffered or offered; nobody waits to
    send while there is room. So of the two queues at most one has somebody in it, except for a task
    that selects between sending and receiving and stands in both.
    """

    __slots__ = (
        "capacity", "items", "may_receive", "receivers", "receivers_waiting", "room", "senders",
        "senders_waiting",
    )  # fmt: skip

    capacity: float
    # How many items may be buffered: the capacity, or -1 when nobody can receive any more, so that
    # sending need not look twice.
    room: float
    items: deque[T]
    # How many ends of each kind are open.
    senders: int
    receivers: int
    # Each waiting task with the end that it uses, and the item that it sends.
    senders_waiting: WaitQueue
    # Each waiting task with the end that it uses.
    receivers_waiting: WaitQueue
    # False only if receiving is known to have nothing to give: no item, nobody who sends, no end. It
    # is the usual case of who waits for items that are handed over, and saves it three looks.
    may_receive: bool

    def __init__(self, capacity: float) -> None:
        self.capacity = self.room = capacity
        self.items = deque()
        self.senders = self.receivers = 0
        self.senders_waiting = {}
        self.receivers_waiting = {}
        self.may_receive = True

    def notice(self) -> None:
        """There may be something to receive now."""
        self.may_receive = True

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(
            len(self.items),
            self.capacity,
            self.senders,
            self.receivers,
            len(self.senders_waiting),
            len(self.receivers_waiting),
        )


# What an end that was closed leads to: nothing can be sent or received there, and nobody ever waits.
_SHUT: _Channel[Any] = _Channel(-1)


class _End(ClosedByWith, ClosedByAsyncWith, Generic[T]):
    """What the two kinds of ends have in common."""

    __slots__ = ("__weakref__", "_channel", "_way")

    # Invariant: where operations go, the channel while this end is open and then the one that is shut.
    # So they need not ask whether it is open, but find that they can do nothing, and then why.
    _way: _Channel[T]

    def __init__(self, channel: _Channel[T]) -> None:
        self._channel = self._way = channel

    def __repr__(self) -> str:
        channel = self._channel
        state = "closed" if self.closed else "open"
        return (
            f"<{type(self).__name__} at {id(self):#x}, {state}, {len(channel.items)} of "
            f"{channel.capacity:g} buffered, {len(channel.senders_waiting)} waiting to send, "
            f"{len(channel.receivers_waiting)} to receive>"
        )

    @property
    def closed(self) -> bool:
        """Whether this end was closed."""
        return self._way is _SHUT

    def statistics(self) -> ChannelStatistics:
        """Return how full the channel is, how many ends are open and how many tasks wait."""
        return self._channel.statistics()

    def _closed_error(self) -> ResourceClosed:
        return ResourceClosed(f"this {type(self).__name__} was closed")

    def _wake_own(self, waiting: WaitQueue, own: list[Task[Any]]) -> None:
        """Tell the tasks that wait on this very end that it was closed."""
        for task in own:
            settle_task(task, waiting)
            reschedule(task, error=self._closed_error())
            del waiting[task]


class SendChannel(_End[T]):
    """The end of a memory channel that items are sent into. Made by `open_memory_channel`."""

    __slots__ = ()

    def __init__(self, channel: _Channel[T]) -> None:
        super().__init__(channel)
        channel.senders += 1

    @trap
    def send(self, item: T) -> Trap[None]:
        """Send an item, waiting until there is room for it.

        Args:
            item: What to send.

        Raises:
            ResourceClosed: This end is closed, or was meanwhile.
            ResourceBroken: No end to receive from is open any more.

        Checkpoint: always. If it raises, the item was not sent.
        """
        scheduler = get_running()
        scheduler.credit = credit = scheduler.credit - 1
        if credit < 0 or scheduler.current.stopping:
            yield from replenish().__await__()
        waiting = self._way.receivers_waiting
        if waiting:
            if selecting:
                settle(waiting)
            if len(waiting) == 1:
                # `unpark`, written out, because this is what channels are for: 85 ns less of 530.
                task, offer = waiting.popitem()
                if task.scheduler is scheduler:
                    task.undo_wait = None
                    task.wake_value = item
                    scheduler.ready.append(task)
                    return
                waiting[task] = offer
            unpark(waiting, item)
            return
        channel = self._way
        if len(channel.items) < channel.room:
            channel.items.append(item)
            channel.may_receive = True
        elif not channel.receivers:
            raise self._why_not()
        else:
            enqueue(channel.senders_waiting, self, (self, item))
            channel.may_receive = True
            task = yield PARKED
            if task.wake_error is not None:
                raise task.take_wake_error()

    def send_nowait(self, item: T) -> None:
        """Send an item if that is possible at once.

        Args:
            item: What to send.

        Raises:
            WouldBlock: There is no room.
            ResourceClosed: This end is closed.
            ResourceBroken: No end to receive from is open any more.
        """
        channel = self._way
        waiting = channel.receivers_waiting
        if waiting:
            if selecting:
                settle(waiting)
            unpark(waiting, item)
        elif len(channel.items) < channel.room:
            channel.items.append(item)
            channel.may_receive = True
        elif not channel.receivers:
            raise self._why_not()
        else:
            raise WouldBlock("the channel is full" if channel.room else "nobody waits to receive")

    def _why_not(self) -> Exception:
        return self._closed_error() if self.closed else _broken_channel()

    def select_sending(self, item: T) -> Case:
        """Return the case of sending *item*, for `sending`."""
        channel = self._channel
        attempt = partial(self.send_nowait, item)
        return Case(self, attempt, channel.senders_waiting, (self, item), on_wait=channel.notice)

    def clone(self) -> SendChannel[T]:
        """Return another end of the same kind; the channel ends when all of them are closed.

        Raises:
            ResourceClosed: This end is closed.
        """
        if self.closed:
            raise self._closed_error()
        return SendChannel(self._channel)

    def close(self) -> None:
        """Close this end. Closing twice is fine.

        Tasks that wait to send through it get `ResourceClosed`. With the last one the channel ends:
        what was sent can still be received.
        """
        if self.closed:
            return
        channel = self._channel
        waiting = channel.senders_waiting
        self._wake_own(waiting, [task for task, (end, _) in waiting.items() if end is self])
        if channel.senders == 1:
            if selecting:
                settle_all(channel.receivers_waiting)
            break_all(channel.receivers_waiting, _end_of_channel)
            channel.may_receive = True
        channel.senders -= 1
        self._way = _SHUT


class ReceiveChannel(_End[T]):
    """The end of a memory channel that items are received from. Made by `open_memory_channel`.

    ``async for item in channel`` receives until the channel ends.
    """

    __slots__ = ("wait_queue",)

    # The channel's `receivers_waiting`: where the loop puts a task that yields this end.
    wait_queue: WaitQueue

    def __init__(self, channel: _Channel[T]) -> None:
        super().__init__(channel)
        self.wait_queue = channel.receivers_waiting
        channel.receivers += 1

    @trap
    def receive(self) -> Trap[T]:
        """Receive an item, waiting until there is one.

        Returns:
            The item that was sent first of those that are there.

        Raises:
            ResourceClosed: This end is closed, or was meanwhile.
            EndOfChannel: All ends to send from are closed, and all that was sent was received.

        Checkpoint: always. If it raises, no item was taken.
        """
        if self._way.may_receive:
            channel = self._way
            task = get_running().current  # outside of a loop this says so
            if channel.items or channel.senders_waiting or not channel.senders:
                # It need not wait, which would be a checkpoint.
                scheduler = task.scheduler
                scheduler.credit = credit = scheduler.credit - 1
                if credit < 0 or task.stopping:
                    yield from replenish().__await__()
                    channel = self._way
                if channel.items or channel.senders_waiting:
                    return _take(channel)
                if not channel.senders:
                    raise self._why_not()
            channel.may_receive = False
        task = yield self
        if task.wake_error is not None:
            raise task.take_wake_error()
        return task.wake_value  # type: ignore[no-any-return]

    def receive_nowait(self) -> T:
        """Receive an item if there is one.

        Raises:
            WouldBlock: There is none.
            ResourceClosed: This end is closed.
            EndOfChannel: All ends to send from are closed, and all that was sent was received.
        """
        channel = self._way
        if channel.items or channel.senders_waiting:
            return _take(channel)
        if not channel.senders:
            raise self._why_not()
        raise WouldBlock("the channel is empty")

    def _why_not(self) -> Exception:
        return self._closed_error() if self.closed else _end_of_channel()

    def select_case(self) -> Case:
        """Return the case of receiving an item, for `select`."""
        return Case(self, self.receive_nowait, self._channel.receivers_waiting, self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Receive an item; see `receive`. The iteration stops when the channel has ended."""
        try:
            return await self.receive()
        except EndOfChannel:
            raise StopAsyncIteration from None

    def clone(self) -> ReceiveChannel[T]:
        """Return another end of the same kind. Each item goes to one of them only.

        Raises:
            ResourceClosed: This end is closed.
        """
        if self.closed:
            raise self._closed_error()
        return ReceiveChannel(self._channel)

    def close(self) -> None:
        """Close this end. Closing twice is fine.

        Tasks that wait to receive through it get `ResourceClosed`. With the last one the channel
        breaks: tasks that wait to send get `ResourceBroken`, and what is buffered is dropped.
        """
        if self.closed:
            return
        channel = self._channel
        waiting = channel.receivers_waiting
        self._wake_own(waiting, [task for task, end in waiting.items() if end is self])
        if channel.receivers == 1:
            if selecting:
                settle_all(channel.senders_waiting)
            break_all(channel.senders_waiting, _broken_channel)
            channel.items.clear()
            channel.room = -1
        channel.receivers -= 1
        self._way = _SHUT


def _take(channel: _Channel[T]) -> T:
    """Take the first item, and let the first who waits to send take its place."""
    items, waiting = channel.items, channel.senders_waiting
    if waiting:
        _, item = next(iter(waiting.values()))
        if selecting:
            settle(waiting)
        unpark(waiting)
        items.append(item)
    return items.popleft()


def _end_of_channel() -> EndOfChannel:
    return EndOfChannel("all ends to send from are closed, and nothing is left to receive")


def _broken_channel() -> ResourceBroken:
    return ResourceBroken("nobody can receive from this channel any more")


def open_memory_channel(capacity: float) -> tuple[SendChannel[Any], ReceiveChannel[Any]]:
    """Open a channel, through which items pass from task to task in order.

    Args:
        capacity: How many items it holds that were sent and not received. Zero makes each
            `SendChannel.send` wait until the item is taken: a rendezvous. Infinity never makes it
            wait, which lets a slow consumer fill the memory.

    Returns:
        The end to send into and the end to receive from. Both can be cloned, and must be closed.

    Raises:
        ValueError: *capacity* is negative, a fraction, or not a number.
    """
    check_count("capacity", capacity, 0)
    channel: _Channel[Any] = _Channel(capacity)
    return SendChannel(channel), ReceiveChannel(channel)
