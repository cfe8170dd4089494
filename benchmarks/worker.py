# SPDX-License-Identifier: Apache-2.0
"""Workers: a process for each library, which measures what it is asked for.

Libraries would disturb each other in one process: by what they import, by memory that is scattered,
by the state that the interpreter's adaptive bytecode is in, and -O holds for a whole process. A process
that stays costs nothing between two rounds, so the rounds of all libraries can be taken in turns of a
fraction of a second each, while the machine has one speed.

This module is both ends of the pipe: `Worker` in the process of the benchmark, and the program that it
starts. A question and an answer are a line of JSON each.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any

from benchmarks import ROOT
from benchmarks.contenders import CONTENDERS
from benchmarks.machine import stay_on
from benchmarks.row import LoopRow, SkipRow

if TYPE_CHECKING:
    from benchmarks.contenders import Contender


class MeasurementError(Exception):
    """A contender failed, or took too long; the message says how."""


class Worker:
    """The process that measures one library."""

    def __init__(self, contender: Contender) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *contender.flags, "-m", "benchmarks.worker", contender.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )

    def ask(self, row: LoopRow, *, scale: float, core: int | None, limit: float) -> float:
        """Let it measure a row.

        Args:
            row: The row.
            scale: As for `LoopRow.measure`.
            core: The core to do it on.
            limit: How long to wait, in seconds.

        Raises:
            SkipRow: The library cannot do this.
            MeasurementError: It failed, or there was no answer in time. Then the worker is of no more use.
        """
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None and pipe_out is not None
        question = {"row": row.key, "scale": scale, "core": core}
        pipe_in.write(json.dumps(question).encode() + b"\n")
        pipe_in.flush()
        if not select.select([pipe_out], [], [], limit)[0]:
            self.close()
            raise MeasurementError(f"no result after {limit:g} s")
        line = pipe_out.readline()
        if not line:
            raise MeasurementError(f"the process ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "skip" in answer:
            raise SkipRow(answer["skip"])
        if "error" in answer:
            raise MeasurementError(answer["error"])
        return float(answer["value"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def _answer(contender: Contender, question: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.rows import ROWS

    row = ROWS[question["row"]]
    assert isinstance(row, LoopRow)
    if question["core"] is not None:
        stay_on(question["core"])
    try:
        return {"value": row.measure(contender, question["scale"])}
    except SkipRow as reason:
        return {"skip": str(reason)}
    except BaseException as error:
        traceback.print_exc()
        return {"error": "".join(traceback.format_exception_only(error)).strip()}


def main() -> None:
    """Answer questions until there are no more."""
    name = sys.argv[1]
    contender = next(one for one in CONTENDERS if one.name == name)
    for line in sys.stdin:
        print(json.dumps(_answer(contender, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
