# SPDX-License-Identifier: Apache-2.0
"""The root of a run: the scope that everything else happens in."""

from __future__ import annotations

from ._errors import add_siblings
from ._scope import CancelScope


class RootScope(CancelScope):
    """What the main task and everything outside of a pool is spawned in. Open as long as the run.

    Attributes:
        error: The first error of one of its tasks; the run raises it.
    """

    __slots__ = ("error",)

    watchful = False

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None

    def cancel(self, reason: str | None = None) -> None:
        if not self._cancel_called:
            for task in self.tasks[:1]:
                task.scheduler.touch()
            self._request(reason, timed_out=False)
            self._refresh()

    def fail(self, error: BaseException) -> None:
        """Let the run fail: its first error counts, but Ctrl+C and exit go before any other."""
        first = self.error
        if first is None or first is error:
            self.error = error
        elif isinstance(first, Exception) and not isinstance(error, Exception):
            self.error = error
            add_siblings(error, [first])
        else:
            add_siblings(first, [error])
        self.cancel("another task of the run failed")
