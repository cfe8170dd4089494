# SPDX-License-Identifier: Apache-2.0
"""A customer gives up in the middle of the payment, and the seat is gone."""

import giambio
from giambio.testing import SweepFailure, cancel_sweep

seats, tickets = [], {}


async def buy(customer):
    seat = seats.pop()
    await giambio.sleep(1)  # the payment
    tickets[customer] = seat


async def one_customer():
    seats[:] = ["12A"]
    tickets.clear()
    await buy("Ada")


def every_seat_is_free_or_sold():
    assert len(seats) + len(tickets) == 1, "a seat is lost"


if __name__ == "__main__":
    try:
        print(cancel_sweep(one_customer, check=every_seat_is_free_or_sold))
    except SweepFailure as failure:
        print(failure)
