# SPDX-License-Identifier: Apache-2.0
"""Plain functions that a program gives to be asked something, and async ones given by mistake."""

from __future__ import annotations

from types import CoroutineType


def refuse_async(function: object, answer: object) -> None:
    """Refuse a function that was to give an answer and gave a coroutine, which would count as true.

    Args:
        function: The function.
        answer: What it returned.

    Raises:
        TypeError: *answer* is a coroutine. It was closed.
    """
    if isinstance(answer, CoroutineType):
        answer.close()  # or Python would complain of that, too
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(
            f"{name} is an async function, and nobody would await it here: give a plain function"
        )
