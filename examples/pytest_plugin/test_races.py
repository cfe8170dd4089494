# SPDX-License-Identifier: Apache-2.0
"""Two mistakes that a test run once does not see. Both tests fail, as they should."""

from __future__ import annotations

import pytest

import giambio


class Account:
    """Has a balance that is kept elsewhere, so reading and writing it takes a while."""

    def __init__(self):
        self._balance = 0

    async def read(self):
        await giambio.sleep(0)
        return self._balance

    async def write(self, balance):
        await giambio.sleep(0)
        self._balance = balance


@pytest.fixture
def account():
    return Account()


# Some schedule


async def pay_in(account, amount):
    await account.write(await account.read() + amount)


async def pay_in_later(account, amount):
    for _ in range(3):
        await giambio.sleep(0)
    await pay_in(account, amount)


@pytest.mark.giambio(explore=1000)
async def test_payments_add_up(account):
    async with giambio.create_pool() as pool:
        pool.spawn(pay_in, account, 1)
        pool.spawn(pay_in_later, account, 2)
    assert await account.read() == 3


# Some cancellation


@pytest.mark.giambio(cancel_at="every checkpoint")
async def test_a_payment_can_be_given_up(account):
    lock = giambio.Lock()
    await lock.acquire()
    await pay_in(account, 1)
    lock.release()
