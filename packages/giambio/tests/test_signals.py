# SPDX-License-Identifier: Apache-2.0
"""Signals, received by tasks."""

from __future__ import annotations

import os
import signal
import threading

import pytest

import giambio
from giambio import ResourceClosed, WouldBlock, open_signal_receiver
from giambio.testing import assert_checkpoints, cancel_sweep, wait_all_tasks_blocked

USR1 = signal.SIGUSR1
USR2 = signal.SIGUSR2


@pytest.fixture(autouse=True)
def former():
    """What handles the signals before and after; the numbers that it was called with."""
    handled = []

    def handler(number, frame):
        handled.append(number)

    before = {number: signal.signal(number, handler) for number in (USR1, USR2)}
    yield handled
    for number, old in before.items():
        assert signal.getsignal(number) is handler
        signal.signal(number, old)


def test_signals_come_in_their_order(run, former):
    async def main():
        with open_signal_receiver(USR1, USR2) as received:
            signal.raise_signal(USR2)
            signal.raise_signal(USR1)
            assert received.statistics() == ((USR2, USR1), 0)
            async for number in received:
                seen.append(number)
                if number == USR1:
                    break

    seen = []
    run(main)
    assert seen == [USR2, USR1]
    assert [type(number) for number in seen] == [signal.Signals] * 2
    assert former == []


def test_a_task_that_waits_is_woken_from_the_poll(run):
    """The signal comes when nothing is ready, from another thread, and no timer is pending."""

    async def main():
        with open_signal_receiver(USR1) as received:
            async with giambio.create_pool() as pool:
                task = pool.spawn(received.receive)
                await wait_all_tasks_blocked()
                assert received.statistics() == ((), 1)
                thread = threading.Thread(target=os.kill, args=(os.getpid(), USR1))
                thread.start()
                assert await task.join() == USR1
                thread.join()

    run(main)


def test_the_former_handlers_are_back_after_the_block_and_after_an_error(run, former):
    async def main():
        with pytest.raises(ZeroDivisionError):
            with open_signal_receiver(USR1):
                raise ZeroDivisionError
        signal.raise_signal(USR1)

    run(main)
    assert former == [USR1]


def test_a_handler_that_somebody_else_has_installed_meanwhile_stays(run):
    async def main():
        with open_signal_receiver(USR1):
            before = signal.getsignal(USR1)
            signal.signal(USR1, signal.SIG_IGN)
        assert signal.getsignal(USR1) is signal.SIG_IGN
        return before

    handler = signal.getsignal(USR1)
    ours = run(main)
    assert ours is not handler
    # One that is called although nobody receives any more, because it was kept, does nothing.
    ours(USR1, None)
    signal.signal(USR1, handler)


class TestSeveralReceivers:
    def test_each_gets_each_signal(self, run):
        async def main():
            with open_signal_receiver(USR1) as one, open_signal_receiver(USR2, USR1) as other:
                signal.raise_signal(USR1)
                assert await one.receive() == await other.receive() == USR1
                signal.raise_signal(USR2)
                assert await other.receive() == USR2
                with pytest.raises(WouldBlock):
                    one.receive_nowait()

        run(main)

    def test_closing_one_leaves_the_others_theirs(self, run, former):
        async def main():
            with open_signal_receiver(USR1) as stays:
                with open_signal_receiver(USR1):
                    pass
                signal.raise_signal(USR1)
                assert await stays.receive() == USR1

        run(main)
        assert former == []

    def test_tasks_of_one_receiver_take_turns(self, run):
        async def main():
            with open_signal_receiver(USR1, USR2) as received:
                async with giambio.create_pool() as pool:
                    tasks = [pool.spawn(received.receive) for _ in range(2)]
                    await wait_all_tasks_blocked()
                    signal.raise_signal(USR2)
                    with pytest.raises(WouldBlock):  # those who wait come first
                        received.receive_nowait()
                    await wait_all_tasks_blocked()
                    signal.raise_signal(USR1)
                    assert [await task.join() for task in tasks] == [USR2, USR1]

        run(main)


class TestNoneIsLost:
    def test_what_nobody_took_goes_to_the_former_handler(self, run, former):
        async def main():
            with open_signal_receiver(USR1, USR2) as received:
                signal.raise_signal(USR1)
                signal.raise_signal(USR2)
                assert await received.receive() == USR1

        run(main)
        assert former == [USR2]

    def test_what_another_receiver_took_does_not(self, run, former):
        async def main():
            with open_signal_receiver(USR1):
                with open_signal_receiver(USR1) as other:
                    signal.raise_signal(USR1)
                    assert await other.receive() == USR1

        run(main)
        assert former == []

    def test_what_another_receiver_still_has_is_left_to_it(self, run, former):
        async def main():
            with open_signal_receiver(USR1) as outer:
                with open_signal_receiver(USR1):
                    signal.raise_signal(USR1)
                assert await outer.receive() == USR1

        run(main)
        assert former == []

    def test_a_cancelled_wait_takes_none_also_in_the_same_tick(self, run):
        async def main():
            with open_signal_receiver(USR1) as received:
                async with giambio.create_pool() as pool:
                    task = pool.spawn(received.receive)
                    await wait_all_tasks_blocked()
                    task.cancel()
                    signal.raise_signal(USR1)
                    await wait_all_tasks_blocked()
                    assert task.cancelled()
                    assert received.receive_nowait() == USR1

        run(main)

    def test_every_cancellation_is_survived(self, former):
        async def main():
            with open_signal_receiver(USR1, USR2) as received:
                signal.raise_signal(USR1)
                await received.receive()
                giambio.spawn(raise_soon)
                await received.receive()

        async def raise_soon():
            await giambio.sleep(1)
            if received_now():
                signal.raise_signal(USR2)

        def received_now():
            return signal.getsignal(USR2).__module__ == "giambio._signals"

        cancel_sweep(main)

    def test_a_storm_counts_once_while_nobody_looks_and_leaves_one_call_for_the_loop(self, run):
        async def main():
            with open_signal_receiver(USR1, USR2) as received:
                calls = len(giambio.lowlevel.current_scheduler()._inbox.calls)
                for _ in range(1000):
                    signal.raise_signal(USR1)
                    signal.raise_signal(USR2)
                assert len(giambio.lowlevel.current_scheduler()._inbox.calls) == calls + 1
                assert [await received.receive() for _ in range(2)] == [USR1, USR2]
                with pytest.raises(WouldBlock):
                    received.receive_nowait()

        run(main)

    def test_a_storm_from_a_thread_wakes_for_the_last_one(self, run):
        """However the signals fall between the steps, one that comes after a take is seen."""

        async def main():
            kill, me = os.kill, os.getpid()

            def storm():
                for _ in range(300):
                    kill(me, USR1)
                done.append(True)
                kill(me, USR2)

            done = []
            with open_signal_receiver(USR1, USR2) as received:
                thread = threading.Thread(target=storm)
                thread.start()
                taken = 0
                while await received.receive() == USR1:
                    taken += 1
                thread.join()
                assert done
                assert 1 <= taken <= 300

        run(main)


class TestCtrlC:
    def test_it_is_received_when_asked_for_and_then_means_what_it_did(self, run):
        async def main():
            with open_signal_receiver(signal.SIGINT) as received:
                signal.raise_signal(signal.SIGINT)
                assert await received.receive() == signal.SIGINT
                await giambio.checkpoint()  # raises nothing
            signal.raise_signal(signal.SIGINT)
            await giambio.sleep_forever()

        with pytest.raises(KeyboardInterrupt):
            run(main)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_one_that_nobody_took_interrupts(self, run):
        async def main():
            with open_signal_receiver(signal.SIGINT):
                signal.raise_signal(signal.SIGINT)
            await giambio.sleep_forever()

        with pytest.raises(KeyboardInterrupt):
            run(main)

    def test_it_interrupts_as_before_when_others_are_received(self, run, former):
        async def main():
            with open_signal_receiver(USR1):
                signal.raise_signal(signal.SIGINT)
                await giambio.sleep_forever()

        with pytest.raises(KeyboardInterrupt):
            run(main)
        signal.raise_signal(USR1)
        assert former == [USR1]


class TestBadUse:
    def test_signals_must_be_signals(self):
        with pytest.raises(TypeError, match="at least one"):
            open_signal_receiver()
        with pytest.raises(TypeError, match="expected a signal"):
            open_signal_receiver("SIGTERM")
        with pytest.raises(ValueError, match="no signal 4711"):
            open_signal_receiver(4711)

    def test_what_cannot_be_received_leaves_nothing_installed(self, run):
        async def main():
            with pytest.raises(ValueError, match="does not let .*SIGKILL"):
                with open_signal_receiver(USR1, signal.SIGKILL, USR2):
                    pass

        run(main)

    def test_a_handler_that_could_not_be_put_back_is_not_replaced(self, run, monkeypatch):
        async def main():
            with monkeypatch.context() as patched:
                patched.setattr(signal, "getsignal", lambda number: None)
                with pytest.raises(ValueError, match="could not be put back"):
                    open_signal_receiver(USR1).__enter__()

        run(main)

    def test_other_threads_receive_none(self):
        async def main():
            with pytest.raises(RuntimeError, match="main thread"):
                open_signal_receiver(USR1).__enter__()
            return True

        outcome = []
        thread = threading.Thread(target=lambda: outcome.append(giambio.run(main)))
        thread.start()
        thread.join()
        assert outcome == [True]

    def test_it_is_used_once_and_inside_of_its_block(self, run):
        async def main():
            received = open_signal_receiver(USR1)
            with pytest.raises(ResourceClosed, match="not open"):
                await received.receive()
            with received:
                with pytest.raises(RuntimeError, match="only once"):
                    received.__enter__()
            received.close()  # twice is fine
            with pytest.raises(ResourceClosed, match="not open"):
                async for _ in received:
                    pass

        run(main)

    def test_whoever_waits_when_it_is_closed_is_told(self, run):
        async def main():
            async with giambio.create_pool() as pool:
                with open_signal_receiver(USR1) as received:
                    task = pool.spawn(received.receive)
                    await wait_all_tasks_blocked()
                with pytest.raises(ResourceClosed, match="was closed"):
                    await task.join()

        with pytest.raises(ResourceClosed):
            run(main)

    def test_outside_of_a_loop_there_is_nothing_to_wake(self):
        with pytest.raises(RuntimeError):
            open_signal_receiver(USR1).__enter__()


def test_a_real_time_signal_without_a_name_is_a_number(run):
    number = signal.SIGRTMIN + 1

    async def main():
        with open_signal_receiver(number) as received:
            assert repr(received) == f"<SignalReceiver of {number}, open>"
            signal.raise_signal(number)
            assert await received.receive() == number

    run(main)


def test_its_repr_names_the_signals():
    assert repr(open_signal_receiver(15, USR1)) == "<SignalReceiver of SIGTERM, SIGUSR1, new>"


def test_receiving_is_a_checkpoint(run):
    async def main():
        with open_signal_receiver(USR1) as received:
            signal.raise_signal(USR1)
            with assert_checkpoints():
                await received.receive()

    run(main)


def test_a_signal_after_the_loop_was_closed_around_the_block_is_no_error():
    async def main():
        received = open_signal_receiver(USR1)
        received.__enter__()
        return received

    received = giambio.run(main)
    signal.raise_signal(USR1)
    assert received.statistics().pending == (USR1,)
    received._pending.clear()
    received.close()
