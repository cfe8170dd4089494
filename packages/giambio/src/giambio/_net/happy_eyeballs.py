# SPDX-License-Identifier: Apache-2.0
"""Happy eyeballs: trying the addresses of a host one after the other, without waiting for each to fail.

A host has several addresses, and of some of them, often of all of one family, one hears nothing. So the
next attempt is made when the one before has failed or a quarter of a second has passed, whichever comes
first; the attempts before go on meanwhile, and the first one that succeeds ends the others.

Source: RFC 8305, "Happy Eyeballs Version 2". Both families are asked for in one look-up, as the system's
resolver does it, so its section 3, on answers that come one by one, does not apply.
"""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, TypeVar

from giambio._pool import create_pool
from giambio._sync.event import Event
from giambio._timeouts import skip_after
from giambio_kernel import add_siblings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from giambio._simulation import AddressInfo
    from giambio._sockets.async_socket import AsyncSocket

T = TypeVar("T")


def interleave_families(targets: Sequence[AddressInfo]) -> list[AddressInfo]:
    """Order addresses so that families take turns, beginning with that of the first one.

    Source: RFC 8305, section 4, with a First Address Family Count of 1.
    """
    families: dict[int, list[AddressInfo]] = {}
    for target in targets:
        families.setdefault(target[0], []).append(target)
    rounds = zip_longest(*families.values())
    return [target for target in chain.from_iterable(rounds) if target is not None]


async def connect_first(
    connect: Callable[[AddressInfo], Coroutine[Any, Any, AsyncSocket]],
    targets: Sequence[AddressInfo],
    delay: float,
) -> AsyncSocket:
    """Return the first connection that could be made.

    Args:
        connect: Makes a connection, or raises `OSError`, or is cancelled; then it leaves nothing open.
        targets: Where to, at least one, in the order of preference.
        delay: How long an attempt has for itself before the next one begins, in seconds.

    Raises:
        OSError: The error of the first attempt, if none succeeded. `siblings` tells the others.

    Checkpoint: always. If it raises `CancelledError`, no connection is left open.
    """
    if len(targets) == 1:
        return await connect(targets[0])
    race = _Race(connect)
    try:
        async with create_pool() as pool:
            for target in targets:
                failed: Event[None] = Event()
                race.errors.append(None)
                pool.spawn(race.attempt, len(race.errors) - 1, target, failed, pool.cancel)
                with skip_after(delay):
                    await failed.wait()
    except BaseException:
        if race.winner is not None:
            race.winner.close()
        raise
    if race.winner is not None:
        return race.winner
    raise race.failure()


class _Race:
    def __init__(self, connect: Callable[[AddressInfo], Coroutine[Any, Any, AsyncSocket]]) -> None:
        self._connect = connect
        self.winner: AsyncSocket | None = None
        # What each attempt failed with, in the order of preference.
        self.errors: list[OSError | None] = []

    async def attempt(
        self, number: int, target: AddressInfo, failed: Event[None], end: Callable[[], object]
    ) -> None:
        try:
            sock = await self._connect(target)
        except OSError as error:
            self.errors[number] = error
            failed.set()
            return
        if self.winner is not None:
            sock.close()  # both in the same tick
        else:
            self.winner = sock
            end()

    def failure(self) -> OSError:
        errors = [error for error in self.errors if error is not None]
        errors[0].add_note(f"none of {len(errors)} addresses could be connected to")
        add_siblings(errors[0], errors)
        return errors[0]
