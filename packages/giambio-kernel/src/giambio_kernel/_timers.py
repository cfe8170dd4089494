# SPDX-License-Identifier: Apache-2.0
"""The heap of deadlines: one live entry per task, however often its deadline moves.

A task is *armed* for one moment, the earliest at which something may be due for it. The heap is lazy
in both directions. A deadline that moves later leaves the entry alone: when it comes up, whoever
asked looks at the task and arms it again. A deadline that moves earlier pushes a second entry and
the first becomes dead weight. A timeout around each of a million receives therefore costs a
comparison each time and a push once per timeout period.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Protocol

from ._clock import INFINITY


class Timed(Protocol):
    """What can be armed."""

    # Invariant: the heap holds an entry for this very moment, unless it is infinite.
    _armed: float


class Timers:
    """The deadlines of all tasks, earliest first; ties in the order of arming."""

    __slots__ = ("_count", "_heap", "_live")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._count = 0
        # Invariant: how many owners have a finite `_armed`; the rest of the heap is dead.
        self._live = 0

    def __len__(self) -> int:
        return self._live

    def arm(self, owner: Timed, when: float) -> None:
        """Make *owner* come up at *when*, which must be earlier than its present `_armed`."""
        if owner._armed == INFINITY:
            self._live += 1
        owner._armed = when
        self._count = count = self._count + 1
        heap = self._heap
        heappush(heap, (when, count, owner))
        # Dead entries may outnumber the live ones, but not without bound. Rebuilding costs O(n)
        # and happens after at least n pushes.
        if len(heap) > 2 * self._live + 64:
            self._compact()

    def disarm(self, owner: Timed) -> None:
        """Forget *owner*; its entry stays in the heap, dead, until it comes up or is swept."""
        if owner._armed != INFINITY:
            owner._armed = INFINITY
            self._live -= 1
            if len(self._heap) > 2 * self._live + 1024:
                self._compact()

    def next(self) -> float:
        """Return the earliest moment at which an owner comes up; ``inf`` if there is none."""
        heap = self._heap
        while heap:
            when, _, owner = heap[0]
            if owner._armed == when:
                return when
            heappop(heap)
        return INFINITY

    def pop_due(self, now: float) -> list[Timed]:
        """Disarm and return all owners whose moment has come, in order."""
        heap = self._heap
        due: list[Timed] = []
        # Popping costs O(log n) each. When a good part of the heap is due at once, splitting it in
        # one pass is cheaper; trying a sixteenth first bounds the loss if it was not.
        tries = 16 + len(heap) // 16
        while heap and heap[0][0] <= now:
            if not tries:
                self._split_due(now, due)
                break
            tries -= 1
            when, _, owner = heappop(heap)
            if owner._armed == when:
                owner._armed = INFINITY
                due.append(owner)
        self._live -= len(due)
        return due

    def _split_due(self, now: float, due: list[Timed]) -> None:
        expired = sorted(entry for entry in self._heap if entry[0] <= now)
        self._heap = [entry for entry in self._heap if entry[0] > now]
        heapify(self._heap)
        for when, _, owner in expired:
            if owner._armed == when:
                owner._armed = INFINITY
                due.append(owner)

    def _compact(self) -> None:
        # An owner can stand here twice for the same moment; the earlier entry wins and the other
        # finds `_armed` changed when it comes up.
        self._heap = [entry for entry in self._heap if entry[2]._armed == entry[0]]
        heapify(self._heap)
