# SPDX-License-Identifier: Apache-2.0
"""How the tests run a program: on a virtual clock, unless they say otherwise."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

import pytest

import giambio
from giambio.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


@pytest.fixture
def run() -> Callable[..., Any]:
    """Return a function that runs an async function to its end, in virtual time."""

    def run(func: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **options: Any) -> Any:
        options.setdefault("clock", VirtualClock())
        return giambio.run(func, *args, **options)

    return run


@pytest.fixture
def count_calls() -> Callable[..., int]:
    """Return a function that calls another and says how many calls of Python functions that took."""

    def count_calls(fn: Callable[..., object], *args: Any) -> int:
        count = 0

        def profile(frame: object, event: str, arg: object) -> None:
            nonlocal count
            count += event == "call"

        # What the garbage collector calls, of tests before this one perhaps, does not count.
        gc.disable()
        before = sys.getprofile()
        sys.setprofile(profile)
        try:
            fn(*args)
        finally:
            sys.setprofile(before)
            gc.enable()
        return count

    return count_calls


class Certificates:
    """A certificate authority and contexts that trust it, made once for all tests."""

    def __init__(self) -> None:
        import trustme

        self.ca = trustme.CA()
        self.server_certificate = self.ca.issue_cert("giambio.test", "127.0.0.1")
        self.client_certificate = self.ca.issue_cert("client@giambio.test")

    def server(self, **options: Any) -> Any:
        """Return a context for the server's side."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_certificate.configure_cert(context)
        return self._configure(context, **options)

    def client(self, **options: Any) -> Any:
        """Return a context for the client's side."""
        import ssl

        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return self._configure(context, **options)

    def _configure(self, context: Any, version: str | None = None, alpn: Any = None) -> Any:
        import ssl

        if version is not None:
            context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
        if alpn is not None:
            context.set_alpn_protocols(alpn)
        return context


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    """Return certificates for ``giambio.test``, and contexts with them."""
    return Certificates()
