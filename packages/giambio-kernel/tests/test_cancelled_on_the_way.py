# SPDX-License-Identifier: Apache-2.0
"""A task that is cancelled while the cancellation of its scope is on its way to it."""

from __future__ import annotations

import pytest

from giambio_kernel import CancelScope, checkpoint, sleep, spawn_task, suspend


@pytest.mark.parametrize("in_a_scope_of_its_own", [False, True])
def test_it_is_told_although_another_one_cancels_it_first(run, in_a_scope_of_its_own):
    async def victim():
        if in_a_scope_of_its_own:
            with CancelScope():
                await sleep(1000)
        else:
            await sleep(1000)

    async def main():
        with CancelScope() as scope:
            task = spawn_task(victim, scope=scope)
            await checkpoint()
            spawn_task(cancel_later, scope)
            try:
                # Whoever is told first cancels the other one.
                await suspend(lambda waiter, error: task.cancel("not needed any more"))
            finally:
                with CancelScope(shield=True):
                    while not task.done():
                        await sleep(1)
        return task.cancelled()

    async def cancel_later(scope):
        scope.cancel()

    assert run(main)
