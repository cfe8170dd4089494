# SPDX-License-Identifier: Apache-2.0
"""Making a failure small: leaving out what it does not need, as long as it still fails.

Source: A. Zeller and R. Hildebrandt, "Simplifying and isolating failure-inducing input" (IEEE TSE, 2002).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from ._trace import Precedence

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from ._trace import Step

# How long to look for a smaller failure: so many runs, and so many seconds.
_MOST_TRIES = 2000
_MOST_SECONDS = 10.0
_MOST_SINGLE_FAULTS = 200

T = TypeVar("T")


class Smaller:
    """Looks for a smaller failure, for so many runs and so long in all.

    Attributes:
        tries: How often the test was run.
    """

    def __init__(self) -> None:
        self.tries = 0
        self._until = time.monotonic() + _MOST_SECONDS

    def schedule(
        self,
        overtakings: Sequence[tuple[Step, tuple[Step, ...]]],
        fails: Callable[[Sequence[Precedence]], bool],
    ) -> list[Precedence]:
        """Return the fewest precedences found with which a test still fails.

        Args:
            overtakings: The picks of the failing schedule that are not first come, first served: each
                with the steps that it was made before.
            fails: Whether the test fails with some precedences, in the same way.
        """

        def pairs(some: Iterable[tuple[Step, tuple[Step, ...]]]) -> list[Precedence]:
            return [Precedence(first, then) for first, others in some for then in others]

        # First whole picks, which are fewer, then the single precedences that they consist of.
        picks = self._shrinker(lambda some: fails(pairs(some))).shrink(
            overtakings, [lambda each: each[0].task]
        )
        return self._shrinker(fails).shrink(pairs(picks), [lambda each: each.then.task])

    def faults(self, faults: Sequence[int], fails: Callable[[Sequence[int]], bool]) -> list[int]:
        """Return the fewest faults found with which a test still fails.

        Args:
            faults: The numbers of those that happen.
            fails: Whether the test fails when only some of them do, in the same way.
        """
        shrinker = self._shrinker(fails)
        # Without those before it the same thing has another number, so leaving some out may show
        # others. But one is often enough, and there are not many.
        most = min(max(faults) + 10, _MOST_SINGLE_FAULTS)
        for some in ([], *([number] for number in range(1, most + 1))):
            if shrinker.still_fails(some):
                return some
        return shrinker.shrink(faults)

    def _shrinker(self, fails: Callable[[Sequence[Any]], bool]) -> Shrinker:
        def still_fails(some: Sequence[Any]) -> bool:
            self.tries += 1
            return fails(some)

        return Shrinker(still_fails, self._is_enough)

    def _is_enough(self) -> bool:
        return self.tries >= _MOST_TRIES or time.monotonic() > self._until


class Shrinker:
    """Leaves out elements of a list as long as a test still fails with the rest.

    Args:
        fails: Says whether the test still fails.
        enough: Asked before each try; true ends the search with the smallest list so far.
    """

    def __init__(self, fails: Callable[[Sequence[Any]], bool], enough: Callable[[], bool]) -> None:
        self._fails = fails
        self._enough = enough

    def shrink(
        self, elements: Sequence[T], keys: Iterable[Callable[[T], Hashable]] = ()
    ) -> list[T]:
        """Return a smallest list: none of its elements can be left out, unless time was up.

        Args:
            elements: What fails now, in an order in which neighbours belong together.
            keys: Elements with the same key are left out together at first.
        """
        kept = self._prefix(list(elements))
        for key in keys:
            for group in dict.fromkeys(map(key, kept)):
                kept = self._without(kept, [each for each in kept if key(each) == group])
        size = len(kept) // 2
        while size:
            kept = self._chunks(kept, size)
            size = min(size // 2, len(kept) // 2) if size > 1 else 0
        while True:  # one may have become superfluous because a later one was left out
            fewer = self._chunks(kept, 1)
            if len(fewer) == len(kept):
                return fewer
            kept = fewer

    def _prefix(self, elements: list[T]) -> list[T]:
        """Leave out what comes after the failure, by bisection."""
        low, high = 0, len(elements)
        while low < high:
            middle = (low + high) // 2
            if self.still_fails(elements[:middle]):
                high = middle
            else:
                low = middle + 1
        return elements[:high]

    def _chunks(self, elements: list[T], size: int) -> list[T]:
        start = 0
        while start < len(elements):
            fewer = self._without(elements, elements[start : start + size])
            if fewer is elements:
                start += size
            elements = fewer
        return elements

    def _without(self, elements: list[T], some: list[T]) -> list[T]:
        left_out = set(map(id, some))
        rest = [each for each in elements if id(each) not in left_out]
        return rest if some and self.still_fails(rest) else elements

    def still_fails(self, elements: list[T]) -> bool:
        """Try some elements, unless time is up."""
        return not self._enough() and self._fails(elements)
