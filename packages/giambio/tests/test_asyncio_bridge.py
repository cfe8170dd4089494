# SPDX-License-Identifier: Apache-2.0
"""giambio and asyncio await each other in one thread."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

import giambio
from giambio import hosting
from giambio.hosting import await_asyncio, run_in_asyncio


def in_asyncio(main, *args):
    """Run a function of giambio in asyncio, and check that nothing of it is left there."""

    async def both():
        try:
            return await run_in_asyncio(main, *args)
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}

    threads = threading.active_count()
    try:
        return asyncio.run(both())
    finally:
        assert threading.active_count() == threads


class Recorder:
    """An asyncio coroutine that waits for ever, and how it ended."""

    def __init__(self, clean_up=None):
        self.events = []
        self.clean_up = clean_up

    async def wait(self):
        self.events.append("started")
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError as error:
            self.events.append(f"cancelled: {error}")
            if self.clean_up is not None:
                return await self.clean_up()
            raise
        finally:
            self.events.append("ended")


class TestResults:
    def test_each_side_gets_the_results_of_the_other(self):
        async def theirs(number):
            await asyncio.sleep(0)
            return number * 2

        async def ours(number):
            await giambio.sleep(0)
            return await await_asyncio(theirs(number)) + 1

        assert in_asyncio(ours, 20) == 41

    def test_errors_cross_as_themselves(self):
        error = ValueError("theirs")

        async def theirs():
            raise error

        async def ours():
            with pytest.raises(ValueError, match="theirs") as caught:
                await await_asyncio(theirs())
            assert caught.value is error
            raise error

        with pytest.raises(ValueError, match="theirs") as caught:
            in_asyncio(ours)
        assert caught.value is error

    def test_all_awaitables_of_asyncio_can_be_awaited(self):
        class Awaitable:
            def __await__(self):
                yield from asyncio.sleep(0, "awaitable").__await__()
                return "awaitable"

        async def ours():
            host = asyncio.get_running_loop()
            future = host.create_future()
            host.call_soon(future.set_result, "future")
            assert await await_asyncio(future) == "future"
            assert await await_asyncio(future) == "future"  # also when it is done
            assert await await_asyncio(host.create_task(asyncio.sleep(0, "task"))) == "task"
            assert await await_asyncio(Awaitable()) == "awaitable"

        in_asyncio(ours)

    def test_both_run_at_the_same_time(self):
        async def ours():
            event = giambio.Event()
            reply = asyncio.get_running_loop().create_future()

            async def theirs():
                event.set()  # plain functions may be called from either side
                return await reply

            async def answer():
                await event.wait()
                reply.set_result("reply")

            async with giambio.create_pool() as pool:
                pool.spawn(answer)
                return await await_asyncio(theirs())

        assert in_asyncio(ours) == "reply"

    def test_they_can_be_nested(self):
        async def theirs(depth):
            return await run_in_asyncio(ours, depth - 1)

        async def ours(depth):
            return 0 if depth == 0 else 1 + await await_asyncio(theirs(depth))

        assert in_asyncio(ours, 10) == 10

    def test_many_at_once(self):
        async def theirs(number):
            for _ in range(number % 5):
                await asyncio.sleep(0)
            return number

        async def one(number):
            return await await_asyncio(theirs(number))

        async def ours():
            async with giambio.amap(one, range(500), limit=100) as results:
                return [result async for result in results]

        assert in_asyncio(ours) == list(range(500))

    def test_context_variables_are_seen_on_the_other_side(self):
        variable = contextvars.ContextVar("variable")

        async def theirs():
            return variable.get()

        async def ours():
            assert variable.get() == "asyncio"
            variable.set("giambio")
            return await await_asyncio(theirs())

        async def main():
            variable.set("asyncio")
            result = await run_in_asyncio(ours)
            assert variable.get() == "asyncio"
            return result

        assert asyncio.run(main()) == "giambio"


class TestCancellation:
    def test_a_cancelled_scope_cancels_the_awaitable_and_waits_for_its_end(self):
        recorder = Recorder(clean_up=lambda: asyncio.sleep(0))

        async def ours():
            with giambio.CancelScope() as scope:
                async with giambio.create_pool() as pool:
                    pool.spawn(await_asyncio, recorder.wait())
                    while not recorder.events:
                        await giambio.checkpoint()
                    scope.cancel("enough")
                    recorder.events.append("asked")
            recorder.events.append("left")
            assert scope.cancelled_caught

        in_asyncio(ours)
        assert recorder.events == ["started", "asked", "cancelled: enough", "ended", "left"]

    def test_a_timeout_works(self):
        recorder = Recorder()

        async def ours():
            with pytest.raises(giambio.TooSlowError):
                with giambio.with_timeout(0.001):
                    await await_asyncio(recorder.wait())

        in_asyncio(ours)
        assert recorder.events[-1] == "ended"

    def test_in_a_cancelled_scope_the_coroutine_does_not_begin(self):
        recorder = Recorder()

        async def ours():
            with giambio.CancelScope() as scope:
                scope.cancel()
                await await_asyncio(recorder.wait())
            assert scope.cancelled_caught

        in_asyncio(ours)
        assert recorder.events == []

    def test_a_result_that_comes_all_the_same_is_returned(self):
        recorder = Recorder(clean_up=lambda: asyncio.sleep(0, "result"))
        got = []

        async def cancel_when_started(scope):
            while not recorder.events:
                await giambio.checkpoint()
            scope.cancel()

        async def ours():
            async with giambio.create_pool() as pool:
                with giambio.CancelScope() as scope:
                    pool.spawn(cancel_when_started, scope)
                    got.append(await await_asyncio(recorder.wait()))
                    await giambio.checkpoint()
                    got.append("not reached")

        in_asyncio(ours)
        assert got == ["result"]

    def test_an_error_in_its_clean_up_wins(self):
        async def fail():
            raise OSError("clean-up failed")

        recorder = Recorder(clean_up=fail)

        async def ours():
            with giambio.skip_after(0.001):
                await await_asyncio(recorder.wait())

        with pytest.raises(OSError, match="clean-up failed"):
            in_asyncio(ours)

    def test_its_clean_up_is_not_interrupted_by_a_second_cancellation(self):
        events = []

        async def theirs():
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                events.append("cleaning up")
                for _ in range(5):
                    await asyncio.sleep(0)
                events.append("cleaned up")

        async def ours():
            with giambio.CancelScope() as outer:
                async with giambio.create_pool() as pool:
                    task = pool.spawn(await_asyncio, theirs())
                    await giambio.checkpoint()
                    for _ in range(3):  # until it waits
                        await await_asyncio(asyncio.sleep(0))
                    task.cancel()
                    while not events:
                        await await_asyncio(asyncio.sleep(0))
                    outer.cancel()

        in_asyncio(ours)
        assert events == ["cleaning up", "cleaned up"]

    def test_what_asyncio_cancels_is_an_ordinary_error_here(self):
        async def ours():
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            with pytest.raises(giambio.TaskCancelled, match="was cancelled by asyncio"):
                await await_asyncio(future)

        in_asyncio(ours)

    def test_a_cancelled_asyncio_task_cancels_the_run_and_waits_for_its_clean_up(self):
        events = []

        async def ours():
            try:
                await giambio.sleep_forever()
            except giambio.CancelledError as error:
                events.append(error.reason)
                raise
            finally:
                with giambio.CancelScope(shield=True):
                    await await_asyncio(asyncio.sleep(0))
                events.append("cleaned up")

        async def main():
            task = asyncio.create_task(run_in_asyncio(ours))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel("enough")
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert caught.value.args == ("enough",)
            assert task.cancelled()

        asyncio.run(main())
        assert events == ["enough", "cleaned up"]

    def test_a_timeout_of_asyncio_around_a_run(self):
        async def main():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await run_in_asyncio(giambio.sleep_forever)

        asyncio.run(main())

    def test_a_cancelled_run_that_comes_to_its_end_all_the_same(self):
        async def ours():
            try:
                await giambio.sleep_forever()
            except giambio.CancelledError:
                return "result"  # swallowed, as it should not be

        async def main():
            task = asyncio.create_task(run_in_asyncio(ours))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            return await task

        assert asyncio.run(main()) == "result"

    def test_an_error_in_the_clean_up_of_a_cancelled_run_wins(self):
        async def ours():
            try:
                await giambio.sleep_forever()
            finally:
                raise OSError("clean-up failed")

        async def main():
            async with asyncio.timeout(0.001):
                await run_in_asyncio(ours)

        with pytest.raises(OSError, match="clean-up failed"):
            asyncio.run(main())

    def test_a_main_task_that_cancels_itself_is_no_cancellation_of_asyncio(self):
        async def ours():
            giambio.current_task().cancel()
            await giambio.checkpoint()

        with pytest.raises(giambio.TaskCancelled):
            in_asyncio(ours)


class TestBadUse:
    def test_without_asyncio_it_says_how_to_be_hosted(self):
        async def theirs():
            pass

        async def ours():
            with pytest.raises(RuntimeError, match="not hosted by asyncio"):
                await await_asyncio(theirs())

        giambio.run(ours)

    def test_outside_of_our_loops_it_says_so(self):
        async def theirs():
            pass

        coroutine = theirs()
        bridge = await_asyncio(coroutine)
        with pytest.raises(RuntimeError, match="only inside a running loop"):
            bridge.send(None)
        coroutine.close()

    def test_what_runs_in_asyncio_is_not_in_our_loop(self):
        async def theirs():
            with pytest.raises(RuntimeError, match="only inside a running loop"):
                giambio.current_task()

        async def ours():
            await await_asyncio(theirs())

        in_asyncio(ours)

    def test_what_cannot_be_awaited_is_refused(self):
        async def ours():
            with pytest.raises(TypeError):
                await await_asyncio(42)

        in_asyncio(ours)

    def test_awaiting_asyncio_without_the_bridge_names_the_other_library(self):
        async def ours():
            with pytest.raises(giambio.exceptions.InternalError, match="another library"):
                await asyncio.sleep(1)

        in_asyncio(ours)


def test_a_run_in_asyncio_waits_without_ticks():
    async def ours():
        await await_asyncio(asyncio.sleep(0))
        await giambio.sleep_forever()

    async def main():
        with hosting.start_in(hosting.AsyncioHost(), ours) as hosted:
            for _ in range(20):
                await asyncio.sleep(0)
            ticks = hosted.ticks
            for _ in range(200):
                await asyncio.sleep(0)
            assert hosted.ticks == ticks

    asyncio.run(main())
