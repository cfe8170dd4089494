# SPDX-License-Identifier: Apache-2.0
"""Aids for tests: a clock that takes no time, a network that takes no cables, and every order of the tasks.

In reading order, for those who want to know how it works:

- a `World` is the loop of a run that is cut off from everything that could differ (`_world`);
- a `Program` is run in such a world again and again, and told what was wrong with it (`_program`), also
  by what it leaves behind (`_leftovers`) and leaves open (`_loose_ends`);
- `explore` gives each run another order (`_strategies`), writes the order of a failure down as "this step
  before that one" (`_trace`), leaves out what it does not need (`_shrink`), and says it in words
  (`_failure`, `_places`) and in a string (`_recipe`), from which `replay` gets it back;
- `cancel_sweep` gives each run another cancellation (`_sweep`, `_canceller`);
- a network in memory (`_network`, `_simulated_network`) has hosts (`_hosts`), packets on their way (`_wire`)
  and sockets (`_socket_table`, `_memory_socket`, `_stream_socket`).
"""

from __future__ import annotations

from giambio._simulation import EscapedSimulation as EscapedSimulation
from giambio_kernel import VirtualClock as VirtualClock
from giambio_kernel import wait_all_tasks_blocked as wait_all_tasks_blocked

from ._canceller import Phase as Phase
from ._canceller import SweepPoint as SweepPoint
from ._checkpoints import assert_checkpoints as assert_checkpoints
from ._checkpoints import assert_no_checkpoints as assert_no_checkpoints
from ._explore import NotDeterministic as NotDeterministic
from ._explore import explore as explore
from ._failure import Deviation as Deviation
from ._failure import ExplorationFailure as ExplorationFailure
from ._failure import Report as Report
from ._failure import Turn as Turn
from ._fault_proxy import Break as Break
from ._fault_proxy import Line as Line
from ._fault_proxy import serve_fault_proxy as serve_fault_proxy
from ._memory import MemoryReceiveStream as MemoryReceiveStream
from ._memory import MemorySendStream as MemorySendStream
from ._memory import memory_pipe as memory_pipe
from ._memory import memory_stream_pair as memory_stream_pair
from ._network import MemoryNetwork as MemoryNetwork
from ._places import Place as Place
from ._recipe import ReplayMismatch as ReplayMismatch
from ._replay import replay as replay
from ._sequencer import Sequencer as Sequencer
from ._simulate import simulate as simulate
from ._simulated_network import Fault as Fault
from ._simulated_network import SimulatedNetwork as SimulatedNetwork
from ._simulated_network import current_network as current_network
from ._sweep import SweepFailure as SweepFailure
from ._sweep import SweepReport as SweepReport
from ._sweep import cancel_sweep as cancel_sweep

# Tracebacks and reprs show where a name is public, not the file that it lives in.
for _name in [name for name in globals() if not name.startswith("_")]:
    _home = str(getattr(globals()[_name], "__module__", ""))
    if _home.startswith((__name__ + "._", "giambio._simulation")):
        globals()[_name].__module__ = __name__
del _name, _home
