# SPDX-License-Identifier: Apache-2.0
"""What happens when one forgets an ``await``: nothing, and Python warns."""

from __future__ import annotations

import giambio


async def sleep_double_broken(n: float) -> None:
    print("Taking a nap!")
    start = giambio.clock()
    giambio.sleep(2 * n)  # type: ignore[unused-coroutine]  # the await is missing
    end = giambio.clock() - start
    print(f"Slept for {end:.2f} seconds!")


if __name__ == "__main__":
    giambio.run(sleep_double_broken, 2)
