# SPDX-License-Identifier: Apache-2.0
"""Async tests and fixtures that nobody runs.

pytest fails them, once every plugin has had its turn, and names plugins that it knows. What to do for
ours is added to that.
"""

from __future__ import annotations

from contextlib import contextmanager
from traceback import clear_frames
from typing import TYPE_CHECKING

from ._compat import add_to_message, says_that_nobody_ran_it
from ._marker import is_marked_for_another, is_ours

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARK_IT = (
    "To run it on giambio, mark the test with @pytest.mark.giambio, or set giambio_mode = auto."
)
_MADE_PLAIN = (
    "giambio runs async functions, and this is a plain one that returns a coroutine; a decorator "
    "may have made it that, and should return an async function."
)


@contextmanager
def untaken_explained(item: object) -> Iterator[None]:
    """Add the way out to the error of an async test, or fixture, that nobody has run.

    Args:
        item: The test, or the one that asks for the fixture.
    """
    __tracebackhide__ = True
    try:
        yield
    except BaseException as error:
        if says_that_nobody_ran_it(error) and not is_marked_for_another(item):
            hint = _MADE_PLAIN if is_ours(item) else _MARK_IT
            # The error of a fixture comes by once more for each fixture that uses it.
            if hint not in str(error):
                add_to_message(error, hint)
            # The coroutine is dropped now, and not by chance while another test runs.
            clear_frames(error.__traceback__)
        raise
