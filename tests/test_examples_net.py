# SPDX-License-Identifier: Apache-2.0
"""The examples for the network, against clients and servers that are not ours."""

from __future__ import annotations

import http.client
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import giambio
from giambio.testing import Line, serve_fault_proxy, simulate

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

pytest.importorskip("h11", reason="the HTTP examples need h11")
pytest.importorskip("wsproto", reason="the WebSocket example needs wsproto")


def load(name):
    """Import an example without running its main part."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its classes look for their module
    spec.loader.exec_module(module)
    return module


@contextmanager
def program(name, *args, stop_with=signal.SIGTERM):
    """Run an example that serves; yield its port, and then ask it to end, and see that it does."""
    with subprocess.Popen(
        [sys.executable, "-u", str(EXAMPLES / f"{name}.py"), "0", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield int(re.search(r"(\d+)/?$", process.stdout.readline().strip())[1])
            process.send_signal(stop_with)
            _, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) == (0, "")
        finally:
            process.kill()


def serve_and_run(handler, client, *args):
    """Serve in this thread, and return what a blocking client, in another one, returns."""

    def on_error(error, sock):
        if not isinstance(error, ConnectionError):  # a client may leave as it likes
            raise error

    async def main():
        async with giambio.create_pool() as pool:
            server = await pool.start(
                giambio.serve_tcp, handler, 0, host="127.0.0.1", on_error=on_error
            )
            result = await giambio.run_in_thread(client, server.port, *args)
            await server.drain(grace=5)
        return result

    return giambio.run(main)


def curl(port, path, *options):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "--silent", "--show-error", "--max-time", "60", "--noproxy", "*", *options]
    url = f"http://127.0.0.1:{port}{path}"
    return subprocess.run([*command, url], capture_output=True, check=True, timeout=60).stdout


# The echo


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("stop_with", [signal.SIGTERM, signal.SIGINT])
def test_the_echo_server_and_the_line_client(stop_with):
    with program("echo_server", stop_with=stop_with) as port:
        client = [sys.executable, str(EXAMPLES / "line_client.py"), "localhost", str(port)]
        done = subprocess.run(
            [*client, "hello", "how are you?"], capture_output=True, text=True, timeout=60
        )
        assert (done.stdout, done.stderr) == ("hello\nhow are you?\n", "")


def test_the_line_client_waits_for_its_server():
    line_client, echo_server = load("line_client"), load("echo_server")

    async def main():
        async with giambio.create_pool() as pool:
            asking = pool.spawn(line_client.ask, "localhost", 8000, ["hello"])
            await giambio.sleep(0.5)
            await pool.start(giambio.serve_tcp, echo_server.echo, 8000)
            assert await asking.join() == ["hello"]
            pool.cancel()

    simulate(main)


def test_the_line_client_gives_up():
    with pytest.raises(ConnectionRefusedError):
        simulate(load("line_client").ask, "localhost", 8000, ["hello"])


@pytest.mark.parametrize(
    ("name", "handler"), [("echo_server", "echo"), ("http_server", "serve_client")]
)
def test_a_server_lets_go_of_who_says_nothing(name, handler):
    async def main():
        async with giambio.create_pool() as pool:
            server = await pool.start(giambio.serve_tcp, getattr(load(name), handler), 8000)
            async with await giambio.connect_tcp("localhost", 8000) as client:
                assert await client.receive() == b""
            await server.drain()
        assert not server.statistics().failed

    simulate(main)


# The chat


class Chatter:
    """A blocking client of the chat."""

    def __init__(self, port, name):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.file = self.sock.makefile("r", encoding="utf-8", newline="\n")
        assert self.hear() == "Your name?"
        self.say(name)

    def say(self, line):
        self.sock.sendall(line.encode() + b"\r\n")

    def hear(self):
        return self.file.readline().rstrip("\n")

    def leave(self):
        self.file.close()
        self.sock.close()


def test_the_chat():
    def chat(port):
        anna = Chatter(port, "Anna")
        ben = Chatter(port, "Anna")
        assert ben.hear() == "Another one, please."
        ben.say("Ben")
        assert anna.hear() == "* Ben has come"
        ben.say("good evening ✓")
        assert anna.hear() == "Ben: good evening ✓"
        anna.say("hello")
        assert ben.hear() == "Anna: hello"
        ben.leave()
        assert anna.hear() == "* Ben has left"
        anna.say("x" * 2000)  # which is no line of a chat
        assert anna.file.read() == ""
        anna.leave()

    serve_and_run(load("chat_server").Room().visit, chat)


def test_nobody_in_the_chat_waits_for_one_who_does_not_read():
    async def main():
        room = load("chat_server").Room()
        async with giambio.create_pool() as pool:
            server = await pool.start(giambio.serve_tcp, room.visit, 0, host="127.0.0.1")
            async with (
                await giambio.connect_tcp("127.0.0.1", server.port) as silent,
                await giambio.connect_tcp("127.0.0.1", server.port) as talker,
            ):
                await silent.send_all(b"Silent\n")
                await talker.send_all(b"Talker\n")
                while len(room.members) < 2:
                    await giambio.sleep(0.001)
                while len(room.members) == 2:
                    await talker.send_all(b"x" * 999 + b"\n")
                assert list(room.members) == ["Talker"]
            await server.drain(grace=5)

    giambio.run(main)


def test_who_reads_stays_in_the_chat_however_much_is_pasted_at_once():
    lines = [f"Talker: {number}" for number in range(1000)]

    async def main():
        async with giambio.create_pool() as pool:
            await pool.start(giambio.serve_tcp, load("chat_server").Room().visit, 8000)
            async with (
                giambio.TextStream(await giambio.connect_tcp("localhost", 8000)) as reader,
                giambio.TextStream(await giambio.connect_tcp("localhost", 8000)) as talker,
            ):
                await reader.send_all("Reader\n")
                assert await reader.receive_line() == "Your name?"
                await talker.send_all("Talker\n")
                assert await reader.receive_line() == "* Talker has come"
                await talker.send_all("".join(f"{number}\n" for number in range(1000)))
                assert [await reader.receive_line() for _ in lines] == lines
            pool.cancel()

    simulate(main)


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_the_chat_server_ends_while_some_are_there():
    with program("chat_server") as port:
        anna = Chatter(port, "Anna")
    assert anna.hear() == ""
    anna.leave()


# Names


def test_a_resolver_of_ones_own(capsys):
    giambio.run(load("own_resolver").main, ["giambio.test", "localhost", "127.0.0.3"])
    known, rest, numeric = capsys.readouterr().out.splitlines()
    assert known == "giambio.test: 127.0.0.1"
    assert rest.startswith("localhost: ")
    assert numeric == "127.0.0.3: 127.0.0.3"


# HTTP


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_curl_and_the_http_server():
    with program("http_server") as port:
        assert curl(port, "/") == b"Hello from giambio!\n"
        assert curl(port, "/echo", "--data", "hello") == b"hello"
        large = curl(port, "/echo", "--data-binary", "@" + __file__, "-H", "Expect: 100-continue")
        assert large == Path(__file__).read_bytes()
        assert curl(port, "/", "--head").startswith(b"HTTP/1.1 200 OK\r\n")
        status = ("--output", os.devnull, "--write-out", "%{http_code}")
        assert curl(port, "/nothing", *status) == b"404"
        assert curl(port, "/nothing", "--head", *status) == b"404"
        assert curl(port, "/echo", *status) == b"405"
        chunked = ("--data-binary", "@" + __file__, "-H", "Transfer-Encoding: chunked")
        assert curl(port, "/echo", *chunked) == Path(__file__).read_bytes()


def test_the_client_of_the_standard_library_keeps_its_connection():
    def client(port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        answers = []
        for n in range(3):
            connection.request("POST", "/echo", body=b"%d" % n * 1000)
            answers.append(connection.getresponse().read())
            first = connection.sock
            assert connection.sock is first
        connection.close()
        return answers

    server = load("http_server")
    assert serve_and_run(server.serve_client, client) == [b"%d" % n * 1000 for n in range(3)]


def raw(port, request):
    """Send something that need not be HTTP, and return the first line of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(request)
        with sock.makefile("rb") as file:
            return file.readline()


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"this is no HTTP\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1_100_000,
            b"HTTP/1.1 413 ",
        ),
        (b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n"),
    ],
    ids=["nonsense", "too much", "old"],
)
def test_what_the_http_server_says_to_odd_requests(request_text, status):
    answer = serve_and_run(load("http_server").serve_client, raw, request_text)
    assert answer.startswith(status)


@pytest.mark.parametrize("line", [Line(), Line(piece=1), Line(limit=50)])
def test_the_http_client_over_good_and_bad_lines(line, capsys):
    client, server = load("http_client"), load("http_server")

    async def main():
        async with giambio.create_pool() as pool:
            await pool.start(giambio.serve_tcp, server.serve_client, 8000)
            proxy = await pool.start(serve_fault_proxy, "localhost", 8000, to_client=line)
            await client.main([f"http://127.0.0.1:{proxy.port}/", "ftp://127.0.0.1/"])
            pool.cancel()

    simulate(main)
    first, second = capsys.readouterr().out.splitlines()
    if line.limit == 50:
        assert first.endswith("peer unexpectedly closed connection")
    else:
        assert first.endswith(": 200, 20 bytes, text/plain")
    assert second.endswith("is no address that begins with http:// or https://")


def test_the_http_client_fetches_from_the_standard_library(tmp_path, capsys):
    import functools
    import http.server

    (tmp_path / "page.txt").write_text("a page")
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": _say_nothing})
    handler = functools.partial(quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}"
            answer = giambio.run(load("http_client").fetch, f"{url}/page.txt?x=1")
            assert (answer.status, answer.body) == (200, b"a page")
            giambio.run(load("http_client").main, [f"{url}/nothing"])
        finally:
            server.shutdown()
            thread.join()
    assert ": 404, " in capsys.readouterr().out


def _say_nothing(*args):
    pass


NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; root {folder}/pages; }}
}}
"""


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_the_http_client_fetches_from_nginx(tmp_path):
    (tmp_path / "pages").mkdir()
    content = b"a page, and a long one\n" * 10_000
    (tmp_path / "pages" / "page.txt").write_bytes(content)
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    settings = tmp_path / "nginx.conf"
    settings.write_text(NGINX.format(folder=tmp_path, port=port))
    client, line_client = load("http_client"), load("line_client")

    async def main():
        (await line_client.connect("127.0.0.1", port)).close()  # waits until nginx listens
        return await giambio.gather(*(lambda: client.fetch(url) for _ in range(20)))

    url = f"http://127.0.0.1:{port}/page.txt"
    with subprocess.Popen(
        ["nginx", "-p", str(tmp_path), "-c", str(settings)], stderr=subprocess.DEVNULL
    ) as process:
        try:
            answers = giambio.run(main)
        finally:
            process.terminate()
    assert all((answer.status, answer.body) == (200, content) for answer in answers)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_the_http_server_under_load():
    def load_it(port):
        command = ["wrk", "-t1", "-c50", "-d1s", f"http://127.0.0.1:{port}/"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    said = serve_and_run(load("http_server").serve_client, load_it)
    assert re.search(r"[1-9]\d* requests in", said), said
    assert "Socket errors" not in said
    assert "Non-2xx" not in said


# WebSockets


class WebSocketClient:
    """A blocking client on a standard socket."""

    def __init__(self, port):
        import wsproto.events

        self.events = wsproto.events
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.websocket = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.send(self.events.Request(host="127.0.0.1", target="/"))
        self.pending = []

    def send(self, event):
        self.sock.sendall(self.websocket.send(event))

    def receive(self):
        """Return the next event; several parts of a message are one."""
        text = data = None
        while True:
            while not self.pending:
                self.websocket.receive_data(self.sock.recv(65536) or None)
                self.pending += self.websocket.events()
            event = self.pending.pop(0)
            if isinstance(event, self.events.TextMessage):
                text = (text or "") + event.data
                if event.message_finished:
                    return text
            elif isinstance(event, self.events.BytesMessage):
                data = (data or b"") + event.data
                if event.message_finished:
                    return data
            else:
                return type(event).__name__

    def close(self):
        self.sock.close()


def talk(port):
    client = WebSocketClient(port)
    events = client.events
    answers = [client.receive()]
    client.send(events.TextMessage(data="hel", message_finished=False))
    client.send(events.TextMessage(data="lo ✓"))
    answers.append(client.receive())
    client.send(events.BytesMessage(data=bytes(300_000)))
    answers.append(len(client.receive()))
    client.send(events.Ping(payload=b"there?"))
    answers.append(client.receive())
    client.send(events.CloseConnection(code=1000))
    answers.append(client.receive())
    client.close()
    return answers


def test_the_websocket_echo():
    handler = load("websocket_echo").serve_client
    answers = serve_and_run(handler, talk)
    assert answers == ["AcceptConnection", "hello ✓", 300_000, "Pong", "CloseConnection"]


def test_what_is_no_websocket_is_refused():
    handler = load("websocket_echo").serve_client
    assert serve_and_run(handler, raw, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").startswith(
        b"HTTP/1.1 4"
    )


def test_a_client_that_leaves_without_a_word_is_no_error():
    def leave(port):
        client = WebSocketClient(port)
        client.receive()
        client.close()

    serve_and_run(load("websocket_echo").serve_client, leave)


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_the_websocket_server_says_goodbye():
    with program("websocket_echo") as port:
        client = WebSocketClient(port)
        assert client.receive() == "AcceptConnection"
        client.send(client.events.TextMessage(data="hello"))
        assert client.receive() == "hello"
    assert client.receive() == "CloseConnection"
    client.close()
