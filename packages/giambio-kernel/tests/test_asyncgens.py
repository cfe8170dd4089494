# SPDX-License-Identifier: Apache-2.0
"""Async generators are closed when they are dropped, and at the end of a run."""

from __future__ import annotations

import gc
import sys

import pytest

from giambio_kernel import (
    AsyncScheduler,
    CancelledError,
    checkpoint,
    current_scheduler,
    sleep,
    wait_all_tasks_blocked,
)


async def generator(events, name="generator"):
    try:
        yield 1
        yield 2
    finally:
        try:
            await checkpoint()
        except CancelledError:
            events.append(f"{name} cancelled in its clean-up")
            raise
        finally:
            events.append(f"{name} closed")


def test_an_exhausted_generator_is_nobodys_affair(run):
    events = []

    async def main():
        assert [n async for n in generator(events)] == [1, 2]
        assert events == ["generator closed"]

    run(main)


def test_a_dropped_generator_is_closed_and_warned_about(run):
    events = []

    async def main():
        async for _ in generator(events):
            break
        with pytest.warns(ResourceWarning, match="'generator' was dropped before it was exhausted"):
            gc.collect()
            await wait_all_tasks_blocked()
        assert events == ["generator cancelled in its clean-up", "generator closed"]

    run(main)


def test_a_generator_that_is_dropped_in_the_last_step_is_closed(run):
    events = []

    async def main():
        async for _ in generator(events):
            break

    with pytest.warns(ResourceWarning, match="'generator' was dropped before it was exhausted"):
        run(main)
    assert events == ["generator cancelled in its clean-up", "generator closed"]


@pytest.mark.filterwarnings("ignore:async generator:ResourceWarning")
def test_a_generator_that_the_last_clean_up_drops_is_closed(run):
    events = []

    async def clean_up():
        async for _ in generator(events, "of a clean-up"):
            break

    async def outer():
        try:
            yield
        finally:
            async for _ in generator(events, "of a generator"):
                break

    async def main():
        current_scheduler().add_cleanup(clean_up)
        async for _ in outer():
            break

    run(main)
    assert {"of a clean-up closed", "of a generator closed"} <= set(events)


def test_generators_that_are_left_at_the_end_are_closed_without_a_word(run):
    events = []
    kept = []

    async def main():
        for name in ("one", "two"):
            kept.append(generator(events, name))
            await kept[-1].__anext__()

    run(main)
    assert sorted(events) == [
        "one cancelled in its clean-up",
        "one closed",
        "two cancelled in its clean-up",
        "two closed",
    ]


def test_generators_that_others_iterate_in_their_clean_up_are_closed_as_well(run):
    events = []

    async def outer():
        try:
            yield
        finally:
            inner.append(generator(events, "inner"))
            await inner[0].__anext__()
            events.append("outer closed")

    inner = []
    kept = []

    async def main():
        kept.append(outer())
        await kept[0].__anext__()

    run(main)
    assert events == ["outer closed", "inner cancelled in its clean-up", "inner closed"]


@pytest.mark.parametrize("hook", ["python's", "custom"])
def test_an_error_in_a_closing_generator_is_reported(run, monkeypatch, capsys, hook):
    reported = []
    # pytest has a hook of its own, which takes anything; Python's does not.
    new = sys.__unraisablehook__ if hook == "python's" else reported.append
    monkeypatch.setattr(sys, "unraisablehook", new)

    async def failing():
        try:
            yield
        finally:
            raise ValueError("in the clean-up")

    kept = []

    async def main():
        kept.append(failing())
        await kept[0].__anext__()

    run(main)
    if hook == "custom":
        assert str(reported[0].exc_value) == "in the clean-up"
        # Since Python 3.14 what was called is named in the message.
        assert "failing at" in f"{reported[0].object!r} {reported[0].err_msg}"
    else:
        said = capsys.readouterr().err
        assert said.startswith("Exception ignored ")
        assert "closing of <async_generator object test_" in said
        assert said.rstrip().endswith("ValueError: in the clean-up")


def test_a_generator_dropped_after_the_end_is_warned_about(run):
    async def main():
        kept = generator([])
        await kept.__anext__()
        return kept

    async def forever():
        try:
            while True:
                try:
                    yield
                except GeneratorExit:
                    await sleep(1)
        finally:
            pass

    kept = run(main)
    gc.collect()
    del kept
    gc.collect()


def test_a_hosts_hooks_are_its_own_again_after_each_tick():
    def firstiter(generator):
        pass

    def finalizer(generator):
        pass

    seen = []

    async def main():
        seen.append(sys.get_asyncgen_hooks().firstiter)
        await checkpoint()

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter, finalizer)
    try:
        with AsyncScheduler() as loop:
            loop.start(main, loop=False)
            loop.tick()
            assert sys.get_asyncgen_hooks() == (firstiter, finalizer)
        assert sys.get_asyncgen_hooks() == (firstiter, finalizer)
    finally:
        sys.set_asyncgen_hooks(*before)
    assert seen != [firstiter]
