# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, and how one error remembers the others that came with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._scope import CancelScope
    from ._task import Task


class GiambioError(Exception):
    """The base of every error of giambio's own, except `CancelledError`."""


class InternalError(GiambioError):
    """The rules between a task and its loop were broken.

    The usual cause is that a task awaited another library's primitive: `asyncio.sleep`, a trio
    event. Its message says what was awaited.
    """


class CancelledError(BaseException):
    """Unwinds what a cancelled scope interrupted; the scope catches it.

    It derives from `BaseException`, so that ``except Exception`` lets it pass. Code that must
    react to it catches it, cleans up and raises it again; ``try/finally`` does the same with less.

    Args:
        reason: Why; usually what was given to ``cancel(reason)``.
    """

    # A slot of its own spares each instance the dict, and no `__init__` is a call less: they are
    # made by the thousand when a pool is cancelled.
    __slots__ = ("_scope",)

    _scope: CancelScope

    @property
    def scope(self) -> CancelScope | None:
        """The scope that it belongs to and never leaves: the outermost cancelled one that counts.

        ``None`` if the exception was made by hand.
        """
        return getattr(self, "_scope", None)

    @property
    def reason(self) -> str | None:
        """What was given to ``cancel(reason)``; ``None`` if nothing was."""
        return self.args[0] if self.args else None


class TaskCancelled(GiambioError):
    """The task that was joined had been cancelled.

    An ordinary error, unlike `CancelledError`: nobody asked the joining task to stop.

    Attributes:
        task: The task that was cancelled.
    """

    def __init__(self, message: str, task: Task[Any] | None = None) -> None:
        super().__init__(message)
        self.task = task


class DeadlockError(GiambioError):
    """Nothing can ever happen again: every task waits, and nothing is left that could wake one.

    Its text is the tree of tasks, each with what it waits for and who holds that.
    """


class ResourceBusy(GiambioError):
    """Another task already uses this resource in this way: two readers of one socket, for example."""


class ResourceClosed(GiambioError):
    """The resource was closed, before or while it was used."""


def add_note(error: BaseException, note: str) -> None:
    """Add a note to an error, if it takes one.

    Args:
        error: The error. One that refuses, as a frozen dataclass does, goes without.
        note: The text.
    """
    try:
        error.add_note(note)
    except Exception:
        pass


# Python attaches to an error one cause and one context, never its siblings; they live here.
_SIBLINGS = "__giambio_siblings__"
# How many of them a printed traceback shows in full. More would bury the error itself.
_SHOWN = 5


def add_siblings(error: BaseException, others: Iterable[BaseException]) -> None:
    """Remember what else happened beside *error*, and show it in the printed traceback.

    Args:
        error: The error that is raised.
        others: Those that are not, because only one can be. Errors that are already known as
            siblings, and *error* itself, are passed over.
    """
    known = siblings(error)
    seen = {id(error), *map(id, known)}
    new = [other for other in others if not (id(other) in seen or seen.add(id(other)))]  # type: ignore[func-returns-value]
    if not new:
        return
    # An error may refuse assignments, as a frozen dataclass does, and must not be lost by that.
    object.__setattr__(error, _SIBLINGS, (*known, *new))
    shown = new[: max(0, _SHOWN - len(known))]
    for other in shown:
        add_note(error, "beside it happened:\n  " + format_error(other).replace("\n", "\n  "))
    if len(new) > len(shown):
        add_note(error, f"and {len(new) - len(shown)} more errors; see giambio.siblings()")


def format_error(error: BaseException) -> str:
    """Return the traceback of an error as text, or what can be said of one without it.

    Where no descriptor is left, the module that makes tracebacks cannot be read. Much fails then, and
    what is told of it must not be lost for that.
    """
    try:
        import traceback  # only when things go wrong: it is slow to import
    except (OSError, ImportError):
        return repr(error)
    try:
        return "".join(traceback.format_exception(error)).rstrip()
    except Exception:
        return f"{type(error).__name__}, which cannot be printed"


def siblings(error: BaseException) -> tuple[BaseException, ...]:
    """Return the errors that happened beside *error* and were not raised themselves.

    Args:
        error: An error that left a pool or a run.

    Returns:
        The other errors in the order in which they happened; empty if there were none.
    """
    found: tuple[BaseException, ...] = getattr(error, _SIBLINGS, ())
    return found
