# SPDX-License-Identifier: Apache-2.0
"""Running a program once in a world of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ._network import MemoryNetwork, as_network
from ._simulated_network import SimulatedNetwork
from ._world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

T = TypeVar("T")


def simulate(
    fn: Callable[..., Coroutine[Any, Any, T]],
    *args: Any,
    network: MemoryNetwork | Literal["memory"] = "memory",
    seed: int = 0,
    debugger: object | Iterable[object] | None = None,
) -> T:
    """Run an async function on a network in memory and on a virtual clock.

    It is cut off from the outside world: see `explore`, which does the same many times. Nothing can
    differ between two such runs with the same *seed*, except that the `random` module is left alone.

    Args:
        fn: An async function.
        *args: Its arguments.
        network: ``"memory"`` for a network with a latency of up to 10 ms, or a `MemoryNetwork`, of
            which it gets a fresh copy; see `current_network`.
        seed: What the random numbers of the network begin with.
        debugger: Who is told what happens, as for `giambio.run`.

    Returns:
        What the function returns.

    Raises:
        DeadlockError: Nothing can ever happen again.
        EscapedSimulation: It reached for the outside world.
        BaseException: What the function raises.
    """
    description = as_network(network)
    if description is None:
        raise ValueError("network must be 'memory' or a MemoryNetwork, not None")
    several = debugger if isinstance(debugger, list | tuple) else [debugger]
    world = World(
        None, SimulatedNetwork(description, seed), [each for each in several if each is not None]
    )
    return world.start(fn, *args)
