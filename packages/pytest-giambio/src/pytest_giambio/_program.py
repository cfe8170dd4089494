# SPDX-License-Identifier: Apache-2.0
"""Programs: a test together with its fixtures as one async function, to be run many times.

hypothesis runs a test once for each example, exploration once for each schedule, a cancel sweep once for
each checkpoint. pytest sets up the fixtures of a test only once; so in their place the test gets a promise
each, and each run keeps them: as if the test stood inside of an ``async with`` block for each fixture.
"""

from __future__ import annotations

import inspect
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ._compat import fail

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CoroutineType


class Promise:
    """Stands for the value of a fixture until a run of the test sets it up.

    Args:
        name: The name of the fixture.
        function: What makes its value: any kind of fixture function.
        arguments: Its arguments; some of them may be promises.
    """

    def __init__(self, name: str, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        self._name = name
        self._function = function
        self._arguments = arguments

    def __repr__(self) -> str:
        return f"<fixture {self._name!r}>"

    def __getattr__(self, attribute: str) -> NoReturn:
        # That, and not an error of our own, is what whoever asks with hasattr() needs to get.
        raise AttributeError(
            f"fixture {self._name!r} has no value yet: its test is run several times, and the "
            "fixture is set up anew in each run; fixtures that outlive the test cannot use it"
        )

    async def keep(self, stack: AsyncExitStack, values: dict[Promise, Any]) -> Any:
        """Return the value, with what was promised to the fixture; *stack* will clean up."""
        __tracebackhide__ = True
        function = self._function
        arguments = _filled_in(self._arguments, values)
        if inspect.isasyncgenfunction(function):
            return await stack.enter_async_context(asynccontextmanager(function)(**arguments))
        if inspect.isgeneratorfunction(function):
            return stack.enter_context(contextmanager(function)(**arguments))
        value = function(**arguments)
        return await value if inspect.iscoroutine(value) else value


class Program:
    """A test and its fixtures. Calling it gives the coroutine of one run.

    Args:
        name: What the task of a run is called.
        function: The async function of the test.
        arguments: Its arguments, some of them promises.
        promises: The fixtures to set up, in this order.

    Attributes:
        returned: What the function has returned.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: dict[str, Any],
        promises: list[Promise],
    ) -> None:
        self.__name__ = name  # a cancel sweep runs it in a function that it calls by this name
        self._function = function
        self._arguments = arguments
        self._promises = promises
        self.returned: Any = None

    def __call__(self) -> CoroutineType[Any, Any, None]:
        run = cast("CoroutineType[Any, Any, None]", self._run())
        run.__name__ = self.__name__
        return run

    async def _run(self) -> None:
        __tracebackhide__ = True
        values: dict[Promise, Any] = {}
        ended = False
        async with AsyncExitStack() as stack:
            for promise in self._promises:
                values[promise] = await promise.keep(stack, values)
            self.returned = await self._function(**_filled_in(self._arguments, values))
            ended = True
        if not ended:
            fail("a fixture has stopped the test: a scope in it was cancelled")


def _filled_in(arguments: dict[str, Any], values: dict[Promise, Any]) -> dict[str, Any]:
    return {
        name: values[value] if isinstance(value, Promise) else value
        for name, value in arguments.items()
    }
