# SPDX-License-Identifier: Apache-2.0
"""Waiting for descriptors: raw ones, and handles that remember readiness.

Each test runs on every poller. Where readiness is predicted from edges, the tests send one burst and
wait until all of it has been read, so that no later traffic can rescue a lost edge.
"""

from __future__ import annotations

import os
import select
import selectors
import socket
import sys
import threading

import pytest

from giambio_kernel import (
    AsyncScheduler,
    CancelScope,
    ResourceBusy,
    ResourceClosed,
    SelectorPoller,
    VirtualClock,
    checkpoint,
    current_scheduler,
    current_task,
    default_poller,
    notify_closing,
    open_handle,
    sleep,
    spawn_task,
    wait_all_tasks_blocked,
    wait_readable,
    wait_writable,
)

POLLERS = {
    "default": default_poller,
    "select": lambda: SelectorPoller(selectors.SelectSelector()),
    "poll": lambda: SelectorPoller(selectors.PollSelector()),
    "selectors": SelectorPoller,
}


@pytest.fixture(params=POLLERS)
def run(request):
    def run(func, *args, **options):
        return AsyncScheduler(poller=POLLERS[request.param](), **options).start(func, *args)

    return run


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


@pytest.fixture
def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


def fill(sock):
    """Write until nothing more fits; return how much did."""
    sent = 0
    while True:
        try:
            sent += sock.send(bytes(65536))
        except BlockingIOError:
            return sent


class Reader:
    """Reads from a TCP socket as the socket layer does, with prediction."""

    def __init__(self, sock):
        self.sock = sock
        self.handle = open_handle(sock.fileno())
        self.would_block = 0

    async def receive(self, size=65536):
        while True:
            if self.handle.may_read:
                try:
                    data = self.sock.recv(size)
                except BlockingIOError:
                    self.would_block += 1
                    self.handle.may_read = False
                else:
                    if len(data) < size and not self.handle.sticky:
                        self.handle.may_read = False
                    return data
            await wait_readable(self.handle)


class TestRawDescriptors:
    """Numbers that belong to somebody else: level-triggered, one wait at a time."""

    def test_a_reader_waits_until_something_comes(self, run, pair):
        left, right = pair
        events = []

        async def reader():
            await wait_readable(left.fileno())
            events.append(left.recv(10))

        async def main():
            task = spawn_task(reader)
            await wait_all_tasks_blocked()
            assert events == []
            right.send(b"hello")
            await task.join()

        run(main)
        assert events == [b"hello"]

    def test_what_is_ready_already_is_reported(self, run, pair):
        left, right = pair

        async def main():
            right.send(b"hello")
            for _ in range(3):
                await wait_readable(left.fileno())
                assert left.recv(1)

        run(main)

    def test_a_writer_waits_until_there_is_room(self, run, pair):
        left, right = pair

        async def writer():
            await wait_writable(left.fileno())
            assert left.send(b"x") == 1

        async def main():
            await wait_writable(left.fileno())
            fill(left)
            task = spawn_task(writer)
            await wait_all_tasks_blocked()
            assert not task.done()
            while not task.done():
                try:
                    right.recv(1 << 20)
                except BlockingIOError:
                    pass
                await checkpoint()

        run(main)

    def test_a_reader_and_a_writer_may_wait_together(self, run, pair):
        left, right = pair
        order = []

        async def reader():
            await wait_readable(left.fileno())
            order.append("reader")

        async def writer():
            await wait_writable(left.fileno())
            order.append("writer")

        async def main():
            fill(left)
            one, two = spawn_task(reader), spawn_task(writer)
            await wait_all_tasks_blocked()
            right.send(b"x")
            await one.join()
            assert not two.done()
            while not two.done():
                try:
                    right.recv(1 << 20)
                except BlockingIOError:
                    pass
                await checkpoint()

        run(main)
        assert order == ["reader", "writer"]

    def test_a_second_reader_is_refused(self, run, pair):
        left, _ = pair

        async def main():
            with CancelScope() as scope:
                spawn_task(wait_readable, left.fileno(), name="first", scope=scope)
                await checkpoint()
                with pytest.raises(ResourceBusy, match="'first' already waits to read from"):
                    await wait_readable(left.fileno())
                fill(left)
                writer = spawn_task(wait_writable, left.fileno(), name="second", scope=scope)
                await wait_all_tasks_blocked()
                with pytest.raises(ResourceBusy, match="'second' already waits to write to"):
                    await wait_writable(left.fileno())
                scope.cancel()
                while scope.tasks:
                    await sleep_shielded()
            assert writer.cancelled()

        async def sleep_shielded():
            with CancelScope(shield=True):
                await checkpoint()

        run(main)

    def test_a_cancelled_wait_is_forgotten(self, run, pair):
        left, right = pair

        async def main():
            for wait in (wait_readable, wait_writable):
                fill(left)
                with CancelScope() as scope:
                    scope.cancel()
                    await wait(left.fileno())
                assert scope.cancelled_caught
            assert current_scheduler().snapshot().descriptors == ()
            right.send(b"x")
            await wait_readable(left.fileno())

        run(main)

    def test_closing_wakes_who_waits(self, run, pair):
        left, _ = pair
        outcomes = []

        async def waiter(wait):
            try:
                await wait(left.fileno())
            except ResourceClosed as error:
                outcomes.append(str(error))

        async def main():
            fill(left)
            spawn_task(waiter, wait_readable)
            spawn_task(waiter, wait_writable)
            await wait_all_tasks_blocked()
            fd = left.fileno()
            notify_closing(fd)
            left.close()
            notify_closing(fd)  # nobody waits: nothing to do
            await wait_all_tasks_blocked()
            assert outcomes == [f"descriptor {fd} was closed while in use"] * 2

        run(main)

    def test_what_cannot_be_waited_for_is_a_clear_error(self, run):
        async def main():
            read, write = os.pipe()
            os.close(read)
            os.close(write)
            with pytest.raises(OSError, match="Bad file descriptor"):
                await wait_readable(read)
            await checkpoint()  # and the loop is well

        run(main)

    def test_a_descriptor_closed_behind_the_loops_back_does_not_stop_the_loop(self, run):
        async def main():
            left, right = socket.socketpair()
            with CancelScope(seconds=0.02) as scope:
                spawn_task(wait_readable, left.fileno(), scope=scope)
                await wait_all_tasks_blocked()
                left.close()
                await sleep(0.01)
                scope.cancel()
                while scope.tasks:
                    with CancelScope(shield=True):
                        await checkpoint()
            right.close()

        run(main)

    def test_the_end_of_a_pipe_is_readable(self, run):
        async def main():
            read, write = os.pipe()
            os.close(write)
            await wait_readable(read)
            assert os.read(read, 1) == b""
            os.close(read)

        run(main)


class TestHandles:
    """Handles own their descriptor and remember what is known of it."""

    def test_in_the_steady_state_nothing_is_tried_in_vain(self, run, tcp_pair):
        left, right = tcp_pair

        async def main():
            reader = Reader(left)
            for n in range(20):
                task = spawn_task(reader.receive)
                await wait_all_tasks_blocked()
                right.send(b"%d" % n)
                assert await task.join() == b"%d" % n
            assert reader.would_block == 1  # the very first time nothing was known

        run(main)

    def test_all_of_a_burst_is_read(self, run, tcp_pair):
        left, right = tcp_pair

        async def main():
            reader = Reader(left)
            right.send(bytes(1000))
            got = 0
            while got < 1000:
                got += len(await reader.receive(300))

        run(main)

    def test_the_end_that_comes_with_the_last_bytes_is_seen(self, run, tcp_pair):
        """A FIN in the same edge as the last bytes gives no second edge."""
        left, right = tcp_pair

        async def main():
            reader = Reader(left)
            task = spawn_task(reader.receive)
            await wait_all_tasks_blocked()
            right.send(b"last")
            right.shutdown(socket.SHUT_WR)
            assert await task.join() == b"last"
            assert await reader.receive() == b""

        run(main)

    def test_a_reset_that_comes_with_the_last_bytes_is_seen(self, run, tcp_pair):
        left, right = tcp_pair

        async def main():
            reader = Reader(left)
            task = spawn_task(reader.receive)
            await wait_all_tasks_blocked()
            right.send(b"last")
            right.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            right.close()
            try:
                assert await task.join() == b"last"
            except ConnectionResetError:
                return
            with pytest.raises(ConnectionResetError):
                await reader.receive()

        class Keeper(CancelScope):
            def on_task_done(self, task, error):
                pass

        async def kept():
            with Keeper():
                await main()

        run(kept)

    @pytest.mark.skipif(sys.platform != "linux", reason="the mark of urgent data differs")
    def test_data_after_urgent_data_is_seen(self, run, tcp_pair):
        """A read stops at the mark of urgent data although more is queued behind it."""
        left, right = tcp_pair

        async def main():
            reader = Reader(left)
            task = spawn_task(reader.receive)
            await wait_all_tasks_blocked()
            right.send(b"before")
            right.send(b"!", socket.MSG_OOB)
            right.send(b"after")
            got = await task.join()
            while len(got) < len(b"beforeafter"):
                with CancelScope(seconds=5) as scope:
                    got += await reader.receive()
                assert not scope.timed_out, f"lost behind the mark: {got}"
            assert got == b"beforeafter"

        run(main)

    def test_after_an_aborted_wait_the_edge_in_flight_is_not_lost(self, run, tcp_pair):
        left, right = tcp_pair

        async def main():
            reader = Reader(left)
            with CancelScope() as scope:
                task = spawn_task(reader.receive, scope=scope)
                await wait_all_tasks_blocked()
                right.send(b"came at the same moment")
                task.cancel()
                while scope.tasks:
                    await checkpoint()
            assert task.cancelled()
            assert await reader.receive() == b"came at the same moment"

        run(main)

    def test_somebody_else_may_read_the_bytes_away(self, run, tcp_pair):
        left, right = tcp_pair

        async def main():
            reader = Reader(left)
            task = spawn_task(reader.receive)
            await wait_all_tasks_blocked()
            duplicate = left.dup()
            duplicate.setblocking(False)
            right.send(b"stolen")
            while True:
                try:
                    assert duplicate.recv(100) == b"stolen"
                    break
                except BlockingIOError:
                    pass
            await wait_all_tasks_blocked()
            assert not task.done()
            right.send(b"mine")
            assert await task.join() == b"mine"
            reader.handle.close()
            duplicate.close()

        run(main)

    def test_a_writer_on_a_handle_that_was_registered_for_reading_only(self, run, tcp_pair):
        left, right = tcp_pair

        async def main():
            handle = open_handle(left.fileno())
            with CancelScope() as scope:
                spawn_task(wait_readable, handle, scope=scope)
                await checkpoint()
                fill(left)
                writer = spawn_task(wait_writable, handle, scope=scope)
                await wait_all_tasks_blocked()
                assert not writer.done()
                while not writer.done():
                    try:
                        right.recv(1 << 20)
                    except BlockingIOError:
                        pass
                    await checkpoint()
                scope.cancel()
                while scope.tasks:
                    with CancelScope(shield=True):
                        await checkpoint()

        run(main)

    def test_a_raw_wait_on_a_handles_descriptor_sees_what_is_there(self, run, tcp_pair):
        """The edge was seen before; a raw wait must not wait for another one."""
        left, right = tcp_pair

        async def main():
            reader = Reader(left)
            task = spawn_task(reader.receive, 1)
            await wait_all_tasks_blocked()
            right.send(b"ab")
            assert await task.join() == b"a"
            with CancelScope(seconds=5) as scope:
                await wait_readable(left.fileno())
            assert not scope.timed_out

        run(main)

    def test_closing_a_handle_wakes_who_waits_and_is_final(self, run, pair):
        left, _ = pair

        async def main():
            handle = open_handle(left.fileno())
            errors = []

            async def waiter():
                with pytest.raises(ResourceClosed):
                    await wait_readable(handle)
                errors.append(1)

            spawn_task(waiter)
            await wait_all_tasks_blocked()
            assert repr(handle) == (
                f"<IOHandle fd={left.fileno()} watched, 'waiter' waits to read>"
            )
            handle.close()
            handle.close()
            assert repr(handle) == f"<IOHandle fd={left.fileno()} closed>"
            await wait_all_tasks_blocked()
            assert errors == [1]
            for wait in (wait_readable, wait_writable):
                with pytest.raises(ResourceClosed):
                    await wait(handle)

        run(main)

    def test_a_handle_belongs_to_its_loop(self, run, pair):
        left, _ = pair
        handles = []

        async def first():
            handles.append(open_handle(left.fileno()))
            handles[0].closed = False
            return current_scheduler()

        async def second():
            with pytest.raises(RuntimeError, match="belongs to another loop"):
                await wait_readable(handles[0])
            with pytest.raises(RuntimeError, match="belongs to another loop"):
                await wait_writable(handles[0])

        AsyncScheduler().start(first)
        AsyncScheduler().start(second)


class TestReusedNumbers:
    """Descriptor numbers are reused as soon as they are closed."""

    def test_a_successor_does_not_inherit_the_state_of_a_stale_handle(self, run):
        async def main():
            first, peer = socket.socketpair()
            stale = open_handle(first.fileno())
            errors = []

            async def waiter():
                try:
                    await wait_readable(stale)
                except ResourceClosed as error:
                    errors.append(error)

            spawn_task(waiter)
            await wait_all_tasks_blocked()
            number = first.fileno()
            first.close()  # behind the loop's back
            peer.close()
            second, other = socket.socketpair()
            assert number in (second.fileno(), other.fileno())
            mine, yours = (second, other) if second.fileno() == number else (other, second)
            handle = open_handle(number)
            yours.send(b"x")
            await wait_readable(handle)
            assert len(errors) == 1
            stale.close()  # late, and must not unregister the successor
            mine.recv(1)
            yours.send(b"y")
            with CancelScope(seconds=5) as scope:
                await wait_readable(handle)
            assert not scope.timed_out
            handle.close()
            second.close()
            other.close()

        run(main)

    def test_a_duplicate_that_keeps_a_registration_alive_is_no_busy_loop(self, run):
        async def main():
            left, right = socket.socketpair()
            handle = open_handle(left.fileno())
            task = spawn_task(wait_readable, handle)
            await wait_all_tasks_blocked()
            duplicate = left.dup()
            left.close()  # behind the loop's back: the registration lives on in the duplicate
            right.send(b"x")
            with CancelScope(seconds=0.05):
                await task.join()
            steps = 0

            async def count():
                nonlocal steps
                with CancelScope(seconds=0.05):
                    while True:
                        steps += 1
                        await sleep(0.01)

            await count()
            assert steps < 20
            handle.close()
            duplicate.close()
            right.close()

        if type(default_poller()).edge_triggered:
            AsyncScheduler().start(main)

    def test_nor_is_one_that_keeps_alive_what_was_waited_for_once(self):
        """A raw descriptor that is closed cannot be taken off the poller any more."""
        looks = 0

        class Counting:
            def before_io(self, timeout):
                nonlocal looks
                looks += 1

        async def main():
            read, write = os.pipe()
            duplicate = os.dup(read)
            task = spawn_task(wait_readable, read)
            await wait_all_tasks_blocked()
            os.close(read)
            os.write(write, b"x")
            await task.join()
            handle = open_handle(write)  # so that looks are told
            with CancelScope(seconds=0.05):
                await wait_readable(handle)
            handle.close()
            os.close(duplicate)
            os.close(write)

        if type(default_poller()).edge_triggered:
            AsyncScheduler(debugger=Counting()).start(main)
            assert looks < 20

    def test_another_thread_may_not_close_what_is_waited_for(self, run, pair):
        left, _ = pair
        refused = []

        def close_it(handle):
            try:
                handle.close()
            except RuntimeError as error:
                refused.append(str(error))

        async def wait(handle):
            with pytest.raises(ResourceClosed):
                await wait_readable(handle)

        async def main():
            handle = open_handle(left.fileno())
            task = spawn_task(wait, handle)
            await wait_all_tasks_blocked()
            thread = threading.Thread(target=close_it, args=(handle,))
            thread.start()
            thread.join()
            assert not handle.closed
            assert not task.done()
            handle.close()
            await task.join()

        run(main)
        assert "belongs to another thread" in refused[0]

    def test_a_host_is_woken_when_it_closes_what_is_waited_for(self, pair):
        left, _ = pair
        handles = []

        async def main():
            handles.append(open_handle(left.fileno()))
            with pytest.raises(ResourceClosed):
                await wait_readable(handles[0])

        with AsyncScheduler() as loop:
            loop.start(main, loop=False)
            while not handles or handles[0].reader is None:
                loop.tick()
            while loop.next_deadline() <= loop.clock():
                loop.tick()
            handles[0].close()
            assert select.select([loop], [], [], 0)[0] == [loop]
            while loop.tick():
                pass

    def test_several_events_of_a_batch_may_touch_what_an_earlier_one_closed(self, run):
        async def main():
            pairs = [socket.socketpair() for _ in range(10)]
            handles = [open_handle(left.fileno()) for left, _ in pairs]
            woken = []

            async def waiter(n):
                try:
                    await wait_readable(handles[n])
                except ResourceClosed:
                    woken.append(-1)
                else:
                    woken.append(n)
                for handle in handles:  # the first one woken closes them all
                    handle.close()

            for n in range(10):
                spawn_task(waiter, n)
            await wait_all_tasks_blocked()
            for _, right in pairs:
                right.send(b"x")
            await wait_all_tasks_blocked()
            assert len(woken) == 10
            for left, right in pairs:
                left.close()
                right.close()

        run(main)

    def test_a_raw_wait_is_not_for_what_had_the_number_before(self, run):
        async def main():
            first, peer = socket.socketpair()
            number = first.fileno()
            with CancelScope(seconds=0):
                await wait_readable(open_handle(first))
            first.close()  # behind the loop's back
            peer.close()
            second, other = socket.socketpair()
            assert number in (second.fileno(), other.fileno())
            yours = other if second.fileno() == number else second
            yours.send(b"x")
            with CancelScope(seconds=5) as scope:
                await wait_readable(number)
            assert not scope.timed_out
            second.close()
            other.close()

        run(main)


def test_a_loop_that_waits_for_descriptors_is_not_deadlocked(run, pair):
    left, right = pair

    async def main():
        with CancelScope() as scope:
            spawn_task(wait_readable, left.fileno(), scope=scope)
            await wait_all_tasks_blocked()
            right.send(b"x")
            while scope.tasks:
                await checkpoint()

    run(main)


def test_ready_descriptors_go_before_a_jump_of_the_virtual_clock(run, pair):
    left, right = pair

    async def reader():
        await wait_readable(left.fileno())
        return current_scheduler().clock()

    async def main():
        task = spawn_task(reader)
        await wait_all_tasks_blocked()
        right.send(b"x")
        await sleep(100)
        assert await task.join() == 0.0

    run(main, clock=VirtualClock())


def test_io_is_looked_at_although_tasks_are_always_ready(run, pair):
    left, right = pair

    async def busy():
        while not done:
            await checkpoint()

    async def main():
        spawn_task(busy)
        right.send(b"x")
        await wait_readable(left.fileno())
        done.append(current_task())

    done = []
    run(main)


def test_a_poller_without_a_descriptor_says_so():
    async def main():
        await sleep(0)

    with AsyncScheduler(poller=SelectorPoller(selectors.SelectSelector())) as loop:
        loop.start(main, loop=False)
        with pytest.raises(RuntimeError, match="SelectSelector has no descriptor to wait on"):
            loop.fileno()
    with AsyncScheduler(poller=SelectorPoller()) as loop:
        loop.start(main, loop=False)
        assert loop.fileno() >= 0


def test_a_deadline_may_be_further_away_than_a_poller_can_wait():
    async def main():
        month = spawn_task(sleep, 30 * 86_400)
        left, right = socket.socketpair()
        with left, right:
            right.send(b"x")
            await wait_readable(left)
        month.cancel()

    AsyncScheduler().start(main)


def test_what_has_a_descriptor_can_be_waited_for_as_well(run):
    async def main():
        left, right = socket.socketpair()
        with left, right:
            await wait_writable(left)
            right.send(b"x")
            await wait_readable(left)
            reader = spawn_task(wait_readable, right)
            await wait_all_tasks_blocked()
            notify_closing(right)
            with pytest.raises(ResourceClosed):
                await reader.join()
        with pytest.raises(ValueError, match="has no open descriptor"):
            await wait_readable(left)
        with pytest.raises(TypeError, match="expected a descriptor, or an object that has one"):
            await wait_writable("left")

    with pytest.raises(ResourceClosed):
        run(main)
