# SPDX-License-Identifier: Apache-2.0
"""Numbers that a program gives, and what is none."""

from __future__ import annotations


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
