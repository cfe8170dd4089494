# SPDX-License-Identifier: Apache-2.0
"""Async generators turned into channels, so that they may use pools and timeouts around a ``yield``."""

from __future__ import annotations

from collections import deque
from functools import partial, wraps
from typing import TYPE_CHECKING, Generic, NamedTuple, ParamSpec, Self, TypeVar, cast

from giambio._pool import Pool, create_pool, raise_as_is
from giambio._selection import Case, selecting, settle, settle_all
from giambio.exceptions import CancelledError, EndOfChannel, ResourceClosed, WouldBlock
from giambio_kernel import (
    PARKED,
    Trap,
    WaitQueue,
    break_all,
    current_scheduler,
    enqueue,
    get_running,
    park,
    replenish,
    reschedule,
    trap,
    unpark,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from types import TracebackType

P = ParamSpec("P")
T = TypeVar("T")


def as_channel(
    fn: Callable[P, AsyncIterator[T]],
) -> Callable[P, GeneratorChannel[T]]:
    """Make an async generator function give channels to receive from.

    Example::

        @as_channel
        async def ticks(n):
            with skip_after(60):  # wrong in a plain async generator: it would leak out
                for i in range(n):
                    await sleep(1)
                    yield i

        async with ticks(10) as channel:
            async for tick in channel:
                ...

    A plain async generator runs in whichever task iterates it, and stops in the middle when nobody
    does. So a scope or pool that is open at its ``yield`` surrounds the wrong code, and its clean-up
    comes late and elsewhere. Here the generator has a task of its own, which ends with the block.
    All the same, it makes a step only when somebody waits for an item, so none is made in vain.

    Args:
        fn: An async generator function.

    Returns:
        A function with the same parameters that returns a `GeneratorChannel`.

    Raises:
        TypeError: *fn* gave something else than an async generator; raised by the function.
    """

    @wraps(fn)
    def make(*args: P.args, **kwargs: P.kwargs) -> GeneratorChannel[T]:
        return GeneratorChannel(fn(*args, **kwargs))

    return make


class GeneratorChannelStatistics(NamedTuple):
    """What is known of a `GeneratorChannel`."""

    items_buffered: int
    """How many items were made and not received, because who had waited for them was cancelled."""
    tasks_waiting_to_receive: int
    """How many tasks wait for an item."""
    ended: bool
    """Whether the generator has ended."""


class GeneratorChannel(Generic[T]):
    """What an async generator yields, to receive from. Made by `as_channel`.

    Entered once with ``async with``. At the end of the block the generator has ended and its
    clean-up has run: it is cancelled, and for it its ``yield`` is a checkpoint like any other.

    ``async for`` receives until the generator ends. An error in it is raised where the next item
    would have been received; or by the block, if nobody receives. An `EndOfChannel` that it got from
    another channel is not the end of this one, and is raised as a `RuntimeError`. The generator runs
    in a context of its own, so context variables that it sets are not seen outside.
    """

    __slots__ = ("_generator", "_idle", "_items", "_over", "_pool", "_receivers")

    # Invariants: nobody waits to receive while there is an item, and there is one only if who had
    # waited for it was cancelled.
    _items: deque[T]
    _receivers: WaitQueue
    # The task of the generator, while nobody waits for an item.
    _idle: WaitQueue
    # Why no more items come: the method that makes the error to raise, unbound, or each channel would
    # refer to itself. None while the generator may yield.
    _over: Callable[[GeneratorChannel[T]], Exception] | None

    def __init__(self, generator: AsyncIterator[T]) -> None:
        if not hasattr(generator, "athrow"):
            raise TypeError(
                f"as_channel() needs an async generator function; it gave {generator!r}"
            )
        self._generator = cast("AsyncGenerator[T, None]", generator)
        self._pool: Pool | None = None
        self._items = deque()
        self._receivers = {}
        self._idle = {}
        self._over = None

    @property
    def _name(self) -> str:
        return getattr(self._generator, "__qualname__", type(self._generator).__name__)

    def __repr__(self) -> str:
        state = "new" if self._pool is None else "open" if self._over is None else "ended"
        return (
            f"<GeneratorChannel of {self._name} at {id(self):#x}, {state}, "
            f"{len(self._items)} buffered, {len(self._receivers)} waiting>"
        )

    async def __aenter__(self) -> Self:
        """Start the task of the generator; it makes its first step when an item is waited for.

        Checkpoint: never.
        """
        if self._pool is not None:
            raise RuntimeError(f"{self!r} was entered before: call the function again")
        self._pool = create_pool()
        await self._pool.__aenter__()
        self._pool.spawn(self._run).name = self._name
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Cancel the generator and wait for its end.

        Checkpoint: always.
        """
        assert self._pool is not None
        self._over = GeneratorChannel._closed_error
        self._items.clear()
        self._break_off()
        self._pool.cancel("nobody receives from the generator any more")
        return await self._pool.__aexit__(exc_type, exc, traceback)

    # Receiving

    @trap
    def receive(self) -> Trap[T]:
        """Receive the next item.

        Raises:
            EndOfChannel: The generator has ended.
            Exception: What the generator raised.
            ResourceClosed: The block was left, or was meanwhile.
            RuntimeError: The block was not entered, or this is another loop.

        Checkpoint: always. If it is cancelled, no item is lost: what the generator makes of the step
        that it is in is there for the next one to receive.
        """
        scheduler = get_running()
        scheduler.credit = credit = scheduler.credit - 1
        if credit < 0 or scheduler.current.stopping:
            yield from replenish().__await__()
        item: T
        if self._items:
            item = self._items.popleft()
            return item
        self._refuse_unless_open()
        self._refuse_other_loop()
        enqueue(self._receivers, self)
        unpark(self._idle)
        task = yield PARKED
        if task.wake_error is not None:
            raise task.take_wake_error()
        item = task.wake_value
        return item

    def receive_nowait(self) -> T:
        """Receive an item that was made for somebody who was cancelled. The generator makes no step.

        Raises:
            WouldBlock: There is none.
            EndOfChannel: The generator has ended.
            ResourceClosed: The block was left.
            RuntimeError: The block was not entered.
        """
        if self._items:
            return self._items.popleft()
        self._refuse_unless_open()
        raise WouldBlock(f"{self!r} has no item")

    def _refuse_unless_open(self) -> None:
        if self._pool is None:
            raise RuntimeError(f"{self!r} is not open: use 'async with' first")
        if self._over is not None:
            raise self._over(self)

    def _refuse_other_loop(self) -> None:
        """Refuse to wait where the generator could not hand over what it makes."""
        assert self._pool is not None
        if self._pool._scheduler is not current_scheduler():
            raise RuntimeError(
                f"{self!r} belongs to another loop; a ThreadQueue carries items from one to another"
            )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Receive the next item; see `receive`. The iteration stops when the generator has ended."""
        try:
            return await self.receive()
        except EndOfChannel:
            raise StopAsyncIteration from None

    def select_case(self) -> Case:
        """Return the case of receiving an item, for `select`."""
        return Case(self, self.receive_nowait, self._receivers, on_wait=self._ask_for_item)

    def _ask_for_item(self) -> None:
        self._refuse_other_loop()
        unpark(self._idle)

    def statistics(self) -> GeneratorChannelStatistics:
        """Return how many tasks wait, and whether the generator has ended."""
        return GeneratorChannelStatistics(
            len(self._items), len(self._receivers), self._over is not None
        )

    # Making the items

    async def _run(self) -> None:
        """Let the generator make a step whenever somebody waits for an item. The body of its task."""
        generator = self._generator
        try:
            while True:
                try:
                    await self._wait_for_receiver()
                except CancelledError as cancelled:
                    # Perhaps by a timeout around the yield, and in any case that is where it belongs.
                    item = await generator.athrow(cancelled)
                    if self._over is not None:
                        raise
                else:
                    item = await anext(generator)
                self._hand_over(item)
        except StopAsyncIteration:
            self._finish()
        except EndOfChannel as error:
            # Whoever receives would take it for the end of this one, and what went wrong would never
            # be known. For that reason Python does the same to a `StopAsyncIteration`.
            told = RuntimeError(f"the generator {self._name} raised EndOfChannel; catch it there")
            told.__cause__ = error
            await self._hand_over_error(told)
        except Exception as error:
            await self._hand_over_error(error)
        finally:
            await generator.aclose()

    async def _wait_for_receiver(self) -> None:
        while not self._receivers:
            await park(self._idle, self)

    def _hand_over(self, item: T) -> None:
        if self._receivers:
            if selecting:
                settle(self._receivers)
            unpark(self._receivers, item)
        elif self._over is None:
            self._items.append(item)

    async def _hand_over_error(self, error: Exception) -> None:
        """Raise *error* in whoever receives next; or here, if the block is left before that."""
        try:
            await self._wait_for_receiver()
        except CancelledError:
            raise_as_is(error)
        if selecting:
            settle(self._receivers)
        first = next(iter(self._receivers))
        del self._receivers[first]
        reschedule(first, error=error)
        self._finish()

    def _finish(self) -> None:
        """The generator has ended."""
        if self._over is None:
            self._over = GeneratorChannel._ended_error
            self._break_off()

    def _break_off(self) -> None:
        """Tell who waits that no more items come."""
        assert self._over is not None
        if selecting:
            settle_all(self._receivers)
        break_all(self._receivers, partial(self._over, self))

    def _ended_error(self) -> EndOfChannel:
        return EndOfChannel(f"the generator {self._name} has ended")

    def _closed_error(self) -> ResourceClosed:
        return ResourceClosed(f"the block of {self!r} was left")
