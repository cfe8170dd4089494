# SPDX-License-Identifier: Apache-2.0
"""Calls that are made elsewhere, in another process or interpreter: what goes there and comes back.

A function goes by its name, so the other side imports the module that it stands in. The main module of a
program has another name over there, and is imported under the one that `multiprocessing` gives it, so
that what stands behind ``if __name__ == "__main__"`` is not run again.
"""

from __future__ import annotations

import io
import pickle
import sys
from types import CoroutineType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_MAIN = "__mp_main__"

# The name and the file of the main module of the program, where they have been told.
_main: tuple[str | None, str | None] = (None, None)
# Whether that is being imported, on the other side.
_is_importing = False


def describe_main() -> tuple[str | None, str | None]:
    """Return how the other side finds the main module: its name, or else its file."""
    module = sys.modules["__main__"]
    spec = getattr(module, "__spec__", None)
    return (None if spec is None else spec.name), getattr(module, "__file__", None)


def set_main(name: str | None, path: str | None) -> None:
    """On the other side: keep what `describe_main` has returned."""
    global _main  # noqa: PLW0603  # there is one main module in an interpreter
    _main = (name, path)


def pack(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Make a message of a call.

    Raises:
        TypeError: *func* is no function, or something of the call cannot be sent.
        RuntimeError: Here the main module is imported only for a function in it, and goes too far.
    """
    if _is_importing:
        raise RuntimeError(
            "the main module of the program is imported in a worker, for a function in it, and must "
            "not run the program there: put that behind if __name__ == '__main__'"
        )
    if not callable(func):
        raise TypeError(f"expected a function to call elsewhere, not {func!r}")
    try:
        return pickle.dumps((func, args, kwargs), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise TypeError(
            f"the call of {func!r} cannot be sent elsewhere: {error}; the function must stand in a "
            "module, not inside of another function, and its arguments must be picklable"
        ) from error


def perform(message: bytes) -> bytes:
    """On the other side: make a call, and make a message of its outcome."""
    try:
        func, args, kwargs = _CallUnpickler(io.BytesIO(message)).load()
        result = func(*args, **kwargs)
        if result.__class__ is CoroutineType:
            result.close()
            raise TypeError(f"{result.__qualname__}() is an async function: await it in the loop")
        return pickle.dumps((None, [], result), pickle.HIGHEST_PROTOCOL)
    except BaseException as error:
        return _dump_error(error)


def unpack(message: bytes) -> Any:
    """Return the result of the call, or raise its error."""
    error, notes, result = _ReplyUnpickler(io.BytesIO(message)).load()
    if error is None:
        return result
    try:
        error.__notes__ = notes
        raise error
    finally:
        del error


def _dump_error(error: BaseException) -> bytes:
    import traceback

    frames = traceback.format_tb(error.__traceback__)[1:]  # the first one is ours
    error.add_note("\n".join(["in another process or interpreter", *frames]).rstrip())
    notes = error.__notes__  # for some exceptions they are not pickled with the rest
    try:
        message = pickle.dumps((error, notes, None), pickle.HIGHEST_PROTOCOL)
        pickle.loads(message)  # many an exception can be packed but not unpacked
    except Exception:
        stand_in = RuntimeError(f"{type(error).__qualname__}: {error}")
        message = pickle.dumps((stand_in, notes, None), pickle.HIGHEST_PROTOCOL)
    return message


class _CallUnpickler(pickle.Unpickler):
    """Finds what stands in the main module of the program, and imports it only then."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "__main__" and _MAIN not in sys.modules:
            _import_main(*_main)
        return super().find_class(module, name)


class _ReplyUnpickler(pickle.Unpickler):
    """Finds what stands in the main module under the name that this has on the other side."""

    def find_class(self, module: str, name: str) -> Any:
        return super().find_class("__main__" if module == _MAIN else module, name)


def _import_main(name: str | None, path: str | None) -> None:
    import runpy

    global _is_importing  # noqa: PLW0603  # there is one main module in an interpreter
    _is_importing = True
    try:
        if name is not None and not name.endswith("__main__"):
            content = runpy.run_module(name, run_name=_MAIN, alter_sys=True)
        elif path is not None:
            content = runpy.run_path(path, run_name=_MAIN)
        else:
            raise ImportError("the main module was typed in and cannot be imported")
    finally:
        _is_importing = False
    module = ModuleType(_MAIN)
    vars(module).update(content)
    sys.modules["__main__"] = sys.modules[_MAIN] = module
