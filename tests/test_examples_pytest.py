# SPDX-License-Identifier: Apache-2.0
"""The examples for pytest, run by pytest."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples/pytest_plugin"
ROOT = EXAMPLES.parent.parent


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


def test_both_mistakes_are_found(run):
    result = run("test_races.py")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            ">       assert await account.read() == 3",
            "E         1. pay_in_later*await giambio.sleep(0)",
            "E            before pay_in *",
            "*test_a_payment_can_be_given_up fails when it is cancelled at checkpoint*",
            "*is still held by*",
        ]
    )


def test_the_page_shows_these_reports():
    page = (ROOT / "docs/how-to/test-with-pytest.md").read_text()
    for line in (
        "It fails when tasks run first come, first served, except that",
        "before pay_in ",
        "fails when it is cancelled at checkpoint 2 (on entry)",
    ):
        assert line in page
