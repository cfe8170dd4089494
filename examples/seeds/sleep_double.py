# SPDX-License-Identifier: Apache-2.0
"""A function that is worth making async, because it calls another one that waits."""

from __future__ import annotations

import giambio


async def sleep_double(n: float) -> None:
    await giambio.sleep(2 * n)


if __name__ == "__main__":
    giambio.run(sleep_double, 2)  # takes 4 seconds
