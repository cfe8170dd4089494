# SPDX-License-Identifier: Apache-2.0
"""What a task says of itself when it waits for another one."""

from __future__ import annotations

from giambio_kernel import checkpoint, spawn_task


def test_tasks_that_wait_for_each_other_can_be_shown(run):
    async def wait_for_the_other(tasks, other):
        await tasks[other].join()

    async def main():
        tasks = []
        tasks += [spawn_task(wait_for_the_other, tasks, other) for other in (1, 0)]
        await checkpoint()
        await checkpoint()
        try:
            return repr(tasks[0])
        finally:
            tasks[0].cancel()
            tasks[1].cancel()

    assert "'wait_for_the_other' waiting on" in run(main)
