# SPDX-License-Identifier: Apache-2.0
"""Trying again: a block that may fail is run until it does not, with a wait in between."""

from __future__ import annotations

import math
from random import random
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from giambio_kernel import add_note, checkpoint, checkpoint_due, sleep

from ._numbers import check_count, check_numbers, check_seconds
from ._predicates import refuse_async

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

Retryable: TypeAlias = (
    "type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], object]"
)
"""Which errors are worth another attempt: their types, or a function that says so."""

Backoff: TypeAlias = "float | Callable[[int], float]"
"""How long to wait before another attempt, in seconds, or a function of how many have failed."""


class exponential:  # noqa: N801
    """A backoff that grows by a factor with each failure, up to a maximum, and is spread by chance.

    The chance matters when many clients lose the same server at the same moment: without it they all
    come back at the same moment, too.

    Args:
        first: How long to wait after the first failure, in seconds.
        factor: By how much the wait grows with each further failure.
        maximum: How long it may get, in seconds.
        jitter: Which part of the wait is left to chance, from 0 to 1: with 0.5 it takes between half
            of it and all of it.

    Raises:
        ValueError: A time is negative, *factor* is less than 1, *jitter* is not between 0 and 1, or
            one of them is not a number.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    __slots__ = ("factor", "first", "jitter", "maximum")

    first: float
    factor: float
    maximum: float
    jitter: float

    def __init__(
        self,
        first: float = 0.1,
        *,
        factor: float = 2.0,
        maximum: float = 60.0,
        jitter: float = 0.5,
    ) -> None:
        check_numbers(first=first, factor=factor, maximum=maximum, jitter=jitter)
        if not (first >= 0 and maximum >= 0):
            raise ValueError(f"times must be at least 0, not {first!r} and {maximum!r}")
        if not factor >= 1:
            raise ValueError(f"factor must be at least 1, not {factor!r}")
        if not 0 <= jitter <= 1:
            raise ValueError(f"jitter must be between 0 and 1, not {jitter!r}")
        self.first = first
        self.factor = factor
        self.maximum = maximum
        self.jitter = jitter

    def __repr__(self) -> str:
        return (
            f"exponential({self.first:g}, factor={self.factor:g}, maximum={self.maximum:g}, "
            f"jitter={self.jitter:g})"
        )

    def __call__(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row, in seconds."""
        try:
            wait = min(self.maximum, self.first * self.factor ** (failures - 1))
        except OverflowError:
            wait = self.maximum
        if self.jitter:
            wait *= 1 - self.jitter * random()
        return wait


class retry:  # noqa: N801
    """Try a block again when it fails.

    Example::

        async for attempt in retry(tries=5, on=OSError):
            with attempt:
                connection = await connect_tcp(host, port)

    The loop ends after the first attempt that does not fail. An error that is not worth another
    attempt, and that of the last one, is raised as it is, with a note that says which attempt it
    was. Cancellation is never tried again, nor is anything else that is no `Exception`. A timeout
    for each attempt goes inside of it: ``with attempt, with_timeout(3):``.

    It can be used any number of times, also at the same time: each ``async for`` counts for itself.

    Args:
        tries: How many attempts there are at most; ``None`` for any number.
        on: Which errors are tried again: an exception type, several in a tuple, or a function that
            gets the exception and says whether.
        backoff: How long to wait before the next attempt, in seconds; or a function that gets the
            number of failures so far, from 1, and says how long, such as an `exponential`, which is
            the default.

    Attributes:
        tries: How many attempts there are at most; ``None`` for any number.

    Raises:
        ValueError: *tries* is less than 1 or a fraction, or *backoff* is negative or not a number.
        TypeError: *on* is something else, or a type of error that must not be tried again.

    Checkpoint: before each attempt; not at the end of the loop, so that what the last attempt has
    achieved is not lost.
    """

    __slots__ = ("_backoff", "_on", "tries")

    tries: int | None

    def __init__(
        self,
        *,
        tries: int | None = 3,
        on: Retryable = Exception,
        backoff: Backoff | None = None,
    ) -> None:
        if tries is not None:
            check_count("tries", tries, 1, "None")
        if backoff is None:
            backoff = exponential()
        elif not callable(backoff):
            check_seconds("backoff", backoff)
        _check_retryable(on)
        self.tries = tries
        self._on = on
        self._backoff: Backoff = backoff

    def __repr__(self) -> str:
        return f"retry(tries={self.tries!r}, on={self._on!r}, backoff={self._backoff!r})"

    def __aiter__(self) -> Attempts:
        return Attempts(self)

    def is_worthwhile(self, error: Exception, number: int) -> bool:
        """Whether there is another attempt after the *number*-th, which raised *error*."""
        if number >= (self.tries or math.inf):
            return False
        on = self._on
        if isinstance(on, type | tuple):
            return isinstance(error, on)
        answer = on(error)
        refuse_async(on, answer)
        return bool(answer)

    def wait(self, failures: int) -> float:
        """Return how long to wait after so many failures, in seconds."""
        if not callable(self._backoff):
            return self._backoff
        seconds = self._backoff(failures)
        refuse_async(self._backoff, seconds)
        return seconds


def _check_retryable(on: Any) -> None:
    for each in on if isinstance(on, tuple) else (on,):
        if isinstance(each, type):
            if not issubclass(each, Exception):
                raise TypeError(f"{each.__name__} must not be tried again: it is no Exception")
        elif isinstance(on, tuple) or not callable(each):
            raise TypeError(f"on must be exception types or a function, not {on!r}")


class Attempts:
    """The attempts of one loop over a `retry`, one after the other."""

    __slots__ = ("_current", "_policy")

    def __init__(self, policy: retry) -> None:
        self._policy = policy
        self._current: Attempt | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        """Wait as long as the backoff says, and return the next attempt.

        Raises:
            StopAsyncIteration: The attempt before did not fail.
            RuntimeError: The attempt before was not used with ``with``.

        Checkpoint: always, unless it stops.
        """
        current = self._current
        number = 1
        if current is None:
            if checkpoint_due():
                await checkpoint()
        else:
            if not current.over:
                raise RuntimeError(
                    f"{current!r} was not used: put what may fail into 'with attempt:'"
                )
            if current.error is None:
                raise StopAsyncIteration
            await sleep(self._policy.wait(current.number))
            number += current.number
            current.error = None  # its frames refer to the attempt
        self._current = Attempt(self._policy, number)
        return self._current


class Attempt:
    """One attempt of a `retry`, for ``with``. What fails in its block may be tried again.

    Attributes:
        number: Which one it is, from 1.
        over: Whether its block was left.
        error: What it failed with, if it is tried again; to be logged after the block, for example.
    """

    __slots__ = ("_policy", "error", "number", "over")

    number: int
    over: bool
    error: Exception | None

    def __init__(self, policy: retry, number: int) -> None:
        self._policy = policy
        self.number = number
        self.over = False
        self.error = None

    def __repr__(self) -> str:
        state = f", failed: {self.error!r}" if self.error is not None else ", over" * self.over
        return f"<Attempt {self.number} of {self._policy.tries or 'any number'}{state}>"

    def __enter__(self) -> Self:
        if self.over:
            raise RuntimeError(f"{self!r} is over: an attempt can be used only once")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self.over = True
        if not isinstance(exc, Exception):
            return False
        if self._policy.is_worthwhile(exc, self.number):
            self.error = exc
            return True
        add_note(exc, f"in attempt {self.number} of {self._policy.tries or 'any number'}")
        return False
