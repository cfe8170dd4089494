# SPDX-License-Identifier: Apache-2.0
"""Asynchronous Python: structured, cancellable, fast, and without dependencies.

In reading order:

- a program hands its main function to `run`;
- `create_pool` makes a block in which tasks are spawned, and which ends when they have ended;
- `with_timeout` and `skip_after` bound the time of a block;
- tasks talk through events, locks, queues and channels, and to the world through `giambio.socket`.

What needs slow imports of the standard library is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

from giambio_kernel import AsyncScheduler as AsyncScheduler
from giambio_kernel import CancelScope as CancelScope
from giambio_kernel import Task as Task
from giambio_kernel import TaskState as TaskState
from giambio_kernel import checkpoint as checkpoint
from giambio_kernel import current_effective_deadline as current_effective_deadline
from giambio_kernel import current_task as current_task
from giambio_kernel import interrupt_free_packages as _interrupt_free_packages
from giambio_kernel import siblings as siblings
from giambio_kernel import sleep as sleep
from giambio_kernel import sleep_forever as sleep_forever
from giambio_kernel import sleep_until as sleep_until

from . import exceptions as exceptions
from ._pool import Pool as Pool
from ._pool import TaskStatus as TaskStatus
from ._pool import create_pool as create_pool
from ._run import EventLoop as EventLoop
from ._run import clock as clock
from ._run import run as run
from ._run import spawn as spawn
from ._timeouts import skip_after as skip_after
from ._timeouts import skip_at as skip_at
from ._timeouts import with_timeout as with_timeout
from ._timeouts import with_timeout_at as with_timeout_at
from .exceptions import CancelledError as CancelledError
from .exceptions import ConnectionBroken as ConnectionBroken
from .exceptions import DeadlockError as DeadlockError
from .exceptions import EndOfChannel as EndOfChannel
from .exceptions import GiambioError as GiambioError
from .exceptions import ResourceBroken as ResourceBroken
from .exceptions import ResourceBusy as ResourceBusy
from .exceptions import ResourceClosed as ResourceClosed
from .exceptions import TaskCancelled as TaskCancelled
from .exceptions import TooSlowError as TooSlowError
from .exceptions import WouldBlock as WouldBlock

if TYPE_CHECKING:
    from . import debug as debug
    from . import from_thread as from_thread
    from . import hosting as hosting
    from . import lowlevel as lowlevel
    from . import socket as socket
    from . import testing as testing
    from ._channels.blocking_side import BlockingSide as BlockingSide
    from ._channels.broadcast import Broadcast as Broadcast
    from ._channels.generators import GeneratorChannel as GeneratorChannel
    from ._channels.generators import as_channel as as_channel
    from ._channels.memory import ReceiveChannel as ReceiveChannel
    from ._channels.memory import SendChannel as SendChannel
    from ._channels.memory import open_memory_channel as open_memory_channel
    from ._channels.ordered_queues import LifoQueue as LifoQueue
    from ._channels.ordered_queues import PriorityQueue as PriorityQueue
    from ._channels.queues import Queue as Queue
    from ._channels.select import Selected as Selected
    from ._channels.select import after as after
    from ._channels.select import merge as merge
    from ._channels.select import select as select
    from ._channels.select import sending as sending
    from ._channels.subscription import Subscription as Subscription
    from ._channels.thread_queue import ThreadQueue as ThreadQueue
    from ._combine import amap as amap
    from ._combine import as_completed as as_completed
    from ._combine import gather as gather
    from ._combine import race as race
    from ._files.file import AsyncFile as AsyncFile
    from ._files.file import open_file as open_file
    from ._files.file import wrap_file as wrap_file
    from ._files.path import Path as Path
    from ._files.pipes import PipeReceiveStream as PipeReceiveStream
    from ._files.pipes import PipeSendStream as PipeSendStream
    from ._files.pipes import open_pipe as open_pipe
    from ._files.stdio import StandardInput as StandardInput
    from ._files.stdio import StandardOutput as StandardOutput
    from ._files.stdio import open_stderr as open_stderr
    from ._files.stdio import open_stdin as open_stdin
    from ._files.stdio import open_stdout as open_stdout
    from ._files.temporary import TemporaryDirectory as TemporaryDirectory
    from ._files.temporary import open_temporary_file as open_temporary_file
    from ._net.server import Server as Server
    from ._net.server import serve_listeners as serve_listeners
    from ._net.tcp import connect_tcp as connect_tcp
    from ._net.tcp import open_tcp_listeners as open_tcp_listeners
    from ._net.tcp import serve_tcp as serve_tcp
    from ._net.udp import UDPConnection as UDPConnection
    from ._net.udp import UDPEndpoint as UDPEndpoint
    from ._net.udp import connect_udp as connect_udp
    from ._net.udp import open_udp_endpoint as open_udp_endpoint
    from ._net.unix import connect_unix as connect_unix
    from ._net.unix import open_unix_listener as open_unix_listener
    from ._net.unix import serve_unix as serve_unix
    from ._policies import Tick as Tick
    from ._policies import cleanup as cleanup
    from ._policies import every as every
    from ._processes.process import Process as Process
    from ._processes.process import open_process as open_process
    from ._processes.run import ProcessFailed as ProcessFailed
    from ._processes.run import run_process as run_process
    from ._retry import Attempt as Attempt
    from ._retry import exponential as exponential
    from ._retry import retry as retry
    from ._signals import SignalReceiver as SignalReceiver
    from ._signals import open_signal_receiver as open_signal_receiver
    from ._sockets.tls_socket import TLSSocket as TLSSocket
    from ._streams.buffered import BufferedStream as BufferedStream
    from ._streams.framing import DelimitedStream as DelimitedStream
    from ._streams.framing import LengthPrefixedStream as LengthPrefixedStream
    from ._streams.protocols import HalfCloseableStream as HalfCloseableStream
    from ._streams.protocols import ReceiveStream as ReceiveStream
    from ._streams.protocols import SendStream as SendStream
    from ._streams.protocols import StapledStream as StapledStream
    from ._streams.protocols import Stream as Stream
    from ._streams.text import TextStream as TextStream
    from ._sync.barrier import Barrier as Barrier
    from ._sync.condition import Condition as Condition
    from ._sync.event import Event as Event
    from ._sync.limiter import CapacityLimiter as CapacityLimiter
    from ._sync.lock import Lock as Lock
    from ._sync.ratelimit import RateLimit as RateLimit
    from ._sync.rwlock import RWLock as RWLock
    from ._sync.semaphore import Semaphore as Semaphore
    from ._sync.value import Value as Value
    from ._threads.calls import default_thread_limiter as default_thread_limiter
    from ._threads.calls import run_in_thread as run_in_thread
    from ._threads.futures import await_future as await_future
    from ._threads.portal import Portal as Portal
    from ._threads.portal import open_portal as open_portal
    from ._tls.stream import TLSStream as TLSStream
    from ._workers.blocking_portal import start_blocking_portal as start_blocking_portal
    from ._workers.in_interpreter import default_interpreter_limiter as default_interpreter_limiter
    from ._workers.in_interpreter import run_in_interpreter as run_in_interpreter
    from ._workers.in_process import default_process_limiter as default_process_limiter
    from ._workers.in_process import run_in_process as run_in_process
    from .socket import AsyncSocket as AsyncSocket
    from .socket import wrap_socket as wrap_socket

__version__ = "0.1.0"

_LAZY = {
    "after": "_channels.select",
    "amap": "_combine",
    "as_channel": "_channels.generators",
    "as_completed": "_combine",
    "AsyncFile": "_files.file",
    "AsyncSocket": "socket",
    "Attempt": "_retry",
    "await_future": "_threads.futures",
    "Barrier": "_sync.barrier",
    "BlockingSide": "_channels.blocking_side",
    "Broadcast": "_channels.broadcast",
    "BufferedStream": "_streams.buffered",
    "CapacityLimiter": "_sync.limiter",
    "cleanup": "_policies",
    "Condition": "_sync.condition",
    "connect_tcp": "_net.tcp",
    "connect_udp": "_net.udp",
    "connect_unix": "_net.unix",
    "debug": "",
    "default_interpreter_limiter": "_workers.in_interpreter",
    "default_process_limiter": "_workers.in_process",
    "default_thread_limiter": "_threads.calls",
    "DelimitedStream": "_streams.framing",
    "Event": "_sync.event",
    "every": "_policies",
    "exponential": "_retry",
    "from_thread": "",
    "gather": "_combine",
    "GeneratorChannel": "_channels.generators",
    "HalfCloseableStream": "_streams.protocols",
    "hosting": "",
    "LengthPrefixedStream": "_streams.framing",
    "LifoQueue": "_channels.ordered_queues",
    "Lock": "_sync.lock",
    "lowlevel": "",
    "merge": "_channels.select",
    "open_file": "_files.file",
    "open_memory_channel": "_channels.memory",
    "open_pipe": "_files.pipes",
    "open_portal": "_threads.portal",
    "open_process": "_processes.process",
    "open_signal_receiver": "_signals",
    "open_stderr": "_files.stdio",
    "open_stdin": "_files.stdio",
    "open_stdout": "_files.stdio",
    "open_tcp_listeners": "_net.tcp",
    "open_temporary_file": "_files.temporary",
    "open_udp_endpoint": "_net.udp",
    "open_unix_listener": "_net.unix",
    "Path": "_files.path",
    "PipeReceiveStream": "_files.pipes",
    "PipeSendStream": "_files.pipes",
    "Portal": "_threads.portal",
    "PriorityQueue": "_channels.ordered_queues",
    "Process": "_processes.process",
    "ProcessFailed": "_processes.run",
    "Queue": "_channels.queues",
    "race": "_combine",
    "RateLimit": "_sync.ratelimit",
    "ReceiveChannel": "_channels.memory",
    "ReceiveStream": "_streams.protocols",
    "retry": "_retry",
    "run_in_interpreter": "_workers.in_interpreter",
    "run_in_process": "_workers.in_process",
    "run_in_thread": "_threads.calls",
    "run_process": "_processes.run",
    "RWLock": "_sync.rwlock",
    "select": "_channels.select",
    "Selected": "_channels.select",
    "Semaphore": "_sync.semaphore",
    "SendChannel": "_channels.memory",
    "sending": "_channels.select",
    "SendStream": "_streams.protocols",
    "serve_listeners": "_net.server",
    "serve_tcp": "_net.tcp",
    "serve_unix": "_net.unix",
    "Server": "_net.server",
    "SignalReceiver": "_signals",
    "socket": "",
    "StandardInput": "_files.stdio",
    "StandardOutput": "_files.stdio",
    "StapledStream": "_streams.protocols",
    "start_blocking_portal": "_workers.blocking_portal",
    "Stream": "_streams.protocols",
    "Subscription": "_channels.subscription",
    "TemporaryDirectory": "_files.temporary",
    "testing": "",
    "TextStream": "_streams.text",
    "ThreadQueue": "_channels.thread_queue",
    "Tick": "_policies",
    "TLSSocket": "_sockets.tls_socket",
    "TLSStream": "_tls.stream",
    "UDPConnection": "_net.udp",
    "UDPEndpoint": "_net.udp",
    "Value": "_sync.value",
    "wrap_file": "_files.file",
    "wrap_socket": "socket",
}


if not TYPE_CHECKING:  # to a checker every misspelled name would exist

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = _LAZY[name]
        if home:
            value = getattr(_import_module(f"{__name__}.{home}"), name)
            _show_as_public(value)
        else:
            value = _import_module(f"{__name__}.{name}")
        globals()[name] = value  # the next time it is found without this function
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


# Ctrl+C does not tear the library apart; see `giambio_kernel`.
_interrupt_free_packages.add(__name__)


def _show_as_public(value: _Any) -> None:
    """Let tracebacks, reprs and pickles show where a name is public, not the file it lives in."""
    if str(getattr(value, "__module__", "")).startswith(__name__ + "._"):
        value.__module__ = __name__


for _name in [name for name in globals() if not name.startswith("_")]:
    _show_as_public(globals()[_name])
del _name
