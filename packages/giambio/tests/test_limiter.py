# SPDX-License-Identifier: Apache-2.0
"""Capacity limiters: tokens with borrowers, a number that can be changed, and lost tokens."""

from __future__ import annotations

import pytest

import giambio
from giambio import CapacityLimiter, ResourceBroken, WouldBlock
from giambio.testing import (
    assert_checkpoints,
    assert_no_checkpoints,
    cancel_sweep,
    wait_all_tasks_blocked,
)


async def hold(limiter, seconds=1.0):
    async with limiter:
        await giambio.sleep(seconds)


class TestBorrowing:
    """A token a borrower, first come first served."""

    def test_so_many_borrow_at_a_time_in_the_order_of_coming(self, run):
        events = []

        async def work(n):
            async with limiter:
                events.append((giambio.clock(), n))
                await giambio.sleep(1)

        async def main():
            nonlocal limiter
            limiter = CapacityLimiter(2)
            async with giambio.create_pool() as pool:
                for n in range(5):
                    pool.spawn(work, n)
            assert limiter.borrowed_tokens == 0

        limiter = None
        run(main)
        assert events == [(0, 0), (0, 1), (1, 2), (1, 3), (2, 4)]

    def test_a_token_goes_from_hand_to_hand_and_nobody_overtakes(self, run):
        async def main():
            limiter = CapacityLimiter(1)
            async with giambio.create_pool() as pool:
                async with limiter:
                    waiter = pool.spawn(hold, limiter)
                    await wait_all_tasks_blocked()
                assert limiter.statistics().borrowers == (waiter,)  # although it has not run
                with pytest.raises(WouldBlock, match=r"1 of 1 borrowed, .* has no free token"):
                    limiter.acquire_nowait()

        run(main)

    def test_any_object_may_borrow(self, run):
        async def main():
            limiter = CapacityLimiter(2)
            with assert_checkpoints():
                await limiter.acquire_on_behalf_of("job 1")
            with assert_no_checkpoints():
                limiter.acquire_on_behalf_of_nowait("job 2")
            assert limiter.statistics() == (2, 2, ("job 1", "job 2"), 0)
            with pytest.raises(WouldBlock):
                limiter.acquire_on_behalf_of_nowait("job 3")
            limiter.release_on_behalf_of("job 1")
            assert limiter.available_tokens == 1
            with assert_checkpoints():
                await limiter.acquire()
            limiter.release()
            limiter.acquire_nowait()
            limiter.release()
            assert limiter.statistics().borrowers == ("job 2",)

        run(main)

    def test_who_could_give_a_token_back_is_known_if_all_borrowers_are_tasks(self, run):
        async def main():
            limiter = CapacityLimiter(2)
            async with limiter:
                assert limiter.holders() == (giambio.current_task(),)
                limiter.acquire_on_behalf_of_nowait("nobody knows who")
                assert limiter.holders() == ()

        run(main)

    def test_a_borrower_borrows_once(self, run):
        async def main():
            limiter = CapacityLimiter(3)
            async with limiter:
                with pytest.raises(RuntimeError, match=r"<Task 'main' .*already has a token of"):
                    await limiter.acquire()
                with pytest.raises(RuntimeError, match="already has a token"):
                    limiter.acquire_nowait()
            with pytest.raises(RuntimeError, match="has no token of .* to give back"):
                limiter.release()
            with pytest.raises(RuntimeError, match="'job' has no token of"):
                limiter.release_on_behalf_of("job")

        run(main)

    def test_a_borrower_that_waits_in_two_tasks_gets_one_token(self, run):
        async def main():
            limiter = CapacityLimiter(0)
            async with giambio.create_pool() as pool:
                first = pool.spawn(limiter.acquire_on_behalf_of, "job")
                second = pool.spawn(catch, limiter.acquire_on_behalf_of, "job")
                third = pool.spawn(limiter.acquire_on_behalf_of, "other")
                await wait_all_tasks_blocked()
                limiter.total_tokens = 2
            assert first.result() is third.result() is None
            assert isinstance(second.result(), RuntimeError)
            assert limiter.statistics().borrowers == ("job", "other")

        run(main)

    def test_a_borrower_that_borrows_twice_in_the_same_tick_gets_one_token(self, run):
        async def main():
            limiter = CapacityLimiter(2)
            giambio.current_task().scheduler.credit = 0
            async with giambio.create_pool() as pool:
                tasks = [pool.spawn(catch, limiter.acquire_on_behalf_of, "job") for _ in range(2)]
            errors = [task.result() for task in tasks]
            assert sorted(type(error).__name__ for error in errors) == ["NoneType", "RuntimeError"]
            assert limiter.borrowed_tokens == 1

        run(main)

    def test_its_repr_and_statistics_say_what_is_borrowed_and_how_many_wait(self, run):
        async def main():
            limiter = CapacityLimiter(1)
            async with giambio.create_pool() as pool:
                borrower = pool.spawn(hold, limiter)
                pool.spawn(hold, limiter)
                await wait_all_tasks_blocked()
                at = f"<CapacityLimiter at {id(limiter):#x}"
                assert repr(limiter) == f"{at}, 1 of 1 borrowed, 1 waiting>"
                assert limiter.statistics() == (1, 1, (borrower,), 1)

        run(main)

    def test_tokens_out_are_tokens_in_wherever_a_task_is_cancelled(self):
        async def by_block(limiter, inside):
            async with limiter:
                await inside()

        async def by_calls(limiter, inside):
            await limiter.acquire()
            try:
                await inside()
            finally:
                limiter.release()

        async def program(use):
            limiter = CapacityLimiter(2)

            async def inside():
                assert limiter.borrowed_tokens <= 2
                assert giambio.current_task() in limiter.statistics().borrowers
                await giambio.checkpoint()

            async def work():
                for _ in range(2):
                    await use(limiter, inside)

            async def victim():
                await work()

            try:
                async with giambio.create_pool() as pool:
                    pool.spawn(work)
                    pool.spawn(work)
                    pool.spawn(victim)
                    pool.spawn(work)
            finally:
                assert limiter.statistics() == (2, 0, (), 0)

        for use in (by_block, by_calls):
            assert cancel_sweep(program, use, target="victim").checkpoints > 3
            cancel_sweep(program, use)


async def catch(fn, *args):
    """Return what it raises."""
    try:
        await fn(*args)
    except RuntimeError as error:
        return error


class TestResizing:
    """How many tokens there are can be changed at any time."""

    def test_with_more_tokens_waiting_tasks_go_on(self, run):
        async def main():
            limiter = CapacityLimiter(1)
            async with giambio.create_pool() as pool:
                for _ in range(4):
                    pool.spawn(hold, limiter)
                await wait_all_tasks_blocked()
                limiter.total_tokens = 3
                assert limiter.borrowed_tokens == 3
                assert limiter.statistics().tasks_waiting == 1
            assert giambio.clock() == 2

        run(main)

    def test_with_fewer_none_is_taken_away_and_none_given_out_until_enough_are_back(self, run):
        async def main():
            limiter = CapacityLimiter(3)
            async with giambio.create_pool() as pool:
                for seconds in (1, 2, 3):
                    pool.spawn(hold, limiter, seconds)
                await wait_all_tasks_blocked()
                limiter.total_tokens = 1
                assert limiter.borrowed_tokens == 3
                assert limiter.available_tokens == 0
                async with limiter:
                    assert giambio.clock() == 3

        run(main)

    def test_infinity_sets_no_limit_and_zero_lets_nobody_in(self, run):
        async def main():
            limiter = CapacityLimiter(float("inf"))
            async with giambio.create_pool() as pool:
                for _ in range(100):
                    pool.spawn(hold, limiter)
            assert giambio.clock() == 1
            assert limiter.available_tokens == float("inf")
            limiter.total_tokens = 0
            with pytest.raises(WouldBlock):
                limiter.acquire_nowait()

        run(main)

    @pytest.mark.parametrize("wrong", [-1, 1.5, float("nan")])
    def test_how_many_there_are_is_checked(self, wrong):
        with pytest.raises(ValueError, match="total_tokens must be a whole number from 0"):
            CapacityLimiter(wrong)
        limiter = CapacityLimiter(2)
        with pytest.raises(ValueError, match="total_tokens"):
            limiter.total_tokens = wrong
        assert limiter.total_tokens == 2


async def lose(limiter):
    """Borrow, and end without giving back."""
    await limiter.acquire()
    await giambio.sleep(1)


class TestLostTokens:
    """Those whose borrowers ended without giving them back."""

    def test_while_one_is_left_work_goes_on_and_when_all_are_lost_nobody_waits_for_ever(self, run):
        async def main():
            limiter = CapacityLimiter(2)
            async with giambio.create_pool() as pool:
                pool.spawn(lose, limiter)
            async with limiter:
                pass
            async with giambio.create_pool() as pool:
                pool.spawn(lose, limiter)
                waiter = pool.spawn(catch_broken, limiter)
                await wait_all_tasks_blocked()
                assert limiter.statistics().tasks_waiting == 1
            assert "'lose', 'lose'; use 'async with'" in str(waiter.result())
            assert giambio.clock() == 2
            with pytest.raises(ResourceBroken, match="all tokens of .* are lost"):
                await limiter.acquire()
            with pytest.raises(ResourceBroken, match="all tokens of .* are lost"):
                limiter.acquire_nowait()

        run(main)

    def test_somebody_else_may_give_back_what_was_lost(self, run):
        async def main():
            limiter = CapacityLimiter(1)
            async with giambio.create_pool() as pool:
                loser = pool.spawn(lose, limiter)
            limiter.release_on_behalf_of(loser)
            async with limiter:
                pass

        run(main)

    def test_tokens_that_are_added_can_be_borrowed_although_others_are_lost(self, run):
        async def main():
            limiter = CapacityLimiter(1)
            async with giambio.create_pool() as pool:
                pool.spawn(lose, limiter)
            limiter.total_tokens = 2
            async with limiter:
                pass

        run(main)

    def test_taking_the_last_good_tokens_away_wakes_who_waits_for_them(self, run):
        async def main():
            limiter = CapacityLimiter(2)
            async with giambio.create_pool() as pool:
                pool.spawn(lose, limiter)
                pool.spawn(hold, limiter, 5)
                await giambio.sleep(2)
                waiter = pool.spawn(catch_broken, limiter)
                await wait_all_tasks_blocked()
                limiter.total_tokens = 1
                await wait_all_tasks_blocked()
                assert not waiter.done()  # one of two borrowers is alive
            assert isinstance(waiter.result(), ResourceBroken)

        run(main)

    def test_a_token_that_was_given_back_before_its_borrower_knew_is_not_lost(self, run):
        async def main():
            limiter = CapacityLimiter(0)
            async with giambio.create_pool() as pool:
                borrower = pool.spawn(giambio.sleep, 1)
                pool.spawn(limiter.acquire_on_behalf_of, borrower)
                await wait_all_tasks_blocked()
                limiter.total_tokens = 1
                limiter.release_on_behalf_of(borrower)
            async with limiter:
                pass

        run(main)

    def test_borrowing_for_a_task_that_has_ended_is_a_loss(self, run):
        async def main():
            limiter = CapacityLimiter(2)
            async with giambio.create_pool() as pool:
                ended = [pool.spawn(giambio.checkpoint) for _ in range(2)]
            await limiter.acquire_on_behalf_of(ended[0])
            limiter.acquire_on_behalf_of_nowait(ended[1])
            with pytest.raises(ResourceBroken):
                await limiter.acquire()

        run(main)

    def test_a_generator_that_is_closed_in_another_task_gives_nothing_back_but_is_noticed(
        self, run
    ):
        async def generate(limiter):
            async with limiter:
                yield 1

        async def main():
            limiter = CapacityLimiter(1)
            generator = generate(limiter)

            async def enter():
                async for _ in generator:
                    break

            async with giambio.create_pool() as pool:
                pool.spawn(enter)
            with pytest.raises(RuntimeError, match="has no token"):
                await generator.aclose()
            with pytest.raises(ResourceBroken, match="'enter'"):
                await limiter.acquire()

        run(main)


async def catch_broken(limiter):
    with pytest.raises(ResourceBroken) as caught:
        await limiter.acquire()
    return caught.value
