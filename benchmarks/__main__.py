# SPDX-License-Identifier: Apache-2.0
"""The command: ``python -m benchmarks``, from the root of the repository. See ``--help``."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from datetime import date

from benchmarks import ROOT
from benchmarks.contenders import versions
from benchmarks.machine import facts
from benchmarks.report import markdown, update_readme
from benchmarks.results import Results
from benchmarks.rounds import play
from benchmarks.rows import ROWS
from benchmarks.session import Session

_RESULTS = os.path.join(ROOT, "benchmarks", "results")
_LAST = os.path.join(_RESULTS, "last.json")
# What the tables in the README were made of.
_README = os.path.join(_RESULTS, "readme.json")

_ROUNDS = 7
_QUICK_ROUNDS = 3
# A quick run does this part of the work.
_QUICK_SCALE = 0.25


def main() -> None:
    """Do what the arguments say."""
    options = _parser().parse_args()
    rows = [row for key, row in ROWS.items() if re.search(options.rows, key)]
    if not rows:
        sys.exit(f"no row matches {options.rows!r}; --list shows them")
    if options.list:
        for row in rows:
            print(f"{row.key:20} {row.title} [{row.unit}]")
        return
    if options.update_readme and (len(rows) < len(ROWS) or options.libraries):
        sys.exit("the README shows all rows and libraries; leave out --rows and --libraries")
    if options.read:
        with open(options.read) as file:
            results = Results.from_json(json.load(file))
    else:
        results = _measure(options)
        _write(results, options.json)
    text = markdown(results, ROWS)
    print(text)
    if options.update_readme:
        update_readme(text)
        _write(results, _README)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the same work on giambio, its peers, and a loop written by hand.",
    )
    add = parser.add_argument
    add("--rows", metavar="PATTERN", default="", help="only rows whose key has this pattern in it")
    add("--libraries", metavar="NAMES", help="only these, separated by commas; bare is one of them")
    add("--rounds", type=int, metavar="N", help=f"how many rounds; {_ROUNDS} if omitted")
    add("--quick", action="store_true", help="less work and fewer rounds, for a first look")
    add("--json", metavar="FILE", default=_LAST, help="where to write what was measured")
    add("--read", metavar="FILE", help="show what was measured before, and measure nothing")
    add("--list", action="store_true", help="list the rows, and measure nothing")
    add("--update-readme", action="store_true", help="put the tables into benchmarks/README.md")
    return parser


def _measure(options: argparse.Namespace) -> Results:
    rounds = options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS)
    chosen = set(options.libraries.split(",")) if options.libraries else None
    rows = [row for key, row in ROWS.items() if re.search(options.rows, key)]
    results = Results(
        date=date.today().isoformat(),  # noqa: DTZ011  # the day where the machine is
        machine=facts(),
        versions=versions(),
        settings={"rounds": rounds, "quick": options.quick},
    )
    with Session(scale=_QUICK_SCALE if options.quick else 1.0) as session:
        results.figures = play(
            rows,
            rounds,
            session,
            takes_part=lambda one: chosen is None or bool({one.name, one.library} & chosen),
            progress=_show_progress,
        )
    _show_progress("")
    return results


def _show_progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def _write(results: Results, path: str) -> None:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as file:
        json.dump(results.as_json(ROWS), file, indent=1, ensure_ascii=False)
        file.write("\n")


if __name__ == "__main__":
    main()
