# SPDX-License-Identifier: Apache-2.0
"""What two sides have agreed upon in a TLS handshake."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    import ssl


class TLSFacts:
    """What is known of a TLS session: the methods of `ssl.SSLObject` that ask and do nothing.

    Those about what was agreed return ``None`` before the handshake, except `getpeercert`, which
    raises `ValueError`.
    """

    __slots__ = ()

    @property
    def _session(self) -> ssl.SSLObject | ssl.SSLSocket:
        raise NotImplementedError

    @property
    def context(self) -> ssl.SSLContext:
        """The context, with certificates and settings."""
        return self._session.context

    @property
    def server_side(self) -> bool:
        """Whether this is the side of the server."""
        return self._session.server_side

    @property
    def server_hostname(self) -> str | None:
        """The name of the server that this client asked for; ``None`` on the side of the server."""
        return self._session.server_hostname

    @property
    def session(self) -> ssl.SSLSession | None:
        """What a client can resume in another connection."""
        return self._session.session

    @property
    def session_reused(self) -> bool:
        """Whether an earlier session was resumed."""
        return bool(self._session.session_reused)

    def version(self) -> str | None:
        """Return the version of the protocol, such as ``"TLSv1.3"``."""
        return self._session.version()

    def cipher(self) -> tuple[str, str, int] | None:
        """Return the name of the cipher, the version that defines it, and the bits of its key."""
        return self._session.cipher()

    def shared_ciphers(self) -> list[tuple[str, str, int]] | None:
        """Return the ciphers that both sides know; ``None`` on the side of the client."""
        return self._session.shared_ciphers()

    def compression(self) -> str | None:
        """Return the name of the compression; ``None``, as it should be, if there is none."""
        return self._session.compression()

    def selected_alpn_protocol(self) -> str | None:
        """Return the protocol that was agreed upon by ALPN; ``None`` if none was."""
        return self._session.selected_alpn_protocol()

    def get_channel_binding(self, kind: str = "tls-unique") -> bytes | None:
        """Return what identifies this connection, for authentication above TLS."""
        return self._session.get_channel_binding(kind)

    @overload
    def getpeercert(self, binary_form: Literal[False] = False) -> dict[str, Any] | None: ...

    @overload
    def getpeercert(self, binary_form: Literal[True]) -> bytes | None: ...

    def getpeercert(self, binary_form: bool = False) -> dict[str, Any] | bytes | None:
        """Return the certificate of the other side.

        Args:
            binary_form: Whether to return it in DER; otherwise as a dict, empty if it was not
                verified.

        Raises:
            ValueError: The handshake was not made yet.
        """
        return self._session.getpeercert(binary_form)

    if sys.version_info >= (3, 13):

        def get_verified_chain(self) -> list[bytes]:
            """Return the certificates of the other side, in DER, up to one that is trusted."""
            return self._session.get_verified_chain()

        def get_unverified_chain(self) -> list[bytes]:
            """Return the certificates that the other side has sent, in DER."""
            return self._session.get_unverified_chain()
