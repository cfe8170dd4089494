# SPDX-License-Identifier: Apache-2.0
"""Hosts: what a loop must be able to do to carry one of ours, and the ones that come with giambio."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    import tkinter as tk
    from collections.abc import Callable


class Host(Protocol):
    """A loop that watches descriptors and calls functions later, all in one thread.

    Callbacks must be called by the host's own loop, never from inside of these methods.
    """

    def watch(self, fd: int, callback: Callable[[], object]) -> None:
        """Call *callback* whenever *fd* is readable, for as long as it is: level-triggered."""
        ...

    def unwatch(self, fd: int) -> None:
        """Do not call for *fd* any more. Also called when the host is closed already."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Any:
        """Call *callback* once, not before *seconds* have passed.

        Zero means soon: after the host has looked at its own events.

        Returns:
            Whatever `cancel_call` needs.
        """
        ...

    def cancel_call(self, handle: Any) -> None:
        """Do not make a call that is still to come. Also called when the host is closed already."""
        ...


class AsyncioHost:
    """An asyncio loop as host, uvloop's included.

    Args:
        loop: The loop; the running one if omitted. It needs ``add_reader``, which the Proactor loop
            of Windows does not have.

    Raises:
        RuntimeError: *loop* is omitted and none is running.
    """

    __slots__ = ("loop",)

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        if loop is None:
            import asyncio

            loop = asyncio.get_running_loop()
        self.loop: asyncio.AbstractEventLoop = loop

    def watch(self, fd: int, callback: Callable[[], object]) -> None:
        """See `Host.watch`."""
        self.loop.add_reader(fd, callback)

    def unwatch(self, fd: int) -> None:
        """See `Host.unwatch`."""
        if not self.loop.is_closed():
            self.loop.remove_reader(fd)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.Handle:
        """See `Host.call_later`."""
        return self.loop.call_later(seconds, callback) if seconds else self.loop.call_soon(callback)

    def cancel_call(self, handle: asyncio.Handle) -> None:
        """See `Host.cancel_call`."""
        handle.cancel()


class TkHost:
    """A Tk application as host.

    Args:
        root: The application, or any of its widgets. Tk must be able to watch descriptors, as it
            is on everything but Windows.

    Raises:
        RuntimeError: This Tk cannot watch descriptors.
    """

    __slots__ = ("root",)

    def __init__(self, root: tk.Misc) -> None:
        if not hasattr(root.tk, "createfilehandler"):
            raise RuntimeError("this Tk cannot watch descriptors, so it cannot host a loop")
        self.root: tk.Misc = root

    def watch(self, fd: int, callback: Callable[[], object]) -> None:
        """See `Host.watch`."""
        import tkinter as tk

        self.root.tk.createfilehandler(fd, tk.READABLE, lambda file, mask: callback())

    def unwatch(self, fd: int) -> None:
        """See `Host.unwatch`."""
        # This belongs to the interpreter, not to the window, and works when that is destroyed.
        self.root.tk.deletefilehandler(fd)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> str:
        """See `Host.call_later`. The shortest time is a millisecond.

        Zero would not do: Tk's ``update()`` returns only when nothing is due, and the window is
        redrawn only then.
        """
        return self.root.after(max(1, math.ceil(min(seconds, 86_400.0) * 1000)), callback)

    def cancel_call(self, handle: str) -> None:
        """See `Host.cancel_call`."""
        import tkinter as tk

        try:
            self.root.after_cancel(handle)
        except tk.TclError:
            pass  # the application was destroyed, and its calls with it
