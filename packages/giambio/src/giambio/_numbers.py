# SPDX-License-Identifier: Apache-2.0
"""Numbers that a program gives: checked by the names that the program knows."""

from __future__ import annotations

INFINITY = float("inf")


def check_numbers(**numbers: object) -> None:
    """Refuse what cannot be compared with a number, by its name. NaN is one.

    Args:
        **numbers: What was given, by what the program calls it.

    Raises:
        TypeError: It is a string, ``None`` or the like.
    """
    for name, value in numbers.items():
        try:
            _ = value >= 0  # type: ignore[operator]
        except TypeError:
            raise TypeError(f"{name} must be a number, not {value!r}") from None


def check_seconds(name: str, seconds: float) -> None:
    """Refuse what is no length of time; infinity is one.

    Args:
        name: What the program calls it.
        seconds: What was given.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, or NaN.
    """
    check_numbers(**{name: seconds})
    if not seconds >= 0:
        raise ValueError(f"{name} must be at least 0, not {seconds!r}")


def check_count(name: str, count: float, least: int, unlimited: str = "infinity") -> None:
    """Refuse a number of things that nothing can keep: with one and a half, two would be let in.

    Args:
        name: What the program calls it.
        count: What was given; infinity will do.
        least: The least that makes sense.
        unlimited: What the message says that stands for no limit.

    Raises:
        TypeError: It is no number.
        ValueError: It is less, or a fraction, or NaN.
    """
    check_numbers(**{name: count})
    if not (count >= least and (count == INFINITY or count % 1 == 0)):
        raise ValueError(
            f"{name} must be a whole number from {least}, or {unlimited}, not {count!r}"
        )
