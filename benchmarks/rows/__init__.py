# SPDX-License-Identifier: Apache-2.0
"""The rows, in the order of the table.

To add one, write a class and put it into the `ROWS` of its module.
"""

from __future__ import annotations

from benchmarks.row import Row
from benchmarks.rows import handing, memory, startup, tasks, threads, timing, wire

ROWS: dict[str, Row] = {
    row.key: row
    for module in (tasks, timing, handing, threads, memory, startup, wire)
    for row in module.ROWS
}
