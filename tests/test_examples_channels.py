# SPDX-License-Identifier: Apache-2.0
"""The examples for queues, channels and broadcasts, on a virtual clock and with cancellations."""

from __future__ import annotations

import importlib.util
import itertools
import random
import sys
from pathlib import Path

import pytest

import giambio
from giambio.testing import VirtualClock, cancel_sweep

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture
def load():
    """Return a function that imports an example without running its main part."""
    loaded = []

    def load(name):
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # its classes look for their module
        loaded.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in loaded:
        del sys.modules[name]


def run(*args):
    return giambio.run(*args, clock=VirtualClock())


def test_a_slow_consumer_gets_larger_batches_and_every_reading(load):
    batches = run(load("producer_consumer").main, 100)
    assert list(itertools.chain(*batches)) == [20 + number % 5 / 10 for number in range(100)]
    assert max(map(len, batches)) > len(batches[0])


def test_workers_take_jobs_one_by_one_and_each_job_has_a_result(load):
    taken = []

    def addresses():
        for i in range(12):
            taken.append(i)
            yield ("good", "shaky", "broken")[i % 3] + str(i)

    pages = run(load("worker_pool").main, addresses(), 3)
    assert len(pages) == 12
    assert [page.address[:6] for page in pages if page.error] == ["broken"] * 4
    assert all(page.size == len(page.address) for page in pages if not page.error)


def test_a_job_is_taken_on_only_when_a_worker_has_time(load):
    taken = 0

    def addresses():
        nonlocal taken
        while True:
            taken += 1
            yield "good"

    async def main():
        with giambio.skip_after(1.05):  # ten rounds of a tenth of a second, and the one under way
            await load("worker_pool").main(addresses(), 3)

    run(main)
    assert taken == 3 * 11 + 1


def test_the_payments_of_an_account_stay_in_order(load):
    fan_out = load("fan_out")
    accounts = [f"account {number}" for number in range(6)]
    payments = [fan_out.Payment(random.choice(accounts), amount) for amount in range(60)]
    journal = run(fan_out.main, payments)
    for account in accounts:
        balance, expected = 0, []
        for payment in payments:
            if payment.account == account:
                balance += payment.amount
                expected.append((account, balance))
        assert [booked for booked in journal if booked.account == account] == expected


def test_everybody_listens_in_a_way_of_its_own(load):
    log = run(load("publish_subscribe").main, 100)
    total = sum(100 + number * 7 % 13 for number in range(100))
    assert "trader: broken off, 1 missed" in log
    assert f"ledger: everything, {total} in all" in log
    shown = next(line for line in log if line.startswith("display"))
    assert shown == "display: 11 shown, 89 left out"


def test_a_trader_who_keeps_up_hears_the_end(load):
    assert "trader: the exchange has closed" in run(load("publish_subscribe").main, 5)


def test_a_trader_notices_that_the_exchange_is_silent(load):
    example = load("publish_subscribe")

    async def main():
        log = []
        with giambio.Broadcast() as prices:
            await example.trader(prices.subscribe(10, overflow="error"), log)
        return log

    assert run(main) == ["trader: the exchange is silent"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("producer_consumer", (4,)),
        ("worker_pool", (["good", "shaky"], 2)),
        ("fan_out", ([("a", 1), ("b", 2), ("a", 3)], 2)),
        ("publish_subscribe", (3,)),
    ],
)
def test_they_can_be_cancelled_anywhere(load, name, arguments):
    example = load(name)
    if name == "fan_out":
        arguments = ([example.Payment(*payment) for payment in arguments[0]], arguments[1])
    assert cancel_sweep(example.main, *arguments).checkpoints >= 2
