# SPDX-License-Identifier: Apache-2.0
"""The same work on giambio, on its peers, and on a loop written by hand. See README.md.

In reading order:

- `rows` has the lines of the table: small pieces of work, each done in every library;
- `bare` is the loop written by hand, the floor;
- `contenders` says who takes part, `worker` runs them in processes of their own, `wire` measures servers;
- `rounds` lets them take turns, `report` makes medians, ratios and tables of what came out.
"""

from __future__ import annotations

import os

# Where `python -m benchmarks` is started, and so are the processes that it starts.
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
