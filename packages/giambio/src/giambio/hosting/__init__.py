# SPDX-License-Identifier: Apache-2.0
"""Loops inside of others: driven by hand, by a frame loop, by Tk, by asyncio, or by a task.

In reading order:

- `run_for` makes passes for a part of a frame; `seconds_to_wait` says how long a loop of one's own may
  wait before it ticks again;
- `start_in` starts a run in a `Host`, a loop that calls back, and returns a `Hosted`;
- `AsyncioHost` and `TkHost` are hosts; another one is a class with four methods;
- `run_in_asyncio` is a coroutine of asyncio's that runs a function of ours, and `await_asyncio` awaits in
  it what belongs to asyncio;
- `run_inside` is a run inside of a run, in the same thread.
"""

from __future__ import annotations

from ._asyncio import await_asyncio as await_asyncio
from ._asyncio import run_in_asyncio as run_in_asyncio
from ._hosted import Hosted as Hosted
from ._hosted import start_in as start_in
from ._hosts import AsyncioHost as AsyncioHost
from ._hosts import Host as Host
from ._hosts import TkHost as TkHost
from ._inside import run_inside as run_inside
from ._pace import run_for as run_for
from ._pace import seconds_to_wait as seconds_to_wait
