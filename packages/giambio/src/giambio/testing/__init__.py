# SPDX-License-Identifier: Apache-2.0
"""Aids for tests."""

from __future__ import annotations

from giambio_kernel import VirtualClock as VirtualClock
from giambio_kernel import wait_all_tasks_blocked as wait_all_tasks_blocked

from ._checkpoints import assert_checkpoints as assert_checkpoints
from ._checkpoints import assert_no_checkpoints as assert_no_checkpoints
from ._sequencer import Sequencer as Sequencer
from ._sweep import Phase as Phase
from ._sweep import SweepFailure as SweepFailure
from ._sweep import SweepPoint as SweepPoint
from ._sweep import SweepReport as SweepReport
from ._sweep import cancel_sweep as cancel_sweep
