# SPDX-License-Identifier: Apache-2.0
"""Runners: a loop that stands still between the things that pytest wants done.

A test has a runner of its own, unless it uses an async fixture that outlives it. Such fixtures, and
the tests that use them, share one runner for the session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from giambio import CancelledError, CancelScope, EventLoop, Task, siblings
from giambio.lowlevel import current_task, suspend
from giambio_kernel import interrupt_free_packages

from ._clock import RunnerClock
from ._context import Changes, apply_changes, take_back
from ._interrupts import interrupts
from ._other_timer import other_timer_paused
from ._outcome import leaves, simplify
from ._timer import Timer
from ._unit import FixtureUnit, Unit, UnitPool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

    import pytest

T = TypeVar("T")

# Reports show where in the program a task stands, and nothing of ours is interrupted halfway.
interrupt_free_packages.add("pytest_giambio")


class _Loop(EventLoop):
    """A loop, seen by all tools, in which `giambio.spawn` means the root pool of the calling unit.

    The root of the loop is the wrong place: an error there ends everything, also the fixtures that
    other tests use, and nobody could say whose task it was.
    """

    def spawn(
        self,
        fn: Callable[..., Coroutine[Any, Any, T]] | Coroutine[Any, Any, T],
        *args: Any,
        name: str | None = None,
        scope: CancelScope | None = None,
        context: Context | None = None,
        delay: float | None = None,
        hold: Callable[[Task[Any], BaseException], object] | None = None,
        shield: bool = False,
    ) -> Task[T]:
        if scope is None and self.current_task() is not None:
            scope = _enclosing_unit_pool()
        return super().spawn(
            fn,
            *args,
            name=name,
            scope=scope,
            context=context,
            delay=delay,
            hold=hold,
            shield=shield,
        )


def _enclosing_unit_pool() -> UnitPool | None:
    scope: CancelScope | None = current_task().scope
    while scope is not None and not isinstance(scope, UnitPool):
        scope = scope.parent
    return scope


class Terms(NamedTuple):
    """On what terms the loop runs."""

    item: pytest.Item
    """The test that this is for; a timer that pytest-timeout has set for it counts, too."""
    limit: float | None
    """How long each thing may take, in real seconds."""
    virtual: bool
    """Whether the time passes on the virtual clock."""


class Runner:
    """A loop, and the fixtures that live in it.

    Args:
        virtual: Whether it begins with virtual time.

    Attributes:
        clock: The clock of the loop.
        fixtures: The fixtures that are set up, in this order, under pytest's definitions of them.
        failure: An error that belongs to no unit, with which the loop as a whole has failed: Ctrl+C
            after the last checkpoint of a test, or an error in a function that another thread had
            the loop call. What is left can only clean up.
    """

    def __init__(self, *, virtual: bool = False) -> None:
        self.clock = RunnerClock(virtual=virtual)
        self.scheduler = _Loop(clock=self.clock)
        # The loop ends when no task is left; this one stays.
        self._keeper = self.scheduler.start(_stay, loop=False)
        self._keeper.name = "pytest"
        self.fixtures: dict[Any, FixtureUnit] = {}
        self.failure: BaseException | None = None
        self._running: Unit | None = None
        # Ctrl+C was pressed twice: the loop was broken off.
        self._can_go_on = True
        # A task did not end although it was cancelled.
        self._is_stuck = False

    def run(self, unit: Unit, until: Callable[[], bool], terms: Terms) -> None:
        """Let the loop run until *unit* has got somewhere.

        Args:
            unit: A unit that was started. Ctrl+C and a deadlock are raised in it.
            until: Whether it has got there.
            terms: On what terms.

        Raises:
            KeyboardInterrupt: Ctrl+C was pressed twice; the loop is broken then.
            BaseException: The loop has failed, and not the unit.
        """
        __tracebackhide__ = True
        scheduler = self.scheduler
        self.clock.be_virtual(terms.virtual)
        # Whom Ctrl+C and a deadlock are for.
        scheduler.main_task = unit.task
        self._running = unit
        what = f"{unit.kind} {unit.name!r}"
        runs = False

        def is_there() -> bool:
            nonlocal runs
            if not runs:
                runs = True
                interrupts.watch_loop(until)
            return until() or timer.gave_up

        try:
            with other_timer_paused(terms.item) as left:
                limits = [each for each in (terms.limit, left) if each is not None]
                seconds = min(limits, default=None)
                timer = Timer(seconds, what, scheduler, unit.expire)
                with timer, interrupts.given_to_loop():
                    scheduler.run_until(is_there)
        except BaseException:
            self._can_go_on = not runs
            raise
        finally:
            self._running = None
        if timer.gave_up:
            self._is_stuck = True
        if self.failure is None:
            # The root scope has what belongs to no unit.
            self.failure = getattr(self._keeper.pool, "error", None)

    # Fixtures

    def set_up(
        self, unit: FixtureUnit, definition: object, used: list[FixtureUnit], terms: Terms
    ) -> Changes:
        """Run the first half of a fixture.

        Args:
            unit: The fixture.
            definition: What pytest knows it by.
            used: The fixtures that it uses.
            terms: As for `run`.

        Returns:
            What `tear_down` has to take back.

        Raises:
            BaseException: What the set-up failed with.
        """
        __tracebackhide__ = True
        self.refuse_crashed(used)
        unit.used = used
        unit.on_crash = self._stop_users
        unit.start(self.scheduler)
        self.run(unit, unit.settled, terms)
        if unit.is_set_up:
            self.fixtures[definition] = unit
            if not self._was_stopped(unit):
                return apply_changes(unit.context)
            # At the last moment; so it has to be torn down.
            self.tear_down(unit, definition, [], terms)
        raise self._outcome_of(unit)

    def tear_down(
        self, unit: FixtureUnit, definition: object, changes: Changes, terms: Terms
    ) -> None:
        """Run the second half of a fixture.

        Raises:
            BaseException: What it failed with, unless a test has failed with that already.
        """
        __tracebackhide__ = True
        self.fixtures.pop(definition, None)
        known = self.failure
        try:
            if self._can_go_on:
                unit.release()
                self.run(unit, unit.ended, terms)
                if self.failure is not None and self.failure is not known:
                    raise simplify(self.failure)
                if unit.timeout is not None or not (
                    unit.error is None or unit.was_told(self.failure)
                ):
                    raise outcome_of(unit)
        finally:
            take_back(changes)

    def _stop_users(self, fixture: FixtureUnit) -> None:
        """In the loop: something in the background of *fixture* has failed."""
        running = self._running
        if running is not None and fixture in running.used:
            assert fixture.crash is not None
            fixture.crash_was_told = True
            running.stop(fixture.crash)

    def refuse_crashed(self, used: list[FixtureUnit]) -> None:
        """Fail if one of the fixtures in *used* has failed in the background.

        Raises:
            BaseException: What it failed with.
        """
        __tracebackhide__ = True
        if self.failure is not None:
            raise simplify(self.failure)
        for fixture in used:
            if fixture.crash is not None:
                fixture.crash_was_told = True
                raise simplify(fixture.crash)

    # Tests

    def run_test(self, unit: Unit, used: list[FixtureUnit], terms: Terms) -> None:
        """Run a test from the beginning to the end.

        Args:
            unit: The test.
            used: The fixtures that it uses.
            terms: As for `run`.

        Raises:
            BaseException: What it failed with.
        """
        __tracebackhide__ = True
        self.refuse_crashed(used)
        unit.used = used
        unit.start(self.scheduler)
        self.run(unit, unit.ended, terms)
        if unit.error is not None or self._was_stopped(unit):
            raise self._outcome_of(unit)
        self.refuse_crashed(used)

    def _was_stopped(self, unit: Unit) -> bool:
        return not (unit.timeout is None and unit.stopped_by is None and self.failure is None)

    def _outcome_of(self, unit: Unit) -> BaseException:
        if unit.stopped_by is None:
            unit.stopped_by = self.failure
        return outcome_of(unit)

    def close(self) -> None:
        """End the loop.

        Raises:
            BaseException: An error that was not raised anywhere else.
        """
        for unit in reversed(self.fixtures.values()):
            unit.release()
        self.clock.given_up = self._is_stuck or not self._can_go_on
        try:
            with interrupts.held(longer=True):
                self.scheduler.close()
        except BaseException as error:
            # Why the loop is given up, or has failed, was told when it happened.
            if not self.clock.given_up and error is not self.failure:
                raise


async def _stay() -> None:
    await suspend(lambda task, error: None, _NextThing())


class _NextThing:
    def __repr__(self) -> str:
        return "the next thing to do"


def outcome_of(unit: Unit) -> BaseException:
    """Return what to raise for a unit that ended badly."""
    error = unit.error
    if unit.timeout is not None:
        failure = unit.timeout
        if not unit.ended():
            failure.add_note("it did not end when it was cancelled, and was left where it is")
        if error is None:
            return failure
        if isinstance(error, CancelledError):
            return failure.with_traceback(error.__traceback__)
        if any(each is failure for each in leaves(error)):  # raised in the step that blocked
            return simplify(error)
        failure.__cause__ = error
        return failure
    if unit.stopped_by is not None:
        cause = unit.stopped_by
        if error is not None and error is not cause and not isinstance(error, CancelledError):
            _add_note_of(cause, unit, error)
        return simplify(cause)
    assert error is not None
    return simplify(error)


def _add_note_of(cause: BaseException, unit: Unit, error: BaseException) -> None:
    if not any(each is error for each in siblings(cause)):
        cause.add_note(f"{unit.kind} {unit.name!r}, stopped by this, ended with {error!r}")
