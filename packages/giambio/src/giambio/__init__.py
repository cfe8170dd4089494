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
from ._channels import ReceiveChannel as ReceiveChannel
from ._channels import SendChannel as SendChannel
from ._channels import open_memory_channel as open_memory_channel
from ._combine import amap as amap
from ._combine import as_completed as as_completed
from ._combine import gather as gather
from ._combine import race as race
from ._condition import Condition as Condition
from ._limiter import CapacityLimiter as CapacityLimiter
from ._pool import Pool as Pool
from ._pool import TaskStatus as TaskStatus
from ._pool import create_pool as create_pool
from ._queues import Queue as Queue
from ._run import EventLoop as EventLoop
from ._run import clock as clock
from ._run import run as run
from ._run import spawn as spawn
from ._semaphore import Semaphore as Semaphore
from ._sync import Event as Event
from ._sync import Lock as Lock
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
    from ._barrier import Barrier as Barrier
    from ._blocking import BlockingSide as BlockingSide
    from ._blocking_portal import start_blocking_portal as start_blocking_portal
    from ._bridge import ThreadQueue as ThreadQueue
    from ._broadcast import Broadcast as Broadcast
    from ._buffered import BufferedStream as BufferedStream
    from ._files import AsyncFile as AsyncFile
    from ._files import open_file as open_file
    from ._files import wrap_file as wrap_file
    from ._framing import DelimitedStream as DelimitedStream
    from ._framing import LengthPrefixedStream as LengthPrefixedStream
    from ._futures import await_future as await_future
    from ._generators import GeneratorChannel as GeneratorChannel
    from ._generators import as_channel as as_channel
    from ._ordered_queues import LifoQueue as LifoQueue
    from ._ordered_queues import PriorityQueue as PriorityQueue
    from ._path import Path as Path
    from ._pipes import PipeReceiveStream as PipeReceiveStream
    from ._pipes import PipeSendStream as PipeSendStream
    from ._pipes import open_pipe as open_pipe
    from ._policies import Tick as Tick
    from ._policies import cleanup as cleanup
    from ._policies import every as every
    from ._portal import Portal as Portal
    from ._portal import open_portal as open_portal
    from ._process import Process as Process
    from ._process import open_process as open_process
    from ._ratelimit import RateLimit as RateLimit
    from ._retry import Attempt as Attempt
    from ._retry import exponential as exponential
    from ._retry import retry as retry
    from ._run_in_interpreter import default_interpreter_limiter as default_interpreter_limiter
    from ._run_in_interpreter import run_in_interpreter as run_in_interpreter
    from ._run_in_process import default_process_limiter as default_process_limiter
    from ._run_in_process import run_in_process as run_in_process
    from ._run_process import ProcessFailed as ProcessFailed
    from ._run_process import run_process as run_process
    from ._rwlock import RWLock as RWLock
    from ._select import Selected as Selected
    from ._select import after as after
    from ._select import merge as merge
    from ._select import select as select
    from ._select import sending as sending
    from ._server import Server as Server
    from ._server import serve_listeners as serve_listeners
    from ._signals import SignalReceiver as SignalReceiver
    from ._signals import open_signal_receiver as open_signal_receiver
    from ._stdio import StandardInput as StandardInput
    from ._stdio import StandardOutput as StandardOutput
    from ._stdio import open_stderr as open_stderr
    from ._stdio import open_stdin as open_stdin
    from ._stdio import open_stdout as open_stdout
    from ._streams import HalfCloseableStream as HalfCloseableStream
    from ._streams import ReceiveStream as ReceiveStream
    from ._streams import SendStream as SendStream
    from ._streams import StapledStream as StapledStream
    from ._streams import Stream as Stream
    from ._subscription import Subscription as Subscription
    from ._tcp import connect_tcp as connect_tcp
    from ._tcp import open_tcp_listeners as open_tcp_listeners
    from ._tcp import serve_tcp as serve_tcp
    from ._temporary import TemporaryDirectory as TemporaryDirectory
    from ._temporary import open_temporary_file as open_temporary_file
    from ._text import TextStream as TextStream
    from ._threads import default_thread_limiter as default_thread_limiter
    from ._threads import run_in_thread as run_in_thread
    from ._tls import TLSStream as TLSStream
    from ._tls_socket import TLSSocket as TLSSocket
    from ._udp import UDPConnection as UDPConnection
    from ._udp import UDPEndpoint as UDPEndpoint
    from ._udp import connect_udp as connect_udp
    from ._udp import open_udp_endpoint as open_udp_endpoint
    from ._unix import connect_unix as connect_unix
    from ._unix import open_unix_listener as open_unix_listener
    from ._unix import serve_unix as serve_unix
    from ._value import Value as Value
    from .socket import AsyncSocket as AsyncSocket
    from .socket import wrap_socket as wrap_socket

__version__ = "0.1.0"

_LAZY = {
    "after": "_select",
    "as_channel": "_generators",
    "AsyncFile": "_files",
    "AsyncSocket": "socket",
    "Attempt": "_retry",
    "await_future": "_futures",
    "Barrier": "_barrier",
    "BlockingSide": "_blocking",
    "Broadcast": "_broadcast",
    "BufferedStream": "_buffered",
    "cleanup": "_policies",
    "connect_tcp": "_tcp",
    "connect_udp": "_udp",
    "connect_unix": "_unix",
    "debug": "",
    "default_interpreter_limiter": "_run_in_interpreter",
    "default_process_limiter": "_run_in_process",
    "default_thread_limiter": "_threads",
    "DelimitedStream": "_framing",
    "every": "_policies",
    "exponential": "_retry",
    "from_thread": "",
    "GeneratorChannel": "_generators",
    "HalfCloseableStream": "_streams",
    "hosting": "",
    "LengthPrefixedStream": "_framing",
    "LifoQueue": "_ordered_queues",
    "lowlevel": "",
    "merge": "_select",
    "open_file": "_files",
    "open_pipe": "_pipes",
    "open_portal": "_portal",
    "open_process": "_process",
    "open_signal_receiver": "_signals",
    "open_stderr": "_stdio",
    "open_stdin": "_stdio",
    "open_stdout": "_stdio",
    "open_tcp_listeners": "_tcp",
    "open_temporary_file": "_temporary",
    "open_udp_endpoint": "_udp",
    "open_unix_listener": "_unix",
    "Path": "_path",
    "PipeReceiveStream": "_pipes",
    "PipeSendStream": "_pipes",
    "Portal": "_portal",
    "PriorityQueue": "_ordered_queues",
    "Process": "_process",
    "ProcessFailed": "_run_process",
    "RateLimit": "_ratelimit",
    "ReceiveStream": "_streams",
    "retry": "_retry",
    "run_in_interpreter": "_run_in_interpreter",
    "run_in_process": "_run_in_process",
    "run_in_thread": "_threads",
    "run_process": "_run_process",
    "RWLock": "_rwlock",
    "select": "_select",
    "Selected": "_select",
    "sending": "_select",
    "SendStream": "_streams",
    "serve_listeners": "_server",
    "serve_tcp": "_tcp",
    "serve_unix": "_unix",
    "Server": "_server",
    "SignalReceiver": "_signals",
    "socket": "",
    "StandardInput": "_stdio",
    "StandardOutput": "_stdio",
    "StapledStream": "_streams",
    "start_blocking_portal": "_blocking_portal",
    "Stream": "_streams",
    "Subscription": "_subscription",
    "TemporaryDirectory": "_temporary",
    "testing": "",
    "TextStream": "_text",
    "ThreadQueue": "_bridge",
    "Tick": "_policies",
    "TLSSocket": "_tls_socket",
    "TLSStream": "_tls",
    "UDPConnection": "_udp",
    "UDPEndpoint": "_udp",
    "Value": "_value",
    "wrap_file": "_files",
    "wrap_socket": "socket",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _LAZY[name]
    if home:
        value = getattr(_import_module(f"{__name__}.{home}"), name)
    else:
        value = _import_module(f"{__name__}.{name}")
    globals()[name] = value  # the next time it is found without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


# Ctrl+C does not tear the library apart; see `giambio_kernel`.
_interrupt_free_packages.add(__name__)

# Tracebacks, reprs and pickles show where a name is public, not the file that it lives in.
for _name in [name for name in globals() if not name.startswith("_")]:
    if str(getattr(globals()[_name], "__module__", "")).startswith(__name__ + "._"):
        globals()[_name].__module__ = __name__
del _name
