# SPDX-License-Identifier: Apache-2.0
"""The smallest program: `giambio.run` starts an async function from a synchronous place."""

from __future__ import annotations

import giambio


async def foo() -> None:
    print("Hello, world!")


if __name__ == "__main__":
    giambio.run(foo)
