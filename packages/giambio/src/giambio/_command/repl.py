# SPDX-License-Identifier: Apache-2.0
"""The prompt: Python's own, with top-level ``await``, and tasks that run while one types.

The loop runs in a thread of its own, and the prompt in the main thread, where Ctrl+C arrives: at the
prompt it clears the line, and while something is awaited it cancels that. What is typed runs in a task
of the loop, one after the other in the same context, so context variables keep what they are set to.
"""

from __future__ import annotations

import ast
import code
import os
import queue
import signal
import sys
import threading
import traceback
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NoReturn

from giambio._pool import Pool
from giambio.debug._tree import print_tree
from giambio.debug._view import place_of, running_stack
from giambio_kernel import (
    AsyncScheduler,
    CancelledError,
    Task,
    TaskState,
    current_task,
    sleep_forever,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from types import CodeType, FrameType

_HISTORY = "~/.giambio_history"
_HISTORY_LENGTH = 2000
# In seconds.
_LONGEST_WAIT = 0.5


_LOOP_ENDED = SystemExit(1)


class _Background(Pool):
    """The tasks that were spawned at the prompt. If one fails, that is shown, and the others go on."""

    __slots__ = ()

    def on_task_done(self, task: Task[Any], error: BaseException | None) -> None:
        if error is not None:
            text = "".join(traceback.format_exception(error))
            print(f"task {task.name!r} has failed:\n{text}", file=sys.stderr, end="")
        super().on_task_done(task, None)


class _Loop(AsyncScheduler):
    """A loop that survives the tasks of its root pool: there, what is spawned goes into another one."""

    background: Pool | None = None

    def spawn(self, fn: Any, *args: Any, **options: Any) -> Task[Any]:
        if options.get("scope") is None:
            options["scope"] = self.background
        return super().spawn(fn, *args, **options)


class Prompt(code.InteractiveConsole):
    """A prompt. `interact` shows it until the user has had enough."""

    def __init__(self) -> None:
        import giambio

        namespace: dict[str, Any] = {
            "__name__": "__main__",
            "giambio": giambio,
            "tree": _tree,
        }
        super().__init__(namespace)
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self._namespace = namespace
        self._context: Context = copy_context()
        self._loop = _Loop()
        # How what was typed last has ended: None, or an error.
        self._outcomes: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._task: Task[None] | None = None
        # How often Ctrl+C was pressed since it began.
        self._interrupts = 0
        # What the loop itself has failed with.
        self._failure: BaseException | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run_loop, name="giambio loop", daemon=True)

    # In the main thread

    def __enter__(self) -> Prompt:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._call_soon(self._stop)
        self._thread.join()

    def interact(self, banner: str | None = None, exitmsg: str | None = "") -> int:  # type: ignore[override]
        """Read, run and show, until the end of the input or ``exit()``.

        Args:
            banner: What to show first; a line about the versions if omitted.
            exitmsg: What to show at the end.

        Returns:
            The exit status.
        """
        if banner is None:
            banner = _banner()
        forget_history = _remember_history(self._namespace)
        try:
            with self:
                super().interact(banner, exitmsg)
        except SystemExit as stop:
            if stop.code is None or isinstance(stop.code, int):
                return stop.code or 0
            print(stop.code, file=sys.stderr)
            return 1
        finally:
            forget_history()
        return 0

    def runcode(self, code: CodeType) -> None:
        """Run what was typed in the loop, and wait for its end."""
        error = self._wait(code)
        if error is _LOOP_ENDED:
            self._give_up()
        if isinstance(error, SystemExit):
            raise error
        if isinstance(error, CancelledError | KeyboardInterrupt):
            self.write("\nKeyboardInterrupt\n")
        elif error is not None:
            self._show(error)

    def _wait(self, code: CodeType) -> BaseException | None:
        """Run what was typed, and return how it has ended. Until then, Ctrl+C is meant for that."""
        self._interrupts = 0
        before = signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            if not self._call_soon(self._start_task, code):
                return _LOOP_ENDED
            while True:
                try:
                    # Not for ever: Python overlooks a signal that comes just before it waits.
                    return self._outcomes.get(timeout=_LONGEST_WAIT)
                except queue.Empty:
                    pass
        finally:
            signal.signal(signal.SIGINT, before)

    def _on_interrupt(self, signum: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts == 1:
            self._call_soon(self._cancel_task)
        else:
            # The loop is in a step that does not end, so it does not get to cancel anything.
            _interrupt_step(self._task, self._thread.ident)

    def _give_up(self) -> NoReturn:
        self._thread.join()
        self.write("the loop has ended\n")
        if self._failure is not None:
            self._show(self._failure)
        raise SystemExit(1)

    def _show(self, error: BaseException) -> None:
        # Ours are the frames above those of the code that was typed.
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
        self.write("".join(traceback.format_exception(type(error), error, trace)))

    def _call_soon(self, fn: Callable[..., object], *args: Any) -> bool:
        try:
            self._loop.call_soon_threadsafe(fn, *args)
        except RuntimeError:
            return False
        return True

    # In the thread of the loop

    def _run_loop(self) -> None:
        try:
            self._loop.start(self._serve)
        except BaseException as error:
            self._failure = error
        self._started.set()
        self._outcomes.put(_LOOP_ENDED)  # somebody may be waiting

    async def _serve(self) -> None:
        current_task().name = "background"
        async with _Background() as pool:
            self._loop.background = pool
            self._started.set()
            await sleep_forever()

    def _stop(self) -> None:
        if self._loop.background is not None:
            self._loop.background.cancel("the prompt was left")

    def _start_task(self, code: CodeType) -> None:
        # Otherwise the loop is about to end, which will be told.
        if self._loop.background is not None and self._loop.background.accepts_tasks:
            self._task = self._loop.spawn(
                self._evaluate, code, context=self._context, name="prompt"
            )

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel("Ctrl+C")

    async def _evaluate(self, code: CodeType) -> None:
        try:
            value = eval(code, self._namespace)
            if isinstance(value, CoroutineType):
                await value
        except BaseException as error:
            self._outcomes.put(error)
            if isinstance(error, CancelledError):
                raise
        else:
            self._outcomes.put(None)


def _tree(*, stacks: bool = False) -> None:
    """Print all tasks. With *stacks*, add the stack of each."""
    print_tree(file=sys.stdout, stacks=stacks)


def _interrupt_step(task: Task[Any] | None, thread: int | None) -> None:
    """Raise `KeyboardInterrupt` in the step that *task* is in, if that is in code of its own."""
    if task is None or task.state is not TaskState.RUNNING:
        return
    import ctypes

    found = running_stack(task)
    if found is not None and place_of(found[1][-1]).own:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread or 0), ctypes.py_object(KeyboardInterrupt)
        )


def _banner() -> str:
    import giambio

    version = sys.version.partition(" ")[0]
    return (
        f"giambio {giambio.__version__}, Python {version} on {sys.platform}\n"
        "Use 'await' here as in an async function; giambio.spawn(f) runs while you type; tree() shows "
        "all tasks."
    )


def _remember_history(namespace: dict[str, Any]) -> Callable[[], None]:
    """Set up editing, completion and history. Returns what saves the history."""
    try:
        import readline
        import rlcompleter
    except ImportError:
        return lambda: None
    libedit = "libedit" in (readline.__doc__ or "")
    readline.set_completer(rlcompleter.Completer(namespace).complete)
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
    path = os.path.expanduser(_HISTORY)
    try:
        readline.read_history_file(path)
    except OSError:
        pass  # there is none yet

    def save() -> None:
        readline.set_history_length(_HISTORY_LENGTH)
        try:
            readline.write_history_file(path)
        except OSError:
            pass  # a home that cannot be written to

    return save
