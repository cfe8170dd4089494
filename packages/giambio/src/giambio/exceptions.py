# SPDX-License-Identifier: Apache-2.0
"""All the errors of giambio."""

from __future__ import annotations

from giambio_kernel import CancelledError as CancelledError
from giambio_kernel import DeadlockError as DeadlockError
from giambio_kernel import GiambioError as GiambioError
from giambio_kernel import InternalError as InternalError
from giambio_kernel import ResourceBusy as ResourceBusy
from giambio_kernel import ResourceClosed as ResourceClosed
from giambio_kernel import TaskCancelled as TaskCancelled
from giambio_kernel import siblings as siblings


class TooSlowError(GiambioError, TimeoutError):
    """The block of a `with_timeout` did not end in time."""


class ResourceBroken(GiambioError):
    """The resource is of no use any more: the other side is gone, or it failed halfway."""


class ConnectionBroken(ResourceBroken, ConnectionError):
    """The connection that a stream stands for broke: cut short, failed halfway, or given up.

    It is an `OSError`, like what the system raises when a connection breaks; so ``except OSError``
    catches it on every kind of stream.

    Attributes:
        stream: The stream, if it was one that noticed.
    """

    def __init__(self, message: str, stream: object = None) -> None:
        super().__init__(message)
        self.stream = stream


class EndOfChannel(GiambioError):
    """Nothing more will come: all senders are closed and what they had sent was received."""


class WouldBlock(GiambioError):
    """A ``..._nowait`` operation could not be done at once."""


class IncompleteRead(GiambioError):
    """The stream ended before as much had come as was asked for.

    Attributes:
        partial: What had come; it stays in the buffer of the stream.
    """

    def __init__(self, message: str, partial: bytes = b"") -> None:
        super().__init__(message)
        self.partial = partial


class DelimiterNotFound(GiambioError):
    """As much has come as may, and the delimiter was not in it."""
