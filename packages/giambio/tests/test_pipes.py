# SPDX-License-Identifier: Apache-2.0
"""Pipes, and the program's own standard input and output."""

from __future__ import annotations

import os
import pty
import sys
import termios
import threading

import pytest

import giambio
from giambio import (
    CancelScope,
    PipeReceiveStream,
    PipeSendStream,
    ResourceBusy,
    ResourceClosed,
    open_pipe,
)
from giambio._files.stdio import StandardInput, StandardOutput
from giambio.testing import assert_checkpoints, cancel_sweep, wait_all_tasks_blocked

LARGE = os.urandom(1 << 20)


async def everything(stream):
    data = bytearray()
    while chunk := await stream.receive():
        data += chunk
    return bytes(data)


class Pipe:
    """A pair of our streams."""

    def __init__(self):
        self.send, self.receive = open_pipe()

    def close(self):
        self.send.close()
        self.receive.close()

    def leave_to_others(self):
        """Close the ends that were not closed yet; ours do that."""


class Standard:
    """Streams of descriptors that are not theirs: a pipe with both ends blocking."""

    def __init__(self):
        self.fds = os.pipe()
        self.receive, self.send = StandardInput(self.fds[0]), StandardOutput(self.fds[1])

    def close(self):
        self.send.close()
        self.receive.close()
        for fd in self.fds:
            try:
                os.close(fd)
            except OSError:
                pass


@pytest.fixture(params=[Pipe, Standard], ids=["pipe", "standard"])
def kind(request):
    return request.param


@pytest.fixture
def with_pipe(run, kind):
    """Return a function that runs another one with a pipe."""

    def start(fn, **options):
        async def main():
            pipe = kind()
            try:
                return await fn(pipe)
            finally:
                pipe.close()

        return run(main, **options)

    return start


class TestBothKinds:
    def test_what_is_sent_comes_out(self, with_pipe):
        async def main(pipe):
            await pipe.send.send_all(b"hello ")
            await pipe.send.send_all(memoryview(bytearray(b"world")))
            assert await pipe.receive.receive(6) == b"hello "
            buffer = bytearray(8)
            assert await pipe.receive.receive_into(buffer) == 5
            assert buffer == b"world\0\0\0"
            await pipe.send.send_all(b"abc")
            assert await pipe.receive.receive_into(buffer, 1) == 1
            await pipe.send.send_all(b"")
            assert await pipe.receive.receive() == b"bc"

        with_pipe(main)

    def test_more_than_fits_arrives_whole(self, with_pipe):
        async def main(pipe):
            async def send():
                await pipe.send.send_all(LARGE)
                pipe.send.close()
                if isinstance(pipe, Standard):
                    os.close(pipe.fds[1])

            async with giambio.create_pool() as pool:
                pool.spawn(send)
                assert await everything(pipe.receive) == LARGE

        with_pipe(main)

    def test_a_reader_that_waits_is_woken(self, with_pipe):
        async def main(pipe):
            async with giambio.create_pool() as pool:
                task = pool.spawn(pipe.receive.receive)
                await wait_all_tasks_blocked()
                await pipe.send.send_all(b"x")
                assert await task.join() == b"x"
                task = pool.spawn(pipe.receive.receive_into, bytearray(4))
                await wait_all_tasks_blocked()
                await pipe.send.send_all(b"abc")
                assert await task.join() == 3

        with_pipe(main)

    def test_a_cancelled_wait_loses_nothing(self, with_pipe):
        async def main(pipe):
            async with giambio.create_pool() as pool:
                task = pool.spawn(pipe.receive.receive)
                await wait_all_tasks_blocked()
                task.cancel()
                await pipe.send.send_all(b"x")
                await wait_all_tasks_blocked()
                assert task.cancelled()
            assert await pipe.receive.receive() == b"x"

        with_pipe(main)

    def test_a_cancelled_send_says_how_much_went_out(self, with_pipe):
        async def main(pipe):
            with giambio.skip_after(1):
                try:
                    await pipe.send.send_all(LARGE)
                except giambio.CancelledError as error:
                    sent = error.bytes_sent
                    raise
            assert 0 < sent < len(LARGE)
            got = bytearray()
            while len(got) < sent:
                got += await pipe.receive.receive()
            assert got == LARGE[:sent]

        with_pipe(main)

    def test_a_send_that_is_cancelled_before_it_begins_sends_nothing(self, with_pipe):
        async def main(pipe):
            with CancelScope() as scope:
                scope.cancel()
                try:
                    await pipe.send.send_all(b"x")
                except giambio.CancelledError as error:
                    assert error.bytes_sent == 0
                    raise
            with giambio.skip_after(1) as scope:
                await pipe.receive.receive()
            assert scope.timed_out

        with_pipe(main)

    def test_one_task_at_a_time_uses_an_end(self, with_pipe):
        async def main(pipe):
            async with giambio.create_pool() as pool:
                pool.spawn(pipe.receive.receive)
                pool.spawn(pipe.send.send_all, LARGE)
                await giambio.checkpoint()
                with pytest.raises(ResourceBusy, match="'receive' already uses"):
                    await pipe.receive.receive()
                with pytest.raises(ResourceBusy, match="'send_all' already uses"):
                    await pipe.send.send_all(b"x")
                pool.cancel()

        with_pipe(main)

    def test_closing_wakes_who_waits(self, with_pipe):
        async def main(pipe):
            async with giambio.create_pool() as pool:
                task = pool.spawn(caught, pipe.receive.receive)
                await wait_all_tasks_blocked()
                pipe.receive.close()
                pipe.receive.close()  # twice is fine
                assert "closed" in str(await task.join())

        async def sending(pipe):
            async with giambio.create_pool() as pool:
                task = pool.spawn(caught, pipe.send.send_all, LARGE)
                await wait_all_tasks_blocked()
                await pipe.send.close()
                error = await task.join()
                assert error.bytes_sent > 0

        async def caught(fn, *args):
            with pytest.raises(ResourceClosed) as info:
                await fn(*args)
            return info.value

        with_pipe(main)
        with_pipe(sending)

    def test_a_closed_one_says_so(self, with_pipe):
        async def main(pipe):
            await pipe.send.close()
            await pipe.receive.close()
            for end in (pipe.send, pipe.receive):
                assert end.closed
                assert end.fileno() == -1
                assert "closed" in repr(end)

        with_pipe(main)

    def test_after_it_was_closed_nothing_works(self, with_pipe):
        async def main(pipe):
            async with pipe.send, pipe.receive:
                pass
            with pytest.raises(ResourceClosed, match="closed"):
                await pipe.receive.receive()
            with pytest.raises(ResourceClosed, match="closed"):
                await pipe.receive.receive_into(bytearray(1))
            with pytest.raises(ResourceClosed, match="closed"):
                await pipe.send.send_all(b"x")
            with assert_checkpoints():
                await pipe.send.aclose()

        with_pipe(main)

    def test_closed_between_the_wake_up_and_the_turn(self, with_pipe):
        async def main(pipe):
            async with giambio.create_pool() as pool:
                task = pool.spawn(pipe.receive.receive)
                await wait_all_tasks_blocked()
                os.write(pipe.send.fileno(), b"x")
                while giambio.current_task().waiting_on is None and task.state.name == "WAITING":
                    await giambio.checkpoint()
                pipe.receive.close()
                with pytest.raises(ResourceClosed):
                    await task.join()

        with pytest.raises(ResourceClosed):
            with_pipe(main)

    def test_a_sender_without_a_receiver_gets_the_error_of_the_system(self, with_pipe):
        async def main(pipe):
            pipe.receive.close()
            if isinstance(pipe, Standard):
                os.close(pipe.fds[0])
            with pytest.raises(BrokenPipeError) as info:
                await pipe.send.send_all(b"x")
            assert info.value.bytes_sent == 0

        with_pipe(main)

    def test_there_must_be_room(self, with_pipe):
        async def main(pipe):
            with pytest.raises(ValueError, match="max_bytes must be at least 1"):
                await pipe.receive.receive(0)
            for bad in ((bytearray(),), (bytearray(1), -1)):
                with pytest.raises(ValueError, match="room for at least 1"):
                    await pipe.receive.receive_into(*bad)

        with_pipe(main)

    @pytest.mark.parametrize("no_room", [[1, 2], "text", b"bytes", memoryview(bytearray(4))[::2]])
    def test_what_has_no_room_for_bytes_is_refused_and_does_no_harm(self, with_pipe, no_room):
        async def main(pipe):
            with pytest.raises(TypeError):
                await pipe.receive.receive_into(no_room)
            await pipe.send.send_all(b"x")
            assert await pipe.receive.receive() == b"x"

        with_pipe(main)

    def test_every_operation_is_a_checkpoint(self, with_pipe):
        async def main(pipe):
            with assert_checkpoints():
                await pipe.send.send_all(b"x")
            with assert_checkpoints():
                await pipe.receive.receive()
            await pipe.send.send_all(b"x")
            with assert_checkpoints():
                await pipe.receive.receive_into(bytearray(1))

        with_pipe(main)

    def test_every_cancellation_is_survived(self, kind):
        async def main():
            pipe = kind()
            try:
                async with giambio.create_pool() as pool:
                    pool.spawn(pipe.send.send_all, LARGE[:70_000])
                    got = bytearray()
                    while len(got) < 70_000:
                        got += await pipe.receive.receive()
                assert got == LARGE[:70_000]
            finally:
                pipe.close()

        cancel_sweep(main)

    def test_they_are_streams(self, with_pipe):
        async def main(pipe):
            from giambio._streams.protocols import ReceiveStream, SendStream, Stream

            assert isinstance(pipe.send, SendStream)
            assert isinstance(pipe.receive, ReceiveStream)
            assert not isinstance(pipe.receive, Stream)

        with_pipe(main)


class TestPipes:
    def test_the_end_comes_when_all_senders_have_closed(self, run):
        async def main():
            send, receive = open_pipe()
            async with receive:
                async with send:
                    await send.send_all(b"last words")
                assert await receive.receive() == b"last words"
                assert await receive.receive() == b""
                assert await receive.receive() == b""
                assert await receive.receive_into(bytearray(1)) == 0

        run(main)

    def test_a_long_send_to_a_fast_reader_lets_others_run(self, run):
        """With a reader in another thread there may always be room."""
        turns = []

        async def others():
            while True:
                turns.append(None)
                await giambio.checkpoint()

        def read(fd):
            while os.read(fd, 1 << 20):
                pass
            os.close(fd)

        async def main():
            read_fd, write_fd = os.pipe()
            thread = threading.Thread(target=read, args=(read_fd,))
            thread.start()
            async with giambio.create_pool() as pool:
                pool.service(others)
                async with PipeSendStream(write_fd) as send:
                    await send.send_all(bytes(1 << 22))
            thread.join()

        run(main)
        assert len(turns) >= (1 << 22) // (1 << 18) - 1

    def test_a_descriptor_must_be_one_that_can_be_waited_for(self, tmp_path):
        with pytest.raises(TypeError, match="expected a descriptor"):
            PipeSendStream("pipe")
        with pytest.raises(OSError):
            PipeReceiveStream(100_000)
        with open(tmp_path / "file", "wb") as file:
            with pytest.raises(ValueError, match="is a file, not a pipe"):
                PipeSendStream(file.fileno())

    def test_it_may_be_used_in_one_run_after_the_other_but_not_in_two(self):
        send, receive = open_pipe()
        giambio.run(send.send_all, b"x")
        assert giambio.run(receive.receive) == b"x"
        with giambio.start_blocking_portal() as portal:
            portal.run(send.send_all, b"y")
            with pytest.raises(RuntimeError, match="belongs to another loop"):
                giambio.run(send.send_all, b"z")
        giambio.run(send.send_all, b"z")
        assert giambio.run(receive.receive) == b"yz"
        send.close()
        receive.close()

    def test_one_that_is_dropped_unclosed_is_complained_of(self):
        send, receive = open_pipe()
        receive.close()
        with pytest.warns(ResourceWarning, match="unclosed file"):
            del send

    def test_its_repr_tells_the_descriptor(self):
        send, receive = open_pipe()
        assert repr(send) == f"<PipeSendStream fd={send.fileno()}>"
        send.close()
        receive.close()


@pytest.fixture
def terminal():
    """Return the two ends of a terminal: ours, which shows and types, and that of a program."""
    master, slave = pty.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[3] &= ~termios.ECHO
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    yield master, slave
    os.close(master)
    os.close(slave)


class TestStandardStreams:
    def test_descriptors_remain_open_and_blocking(self, run):
        read_fd, write_fd = os.pipe()

        async def main():
            async with StandardInput(read_fd) as receive, StandardOutput(write_fd) as send:
                await send.send_all(b"x")
                assert await receive.receive() == b"x"
                assert os.get_blocking(read_fd)
                assert os.get_blocking(write_fd)

        run(main)
        os.close(read_fd)
        os.close(write_fd)

    def test_one_that_is_used_cannot_be_closed_by_another_thread(self, run):
        read_fd, write_fd = os.pipe()
        refused = []

        async def main():
            stream = StandardInput(read_fd)
            async with giambio.create_pool() as pool:
                waiting = pool.spawn(stream.receive)
                await wait_all_tasks_blocked()
                thread = threading.Thread(target=close, args=(stream,))
                thread.start()
                thread.join()
                os.write(write_fd, b"x")
            assert waiting.result() == b"x"
            assert not stream.closed

        def close(stream):
            try:
                stream.close()
            except RuntimeError as error:
                refused.append(error)

        run(main)
        assert refused
        os.close(read_fd)
        os.close(write_fd)

    def test_closed_while_in_use_it_does_not_say_that_the_descriptor_was(self, run):
        read_fd, write_fd = os.pipe()

        async def main():
            stream = StandardInput(read_fd)
            async with giambio.create_pool() as pool:
                pool.spawn(receive, stream)
                await wait_all_tasks_blocked()
                stream.close()

        async def receive(stream):
            with pytest.raises(ResourceClosed, match="^<StandardInput .* was closed while in use$"):
                await stream.receive()

        run(main)
        os.close(read_fd)  # which is open indeed
        os.close(write_fd)

    def test_waiting_for_a_terminal_can_be_cancelled(self, run, terminal):
        master, slave = terminal

        async def main():
            async with StandardInput(slave) as receive, StandardOutput(slave) as send:
                with giambio.skip_after(1) as scope:
                    await receive.receive()
                assert scope.timed_out
                os.write(master, b"a line\n")
                assert await receive.receive() == b"a line\n"
                await send.send_all(b"answer")
                assert os.read(master, 100) == b"answer"

        run(main)

    def test_a_terminal_that_shows_little_at_a_time_does_not_stop_the_loop(self, run, terminal):
        master, slave = terminal
        shown = bytearray()

        async def main():
            with CancelScope() as scope:
                async with giambio.create_pool() as pool:
                    pool.spawn(send)
                    for size in (1, 10, 100, 1000):
                        await giambio.sleep(1)
                        shown.extend(os.read(master, size))
                    scope.cancel()
            assert os.get_blocking(slave)

        async def send():
            try:
                await StandardOutput(slave).send_all(LARGE)
            except giambio.CancelledError as error:
                os.set_blocking(master, False)
                while len(shown) < error.bytes_sent:
                    shown.extend(os.read(master, 65536))
                raise

        run(main)
        assert len(shown) > 1111 and shown == LARGE[: len(shown)]

    def test_a_line_end_that_finds_room_for_half_of_it_is_tried_again(
        self, run, terminal, monkeypatch
    ):
        master, slave = terminal
        write, attempts = os.write, []

        def stand_in(*args):
            attempts.append(giambio.clock())
            if len(attempts) < 3:
                raise BlockingIOError
            return write(*args)

        async def main():
            await StandardOutput(slave).send_all(b"x")

        monkeypatch.setattr(os, "write", stand_in)
        run(main)
        assert os.read(master, 2) == b"x"
        assert attempts[0] < attempts[1] < attempts[2]

    @pytest.mark.parametrize("reason", ["not ours", "other end"])
    def test_a_terminal_that_cannot_be_opened_is_written_to_in_a_thread(
        self, run, terminal, monkeypatch, reason
    ):
        ours, theirs = terminal

        def refuse(*args):
            raise PermissionError

        if reason == "not ours":
            monkeypatch.setattr(os, "open", refuse)
            ours, theirs = theirs, ours

        async def main():
            await StandardOutput(ours).send_all(b"x\n")
            assert os.read(theirs, 10) == b"x\n"

        run(main)

    def test_files_are_read_and_written_all_the_same(self, run, tmp_path):
        """As in ``program <file >other``."""

        async def main():
            await StandardOutput(file.fileno()).send_all(LARGE)
            file.seek(0)
            assert await everything(StandardInput(file.fileno())) == LARGE

        with open(tmp_path / "file", "w+b") as file:
            run(main)

    def test_a_short_write_to_a_file_goes_on(self, run, tmp_path, monkeypatch):
        """The system may stop halfway, at the limit of a quota for example."""
        write = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:400]))

        async def main():
            await StandardOutput(file.fileno()).send_all(LARGE[:1000])

        with open(tmp_path / "file", "wb") as file:
            run(main)
        assert (tmp_path / "file").read_bytes() == LARGE[:1000]

    def test_when_others_have_made_it_non_blocking_and_are_faster_it_waits_on(
        self, run, monkeypatch
    ):
        read_fd, write_fd = os.pipe()
        read, write = os.read, os.write
        stolen = []

        def stealing(operation):
            def stand_in(*args):
                if len(stolen) % 2 == 0:
                    stolen.append(operation)
                    raise BlockingIOError
                stolen.append(None)
                return operation(*args)

            return stand_in

        async def main():
            with monkeypatch.context() as patch:
                patch.setattr(os, "read", stealing(read))
                patch.setattr(os, "write", stealing(write))
                await StandardOutput(write_fd).send_all(b"x")
                assert await StandardInput(read_fd).receive() == b"x"

        run(main)
        assert stolen == [write, None, read, None]
        os.close(read_fd)
        os.close(write_fd)

    def test_the_three_of_the_program_are_0_1_and_2(self, run, monkeypatch):
        async def main():
            flushed = []
            monkeypatch.setattr(sys.stdout, "flush", lambda: flushed.append(True))
            assert giambio.open_stdin().fileno() == 0
            assert not flushed
            assert repr(giambio.open_stdout()) == "<StandardOutput fd=1>"
            assert flushed
            assert giambio.open_stderr().fileno() == 2
            monkeypatch.setattr(sys, "stdout", None)  # as in a daemon
            assert giambio.open_stdout().fileno() == 1

        run(main)

    def test_a_program_may_have_none(self, run):
        async def main():
            with pytest.raises(ResourceClosed, match="no open descriptor 100000"):
                StandardInput(100_000)

        run(main)

    @pytest.mark.parametrize("fd", [0, 1, 2])
    def test_what_has_got_the_number_of_a_missing_one_is_not_taken_for_it(self, run, fd):
        """Whatever is opened first gets it: of a program without input, the poller of the loop."""
        name = ("stdin", "stdout", "stderr")[fd]
        program = f"""if True:
            import os, giambio
            taken = os.open(os.devnull, os.O_RDWR)
            async def main():
                try:
                    giambio.open_{name}()
                except giambio.ResourceClosed:
                    os._exit(99 if taken == {fd} else 98)
            giambio.run(main)
        """

        async def main():
            done = await giambio.run_process(
                ["sh", "-c", f'exec "$0" -c "$1" {fd}>&-', sys.executable, program], check=False
            )
            assert done.returncode == 99

        run(main)
