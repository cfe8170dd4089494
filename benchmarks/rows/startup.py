# SPDX-License-Identifier: Apache-2.0
"""Rows about the start of a program."""

from __future__ import annotations

import subprocess
import sys
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks import ROOT
from benchmarks.contenders import CONTENDERS
from benchmarks.reach import Reach
from benchmarks.row import Row

if TYPE_CHECKING:
    from benchmarks.contenders import Contender
    from benchmarks.session import Session

# Isolated mode does not look into the folder where `benchmarks` is, so it is named.
_NOTHING = f"import sys; sys.path.insert(0, {ROOT!r})"


class ImportTime(Row):
    """How much longer a new process takes, from start to end, if it imports the library."""

    key = "import"
    title = "import"
    unit = "ms"
    reach = Reach(at_most=12)
    repeats = 5

    def contenders(self) -> tuple[Contender, ...]:
        return tuple(one for one in CONTENDERS if not one.flags)

    def play(self, contender: Contender, session: Session) -> float:
        module = "benchmarks.bare" if contender.library == "bare" else contender.library
        importing = f"{_NOTHING}; import {module}"
        _time(importing)  # and let Python keep what it compiles
        # In pairs, so that both see the same machine.
        pairs = [(_time(importing), _time(_NOTHING)) for _ in range(self.repeats)]
        return min(with_it for with_it, _ in pairs) - min(without for _, without in pairs)


def _time(program: str) -> float:
    start = perf_counter()
    subprocess.run([sys.executable, "-I", "-c", program], check=True)
    return perf_counter() - start


ROWS = (ImportTime(),)
