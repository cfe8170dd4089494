# SPDX-License-Identifier: Apache-2.0
"""TLS of one connection in memory: bytes in, bytes out, and nothing that waits.

OpenSSL works on two buffers. What came from the other side is fed into one; what is to go there is
taken from the other.
"""

from __future__ import annotations

import ssl

# What one record holds, in bytes.
_RECORD = 16384


class TLSEngine:
    """What `TLSStream` moves bytes into and out of.

    Attributes:
        session: The object of OpenSSL.
        may_read: False only if there is nothing to read before more is fed.
        goodbye_said: Whether the own end was announced.
        patient: Whether the other side waits for nothing that TLS says by itself, so that it may go
            along with data: the server's side of TLS 1.3, once the handshake is made.
    """

    __slots__ = (
        "_failure",
        "_held",
        "_incoming",
        "_outgoing",
        "_unsent",
        "goodbye_said",
        "may_read",
        "patient",
        "session",
    )

    # What reading said after it had given something.
    _failure: ssl.SSLError | None

    def __init__(
        self,
        context: ssl.SSLContext,
        server_side: bool,
        server_hostname: str | None,
        session: ssl.SSLSession | None,
    ) -> None:
        if not context.options & ssl.OP_NO_RENEGOTIATION:
            context.options |= ssl.OP_NO_RENEGOTIATION
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.session = context.wrap_bio(
            self._incoming, self._outgoing, server_side, server_hostname, session
        )
        self.may_read = self.goodbye_said = self.patient = False
        self._failure = None
        # Decrypted, and not read yet.
        self._held = b""
        # What is to be sent before the rest: taken out, and put back.
        self._unsent = b""

    def do_handshake(self) -> None:
        """Go on with the handshake.

        Raises:
            ssl.SSLWantReadError: More must be fed first.
            ssl.SSLError: The two sides could not agree.
        """
        session = self.session
        session.do_handshake()
        self.may_read = True
        if session.server_side and session.version() == "TLSv1.3":
            # What is left are session tickets. A client may first have much to send and read nothing
            # before that, so whoever waits to get rid of them can wait for ever. Source: trio, which
            # met such clients.
            self.patient = True

    def feed(self, data: bytes) -> None:
        """Give it what came from the other side; ``b""`` at the end."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        self.may_read = True

    def read(self, max_bytes: int) -> bytes | None:
        """Return what can be decrypted: up to *max_bytes*; ``b""`` if the other side said goodbye.

        ``None`` says that more must be fed first.

        Raises:
            ssl.SSLEOFError: The end was fed, and the other side had not said goodbye.
            ssl.SSLError: What came is not TLS, or was tampered with.
        """
        if self._held:
            data, self._held = self._held[:max_bytes], self._held[max_bytes:]
            return data
        if self._failure is not None:
            raise self._failure
        read = self.session.read
        try:
            data = read(min(max_bytes, _RECORD))
        except ssl.SSLWantReadError:
            self.may_read = False
            return None
        except ssl.SSLZeroReturnError:
            return b""
        size = len(data)
        if size == max_bytes or not size:
            return data
        if not self._incoming.pending:
            # Nothing is left of a record that is shorter than what was asked for.
            self.may_read = size == _RECORD
            if not self.may_read:
                return data
        return self._read_on(data, max_bytes)

    def _read_on(self, data: bytes, max_bytes: int) -> bytes:
        """Return *data* and what other records hold."""
        parts = [data]
        missing = max_bytes - len(data)
        try:
            while missing and data:
                data = self.session.read(min(missing, _RECORD))
                parts.append(data)
                missing -= len(data)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError) as error:
            self.may_read = isinstance(error, ssl.SSLZeroReturnError)
        except ssl.SSLError as error:
            self._failure = error  # for the next time: what came before it is good
        return b"".join(parts)

    def has_output(self) -> bool:
        """Whether there is something to be sent."""
        return bool(self._outgoing.pending or self._unsent)

    def take_output(self) -> bytes:
        """Return what is to be sent to the other side, and forget it."""
        data = self._unsent + self._outgoing.read()
        self._unsent = b""
        return data

    def put_back(self, data: bytes) -> None:
        """Keep what was taken and not sent, to be taken first the next time."""
        self._unsent = data

    def say_goodbye(self) -> None:
        """Announce the own end, unless that was done, and go on reading."""
        if self.goodbye_said:
            return
        self.goodbye_said = True
        # OpenSSL would then look for the answer and take data that has come for an error. So it is
        # taken out before, and what cannot be decrypted yet comes back after.
        self.hold()
        fragment = self._incoming.read()
        try:
            self.session.unwrap()
        except ssl.SSLError:  # usually: it wants to read the answer
            pass
        if not self._incoming.eof:  # otherwise nothing will complete it
            self._incoming.write(fragment)

    def hold(self) -> bool:
        """Decrypt all that can be, keep it for `read`, and say whether there is any."""
        parts = []
        try:
            while self.may_read and (data := self.read(_RECORD)):
                parts.append(data)
        except ssl.SSLError as error:
            self._failure = error
        if parts or self._failure is not None:
            self._held = b"".join(parts)
            self.may_read = True
        return bool(parts)

    def unwrap(self) -> None:
        """Announce the own end and find that of the other side.

        Raises:
            ssl.SSLWantReadError: More must be fed first.
            ssl.SSLError: There is data instead.
        """
        self.say_goodbye()
        self.session.unwrap()

    def leftover(self) -> bytes:
        """Return what was fed beyond the end of TLS, and forget it."""
        return self._incoming.read()
