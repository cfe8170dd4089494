# SPDX-License-Identifier: Apache-2.0
"""What reaches outside of the program is refused in a simulated run, and told by its name."""

from __future__ import annotations

import os
import signal

import pytest

import giambio
from giambio.testing import EscapedSimulation, explore


async def receive_a_signal():
    with giambio.open_signal_receiver(signal.SIGTERM):
        pass


async def start_a_process():
    await giambio.run_process(["true"])


async def call_in_a_process():
    await giambio.run_in_process(os.getpid)


async def call_in_an_interpreter():
    await giambio.run_in_interpreter(os.getpid)


async def use_a_pipe():
    send, receive = giambio.open_pipe()
    async with send, receive:
        await send.send_all(b"x")


async def use_standard_input():
    giambio.open_stdin()


async def let_a_thread_in():
    async with giambio.open_portal():
        pass


@pytest.mark.parametrize(
    ("program", "what"),
    [
        (receive_a_signal, "receiving signals"),
        (start_a_process, "starting a process"),
        (call_in_a_process, "calling a function in a process"),
        (call_in_an_interpreter, "calling a function in another interpreter"),
        (use_a_pipe, "using a pipe"),
        (use_standard_input, "using standard input or output"),
        (let_a_thread_in, "letting other threads in"),
    ],
)
def test_it_is_refused(program, what):
    with pytest.raises(EscapedSimulation, match=what):
        explore(program, runs=1)
