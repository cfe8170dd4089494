# SPDX-License-Identifier: Apache-2.0
"""How the kernel's tests run a program: on a virtual clock, unless they say otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from giambio_kernel import AsyncScheduler, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


@pytest.fixture
def run() -> Callable[..., Any]:
    """Return a function that runs an async function to its end, in virtual time."""

    def run(func: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **options: Any) -> Any:
        options.setdefault("clock", VirtualClock())
        return AsyncScheduler(**options).start(func, *args)

    return run
