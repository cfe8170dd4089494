# SPDX-License-Identifier: Apache-2.0
"""What the standard module has and `giambio.socket` has under another name, or another way."""

from __future__ import annotations

from typing import NoReturn

METHODS = {
    "connect_ex": "connect(), which raises",
    "getblocking": "nothing: its operations wait without blocking the loop",
    "gettimeout": "giambio.with_timeout() around the operation",
    "makefile": "giambio.BufferedStream or giambio.TextStream over it",
    "recv": "receive()",
    "recv_into": "receive_into()",
    "send": "send_some(), or send_all() for all of it",
    "sendall": "send_all()",
    "setblocking": "nothing: its operations wait without blocking the loop",
    "settimeout": "giambio.with_timeout() around the operation",
}
"""For methods of `socket.socket`: what there is in their place."""

FUNCTIONS = {
    "create_connection": "giambio.connect_tcp()",
    "create_server": "giambio.open_tcp_listeners(), or giambio.serve_tcp()",
    "fromshare": "giambio.wrap_socket(), which takes any standard socket",
    "getdefaulttimeout": "giambio.with_timeout() around the operation",
    "gethostbyaddr": "getnameinfo(), which waits without blocking the loop",
    "gethostbyname": "getaddrinfo(), which waits without blocking the loop",
    "gethostbyname_ex": "getaddrinfo(), which waits without blocking the loop",
    "setdefaulttimeout": "giambio.with_timeout() around the operation",
}
"""For functions of the module `socket`: what there is in their place."""


class Elsewhere:
    """A method that a class does not have: looking for it raises, with what there is in its place.

    A ``__getattr__`` would say it, too, and make each look at what is there slower: with one, an echo
    over `AsyncSocket` takes 10 % longer on Python 3.11.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, owner: object, kind: type) -> NoReturn:
        raise missing(owner, self._name, f"{kind.__name__!r} object", METHODS)


def missing(owner: object, name: str, whose: str, places: dict[str, str]) -> AttributeError:
    """Return the error for an attribute that is not there.

    Args:
        owner: What was asked for it.
        name: The name of the attribute.
        whose: What *owner* is called.
        places: `METHODS` or `FUNCTIONS`.
    """
    told = f"{whose} has no attribute {name!r}"
    if name not in places:
        return AttributeError(told, name=name, obj=owner)
    # Without the name, or Python would ask whether something else that is similar was meant.
    return AttributeError(f"{told}; in its place there is {places[name]}", obj=owner)
