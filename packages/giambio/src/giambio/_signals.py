# SPDX-License-Identifier: Apache-2.0
"""Signals of the operating system, received by tasks.

Python calls a signal handler in the main thread, between any two instructions of whatever runs there. So
the handler here does next to nothing: it notes the signal with everybody who wants it, and leaves a call
for the loop, which wakes the tasks. One handler serves all receivers of a signal; it is installed with
the first of them, and with the last one the handler that was there before comes back.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, NamedTuple, Self

from giambio_kernel import (
    WaitQueue,
    break_all,
    checkpoint,
    checkpoint_due,
    current_scheduler,
    park,
    unpark,
)

from ._simulation import refuse_if_simulated
from .exceptions import ResourceClosed, WouldBlock

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from giambio_kernel import Wakeup


class SignalStatistics(NamedTuple):
    """What is known of a `SignalReceiver`."""

    pending: tuple[int, ...]
    """The signals that have come and that no task has taken yet, in the order they came in."""
    tasks_waiting: int
    """How many tasks wait for one."""


def open_signal_receiver(*signals: int) -> SignalReceiver:
    """Receive signals of the operating system instead of having them handled as before.

    Use it with ``with``, and iterate over it::

        with giambio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as received:
            async for number in received:
                if number == signal.SIGTERM:
                    break
                reload()

    At the end of the block the former handlers are back. A signal of ``SIGINT`` comes here, too, if
    it is asked for, and then Ctrl+C raises no `KeyboardInterrupt` meanwhile.

    Args:
        *signals: Their numbers, at least one.

    Raises:
        TypeError: There are none, or one is not a number.
        ValueError: There is no such signal, or the system does not let it be received.
    """
    return SignalReceiver(signals)


class SignalReceiver:
    """Signals that come while its block is open. Made by `open_signal_receiver`.

    Each of several open receivers is given each signal that it wants. Several tasks that wait in one
    receiver take turns. As in the system, a signal that comes again before the first one was
    taken counts once. One that nobody has taken by the end of the block is raised again, for the
    former handler: none is lost.
    """

    __slots__ = ("__weakref__", "_open", "_pending", "_signals", "_told", "_waiters", "_wakeup")

    _wakeup: Wakeup

    def __init__(self, signals: tuple[int, ...]) -> None:
        if not signals:
            raise TypeError("open_signal_receiver() needs at least one signal")
        self._signals = tuple(dict.fromkeys(map(_known, signals)))
        self._open: bool | None = None
        # What has come and was not taken. Changed by the handler, between any two instructions, so
        # it is never iterated over by more than one of them.
        self._pending: dict[int, _Arrival] = {}
        # Whether `_hand_out` was left for the loop and has not been called yet.
        self._told = False
        # Invariant: when the loop has looked, nobody waits while something is pending.
        self._waiters: WaitQueue = {}

    def __repr__(self) -> str:
        names = ", ".join(getattr(number, "name", str(number)) for number in self._signals)
        state = "new" if self._open is None else "open" if self._open else "closed"
        return f"<SignalReceiver of {names}, {state}>"

    def __enter__(self) -> Self:
        """Install the handlers.

        Raises:
            RuntimeError: Not called in the main thread, the only one in which Python handles
                signals; or it was entered before; or not called from inside a loop.
            ValueError: The system does not let one of the signals be received: ``SIGKILL``.
        """
        if self._open is not None:
            raise RuntimeError(f"{self!r} was entered before: it can be used only once")
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "signals can be received in the main thread only, where Python is told"
            )
        refuse_if_simulated("receiving signals")
        self._wakeup = current_scheduler().open_wakeup()
        self._open = True
        try:
            for number in self._signals:
                _subscribe(number, self)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Put the former handlers back. Tasks that wait get `ResourceClosed`. Twice is fine."""
        if not self._open:
            return
        self._open = False
        for number in self._signals:
            _unsubscribe(number, self)
        pending = list(self._pending.items())
        self._pending.clear()
        self._wakeup.close()
        break_all(self._waiters, lambda: ResourceClosed(f"{self!r} was closed"))
        for number, arrival in pending:
            if not arrival.taken and not _held_elsewhere(number, arrival):
                signal.raise_signal(number)

    def statistics(self) -> SignalStatistics:
        """Return what has come and how many tasks wait."""
        return SignalStatistics(tuple(self._pending), len(self._waiters))

    async def receive(self) -> int:
        """Wait for the next signal.

        Returns:
            Its number, as a `signal.Signals` if it has a name.

        Raises:
            ResourceClosed: The block is not open, or was left meanwhile.

        Checkpoint: always. If it raises `CancelledError`, no signal was taken.
        """
        if checkpoint_due():
            await checkpoint()
        try:
            return self.receive_nowait()
        except WouldBlock:
            number: int = await park(self._waiters, self)
            return number

    def receive_nowait(self) -> int:
        """Return a signal that has come already.

        Raises:
            WouldBlock: None has come, or other tasks wait for it.
            ResourceClosed: The block is not open.
        """
        if not self._open:
            raise ResourceClosed(f"{self!r} is not open: receive inside of its with block")
        if self._waiters or not self._pending:
            raise WouldBlock
        return self._take()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        return await self.receive()

    def _take(self) -> int:
        number = list(self._pending)[0]  # noqa: RUF015  # in one instruction
        self._pending.pop(number).taken = True
        return number

    def _hand_out(self) -> None:
        """Wake who waits; called by the loop between two steps."""
        self._told = False  # first, so that a signal that comes from now on leaves a call again
        while self._pending and self._waiters:
            unpark(self._waiters, self._take())

    def _note(self, number: int, arrival: _Arrival) -> None:
        """A signal has come; called by the handler."""
        self._pending[number] = arrival
        if not self._told:
            self._told = True
            try:
                self._wakeup.call_soon(self._hand_out)
            except RuntimeError:
                pass  # the loop was closed around this block


class _Arrival:
    """One coming of a signal, which all its receivers are told of."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        # Whether a task has it, of whichever receiver.
        self.taken: bool = False


class _Watch(NamedTuple):
    """A signal that is received."""

    number: int
    former: object
    receivers: dict[SignalReceiver, None]


# Invariant: our handler is installed for a signal exactly as long as it stands here, unless somebody
# else has replaced it meanwhile. Changed in the main thread only.
_watches: dict[int, _Watch] = {}


def _known(number: int) -> int:
    if not isinstance(number, int):
        raise TypeError(f"expected a signal such as signal.SIGTERM, not {number!r}")
    if number not in signal.valid_signals():
        raise ValueError(f"this system has no signal {number!r}")
    try:
        return signal.Signals(number)
    except ValueError:  # a real-time signal between the two that have names
        return number


def _subscribe(number: int, receiver: SignalReceiver) -> None:
    watch = _watches.get(number)
    if watch is None:
        former = signal.getsignal(number)
        if former is None:
            raise ValueError(
                f"the handler of {number!r} was not installed by Python, and could not be put back"
            )
        watch = _watches[number] = _Watch(number, former, {})
        try:
            signal.signal(number, _on_signal)
        except OSError:
            del _watches[number]
            raise ValueError(f"the system does not let {number!r} be received") from None
    watch.receivers[receiver] = None


def _unsubscribe(number: int, receiver: SignalReceiver) -> None:
    watch = _watches.get(number)
    if watch is None or receiver not in watch.receivers:
        return  # opening it has failed before this signal's turn
    del watch.receivers[receiver]
    if not watch.receivers:
        del _watches[number]
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, watch.former)  # type: ignore[arg-type]


def _held_elsewhere(number: int, arrival: _Arrival) -> bool:
    watch = _watches.get(number)
    return watch is not None and any(
        receiver._pending.get(number) is arrival for receiver in watch.receivers
    )


def _on_signal(number: int, frame: FrameType | None) -> None:
    watch = _watches.get(number)
    if watch is not None:
        arrival = _Arrival()
        for receiver in list(watch.receivers):
            receiver._note(watch.number, arrival)
