# SPDX-License-Identifier: Apache-2.0
"""Aids for tests."""

from __future__ import annotations

from giambio_kernel import VirtualClock as VirtualClock
from giambio_kernel import wait_all_tasks_blocked as wait_all_tasks_blocked
