# SPDX-License-Identifier: Apache-2.0
"""What is on its way through a network in memory: packets, each with the moment of its arrival.

All chance is here: how long a packet takes, whether it is lost. Each flow, from one socket to another, has
random numbers of its own, so that one packet more in one flow does not change what happens to the others:
a schedule that was found to fail still does when it is made smaller.
"""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._network import MemoryNetwork

INFINITY = float("inf")

# How long a sender waits until it sends again what got lost, in seconds. Source: RFC 6298, section 2,
# has one second before anything was measured; systems have had a fifth of that for long.
_SENT_AGAIN_AFTER = 0.2

# What lies between two parts of the same, in seconds, so that they can be seen one by one.
_MOMENT = 1e-6


class Packet(NamedTuple):
    """Something on its way from host to host."""

    source: str
    target: str
    arrive: Callable[[], None]
    """What happens when it arrives."""
    is_datagram: bool


class Flow:
    """The packets from one socket to another one.

    Args:
        conditions: What they go through.
        seed: What its random numbers begin with.
        is_allowed: Asked each time that chance wants something to go wrong.
    """

    __slots__ = ("_arrival", "_conditions", "_is_allowed", "_random")

    def __init__(
        self, conditions: MemoryNetwork, seed: str, is_allowed: Callable[[], bool]
    ) -> None:
        self._conditions = conditions
        self._random = Random(seed)
        self._is_allowed = is_allowed
        # When the last packet of the stream arrives. No later one does so before.
        self._arrival = 0.0

    def chance(self, probability: float) -> bool:
        """Throw a die to see whether something goes wrong."""
        return probability > 0 and self._random.random() < probability and self._is_allowed()

    def split(self, size: int) -> int:
        """Return how much of so many bytes comes first; all of them, usually."""
        if size > 1 and self.chance(self._conditions.fragmentation):
            return self._random.randint(1, size - 1)
        return size

    def pause(self) -> None:
        """Let what is sent next through the stream arrive later than what was sent before."""
        self._arrival += _MOMENT

    def local_arrival(self, now: float) -> float:
        """Return when a packet of a stream arrives that does not leave its host."""
        self._arrival = max(self._arrival, now)
        return self._arrival

    def stream_arrival(self, now: float) -> tuple[float, int]:
        """Return when a packet of a stream arrives, after those before it, and how often it got lost."""
        losses = 0
        while self.chance(self._conditions.loss):
            losses += 1
        when = now + self._latency() + losses * _SENT_AGAIN_AFTER
        self._arrival = max(self._arrival, when)
        return self._arrival, losses

    def datagram_arrivals(self, now: float) -> tuple[list[float], list[str]]:
        """Return when a datagram arrives, which may be never or twice, and what is wrong with it."""
        conditions = self._conditions
        if self.chance(conditions.loss):
            return [], ["is lost"]
        arrivals: list[float] = []
        faults: list[str] = []
        for _ in range(1 + self.chance(conditions.duplication)):
            when = now + self._latency()
            if self.chance(conditions.reordering):
                when += self._random.uniform(0.0, 2 * conditions.latency[1] + 0.001)
                faults.append("is late")
            arrivals.append(when)
        if len(arrivals) > 1:
            faults.append("arrives twice")
        return arrivals, faults

    def _latency(self) -> float:
        least, most = self._conditions.latency
        return least if least == most else self._random.uniform(least, most)


class Wire:
    """All packets that are on their way, and those that a partition holds back."""

    __slots__ = ("_cut", "_held", "_number", "_packets")

    def __init__(self) -> None:
        self._packets: list[tuple[float, int, Packet]] = []
        # Packets that arrive in the same moment do so in the order in which they were sent.
        self._number = 0
        # The pairs of hosts that do not hear of each other, and what they have sent meanwhile.
        self._cut: set[frozenset[str]] = set()
        self._held: list[Packet] = []

    def send(self, packet: Packet, arrival: float) -> None:
        """Let a packet arrive at some moment."""
        self._number += 1
        heappush(self._packets, (arrival, self._number, packet))

    def next_arrival(self) -> float:
        """Return when the next packet arrives; ``inf`` if none is on its way."""
        return self._packets[0][0] if self._packets else INFINITY

    def deliver(self, now: float) -> None:
        """Let everything arrive that is due."""
        while self._packets and self._packets[0][0] <= now:
            packet = heappop(self._packets)[2]
            if not self.is_cut(packet.source, packet.target):
                packet.arrive()
            elif not packet.is_datagram:
                self._held.append(packet)

    def is_cut(self, source: str, target: str) -> bool:
        """Whether packets between two hosts do not arrive now."""
        return bool(self._cut) and frozenset((source, target)) in self._cut

    def cut(self, one: str, other: str) -> None:
        """Let no packet between two hosts arrive any more."""
        self._cut.add(frozenset((one, other)))

    def heal(self) -> None:
        """Let packets arrive again; at once those of streams that were held back, in their order."""
        self._cut.clear()
        held, self._held = self._held, []
        for packet in held:
            packet.arrive()
