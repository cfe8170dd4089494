# SPDX-License-Identifier: Apache-2.0
"""The world of a simulated run: a loop that is cut off from everything that could differ.

It has a clock that moves only when every task is blocked, no descriptors but those of a network in memory,
and no threads: what would run in one is a step of its own, at a time that the policy chooses. Whatever
else reaches outside is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from giambio._simulation import NETWORK, REFUSE, THREADS, EscapedSimulation
from giambio._threads import cache as _threadcache
from giambio_kernel import AsyncScheduler, DeadlockError, current_scheduler, format_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from giambio._threads.cache import Job
    from giambio_kernel import Policy

    from ._simulated_network import SimulatedNetwork

INFINITY = float("inf")


class World(AsyncScheduler):
    """The loop of a simulated run.

    Args:
        policy: Who decides which ready task runs next.
        network: What sockets and names belong to; ``None`` refuses them.
        debugger: Who is told what happens.

    Attributes:
        escaped: What the run reached for in vain, if anything.
        thread: What runs now and would run in a thread; usually None.
    """

    __slots__ = ("escaped", "thread")

    def __init__(
        self,
        policy: Policy | None,
        network: SimulatedNetwork | None = None,
        debugger: Sequence[object] = (),
    ) -> None:
        clock = _Clock(network)
        super().__init__(
            clock=clock,
            poller=_Poller(network, self),
            policy=policy,
            debugger=debugger,
            deadlock="raise",
        )
        self.escaped: EscapedSimulation | None = None
        self.thread: _Thread | None = None
        if network is not None:
            network.join(clock.now, self.refuse)
        kept = self.locals
        kept[NETWORK] = _NoNetwork(self.refuse) if network is None else network
        kept[REFUSE] = self.refuse
        kept[THREADS] = _call_in_step

    def refuse(self, what: str) -> NoReturn:
        """Raise `EscapedSimulation`, and remember it in case that the program catches that."""
        self.escaped = EscapedSimulation(
            f"{what} is not possible in a simulated run, because every run must be the same as the "
            "one before: sockets need network='memory', and what talks to the outside must be "
            "replaced by something that does not"
        )
        raise self.escaped

    def stand_still(self) -> NoReturn:
        """Raise `DeadlockError`, because nothing will ever come from outside."""
        raise DeadlockError(
            "no task can ever run again; some wait for the outside world, which is not there:\n"
            + format_tree(self)
        )

    def call_soon_threadsafe(self, fn: Callable[..., object], *args: Any) -> None:
        if self.thread is None:
            super().call_soon_threadsafe(fn, *args)
        elif self.thread.has_worked:
            fn(*args)  # at once, so that who runs next is up to the policy
        else:
            self.refuse("asking the loop for something from a thread")


class _Clock:
    """A clock that starts at zero and moves only when every task is blocked.

    Then it jumps to the next timer or the next packet.
    """

    __slots__ = ("_network", "_now")

    def __init__(self, network: SimulatedNetwork | None) -> None:
        self._now = 0.0
        self._network = network

    def now(self) -> float:
        """Return the time in seconds."""
        return self._now

    def real_seconds(self, deadline: float) -> float:
        """Return how long to really wait: not at all, or for ever."""
        return 0.0 if deadline <= self._now else INFINITY

    def jump(self, deadline: float) -> bool:
        """Move on, because every task is blocked."""
        if self._network is not None:
            deadline = min(deadline, self._network.next_arrival())
        if deadline == INFINITY:
            return False
        self._now = max(self._now, deadline)
        return True


class _Poller:
    """A poller that knows the sockets of a network in memory, and no descriptors."""

    __slots__ = ("_network", "_pipe", "_watched", "_world")

    edge_triggered = True

    def __init__(self, network: SimulatedNetwork | None, world: World) -> None:
        self._network = network
        self._world = world
        # The loop's own pipe, the first that is added. Nobody writes to it here.
        self._pipe = -1
        # What is watched, for what, and whether only changes are told.
        self._watched: dict[int, tuple[int, bool]] = {}

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        network = self._network
        events: list[tuple[int, int]] = []
        if network is not None:
            network.deliver()
            changed = network.table.take_changed()
            changed += [fd for fd, (_, edge) in self._watched.items() if not edge]
            for fd in dict.fromkeys(changed):
                if fd in self._watched:
                    mask = network.table.readiness(fd) & (self._watched[fd][0] | _ALWAYS_TOLD)
                    if mask:
                        events.append((fd, mask))
        if not events and (timeout is None or timeout > 0):
            self._world.stand_still()
        return events

    def add(self, fd: int, mask: int, edge: bool) -> None:
        if self._pipe == -1:
            self._pipe = fd
        else:
            self.change(fd, mask, edge)

    def change(self, fd: int, mask: int, edge: bool) -> None:
        if self._network is None or fd not in self._network.table:
            self._world.refuse(f"waiting for descriptor {fd}")
        self._watched[fd] = (mask, edge)
        self._network.table.note_change(fd)

    def remove(self, fd: int) -> None:
        self._watched.pop(fd, None)

    def fileno(self) -> int:
        raise RuntimeError("the loop of a simulated run has no descriptor")

    def close(self) -> None:
        pass


# As epoll does: errors, and that the other side has ended its stream.
_ALWAYS_TOLD = 0x8 | 0x10 | 0x2000


class _NoNetwork:
    """A network that does not exist."""

    __slots__ = ("_refuse",)

    def __init__(self, refuse: Callable[[str], NoReturn]) -> None:
        self._refuse = refuse

    def socket(self, family: int, type: int, proto: int, fileno: int | None) -> NoReturn:
        self._refuse("making a socket")

    def socketpair(self, family: int | None, type: int, proto: int) -> NoReturn:
        self._refuse("making a pair of sockets")

    def check(self, sock: object) -> NoReturn:
        self._refuse(f"using {sock!r}")

    is_readable = check

    def getaddrinfo(self, host: object, *others: object) -> NoReturn:
        self._refuse(f"resolving {host!r}")

    def getnameinfo(self, sockaddr: object, flags: int) -> NoReturn:
        self._refuse(f"resolving {sockaddr!r}")


def _call_in_step(job: Job) -> None:
    """Do what would be a thread's job in a task: in one step, which comes when the policy says so.

    A thread is not cancelled, so neither is that task.
    """
    world = current_scheduler()
    assert isinstance(world, World)
    function = getattr(job, "_func", None)
    name = f"thread {getattr(function, '__name__', 'call')}"
    world.spawn(_do_job, world, job, name=name, shield=True)


class _Thread:
    """Stands in for the worker that `giambio.from_thread` asks for its job."""

    __slots__ = ("has_worked", "job")

    def __init__(self, job: Job) -> None:
        self.job: Job | None = job
        self.has_worked = False


async def _do_job(world: World, job: Job) -> None:
    here: Any = _threadcache._here
    outer = here.worker
    here.worker = world.thread = thread = _Thread(job)
    try:
        job.work()
        thread.has_worked = True
        job.tell()
    finally:
        here.worker = outer
        world.thread = None
