# SPDX-License-Identifier: Apache-2.0
"""The example of a primitive of one's own keeps the rules for primitives."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

import giambio
from giambio.testing import cancel_sweep

PATH = Path(__file__).resolve().parent.parent / "examples" / "primitives" / "latch.py"


@pytest.fixture(scope="module")
def latch():
    spec = importlib.util.spec_from_file_location("latch", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["latch"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["latch"]


def test_it_opens_when_all_have_arrived(latch, capsys):
    giambio.run(latch.main)
    assert capsys.readouterr().out.splitlines() == [
        "tortoise is ready",
        "hare is ready",
        "hare runs",  # it had not to wait
        "tortoise runs",
    ]


def test_it_can_be_cancelled_anywhere(latch):
    assert cancel_sweep(latch.main).checkpoints >= 2


def test_a_latch_that_nobody_opens_is_seen_in_the_report(latch):
    with pytest.raises(giambio.DeadlockError, match="<Latch, 1 missing>"):
        giambio.run(latch.Latch(1).wait)
