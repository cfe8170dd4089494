# SPDX-License-Identifier: Apache-2.0
"""The examples for pytest, run by pytest."""

from __future__ import annotations

import re
import shutil
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples/pytest_plugin"


@pytest.fixture
def run(pytester):
    """Return a function that runs pytest on an example, copied to a directory of its own."""

    pytester.makeini("[pytest]")  # the configuration of the directory around it is not for it

    def run(name):
        shutil.copy(EXAMPLES / name, pytester.path)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            return pytester.runpytest_inprocess(
                "-p", "no:cacheprovider", "-p", "no:hypothesispytest"
            )

    return run


def test_the_first_tests_pass(run):
    run("test_first.py").assert_outcomes(passed=4)


def test_the_tests_in_the_readme_pass(run, pytester):
    readme = (ROOT / "packages/pytest-giambio/README.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    pytester.makepyfile(test_readme=program)
    run("test_first.py").assert_outcomes(passed=6)


def masked(lines):
    """Return a report without what changes with the way of searching: counts, names, strings."""
    changing = r"gb1-\w+|number \d+|\d+ more|held by '\w+'"
    return re.sub(changing, "...", "\n".join(map(str.rstrip, lines)))


def test_the_reports_in_the_documents_are_those_of_the_mistakes(run):
    result = run("test_races.py")
    result.assert_outcomes(failed=2)
    race = [line for line in result.outlines if line.startswith((">", "E "))]
    assert masked(race) == masked((EXAMPLES / "race.txt").read_text().splitlines())
    head = next(
        i for i, line in enumerate(result.outlines) if " fails when it is cancelled" in line
    )
    cancelled = result.outlines[head : head + 3]
    assert masked(cancelled) == masked((EXAMPLES / "cancelled.txt").read_text().splitlines())
