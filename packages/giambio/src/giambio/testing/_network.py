# SPDX-License-Identifier: Apache-2.0
"""The description of a network in memory: how good, or rather how bad, it is."""

from __future__ import annotations

# What its options are if nothing was asked for.
_USUAL = (0.0, (0.0, 0.0), False)


class MemoryNetwork:
    """Describes a network in memory, for `explore`, `cancel_sweep` and `simulate`.

    Each run gets a network of its own that is like this; see `current_network`.

    Args:
        latency: How long a packet takes, in seconds; or at least and at most, then it is random.
        loss: The probability, from 0 to 1, that a packet is lost. A lost datagram never arrives. The
            data of a stream is sent again, and arrives a fifth of a second later.
        reordering: The probability that a datagram is so late that others overtake it.
        duplication: The probability that a datagram arrives twice.
        fragmentation: The probability that what is sent through a stream at once arrives in two parts.
        resets: The probability that a packet of a stream breaks its connection: both sides get
            `ConnectionResetError`.
        ipv6: Whether names stand for an IPv6 address, too. Numeric ones can be used in any case.

    Raises:
        ValueError: A number makes no sense.
    """

    __slots__ = (
        "duplication", "fragmentation", "ipv6", "latency", "loss", "reordering", "resets",
    )  # fmt: skip

    def __init__(
        self,
        *,
        latency: float | tuple[float, float] = 0.0,
        loss: float = 0.0,
        reordering: float = 0.0,
        duplication: float = 0.0,
        fragmentation: float = 0.0,
        resets: float = 0.0,
        ipv6: bool = False,
    ) -> None:
        bounds = latency if isinstance(latency, tuple) else (latency, latency)
        if (
            len(bounds) != 2  # type: ignore[redundant-expr]
            or not all(isinstance(each, int | float) for each in bounds)
            or not 0.0 <= bounds[0] <= bounds[1] < float("inf")
        ):
            raise ValueError(f"latency must be one or two growing numbers from 0, not {latency!r}")
        self.latency: tuple[float, float] = bounds
        self.loss: float = loss
        self.reordering: float = reordering
        self.duplication: float = duplication
        self.fragmentation: float = fragmentation
        self.resets: float = resets
        self.ipv6: bool = ipv6
        for name in ("loss", "reordering", "duplication", "fragmentation", "resets"):
            probability = getattr(self, name)
            if not isinstance(probability, int | float) or not 0.0 <= probability < 1.0:
                raise ValueError(f"{name} must be at least 0 and below 1, not {probability!r}")

    def __repr__(self) -> str:
        options = {name: getattr(self, name) for name in self.__slots__}
        given = [f"{name}={value!r}" for name, value in options.items() if value not in _USUAL]
        return f"MemoryNetwork({', '.join(given)})"


def as_network(network: MemoryNetwork | str | None) -> MemoryNetwork | None:
    """Return what an argument *network* stands for."""
    if network is None or isinstance(network, MemoryNetwork):
        return network
    if network == "memory":
        return MemoryNetwork(latency=(0.0, 0.01))
    raise ValueError(f"network must be 'memory', a MemoryNetwork or None, not {network!r}")
