# SPDX-License-Identifier: Apache-2.0
"""Where the prediction of readiness, or the registration of descriptors, could go wrong.

Each test sends one burst and waits until all of it is read, so that no later traffic rescues a lost edge.
It runs on the platform's poller, which tells edges, and on one that tells levels. A lost edge shows as a
run that does not end: the deadline of `settled` turns it into an error.
"""

from __future__ import annotations

import os
import select
import socket as stdlib
import struct
import sys

import pytest

import giambio
from giambio import AsyncScheduler, ResourceClosed, socket
from giambio.lowlevel import IOHandle, current_scheduler
from giambio.testing import wait_all_tasks_blocked
from giambio_kernel import SelectorPoller, default_poller

POLLERS = {"default": default_poller, "selectors": SelectorPoller}


@pytest.fixture(params=POLLERS)
def run(request):
    """Run in real time: what is waited for comes from the system, at once."""

    def run(func, *args):
        async def limited():
            with giambio.with_timeout(20):
                return await func(*args)

        return AsyncScheduler(poller=POLLERS[request.param]()).start(limited)

    return run


def tcp_pair():
    with stdlib.create_server(("127.0.0.1", 0)) as listener:
        left = stdlib.create_connection(listener.getsockname())
        right, _ = listener.accept()
    return giambio.wrap_socket(left), right


def unix_pair():
    left, right = stdlib.socketpair()
    return giambio.wrap_socket(left), right


needs_unix = pytest.mark.skipif(not hasattr(stdlib, "AF_UNIX"), reason="no UNIX sockets here")
PAIRS = [pytest.param(tcp_pair, id="tcp"), pytest.param(unix_pair, id="unix", marks=needs_unix)]
every_pair = pytest.mark.parametrize("pair", PAIRS)


async def read_all(sock, size=65536):
    """Read to the end of the stream; return the pieces."""
    pieces = []
    while data := await sock.receive(size):
        pieces.append(data)
    return b"".join(pieces)


async def in_the_middle_of_a_wait(sock, act, read=None):
    """Let a task wait to read, act, and return what it read."""
    async with giambio.create_pool() as pool:
        task = pool.spawn(read or sock.receive)
        await wait_all_tasks_blocked()
        act()
        return await task.join()


class TestPrediction:
    """A short read means that nothing is left, except where it does not."""

    @every_pair
    @pytest.mark.parametrize("size", [1, 7, 300, 1000, 65536])
    def test_a_burst_is_read_in_pieces_of_any_size(self, run, pair, size):
        async def main():
            left, right = pair()
            async with left:
                await in_the_middle_of_a_wait(left, lambda: right.send(b"x"))  # it is known now
                right.send(bytes(1000))
                right.close()
                assert await read_all(left, size) == bytes(1000)

        run(main)

    @every_pair
    def test_the_end_comes_with_the_last_bytes(self, run, pair):
        async def main():
            left, right = pair()

            def act():
                right.send(b"last")
                right.close()

            async with left:
                assert await in_the_middle_of_a_wait(left, act) == b"last"
                assert await left.receive() == b""
                assert await left.receive() == b""

        run(main)

    @every_pair
    def test_the_end_comes_with_the_last_bytes_after_a_short_read(self, run, pair):
        async def main():
            left, right = pair()
            async with left:
                for _ in range(3):
                    assert await in_the_middle_of_a_wait(left, lambda: right.send(b"x")) == b"x"
                right.send(b"last")
                right.close()
                assert await read_all(left) == b"last"

        run(main)

    def test_half_an_end_comes_with_the_last_bytes(self, run):
        async def main():
            left, right = tcp_pair()

            def act():
                right.send(b"last")
                right.shutdown(stdlib.SHUT_WR)

            async with left:
                assert await in_the_middle_of_a_wait(left, act, lambda: read_all(left)) == b"last"
                await left.send_all(b"answer")
                assert right.recv(10) == b"answer"
                right.close()

        run(main)

    def test_a_reset_comes_with_the_last_bytes(self, run):
        async def main():
            left, right = tcp_pair()

            def act():
                right.send(b"last")
                right.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, struct.pack("ii", 1, 0))
                right.close()

            async with left:
                with pytest.raises(ConnectionResetError):
                    # Some systems drop what was not read before a reset.
                    await in_the_middle_of_a_wait(left, act, lambda: read_all(left))

        run(main)

    @pytest.mark.parametrize("inline", [False, True])
    def test_urgent_data_stops_a_read_although_there_is_more(self, run, inline):
        async def main():
            left, right = tcp_pair()
            left.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_OOBINLINE, inline)

            def act():
                right.send(b"before")
                right.send(b"!", stdlib.MSG_OOB)
                right.send(b"after")
                right.close()

            async with left:
                got = await in_the_middle_of_a_wait(left, act, lambda: read_all(left))
                assert got == (b"before!after" if inline else b"beforeafter")

        run(main)

    def test_urgent_data_after_a_short_read(self, run):
        async def main():
            left, right = tcp_pair()
            async with left:
                for _ in range(2):
                    await in_the_middle_of_a_wait(left, lambda: right.send(b"x"))
                right.send(b"before")
                right.send(b"!", stdlib.MSG_OOB)
                right.send(b"after")
                got = b""
                while len(got) < 11:
                    got += await left.receive(100)
                assert got == b"beforeafter"
                right.close()

        run(main)

    @needs_unix
    def test_a_read_stops_at_a_message_with_descriptors(self, run):
        async def main():
            left, right = unix_pair()

            def act():
                right.send(b"before")
                stdlib.send_fds(right, [b"with"], [0])
                right.send(b"after")
                right.close()

            async with left:
                got = await in_the_middle_of_a_wait(left, act, lambda: read_all(left))
                assert got == b"beforewithafter"

        run(main)

    @pytest.mark.parametrize("kind", ["udp", "unix", "seqpacket"])
    def test_a_short_datagram_says_nothing_about_the_queue(self, run, kind):
        if kind == "udp":
            left = stdlib.socket(type=stdlib.SOCK_DGRAM)
            left.bind(("127.0.0.1", 0))
            right = stdlib.socket(type=stdlib.SOCK_DGRAM)
            right.connect(left.getsockname())
        elif not hasattr(stdlib, "AF_UNIX") or (kind == "seqpacket" and sys.platform != "linux"):
            pytest.skip("no such kind here")
        else:
            name = "SOCK_DGRAM" if kind == "unix" else "SOCK_SEQPACKET"
            left, right = stdlib.socketpair(type=getattr(stdlib, name))

        async def main():
            wrapped = giambio.wrap_socket(left)

            def act():
                for n in range(5):
                    right.send(b"%d" % n)

            async def read():
                return [await wrapped.receive() for _ in range(5)]

            async with wrapped:
                got = await in_the_middle_of_a_wait(wrapped, act, read)
                assert got == [b"0", b"1", b"2", b"3", b"4"]
            right.close()

        run(main)

    @every_pair
    def test_peeking_says_nothing_about_the_queue(self, run, pair):
        async def main():
            left, right = pair()

            async def read():
                await left.recvfrom(100, stdlib.MSG_PEEK)
                await left.recvfrom(2, stdlib.MSG_PEEK)
                return await left.receive(3) + await left.receive()

            async with left:
                got = await in_the_middle_of_a_wait(left, lambda: right.send(b"abcdef"), read)
                assert got == b"abcdef"
                right.close()

        run(main)

    @every_pair
    def test_the_edge_of_an_aborted_wait_is_not_lost(self, run, pair):
        """Cancelled at the moment at which the data comes, before the loop has looked."""

        async def main():
            left, right = pair()
            async with left:
                for _ in range(3):
                    with giambio.CancelScope() as scope:
                        async with giambio.create_pool() as pool:
                            pool.spawn(left.receive)
                            await wait_all_tasks_blocked()
                            right.send(b"x")
                            scope.cancel()
                    assert await left.receive() == b"x"
                right.close()

        run(main)

    @every_pair
    def test_granted_and_cancelled_in_the_same_tick(self, run, pair):
        """The edge was seen and the reader woken; the cancellation comes before it has run."""

        async def main():
            left, right = pair()
            async with left:
                for _ in range(3):
                    got = b""

                    async def reader():
                        nonlocal got
                        got = await left.receive()

                    async with giambio.create_pool() as pool:
                        task = pool.spawn(reader)
                        await wait_all_tasks_blocked()
                        right.send(b"x")
                        current_scheduler()._io.poll(0.0)
                        task.cancel()
                    assert got == b"x" if not task.cancelled() else await left.receive() == b"x"
                right.close()

        run(main)

    @every_pair
    def test_someone_else_reads_through_a_duplicate(self, run, pair):
        async def main():
            left, right = pair()
            async with left, left.dup() as other:
                await in_the_middle_of_a_wait(left, lambda: right.send(b"x"))
                right.send(b"one")
                assert await other.receive() == b"one"
                async with giambio.create_pool() as pool:
                    task = pool.spawn(left.receive)
                    await wait_all_tasks_blocked()
                    right.send(b"two")
                    assert await task.join() == b"two"
                right.send(b"three")
                assert await other.receive() == b"three"
                right.close()
                assert await left.receive() == await other.receive() == b""

        run(main)

    @every_pair
    def test_someone_else_reads_through_the_standard_socket(self, run, pair):
        async def main():
            left, right = pair()
            async with left:

                def act():
                    right.send(b"one")
                    left.socket.recv(10)
                    right.send(b"two")

                assert await in_the_middle_of_a_wait(left, act) == b"two"
                right.close()

        run(main)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # of other tests
    @every_pair
    def test_a_child_process_reads_and_closes(self, run, pair):
        async def main():
            left, right = pair()
            async with left, giambio.create_pool() as pool:
                task = pool.spawn(left.receive)
                await wait_all_tasks_blocked()
                pid = os.fork()
                if not pid:
                    # It has the descriptor and the poller, too; what it closes stays open here.
                    right.send(b"for the child")
                    left.socket.setblocking(True)
                    got = left.socket.recv(100)
                    left.socket.close()
                    right.close()
                    os._exit(got != b"for the child")
                assert os.waitpid(pid, 0)[1] == 0  # noqa: ASYNC222  it ends at once
                right.send(b"for us")
                assert await task.join() == b"for us"
                right.close()

        run(main)

    @every_pair
    def test_in_the_steady_state_nothing_is_tried_in_vain(self, pair):
        """Where a short read means that it is empty, there is one system call per message."""

        async def main():
            left, right = pair()
            calls = 0

            def counting(size):
                nonlocal calls
                calls += 1
                return left.socket.recv(size)

            left._recv = counting
            async with left:
                for _ in range(10):
                    await in_the_middle_of_a_wait(left, lambda: right.send(b"x"))
                    assert left._handle.may_read is (pair is unix_pair)
                assert calls == (11 if pair is tcp_pair else 20)
                right.close()

        AsyncScheduler().start(main)


class TestRegistration:
    """Who is watched, under which number."""

    def test_a_number_is_used_again(self, run):
        async def main():
            numbers = set()
            for n in range(20):
                left, right = tcp_pair()
                numbers.add(left.fileno())
                assert (
                    await in_the_middle_of_a_wait(left, lambda right=right: right.send(b"x"))
                    == b"x"
                )
                if n % 2:
                    right.close()  # an edge for the number comes along
                left.close()
                right.close()
            assert len(numbers) < 20

        run(main)

    def test_closed_behind_our_back_and_the_number_used_again(self, run):
        async def main():
            stale, far = tcp_pair()
            await in_the_middle_of_a_wait(stale, lambda: far.send(b"x"))
            number = stale.fileno()
            os.close(stale.fileno())
            left, right = tcp_pair()
            fresh = left if left.fileno() == number else None
            if fresh is None:
                os.dup2(left.fileno(), number)
                left.close()
                fresh = socket.socket(fileno=number)
            assert await in_the_middle_of_a_wait(fresh, lambda: right.send(b"y")) == b"y"
            async with giambio.create_pool() as pool:
                task = pool.spawn(fresh.receive)
                await wait_all_tasks_blocked()
                # The late close of the stale wrapper must not touch its successor.
                stale._handle.close()
                right.send(b"z")
                assert await task.join() == b"z"
            stale.socket.detach()
            fresh.close()
            right.close()
            far.close()

        run(main)

    def test_a_duplicate_keeps_the_registration_alive_and_nothing_spins(self, run):
        async def main():
            left, right = tcp_pair()
            await in_the_middle_of_a_wait(left, lambda: right.send(b"x"))
            duplicate = left.socket.dup()
            left.socket.close()  # without telling the loop
            looks = 0
            poll = current_scheduler()._io._poll

            def counting(timeout):
                nonlocal looks
                looks += 1
                return poll(timeout)

            current_scheduler()._io._poll = counting
            right.send(b"unread")
            await giambio.sleep(0.05)
            assert looks < 10
            left.close()
            duplicate.close()
            right.close()

        run(main)

    def test_closing_one_of_two_duplicates_leaves_the_other(self, run):
        async def main():
            left, right = tcp_pair()
            other = left.dup()
            async with giambio.create_pool() as pool:
                one, two = pool.spawn(closed, left.receive), pool.spawn(other.receive)
                await wait_all_tasks_blocked()
                left.close()
                assert await one.join() == "closed"
                right.send(b"x")
                assert await two.join() == b"x"
            other.close()
            right.close()

        async def closed(receive):
            with pytest.raises(ResourceClosed):
                await receive()
            return "closed"

        run(main)

    def test_events_of_one_batch_reach_sockets_that_an_earlier_one_closes(self, run):
        async def main():
            pairs = [tcp_pair() for _ in range(5)]
            outcomes = []

            async def reader(sock):
                try:
                    outcomes.append(await sock.receive())
                except ResourceClosed:
                    outcomes.append("closed")
                for each, _ in pairs:
                    each.close()

            async with giambio.create_pool() as pool:
                for left, _ in pairs:
                    pool.spawn(reader, left)
                await wait_all_tasks_blocked()
                for _, right in pairs:
                    right.send(b"x")
            assert outcomes[0] == b"x"
            assert set(outcomes[1:]) <= {b"x", "closed"}
            for _, right in pairs:
                right.close()

        run(main)

    @every_pair
    def test_a_writer_waits_on_a_socket_that_was_registered_for_reading(self, run, pair):
        async def main():
            left, right = pair()
            right.setblocking(False)
            async with left, giambio.create_pool() as pool:
                await in_the_middle_of_a_wait(left, lambda: right.send(b"x"))
                writer = pool.spawn(left.send_all, bytes(10_000_000))
                reader = pool.spawn(left.receive)
                await wait_all_tasks_blocked()
                assert not writer.done()
                got = 0
                while got < 10_000_000:
                    try:
                        got += len(right.recv(1 << 20))
                    except BlockingIOError:
                        await giambio.sleep(0)
                await writer.join()
                right.send(b"y")
                assert await reader.join() == b"y"
                right.close()

        run(main)

    @pytest.mark.parametrize("waits", [True, False])
    def test_a_socket_is_used_in_one_run_after_another(self, run, waits):
        left, right = tcp_pair()

        async def main():
            if waits:
                assert await in_the_middle_of_a_wait(left, lambda: right.send(b"x")) == b"x"
            await left.send_all(b"y")

        async def last():
            assert await in_the_middle_of_a_wait(left, lambda: right.send(b"x")) == b"x"

        for _ in range(3):
            run(main)
        run(last)
        left.close()
        right.close()

    def test_a_socket_belongs_to_its_loop_until_that_has_ended(self, run):
        left, right = tcp_pair()

        async def first():
            await left.receive()

        async def second():
            for operation in (left.receive, lambda: left.send_all(b"x"), left.accept):
                with pytest.raises(RuntimeError, match="belongs to another loop"):
                    await operation()

        async def third():
            right.send(b"x")
            assert await left.receive() == b"x"

        outer = AsyncScheduler()
        task = outer.start(first, loop=False)
        while task.waiting_on is None:
            outer.tick()
        run(second)
        outer.close()
        run(third)
        left.close()
        right.close()

    def test_outside_of_a_loop_that_is_said(self):
        left, right = tcp_pair()
        for operation in (left.receive(), left.send_all(b"x"), left.accept()):
            with pytest.raises(RuntimeError, match="works only inside a running loop"):
                operation.send(None)
        left.close()
        right.close()


class TestOutOfBand:
    """Hang-ups and errors reach whoever waits, and keep doing so."""

    def reset(self, sock):
        sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def test_a_reset_wakes_reader_and_writer(self, run):
        async def main():
            left, right = tcp_pair()
            outcomes = {}

            async def attempt(operation, *args):
                try:
                    await operation(*args)
                except OSError as error:
                    assert error.stream is left
                    outcomes[operation.__name__] = type(error)

            async with left, giambio.create_pool() as pool:
                pool.spawn(attempt, left.receive)
                pool.spawn(attempt, left.send_all, bytes(10_000_000))
                await wait_all_tasks_blocked()
                self.reset(right)
            assert outcomes.keys() == {"receive", "send_all"}
            # The system tells an error once; whoever asks later finds the end, or a broken pipe.
            assert ConnectionResetError in outcomes.values()

        run(main)

    def test_after_a_reset_nothing_hangs(self, run):
        async def main():
            left, right = tcp_pair()
            async with left:
                with pytest.raises(ConnectionResetError):
                    await in_the_middle_of_a_wait(left, lambda: self.reset(right))
                assert await left.receive() == b""
                with pytest.raises(BrokenPipeError):
                    await left.send_all(b"x")
                await left.send_eof()

        run(main)

    def test_writing_to_one_that_is_gone_breaks(self, run):
        async def main():
            left, right = tcp_pair()
            right.close()
            async with left:
                with pytest.raises((BrokenPipeError, ConnectionResetError)) as caught:
                    for _ in range(1000):
                        await left.send_all(bytes(1000))
                assert 0 <= caught.value.bytes_sent <= 1000

        run(main)

    @every_pair
    def test_a_hang_up_wakes_the_reader(self, run, pair):
        async def main():
            left, right = pair()
            async with left:
                assert await in_the_middle_of_a_wait(left, right.close) == b""

        run(main)

    @every_pair
    def test_a_hang_up_wakes_the_writer(self, run, pair):
        async def main():
            left, right = pair()
            async with left, giambio.create_pool() as pool:
                task = pool.spawn(broken, left)
                await wait_all_tasks_blocked()
                right.close()
                assert await task.join() == "broken"

        async def broken(sock):
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                await sock.send_all(bytes(10_000_000))
            return "broken"

        run(main)

    def test_half_closed_by_the_other_side_it_can_still_send_a_lot(self, run):
        message = os.urandom(3_000_000)

        async def main():
            left, right = tcp_pair()
            right.shutdown(stdlib.SHUT_WR)
            wrapped = giambio.wrap_socket(right)
            async with left, wrapped, giambio.create_pool() as pool:
                assert await left.receive() == b""
                pool.spawn(send_and_close, left, message)
                assert await read_all(wrapped) == message

        async def send_and_close(sock, message):
            await sock.send_all(message)
            sock.close()

        run(main)

    def test_an_error_from_the_network_reaches_the_reader_of_a_datagram_socket(self, run):
        async def main():
            with stdlib.socket(type=stdlib.SOCK_DGRAM) as gone:
                gone.bind(("127.0.0.1", 0))
                address = gone.getsockname()
            async with socket.socket(type=stdlib.SOCK_DGRAM) as sock:
                await sock.connect(address)
                with pytest.raises(ConnectionRefusedError):
                    await in_the_middle_of_a_wait(sock, lambda: sock.socket.send(b"x"))

        run(main)


class TestIdle:
    """Who has nothing to do costs nothing."""

    @pytest.mark.skipif(not hasattr(select, "epoll"), reason="counts epoll_ctl")
    def test_a_socket_is_registered_once(self):
        changes = []

        class Counting(type(default_poller())):
            def add(self, fd, mask, edge):
                changes.append("add")
                super().add(fd, mask, edge)

            def change(self, fd, mask, edge):
                changes.append("change")
                super().change(fd, mask, edge)

        async def main():
            left, right = tcp_pair()
            async with left:
                for _ in range(10):
                    await in_the_middle_of_a_wait(left, lambda: right.send(b"x"))
                    await left.send_all(b"y")
                right.close()

        AsyncScheduler(poller=Counting()).start(main)
        assert changes == ["add", "add"]  # the loop's own pipe, and the socket

    def test_sockets_in_every_state_do_not_keep_the_loop_busy(self, run):
        async def main():
            pairs = [tcp_pair() for _ in range(6)]
            for left, right in pairs:
                await in_the_middle_of_a_wait(left, lambda right=right: right.send(b"x"))
            for _, right in pairs:
                right.send(b"unread")
            pairs[1][1].close()
            TestOutOfBand().reset(pairs[2][1])
            pairs[3][1].shutdown(stdlib.SHUT_WR)
            pairs[4][1].send(b"!", stdlib.MSG_OOB)
            looks = 0
            poll = current_scheduler()._io._poll

            def counting(timeout):
                nonlocal looks
                looks += 1
                return poll(timeout)

            current_scheduler()._io._poll = counting
            async with giambio.create_pool() as pool:
                pool.spawn(tcp_waiter, pairs[5][0])
                await giambio.sleep(0.05)
                pool.cancel()
            assert looks < 20
            for left, right in pairs:
                left.close()
                right.close()

        async def tcp_waiter(sock):
            while True:
                await sock.receive()

        run(main)


def test_a_handle_is_what_a_socket_waits_on(run):
    async def main():
        left, right = tcp_pair()
        async with left, giambio.create_pool() as pool:
            task = pool.spawn(left.receive)
            await wait_all_tasks_blocked()
            assert isinstance(task.waiting_on, IOHandle)
            right.close()

    run(main)
