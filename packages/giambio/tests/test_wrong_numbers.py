# SPDX-License-Identifier: Apache-2.0
"""What is given in place of a number is refused at once, by the name that the program knows."""

from __future__ import annotations

import pytest

import giambio
from giambio import debug, hosting


@pytest.mark.parametrize("wrong", ["1", [], 1j])
@pytest.mark.parametrize(
    ("use", "name"),
    [
        (giambio.CapacityLimiter, "total_tokens"),
        (giambio.open_memory_channel, "capacity"),
        (giambio.Broadcast, "capacity"),
        (giambio.RateLimit, "n"),
        (lambda wrong: giambio.RateLimit(1, per=wrong), "per"),
        (giambio.every, "period"),
        (lambda wrong: giambio.every(1, delay=wrong), "delay"),
        (giambio.cleanup, "timeout"),
        (giambio.with_timeout, "seconds"),
        (giambio.skip_at, "deadline"),
        (lambda wrong: giambio.create_pool(limit=wrong), "limit"),
        (lambda wrong: giambio.retry(tries=wrong), "tries"),
        (giambio.exponential, "first"),
        (debug.SlowStepWatchdog, "seconds"),
        (lambda wrong: hosting.run_for(giambio.AsyncScheduler(), wrong), "seconds"),
    ],
)
def test_what_is_no_number_is_refused_by_name(use, name, wrong):
    with pytest.raises(TypeError, match=f"{name} must be a number, not"):
        use(wrong)


def test_a_wrong_number_of_seconds_starts_no_task(run):
    async def main():
        async with giambio.create_pool() as pool:
            with pytest.raises(TypeError, match="seconds must be a number"):
                pool.spawn_after("1", giambio.sleep, 1)
            assert pool.tasks == ()

    run(main)
