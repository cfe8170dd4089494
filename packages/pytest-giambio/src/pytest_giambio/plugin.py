# SPDX-License-Identifier: Apache-2.0
"""The hooks that pytest calls. giambio itself is imported by the first test that needs it."""

from __future__ import annotations

import inspect

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "giambio: run this async test on giambio's loop")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a marked async test."""
    if pyfuncitem.get_closest_marker("giambio") is None:
        return None
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    import giambio

    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def test() -> None:
        await pyfuncitem.obj(**arguments)

    giambio.run(test)
    return True
