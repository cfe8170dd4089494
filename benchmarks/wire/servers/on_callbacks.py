# SPDX-License-Identifier: Apache-2.0
"""A loop written by hand that calls functions: no tasks, no coroutines. The least Python can do.

Level-triggered, because a callback reads once for each event and then waits for the next anyway.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket


def echo(listener: socket) -> None:
    listener.setblocking(False)
    epoll = select.epoll()
    callbacks: dict[int, Callable[[], None]] = {}

    def accept() -> None:
        sock, _ = listener.accept()
        sock.setblocking(False)
        callbacks[sock.fileno()] = Echo(sock, epoll, callbacks).receive
        epoll.register(sock, select.EPOLLIN)

    callbacks[listener.fileno()] = accept
    epoll.register(listener, select.EPOLLIN)
    while True:
        for fd, _ in epoll.poll():
            callbacks[fd]()


def udp_echo(sock: socket) -> None:
    sock.setblocking(False)
    receive, send = sock.recvfrom, sock.sendto

    def echo_all() -> None:
        # Here one read for each event would be a poll for each datagram.
        try:
            while True:
                data, address = receive(65536)
                send(data, address)
        except BlockingIOError:
            pass  # no more has come; or there is no room, and one is lost

    epoll = select.epoll()
    epoll.register(sock, select.EPOLLIN)
    while True:
        epoll.poll()
        echo_all()


class Echo:
    """One connection."""

    __slots__ = ("callbacks", "epoll", "recv", "rest", "send", "sock")

    def __init__(
        self, sock: socket, epoll: select.epoll, callbacks: dict[int, Callable[[], None]]
    ) -> None:
        self.sock = sock
        self.recv = sock.recv
        self.send = sock.send
        self.epoll = epoll
        self.callbacks = callbacks
        # What could not be sent at once. While there is something, nothing more is read.
        self.rest = memoryview(b"")

    def receive(self) -> None:
        data = self.recv(65536)
        if not data:
            self.close()
            return
        try:
            sent = self.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.rest = memoryview(data)[sent:]
            self.watch(select.EPOLLOUT, self.send_rest)

    def send_rest(self) -> None:
        self.rest = self.rest[self.send(self.rest) :]
        if not self.rest:
            self.watch(select.EPOLLIN, self.receive)

    def watch(self, mask: int, callback: Callable[[], None]) -> None:
        self.epoll.modify(self.sock, mask)
        self.callbacks[self.sock.fileno()] = callback

    def close(self) -> None:
        del self.callbacks[self.sock.fileno()]
        self.sock.close()
