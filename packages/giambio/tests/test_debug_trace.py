# SPDX-License-Identifier: Apache-2.0
"""`ChromeTracer`: what it records, and that viewers can read it."""

from __future__ import annotations

import gc
import io
import itertools
import json
import os
import threading
import weakref

import pytest

import giambio
from giambio.debug import BaseDebugger, ChromeTracer
from giambio.debug import _trace as trace_module
from giambio.testing import wait_all_tasks_blocked


class Trace:
    """What is in a trace, by the names of the tasks."""

    def __init__(self, tracer):
        file = io.StringIO()
        tracer.write(file)
        self.file = json.loads(file.getvalue())
        self.events = self.file["traceEvents"]
        self.names = {
            (event["pid"], event["tid"]): event["args"]["name"]
            for event in self.events
            if event["name"] == "thread_name"
        }

    def of(self, phase, task=None):
        return [
            event
            for event in self.events
            if event["ph"] == phase
            and (task is None or self.names[event["pid"], event["tid"]] == task)
        ]

    def slices(self, task):
        """Return the names of the slices of a task, in their order in time."""
        return [event["name"] for event in sorted(self.of("X", task), key=lambda e: e["ts"])]

    def arrows(self):
        """Return all arrows, as ``waker -name-> woken``."""
        ends = {event["id"]: event for event in self.of("f")}
        return [
            f"{self.names[start['pid'], start['tid']]} -{start['name']}-> "
            f"{self.names[ends[start['id']]['pid'], ends[start['id']]['tid']]}"
            for start in self.of("s")
        ]

    def check(self):
        """Check that it is a trace as the format demands it."""
        for event in self.events:
            assert event["ph"] in "MXisf"
            assert isinstance(event["name"], str)
            assert event["name"]
            if event["ph"] != "M":
                assert (event["pid"], event["tid"]) in self.names
                assert event["ts"] >= 0
        for task in {*self.names.values()}:
            rows = {(event["pid"], event["tid"]) for event in self.of("X", task)}
            for row in rows:
                slices = sorted(
                    (round(event["ts"] * 1000), round(event["dur"] * 1000))
                    for event in self.of("X", task)
                    if (event["pid"], event["tid"]) == row
                )
                for (begin, length), (following, _) in itertools.pairwise(slices):
                    assert begin + length <= following, "slices of one task overlap"
        starts = {event["id"]: event for event in self.of("s")}
        ends = {event["id"]: event for event in self.of("f")}
        assert starts.keys() == ends.keys()
        assert len(starts) == len(self.of("s"))
        assert len(ends) == len(self.of("f"))
        for number, start in starts.items():
            assert start["ts"] <= ends[number]["ts"]
            assert self._is_inside(start, before_end=True), "an arrow begins outside of any slice"
            assert self._is_inside(ends[number], before_end=False)
        return self

    def _is_inside(self, event, *, before_end):
        when = round(event["ts"] * 1000)
        return any(
            begin <= when < end if before_end else begin <= when <= end
            for each in self.of("X")
            if (each["pid"], each["tid"]) == (event["pid"], event["tid"])
            for begin in [round(each["ts"] * 1000)]
            for end in [round((each["ts"] + each["dur"]) * 1000)]
        )


def make_tracer(*args, **options):
    """Return a tracer on a clock that moves by a microsecond whenever it is read."""
    ticks = itertools.count(1_000_000, 1000)
    return ChromeTracer(*args, timer=lambda: next(ticks), **options)


@pytest.fixture
def trace(run):
    """Return a function that runs an async function and returns its checked trace."""

    def trace(main, **options):
        tracer = make_tracer(**options)
        run(main, debugger=tracer)
        return Trace(tracer).check()

    return trace


async def sleeper(seconds=1):
    await giambio.sleep(seconds)


def test_a_row_has_steps_named_after_the_task_and_waits_named_after_what_is_waited_for(trace):
    async def waits(event, lock, queue, task):
        await event.wait()
        async with lock:
            pass
        await queue.get()
        await task.join()
        await giambio.checkpoint()

    async def main():
        event, lock, queue = giambio.Event(), giambio.Lock(), giambio.Queue()
        await lock.acquire()
        async with giambio.create_pool() as pool:
            task = pool.spawn(sleeper, 9)
            pool.spawn(waits, event, lock, queue, task)
            await wait_all_tasks_blocked()
            event.set()
            await wait_all_tasks_blocked()
            lock.release()
            await wait_all_tasks_blocked()
            await queue.put(1)

    found = trace(main)
    joins = next(name for name in found.slices("waits") if name.startswith("joins"))
    assert joins.startswith("joins sleeper #")
    assert found.slices("waits") == [
        *("new", "waits"),
        *("waits for Event", "ready", "waits"),
        *("waits for Lock", "ready", "waits"),
        *("waits for Queue", "ready", "waits"),
        *(joins, "ready", "waits"),
        *("ready", "waits"),
    ]
    assert found.slices("sleeper") == ["new", "sleeper", "sleeps", "ready", "sleeper"]
    assert found.slices("main")[-5:] == ["waits for its pool", *["ready", "main"] * 2]


def test_waiting_for_a_descriptor_says_which(trace):
    async def main():
        left, right = giambio.socket.socketpair()
        fds.append(left.fileno())
        async with left, right, giambio.create_pool() as pool:
            pool.spawn(left.receive, 10)
            await wait_all_tasks_blocked()
            await right.send_all(b"x")

    fds = []
    found = trace(main)
    assert f"reads from descriptor {fds[0]}" in found.slices("receive")
    looks = found.of("X", "loop")
    assert looks
    assert all(event["name"] == "looks at I/O" for event in looks)
    assert not [arrow for arrow in found.arrows() if arrow.endswith("wakes-> receive")]


def test_arrows_lead_from_who_spawns_wakes_and_cancels_to_whom(trace):
    async def waiter(event):
        await event.wait()

    async def setter(event):
        event.set()

    async def canceller(task):
        task.cancel()

    async def main():
        event = giambio.Event()
        async with giambio.create_pool() as pool:
            pool.spawn(waiter, event)
            victim = pool.spawn(sleeper, 100)
            await wait_all_tasks_blocked()
            pool.spawn(setter, event)
            pool.spawn(canceller, victim)

    arrows = trace(main).arrows()
    assert [arrow for arrow in arrows if "spawns" in arrow] == [
        "main -spawns-> waiter",
        "main -spawns-> sleeper",
        "main -spawns-> setter",
        "main -spawns-> canceller",
    ]
    assert "setter -wakes-> waiter" in arrows
    assert "canceller -cancels-> sleeper" in arrows
    # The one that ended last woke the owner of the pool, and nothing else woke anybody.
    others = [arrow for arrow in arrows if "spawns" not in arrow]
    assert sorted(others) == sorted(
        ["setter -wakes-> waiter", "canceller -cancels-> sleeper", "sleeper -wakes-> main"]
    )


def test_a_lock_that_goes_round_leaves_an_arrow_each_time(trace):
    async def worker(lock):
        async with lock:
            await giambio.sleep(1)

    async def main():
        lock = giambio.Lock()
        async with giambio.create_pool() as pool:
            for name in "abc":
                pool.spawn(worker, lock).name = name

    arrows = trace(main).arrows()
    assert [arrow for arrow in arrows if "wakes" in arrow] == [
        "a -wakes-> b",
        "b -wakes-> c",
        "c -wakes-> main",
    ]


def test_whom_a_timer_wakes_nobody_wakes(trace):
    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(sleeper, 1)
            with giambio.skip_after(2):
                await giambio.Event().wait()

    assert [arrow for arrow in trace(main).arrows() if "spawns" not in arrow] == []


def test_how_a_task_ended_is_told(trace):
    async def failing():
        raise ValueError("no")

    async def main():
        with pytest.raises(ValueError, match="no"):
            async with giambio.create_pool() as pool:
                pool.spawn(failing)
                pool.spawn(sleeper)

    found = trace(main)
    assert found.of("X", "failing")[-1]["args"] == {"end": "raised ValueError"}
    assert found.of("X", "sleeper")[-1]["args"] == {"end": "cancelled"}
    assert found.of("X", "main")[-1]["args"] == {"end": "returned"}
    assert [event["name"] for event in found.of("i", "failing")] == ["fails"]
    assert found.of("i", "failing")[0]["args"] == {"error": "ValueError('no')"}
    assert [event["name"] for event in found.of("i", "sleeper")] == [
        "is cancelled",
        "cancellation done",
    ]


def test_what_goes_on_is_in_the_file_as_far_as_it_has_come(run):
    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(sleeper, 1)
            await giambio.checkpoint()
            snapshots.append(Trace(tracer).check())

    tracer, snapshots = make_tracer(), []
    run(main, debugger=tracer)
    assert snapshots[0].slices("sleeper") == ["new", "sleeper", "sleeps"]
    assert snapshots[0].of("X", "sleeper")[-1]["args"]["end"] == "goes on"
    assert snapshots[0].of("X", "main")[-1]["args"] == {"end": "goes on"}


def test_memory_is_bounded_and_the_newest_events_are_kept(run):
    async def pong(event, answer):
        await event.wait()
        answer.set()

    async def main():
        async with giambio.create_pool() as pool:
            for _ in range(200):
                event, answer = giambio.Event(), giambio.Event()
                pool.spawn(pong, event, answer)
                await giambio.checkpoint()
                event.set()
                await answer.wait()

    tracer = make_tracer(max_events=100)
    run(main, debugger=tracer)
    found = Trace(tracer)
    kept = [event for event in found.events if event["ph"] != "M"]
    # Halves of arrows are left out.
    assert 60 < len(kept) <= 100
    assert {event["id"] for event in found.of("s")} == {event["id"] for event in found.of("f")}
    assert tracer.dropped > 1000
    assert found.file["otherData"]["dropped events"] == tracer.dropped
    assert found.slices("main")[-1] == "main"
    assert repr(tracer) == f"<ChromeTracer with 100 events, {tracer.dropped} dropped>"
    # Nor does it keep the tasks.
    assert sum(len(group.rows) for group in tracer._groups.values()) == 0


def test_it_keeps_no_task_alive(run):
    async def main():
        async with giambio.create_pool() as pool:
            tasks.append(weakref.ref(pool.spawn(sleeper)))

    tracer, tasks = make_tracer(), []
    run(main, debugger=tracer)
    gc.collect()
    assert tasks[0]() is None
    assert "sleeper" in Trace(tracer).names.values()


def test_it_can_be_switched_on_and_off_in_a_running_program(run):
    """A wait that began or ended unseen is not invented."""

    async def ticker():
        while True:
            await giambio.sleep(1)

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(ticker)
            await giambio.sleep(2.5)
            assert Trace(tracer).of("X") == []
            tracer.switch_on()
            await giambio.sleep(2)
            tracer.switch_off()
            counts.append(len(Trace(tracer).of("X", "ticker")))
            await giambio.sleep(20)
            assert len(Trace(tracer).of("X", "ticker")) == counts[0]
            tracer.switch_on(giambio.current_task().scheduler)
            await giambio.sleep(2)
            tracer.switch_off(giambio.current_task().scheduler)
            with pytest.raises(ValueError, match="is not a debugger of this loop"):
                tracer.switch_off()
            pool.cancel()

    tracer, counts = make_tracer(), []
    run(main)
    found = Trace(tracer).check()
    steps = ["ticker", "sleeps", "ready"]
    assert found.slices("ticker") == [*steps, "ticker", "sleeps"] * 2
    assert found.of("X", "main")[0]["args"] == {"end": "goes on"}


def test_switching_on_outside_of_a_loop_is_an_error():
    with pytest.raises(RuntimeError):
        ChromeTracer().switch_on()


def test_without_the_tracers_own_switch_nothing_breaks(run):
    """``add_debugger`` and ``remove_debugger`` in the middle of steps, with tasks in every state."""

    async def main():
        scheduler = giambio.current_task().scheduler
        event = giambio.Event()
        async with giambio.create_pool() as pool:
            scheduler.add_debugger(tracer)
            pool.spawn(event.wait)
            pool.spawn(sleeper, 3)
            await giambio.sleep(1)
            scheduler.remove_debugger(tracer)
            event.set()
            await giambio.sleep(1)
            scheduler.add_debugger(Also())
            await giambio.checkpoint()
            scheduler.add_debugger(tracer)
            await giambio.sleep(5)

    class Also:
        def on_task_exit(self, task):
            pass

    tracer = make_tracer()
    run(main)
    Trace(tracer).check()


def test_added_in_the_middle_of_a_step_that_others_watch_it_begins_with_the_next(run):
    async def main():
        giambio.current_task().scheduler.add_debugger(tracer)
        await giambio.sleep(1)

    tracer = make_tracer()
    run(main, debugger=BaseDebugger())
    assert Trace(tracer).check().slices("main") == ["sleeps", "ready", "main"]


def test_it_is_saved_at_the_end_of_every_run(run, tmp_path):
    path = tmp_path / "trace.json"
    tracer = ChromeTracer(path)
    run(sleeper, debugger=tracer)
    first = json.loads(path.read_text())
    run(sleeper, debugger=tracer)
    second = json.loads(path.read_text())
    pids = [
        {event["pid"] for event in found["traceEvents"] if event["ph"] == "X"}
        for found in (first, second)
    ]
    assert pids == [{os.getpid()}, {os.getpid(), os.getpid() + 1}]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_reported_and_the_program_goes_on(run, tmp_path, capsys):
    run(sleeper, debugger=ChromeTracer(tmp_path / "missing" / "trace.json"))
    assert "failed in on_exit" in capsys.readouterr().err
    # One that fails halfway leaves nothing behind.
    tracer = make_tracer()
    run(sleeper, debugger=tracer)
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match="directory"):
        tracer.save(tmp_path / "directory")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


def test_with_too_many_waits_to_look_at_there_are_no_arrows_and_all_the_rest(trace, monkeypatch):
    monkeypatch.setattr(trace_module, "_MOST_LOOKED_AT", 1)

    async def main():
        events = [giambio.Event() for _ in range(3)]
        async with giambio.create_pool() as pool:
            for event in events:
                pool.spawn(event.wait)
            await wait_all_tasks_blocked()
            for event in events:
                event.set()

    found = trace(main)
    assert found.slices("wait").count("waits for Event") == 3
    assert not [arrow for arrow in found.arrows() if arrow == "main -wakes-> wait"]


def test_loops_in_several_threads_have_groups_of_their_own(run):
    async def inner():
        await giambio.sleep(0)

    async def main():
        thread = threading.Thread(target=run, args=(inner,), kwargs={"debugger": tracer})
        thread.start()
        thread.join()

    tracer = make_tracer()
    run(main, debugger=tracer)
    found = Trace(tracer).check()
    groups = [event["args"]["name"] for event in found.events if event["name"] == "process_name"]
    assert len(groups) == 2
    assert {name.partition(" in ")[0] for name in groups} == {"loop"}
    assert {found.of("X", name)[0]["pid"] for name in ("main", "inner")} == {
        os.getpid(),
        os.getpid() + 1,
    }


def test_no_task_shares_the_row_of_the_loop(run, monkeypatch):
    """Viewers put rows together that have the number of their process."""
    monkeypatch.setattr(os, "getpid", lambda: 1)  # the number of the first task, too
    tracer = make_tracer()
    run(sleeper, debugger=tracer)
    found = Trace(tracer).check()
    assert found.names[1, 1] == "loop"
    assert found.names[1, 2**31 - 1] == "sleeper"


def test_it_can_be_cleared(run):
    tracer = make_tracer()
    run(sleeper, debugger=tracer)
    tracer.clear()
    assert Trace(tracer).events == []
    assert tracer.dropped == 0


def test_a_bound_below_one_is_an_error():
    with pytest.raises(ValueError, match="max_events must be at least 1, not 0"):
        ChromeTracer(max_events=0)


def test_what_has_no_name_is_just_waited_for(trace):
    async def waiter():
        await giambio.lowlevel.suspend(lambda task, error: None)

    async def main():
        async with giambio.create_pool() as pool:
            task = pool.spawn(waiter)
            await giambio.checkpoint()
            giambio.lowlevel.reschedule(task)

    found = trace(main)
    assert "waits" in found.slices("waiter")
    assert "main -wakes-> waiter" in found.arrows()
