# SPDX-License-Identifier: Apache-2.0
"""Contenders: who takes part, and how its main function is run."""

# mypy: disable-error-code="import-untyped"
# (curio has no types)

from __future__ import annotations

import select
from dataclasses import dataclass
from importlib import metadata, util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Main = Callable[..., Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class Contender:
    """A column of the table."""

    name: str
    # What a user would install and import.
    library: str
    # Options for the interpreter.
    flags: tuple[str, ...] = ()
    # Whose methods of a row it shares if it has none of its own: uvloop runs what asyncio runs.
    like: str = ""
    # Whether giambio is compared with it as "the best peer". The floors are no peers.
    is_peer: bool = True

    def missing(self) -> str | None:
        """Say why it cannot take part, if it cannot."""
        if self.library in ("bare", "c"):
            return None if hasattr(select, "epoll") else "it needs Linux's epoll"
        return None if util.find_spec(self.library) else f"{self.library} is not installed"

    def run(self, main: Main, *args: Any) -> Any:
        """Run a coroutine function to its end, as a user of the library would."""
        return _RUNNERS[self.library](main, *args)


# The table shows them in this order, and they take turns in it: the floor and giambio are next to each
# other, so that the machine has the least time to change its speed between them.
CONTENDERS = (
    Contender("bare", "bare", is_peer=False),
    Contender("giambio", "giambio", is_peer=False),
    Contender("uvloop", "uvloop", like="asyncio"),
    Contender("asyncio", "asyncio"),
    # An `assert` in curio searches the ready queue at each wake-up, so it depends on the length of the
    # queue, and on -O, how fast it is.
    Contender("curio -O", "curio", flags=("-O",)),
    Contender("curio", "curio"),
    Contender("trio", "trio"),
)


def versions() -> dict[str, str]:
    """Return the versions of the libraries that are installed."""
    found = {}
    for library in ("giambio", "giambio-kernel", "curio", "trio", "uvloop"):
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            pass
    return found


# A process imports only the library that it measures.


def _run_bare(main: Main, *args: Any) -> Any:
    from benchmarks import bare

    return bare.run(main, *args)


def _run_giambio(main: Main, *args: Any) -> Any:
    import giambio

    return giambio.run(main, *args)


def _run_asyncio(main: Main, *args: Any) -> Any:
    import asyncio

    return asyncio.run(main(*args))


def _run_uvloop(main: Main, *args: Any) -> Any:
    import uvloop

    return uvloop.run(main(*args))


def _run_curio(main: Main, *args: Any) -> Any:
    import curio

    return curio.run(main, *args)


def _run_trio(main: Main, *args: Any) -> Any:
    import trio

    return trio.run(main, *args)


_RUNNERS: dict[str, Callable[..., Any]] = {
    "bare": _run_bare,
    "giambio": _run_giambio,
    "asyncio": _run_asyncio,
    "uvloop": _run_uvloop,
    "curio": _run_curio,
    "trio": _run_trio,
}
