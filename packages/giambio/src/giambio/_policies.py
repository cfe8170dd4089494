# SPDX-License-Identifier: Apache-2.0
"""Policies: how often to try, when to repeat, how long to clean up. All on the loop's clock."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

from giambio_kernel import checkpoint, checkpoint_due, current_scheduler, sleep, sleep_until

from ._timeouts import Timeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

# Trying again

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
            from random import random

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
        ValueError: *tries* is less than 1, or *backoff* is negative or not a number.
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
        if tries is not None and not tries >= 1:
            raise ValueError(f"tries must be at least 1, or None, not {tries!r}")
        if backoff is None:
            backoff = exponential()
        elif not callable(backoff) and not backoff >= 0:
            raise ValueError(f"backoff must be at least 0, not {backoff!r}")
        _check_retryable(on)
        self.tries = tries
        self._on = on
        self._backoff: Backoff = backoff

    def __repr__(self) -> str:
        return f"retry(tries={self.tries!r}, on={self._on!r}, backoff={self._backoff!r})"

    def __aiter__(self) -> Attempts:
        return Attempts(self)

    def is_worthwhile(self, error: BaseException | None, number: int) -> bool:
        """Whether there is another attempt after the *number*-th, which raised *error*."""
        if not isinstance(error, Exception) or number >= (self.tries or math.inf):
            return False
        on = self._on
        if isinstance(on, type | tuple):
            return isinstance(error, on)
        return bool(on(error))

    def wait(self, failures: int) -> float:
        """Return how long to wait after so many failures, in seconds."""
        return self._backoff(failures) if callable(self._backoff) else self._backoff


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
            if current.outcome is None:
                raise RuntimeError(
                    f"{current!r} was not used: put what may fail into 'with attempt:'"
                )
            if current.outcome is True:
                raise StopAsyncIteration
            await sleep(self._policy.wait(current.number))
            number += current.number
        self._current = Attempt(self._policy, number)
        return self._current


class Attempt:
    """One attempt of a `retry`, for ``with``. What fails in its block may be tried again.

    Attributes:
        number: Which one it is, from 1.
    """

    __slots__ = ("_policy", "number", "outcome")

    number: int
    # Whether it succeeded; None while that is open.
    outcome: bool | None

    def __init__(self, policy: retry, number: int) -> None:
        self._policy = policy
        self.number = number
        self.outcome = None

    def __repr__(self) -> str:
        state = {None: "", True: ", succeeded", False: ", failed"}[self.outcome]
        return f"<Attempt {self.number} of {self._policy!r}{state}>"

    def __enter__(self) -> Self:
        if self.outcome is not None:
            raise RuntimeError(f"{self!r} is over: an attempt can be used only once")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self.outcome = exc is None
        if self._policy.is_worthwhile(exc, self.number):
            return True
        if isinstance(exc, Exception):
            exc.add_note(f"in attempt {self.number} of {self._policy.tries or 'any number'}")
        return False


# Doing something regularly


class Tick(NamedTuple):
    """One of the moments of `every`."""

    number: int
    """Which one it is, from 0. Those that were missed count."""
    due: float
    """When it was due, on the loop's clock: the start and *number* periods."""
    missed: int
    """How many before it were missed, because what was done at the last one took too long."""


class every:  # noqa: N801
    """Do something at regular moments, without drift.

    Example::

        async for tick in every(60):
            await report()

    The first tick comes at once, the others one period apart from each other, counted from the start
    of the loop and not from the end of what is done in it. If that takes longer than a period, the
    tick that was due last comes at once, those before it are left out, and the next one comes when
    it is due.

    It can be used any number of times; each ``async for`` starts anew.

    Args:
        period: How far the ticks are apart, in seconds of the loop's clock.
        delay: How long to wait for the first one, in seconds.
        catch_up: Whether ticks that were missed come at once, one after the other, instead.

    Raises:
        ValueError: *period* is not positive and finite, or *delay* is negative or not a number.

    Checkpoint: always.
    """

    __slots__ = ("_catch_up", "_delay", "_period")

    def __init__(self, period: float, *, delay: float = 0.0, catch_up: bool = False) -> None:
        if not 0 < period < math.inf:
            raise ValueError(f"period must be positive and finite, not {period!r}")
        if not delay >= 0:
            raise ValueError(f"delay must be at least 0, not {delay!r}")
        self._period = period
        self._delay = delay
        self._catch_up = catch_up

    def __repr__(self) -> str:
        delay = f", delay={self._delay:g}" if self._delay else ""
        catch_up = ", catch_up=True" if self._catch_up else ""
        return f"every({self._period:g}{delay}{catch_up})"

    def __aiter__(self) -> Ticks:
        start = current_scheduler().clock() + self._delay
        return Ticks(start, self._period, catch_up=self._catch_up)


class Ticks:
    """The ticks of one loop over `every`."""

    __slots__ = ("_catch_up", "_number", "_period", "_start")

    def __init__(self, start: float, period: float, *, catch_up: bool) -> None:
        self._start = start
        self._period = period
        self._catch_up = catch_up
        # Which tick is next. Its moment is computed from that, so that no errors add up.
        self._number = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Tick:
        """Wait for the next tick.

        Checkpoint: always. If it raises, the tick is still to come.
        """
        due = self._start + self._number * self._period
        missed = 0
        if not self._catch_up:
            late = current_scheduler().clock() - due
            if late >= self._period:
                missed = int(late / self._period)
                due = self._start + (self._number + missed) * self._period
        await sleep_until(due)
        number = self._number + missed
        self._number = number + 1
        return Tick(number, due, missed)


# Cleaning up


class cleanup(Timeout):  # noqa: N801
    """Let a block clean up although the task is cancelled, but only for so long.

    Example::

        try:
            await talk(connection)
        finally:
            with cleanup(timeout=5):
                await connection.say_goodbye()

    In a cancelled task every await raises, so a clean-up that has to wait needs a shield; and
    without a deadline a shield may keep the program from ending. This is both. When time is over the
    rest of the block is skipped silently, for what ended the block before matters more; then
    ``timed_out`` is true. With ``async with`` it is also a pool.

    Args:
        timeout: How long it may take, in seconds of the loop's clock. Zero ends it at its first
            checkpoint, infinity never.

    Raises:
        ValueError: *timeout* is negative or not a number.
    """

    __slots__ = ()
    label = "cleanup"

    def __init__(self, timeout: float) -> None:
        if not timeout >= 0:
            raise ValueError(f"timeout must be at least 0, not {timeout!r}")
        super().__init__(seconds=timeout, shield=True)
