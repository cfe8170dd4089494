# SPDX-License-Identifier: Apache-2.0
"""Waiting for the first of several things of which exactly one is to happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, Self, TypeVar

from giambio._numbers import check_seconds
from giambio._selection import Case, Selectable, SelectableForSending, Selection
from giambio.exceptions import EndOfChannel, WouldBlock
from giambio_kernel import add_note, checkpoint, checkpoint_due, current_scheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

INFINITY = float("inf")


class Selected(NamedTuple):
    """What a `select` did."""

    position: int
    """Which of its arguments it was, counted from 0."""
    source: Any
    """What it was done with: the channel, the queue, the event, or the `after`."""
    value: Any
    """What was received; ``None`` if it was sent, or if time was over."""


class after:  # noqa: N801
    """As an argument of `select`: time is over.

    Args:
        seconds: How long the select waits for the others, on the loop's clock. Zero does not wait
            at all, so the select is nothing but a look.

    Raises:
        ValueError: *seconds* is negative or not a number.
    """

    __slots__ = ("seconds",)

    seconds: float

    def __init__(self, seconds: float) -> None:
        check_seconds("seconds", seconds)
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"after({self.seconds:g})"


def sending(target: SelectableForSending, item: Any) -> Case:
    """As an argument of `select`: send an item.

    Args:
        target: Where to: a `SendChannel`, a `Broadcast`, or a queue to put it into.
        item: What to send. It is sent only if this is what is selected.

    Raises:
        TypeError: Nothing can be sent into *target*.
    """
    try:
        make = target.select_sending
    except AttributeError:
        raise TypeError(
            f"cannot send into {target!r}: give it a channel, a queue or a broadcast"
        ) from None
    return make(item)


async def select(*cases: Selectable | after, in_order: bool = False) -> Selected:
    """Wait for the first of several things to become possible, and do that one and no other.

    Example::

        chosen = await select(jobs, shutdown, after(30))
        if chosen.source is jobs:
            handle(chosen.value)

    Args:
        *cases: A channel, a subscription or a queue to receive from; an event to wait for;
            `sending` to send; `after` for a timeout. Each may appear once.
        in_order: What happens if several are possible at once. By default the look at them begins
            with another one each time, so that none is starved; if true, with the first argument.

    Returns:
        Which one it was, and what was received.

    Raises:
        EndOfChannel: A channel among them has ended. That is something that happens, too; to go on
            with the others until all have ended, use `merge`.
        ResourceClosed: One of them is closed, or was meanwhile.
        ResourceBroken: Nobody can receive any more what one of them would send.
        ValueError: There is nothing to wait for, or two cases wait in the same queue.

    Checkpoint: always. If it raises, nothing was received and nothing sent.
    """
    outcome = await _choose(cases, in_order)
    if outcome.error is not None:
        add_note(outcome.error, f"in select(): argument {outcome.position}, {outcome.source!r}")
        try:
            raise outcome.error
        finally:
            del outcome  # the error refers to this frame
    return Selected(outcome.position, outcome.source, outcome.value)


class _Outcome(NamedTuple):
    position: int
    source: Any
    value: Any = None
    error: Exception | None = None


async def _choose(arguments: Sequence[Selectable | after], in_order: bool) -> _Outcome:
    """The work of `select`, which tells errors of the cases from those that end the wait."""
    if not arguments:
        raise ValueError("select() needs at least one argument, or it would never end")
    cases: list[Case] = []
    positions: list[int] = []
    time_limit: tuple[int, after] | None = None
    for position, argument in enumerate(arguments):
        if isinstance(argument, after):
            if time_limit is None or argument.seconds < time_limit[1].seconds:
                time_limit = position, argument
        else:
            cases.append(_case_of(argument))
            positions.append(position)
    _refuse_twice(cases)
    if checkpoint_due():
        await checkpoint()
    first = 0 if in_order or len(cases) < 2 else _toss(len(cases))
    for index in [*range(first, len(cases)), *range(first)]:
        case = cases[index]
        try:
            return _Outcome(positions[index], case.source, case.attempt())
        except WouldBlock:
            pass
        except Exception as error:
            return _Outcome(positions[index], case.source, error=error)
    selection = Selection(cases)
    value: Any = None
    error_of_case: Exception | None = None
    if time_limit is None or time_limit[1].seconds:
        seconds = INFINITY if time_limit is None else time_limit[1].seconds
        try:
            value = await selection.wait(current_scheduler().clock() + seconds)
        except Exception as error:
            if selection.chosen is None:
                raise
            error_of_case = error
    if selection.chosen is None:
        assert time_limit is not None
        return _Outcome(*time_limit)
    case = cases[selection.chosen]
    try:
        return _Outcome(positions[selection.chosen], case.source, value, error_of_case)
    finally:
        del error_of_case  # it refers to this frame


def _case_of(argument: Selectable) -> Case:
    try:
        make = argument.select_case
    except AttributeError:
        raise TypeError(
            f"select() cannot wait for {argument!r}: give it channels, subscriptions, queues, "
            "events, sending(...) and after(...)"
        ) from None
    return make()


def _refuse_twice(cases: Sequence[Case]) -> None:
    seen: set[int] = set()
    for case in cases:
        if id(case.queue) in seen:
            raise ValueError(f"two arguments of select() do the same with {case.source!r}")
        seen.add(id(case.queue))


_TOSS_KEY = object()


def _toss(sides: int) -> int:
    """Return a number below *sides*: evenly spread, and the same in each run of the same program.

    Source: the linear congruential generator of D. E. Knuth's MMIX, of which the upper bits are used.
    """
    kept = current_scheduler().locals
    state: int = (kept.get(_TOSS_KEY, 0) * 6364136223846793005 + 1442695040888963407) % 2**64
    kept[_TOSS_KEY] = state
    return (state >> 33) % sides


class Mergeable(Selectable, Protocol[T_co]):
    """What `merge` can receive from: what can be selected, and iterated over."""

    async def __anext__(self) -> T_co: ...


class merge(Generic[T]):  # noqa: N801
    """Receive from several channels as from one.

    ``async for item in merge(a, b, c)`` receives until all of them have ended. Each item is received
    only when it is asked for, so leaving the loop loses none.

    Args:
        *sources: Channels, subscriptions or queues; each may appear once.

    Raises:
        TypeError: One of them is something else.
    """

    __slots__ = ("_sources",)

    def __init__(self, *sources: Mergeable[T]) -> None:
        for source in sources:
            if not hasattr(source, "select_case") or not hasattr(source, "__anext__"):
                raise TypeError(
                    f"merge() cannot receive from {source!r}: give it channels, subscriptions and "
                    "queues, one after the other; as_channel makes a channel of an async generator"
                )
        # In order, and without those that have ended.
        self._sources = dict.fromkeys(sources)

    def __repr__(self) -> str:
        return f"<merge of {', '.join(map(repr, self._sources)) or 'nothing any more'}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Receive the next item.

        Raises:
            StopAsyncIteration: All sources have ended.
            ResourceClosed: One of them was closed on this side.

        Checkpoint: always. If it raises, no item was taken.
        """
        while self._sources:
            sources = tuple(self._sources)
            outcome = await _choose(sources, in_order=False)
            if outcome.error is None:
                value: T = outcome.value
                return value
            if not isinstance(outcome.error, EndOfChannel):
                try:
                    raise outcome.error
                finally:
                    del outcome
            self._sources.pop(sources[outcome.position], None)
            del outcome  # the error leads to this frame
        if checkpoint_due():
            await checkpoint()
        raise StopAsyncIteration
