# SPDX-License-Identifier: Apache-2.0
"""Running a program again and again, and telling what is wrong with a run."""

from __future__ import annotations

import gc
import re
import threading
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from giambio_kernel import AsyncScheduler, DeadlockError, VirtualClock, format_tree

from ._arguments import NotAsync, call_hook, check_hook, check_number
from ._leftovers import Watch
from ._loose_ends import LooseEnds
from ._places import place_of_error
from ._simulated_network import SimulatedNetwork
from ._world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
    from types import TracebackType

    from giambio_kernel import Task

    from ._network import MemoryNetwork
    from ._places import Place
    from ._simulated_network import Fault
    from ._strategies import Recorder

    Main = Callable[[], Coroutine[Any, Any, object]]


# Held while warnings, the garbage collector and classes are not as they usually are, so that programs
# in several threads take turns.
_in_use = threading.RLock()

# After how many runs to look for garbage that was not in the youngest generation, because the program
# has kept it for a while.
_RUNS_BETWEEN_COLLECTIONS = 100

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Kind(Enum):
    """What can be wrong with a run."""

    ERROR = "it raises"
    DEADLOCK = "it comes to a standstill"
    ENDLESS = "it does not end"
    CHECK = "the check failed"
    LEFT_OPEN = "something was left open"
    LEFT_BEHIND = "something was left behind"
    SWALLOWED = "the cancellation was swallowed"


class Finding(NamedTuple):
    """What is wrong with a run."""

    kind: Kind
    text: str
    error: BaseException | None = None

    def identity(self) -> tuple[object, ...]:
        """Return what two findings have in common if they are the same mistake."""
        if self.error is None:
            return (self.kind,)
        place = self.place()
        return (self.kind, type(self.error), place and (place.file, place.line))

    def place(self) -> Place | None:
        """Return the line that has raised the error; None if there is none that means anything."""
        if self.error is None or self.kind is Kind.DEADLOCK:
            return None
        return place_of_error(self.error)

    def __str__(self) -> str:
        text = _ADDRESS.sub("", self.text)  # which would be another one each time
        return text if self.kind is Kind.ERROR else f"{self.kind.value}: {text}"


class Oracles(NamedTuple):
    """What must hold in each run, besides that it ends without an error."""

    check: Callable[[], object] | None = None
    """Called after each run; it raises if something is wrong."""
    always: Callable[[], object] | None = None
    """Called after each step; it raises if something is wrong."""
    leftovers: bool = True
    """Whether to look for what is left open and left behind."""
    watch: tuple[type, ...] = ()
    """Classes of the program to watch like giambio's own."""


class Program:
    """An async function that is run again and again.

    A context manager: while it is entered, the garbage collector runs only between two runs, because
    what it drops is noticed by the program, and what is made is watched.

    Args:
        main: The function. It is called anew for each run.
        oracles: What must hold.
        isolated: Whether it is cut off from the outside world.
        network: What each run gets a fresh copy of.
        max_steps: After how many steps a run is taken to be endless.
        through: Errors that are none of our business and end everything.
    """

    def __init__(
        self,
        main: Main,
        oracles: Oracles,
        *,
        isolated: bool,
        network: MemoryNetwork | None,
        max_steps: int,
        through: tuple[type[BaseException], ...] = (),
    ) -> None:
        check_number("max_steps", max_steps, 1)
        check_hook("check", oracles.check)
        check_hook("always", oracles.always)
        self.main = main
        self._oracles = oracles
        self._isolated = isolated or network is not None
        self._network = network
        self._max_steps = max_steps
        self._through: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit, *through)
        self._watch = Watch(oracles.watch)
        self._loose_ends = LooseEnds()
        self._random_state: object = None
        self._collects = False
        self._freezes = False
        self._runs = 0
        # What the network did to the last run, and the numbers of what came by chance.
        self.faults: list[Fault] = []
        self.happened: list[int] = []

    @property
    def has_network(self) -> bool:
        """Whether there is a network in memory, and so chance."""
        return self._network is not None

    def __enter__(self) -> Self:
        import random

        _in_use.acquire()
        try:
            if self._oracles.leftovers:
                self._watch.__enter__()
        except BaseException:
            _in_use.release()
            raise
        self._random_state = random.getstate()
        self._loose_ends.__enter__()
        self._collects = gc.isenabled()
        gc.disable()
        gc.collect(0)
        self._freezes = not gc.get_freeze_count()
        if self._freezes:
            gc.freeze()  # a full collection is cheap if it has to look at nothing older
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        import random

        if self._oracles.leftovers:
            self._watch.__exit__(exc_type, exc, traceback)
        gc.collect(0)  # what runs that failed have left open is told of now, and not later
        self._loose_ends.__exit__(exc_type, exc, traceback)
        if self._freezes:
            gc.unfreeze()
        if self._collects:
            gc.enable()
        random.setstate(self._random_state)  # type: ignore[arg-type]  # what getstate() gave
        _in_use.release()

    def run(
        self,
        policy: Recorder,
        *,
        seed: int = 0,
        allowed_faults: Collection[int] | None = None,
        debuggers: Sequence[object] = (),
        main: Main | None = None,
        is_normal: bool = False,
    ) -> Finding | None:
        """Run the program once, and say what is wrong.

        Args:
            policy: Who decides which ready task runs next.
            seed: What the `random` module, and the network, begin with.
            allowed_faults: Which faults of the network happen; see `SimulatedNetwork`.
            debuggers: Who is told of each step.
            main: What to run in place of the function.
            is_normal: Whether to take what it leaves behind for normal, here and from now on.

        Raises:
            EscapedSimulation: The program reached for the outside world.
            BaseException: One of the errors that are none of our business.
        """
        network = None
        if self._network is not None:
            network = SimulatedNetwork(self._network, seed, allowed_faults)
            self.faults = network.faults
            self.happened = network.happened
        finding = self._run(policy, seed, network, debuggers, main or self.main)
        del network  # which knows the whole run, and that has to be garbage now
        if finding is None and self._oracles.leftovers:
            if is_normal:
                self._watch.accept()
                self._loose_ends.accept()
            finding = self._look_for_leftovers()
        return finding

    def _run(
        self,
        policy: Recorder,
        seed: int,
        network: SimulatedNetwork | None,
        debuggers: Sequence[object],
        main: Main,
    ) -> Finding | None:
        import random

        random.seed(seed)
        self._watch.forget()
        self._runs += 1
        if self._runs % _RUNS_BETWEEN_COLLECTIONS == 0:
            gc.collect()
        self._loose_ends.forget()
        always = None
        if self._oracles.always is not None:
            always = _Always(self._oracles.always)
            debuggers = [*debuggers, always]
        world: AsyncScheduler
        if self._isolated:
            world = World(policy, network, debuggers)
        else:
            world = AsyncScheduler(
                clock=VirtualClock(), policy=policy, debugger=list(debuggers), deadlock="raise"
            )
        finding = self._drive(world, policy, main)
        if network is not None:
            network.table.close_all(complain=finding is None)
        if isinstance(world, World) and world.escaped is not None:
            raise world.escaped
        if always is not None and always.error is not None:
            finding = Finding(Kind.CHECK, first_line(always.error), always.error)
        if finding is not None and isinstance(finding.error, NotAsync):
            raise TypeError(*finding.error.args)
        if finding is not None and isinstance(finding.error, self._through):
            raise finding.error
        if finding is None and self._oracles.check is not None:
            try:
                call_hook("check", self._oracles.check)
            except self._through:
                raise
            except BaseException as error:
                finding = Finding(Kind.CHECK, first_line(error), error)
        return finding

    def _drive(self, world: AsyncScheduler, policy: Recorder, main: Main) -> Finding | None:
        passes = 0
        try:
            # Not `run`: a loop that is ticked leaves signal handlers alone, which would be a third
            # of the cost of a short run.
            task = world.start(main, loop=False)
            while world.tick(None):
                passes += 1
                if passes + len(policy.picks) > self._max_steps:
                    text = f"after {self._max_steps} steps it still runs\n{format_tree(world)}"
                    _break_off(world)
                    return Finding(Kind.ENDLESS, text)
            world.close()
            task.result()
        except BreakOff:
            _break_off(world)
        except DeadlockError as error:
            if not world.done():
                _break_off(world)
            return Finding(Kind.DEADLOCK, str(error), error)
        except BaseException as error:
            if not world.done():
                _break_off(world)
            return Finding(Kind.ERROR, first_line(error), error)
        return None

    def _look_for_leftovers(self) -> Finding | None:
        left_behind = self._watch.found()
        self._watch.forget()
        left_open = self._loose_ends.found()
        if left_behind:
            return Finding(Kind.LEFT_BEHIND, _listed(each.text for each in left_behind))
        if left_open:
            return Finding(Kind.LEFT_OPEN, _listed(left_open))
        return None


class BreakOff(BaseException):
    """Raised between two steps, by a debugger, to end a run."""


class _Breaker:
    """A debugger that lets no step be made any more."""

    def before_task_step(self, task: Task[Any]) -> NoReturn:
        raise BreakOff


class _Always:
    """A debugger that calls a function after each step, until that fails."""

    def __init__(self, fn: Callable[[], object]) -> None:
        self._fn = fn
        self.error: BaseException | None = None

    def after_task_step(self, task: Task[Any]) -> None:
        try:
            call_hook("always", self._fn)
        except BaseException as error:
            self.error = error
            raise BreakOff from None

    on_task_exit = after_task_step


def _break_off(world: AsyncScheduler) -> None:
    """End a run that is in the middle of something, without letting it make another step."""
    world.add_debugger(_Breaker())
    try:
        world.close()
    except BaseException:
        pass  # `BreakOff`, or what a coroutine says that is closed


def _listed(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def first_line(error: BaseException) -> str:
    """Return an error as Python prints it; of a failed assertion the first line."""
    name = type(error).__name__
    try:
        text = f"{name}: {error}" if str(error) else name
    except Exception:  # of the program
        text = f"{name}, which cannot be shown as text"
    return text.partition("\n")[0] if isinstance(error, AssertionError) else text
