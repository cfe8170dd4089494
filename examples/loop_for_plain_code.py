# SPDX-License-Identifier: Apache-2.0
"""A program without a loop that uses async code: a loop in a thread of its own, behind a portal.

python loop_for_plain_code.py
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import giambio


async def double(n: int) -> int:
    await giambio.sleep(0.01)
    return 2 * n


@asynccontextmanager
async def session(name: str) -> AsyncIterator[str]:
    """Such as a connection, which an async library opens and closes."""
    await giambio.checkpoint()
    yield name
    await giambio.checkpoint()
    print(name, "closed")


def main() -> None:
    with giambio.start_blocking_portal() as portal:
        print(portal.run(double, 1))
        futures = [portal.spawn(double, n) for n in (2, 3)]  # side by side
        print([future.result() for future in futures])
        with portal.enter(session("session")) as name:
            print(name, "open")


if __name__ == "__main__":
    main()
