# SPDX-License-Identifier: Apache-2.0
"""Ordinary uses of giambio, for the type checker. Nothing here is run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Future
from subprocess import PIPE, CompletedProcess
from typing import Any, assert_type

import giambio
from giambio.testing import (
    Report,
    SweepReport,
    VirtualClock,
    cancel_sweep,
    explore,
    memory_stream_pair,
    simulate,
)


async def double(n: int, *, times: int = 2) -> int:
    return n * times


async def text() -> str:
    return "text"


async def serve_plain(stream: giambio.AsyncSocket) -> None:
    stream.getpeername()


async def serve_over_tls(stream: giambio.TLSStream) -> None:
    stream.version()


async def serve_any(stream: giambio.HalfCloseableStream) -> None:
    await stream.send_eof()


async def main(n: int) -> str:
    async with giambio.create_pool(limit=3) as pool:
        task = pool.spawn(double, 2, times=3)
        assert_type(task, giambio.Task[int])
        assert_type(await pool.spawn(double, 2), giambio.Task[int])
        assert_type(pool.spawn(text()), giambio.Task[str])
        assert_type(pool.service(text), giambio.Task[str])
        assert_type(pool.spawn_after(1, double, 2), giambio.Task[int])
        pool.spawn(double, "2")  # type: ignore[call-overload]
        pool.spawn(double, 2, time=3)  # type: ignore[call-arg]
    assert_type(await task.join(), int)
    assert_type(task.result(), int)
    assert_type(giambio.spawn(double, 1), giambio.Task[int])
    assert_type(await giambio.gather(double(1), text), tuple[int, str])
    assert_type(await giambio.race(text, text()), str)
    async for result in giambio.amap(double, [1, 2], limit=2):
        assert_type(result, int)
    with giambio.with_timeout(5) as scope:
        assert_type(scope.timed_out, bool)
    async with giambio.skip_after(5) as timeout:
        assert_type(timeout.spawn(text), giambio.Task[str])
    event: giambio.Event[int] = giambio.Event()
    event.trigger(3)
    assert_type(await event.wait(), int)
    bare: giambio.Event[None] = giambio.Event()
    bare.trigger()
    async with giambio.Lock(), giambio.RWLock().read, giambio.Semaphore(1), giambio.RateLimit(1):
        pass
    async with giambio.CapacityLimiter(1) as nothing:
        assert_type(nothing, None)
    async with giambio.Barrier(1) as position:
        assert_type(position, int)
    condition = giambio.Condition(giambio.Lock())
    async with condition:
        assert_type(await condition.wait_for(lambda: [1]), list[int])
    level = giambio.Value(1)
    assert_type(await level.wait_for(lambda n: n > 0), int)
    async for change in level.changes():
        assert_type(change, int)
    assert_type(giambio.Lock().statistics().owner, giambio.Task[Any] | None)
    async with giambio.socket.socket() as sock:
        assert_type(sock, giambio.AsyncSocket)
        assert_type(await sock.receive(100), bytes)
        await sock.bind(("localhost", 0))
        assert_type(await sock.accept(), tuple[giambio.AsyncSocket, object])  # type: ignore[assert-type]
    assert_type(giambio.socket.SOL_SOCKET, int)
    assert_type(giambio.socket.SO_BINDTODEVICE, int)
    giambio.socket.SO_RUSEPORT  # type: ignore[attr-defined]
    assert_type(await giambio.connect_tcp("localhost", 80), giambio.AsyncSocket)
    assert_type(await giambio.connect_tcp("localhost", 443, tls=True), giambio.TLSStream)
    either = await giambio.connect_tcp("localhost", 443, tls=bool(n))
    assert_type(either, giambio.AsyncSocket | giambio.TLSStream)
    async with await giambio.open_udp_endpoint() as endpoint:
        async for data, _ in endpoint:
            assert_type(data, bytes)
    await giambio.serve_tcp(serve_plain, 80)
    await giambio.serve_tcp(serve_over_tls, 443)
    await giambio.serve_tcp(serve_any, 443)
    await giambio.serve_tcp(text, 443)  # type: ignore[arg-type]
    assert_type(await giambio.run_in_thread(len, "abc"), int)
    assert_type(await giambio.run_in_process(len, "abc"), int)
    assert_type(await giambio.run_process(["ls"]), CompletedProcess[bytes])
    assert_type(await giambio.run_process(["ls"], text=True), CompletedProcess[str])
    assert_type(
        await giambio.run_process(["cat"], input="x", encoding="utf-8"), CompletedProcess[str]
    )
    async with giambio.open_process(["cat"], stdin=PIPE) as process:
        assert_type(process.stdin, giambio.PipeSendStream | None)
        assert_type(await process.wait(), int)
        if process.stdin and process.stdout:
            # In one line: what a stream is expected to be must not mislead the checker.
            talk = giambio.TextStream(giambio.StapledStream(process.stdin, process.stdout))
            assert_type(await talk.receive_line(), str | None)
            both: giambio.Stream = giambio.StapledStream(process.stdin, process.stdout)
            await read(both)
    async with await giambio.open_file("x") as file:
        assert_type(file, giambio.AsyncFile[str])
        async for line in file:
            assert_type(line, str)
    async with await giambio.Path("x").open("rb") as binary:
        assert_type(await binary.read(), bytes)
    async with giambio.TemporaryDirectory() as folder:
        assert_type(folder / "x", giambio.Path)
        async for entry in folder.iterdir():
            assert_type(entry, giambio.Path)
    with giambio.open_signal_receiver(15) as signals:
        async for number in signals:
            assert_type(number, int)
    async with giambio.open_portal() as portal:
        assert_type(portal.run(double, 1, times=2), int)
        assert_type(portal.spawn(text), Future[str])
    source: giambio.ReceiveStream = giambio.open_stdin()
    sink: giambio.SendStream = giambio.open_stdout()
    sink, source = giambio.open_pipe()
    await sink.send_all(await source.receive())
    return "done"


async def read(stream: giambio.Stream) -> None:
    buffered = giambio.BufferedStream(stream)
    assert_type(await buffered.receive_exactly(3), bytes)
    async for line in buffered.lines():
        assert_type(line, bytes)
    async for words in giambio.TextStream(buffered).lines():
        assert_type(words, str)
    async for message in giambio.LengthPrefixedStream(stream):
        assert_type(message, bytes)
    secure = await giambio.TLSStream.wrap(buffered, server_hostname="localhost")
    assert_type(secure, giambio.TLSStream)
    left, right = memory_stream_pair()
    for each in (secure, buffered, left, right, giambio.StapledStream(left, right)):
        await serve_any(each)


@giambio.as_channel
async def count(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


async def hand_over(numbers: giambio.Queue[int]) -> None:
    await numbers.put(1)
    assert_type(await numbers.get(), int)
    async for number in giambio.PriorityQueue[int](3, key=lambda n: -n):
        assert_type(number, int)
    sender: giambio.SendChannel[str]
    sender, receiver = giambio.open_memory_channel(0)
    with sender.clone() as clone:
        await clone.send("x")
    assert_type(await receiver.receive(), Any)
    with giambio.Broadcast[str](overflow="error") as news:
        assert_type(await news.subscribe(1, overflow="wait").receive(), str)
    bridge = giambio.ThreadQueue[bytes]()
    assert_type(bridge.blocking.get(timeout=1), bytes)
    assert_type([item async for item in bridge], list[bytes])
    async with count(3) as channel:
        assert_type(await channel.receive(), int)
    chosen = await giambio.select(numbers, giambio.sending(sender, "y"), giambio.after(1))
    assert_type(chosen.position, int)
    async for merged in giambio.merge(numbers, channel):
        assert_type(merged, int)
    async for attempt in giambio.retry(tries=3, on=(OSError, ValueError), backoff=1):
        with attempt:
            assert_type(attempt.number, int)
    async for tick in giambio.every(1):
        assert_type(tick.due, float)
    with giambio.cleanup(timeout=3) as scope:
        assert_type(scope.timed_out, bool)


def use() -> None:
    assert_type(giambio.run(main, 3, clock=VirtualClock()), str)
    loop = giambio.AsyncScheduler()
    assert_type(loop.start(main, 1), str)
    assert_type(loop.start(main, 1, loop=False), giambio.Task[str])
    assert_type(loop.tick(None), bool)
    assert_type(explore(main, 1, runs=10, strategy="pct", network="memory"), Report)
    assert_type(cancel_sweep(main, 1, cancel_at=range(1, 3), allow=OSError), SweepReport)
    assert_type(simulate(main, 1), str)
    giambio.run(main, 3, debugger=giambio.debug.ChromeTracer("trace.json"))
    giambio.run(main, 3, debugger=[giambio.debug.PrintDebugger(), giambio.debug.BaseDebugger()])
    assert_type(giambio.debug.format_tree(loop, stacks=True), str)
    with giambio.debug.Monitor() as monitor, giambio.debug.dump_on_signal():
        assert_type(monitor.path, str | None)


# Returning inside of blocks: only those that skip may be left at their end without it.


async def in_a_pool() -> int:
    async with giambio.create_pool() as pool:
        task = pool.spawn(double, 2)
        return await task.join()


async def in_time() -> int:
    with giambio.with_timeout(5):
        return await double(2)


async def in_time_with_tasks() -> int:
    async with giambio.with_timeout(5) as pool:
        return await pool.spawn(double, 2).join()


async def until() -> int:
    with giambio.with_timeout_at(giambio.clock() + 5):
        return await double(2)


async def perhaps() -> int:
    with giambio.skip_after(5):
        return await double(2)
    return 0  # reached, so it is needed


async def perhaps_with_tasks() -> int:
    async with giambio.skip_after(5):
        return await double(2)
    return 0


async def known_after_the_pool() -> int:
    async with giambio.create_pool() as pool:
        task = pool.spawn(double, 2)
    return task.result()


async def sockets_are_streams(sock: giambio.AsyncSocket) -> giambio.BufferedStream:
    giambio.TextStream(sock)
    await read(sock)
    return giambio.BufferedStream(sock)


async def misspelled() -> None:
    giambio.creat_pool()  # type: ignore[attr-defined]
