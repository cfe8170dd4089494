#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Set up a development environment and run a task in it. Needs Python 3.11 or newer and pip.

    python3 dev.py demo     an echo server with real clients, to be watched; with --brief, shortly
    python3 dev.py test     the tests, against the built wheels; what follows is for pytest
    python3 dev.py          everything that CI runs
    python3 dev.py -l       what else there is

The tasks are nox sessions (see noxfile.py); nox itself is installed into .venv on the first run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
NOX = "nox>=2025.2"

# What one types, and what it means to nox.
SHORT = {
    "demo": ["-s", "demo"],
    "test": ["-s", f"tests-{sys.version_info[0]}.{sys.version_info[1]}"],
}


def version_of(python: Path) -> str:
    # Without pip it was interrupted in its making, and is none.
    command = [str(python), "-c", "import pip, sys; print(*sys.version_info[:2])"]
    return subprocess.run(command, capture_output=True, text=True).stdout


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036  the one file that an older Python may meet
        print(f"giambio needs Python 3.11 or newer; this is {sys.version.split()[0]}")
        return 2
    python = VENV / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists() or version_of(python) != "{} {}\n".format(*sys.version_info):
        # One of another Python would find no session for this one, and skip the tests.
        print("Making a virtual environment in .venv", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    if subprocess.run([str(python), "-c", "import nox"], capture_output=True).returncode:
        print("Installing nox into it", flush=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", NOX], check=True)
    arguments = sys.argv[1:]
    if arguments and arguments[0] in SHORT:
        rest = arguments[1:]  # is for the demo, or for pytest
        arguments = SHORT[arguments[0]] + (rest if "--" in rest or not rest else ["--", *rest])
    nox = subprocess.Popen([str(python), "-m", "nox", *arguments], cwd=ROOT)
    while True:
        try:
            return nox.wait()
        except KeyboardInterrupt:
            pass  # nox has got it, too; its sessions clean up, and it ends


if __name__ == "__main__":
    sys.exit(main())
