# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind: locks that nobody will release, permits that are missing, items that are lost.

Such a thing is usually gone with the function that made it by the time that the run has ended. So while
tests explore, the constructors of giambio's primitives also note what they have made, and the operations
of channels and queues what went in and what came out. Outside of that nothing is noted and nothing
costs anything: the classes are as they were.
"""

from __future__ import annotations

import threading
from collections import Counter
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from giambio._channels.memory import ReceiveChannel, SendChannel
from giambio._channels.queues import Queue
from giambio._threads.calls import ThreadCall
from giambio_kernel import current_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from giambio_kernel import Task

# The operations that put items into a thing, and those that take them out of it.
_GIVING = ("send", "send_nowait", "put", "put_nowait")
_TAKING = ("receive", "receive_nowait", "get", "get_nowait")
# Those by which items pass unseen.
_HIDING = ("select_case", "select_sending")

# What stands for a method that a class has from another one.
_INHERITED = object()

# Where giambio's primitives are.
_MODULES = (
    "_channels.broadcast", "_channels.memory", "_channels.ordered_queues", "_channels.queues",
    "_channels.subscription", "_sync.barrier", "_sync.condition", "_sync.event", "_sync.limiter",
    "_sync.lock", "_sync.rwlock", "_sync.semaphore", "_sync.value",
)  # fmt: skip


class Leftover(NamedTuple):
    """Something that a run has left behind."""

    kind: tuple[str, str]
    """What it is, and what is wrong with it; the same in every run in which that happens."""
    text: str
    """The same for people."""


class Watch:
    """While entered, notes what primitives are made in this thread and what passes through them.

    Args:
        classes: Classes of the program to watch like giambio's own.
    """

    def __init__(self, classes: Iterable[type] = ()) -> None:
        self._classes = tuple(classes)
        self._originals: list[tuple[type, str, Any]] = []
        self._thread = 0
        # What was made in this run, by identity, each with the number of permits that it had then.
        # Strong references: what it leaves behind can be told only while it is there.
        self._made: dict[int, tuple[Any, int | None]] = {}
        # For each thing that items pass through, how many more went in than came out. None if that
        # is not known.
        self._balance: dict[int, tuple[Any, int | None]] = {}
        # The tasks that are in an operation that is counted, which may call another one.
        self._counting: set[Task[Any]] = set()
        # What the program leaves behind when all goes well. That is not held against it.
        self._normal: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        try:
            for cls in _primitives():
                self._watch_making(cls)
            for cls in _passages():
                self._watch_passing(cls)
            for cls in self._classes:
                self._watch_making(cls)
                self._watch_passing(cls)
        except TypeError:
            self.__exit__(None, None, None)
            raise TypeError(
                f"{cls!r} cannot be watched: it is not made by a class statement"
            ) from None
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for cls, name, original in reversed(self._originals):
            if original is _INHERITED:
                delattr(cls, name)
            else:
                setattr(cls, name, original)
        self._originals.clear()
        self.forget()

    def forget(self) -> None:
        """Begin a new run."""
        self._made.clear()
        self._balance.clear()
        self._counting.clear()

    def found(self) -> list[Leftover]:
        """Return what this run has left behind, beyond what is normal. All its tasks have ended."""
        expected = self._normal.copy()
        found = []
        for leftover in self._all():
            if expected[leftover.kind]:
                expected[leftover.kind] -= 1
            else:
                found.append(leftover)
        return found

    def accept(self) -> None:
        """Take what this run has left behind for normal."""
        self._normal = Counter(leftover.kind for leftover in self._all())

    def _all(self) -> Iterator[Leftover]:
        for thing, permits in self._made.values():
            yield from _inspect(thing, permits)
        for thing, more in self._balance.values():
            if more is not None:
                yield from _weigh(thing, more)

    # Putting ourselves in between

    def _watch_making(self, cls: type) -> None:
        own = self._unwatched(cls)
        if "__init__" in own:
            self._replace(cls, "__init__", self._noting(own["__init__"]))
        elif cls.__init__ is object.__init__:  # type: ignore[misc]  # which would refuse arguments
            self._replace(cls, "__init__", self._noting(_do_nothing))

    def _watch_passing(self, cls: type) -> None:
        own = self._unwatched(cls)
        for names, change in ((_GIVING, 1), (_TAKING, -1)):
            for name in names:
                if name in own:
                    plain = name.endswith("_nowait")
                    make = self._counting_plain if plain else self._counting_async
                    self._replace(cls, name, make(own[name], change))
        for name in _HIDING:
            if name in own:
                self._replace(cls, name, self._giving_up(own[name]))
        if "close" in own:
            self._replace(cls, "close", self._counting_close(own["close"]))

    def _unwatched(self, cls: type) -> dict[str, Any]:
        """Return what a class has of its own and from its bases, without what is watched already."""
        watched = {(each, name) for each, name, _ in self._originals}
        own: dict[str, Any] = {}
        for base in reversed(cls.__mro__[:-1]):  # all but object
            for name, value in vars(base).items():
                if (base, name) in watched:
                    own.pop(name, None)
                else:
                    own[name] = value
        return own

    def _replace(self, cls: type, name: str, replacement: Callable[..., Any]) -> None:
        original = vars(cls).get(name, _INHERITED)
        setattr(cls, name, replacement)
        self._originals.append((cls, name, original))

    def _noting(self, original: Callable[..., None]) -> Callable[..., None]:
        @wraps(original)
        def note(thing: Any, *args: Any, **kwargs: Any) -> None:
            original(thing, *args, **kwargs)
            if threading.get_ident() == self._thread:
                self._made[id(thing)] = (thing, _permits(thing))

        return note

    def _counting_async(self, original: Callable[..., Any], change: int) -> Callable[..., Any]:
        @wraps(original)
        async def operation(thing: Any, *args: Any, **kwargs: Any) -> Any:
            task = current_task()
            if task in self._counting:
                return await original(thing, *args, **kwargs)
            self._counting.add(task)
            try:
                result = await original(thing, *args, **kwargs)
            finally:
                self._counting.discard(task)
            self._count(thing, change)
            return result

        return operation

    def _counting_plain(self, original: Callable[..., Any], change: int) -> Callable[..., Any]:
        @wraps(original)
        def operation(thing: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(thing, *args, **kwargs)
            try:
                counted = current_task() in self._counting
            except RuntimeError:  # between two steps
                counted = False
            if not counted:
                self._count(thing, change)
            return result

        return operation

    def _counting_close(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """What is dropped because somebody closes was not lost."""

        @wraps(original)
        def close(thing: Any, *args: Any, **kwargs: Any) -> Any:
            before = _buffered(_passage(thing))
            result = original(thing, *args, **kwargs)
            self._count(thing, _buffered(_passage(thing)) - before)
            return result

        return close

    def _giving_up(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def select(thing: Any, *args: Any, **kwargs: Any) -> Any:
            passage = _passage(thing)
            self._balance[id(passage)] = (passage, None)
            return original(thing, *args, **kwargs)

        return select

    def _count(self, thing: Any, change: int) -> None:
        if threading.get_ident() == self._thread:
            passage = _passage(thing)
            _, balance = self._balance.get(id(passage), (passage, 0))
            if balance is not None:
                self._balance[id(passage)] = (passage, balance + change)


def _do_nothing(thing: object, *args: object, **kwargs: object) -> None:
    """Stand in for the constructor of ``object``."""


def _primitives() -> list[type]:
    """Return giambio's classes that tasks wait for."""
    found: dict[type, None] = {}
    for name in _MODULES:
        for each in list(vars(import_module(f"giambio.{name}")).values()):
            if isinstance(each, type) and callable(getattr(each, "statistics", None)):
                found[each] = None
    return list(found)


def _passages() -> list[type]:
    """Return those through which each item passes once."""
    return [Queue, SendChannel, ReceiveChannel]


def _passage(thing: Any) -> Any:
    """What items pass through: for an end of a channel, the channel."""
    return getattr(thing, "_channel", thing)


def _buffered(passage: Any) -> int:
    items = getattr(passage, "items", None)
    return len(passage if items is None or callable(items) else items)


def _permits(thing: Any) -> int | None:
    permits = getattr(thing, "value", None)
    return permits if isinstance(permits, int) and hasattr(thing, "release") else None


def _inspect(thing: Any, permits: int | None) -> Iterator[Leftover]:
    name = type(thing).__name__
    statistics = getattr(thing, "statistics", None)
    fields: dict[str, Any] = statistics()._asdict() if callable(statistics) else {}
    for field, value in fields.items():
        if "waiting" in field and isinstance(value, int) and value:
            yield Leftover((name, field), f"{thing!r} has waiters that have ended")
    holders = getattr(thing, "holders", None)
    held_by = [task.name for task in holders()] if callable(holders) else []
    if held_by:
        who = ", ".join(map(repr, held_by))
        yield Leftover((name, "held"), f"{thing!r} is still held by {who}, which has ended")
    else:
        # What a thread has borrowed it gives back when it ends, which may be after the run.
        borrowers = [each for each in fields.get("borrowers", ()) if type(each) is not ThreadCall]
        if borrowers:
            yield Leftover((name, "borrowed"), f"{thing!r}: not given back by {borrowers!r}")
    # More permits than there were are nothing unusual: a semaphore can be used to signal.
    if permits is not None and (now := _permits(thing)) is not None and now < permits:
        were = "permit of {} was" if permits - now == 1 else "permits of {} were"
        text = f"{permits - now} {were.format(permits)} not given back: {thing!r}"
        yield Leftover((name, "permits"), text)


def _weigh(passage: Any, more: int) -> Iterator[Leftover]:
    lost = more - _buffered(passage)
    if lost:
        name = type(passage).__name__.lstrip("_")
        word = "lost" if lost > 0 else "made up"
        times = f"{abs(lost)} item{'s' * (abs(lost) != 1)}"
        yield Leftover((name, word), f"{times} {word}: neither received nor left in {passage!r}")
