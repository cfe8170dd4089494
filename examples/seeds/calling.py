# SPDX-License-Identifier: Apache-2.0
"""Async functions call each other with ``await``."""

from __future__ import annotations

import giambio


async def async_two() -> None:
    print("Hello from async_two!")


async def async_one() -> None:
    print("Hello from async_one!")
    await async_two()  # an async call


if __name__ == "__main__":
    giambio.run(async_one)
