# SPDX-License-Identifier: Apache-2.0
"""Futures of the standard library, awaited."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

import giambio
from giambio import await_future
from giambio.testing import wait_all_tasks_blocked


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as executor:
        yield executor


def test_it_returns_the_result(run, executor):
    assert run(await_future, executor.submit(pow, 2, 10)) == 1024


def test_it_raises_the_error_as_itself(run, executor):
    error = ValueError("as itself")

    def fail():
        raise error

    with pytest.raises(ValueError, match="as itself") as caught:
        run(await_future, executor.submit(fail))
    assert caught.value is error


def test_a_future_that_is_done_need_not_be_waited_for_but_is_a_checkpoint(run):
    future = Future()
    future.set_result("done")

    async def main():
        assert await await_future(future) == "done"
        with giambio.CancelScope() as scope:
            scope.cancel()
            await await_future(future)
        assert scope.cancelled_caught

    run(main)


def test_several_tasks_may_wait_for_one(run):
    future = Future()

    async def main():
        async with giambio.create_pool() as pool:
            tasks = [pool.spawn(await_future, future) for _ in range(3)]
            await wait_all_tasks_blocked()
            future.set_result("done")
        assert [task.result() for task in tasks] == ["done"] * 3

    run(main)


def test_waiting_for_it_is_no_deadlock_and_no_reason_to_jump(run, executor):
    release = threading.Event()

    async def main():
        async with giambio.create_pool() as pool:
            slow = pool.spawn(await_future, executor.submit(release.wait))
            with giambio.skip_after(3600) as scope:
                pool.spawn(giambio.run_in_thread, release.set)
                await slow.join()
            assert not scope.timed_out

    run(main)


class TestCancellation:
    def test_a_call_that_was_not_begun_is_cancelled(self, run):
        future = Future()

        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn(await_future, future)
                await wait_all_tasks_blocked()
                task.cancel()
            assert task.cancelled()

        run(main)
        assert future.cancelled()

    def test_one_that_runs_is_waited_for_and_its_result_is_not_lost(self, run):
        future = Future()
        future.set_running_or_notify_cancel()

        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn(await_future, future)
                await wait_all_tasks_blocked()
                task.cancel()
                await giambio.checkpoint()
                assert not task.done()
                future.set_result("done all the same")
            assert task.result() == "done all the same"

        run(main)

    def test_one_that_runs_may_be_abandoned(self, run):
        future = Future()
        future.set_running_or_notify_cancel()

        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn(await_future, future, abandon_on_cancel=True)
                await wait_all_tasks_blocked()
                task.cancel()
            assert task.cancelled()

        run(main)
        future.set_result("nobody is here any more")

    def test_a_future_that_somebody_else_cancels_is_an_ordinary_error(self, run):
        future = Future()

        async def main():
            async with giambio.create_pool() as pool:
                task = pool.spawn(await_future, future)
                await wait_all_tasks_blocked()
                future.cancel()
                with pytest.raises(giambio.TaskCancelled, match="Future.*was cancelled"):
                    await task.join()

        with pytest.raises(giambio.TaskCancelled):
            run(main)


def test_a_future_of_asyncio_is_refused(run):
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    with pytest.raises(TypeError, match="expected a concurrent"):
        run(await_future, future)
    loop.close()


class TestBetweenLoops:
    """A task waits for a task of a loop in another thread."""

    def test_results_and_errors_come_across(self, run):
        async def divide(a, b):
            await giambio.checkpoint()
            return threading.get_ident(), a / b

        async def main(portal):
            thread, result = await await_future(portal.spawn(divide, 6, 3))
            assert (thread == threading.get_ident(), result) == (False, 2)
            with pytest.raises(ZeroDivisionError):
                await await_future(portal.spawn(divide, 6, 0))

        with giambio.start_blocking_portal() as portal:
            run(main, portal)

    def test_cancelling_one_cancels_the_other(self, run):
        events = []
        started = threading.Event()

        async def other():
            started.set()
            try:
                await giambio.sleep_forever()
            finally:
                events.append("cancelled, too")

        async def main(portal):
            async with giambio.create_pool() as pool:
                task = pool.spawn(await_future, portal.spawn(other))
                await giambio.run_in_thread(started.wait)
                task.cancel()
            assert task.cancelled()

        with giambio.start_blocking_portal() as portal:
            run(main, portal)
        assert events == ["cancelled, too"]
