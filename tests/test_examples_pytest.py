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

    def run(name, *options):
        shutil.copy(EXAMPLES / name, pytester.path)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            return pytester.runpytest_inprocess(
                "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *options
            )

    return run


def test_the_first_tests_pass(run):
    run("test_first.py").assert_outcomes(passed=4)


def test_the_tests_in_the_readme_pass(run, pytester):
    readme = (ROOT / "packages/pytest-giambio/README.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    pytester.makepyfile(test_readme=program)
    run("test_first.py").assert_outcomes(passed=6)


def test_the_reports_in_the_documents_are_those_of_the_mistakes(run):
    """To the last character of the replay strings: one that is out of date leads nowhere."""
    result = run("test_races.py")
    result.assert_outcomes(failed=2)
    lines = [line.rstrip() for line in result.outlines]
    race = [line for line in lines if line.startswith((">", "E"))]
    assert race == (EXAMPLES / "race.txt").read_text().splitlines()
    head = next(i for i, line in enumerate(lines) if " fails when it is cancelled" in line)
    assert lines[head : head + 3] == (EXAMPLES / "cancelled.txt").read_text().splitlines()


@pytest.mark.parametrize("name", ["race", "cancelled"])
def test_the_command_in_a_report_makes_the_test_fail_again(run, name):
    report = (EXAMPLES / f"{name}.txt").read_text()
    test, replay = re.search(r"pytest \S+::(\w+) --giambio-replay=(\S+)", report).groups()
    result = run("test_races.py", "-k", test, f"--giambio-replay={replay}")
    result.assert_outcomes(failed=1, deselected=1)
    error = {"race": "assert 2 == 3", "cancelled": "something was left behind"}[name]
    result.stdout.fnmatch_lines([f"*{error}*"])
