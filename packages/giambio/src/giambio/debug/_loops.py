# SPDX-License-Identifier: Apache-2.0
"""The loops of this process that a tool gets to see."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from giambio._run import attachments
from giambio_kernel import current_scheduler

if TYPE_CHECKING:
    from giambio_kernel import AsyncScheduler


class KnownLoops:
    """The current loop, if any, and those of all runs that start while this is open."""

    def __init__(self) -> None:
        # Replaced as a whole when it changes, because other threads and signal handlers read it.
        self._known: tuple[weakref.ref[AsyncScheduler], ...] = ()
        self._open = False

    def open(self) -> None:
        """Take notice from now on."""
        if not self._open:
            self._open = True
            attachments.append(self.add)
        try:
            self.add(current_scheduler())
        except RuntimeError:
            pass  # outside of any loop; those to come will be seen

    def close(self) -> None:
        """Take no notice any more, and forget all loops. Closing twice is fine."""
        if self._open:
            self._open = False
            attachments.remove(self.add)
        self._known = ()

    def add(self, scheduler: AsyncScheduler) -> None:
        """Know this loop, too."""
        known = self.alive()
        if scheduler not in known:
            self._known = tuple(weakref.ref(each) for each in (*known, scheduler))

    def alive(self) -> list[AsyncScheduler]:
        """Return the loops that have not ended. From any thread, and from a signal handler."""
        found = [known() for known in self._known]
        return [scheduler for scheduler in found if scheduler is not None and not scheduler.done()]
