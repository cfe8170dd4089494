# SPDX-License-Identifier: Apache-2.0
"""An echo server of giambio's, and real clients that talk to it at the same time.

The clients are threads with ordinary blocking sockets, in a process of their own. They know nothing of
giambio; what serves them all is one thread. Run it with ``--brief`` for the summary alone.
"""

from __future__ import annotations

import argparse
import random
import socket
import sys
import threading
import time

import giambio
from giambio.socket import AsyncSocket

SPEAKING_CLIENTS = 5
CROWD = 200
MESSAGES = 50


class Server:
    """Echoes lines, and counts what it does."""

    def __init__(self, *, talkative: bool) -> None:
        self.talkative = talkative
        self.connected = self.most = self.served = self.lines = 0

    def say(self, text: str) -> None:
        if self.talkative:
            print(f"  server   {text}\n", end="", flush=True)

    async def handle(self, client: AsyncSocket, address: tuple[str, int]) -> None:
        self.connected += 1
        self.most = max(self.most, self.connected)
        self.say(f"{address[1]} connected, {self.connected} now")
        try:
            async with client:
                while data := await client.receive(4096):
                    self.lines += data.count(b"\n")
                    await client.send_all(data)
        finally:
            self.connected -= 1
            self.served += 1
            self.say(f"{address[1]} left, {self.connected} still here")

    async def serve(self, listener: AsyncSocket) -> None:
        async with giambio.create_pool() as pool:
            while True:
                pool.spawn(self.handle, *await listener.accept())


async def demonstrate(clients: int, talkative: bool) -> Server:
    """Serve until the process with the clients has ended."""
    server = Server(talkative=talkative)
    async with giambio.socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        port = listener.getsockname()[1]
        command = [sys.executable, __file__, "--clients", str(clients), "--port", str(port)]
        if talkative:
            command.append("--talkative")
        async with giambio.create_pool() as pool:
            pool.service(server.serve, listener)
            await giambio.run_process(command)  # ends it, too, if we are interrupted
    return server


def be_a_client(number: int, port: int, talkative: bool, all_here: threading.Barrier) -> None:
    """Say something, check the answer, wait a little; with nothing but the standard library."""
    chance = random.Random(number)
    messages = 3 if talkative else MESSAGES
    with socket.create_connection(("127.0.0.1", port)) as peer, peer.makefile("rwb") as stream:
        all_here.wait()
        for message in range(messages):
            line = f"client {number}, message {message}\n".encode()
            stream.write(line)
            stream.flush()
            answer = stream.readline()
            assert answer == line
            if talkative:
                text = f"  client {number} got back: {answer.decode().strip()!r}\n"
                print(text, end="", flush=True)  # one write, or lines of two threads would mix
                time.sleep(chance.uniform(0.05, 0.3))


def be_the_clients(number: int, port: int, talkative: bool) -> None:
    all_here = threading.Barrier(number)
    threads = [
        threading.Thread(target=be_a_client, args=(n, port, talkative, all_here))
        for n in range(number)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brief", action="store_true", help="show the summary alone")
    parser.add_argument("--clients", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--talkative", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.clients:
        be_the_clients(options.clients, options.port, options.talkative)
        return
    if not options.brief:
        print(f"{SPEAKING_CLIENTS} clients that one can follow:", flush=True)
        giambio.run(demonstrate, SPEAKING_CLIENTS, True)
    print(f"{CROWD} clients at the same time, {MESSAGES} messages each:", flush=True)
    started = time.perf_counter()
    server = giambio.run(demonstrate, CROWD, False)
    took = time.perf_counter() - started
    print(
        f"  served {server.served} clients, up to {server.most} at once; echoed {server.lines} "
        f"messages, each checked by its client, in {took:.1f} s"
    )
    print(f"giambio {giambio.__version__} works on Python {sys.version.split()[0]}.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Interrupted; the server and all clients have ended.")
