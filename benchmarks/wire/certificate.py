# SPDX-License-Identifier: Apache-2.0
"""The certificate of the servers, made for the time of a session, and what both sides do with it."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from benchmarks.row import SkipRow

if TYPE_CHECKING:
    from ssl import SSLContext

# The address that all servers have.
HOST = "127.0.0.1"

_SERVER = "server.pem"
_AUTHORITY = "authority.pem"


class Certificate:
    """A temporary folder with a certificate and its key, and the authority that has signed it.

    Raises:
        SkipRow: What makes certificates is not installed.
    """

    def __init__(self) -> None:
        try:
            import trustme
        except ImportError:
            raise SkipRow("trustme is not installed") from None
        self._folder = tempfile.TemporaryDirectory(prefix="giambio-benchmarks-")
        self.folder = self._folder.name
        authority = trustme.CA()
        authority.cert_pem.write_to_path(os.path.join(self.folder, _AUTHORITY))
        server = authority.issue_cert(HOST)
        server.private_key_and_cert_chain_pem.write_to_path(os.path.join(self.folder, _SERVER))

    def close(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()


def server_context(folder: str) -> SSLContext:
    """Return what a server is given, which is what Python gives by default."""
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(os.path.join(folder, _SERVER))
    return context


def client_context(folder: str) -> SSLContext:
    """Return what the client needs to trust the server."""
    import ssl

    return ssl.create_default_context(cafile=os.path.join(folder, _AUTHORITY))
