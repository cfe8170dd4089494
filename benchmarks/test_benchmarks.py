# SPDX-License-Identifier: Apache-2.0
"""The benchmarks work: each row runs on giambio and on the floor, and gives figures of the right shape.

Sizes are tiny and nothing is said about time.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from math import isfinite
from time import monotonic
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import ROOT, bare, report
from benchmarks.contenders import CONTENDERS
from benchmarks.machine import cores, stay_on
from benchmarks.reach import Reach
from benchmarks.report import markdown
from benchmarks.results import Figures, Results
from benchmarks.rounds import play
from benchmarks.row import LoopRow, SkipRow
from benchmarks.rows import ROWS
from benchmarks.rows.wire import Request
from benchmarks.session import Session
from benchmarks.wire.contenders import WIRE_CONTENDERS
from benchmarks.wire.load import Client, Load
from benchmarks.worker import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.contenders import Contender

BARE, GIAMBIO = (
    next(one for one in CONTENDERS if one.name == name) for name in ("bare", "giambio")
)
ON_WIRE = [one for one in WIRE_CONTENDERS if one.library in ("c", "bare", "giambio")]
INSIDE = [row for row in ROWS.values() if isinstance(row, LoopRow) and not row.fresh]
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="it needs epoll")


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    all_cores = cores()
    stay_on(*all_cores[:1])
    with Session(scale=0.01) as session:
        yield session
    stay_on(*all_cores)


@pytest.fixture(params=ON_WIRE, ids=lambda one: one.name)
def server(request: pytest.FixtureRequest, session: Session) -> Contender:
    """Each server that needs nothing to be installed, except that one needs a compiler."""
    contender: Contender = request.param
    if contender.library == "c" and session.compiled.program("server") is None:
        pytest.skip("there is no C compiler")
    return contender


@needs_linux
@pytest.mark.parametrize("contender", [BARE, GIAMBIO], ids=lambda one: one.name)
@pytest.mark.parametrize("row", INSIDE, ids=lambda row: row.key)
def test_row_inside_the_process(row: LoopRow, contender: Contender) -> None:
    """Each row inside the process takes some time on the floor and on giambio."""
    seconds = row.measure(contender, 0)
    assert seconds > 0
    assert isfinite(row.shown(seconds))


@needs_linux
@pytest.mark.parametrize("contender", [BARE, GIAMBIO], ids=lambda one: one.name)
def test_row_in_a_new_process(session: Session, contender: Contender) -> None:
    """A sleeping task takes some memory, which a new process finds out."""
    assert ROWS["memory-task"].play(contender, session) > 0


@needs_linux
def test_services(session: Session, server: Contender) -> None:
    """Each server echoes, also what does not fit into the buffers at once."""
    assert play_wire(Load(3, 300_000, 300, 3_000), server, session) > 0


@needs_linux
@pytest.mark.parametrize("contender", [BARE, GIAMBIO], ids=lambda one: one.name)
def test_service_with_timeout(session: Session, contender: Contender) -> None:
    """The servers echo with a timeout around every receive."""
    load = Load(3, 1024, 300, 3_000)
    wire = on_wire(contender.name)
    assert play_wire(load, wire, session, service="echo_with_timeout") > 0


@needs_linux
@pytest.mark.parametrize("contender", [BARE, GIAMBIO], ids=lambda one: one.name)
def test_service_over_tls(session: Session, contender: Contender) -> None:
    """The servers echo over TLS, also what does not fit into a record or into the buffers at once."""
    wire = on_wire(contender.name)
    assert ROWS["echo-tls"].play(wire, session) > 0
    assert play_wire(Load(3, 300_000, 300, 3_000), wire, session, service="tls_echo") > 0


def test_no_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what makes certificates, rows over TLS are left out."""
    monkeypatch.setitem(sys.modules, "trustme", None)
    with Session() as session, pytest.raises(SkipRow, match="trustme is not installed"):
        ROWS["echo-tls"].play(on_wire("giambio"), session)


@needs_linux
def test_service_of_datagrams(session: Session, server: Contender) -> None:
    """Each server sends datagrams back to where they came from, also the largest."""
    assert ROWS["echo-udp"].play(server, session) > 0
    assert play_wire(Load(1, 65_507, 300, 3_000), server, session, service="udp_echo") > 0


def test_missing_service(session: Session) -> None:
    """A service that a server does not have is no failure."""
    row = Request("a", "a", Load(1, 1, 1, 1), service="tea")
    with pytest.raises(SkipRow, match="has no tea"):
        row.play(on_wire("giambio"), session)


@needs_linux
def test_connections_that_end(session: Session) -> None:
    """A server goes on when connections end, and each request may have one of its own."""
    load = Load(2, 64, 1_000, 5_000, reconnect=True)
    assert play_wire(load, on_wire("giambio"), session) > 0


@needs_linux
def test_idle_connections(session: Session) -> None:
    """The memory of idle connections is measured; so few of them may take none."""
    assert ROWS["memory-connection"].play(on_wire("giambio"), session) >= 0


@needs_linux
def test_client_without_a_compiler(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client in Python does what the one in C does."""
    monkeypatch.setattr(session.compiled, "program", lambda name: None)
    giambio = on_wire("giambio")
    assert play_wire(Load(3, 300_000, 300, 3_000), giambio, session) > 0
    assert play_wire(Load(2, 64, 1_000, 5_000, reconnect=True), giambio, session) > 0
    assert ROWS["memory-connection"].play(giambio, session) >= 0


@needs_linux
@pytest.mark.parametrize("compiler", ["a compiler", "no compiler"])
def test_datagrams_that_are_lost(
    session: Session, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    """The client goes on when some datagrams are lost, and when all are."""
    if compiler == "no compiler":
        monkeypatch.setattr(session.compiled, "program", lambda name: None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=echo_but_some, args=(sock, {0, 1, 9}), daemon=True)
        thread.start()
        server: Any = SimpleNamespace(transport="udp", port=sock.getsockname()[1], pid=os.getpid())
        load = Load(2, 64, 10, 100)
        with Client(server, load, session) as client:
            assert client.cpu > 0
        thread.join()


@needs_linux
def test_broken_server(session: Session) -> None:
    """A server that does not answer is a failure with a reason."""
    with pytest.raises(MeasurementError, match="connections answered"):
        play_wire(Load(1, 1, 1, 1, seconds=-1), on_wire("giambio"), session)


@needs_linux
def test_worker_and_rounds(session: Session) -> None:
    """Rounds interleave, and all contenders have a figure, or a reason, for each."""
    rows = [ROWS["switch-1"], ROWS["run"]]
    seen: list[str] = []
    figures = play(
        rows,
        2,
        session,
        takes_part=lambda one: one in (BARE, GIAMBIO),
        progress=lambda line: seen.append(line.partition(": ")[2]),
    )
    first = [f"{row.title}: {name}" for row in rows for name in ("bare", "giambio")]
    second = [f"{row.title}: {name}" for row in rows for name in ("giambio", "bare")]
    assert seen == [*first, *second]
    for row in rows:
        assert {name: len(rounds) for name, rounds in figures[row.key].rounds.items()} == {
            "bare": 2,
            "giambio": 2,
        }
        assert not figures[row.key].absent


def test_absence_is_remembered(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contender that cannot do a row is not asked again, and the reason is kept."""
    asked: list[str] = []

    def refuse(contender: Contender, session: Session) -> float:
        asked.append(contender.name)
        raise SkipRow("it rains")

    row = ROWS["spawn"]
    monkeypatch.setattr(row, "play", refuse)
    figures = play([row], 3, session, takes_part=lambda one: one is BARE)
    assert asked == ["bare"]
    assert figures["spawn"] == Figures({"bare": [None] * 3}, {"bare": "it rains"})


def test_ratios_are_paired() -> None:
    """A ratio is the median of the ratios of each round, whatever the medians are."""
    figures = Figures({"giambio": [1.0, 20.0, 3.0, None], "bare": [2.0, 10.0, 1.5, 1.0]})
    assert figures.median("giambio") == 3.0
    assert figures.ratio("giambio", "bare") == 2.0
    assert figures.ratio("giambio", "trio") is None


@pytest.mark.parametrize(
    ("reach", "words", "met"),
    [
        (Reach(times=2.0), "≤ 2 × bare", True),
        (Reach(times=1.9), "≤ 1.9 × bare", False),
        (Reach(times=9, base="trio"), "≤ 9 × trio", None),
        (Reach(at_most=4), "≤ 4 ms", True),
        (Reach(at_most=5, ahead_of="asyncio"), "≤ 5 ms, < asyncio", False),
    ],
)
def test_reach(reach: Reach, words: str, met: bool | None) -> None:
    """A target is reached, or not, or not known to be."""
    figures = Figures({"giambio": [4.0], "bare": [2.0], "asyncio": [3.0]})
    assert reach.text("ms") == words
    assert reach.met(figures) is met


def test_results_survive_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written to a file gives the same report, in the README, too."""
    figures = {
        "switch-1": Figures({"bare": [1.0], "giambio": [2.0], "trio": [None]}, {"trio": "asleep"}),
        "echo-1-timeout": Figures({"giambio": [2.0], "the same without": [1.0]}),
    }
    machine = {"python": "3", "implementation": "C", "system": "L", "architecture": "x", "cores": 1}
    results = Results(
        "2026-01-31", machine, {"giambio": "1"}, {"rounds": 1, "quick": False}, figures
    )
    text = markdown(results, ROWS)
    assert "| switch, 1 task | ns | 1.00 | **2.00** | 2.00 | ≤ 1.8 × bare | **no** |" in text
    assert "**no**, 2.00" in text
    assert "trio: asleep (switch, 1 task)" in text
    again = Results.from_json(json.loads(json.dumps(results.as_json(ROWS))))
    assert again == results

    readme = tmp_path / "README.md"
    with open(report.README) as file:
        readme.write_text(file.read())
    monkeypatch.setattr(report, "README", str(readme))
    report.update_readme(text)
    report.update_readme(text)
    assert readme.read_text().count(text) == 1


@needs_linux
def test_floor_keeps_time() -> None:
    """On the floor sleepers wake in the order of time and not early; timeouts fire, also cancels."""
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        start = monotonic()
        await bare.sleep(seconds)
        assert monotonic() - start >= seconds
        woken.append(seconds)

    async def main() -> None:
        async with bare.Pool() as pool:
            for seconds in (0.03, 0.001, 0.015):
                pool.spawn(sleeper, seconds)
            late = pool.spawn(sleeper, 3600)
            with pytest.raises(TimeoutError), bare.Timeout(0.001):
                await bare.sleep(3600)
            late.cancel()

    bare.run(main)
    assert woken == [0.001, 0.015, 0.03]


@needs_linux
def test_floor_forgets_old_timeouts() -> None:
    """On the floor the heap does not grow with timeouts that are over."""

    async def main() -> int:
        for _ in range(10_000):
            with bare.Timeout(30):
                pass
        return len(bare.timers)

    assert bare.run(main) < 2_000


@needs_linux
def test_floor_hands_over_in_order() -> None:
    """On the floor who comes first is served first, and nothing is lost or doubled."""
    seen: list[tuple[str, int]] = []

    async def locker(lock: bare.Lock, number: int) -> None:
        async with lock:
            await bare.checkpoint()
            seen.append(("lock", number))

    async def consumer(queue: bare.Queue, channel: bare.Channel) -> None:
        for _ in range(5):
            seen.append(("queue", await queue.get()))
        for _ in range(5):
            seen.append(("channel", await channel.receive()))

    async def main() -> None:
        lock, queue, channel = bare.Lock(), bare.Queue(2), bare.Channel()
        async with bare.Pool() as pool:
            for number in range(5):
                pool.spawn(locker, lock, number)
        async with bare.Pool() as pool:
            pool.spawn(consumer, queue, channel)
            for number in range(5):
                await queue.put(number)
            for number in range(5):
                await channel.send(number)

    bare.run(main)
    assert seen == [(kind, n) for kind in ("lock", "queue", "channel") for n in range(5)]


def test_command() -> None:
    """The command lists its rows."""
    command = [sys.executable, "-m", "benchmarks", "--list", "--rows", "^echo-1$"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert listed.stdout.split() == ["echo-1", "echo,", "1", "conn,", "64", "B", "[µs]"]


def on_wire(name: str) -> Contender:
    return next(one for one in WIRE_CONTENDERS if one.name == name)


def play_wire(
    load: Load, contender: Contender, session: Session, *, service: str = "echo"
) -> float:
    return Request("a", "a", load, service=service).play(contender, session)


def echo_but_some(sock: socket.socket, lost: set[int]) -> None:
    for number in range(2 + 10 + 100 + len(lost)):
        data, address = sock.recvfrom(1024)
        if number not in lost:
            sock.sendto(data, address)
