# SPDX-License-Identifier: Apache-2.0
"""Read-write locks: readers together, writers alone, and nobody starves."""

from __future__ import annotations

import pytest

import giambio
from giambio import ResourceBroken, RWLock, WouldBlock
from giambio.testing import (
    assert_checkpoints,
    assert_no_checkpoints,
    cancel_sweep,
    wait_all_tasks_blocked,
)


async def hold(side, seconds=1.0, log=None, name=None):
    async with side:
        if log is not None:
            log.append((giambio.clock(), name))
        await giambio.sleep(seconds)


class TestTakingTurns:
    """In the order of coming, readers that follow each other together."""

    def test_readers_are_in_together_and_writers_alone(self, run):
        log = []

        async def main():
            lock = RWLock()
            async with giambio.create_pool() as pool:
                for name in ("r1", "r2", "w1", "w2", "r3", "r4"):
                    side = lock.read if name.startswith("r") else lock.write
                    pool.spawn(hold, side, 1, log, name)
            assert lock.statistics() == ((), None, 0, 0)

        run(main)
        assert log == [(0, "r1"), (0, "r2"), (1, "w1"), (2, "w2"), (3, "r3"), (3, "r4")]

    def test_readers_that_keep_coming_do_not_starve_a_writer(self, run):
        async def main():
            lock = RWLock()
            written = giambio.Event()

            async def readers():
                async with giambio.create_pool() as pool:
                    while not written.is_set():
                        pool.spawn(hold, lock.read, 1.5)
                        await giambio.sleep(1)

            async with giambio.create_pool() as pool:
                pool.spawn(readers)
                await giambio.sleep(0.5)
                async with lock.write:
                    assert giambio.clock() == 1.5  # when the reader before it had gone
                    written.set()

        run(main)

    def test_writers_that_keep_coming_do_not_starve_a_reader(self, run):
        async def main():
            lock = RWLock()
            async with giambio.create_pool() as pool:
                pool.spawn(hold, lock.write)
                pool.spawn(hold, lock.write)
                await wait_all_tasks_blocked()
                pool.spawn(hold, lock.read)
                await wait_all_tasks_blocked()
                for _ in range(3):
                    pool.spawn(hold, lock.write)
                await giambio.sleep(2)
                await wait_all_tasks_blocked()
                assert len(lock.statistics().readers) == 1

        run(main)

    def test_it_is_handed_over_and_nobody_overtakes(self, run):
        async def main():
            lock = RWLock()
            async with giambio.create_pool() as pool:
                async with lock.write:
                    waiter = pool.spawn(hold, lock.write)
                    await wait_all_tasks_blocked()
                assert lock.statistics().writer is waiter  # although it has not run since
                for side in (lock.read, lock.write):
                    with pytest.raises(WouldBlock, match="is not free for (reading|writing)"):
                        side.acquire_nowait()

        run(main)

    def test_a_reader_does_not_overtake_a_writer_that_waits_behind_readers(self, run):
        async def main():
            lock = RWLock()
            async with giambio.create_pool() as pool:
                pool.spawn(hold, lock.read)
                await wait_all_tasks_blocked()
                pool.spawn(hold, lock.write)
                await wait_all_tasks_blocked()
                with pytest.raises(WouldBlock):
                    lock.read.acquire_nowait()
                async with lock.read:
                    assert giambio.clock() == 2

        run(main)

    def test_when_a_writer_gives_up_the_readers_behind_it_go_on(self, run):
        async def main():
            lock = RWLock()
            async with giambio.create_pool() as pool:
                pool.spawn(hold, lock.read, 10)
                await wait_all_tasks_blocked()
                writer = pool.spawn(hold, lock.write)
                await wait_all_tasks_blocked()
                pool.spawn(hold, lock.read)
                pool.spawn(hold, lock.read)
                await wait_all_tasks_blocked()
                assert lock.statistics()[2:] == (2, 1)
                writer.cancel()
                await wait_all_tasks_blocked()
                assert len(lock.statistics().readers) == 3

        run(main)

    def test_acquire_and_release_without_async_with(self, run):
        async def main():
            lock = RWLock()
            for side in (lock.read, lock.write):
                with assert_checkpoints():
                    await side.acquire()
                with assert_no_checkpoints():
                    side.release()
                    side.acquire_nowait()
                    side.release()
                with assert_checkpoints():
                    async with side:
                        pass

        run(main)


class TestWrongUse:
    """Errors at once, with the name of the task and of what it holds."""

    @pytest.mark.parametrize("held", ["read", "write"])
    @pytest.mark.parametrize("wanted", ["read", "write"])
    def test_a_task_that_holds_it_cannot_acquire_it_again(self, run, held, wanted):
        async def main():
            lock = RWLock()
            words = {"read": "reading", "write": "writing"}
            async with getattr(lock, held):
                side = getattr(lock, wanted)
                message = (
                    f"'main' cannot acquire <RWLock .* for {words[wanted]}: it already holds it "
                    f"for {words[held]}, so it would wait for itself"
                )
                with pytest.raises(RuntimeError, match=message):
                    await side.acquire()
                with pytest.raises(RuntimeError, match=message):
                    side.acquire_nowait()

        run(main)

    def test_what_is_not_held_in_this_way_cannot_be_released(self, run):
        async def main():
            lock = RWLock()
            message = "'main' cannot release .*: it does not hold it for"
            async with lock.read:
                with pytest.raises(RuntimeError, match=f"{message} writing"):
                    lock.write.release()
            async with lock.write:
                with pytest.raises(RuntimeError, match=f"{message} reading"):
                    lock.read.release()
            with pytest.raises(RuntimeError, match=message):
                lock.read.release()

        run(main)


def test_its_repr_and_statistics_say_who_holds_it_and_how_many_wait(run):
    async def main():
        lock = RWLock()
        at = f"<RWLock at {id(lock):#x}"
        assert repr(lock) == f"{at}, free, 0 waiting>"
        async with giambio.create_pool() as pool:
            first = pool.spawn(hold, lock.read)
            second = pool.spawn(hold, lock.read)
            await wait_all_tasks_blocked()
            writer = pool.spawn(hold, lock.write)
            await wait_all_tasks_blocked()
            pool.spawn(hold, lock.read)
            await wait_all_tasks_blocked()
            assert repr(lock) == f"{at}, read by 'hold', 'hold', 2 waiting>"
            assert repr(lock.read) == f"<reading of {lock!r}>"
            assert lock.statistics() == ((first, second), None, 1, 1)
            assert lock.holders() == (first, second)
            await giambio.sleep(1)
            await wait_all_tasks_blocked()
            assert repr(lock) == f"{at}, written by 'hold', 1 waiting>"
            assert lock.statistics() == ((), writer, 1, 0)
            assert lock.holders() == (writer,)

    run(main)


def test_writers_are_alone_wherever_a_task_is_cancelled():
    async def by_block(side, inside):
        async with side:
            await inside()

    async def by_calls(side, inside):
        await side.acquire()
        try:
            await inside()
        finally:
            side.release()

    async def program(use, victim_side):
        lock = RWLock()
        readers = writers = 0

        async def read():
            nonlocal readers
            readers += 1
            assert not writers
            try:
                await giambio.checkpoint()
            finally:
                readers -= 1

        async def write():
            nonlocal writers
            writers += 1
            assert writers == 1 and not readers
            try:
                await giambio.checkpoint()
            finally:
                writers -= 1

        async def victim():
            for _ in range(2):
                await use(*((lock.read, read) if victim_side == "read" else (lock.write, write)))

        try:
            async with giambio.create_pool() as pool:
                pool.spawn(use, lock.read, read)
                pool.spawn(use, lock.write, write)
                pool.spawn(victim)
                pool.spawn(use, lock.read, read)
                pool.spawn(use, lock.write, write)
        finally:
            assert lock.statistics() == ((), None, 0, 0)

    for use in (by_block, by_calls):
        for side in ("read", "write"):
            assert cancel_sweep(program, use, side, target="victim").checkpoints > 3
        cancel_sweep(program, use, "write")


class TestAHolderThatEnded:
    """What it wrote may be half done; what others read is not."""

    async def lose(self, side):
        await side.acquire()
        await giambio.sleep(1)

    async def catch(self, side):
        with pytest.raises(ResourceBroken, match="'lose' ended without releasing <RWLock"):
            await side.acquire()
        return giambio.clock()

    def test_a_writer_breaks_it_for_all(self, run):
        async def main():
            lock = RWLock()
            async with giambio.create_pool() as pool:
                pool.spawn(self.lose, lock.write)
                await wait_all_tasks_blocked()
                tasks = [pool.spawn(self.catch, side) for side in (lock.read, lock.write)]
            assert [task.result() for task in tasks] == [1, 1]
            assert "written by 'lose', which has ended" in repr(lock)
            for side in (lock.read, lock.write):
                await self.catch(side)
                with pytest.raises(ResourceBroken):
                    side.acquire_nowait()

        run(main)

    def test_a_reader_breaks_it_for_writers_and_the_readers_behind_them_go_on(self, run):
        async def main():
            lock = RWLock()
            async with giambio.create_pool() as pool:
                pool.spawn(self.lose, lock.read)
                pool.spawn(self.lose, lock.read)
                await wait_all_tasks_blocked()
                writer = pool.spawn(self.catch, lock.write)
                await wait_all_tasks_blocked()
                reader = pool.spawn(hold, lock.read)
                await writer.join()
                assert writer.result() == 1
                await reader.join()
            await self.catch(lock.write)
            async with lock.read:
                pass

        run(main)

    def test_a_task_that_released_in_time_breaks_nothing_by_ending(self, run):
        async def careful(side):
            await side.acquire()
            side.release()
            side.acquire_nowait()
            side.release()

        async def main():
            lock = RWLock()
            async with giambio.create_pool() as pool:
                pool.spawn(careful, lock.read)
                pool.spawn(careful, lock.write)
            async with lock.write:
                pass

        run(main)

    def test_a_generator_that_is_closed_in_another_task_is_noticed(self, run):
        async def generate(side):
            async with side:
                yield 1

        async def main():
            for side_name in ("read", "write"):
                lock = RWLock()
                generator = generate(getattr(lock, side_name))

                async def lose(generator=generator):
                    async for _ in generator:
                        break

                async with giambio.create_pool() as pool:
                    pool.spawn(lose)
                with pytest.raises(RuntimeError, match="cannot release"):
                    await generator.aclose()
                await self.catch(lock.write)

        run(main)
