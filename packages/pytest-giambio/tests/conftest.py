# SPDX-License-Identifier: Apache-2.0
"""How these tests run tests: in this process, in a directory of their own."""

from __future__ import annotations

import importlib
import pkgutil
import signal
import textwrap
import warnings
from contextlib import suppress

import pytest

import giambio
import pytest_giambio

# An inner run forgets what it has imported, and would import it again for each test. Of what giambio
# imports when it is first used there would be two, and what is done to the one is not seen in the other.
with suppress(ImportError):
    importlib.import_module("hypothesis")
for _name in dir(giambio):
    getattr(giambio, _name)
for _module in pkgutil.iter_modules(pytest_giambio.__path__):
    importlib.import_module(f"pytest_giambio.{_module.name}")

HEAD = """
import pytest
import giambio
import pytest_giambio
from contextvars import ContextVar
"""


class Result:
    """What came of an inner run: ``result["test_name"]`` is the outcome of a test."""

    def __init__(self, run):
        self.ret = run.ret
        self.out = run.stdout.str()
        self.err = run.stderr.str()
        usage_error = run.ret == pytest.ExitCode.USAGE_ERROR
        self._reports = [] if usage_error else run.reprec.getreports("pytest_runtest_logreport")

    def __getitem__(self, name):
        outcomes = []
        for report in self._reports:
            if report.nodeid.rpartition("::")[2] != name:
                continue
            if report.failed:
                outcomes.append("failed" if report.when == "call" else f"error in {report.when}")
            elif hasattr(report, "wasxfail"):
                outcomes.append("xfailed" if report.skipped else "xpassed")
            elif report.skipped:
                outcomes.append("skipped")
            elif report.when == "call":
                outcomes.append("passed")
        assert outcomes, f"{name} was not run:\n{self.out}"
        return ", ".join(outcomes)

    def text(self, name):
        """All that is said of the failures of a test."""
        return "\n".join(
            report.longreprtext
            for report in self._reports
            if report.nodeid.rpartition("::")[2] == name and not report.passed
        )

    def passed(self):
        """Whether all tests passed, and there were some; otherwise shows the output."""
        assert self._reports and self.ret == 0, self.out + self.err
        return True


@pytest.fixture(autouse=True)
def own_world(pytester, monkeypatch):
    """Let no inner run find the configuration, or the plugins, of the outer one."""
    pytester.makeini("[pytest]")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_giambio.plugin")
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def inner(pytester):
    """Return a function that runs pytest on a source text."""
    pytester.syspathinsert()

    def run(source, *args, beside=None, no_reraise_ctrlc=False, **files):
        if beside is not None:
            args = ("-p", beside, *args)
        pytester.makepyfile(test_it=HEAD + textwrap.dedent(source), **files)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            return Result(
                pytester.runpytest_inprocess(
                    "-p", "no:cacheprovider", *args, no_reraise_ctrlc=no_reraise_ctrlc
                )
            )

    return run


@pytest.fixture
def marked(inner):
    """Return a function that runs pytest on a source text in which all tests are marked."""

    def run(source, *args, **files):
        source = "pytestmark = pytest.mark.giambio\n" + textwrap.dedent(source)
        return inner(source, *args, **files)

    return run


@pytest.fixture
def free_alarm():
    """Let no other timer of this process use the alarm signal for the time of a test."""
    handler = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    yield
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, left, interval)
