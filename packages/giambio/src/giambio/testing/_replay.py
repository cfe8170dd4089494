# SPDX-License-Identifier: Apache-2.0
"""Making a failure happen again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._explore import explore
from ._recipe import Recipe
from ._sweep import cancel_sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ._failure import Report
    from ._sweep import SweepReport


def replay(
    fn: Callable[..., Coroutine[Any, Any, Any]], string: str, *args: Any, **options: Any
) -> Report | SweepReport:
    """Make a failure happen again that `explore` or `cancel_sweep` has found.

    Args:
        fn: The test.
        string: The replay string of its failure.
        *args: The arguments of the test, as when it failed.
        **options: The options of `explore` or `cancel_sweep`, as when it failed.

    Returns:
        That it does not fail any more.

    Raises:
        ExplorationFailure, SweepFailure: It fails, in the same way or in another.
        ReplayMismatch: The string is damaged or belongs to another test; or the test has changed so
            much that what the string says cannot be done.
    """
    if Recipe.decode(string).checkpoint is None:
        return explore(fn, *args, replay=string, **options)
    return cancel_sweep(fn, *args, replay=string, **options)
