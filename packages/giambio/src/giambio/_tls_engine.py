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
    """

    __slots__ = (
        "_failure",
        "_held",
        "_incoming",
        "_outgoing",
        "_unsent",
        "_unsent_may_wait",
        "goodbye_said",
        "may_read",
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
        self.may_read = self.goodbye_said = False
        self._failure = None
        # Decrypted, and not read yet.
        self._held = b""
        # What is to be sent before the rest: taken out, and put back.
        self._unsent = b""
        self._unsent_may_wait = False

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
            # These are session tickets. A client may first have much to send and read nothing before
            # that, so they go along with the first data. Source: trio, which met such clients.
            self._unsent = self.take_output()
            self._unsent_may_wait = True

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
        """Whether there is something to be sent, and not only what can wait for other things."""
        return bool(self._outgoing.pending or (self._unsent and not self._unsent_may_wait))

    def take_output(self) -> bytes:
        """Return what is to be sent to the other side, and forget it."""
        data = self._unsent + self._outgoing.read()
        self._unsent = b""
        self._unsent_may_wait = False
        return data

    def put_back(self, data: bytes) -> None:
        """Keep what was taken and not sent, to be taken first the next time."""
        self._unsent = data

    def encrypt(self, view: memoryview, enough: int) -> int:
        """Encrypt records until there are *enough* bytes to be sent, and return how much of *view*.

        Raises:
            ssl.SSLWantReadError: It has to read something first, and nothing was encrypted.
        """
        write = self.session.write
        done = write(view)
        try:
            while done < len(view) and self._outgoing.pending < enough:
                done += write(view[done:])
        except ssl.SSLWantReadError:
            pass  # it will say so again
        return done

    def say_goodbye(self) -> None:
        """Announce the own end, unless that was done, and go on reading."""
        if self.goodbye_said:
            return
        self.goodbye_said = True
        # OpenSSL would then look for the answer and take data that has come for an error. So what
        # is decrypted is taken out before, and what is not comes back after.
        while size := self.session.pending():
            self._held += self.session.read(size)
            self.may_read = True
        undecrypted = self._incoming.read()
        try:
            self.session.unwrap()
        except ssl.SSLError:  # usually: it wants to read the answer
            pass
        if not self._incoming.eof:  # otherwise it is half a record, which nothing will complete
            self._incoming.write(undecrypted)

    def unwrap(self) -> None:
        """Announce the own end and find that of the other side.

        Raises:
            ssl.SSLWantReadError: More must be fed first.
            ssl.SSLError: There is data instead.
        """
        self.say_goodbye()
        if self._held:
            raise ssl.SSLError("there is data that was not received")
        self.session.unwrap()

    def leftover(self) -> bytes:
        """Return what was fed beyond the end of TLS, and forget it."""
        return self._incoming.read()
