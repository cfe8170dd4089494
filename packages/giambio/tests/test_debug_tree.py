# SPDX-License-Identifier: Apache-2.0
"""`print_tree` and the views that it and other tools show."""

from __future__ import annotations

import io
import os
import re
import threading

import pytest

import giambio
from giambio.debug import _tree as tree_module
from giambio.debug import _view as view
from giambio.debug import format_tree, print_tree
from giambio.debug._tree import encodable, in_columns, short_path, tree_lines, where_lines
from giambio.debug._view import format_seconds, look_at, text_of
from giambio.testing import wait_all_tasks_blocked
from giambio_kernel import format_tree as format_kernel_tree
from giambio_kernel import number_of


async def sleeper(seconds=1):
    await giambio.sleep(seconds)


def shown(**options):
    """Return what each line of the tree says, without numbers and addresses."""
    lines = tree_lines(look_at(giambio.current_task().scheduler), **options)
    return [
        tuple(re.sub(r" #\d+| at 0x[0-9a-f]+", "", text) for text in (line.name, line.doing))
        for line in lines
    ]


def test_a_tree_shows_who_is_in_whose_pool_and_what_everybody_does(run):
    async def parent(event):
        async with giambio.create_pool() as pool:
            pool.spawn(sleeper, 5)
            pool.spawn(event.wait)

    async def main():
        event = giambio.Event()
        async with giambio.create_pool() as pool:
            pool.spawn(parent, event)
            await wait_all_tasks_blocked()
            task = pool.spawn(sleeper, 3)
            pool.spawn(task.join)
            giambio.spawn(giambio.sleep_forever).name = "in the root pool"
            pool.spawn_after(7, sleeper)
            await wait_all_tasks_blocked()
            await giambio.sleep(2)
            pool.spawn(sleeper)
            try:
                return shown()
            finally:
                event.set()
                giambio.current_task().scheduler.main_task.scope.cancel()
                for task in giambio.current_task().scheduler.tasks():
                    if task.name == "in the root pool":
                        task.cancel()

    assert run(main) == [
        ("main", "runs"),
        ("├─ parent", "waits for 2 tasks of its pool"),
        ("│  ├─ sleeper", "sleeps, 3 s to go"),
        ("│  └─ wait", "waits for Event, 1 waiting"),
        ("├─ sleeper", "sleeps, 1 s to go"),
        ("├─ join", "waits for the end of sleeper"),
        ("├─ sleeper", "starts in 5 s"),
        ("└─ sleeper", "is new"),
        ("in the root pool", "waits for the outside world"),
    ]


def test_what_a_pool_with_a_limit_holds_and_what_stops(run):
    async def stubborn():
        try:
            await giambio.sleep(9)
        finally:
            with giambio.CancelScope(shield=True):
                await giambio.sleep(3)

    async def main():
        async with giambio.create_pool(limit=1) as pool:
            pool.spawn(stubborn)
            pool.spawn(sleeper)
            with giambio.skip_after(8):
                await wait_all_tasks_blocked()
                before = shown()
            pool.cancel()
            with giambio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
                return before, shown()

    before, after = run(main)
    assert before == [
        ("main", "runs, times out in 8 s"),
        ("├─ stubborn", "sleeps, 9 s to go"),
        ("└─ sleeper", "waits for its turn in the pool"),
    ]
    assert after == [
        ("main", "runs"),
        ("├─ stubborn", "sleeps, 3 s to go"),
        ("└─ sleeper", "waits for its turn in the pool, is being cancelled"),
    ]


def test_descriptors_say_which_and_what_for(run):
    async def main():
        left, right = giambio.socket.socketpair()
        async with left, right, giambio.create_pool() as pool:
            pool.spawn(left.receive, 1)
            pool.spawn(left.send_all, bytes(10_000_000))
            await wait_all_tasks_blocked()
            lines = shown()
            pool.cancel()
            return left.fileno(), lines

    fd, lines = run(main)
    assert [doing for _, doing in lines[1:]] == [
        f"waits to read from descriptor {fd}",
        f"waits to write to descriptor {fd}",
    ]


def test_what_has_no_name_is_described(run):
    async def waiter():
        await giambio.lowlevel.suspend(lambda task, error: None)

    async def shielded():
        with giambio.skip_after(9), giambio.CancelScope(shield=True):
            await giambio.lowlevel.suspend(lambda task, error: None, "Godot")

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(waiter)
            pool.spawn(shielded)
            await wait_all_tasks_blocked()
            pool.spawn(wait_all_tasks_blocked)
            await giambio.checkpoint()
            lines = shown()
            for task in pool.tasks[:2]:
                giambio.lowlevel.reschedule(task)
            return lines

    assert run(main)[1:] == [
        ("├─ waiter", "waits for somebody to wake it"),
        ("├─ shielded", "waits for Godot"),
        ("└─ wait_all_tasks_blocked", "waits until every task is blocked"),
    ]


def test_only_a_step_that_runs_has_a_running_stack(run):
    async def main():
        async with giambio.create_pool() as pool:
            ended = pool.spawn(giambio.checkpoint)
        task = giambio.spawn(sleeper)
        found = [view.running_stack(each) for each in (ended, task, giambio.current_task())]
        task.cancel()
        return found

    ended, waiting, running = run(main)
    assert ended is waiting is None
    assert [frame.f_code.co_name for frame in running[1]][:1] == ["main"]


def test_who_holds_a_lock_is_named_and_who_waits_for_each_other_is_found(run):
    async def holder(first, second):
        async with first:
            await giambio.sleep(1)
            async with second:
                pass

    async def main():
        one, two = giambio.Lock(), giambio.Lock()
        async with giambio.create_pool() as pool:
            pool.spawn(holder, one, two).name = "a"
            pool.spawn(holder, two, one).name = "b"
            await giambio.sleep(2)
            lines = shown()
            pool.cancel()
            return lines

    lines = run(main)
    assert "held by b" in lines[1][1]
    assert "held by a" in lines[2][1]
    assert lines[3:] == [("these wait for each other: a → b → a", "")]


def test_many_that_do_the_same_share_a_line(run):
    async def main():
        async with giambio.create_pool() as pool:
            for _ in range(3):
                pool.spawn(giambio.Event().wait).name = "three"
            for n in range(5):
                pool.spawn(sleeper, n + 1)
            await wait_all_tasks_blocked()
            await giambio.sleep(0.5)
            folded, unfolded = shown(), shown(fold=False)
            pool.cancel()
            return folded, unfolded

    folded, unfolded = run(main)
    assert folded == [
        ("main", "runs"),
        *[("├─ three", "waits for Event, 1 waiting")] * 3,
        ("└─ sleeper × 5", "sleeps, … to go"),
    ]
    assert len(unfolded) == 9


def test_for_how_long_those_on_one_line_have_waited_is_a_range(run):
    async def main():
        async with giambio.create_pool() as pool:
            for _ in range(4):
                pool.spawn(sleeper, 9)
                await giambio.sleep(1)
            seen = look_at(giambio.current_task().scheduler)
            pool.cancel()
            return tree_lines(seen)

    assert run(main)[1].seconds == "1 s to 4 s"


def test_pools_nested_more_deeply_than_the_stack_of_calls(run):
    async def deep(n):
        async with giambio.create_pool() as pool:
            if n:
                pool.spawn(deep, n - 1)
            else:
                texts.append(format_tree())

    texts = []
    run(deep, 1100)
    lines = texts[0].splitlines()
    assert len(lines) == 1102
    assert re.match(r"⋯ 1100 deep └─ deep #\d+ +runs", lines[-1])


def test_columns_are_aligned_and_cut_to_a_width(run):
    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(sleeper, 9).name = "with a longer name"
            await giambio.sleep(1)
            seen = look_at(giambio.current_task().scheduler)
            pool.cancel()
            return seen

    lines = tree_lines(run(main))
    wide, narrow = in_columns(lines), in_columns(lines, 20)
    assert wide[0].index("runs") == wide[1].index("sleeps")
    assert "test_debug_tree.py:" in wide[0]
    assert wide[1].endswith(" sleeper")
    assert [len(line) for line in narrow] == [20, 20]
    assert all(line.endswith("…") for line in narrow)


def test_a_task_has_the_same_number_in_all_reports_and_in_each_run(run):
    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(sleeper, 1)
            pool.spawn(sleeper, 2)
            await wait_all_tasks_blocked()
            loop = giambio.current_task().scheduler
            trees = format_kernel_tree(loop), format_tree(loop)
            return [re.findall(r"sleeper #\d+", tree) for tree in trees]

    for _ in range(2):
        assert run(main) == [["sleeper #2", "sleeper #3"]] * 2


def test_stacks_are_shown_down_to_what_was_called_of_giambio(run):
    async def inner():
        await giambio.sleep(3)  # here

    async def outer():
        await inner()

    async def main():
        async with giambio.create_pool() as pool:
            for _ in range(2):
                pool.spawn(outer)
            await wait_all_tasks_blocked()
            pool.spawn(sleeper)
            seen = look_at(giambio.current_task().scheduler)
            one = where_lines(seen, only="outer")
            assert where_lines(seen, only="nobody") == []
            number = number_of(pool.tasks[2])
            assert where_lines(seen, only=f"#{number}") == where_lines(seen, only=str(number))
            assert "(it has not begun)" in where_lines(seen, only=str(number))[1]
            text = format_tree(stacks=True)
            pool.cancel()
            return one, text

    one, text = run(main)
    assert one[0] == "outer × 2: sleeps, 3 s to go"
    assert one[2] == "    await inner()"
    assert one[4] == "    await giambio.sleep(3)  # here"
    assert len(one) == 5
    assert "await giambio.sleep(3)  # here" in text


def test_a_loop_can_be_looked_at_from_another_thread_while_it_is_stuck(run):
    def compute(scheduler):
        thread = threading.Thread(target=look, args=(scheduler,))
        thread.start()
        thread.join()

    def look(scheduler):
        texts.append(format_tree(scheduler, stacks=True))

    async def main():
        compute(giambio.current_task().scheduler)  # this is what it is stuck in

    texts = []
    run(main)
    head = texts[0].splitlines()[0]
    assert head == f"loop in {threading.current_thread().name}: 1 task"
    assert "# this is what it is stuck in" in texts[0]
    assert "thread.start()" in texts[0] or "thread.join()" in texts[0]


def test_it_is_printed_to_standard_error_or_wherever(run, capsys):
    async def main():
        file = io.StringIO()
        for options in ({}, {"scheduler": giambio.current_task().scheduler, "file": file}):
            print_tree(**options)
        return file.getvalue()

    text = run(main)
    assert text == capsys.readouterr().err
    assert re.fullmatch(r"loop in MainThread: 1 task\nmain #\d+  runs  \S+:\d+ .*main\n", text)


def test_outside_of_a_loop_one_has_to_be_given():
    with pytest.raises(RuntimeError):
        print_tree()


class Broken:
    def __repr__(self):
        raise ZeroDivisionError


def test_names_and_objects_cannot_do_anything_to_a_terminal(run):
    class Evil:
        def __repr__(self):
            return "\x1b[2J evil"

    async def waiter(thing):
        await giambio.lowlevel.suspend(lambda task, error: None, thing)

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(waiter, Evil()).name = "\x1b]0;title\x07"
            pool.spawn(waiter, Broken())
            pool.spawn(waiter, "x" * 1000)
            await wait_all_tasks_blocked()
            text = format_tree(stacks=True)
            pool.cancel()
            return text

    text = run(main)
    assert text.replace("\n", "").isprintable()
    assert "?[2J evil" in text
    assert "Broken object at" in text


def test_the_text_of_an_object_is_short_and_on_one_line():
    assert text_of("a") == "'a'"
    assert text_of(type("Two", (), {"__repr__": lambda self: "<two\n  lines>"})()) == "two lines"
    assert len(text_of("x" * 1000)) == 120


def test_a_task_that_moves_while_it_is_looked_at_is_left_out(run, monkeypatch):
    async def main():
        def moving(task, now):
            moves.append(task)
            raise RuntimeError

        monkeypatch.setattr(view, "describe_wait", moving)
        return look_at(giambio.current_task().scheduler, breathe=moves.clear)

    moves = []
    assert run(main).tasks == ()
    assert len(moves) == 3


def test_whoever_looks_lets_others_have_the_interpreter(run):
    async def main():
        async with giambio.create_pool() as pool:
            for _ in range(120):
                pool.spawn(giambio.checkpoint)
            look_at(giambio.current_task().scheduler, breathe=lambda: breaths.append(1))

    breaths = []
    run(main)
    assert len(breaths) == 2


def test_a_file_that_cannot_take_all_characters_gets_others():
    class Ascii:
        encoding = "ascii"

    assert encodable("├─ a × 3 → é…", Ascii()) == "|- a x 3 -> ?."
    assert encodable("├─ a", io.StringIO()) == "├─ a"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000123, "12 µs"),
        (0.9996, "1 s"),  # not 1e+03 ms
        (0.0123, "12.3 ms"),
        (3.21, "3.21 s"),
        (250, "4 min 10 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (400_000, "4 days"),
    ],
)
def test_durations_are_said_as_a_person_would(seconds, text):
    assert format_seconds(seconds) == text


def test_paths_are_as_short_as_is_clear(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert short_path(os.path.join(os.getcwd(), "a", "b.py")) == os.path.join("a", "b.py")
    assert short_path("/usr/lib/python3/site-packages/pkg/mod.py") == "pkg/mod.py"
    assert short_path("/home/me/x.py") == "~/x.py"
    assert short_path("/opt/x.py") == "/opt/x.py"
    assert tree_module.format_place(None) == ""
