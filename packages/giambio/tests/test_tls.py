# SPDX-License-Identifier: Apache-2.0
"""TLS over streams in memory: what is agreed upon, how it ends, and what goes wrong.

That it is a stream like any other is tried along with the others, in the suite for all of them.
"""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import sys

import pytest

import giambio
from giambio import BufferedStream, ConnectionBroken, ResourceBusy, ResourceClosed, TLSStream
from giambio.testing import (
    assert_checkpoints,
    cancel_sweep,
    memory_stream_pair,
    wait_all_tasks_blocked,
)


@pytest.fixture(scope="module")
def contexts(certificates):
    return certificates.client(), certificates.server()


@pytest.fixture
def pair(contexts):
    """Return a function that puts TLS over two streams in memory."""

    def pair(ours=None, *, client=None, server=None, **options):
        left, right = ours or memory_stream_pair()
        return (
            TLSStream(left, client or contexts[0], server_hostname="giambio.test", **options),
            TLSStream(right, server or contexts[1], server_side=True, **options),
        )

    return pair


async def shake(left, right):
    await giambio.gather(left.do_handshake, right.do_handshake)


async def receive_all(stream):
    data = b""
    while more := await stream.receive():
        data += more
    return data


def test_importing_giambio_does_not_import_ssl():
    program = "import giambio, sys; assert not {'ssl', 'socket'} & set(sys.modules)"
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {program}"], check=True
    )


class TestSession:
    """What the two sides agree upon, and where they cannot."""

    def test_the_first_operation_makes_the_handshake(self, run, pair):
        async def main():
            left, right = pair()
            assert left.version() is None and "before the handshake" in repr(left)
            with pytest.raises(ValueError):
                left.getpeercert()
            async with left, right, giambio.create_pool() as pool:
                reader = pool.spawn(right.receive)
                pool.spawn(left.receive)
                await left.send_all(b"hello")
                assert await reader.join() == b"hello"
                assert left.version() == right.version() == "TLSv1.3"
                assert "TLSv1.3, over <StapledStream" in repr(left)
                pool.cancel()
            assert left.closed and "closed" in repr(left)

        run(main)

    def test_facts(self, run, pair):
        async def main():
            left, right = pair()
            async with left, right:
                with assert_checkpoints():
                    await shake(left, right)
                with assert_checkpoints():
                    await left.do_handshake()
                assert dict(left.getpeercert()["subjectAltName"])["DNS"] == "giambio.test"
                assert ssl.DER_cert_to_PEM_cert(left.getpeercert(binary_form=True))
                assert right.getpeercert() is None
                assert left.cipher() == right.cipher()
                assert left.server_hostname == "giambio.test"
                assert right.server_side and not left.server_side
                assert not left.session_reused
                assert left.selected_alpn_protocol() is None
                assert right.shared_ciphers()
                assert left.compression() is None
                if sys.version_info >= (3, 13):
                    own = left.getpeercert(binary_form=True)
                    assert left.get_unverified_chain() == [own]
                    assert left.get_verified_chain()[0] == own

        run(main)

    def test_alpn(self, run, pair, certificates):
        async def main():
            left, right = pair(
                client=certificates.client(alpn=["h2", "http/1.1"]),
                server=certificates.server(alpn=["http/1.1"]),
            )
            async with left, right:
                await shake(left, right)
                assert left.selected_alpn_protocol() == "http/1.1"
                assert right.selected_alpn_protocol() == "http/1.1"

        run(main)

    def test_the_name_that_is_asked_for_picks_the_certificate(self, run, pair, certificates):
        asked = []
        other = certificates.server()

        def pick(session, name, context):
            asked.append(name)
            session.context = other

        async def main():
            server = certificates.server()
            server.sni_callback = pick
            left, right = pair(server=server)
            async with left, right:
                await shake(left, right)
                assert asked == ["giambio.test"]
                assert right.context is other

        run(main)

    def test_a_session_is_resumed(self, run, pair, certificates):
        async def main():
            client = certificates.client(version="TLSv1_2")
            server = certificates.server(version="TLSv1_2")
            first, right = pair(client=client, server=server)
            async with first, right:
                await shake(first, right)
            second, other = (
                TLSStream(
                    (streams := memory_stream_pair())[0],
                    client,
                    server_hostname="giambio.test",
                    session=first.session,
                ),
                TLSStream(streams[1], server, server_side=True),
            )
            async with second, other:
                await shake(second, other)
                assert second.session_reused and other.session_reused

        run(main)

    @pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
    @pytest.mark.parametrize("has_one", [True, False])
    def test_client_certificates(self, run, pair, certificates, version, has_one):
        client, server = certificates.client(version=version), certificates.server(version=version)
        server.verify_mode = ssl.CERT_REQUIRED
        certificates.ca.configure_trust(server)
        if has_one:
            certificates.client_certificate.configure_cert(client)

        async def main():
            left, right = pair(client=client, server=server)

            async def serve():
                if has_one:
                    await right.do_handshake()
                    names = dict(right.getpeercert()["subjectAltName"])
                    assert names["email"] == "client@giambio.test"
                    await right.aclose()
                else:
                    with pytest.raises(ssl.SSLError, match="(?i)did not return a certificate"):
                        await right.do_handshake()

            async with left, right, giambio.create_pool() as pool:
                pool.spawn(serve)
                if has_one:
                    assert await left.receive() == b""
                else:
                    # TLS 1.3 is done with the handshake by then.
                    with pytest.raises(ssl.SSLError, match="(?i)alert"):
                        await left.receive()

        run(main)

    def test_what_cannot_be(self, run, contexts):
        async def main():
            left, _ = memory_stream_pair()
            with pytest.raises(ValueError, match="a server needs a context"):
                TLSStream(left, server_side=True)
            with pytest.raises(ValueError, match="hostname"):
                TLSStream(left)
            with pytest.raises(ssl.SSLError):
                TLSStream(left, contexts[1], server_hostname="giambio.test")
            with pytest.raises(TypeError, match="must be an ssl.SSLContext, not 'x'"):
                TLSStream(left, "x")
            assert TLSStream(left, server_hostname="x").context.verify_mode == ssl.CERT_REQUIRED

        run(main)


class TestReceiving:
    """What is special about receiving what was encrypted."""

    def test_into_a_buffer(self, run, pair):
        async def main():
            left, right = pair()
            async with left, right:
                await shake(left, right)
                await left.send_all(b"hello")
                buffer = bytearray(10)
                with assert_checkpoints():
                    assert await right.receive_into(buffer, 2) == 2
                assert await right.receive_into(memoryview(buffer)[2:]) == 3
                assert buffer == b"hello" + bytes(5)
                for bad in ((bytearray(),), (buffer, -1)):
                    with pytest.raises(ValueError, match="room for at least 1 byte"):
                        await right.receive_into(*bad)

        run(main)

    @pytest.mark.parametrize("no_room", [b"bytes", [1, 2], "text"])
    def test_what_has_no_room_takes_nothing_away(self, run, pair, no_room):
        async def main():
            left, right = pair()
            async with left, right:
                await shake(left, right)
                await left.send_all(b"hello")
                with pytest.raises(TypeError):
                    await right.receive_into(no_room)
                assert await right.receive() == b"hello"

        run(main)

    def test_what_came_before_an_end_comes_first(self, run, pair):
        """In one go below: data in several records, and the end."""

        async def main():
            for how in ("aclose", "close"):
                left, right = pair(memory_stream_pair(1_000_000))
                await shake(left, right)
                await left.send_all(bytes(30_000))
                await getattr(left, how)()
                async with right:
                    assert await right.receive(100_000) == bytes(30_000)
                    if how == "aclose":
                        assert await right.receive() == b""

        run(main)

    def test_a_message_that_fills_a_record(self, run, pair):
        async def main():
            left, right = pair()
            async with left, right:
                await shake(left, right)
                await left.send_all(bytes(16384))
                assert await right.receive() == bytes(16384)

        run(main)

    def test_much_is_not_encrypted_all_at_once(self, run, pair):
        """Otherwise all of it would be kept twice, and all of it be lost when it is cancelled."""

        async def main():
            left, right = pair()
            async with left, right:
                await shake(left, right)
                with giambio.skip_after(1) as scope:
                    await left.send_all(bytes(10_000_000))
                assert scope.cancelled_caught
                left.close()
                got = 0
                with pytest.raises(ConnectionBroken):
                    while True:
                        got += len(await right.receive())
                assert 0 < got <= 65536

        run(main)

    def test_views_of_anything_are_sent_as_bytes(self, run, pair):
        async def main():
            left, right = pair()
            async with left, right:
                await shake(left, right)
                await left.send_all(memoryview(bytes(80)).cast("Q"))
                assert await right.receive() == bytes(80)

        run(main)


class TestFailedHandshake:
    """Both sides learn why, and the stream is of no use any more."""

    def test_a_certificate_that_is_not_trusted(self, run, pair):
        async def main():
            left, right = pair(client=ssl.create_default_context())

            async def serve():
                with pytest.raises(ssl.SSLError, match="(?i)unknown ca"):
                    await right.receive()
                with pytest.raises(ConnectionBroken, match="(?i)unknown ca"):
                    await right.receive()

            async with left, right, giambio.create_pool() as pool:
                pool.spawn(serve)
                with pytest.raises(ssl.SSLCertVerificationError):
                    await left.send_all(b"x")
                with pytest.raises(ConnectionBroken, match="TLS has failed"):
                    await left.send_all(b"x")
                with pytest.raises(ConnectionBroken):
                    await left.do_handshake()

        run(main)

    def test_the_other_side_does_not_talk_tls(self, run, pair):
        async def main():
            left, right = memory_stream_pair()
            client, _ = pair((left, right))
            async with client, right:
                await right.send_all(b"220 smtp.example ESMTP\r\n")
                with pytest.raises(ssl.SSLError, match="(?i)wrong version number"):
                    await client.do_handshake()

        run(main)

    @pytest.mark.parametrize("suppress", [True, False])
    def test_the_other_side_goes_away(self, run, pair, suppress):
        async def main():
            left, right = memory_stream_pair()
            client, _ = pair((left, right), suppress_ragged_eofs=suppress)
            async with client:
                await right.sending.send_eof()
                with pytest.raises(ConnectionBroken, match="ended the connection"):
                    await client.do_handshake()
                right.close()

        run(main)

    def test_wrap_closes_what_it_cannot_wrap(self, run, contexts):
        async def main():
            left, right = memory_stream_pair()
            await right.send_eof()
            with pytest.raises(ConnectionBroken):
                await TLSStream.wrap(left, contexts[0], server_hostname="giambio.test")
            with pytest.raises(ResourceClosed):
                await left.receive()
            left, right = memory_stream_pair()
            with pytest.raises(ValueError):
                await TLSStream.wrap(left, contexts[0])
            with pytest.raises(ResourceClosed):
                await left.receive()
            left, right = memory_stream_pair()
            with giambio.skip_after(1) as scope:
                await TLSStream.wrap(left, contexts[0], server_hostname="giambio.test")
            assert scope.cancelled_caught
            assert await right.receive()
            assert await right.receive() == b""

        run(main)

    def test_nobody_reads_the_reason(self, run, pair):
        async def main():
            below, above = memory_stream_pair()
            sent = []

            async def first_only(data):
                sent.append(data)
                if len(sent) > 1:
                    await giambio.sleep_forever()
                await below.send_all(data)

            left, right = pair(
                (Instead(below, send_all=first_only), above), client=ssl.create_default_context()
            )
            async with left, giambio.create_pool() as pool:
                pool.spawn(right.do_handshake)
                started = giambio.clock()
                with pytest.raises(ssl.SSLCertVerificationError):
                    await left.do_handshake()
                assert giambio.clock() == started + 5
                pool.cancel()
            right.close()

        run(main)


class TestEnd:
    """An end that was announced is another thing than one that was not."""

    def test_orderly_and_cut_off(self, run, pair):
        async def main():
            for how in ("aclose", "close"):
                left, right = pair()
                await shake(left, right)
                await left.send_all(b"hello")
                await getattr(left, how)()
                assert await right.receive() == b"hello"
                for _ in range(2):
                    if how == "aclose":
                        assert await right.receive() == b""
                    else:
                        with pytest.raises(ConnectionBroken, match="cut off"):
                            await right.receive()
                right.close()

        run(main)

    def test_that_can_be_left_out_of_account(self, run, pair):
        async def main():
            left, right = pair(suppress_ragged_eofs=True)
            await shake(left, right)
            left.close()
            assert await right.receive() == b""
            assert await right.receive() == b""
            right.close()

        run(main)

    @pytest.mark.parametrize("size", [1, 20, 16_000])
    def test_cut_off_in_the_middle_of_a_record(self, run, pair, size):
        async def main():
            left, right = pair()
            async with left, right:
                await shake(left, right)
                await left.send_all(bytes(20_000))
                ciphertext = await right.transport.receive(20_000 + 1000)
                away, onto = memory_stream_pair()
                right.transport = onto
                await away.send_all(ciphertext[:size])
                await away.aclose()
                with pytest.raises(ConnectionBroken, match="cut off"):
                    await right.receive()

        run(main)

    def test_what_was_tampered_with(self, run, pair):
        async def main():
            left, right = pair()
            async with left, right:
                await shake(left, right)
                await left.send_all(bytes(20_000))
                ciphertext = bytearray(await right.transport.receive(20_000 + 1000))
                ciphertext[-1] ^= 1
                await left.transport.send_all(ciphertext)
                # The first record is good, and is not lost because of the second one.
                assert await right.receive() == bytes(16384)
                for error in (ssl.SSLError, ConnectionBroken):
                    # Newer versions of OpenSSL say it more vaguely.
                    with pytest.raises(error, match="(?i)bad record mac|record layer failure"):
                        await right.receive()
                with pytest.raises(ConnectionBroken):
                    await right.send_all(b"x")
                with pytest.raises(ssl.SSLError, match="(?i)alert bad record mac"):
                    await left.receive()

        run(main)

    def test_a_reset_below(self, run, pair):
        async def main():
            left, right = pair()
            async with left, right:
                await shake(left, right)
                left.transport.sending.reset()
                with pytest.raises(ConnectionResetError):
                    await right.receive()
                with pytest.raises(ConnectionResetError) as caught:
                    await left.send_all(b"x")
                assert caught.value.bytes_sent == 0

        run(main)

    def test_nothing_is_lost_when_the_own_direction_is_ended(self, run, pair):
        """OpenSSL takes data that has come for an error then, decrypted or not."""

        async def main():
            left, right = pair()
            async with left, right:
                await shake(left, right)
                await right.send_all(bytes(10_000))
                await right.send_all(b"a" * 20_000)
                assert await left.receive(10) == bytes(10)
                await left.send_eof()
                await left.send_eof()
                await right.send_all(b"end")
                await right.aclose()
                assert await receive_all(left) == bytes(9_990) + b"a" * 20_000 + b"end"

        run(main)

    def test_closing_does_not_wait_for_ever(self, run, pair):
        async def main():
            left, right = pair(memory_stream_pair(1000))
            await shake(left, right)
            with giambio.skip_after(1):
                await left.transport.send_all(bytes(2000))
            started = giambio.clock()
            await left.aclose()
            assert giambio.clock() == started + 5
            assert left.closed
            right.close()

        run(main)

    def test_goodbye_to_one_that_is_gone_is_fine(self, run, pair):
        async def main():
            for close in ("close", "aclose"):
                left, right = pair()
                await shake(left, right)
                right.close()
                await getattr(left, close)()
                left, right = pair()
                await shake(left, right)
                left.transport.close()
                await getattr(left, close)()
                right.close()

        run(main)


class TestInPlainText:
    """Before TLS and after it."""

    def test_starting_in_the_middle(self, run, contexts):
        async def main():
            left, right = (BufferedStream(stream) for stream in memory_stream_pair())

            async def serve():
                assert await right.receive_until(b"\r\n") == b"STARTTLS"
                await right.send_all(b"220 go ahead\r\n")
                secure = await TLSStream.wrap(right, contexts[1], server_side=True)
                async with BufferedStream(secure) as buffered:
                    assert await buffered.receive_until(b"\r\n") == b"QUIT"

            async with giambio.create_pool() as pool:
                pool.spawn(serve)
                await left.send_all(b"STARTTLS\r\n")
                assert await left.receive_until(b"\r\n") == b"220 go ahead"
                secure = await TLSStream.wrap(left, contexts[0], server_hostname="giambio.test")
                async with secure:
                    await secure.send_all(b"QUIT\r\n")

        run(main)

    @pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
    def test_going_on_without(self, run, pair, certificates, version):
        async def main():
            left, right = pair(
                client=certificates.client(version=version),
                server=certificates.server(version=version),
            )
            await shake(left, right)

            async def leave(stream):
                assert await stream.receive() == b""
                with assert_checkpoints():
                    transport, leftover = await stream.unwrap()
                await transport.send_all(b"plain text")
                return transport, leftover

            async with giambio.create_pool() as pool:
                task = pool.spawn(leave, right)
                left_below, leftover = await left.unwrap()
                assert leftover in (b"", b"plain text")
                right_below, nothing = await task.join()
                assert nothing == b""
                assert (leftover or await left_below.receive()) == b"plain text"
            for stream in (left, right):
                assert stream.closed
                with pytest.raises(ResourceClosed):
                    await stream.receive()
                await stream.aclose()
            await left_below.send_all(b"still open")
            assert await right_below.receive() == b"still open"

        run(main)

    def test_not_while_there_is_data(self, run, pair):
        async def main():
            left, right = pair()
            async with left, right:
                await shake(left, right)
                await right.send_all(b"hello")
                assert await left.receive(1) == b"h"
                with pytest.raises(ssl.SSLError, match="not received"):
                    await left.unwrap()

        run(main)

    def test_not_when_data_comes_instead(self, run, pair):
        async def main():
            left, right = pair()
            async with left, right:
                await shake(left, right)
                await right.send_all(b"hello")
                with pytest.raises(ssl.SSLError, match="(?i)after close notify"):
                    await left.unwrap()

        run(main)

    def test_not_when_the_other_side_just_goes(self, run, pair):
        async def main():
            left, right = pair()
            async with left:
                await shake(left, right)
                right.close()
                with pytest.raises(OSError):
                    await left.unwrap()

        run(main)

    def test_cancelled_it_can_be_tried_again(self, run, pair):
        async def main():
            left, right = pair()
            await shake(left, right)
            with giambio.skip_after(1) as scope:
                await left.unwrap()
            assert scope.cancelled_caught and not left.closed
            (below, _), (other, _) = await giambio.gather(left.unwrap, right.unwrap)
            await below.aclose()
            assert await other.receive() == b""

        run(main)

    def test_not_while_others_use_it(self, run, pair):
        async def main():
            left, right = pair(memory_stream_pair(100))
            async with left, right:
                await shake(left, right)
                for operation, args in ((left.receive, ()), (left.send_all, (bytes(1000),))):
                    async with giambio.create_pool() as pool:
                        pool.spawn(operation, *args)
                        await wait_all_tasks_blocked()
                        with pytest.raises(ResourceBusy):
                            await left.unwrap()
                        pool.cancel()
                # Nothing is left of the attempt.
                with giambio.skip_after(1) as scope:
                    await left.receive()
                assert scope.cancelled_caught

        run(main)


class NoAccount:
    """A stream that does not say how much it has sent when it is cancelled."""

    def __init__(self, stream):
        self._stream = stream
        self.receive = stream.receive
        self.close = stream.close
        self.aclose = stream.aclose

    async def send_all(self, data):
        try:
            await self._stream.send_all(data)
        except BaseException as error:
            del error.bytes_sent
            raise


class TestCancelling:
    """Receiving and shaking hands go on where they were; a send that was cut breaks the stream."""

    @pytest.mark.parametrize("turns", range(1, 8))
    def test_a_cancelled_handshake_goes_on_with_the_next_operation(self, run, pair, turns):
        async def cancel_later(scope):
            for _ in range(turns):
                await giambio.checkpoint()
            scope.cancel()

        cancelled = []

        async def shake_impatiently(stream):
            while stream.version() is None:
                with giambio.CancelScope() as scope:
                    async with giambio.create_pool() as pool:
                        pool.spawn(cancel_later, scope)
                        await stream.do_handshake()
                cancelled.append(scope.cancelled_caught)
                await giambio.sleep(1)

        async def main():
            left, right = pair(memory_stream_pair(100))
            async with left, right, giambio.create_pool() as pool:
                pool.spawn(shake_impatiently, right)
                pool.spawn(shake_impatiently, left)
                reader = pool.spawn(right.receive)
                await left.send_all(b"hello")
                assert await reader.join() == b"hello"

        run(main)
        assert any(cancelled)

    @pytest.mark.parametrize("role", ["client", "server"])
    def test_wherever_that_is(self, pair, role):
        got = []

        async def client(stream):
            await stream.do_handshake()

        async def server(stream):
            await stream.do_handshake()

        async def main():
            got.clear()
            left, right = pair(memory_stream_pair(100))
            async with left, right, giambio.create_pool() as pool:
                for task in [pool.spawn(client, left), pool.spawn(server, right)]:
                    if task.name == role:
                        with contextlib.suppress(giambio.TaskCancelled):
                            await task.join()
                reader = pool.spawn(right.receive)
                await left.send_all(b"hello")
                got.append(await reader.join())

        def check():
            assert got == [b"hello"]

        report = cancel_sweep(main, target=role, check=check)
        assert report.checkpoints > 10

    def test_unless_nobody_knows_how_much_of_it_was_sent(self, run, pair):
        async def main():
            left, right = memory_stream_pair(100)
            client, _ = pair((NoAccount(left), right))
            async with client:
                with giambio.skip_after(1) as scope:
                    await client.do_handshake()
                assert scope.cancelled_caught
                with pytest.raises(ConnectionBroken, match="middle of a record"):
                    await client.do_handshake()
                right.close()

        run(main)

    def test_a_send_cancelled_in_the_middle_breaks_the_stream_for_sending(self, run, pair):
        async def main():
            left, right = pair(memory_stream_pair(1000))
            async with left:
                await shake(left, right)
                with giambio.skip_after(1) as scope:
                    await left.send_all(bytes(100_000))
                assert scope.cancelled_caught
                for operation in (lambda: left.send_all(b"x"), left.send_eof):
                    with pytest.raises(ConnectionBroken, match="cancelled or failed in the middle"):
                        await operation()
                await right.send_all(b"still there?")
                assert await left.receive() == b"still there?"
            # Nor is it told that this was the end.
            with pytest.raises(ConnectionBroken, match="cut off"):
                await right.receive()
            right.close()

        run(main)

    def test_a_cancelled_end_can_be_sent_again(self, run, pair):
        async def main():
            left, right = pair(memory_stream_pair(10))
            async with left:
                await shake(left, right)
                with giambio.skip_after(1) as scope:
                    await left.send_eof()
                assert scope.cancelled_caught
                async with giambio.create_pool() as pool:
                    pool.spawn(left.send_eof)
                    assert await right.receive() == b""
                right.close()

        run(main)


class TestWhatTLSHasToSayByItself:
    """A server may ask for a certificate later, and the client's reader answers."""

    @pytest.fixture
    def later(self, certificates, pair):
        """Return a client that will be asked, on a stream with little room, and its server."""
        client, server = certificates.client(), certificates.server()
        client.post_handshake_auth = True
        certificates.client_certificate.configure_cert(client)
        certificates.ca.configure_trust(server)
        server.verify_mode = ssl.CERT_OPTIONAL
        server.post_handshake_auth = True

        async def ask(right):
            assert not right.getpeercert()
            right._session.verify_client_post_handshake()
            await right.send_all(b"?")

        return (lambda: pair(memory_stream_pair(100), client=client, server=server)), ask

    def test_the_reader_answers(self, run, later):
        make, ask = later

        async def main():
            left, right = make()
            async with left, right, giambio.create_pool() as pool:
                await shake(left, right)
                pool.spawn(ask, right)
                assert await left.receive() == b"?"
                pool.spawn(left.receive)
                await wait_all_tasks_blocked()
                # It is stuck in its answer, and lets nobody in between.
                pool.spawn(left.send_all, b"!")
                await wait_all_tasks_blocked()
                assert await right.receive() == b"!"
                assert right.getpeercert()
                pool.cancel()

        run(main)

    def test_a_cancelled_answer_is_finished_by_whoever_comes_next(self, run, later):
        make, ask = later

        async def main():
            left, right = make()
            async with left, right, giambio.create_pool() as pool:
                await shake(left, right)
                pool.spawn(ask, right)
                assert await left.receive() == b"?"
                with giambio.skip_after(1) as scope:
                    await left.receive()
                assert scope.cancelled_caught
                pool.spawn(left.send_all, b"!")
                assert await right.receive() == b"!"
                assert right.getpeercert()

        run(main)

    def test_a_sender_that_is_stuck_does_not_keep_the_reader_from_reading(self, run, later):
        make, ask = later

        async def main():
            left, right = make()
            async with left, right, giambio.create_pool() as pool:
                await shake(left, right)
                sender = pool.spawn(left.send_all, bytes(10_000))
                await wait_all_tasks_blocked()
                pool.spawn(ask, right)
                assert await left.receive() == b"?"
                reader = pool.spawn(left.receive)
                await right.send_all(b"and?")
                assert await reader.join() == b"and?"
                got = b""
                while len(got) < 10_000:
                    got += await right.receive()
                reader = pool.spawn(right.receive)
                await sender.join()
                pool.spawn(left.send_all, b"!")
                assert await reader.join() == b"!"
                assert right.getpeercert()

        run(main)

    @pytest.mark.parametrize("is_read", [True, False])
    def test_a_writer_that_has_to_read_first(self, run, pair, is_read):
        """OpenSSL says so in a renegotiation, for example; here somebody says it in its place."""

        async def main():
            left, right = pair()
            async with left, right, giambio.create_pool() as pool:
                await shake(left, right)
                write = left._session.write
                attempts = []

                def wants_to_read(view):
                    attempts.append(view)
                    if len(attempts) == 1:
                        raise ssl.SSLWantReadError
                    return write(view)

                left._session = Instead(left._session, write=wants_to_read)
                if is_read:
                    reader = pool.spawn(left.receive)
                    await wait_all_tasks_blocked()
                pool.spawn(left.send_all, b"x")
                await wait_all_tasks_blocked()
                if not is_read:
                    reader = pool.spawn(left.receive)
                    await wait_all_tasks_blocked()
                assert len(attempts) == 1
                await right.send_all(b"news")
                assert await reader.join() == b"news"
                assert await right.receive() == b"x"

        run(main)

    def test_a_writer_that_fails(self, run, pair):
        async def main():
            left, right = pair()
            async with left, right:
                await shake(left, right)

                def fails(view):
                    raise ssl.SSLError("a bug in OpenSSL")

                left._session = Instead(left._session, write=fails)
                with pytest.raises(ssl.SSLError, match="bug"):
                    await left.send_all(b"x")
                with pytest.raises(ConnectionBroken, match="bug"):
                    await left.receive()

        run(main)


class Instead:
    """An object with other methods in place of some of its own."""

    def __init__(self, original, **methods):
        self._original = original
        vars(self).update(methods)

    def __getattr__(self, name):
        return getattr(self._original, name)
