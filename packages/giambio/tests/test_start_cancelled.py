# SPDX-License-Identifier: Apache-2.0
"""A task that is starting when its pool is cancelled."""

from __future__ import annotations

import giambio
from giambio.testing import wait_all_tasks_blocked


async def server(*, task_status):
    await giambio.sleep(1000)
    task_status.started()


def test_a_timeout_around_the_pool_stops_it(run):
    async def main():
        with giambio.skip_after(1) as scope:
            async with giambio.create_pool() as pool:
                await pool.start(server)
        assert scope.timed_out
        assert giambio.clock() == 1

    run(main)


def test_a_pool_further_out_stops_it(run):
    async def start():
        async with giambio.create_pool() as pool:
            await pool.start(server)

    async def main():
        async with giambio.create_pool() as pool:
            pool.spawn(start)
            await wait_all_tasks_blocked()
            pool.cancel()
        assert giambio.clock() == 0

    run(main)
