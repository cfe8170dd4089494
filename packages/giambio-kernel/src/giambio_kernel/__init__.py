# SPDX-License-Identifier: Apache-2.0
"""The kernel of giambio: enough to write an asynchronous library on, and nothing more.

In reading order:

- a program hands its main function to an `AsyncScheduler`;
- a `Task` asks its loop for something by a trap (`traps`), the only places that yield;
- a `CancelScope` is a block that can be cancelled, by hand or by a deadline;
- clocks and pollers are passed in, and so is the policy that picks the next task.
"""

from __future__ import annotations

from . import traps as traps
from ._clock import Clock as Clock
from ._clock import SystemClock as SystemClock
from ._clock import VirtualClock as VirtualClock
from ._current import copy_context_outside as copy_context_outside
from ._current import current_scheduler as current_scheduler
from ._current import current_task as current_task
from ._current import get_running as get_running
from ._current import running as running
from ._errors import CancelledError as CancelledError
from ._errors import DeadlockError as DeadlockError
from ._errors import GiambioError as GiambioError
from ._errors import InternalError as InternalError
from ._errors import ResourceBusy as ResourceBusy
from ._errors import ResourceClosed as ResourceClosed
from ._errors import TaskCancelled as TaskCancelled
from ._errors import add_note as add_note
from ._errors import add_siblings as add_siblings
from ._errors import siblings as siblings
from ._hooks import Hooks as Hooks
from ._interrupt import interrupt_free_packages as interrupt_free_packages
from ._interrupt import package_of as package_of
from ._io import HasFileno as HasFileno
from ._io import IOHandle as IOHandle
from ._loop import Policy as Policy
from ._poller import Poller as Poller
from ._poller import SelectorPoller as SelectorPoller
from ._poller import default_poller as default_poller
from ._report import Snapshot as Snapshot
from ._report import TaskSnapshot as TaskSnapshot
from ._report import format_tree as format_tree
from ._report import number_of as number_of
from ._scheduler import AsyncScheduler as AsyncScheduler
from ._scope import CancelScope as CancelScope
from ._scope import TimedScope as TimedScope
from ._scope import current_effective_deadline as current_effective_deadline
from ._task import Task as Task
from ._task import TaskState as TaskState
from ._task import as_coroutine as as_coroutine
from ._task import not_async as not_async
from ._waitqueue import WaitQueue as WaitQueue
from ._waitqueue import break_all as break_all
from ._waitqueue import enqueue as enqueue
from ._waitqueue import outcome as outcome
from ._waitqueue import park as park
from ._waitqueue import touch_all as touch_all
from ._waitqueue import unpark as unpark
from ._waitqueue import unpark_all as unpark_all
from ._waitqueue import wake as wake
from ._wakeup import Wakeup as Wakeup
from .traps import PARKED as PARKED
from .traps import HasWaitQueue as HasWaitQueue
from .traps import Request as Request
from .traps import Signal as Signal
from .traps import Sleep as Sleep
from .traps import Trap as Trap
from .traps import checkpoint as checkpoint
from .traps import checkpoint_due as checkpoint_due
from .traps import checkpoint_if_cancelled as checkpoint_if_cancelled
from .traps import notify_closing as notify_closing
from .traps import open_handle as open_handle
from .traps import replenish as replenish
from .traps import reschedule as reschedule
from .traps import shielded_checkpoint as shielded_checkpoint
from .traps import sleep as sleep
from .traps import sleep_forever as sleep_forever
from .traps import sleep_until as sleep_until
from .traps import spawn_task as spawn_task
from .traps import suspend as suspend
from .traps import trap as trap
from .traps import wait_all_tasks_blocked as wait_all_tasks_blocked
from .traps import wait_readable as wait_readable
from .traps import wait_writable as wait_writable

__version__ = "0.1.0"

# Tracebacks, reprs and pickles show where a name is public, not the file that it lives in.
for _name in [name for name in globals() if not name.startswith("_")]:
    if str(getattr(globals()[_name], "__module__", "")).startswith(__name__ + "."):
        globals()[_name].__module__ = __name__
del _name
