# SPDX-License-Identifier: Apache-2.0
"""Ordinary uses of the pytest plugin. Type-checked, not run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator  # pytest reads annotations

from pytest_giambio import fixture


@fixture
async def number() -> int:
    return 5


@fixture(scope="module", params=[1, 2], ids=["one", "two"])
async def generator() -> AsyncIterator[int]:
    yield 5


@fixture(name="other", autouse=True)
def plain() -> Iterator[str]:
    yield "text"


async def uses() -> tuple[int, AsyncIterator[int], Iterator[str]]:
    return await number(), generator(), plain()
