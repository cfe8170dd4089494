# SPDX-License-Identifier: Apache-2.0
"""Seeing what a program does.

- `print_tree` shows all tasks and what they wait for; `dump_on_signal` does so when a signal comes, and
  a `Monitor` for whoever asks from another terminal, with ``python -m giambio tree PID``;
- `PrintDebugger` and `LogDebugger` tell every event, `ChromeTracer` draws them on a time line;
- `SlowStepWatchdog` and `BusyWaitDetector` find tasks that keep others from running;
- `find_deadlocks` and `DeadlockDetector` find tasks that wait for each other while others go on;
- `BaseDebugger` is what to build a debugger of one's own on.
"""

from __future__ import annotations

from ._base import BaseDebugger as BaseDebugger
from ._busywait import BusyTask as BusyTask
from ._busywait import BusyWaitDetector as BusyWaitDetector
from ._deadlocks import Blocked as Blocked
from ._deadlocks import Deadlock as Deadlock
from ._deadlocks import DeadlockDetector as DeadlockDetector
from ._deadlocks import find_deadlocks as find_deadlocks
from ._monitor import Monitor as Monitor
from ._narrator import LogDebugger as LogDebugger
from ._narrator import PrintDebugger as PrintDebugger
from ._signal import SignalDump as SignalDump
from ._signal import dump_on_signal as dump_on_signal
from ._trace import ChromeTracer as ChromeTracer
from ._tree import format_tree as format_tree
from ._tree import print_tree as print_tree
from ._watchdog import SlowStep as SlowStep
from ._watchdog import SlowStepWatchdog as SlowStepWatchdog

# Tracebacks, reprs and pickles show where a name is public, not the file that it lives in.
for _name in [name for name in globals() if not name.startswith("_")]:
    if str(getattr(globals()[_name], "__module__", "")).startswith(__name__ + "._"):
        globals()[_name].__module__ = __name__
del _name
