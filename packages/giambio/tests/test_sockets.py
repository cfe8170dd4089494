# SPDX-License-Identifier: Apache-2.0
"""Sockets of every kind: what their operations do, and what they refuse."""

from __future__ import annotations

import array
import ast
import errno
import inspect
import io
import os
import re
import socket as stdlib
import sys
import traceback
from pathlib import Path

import pytest

import giambio
from giambio import AsyncSocket, ResourceBusy, ResourceClosed, socket
from giambio._sockets import async_socket
from giambio._sockets.elsewhere import FUNCTIONS, METHODS
from giambio.testing import (
    assert_checkpoints,
    assert_no_checkpoints,
    cancel_sweep,
    wait_all_tasks_blocked,
)

UNIX = hasattr(stdlib, "AF_UNIX")
needs_unix = pytest.mark.skipif(not UNIX, reason="no UNIX sockets here")


def has_ipv6():
    try:
        with stdlib.socket(stdlib.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


async def tcp_pair(family=stdlib.AF_INET, host="127.0.0.1"):
    """Return two sockets connected over TCP."""
    with stdlib.create_server((host, 0), family=family) as listener:
        left = stdlib.create_connection(listener.getsockname()[:2])
        right, _ = listener.accept()
    return giambio.wrap_socket(left), giambio.wrap_socket(right)


async def unix_pair():
    return socket.socketpair()


PAIRS = [pytest.param(tcp_pair, id="tcp"), pytest.param(unix_pair, id="unix", marks=needs_unix)]


def fill(sock):
    """Write until nothing more fits; return how much did."""
    sent = 0
    while True:
        try:
            sent += sock.socket.send(bytes(65536))
        except BlockingIOError:
            return sent


async def receive_exactly(sock, size):
    data = b""
    while len(data) < size:
        more = await sock.receive(size - len(data))
        assert more, "the stream ended early"
        data += more
    return data


class TestWrapping:
    """Standard sockets become asynchronous ones."""

    def test_what_is_no_socket_is_refused(self):
        with pytest.raises(TypeError, match="expected a standard socket, not 3"):
            giambio.wrap_socket(3)

    def test_a_closed_socket_is_refused(self):
        sock = stdlib.socket()
        sock.close()
        with pytest.raises(ResourceClosed):
            giambio.wrap_socket(sock)

    def test_it_becomes_non_blocking_and_tells_what_it_is(self):
        with stdlib.socket() as sock:
            sock.settimeout(5)
            wrapped = giambio.wrap_socket(sock)
            assert not sock.getblocking()
            assert wrapped.socket is sock
            assert wrapped.fileno() == sock.fileno()
            assert wrapped.family is stdlib.AF_INET
            assert wrapped.type is stdlib.SOCK_STREAM
            assert wrapped.proto == 0
            assert not wrapped.closed

    def test_importing_sockets_does_not_import_tls(self):
        import subprocess

        code = "import giambio.socket, sys; sys.exit('ssl' in sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_repr_names_the_descriptor_the_kind_and_the_addresses(self, run):
        async def main():
            left, right = await tcp_pair()
            async with left, right:
                port = left.getpeername()[1]
                assert f"fd={left.fileno()} AF_INET SOCK_STREAM" in repr(left)
                assert f"peer=('127.0.0.1', {port})" in repr(left)
            assert repr(left).endswith("closed>")
            with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as sock:
                assert "peer" not in repr(giambio.wrap_socket(sock))

        run(main)

    def test_the_oldest_spelling_works(self):
        async def main(sock):
            await sock.bind(("127.0.0.1", 0))
            await sock.listen(5)
            assert sock.getsockname()[1]
            await sock.close()

        loop = giambio.EventLoop()
        loop.start(main, loop.wrap_socket(stdlib.socket()))

    def test_waiting_methods_are_coroutine_functions(self):
        for name in (
            "receive", "receive_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into",
            "accept", "connect", "send_all", "send_some", "send_eof", "sendto", "sendmsg",
            "sendfile", "aclose",
        ):  # fmt: skip
            assert inspect.iscoroutinefunction(getattr(AsyncSocket, name)), name

    def test_the_module_has_the_shape_of_the_standard_one(self):
        assert socket.AF_INET is stdlib.AF_INET
        assert socket.SO_REUSEADDR == stdlib.SO_REUSEADDR
        assert socket.inet_pton is stdlib.inet_pton
        assert socket.gaierror is stdlib.gaierror
        assert AsyncSocket.__module__ == "giambio.socket"

    @pytest.mark.skipif(
        sys.version_info >= (3, 15), reason="type checkers do not know all constants of this Python"
    )
    def test_type_checkers_know_every_constant_that_is_there(self):
        """And no others, so that a misspelt one is an error."""
        stub = Path(async_socket.__file__).with_name("constants.pyi")
        known = set()
        for statement in ast.parse(stub.read_text()).body:
            if isinstance(statement, ast.If):
                if not eval(ast.unparse(statement.test), {"sys": sys}):
                    continue
                (statement,) = statement.body
            if isinstance(statement, ast.ImportFrom):
                known.update(alias.asname for alias in statement.names)
        there = {name for name in vars(socket) if name.isupper() and name[0] != "_"}
        assert there - {"TYPE_CHECKING"} <= known
        assert all(hasattr(socket, name) for name in known if not name.isupper())

    def test_what_is_not_there_says_what_there_is_in_its_place(self):
        left, right = stdlib.socketpair()
        with left, right:
            sock = giambio.wrap_socket(left)
            for name, (owner, told) in {
                "recv": (sock, r"'AsyncSocket' object has no .*'recv'; .* there is receive\(\)"),
                "settimeout": (sock, r"there is giambio\.with_timeout\(\) around the operation"),
                "create_connection": (socket, r"module 'giambio\.socket' .*connect_tcp\(\)"),
            }.items():
                with pytest.raises(AttributeError, match=told) as caught:
                    getattr(owner, name)
                trace = traceback.format_exception_only(caught.value)
                assert "Did you mean" not in "".join(trace)  # '_recv', which is nobody's business
            for owner, name in ((sock, "recieve"), (socket, "AF_INET7")):
                with pytest.raises(AttributeError, match=rf"has no attribute '{name}'$") as caught:
                    getattr(owner, name)
                assert caught.value.name == name
                assert caught.value.obj is owner

    def test_whatever_is_named_in_the_place_of_something_is_there(self):
        for of_standard, ours, places in (
            (stdlib.socket, AsyncSocket, METHODS),
            (stdlib, socket, FUNCTIONS),
        ):
            for name, told in places.items():
                assert hasattr(of_standard, name) or name == "fromshare"  # of Windows only
                assert not hasattr(ours, name)
                for path in re.findall(r"[\w.]+(?=\(\))|giambio\.\w+", told):
                    assert hasattr(ours, path) or hasattr(giambio, path.removeprefix("giambio."))

    def test_a_socket_is_made_from_a_descriptor(self, run):
        async def main():
            left, right = await tcp_pair()
            async with left, right:
                same = socket.fromfd(left.fileno(), stdlib.AF_INET, stdlib.SOCK_STREAM)
                async with same:
                    await same.send_all(b"x")
                    assert await right.receive() == b"x"
                taken = socket.socket(fileno=left.detach())
                assert left.closed
                async with taken:
                    await taken.send_all(b"y")
                    assert await right.receive() == b"y"

        run(main)

    def test_the_system_tells_the_kind_of_a_descriptor(self, run):
        async def main():
            with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as udp:
                async with socket.socket(fileno=udp.detach()) as sock:
                    assert sock.type is stdlib.SOCK_DGRAM

        run(main)


class TestOptions:
    """What is asked and set without waiting."""

    def test_options_are_numbers_bytes_or_null_pointers(self, run):
        async def main():
            async with socket.socket() as sock:
                sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEADDR, 1)
                assert sock.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEADDR)
                linger = sock.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, 8)
                assert isinstance(linger, bytes)
                sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, linger)
                with pytest.raises(TypeError, match="needs a size"):
                    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, None)
                with pytest.raises(OSError):
                    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, None, 0)

        run(main)

    def test_inheritance_can_be_switched(self, run):
        async def main():
            async with socket.socket() as sock:
                assert not sock.get_inheritable()
                sock.set_inheritable(True)
                assert sock.get_inheritable()

        run(main)

    @pytest.mark.parametrize("pair", PAIRS)
    def test_whether_it_is_readable_can_be_asked(self, run, pair):
        async def main():
            left, right = await pair()
            async with left, right:
                assert not left.is_readable()
                await right.send_all(b"x")
                assert left.is_readable()
                await left.receive()
                assert not left.is_readable()
                right.close()
                assert left.is_readable()
            with pytest.raises(ResourceClosed):
                left.is_readable()

        run(main)

    def test_whether_it_is_readable_without_poll(self, run, monkeypatch):
        import select

        async def main():
            left, right = await tcp_pair()
            async with left, right:
                monkeypatch.delattr(select, "poll")
                assert not left.is_readable()
                await right.send_all(b"x")
                assert left.is_readable()

        run(main)


class TestReceiving:
    """What comes is returned as it comes, and never more than was asked for."""

    @pytest.mark.parametrize("pair", PAIRS)
    def test_it_waits_and_returns_what_has_come(self, run, pair):
        async def main():
            left, right = await pair()
            async with left, right, giambio.create_pool() as pool:
                task = pool.spawn(left.receive)
                await wait_all_tasks_blocked()
                assert not task.done()
                await right.send_all(b"hello")
                assert await task.join() == b"hello"

        run(main)

    @pytest.mark.parametrize("pair", PAIRS)
    def test_never_more_than_asked_for_and_the_rest_later(self, run, pair):
        async def main():
            left, right = await pair()
            async with left, right:
                await right.send_all(b"abcdef")
                assert [await left.receive(4), await left.receive(4)] == [b"abcd", b"ef"]

        run(main)

    def test_at_least_one_byte_must_be_asked_for(self, run):
        async def main():
            left, right = await tcp_pair()
            async with left, right:
                for wrong in (0, -1):
                    with pytest.raises(ValueError, match="max_bytes must be at least 1"):
                        await left.receive(wrong)
                with pytest.raises(ValueError, match="room for at least 1 byte"):
                    await left.receive_into(bytearray())
                with pytest.raises(ValueError, match="room for at least 1 byte"):
                    await left.receive_into(bytearray(1), -1)

        run(main)

    @pytest.mark.parametrize("pair", PAIRS)
    def test_into_a_buffer(self, run, pair):
        async def main():
            left, right = await pair()
            async with left, right:
                buffer = bytearray(8)
                await right.send_all(b"abcdef")
                assert await left.receive_into(buffer, 4) == 4
                assert await left.receive_into(memoryview(buffer)[4:]) == 2
                assert buffer == b"abcdef\0\0"
                right.close()
                assert await left.receive_into(buffer) == 0

        run(main)

    @pytest.mark.parametrize("pair", PAIRS)
    def test_peeking_takes_nothing(self, run, pair):
        async def main():
            left, right = await pair()
            async with left, right:
                await right.send_all(b"abc")
                for _ in range(3):
                    data, _ = await left.recvfrom(2, stdlib.MSG_PEEK)
                    assert data == b"ab"
                assert await left.receive() == b"abc"

        run(main)

    @pytest.mark.skipif(not hasattr(stdlib.socket, "recvmsg"), reason="no messages here")
    def test_messages_come_into_buffers(self, run):
        async def main():
            left, right = await unix_pair()
            async with left, right:
                assert await right.sendmsg([b"ab", b"cdef"]) == 6
                one, two = bytearray(3), bytearray(3)
                assert (await left.recvmsg_into(iter([one, two])))[0] == 6
                assert (one, two) == (b"abc", b"def")
                await right.sendmsg(iter([b"x"]))
                assert (await left.recvmsg(10))[0] == b"x"

        run(main)


class TestSending:
    """All of it goes out, however long that takes."""

    @pytest.mark.parametrize("pair", PAIRS)
    @pytest.mark.parametrize(
        "kind", [bytes, bytearray, memoryview, lambda d: memoryview(d).cast("I")]
    )
    def test_all_of_a_large_message_arrives(self, run, pair, kind):
        message = os.urandom(3_000_000)

        async def main():
            left, right = await pair()
            async with left, right, giambio.create_pool() as pool:
                pool.spawn(left.send_all, kind(message))
                assert await receive_exactly(right, len(message)) == message

        run(main)

    @pytest.mark.parametrize("kind", [memoryview, lambda view: array.array("I", view)])
    def test_as_many_bytes_as_there_are_items_are_not_all(self, run, kind):
        message = os.urandom(12)

        async def main():
            left, right = await tcp_pair()
            async with left, right:
                room = [3, 9]
                send = left.socket.send
                left._send = lambda data: send(memoryview(data).cast("B")[: room.pop(0)])
                await left.send_all(kind(memoryview(message).cast("I")))
                assert await receive_exactly(right, len(message)) == message

        run(main)

    @pytest.mark.parametrize("pair", PAIRS)
    def test_all_of_it_arrives_at_a_slow_reader(self, run, pair):
        message = os.urandom(3_000_000)

        async def main():
            left, right = await pair()
            async with left, right, giambio.create_pool() as pool:
                pool.spawn(left.send_all, message)
                await wait_all_tasks_blocked()
                received = bytearray()
                while len(received) < len(message):
                    received += await right.receive(50_000)
                    await giambio.sleep(1)
                assert received == message

        run(main)

    @pytest.mark.parametrize("pair", PAIRS)
    def test_nothing_can_be_sent_too(self, run, pair):
        async def main():
            left, right = await pair()
            async with left, right:
                with assert_checkpoints():
                    await left.send_all(b"")
                assert await left.send_some(b"") == 0

        run(main)

    @pytest.mark.parametrize("pair", PAIRS)
    def test_some_of_it_is_sent_when_there_is_room(self, run, pair):
        async def main():
            left, right = await pair()
            async with left, right, giambio.create_pool() as pool:
                filled = fill(left)
                task = pool.spawn(left.send_some, bytes(10_000_000))
                await wait_all_tasks_blocked()
                assert not task.done()
                await receive_exactly(right, filled)
                sent = await task.join()
                assert 0 < sent < 10_000_000
                await receive_exactly(right, sent)

        run(main)

    @pytest.mark.parametrize("pair", PAIRS)
    def test_when_it_is_cancelled_it_says_how_much_went_out(self, run, pair):
        async def main():
            left, right = await pair()
            message = os.urandom(10_000_000)
            async with left, right:
                with giambio.CancelScope() as scope:
                    async with giambio.create_pool() as pool:
                        pool.spawn(wait_and_cancel, scope)
                        try:
                            await left.send_all(message)
                        except giambio.CancelledError as error:
                            sent = error.bytes_sent
                            raise
                assert 0 < sent < len(message)
                await left.send_eof()
                assert await receive_exactly(right, sent) == message[:sent]
                assert await right.receive() == b""

        async def wait_and_cancel(scope):
            await wait_all_tasks_blocked()
            scope.cancel()

        run(main)

    def test_cancelled_before_it_begins_nothing_went_out(self, run):
        async def main():
            left, right = await tcp_pair()
            async with left, right:
                with giambio.CancelScope() as scope:
                    scope.cancel()
                    try:
                        await left.send_all(b"x")
                    except giambio.CancelledError as error:
                        assert error.bytes_sent == 0
                        raise
                assert scope.cancelled_caught
                with giambio.CancelScope() as scope:
                    scope.cancel()
                    await left.send_some(b"x")
                assert scope.cancelled_caught
                left.close()
                assert await right.receive() == b""

        run(main)

    @pytest.mark.parametrize("pair", PAIRS)
    def test_the_stream_is_ended_and_the_other_direction_goes_on(self, run, pair):
        async def main():
            left, right = await pair()
            async with left, right:
                await left.send_all(b"question")
                with assert_checkpoints():
                    await left.send_eof()
                assert await right.receive() == b"question"
                assert await right.receive() == b""
                await right.send_all(b"answer")
                assert await left.receive() == b"answer"
                with pytest.raises(BrokenPipeError) as caught:
                    await left.send_all(b"more")
                assert caught.value.bytes_sent == 0
                assert caught.value.stream is left
                with pytest.raises(BrokenPipeError):
                    await left.send_some(b"more")

        run(main)

    def test_ending_the_stream_when_nobody_is_there_is_fine(self, run):
        async def main():
            async with socket.socket() as sock:
                await sock.send_eof()
            with pytest.raises(ResourceClosed):
                await sock.send_eof()

        run(main)

    def test_a_socket_that_cannot_end_a_stream_says_so(self, run, monkeypatch):
        def refuse(sock, how):
            raise OSError(errno.EOPNOTSUPP, "not this socket")

        async def main():
            left, right = await tcp_pair()
            async with left, right:
                monkeypatch.setattr(stdlib.socket, "shutdown", refuse)
                with pytest.raises(OSError, match="not this socket") as caught:
                    await left.send_eof()
                assert caught.value.stream is left

        run(main)


class TestTwoTasks:
    """One may read while another writes; two of a kind are refused."""

    @pytest.mark.parametrize("pair", PAIRS)
    def test_a_reader_and_a_writer_do_not_disturb_each_other(self, run, pair):
        message = os.urandom(1_000_000)

        async def main():
            left, right = await pair()
            async with left, right, giambio.create_pool() as pool:
                tasks = []
                for sock in (left, right):
                    pool.spawn(sock.send_all, message)
                    tasks.append(pool.spawn(receive_exactly, sock, len(message)))
            assert [task.result() for task in tasks] == [message, message]

        run(main)

    @pytest.mark.parametrize(
        ("operation", "args"),
        [
            ("receive", ()), ("receive_into", (bytearray(1),)), ("recvfrom", (1,)),
            ("recvfrom_into", (bytearray(1),)), ("recvmsg", (1,)),
            ("recvmsg_into", ([bytearray(1)],)), ("accept", ()),
        ],
    )  # fmt: skip
    def test_a_second_reader_is_refused(self, run, operation, args):
        async def main():
            left, right = await tcp_pair()
            async with left, right, giambio.create_pool() as pool:
                pool.spawn(left.receive).name = "first"
                await wait_all_tasks_blocked()
                with pytest.raises(ResourceBusy, match="task 'first' already reads from"):
                    await getattr(left, operation)(*args)
                pool.cancel()

        run(main)

    @pytest.mark.parametrize(
        ("operation", "args"),
        [
            ("send_all", (b"x",)), ("send_some", (b"x",)), ("sendto", (b"x", ("127.0.0.1", 1))),
            ("sendmsg", ([b"x"],)), ("connect", (("127.0.0.1", 1),)), ("send_eof", ()),
        ],
    )  # fmt: skip
    def test_a_second_writer_is_refused(self, run, operation, args):
        async def main():
            left, right = await tcp_pair()
            async with left, right, giambio.create_pool() as pool:
                fill(left)
                pool.spawn(left.send_some, b"x").name = "first"
                await wait_all_tasks_blocked()
                with pytest.raises(ResourceBusy, match="task 'first' already writes to"):
                    await getattr(left, operation)(*args)
                pool.cancel()

        run(main)

    def test_one_that_was_woken_and_has_not_run_yet_is_still_in_its_operation(self, run):
        """Otherwise a second writer could get in between the parts of a message."""

        async def main():
            left, right = await tcp_pair()
            async with left, right, giambio.create_pool() as pool:
                filled = fill(left)
                first = pool.spawn(left.send_all, b"a" * 10_000_000)
                await wait_all_tasks_blocked()
                assert left._handle.writer is first
                # Drained by hand, so that the writer is woken without any other switch.
                right.socket.recv(filled, stdlib.MSG_WAITALL)
                while left._handle.writer is not None:
                    right.socket.recv(1 << 20) if right.is_readable() else None
                    giambio.lowlevel.current_scheduler()._io.poll(0.0)
                with pytest.raises(ResourceBusy):
                    await left.send_some(b"b")
                first.cancel()

        run(main)

    def test_after_a_reader_was_cancelled_another_may_read(self, run):
        async def main():
            left, right = await tcp_pair()
            async with left, right:
                for _ in range(3):
                    with giambio.skip_after(0):
                        await left.receive()
                    with giambio.skip_after(0):
                        await left.recvfrom(1)
                await right.send_all(b"x")
                assert await left.receive() == b"x"

        run(main)


class TestClosing:
    """A closed socket refuses everything, and wakes who waits."""

    @pytest.mark.parametrize("pair", PAIRS)
    @pytest.mark.parametrize("close", ["close", "detach", "aclose"])
    def test_waiters_are_woken(self, run, pair, close):
        async def main():
            left, right = await pair()
            fill(left)
            outcomes = []

            async def attempt(operation, *args):
                try:
                    await operation(*args)
                except ResourceClosed:
                    outcomes.append(operation.__name__)

            async with giambio.create_pool() as pool:
                pool.spawn(attempt, left.receive)
                pool.spawn(attempt, left.send_all, b"x")
                await wait_all_tasks_blocked()
                result = getattr(left, close)()
                if close == "aclose":
                    await result
                elif close == "detach":
                    os.close(result)
            assert outcomes == ["receive", "send_all"]
            right.close()

        run(main)

    def test_every_operation_is_refused(self, run):
        async def main():
            left, right = await tcp_pair()
            left.close()
            left.close()
            right.close()
            for operation, args in [
                (left.receive, ()), (left.receive_into, (bytearray(1),)), (left.recvfrom, (1,)),
                (left.recvfrom_into, (bytearray(1),)), (left.recvmsg, (1,)),
                (left.recvmsg_into, ([bytearray(1)],)), (left.accept, ()),
                (left.send_all, (b"x",)), (left.send_some, (b"x",)), (left.send_eof, ()),
                (left.sendto, (b"x", ("127.0.0.1", 1))), (left.sendmsg, ([b"x"],)),
                (left.sendmsg, ([b"x"], (), 0, ("127.0.0.1", 1))),
                (left.connect, (("127.0.0.1", 1),)), (left.sendfile, (io.BytesIO(),)),
            ]:  # fmt: skip
                with pytest.raises(ResourceClosed):
                    await operation(*args)
            for plain, args in [
                (left.bind, (("127.0.0.1", 0),)), (left.listen, ()), (left.shutdown, ()),
                (left.dup, ()), (left.getsockname, ()), (left.getpeername, ()),
                (left.getsockopt, (stdlib.SOL_SOCKET, stdlib.SO_TYPE)),
                (left.setsockopt, (stdlib.SOL_SOCKET, stdlib.SO_REUSEADDR, 1)),
                (left.get_inheritable, ()), (left.set_inheritable, (True,)),
            ]:  # fmt: skip
                with pytest.raises(ResourceClosed, match="the socket is closed"):
                    plain(*args)

        run(main)

    def test_closed_while_the_operation_gives_way(self, run):
        """An operation that need not wait lets others run first; one of them closes the socket."""

        async def main():
            left, right = await tcp_pair()
            await right.send_all(b"x")
            scheduler = giambio.lowlevel.current_scheduler()
            for operation, args in [
                (left.receive, ()), (left.send_all, (b"x",)), (left.send_some, (b"x",)),
                (left.recvfrom, (1,)), (left.sendmsg, ([b"x"],)), (left.send_eof, ()),
            ]:  # fmt: skip
                sock = left.dup()
                operation = getattr(sock, operation.__name__)

                async def closer(sock=sock):
                    sock.close()

                async with giambio.create_pool() as pool:
                    pool.spawn(closer)
                    scheduler.credit = 0
                    with pytest.raises(ResourceClosed):
                        await operation(*args)
            left.close()
            right.close()

        run(main)

    def test_closing_may_be_awaited_and_is_no_checkpoint_otherwise(self, run):
        async def main():
            left, right = await tcp_pair()
            with assert_checkpoints():
                await left.close()
            with assert_no_checkpoints():
                right.close()
            async with socket.socket() as sock:
                with assert_checkpoints():
                    await sock.aclose()

        run(main)

    def test_aclose_closes_also_when_it_is_cancelled(self, run):
        async def main():
            left, right = await tcp_pair()
            with giambio.CancelScope() as scope:
                scope.cancel()
                await left.aclose()
            assert scope.cancelled_caught and left.closed
            right.close()

        run(main)

    def test_leaving_the_block_closes(self, run):
        async def main():
            left, right = await tcp_pair()
            with pytest.raises(KeyError):
                async with left, right:
                    raise KeyError
            assert left.closed and right.closed

        run(main)

    def test_shutting_down_wakes_a_reader(self, run):
        async def main():
            left, right = await tcp_pair()
            async with left, right, giambio.create_pool() as pool:
                task = pool.spawn(left.receive)
                await wait_all_tasks_blocked()
                await left.shutdown(stdlib.SHUT_RD)
                assert await task.join() == b""

        run(main)


class TestAcceptingAndConnecting:
    """Connections, over each family."""

    @pytest.mark.parametrize(
        ("family", "host"),
        [(stdlib.AF_INET, "127.0.0.1"), pytest.param(stdlib.AF_INET6, "::1", marks=needs_ipv6)],
    )
    def test_over_tcp(self, run, family, host):
        async def main():
            async with socket.socket(family) as listener, socket.socket(family) as client:
                await listener.bind((host, 0))
                await listener.listen()
                async with giambio.create_pool() as pool:
                    task = pool.spawn(listener.accept)
                    await client.connect(listener.getsockname()[:2])
                    server, address = await task.join()
                async with server:
                    assert address == client.getsockname()
                    await server.send_all(b"hello")
                    assert await client.receive() == b"hello"

        run(main)

    def test_an_address_that_cannot_be_bound_to_is_named(self, run):
        async def main():
            async with socket.socket() as sock:
                with pytest.raises(OSError, match=r"bind to \('192.0.2.1', 0\): ") as caught:
                    sock.bind(("192.0.2.1", 0))
                assert caught.value.errno == errno.EADDRNOTAVAIL
                assert caught.value.stream is sock

        run(main)

    @needs_unix
    def test_so_is_a_path(self, run, tmp_path):
        async def main():
            async with socket.socket(stdlib.AF_UNIX) as sock:
                with pytest.raises(FileNotFoundError, match="no such folder"):
                    sock.bind("no such folder/socket")
                with pytest.raises(OSError, match="too long"):
                    sock.bind("x" * 1000)

        run(main)

    def test_one_that_is_connected_is_not_connected_again(self, run):
        async def main():
            async with socket.socket() as listener, socket.socket() as client:
                await listener.bind(("127.0.0.1", 0))
                await listener.listen()
                await client.connect(listener.getsockname())
                peer = client.getpeername()
                for port in (1, peer[1]):
                    with pytest.raises(OSError, match="is connected already") as caught:
                        await client.connect(("127.0.0.1", port))
                    assert caught.value.errno == errno.EISCONN
                assert client.getpeername() == peer

        run(main)

    @needs_unix
    @pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_SEQPACKET"])
    def test_over_unix(self, run, tmp_path, kind):
        kind = getattr(stdlib, kind, None)
        if kind is None:
            pytest.skip("no such kind here")
        path = str(tmp_path / "s")

        async def main():
            async with (
                socket.socket(stdlib.AF_UNIX, kind) as listener,
                socket.socket(stdlib.AF_UNIX, kind) as client,
            ):
                listener.bind(path)
                listener.listen()
                await client.connect(path)
                server, _ = await listener.accept()
                async with server:
                    await client.send_all(b"one")
                    await client.send_all(b"two")
                    if kind is not stdlib.SOCK_STREAM:
                        assert [await server.receive(), await server.receive()] == [b"one", b"two"]
                    else:
                        assert await receive_exactly(server, 6) == b"onetwo"

        run(main)

    @needs_unix
    @pytest.mark.skipif(sys.platform != "linux", reason="others refuse at once")
    def test_connecting_to_a_full_unix_listener_waits_for_room(self, run, tmp_path):
        path = str(tmp_path / "s")

        async def connect(clients):
            sock = socket.socket(stdlib.AF_UNIX)
            clients.append(sock)
            await sock.connect(path)

        async def main():
            clients = []
            async with socket.socket(stdlib.AF_UNIX) as listener, giambio.create_pool() as pool:
                listener.bind(path)
                listener.listen(1)
                tasks = [pool.spawn(connect, clients) for _ in range(5)]
                await giambio.sleep(0.5)
                assert sum(task.done() for task in tasks) == 2
                for _ in range(5):
                    (await listener.accept())[0].close()
            for sock in clients:
                sock.close()

        run(main)

    def test_a_refused_connection_is_an_error_that_names_the_address(self, run):
        async def main():
            with stdlib.create_server(("127.0.0.1", 0)) as listener:
                address = listener.getsockname()
            async with socket.socket() as sock:
                with pytest.raises(ConnectionRefusedError, match="cannot connect to") as caught:
                    await sock.connect(address)
                assert str(address[1]) in str(caught.value)
                assert caught.value.stream is sock

        run(main)

    def test_a_spurious_wake_up_is_not_taken_for_a_connection(self, run, monkeypatch):
        woken = []

        async def wait_writable(handle):
            woken.append(handle)
            if len(woken) > 2:
                await giambio.sleep(1)

        async def main():
            monkeypatch.setattr("giambio._sockets.connect.wait_writable", wait_writable)
            with stdlib.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                listener.listen(0)
                fillers = [stdlib.socket() for _ in range(3)]
                for filler in fillers:
                    filler.setblocking(False)
                    filler.connect_ex(listener.getsockname())
                # The queue is full, so the listener does not answer.
                sock = socket.socket()
                with giambio.skip_after(0.5) as scope:
                    await sock.connect(listener.getsockname())
                assert scope.timed_out and sock.closed and len(woken) == 3
                for filler in fillers:
                    filler.close()

        run(main)

    def test_cancelling_a_connect_closes_the_socket(self, run):
        async def main():
            with stdlib.create_server(("127.0.0.1", 0)) as listener:
                sock = socket.socket()
                with giambio.CancelScope() as scope:
                    scope.cancel()
                    await sock.connect(listener.getsockname())
                assert scope.cancelled_caught and sock.closed

        run(main)

    def test_the_wrong_shape_of_address_is_refused(self, run):
        async def main():
            async with socket.socket() as sock:
                with pytest.raises(TypeError, match=r"is a tuple \(host, port\)"):
                    await sock.connect("127.0.0.1:80")

        run(main)

    @pytest.mark.parametrize("code", ["ECONNABORTED", "EPROTO", "ENETDOWN"])
    def test_a_connection_that_broke_in_the_queue_is_passed_over(self, run, monkeypatch, code):
        failures = [OSError(getattr(errno, code), "broke")] * 2
        accept = stdlib.socket.accept

        def flaky(sock):
            if failures:
                raise failures.pop()
            return accept(sock)

        async def main():
            monkeypatch.setattr(stdlib.socket, "accept", flaky)
            async with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                listener.listen()
                with stdlib.create_connection(listener.getsockname()):
                    (await listener.accept())[0].close()
            assert not failures

        run(main)

    def test_other_errors_of_accepting_are_raised(self, run):
        async def main():
            async with socket.socket() as sock:
                with pytest.raises(OSError) as caught:
                    await sock.accept()  # it does not listen
                assert caught.value.errno == errno.EINVAL

        run(main)

    def test_many_connections_are_accepted_in_one_go(self, run):
        async def main():
            async with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                listener.listen(100)
                clients = [stdlib.create_connection(listener.getsockname()) for _ in range(50)]
                names = {client.getsockname() for client in clients}
                for _ in clients:
                    connection, address = await listener.accept()
                    names.remove(address)
                    connection.close()
                for client in clients:
                    client.close()
            assert not names

        run(main)

    def test_no_connection_is_lost_when_accepting_is_cancelled(self):
        async def main():
            async with socket.socket() as listener, giambio.create_pool() as pool:
                listener.bind(("127.0.0.1", 0))
                listener.listen()
                clients = [stdlib.create_connection(listener.getsockname()) for _ in range(2)]
                try:
                    pool.spawn(acceptor, listener).name = "acceptor"
                    await wait_all_tasks_blocked()
                    pool.cancel()
                    with giambio.CancelScope(shield=True):
                        left = 2 - len(accepted)
                        for _ in range(left):
                            accepted.append((await listener.accept())[0])
                        for n, client in enumerate(clients):
                            client.send(b"%d" % n)
                        got = {await sock.receive() for sock in accepted}
                    assert got == {b"0", b"1"}
                finally:
                    for each in [*clients, *accepted]:
                        each.close()
                    accepted.clear()

        accepted = []

        async def acceptor(listener):
            while True:
                accepted.append((await listener.accept())[0])

        cancel_sweep(main, target="acceptor")


class TestDatagrams:
    """UDP, and datagrams between UNIX sockets."""

    def test_with_and_without_a_connection(self, run):
        async def main():
            kind = (stdlib.AF_INET, stdlib.SOCK_DGRAM)
            async with socket.socket(*kind) as one, socket.socket(*kind) as two:
                one.bind(("127.0.0.1", 0))
                two.bind(("127.0.0.1", 0))
                with assert_checkpoints():
                    assert await one.sendto(b"hello", two.getsockname()) == 5
                with assert_checkpoints():
                    assert await two.recvfrom(100) == (b"hello", one.getsockname())
                await two.connect(one.getsockname())
                await two.send_all(b"abcdef")
                assert await one.receive(3) == b"abc"  # and the rest is gone
                await two.send_all(b"")
                assert await one.receive() == b""
                await one.sendto(b"flags", 0, two.getsockname())
                buffer = bytearray(3)
                assert await two.recvfrom_into(buffer) == (3, one.getsockname())
                assert buffer == b"fla"
                await one.sendmsg([b"a", b"b"], (), 0, two.getsockname())
                assert await two.receive() == b"ab"
                for wrong in ((), (1, 2, 3)):
                    with pytest.raises(TypeError, match="takes data, optional flags"):
                        await one.sendto(b"x", *wrong)

        run(main)

    @needs_unix
    def test_between_unix_sockets(self, run, tmp_path):
        async def main():
            kind = (stdlib.AF_UNIX, stdlib.SOCK_DGRAM)
            async with socket.socket(*kind) as one, socket.socket(*kind) as two:
                one.bind(str(tmp_path / "one"))
                two.bind(str(tmp_path / "two"))
                await one.sendto(b"hello", str(tmp_path / "two"))
                assert await two.recvfrom(10) == (b"hello", str(tmp_path / "one"))

        run(main)

    @needs_unix
    def test_sending_waits_until_there_is_room(self, run):
        async def main():
            left, right = socket.socketpair(type=stdlib.SOCK_DGRAM)
            sent = 0
            async with left, right, giambio.create_pool() as pool:

                async def send():
                    nonlocal sent
                    for n in range(2000):
                        await left.send_all(b"%d" % n)
                        sent += 1

                task = pool.spawn(send)
                await wait_all_tasks_blocked()
                assert 0 < sent < 2000
                for n in range(2000):
                    assert await right.receive() == b"%d" % n
                await task.join()

        run(main)

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_a_raw_socket(self, run, host):
        """Of which the system resolves no port, not even none."""
        try:
            sock = socket.socket(stdlib.AF_INET, stdlib.SOCK_RAW, stdlib.IPPROTO_ICMP)
        except OSError as error:
            pytest.skip(str(error))

        async def main():
            async with sock:
                echo = b"\x08\x00" + (0xFFFF - 0x0800 - 0x1234 - 1).to_bytes(2) + b"\x12\x34\0\1"
                await sock.sendto(echo, (host, 0))
                with giambio.with_timeout(5):
                    while True:
                        packet, address = await sock.recvfrom(100)
                        if packet[20] == 0:  # the answer
                            break
                assert address[0] == "127.0.0.1"
                assert packet[24:28] == b"\x12\x34\0\1"

        run(main, clock=None)


@needs_unix
class TestDescriptors:
    """Open files travel over UNIX sockets."""

    @pytest.mark.parametrize("kind", [stdlib.SOCK_STREAM, stdlib.SOCK_DGRAM])
    def test_they_arrive_open_and_are_not_inherited(self, run, kind):
        async def main():
            left, right = socket.socketpair(type=kind)
            read, write = os.pipe()
            async with left, right:
                with assert_checkpoints():
                    assert await socket.send_fds(left, [b"take ", b"these"], [read, write]) == 10
                os.close(read)
                with assert_checkpoints():
                    data, fds, flags, _ = await socket.recv_fds(right, 100, 2)
                assert data == b"take these"
                assert not flags & stdlib.MSG_CTRUNC
                assert not any(map(os.get_inheritable, fds))
                os.write(write, b"through")
                assert os.read(fds[0], 10) == b"through"
                for fd in (write, *fds):
                    os.close(fd)

        run(main)

    def test_those_that_do_not_fit_are_closed_and_that_is_told(self, run):
        async def main():
            left, right = await unix_pair()
            read, write = os.pipe()
            async with left, right:
                await socket.send_fds(left, [b"x"], [read, write, read])
                _, fds, flags, _ = await socket.recv_fds(right, 1, 1)
                assert len(fds) <= 2  # the system rounds the room up
                assert flags & stdlib.MSG_CTRUNC
                for fd in (read, write, *fds):
                    os.close(fd)

        run(main)

    def test_they_are_not_inherited_where_the_system_cannot_see_to_it(self, run, monkeypatch):
        async def main():
            left, right = await unix_pair()
            async with left, right:
                monkeypatch.delattr(stdlib, "MSG_CMSG_CLOEXEC", raising=False)
                await socket.send_fds(left, [b"x"], [left.fileno()])
                _, fds, _, _ = await socket.recv_fds(right, 1, 1)
                assert not os.get_inheritable(fds[0])
                os.close(fds[0])

        run(main)

    def test_they_do_not_travel_alone(self, run):
        async def main():
            left, right = await unix_pair()
            async with left, right:
                with pytest.raises(ValueError, match="at least 1 byte"):
                    await socket.send_fds(left, [b""], [1])

        run(main)

    def test_other_ancillary_data_is_left_alone(self, run):
        async def main():
            left, right = await unix_pair()
            if not hasattr(stdlib, "SO_PASSCRED"):
                pytest.skip("no credentials here")
            async with left, right:
                right.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_PASSCRED, 1)
                await left.send_all(b"x")
                data, ancillary, _, _ = await right.recvmsg(1, stdlib.CMSG_SPACE(12))
                assert data == b"x"
                assert array.array("i", ancillary[0][2])[0] == os.getpid()
                await left.send_all(b"y")
                assert (await socket.recv_fds(right, 1, 4))[:2] == (b"y", [])

        run(main)


class TestNumericAddresses:
    """They are used as they are, without a thread."""

    @pytest.fixture
    def no_threads(self, monkeypatch):
        def refuse(*args, **kwargs):
            raise AssertionError("a thread was used")

        monkeypatch.setattr("giambio._sockets.names.run_in_thread", refuse)

    def test_connecting_and_sending(self, run, no_threads):
        async def main():
            with stdlib.create_server(("127.0.0.1", 0)) as listener:
                async with socket.socket() as sock:
                    await sock.connect(listener.getsockname())
            async with socket.socket(type=stdlib.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", 0))
                await sock.sendto(b"x", sock.getsockname())
                await sock.sendmsg([b"x"], (), 0, sock.getsockname())

        run(main)

    @needs_ipv6
    def test_scope_ids_by_number_and_by_name(self, run, no_threads):
        link_local = None
        try:
            with open("/proc/net/if_inet6") as table:
                lines = table.readlines()
            for line in lines:
                address, index, _, scope, _, name = line.split()
                if scope == "20":
                    text = stdlib.inet_ntop(stdlib.AF_INET6, bytes.fromhex(address))
                    link_local = text, int(index, 16), name
        except FileNotFoundError:
            pass
        if link_local is None:
            pytest.skip("no link-local address here")
        host, index, name = link_local

        async def main():
            with stdlib.socket(stdlib.AF_INET6) as listener:
                listener.bind((host, 0, 0, index))
                listener.listen()
                port = listener.getsockname()[1]
                for address in [
                    (host, port, 0, index),
                    (f"{host}%{name}", port),
                    (f"{host}%{index}", port),
                    (f"{host}%{name}", port, 0, index),
                ]:
                    async with socket.socket(stdlib.AF_INET6) as sock:
                        await sock.connect(address)
                        assert sock.getpeername()[1::2] == (port, index)

        run(main)
