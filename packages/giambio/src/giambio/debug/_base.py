# SPDX-License-Identifier: Apache-2.0
"""The base class of debuggers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from giambio_kernel import Task


class BaseDebugger:
    """Is told what happens in a run. All methods do nothing; override those of interest.

    An instance is passed to ``run(debugger=...)``. A method that raises is reported on standard error
    and the debugger removed; the program goes on.
    """

    def on_start(self) -> None:
        """The run begins; the main task has not run yet."""

    def on_exit(self) -> None:
        """The run has ended; no task will run any more."""

    def on_task_schedule(self, task: Task[Any], delay: float) -> None:
        """A task was spawned that will start some time from now (see `Pool.spawn_after`).

        Args:
            task: The task.
            delay: In how many seconds.
        """

    def on_task_spawn(self, task: Task[Any]) -> None:
        """A task was spawned. The main task is not told of: it is there from the start."""

    def on_task_exit(self, task: Task[Any]) -> None:
        """A task has ended. In its last step this takes the place of `after_task_step`."""

    def before_task_step(self, task: Task[Any]) -> None:
        """A task is about to run, until it waits, gives way or ends."""

    def after_task_step(self, task: Task[Any]) -> None:
        """A task has run, and has not ended."""

    def before_sleep(self, task: Task[Any], seconds: float) -> None:
        """A task has gone to sleep in the step that has just ended.

        Args:
            task: The task.
            seconds: How long it means to sleep.
        """

    def after_sleep(self, task: Task[Any], seconds: float) -> None:
        """A task has slept to the end, and will run when its turn comes.

        Args:
            task: The task.
            seconds: How long it has slept.
        """

    def before_io(self, timeout: float) -> None:
        """The loop is about to look whether descriptors are ready.

        Args:
            timeout: How long it will wait for that, in seconds; ``inf`` if until there is one.
        """

    def after_io(self, timeout: float) -> None:
        """The loop has looked whether descriptors are ready.

        Args:
            timeout: How long it might have waited for that, in seconds.
        """

    def before_cancel(self, task: Task[Any]) -> None:
        """A cancellation has reached a task: its checkpoints raise from now on."""

    def after_cancel(self, task: Task[Any]) -> None:
        """A cancellation has done its work: a scope in the task has caught it, or the task ended."""

    def on_exception_raised(self, task: Task[Any], exc: BaseException) -> None:
        """A task has ended with an exception; `on_task_exit` follows.

        Args:
            task: The task.
            exc: The exception.
        """
