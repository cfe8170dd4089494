# SPDX-License-Identifier: Apache-2.0
"""Process groups: a child with whatever it has started, to be signalled together."""

from __future__ import annotations

import os
from glob import iglob


class ProcessGroup:
    """The group of which a child process is the leader.

    Its number is that of the leader, and stays taken as long as anybody is in the group, the leader
    included until it is reaped. Afterwards it could be given to somebody else, so nothing is sent any
    more once the group was seen empty.

    Args:
        number: The process number of the leader.
    """

    __slots__ = ("_number", "empty")

    def __init__(self, number: int) -> None:
        self._number = number
        # Whether nobody was left when somebody last looked.
        self.empty = False

    def send_signal(self, number: int) -> None:
        """Send a signal to all of them, if there are any.

        Raises:
            PermissionError: None of them may be signalled, because they run as somebody else.
        """
        if not self.empty:
            try:
                os.killpg(self._number, number)
            except ProcessLookupError:
                self.empty = True

    def look(self) -> bool:
        """Whether somebody is left, dead but unreaped ones included. Costs next to nothing."""
        try:
            self.send_signal(0)
        except PermissionError:
            pass
        return not self.empty

    def lives(self) -> bool:
        """Whether somebody alive is left. Looks through the table of processes."""
        if not self.look():
            return False
        # Orphans that are dead still count until they are reaped, and in a container nobody may do
        # that. Linux tells the difference.
        states = [state for state, group in _processes() if group == self._number]
        return not states or any(state not in "ZX" for state in states)


def _processes() -> list[tuple[str, int]]:
    """The state and the group of each process, on Linux; nothing elsewhere. Source: proc(5)."""
    found = []
    for path in iglob("/proc/[0-9]*/stat"):
        try:
            with open(path, "rb") as file:
                # The name of the program, in brackets, may contain anything, brackets included.
                _, _, rest = file.read().rpartition(b")")
        except OSError:
            continue  # it has just ended
        state, _, group = rest.split()[:3]
        found.append((state.decode(), int(group)))
    return found
