# SPDX-License-Identifier: Apache-2.0
"""The programs in C, compiled for the time of a session if there is a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile


class Compiled:
    """A temporary folder with the programs, by name. Without a compiler there are none."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="giambio-benchmarks-")
        self._programs: dict[str, str] = {}
        compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
        if compiler is None or sys.platform != "linux":
            return
        for name in ("client", "server"):
            source = os.path.join(os.path.dirname(__file__), f"{name}.c")
            program = os.path.join(self._folder.name, name)
            # A compiler that lacks the system's headers complains, and is as good as none.
            if (
                subprocess.run([compiler, "-O2", "-o", program, source], check=False).returncode
                == 0
            ):
                self._programs[name] = program

    def program(self, name: str) -> str | None:
        """Return the file of a program; ``None`` if it could not be compiled."""
        return self._programs.get(name)

    def close(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()
