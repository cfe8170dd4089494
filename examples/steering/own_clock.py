# SPDX-License-Identifier: Apache-2.0
"""A clock of our own: one that can be paused, for a game or a simulation that has a pause button."""

from __future__ import annotations

import time
from math import inf

import giambio


class PausableClock:
    """Real time, without the time for which it was paused."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._paused_at: float | None = None

    # What the loop asks for

    def now(self) -> float:
        real = time.monotonic() if self._paused_at is None else self._paused_at
        return real - self._offset

    def real_seconds(self, deadline: float) -> float:
        return max(0.0, deadline - self.now()) if self._paused_at is None else inf

    def jump(self, deadline: float) -> bool:
        return False  # this one does not

    # The buttons

    def pause(self) -> None:
        if self._paused_at is None:
            self._paused_at = time.monotonic()

    def go_on(self) -> None:
        if self._paused_at is not None:
            self._offset += time.monotonic() - self._paused_at
            self._paused_at = None


async def game(clock: PausableClock) -> None:
    async with giambio.create_pool() as pool:
        bomb = pool.spawn(giambio.sleep, 0.05)
        clock.pause()
        before = giambio.clock()
        await giambio.run_in_thread(time.sleep, 0.1)  # a thread does not care for our clock
        print("while paused,", giambio.clock() - before, "seconds have passed")
        clock.go_on()
        await bomb.join()
        print("the bomb went off", "late" if giambio.clock() - before > 1 else "in time")


def main() -> None:
    clock = PausableClock()
    giambio.run(game, clock, clock=clock)


if __name__ == "__main__":
    main()
