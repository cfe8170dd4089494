# SPDX-License-Identifier: Apache-2.0
"""What explorations and sweeps are given: checked before anything runs, so that a mistake is no finding."""

from __future__ import annotations

import inspect
import math
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeAlias

from giambio_kernel import not_async

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    Main: TypeAlias = Callable[[], Coroutine[Any, Any, object]]

Errors: TypeAlias = "type[BaseException] | tuple[type[BaseException], ...]"


class NotAsync(TypeError):
    """The function that is to be run is no async function."""


def as_main(fn: Any, args: tuple[Any, ...]) -> Main:
    """Return a function that calls *fn* anew for each run and returns its coroutine.

    What it raises if that is no coroutine is a `NotAsync`.

    Raises:
        TypeError: *fn* is no function, or cannot be called with *args*.
    """
    if isinstance(fn, CoroutineType):
        fn.close()  # or Python would complain of that, too
        raise TypeError(
            f"expected an async function, not a coroutine: pass {fn.__name__} and its arguments, "
            f"without calling it; {fn.__name__}() would give the coroutine of a single run"
        )
    if not callable(fn):
        raise not_async(fn, None)
    innermost = fn
    while isinstance(innermost, partial):
        innermost = innermost.func
    name = getattr(innermost, "__name__", None) or type(innermost).__name__
    if inspect.isasyncgenfunction(innermost):
        raise TypeError(f"{name} is an async generator function: iterate it in an async function")
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        pass  # some functions do not tell
    else:
        try:
            signature.bind(*args)
        except TypeError as error:
            raise TypeError(f"{name}() cannot be called with these arguments: {error}") from None

    def main() -> Coroutine[Any, Any, object]:
        made = fn(*args)
        if not isinstance(made, CoroutineType):
            raise NotAsync(str(not_async(innermost, made)))
        return made

    main.__name__ = name
    return main


def check_hook(name: str, fn: object) -> None:
    """Raise unless *fn*, the argument *name*, is ``None`` or can be called between two steps."""
    if fn is None:
        return
    if not callable(fn):
        raise TypeError(f"{name} must be a function, not {fn!r}")
    if inspect.iscoroutinefunction(fn):
        raise TypeError(
            f"{name} must be a plain function, because no loop runs when it is called; {fn!r} is async"
        )


def call_hook(name: str, fn: Callable[[], object]) -> None:
    """Call *fn*, the argument *name*, which is to raise if something is wrong.

    Raises:
        TypeError: It returned what looks as if something was meant by that.
    """
    made = fn()
    if made is False:
        raise TypeError(
            f"{name} returned False, which decides nothing; it must raise, as assert does"
        )
    if isinstance(made, CoroutineType):
        made.close()  # or Python would complain of that, too
        raise TypeError(f"{name} must be a plain function, and returned the coroutine {made!r}")


def check_number(name: str, value: object, least: int) -> None:
    """Raise unless the argument *name* is a whole number that is large enough."""
    if not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value!r}")


def check_seconds(seconds: object) -> None:
    """Raise unless *seconds* is ``None`` or a time that has a sense."""
    if seconds is None:
        return
    if not isinstance(seconds, int | float):
        raise TypeError(f"seconds must be a number, not {seconds!r}")
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"seconds must be at least 0, not {seconds!r}")


def as_errors(name: str, errors: Any) -> tuple[type[BaseException], ...]:
    """Return the classes of errors that the argument *name* consists of."""
    classes = errors if isinstance(errors, tuple) else (errors,)
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise TypeError(
                f"{name} must be a class of errors, or a tuple of such classes, not {errors!r}"
            )
    return classes


def as_classes(name: str, classes: Iterable[type]) -> tuple[type, ...]:
    """Return the classes that the argument *name* consists of."""
    if isinstance(classes, type):
        raise TypeError(f"{name} must be a list of classes: [{classes.__name__}]")
    found = tuple(classes)
    for each in found:
        if not isinstance(each, type):
            raise TypeError(f"{name} must be a list of classes; {each!r} is none")
    return found
