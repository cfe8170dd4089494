# SPDX-License-Identifier: Apache-2.0
"""A generator suspends itself at ``yield``; async functions do the same at ``await``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def countdown(n: int) -> Iterator[int]:
    while n:
        yield n
        n -= 1


if __name__ == "__main__":
    for x in countdown(5):
        print(x)
