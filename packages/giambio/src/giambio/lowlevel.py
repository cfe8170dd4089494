# SPDX-License-Identifier: Apache-2.0
"""What one needs to build primitives of one's own, and libraries on them.

Most of it is public in `giambio_kernel`; it stands here so that a program needs one import only. The rest is
what a primitive needs so that `giambio.select` can wait for it: a method ``select_case()`` that returns a
`Case`, and a call of `settle` before it unparks.
"""

from __future__ import annotations

from giambio_kernel import PARKED as PARKED
from giambio_kernel import CancelScope as CancelScope
from giambio_kernel import HasWaitQueue as HasWaitQueue
from giambio_kernel import IOHandle as IOHandle
from giambio_kernel import Request as Request
from giambio_kernel import Signal as Signal
from giambio_kernel import Task as Task
from giambio_kernel import TaskState as TaskState
from giambio_kernel import Trap as Trap
from giambio_kernel import WaitQueue as WaitQueue
from giambio_kernel import Wakeup as Wakeup
from giambio_kernel import break_all as break_all
from giambio_kernel import checkpoint as checkpoint
from giambio_kernel import checkpoint_due as checkpoint_due
from giambio_kernel import checkpoint_if_cancelled as checkpoint_if_cancelled
from giambio_kernel import current_effective_deadline as current_effective_deadline
from giambio_kernel import current_scheduler as current_scheduler
from giambio_kernel import current_task as current_task
from giambio_kernel import enqueue as enqueue
from giambio_kernel import notify_closing as notify_closing
from giambio_kernel import open_handle as open_handle
from giambio_kernel import outcome as outcome
from giambio_kernel import park as park
from giambio_kernel import replenish as replenish
from giambio_kernel import reschedule as reschedule
from giambio_kernel import running as running
from giambio_kernel import shielded_checkpoint as shielded_checkpoint
from giambio_kernel import spawn_task as spawn_task
from giambio_kernel import suspend as suspend
from giambio_kernel import touch_all as touch_all
from giambio_kernel import trap as trap
from giambio_kernel import unpark as unpark
from giambio_kernel import unpark_all as unpark_all
from giambio_kernel import wait_all_tasks_blocked as wait_all_tasks_blocked
from giambio_kernel import wait_readable as wait_readable
from giambio_kernel import wait_writable as wait_writable
from giambio_kernel import wake as wake

from ._selection import Case as Case
from ._selection import selecting as selecting
from ._selection import settle as settle
from ._selection import settle_all as settle_all
from ._selection import settle_task as settle_task
