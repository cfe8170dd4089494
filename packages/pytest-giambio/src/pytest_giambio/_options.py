# SPDX-License-Identifier: Apache-2.0
"""Options and ini values, and which directory is in which mode."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from ._stash import MODES_OF_DIRECTORIES, OPTIONS

Mode = Literal["strict", "auto"]
ClockName = Literal["system", "virtual"]

MODES = ("strict", "auto")
CLOCKS = ("system", "virtual")

# The attribute of a conftest.py that sets the mode of its directory.
MODE_ATTRIBUTE = "giambio_mode"


class Options(NamedTuple):
    """What was asked for on the command line and in the configuration file."""

    mode: Mode
    """In which mode the tests are where no ``conftest.py`` says otherwise."""
    mode_is_forced: bool
    """Whether the mode was given on the command line, which goes before any ``conftest.py``."""
    clock: ClockName
    """What clock a test runs on unless its marker says otherwise."""
    timeout: float | None
    """How long a test may take unless its marker says otherwise, in seconds."""
    explore: int | None
    """How many schedules to try in place of what the markers say; 0 for the usual one alone."""
    seed: int
    """Where the random choices of exploration start."""
    replay: str | None
    """The schedule to run again."""


def add_options(parser: pytest.Parser) -> None:
    """Make options and ini values known to pytest."""
    group = parser.getgroup("giambio", "asynchronous tests on giambio")
    group.addoption(
        "--giambio-mode",
        choices=MODES,
        help="strict: run the async tests that are marked (the default); auto: run all async tests "
        "that no other plugin's marker claims",
    )
    group.addoption(
        "--giambio-explore",
        type=_count,
        metavar="N",
        help="try N schedules of each test marked explore=..., whatever number the marker has; "
        "0 runs each once, in the usual order",
    )
    group.addoption(
        "--giambio-seed",
        type=int,
        default=0,
        metavar="N",
        help="let the exploration of schedules make other random choices",
    )
    group.addoption(
        "--giambio-replay",
        metavar="SCHEDULE",
        help="run the one selected test with a schedule that a report has shown",
    )
    parser.addini(
        "giambio_mode", "strict or auto; see --giambio-mode", type="string", default="strict"
    )
    parser.addini(
        "giambio_clock",
        "what clock tests run on: system (the default), or virtual, which jumps to the next "
        "deadline when all tasks wait",
        type="string",
        default="system",
    )
    parser.addini(
        "giambio_timeout",
        "how many seconds an async test, and the set-up and the clean-up of each of its async "
        "fixtures, may take; 0, the default, sets no limit",
        type="float",
        default=0.0,
    )


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise ValueError(text)
    return count


def read_options(config: pytest.Config) -> Options:
    """Return the options, checked.

    Raises:
        pytest.UsageError: A value of the configuration file is not one of those it may have.
    """
    timeout = config.getini("giambio_timeout")
    if not timeout >= 0:
        raise pytest.UsageError(f"giambio_timeout must be at least 0 seconds, not {timeout:g}")
    return Options(
        mode=config.getoption("giambio_mode") or _one_of(MODES, config, "giambio_mode"),
        mode_is_forced=config.getoption("giambio_mode") is not None,
        clock=_one_of(CLOCKS, config, "giambio_clock"),
        timeout=timeout or None,
        explore=config.getoption("giambio_explore"),
        seed=config.getoption("giambio_seed"),
        replay=config.getoption("giambio_replay"),
    )


def _one_of(choices: tuple[str, ...], config: pytest.Config, name: str) -> Any:
    value = config.getini(name)
    if value not in choices:
        raise pytest.UsageError(f"{name} must be {' or '.join(choices)}, not {value!r}")
    return value


def note_directory(config: pytest.Config, plugin: object) -> None:
    """Remember the mode of a directory, if *plugin* is a ``conftest.py`` that sets it.

    Raises:
        pytest.UsageError: It sets it to something else.
    """
    mode = getattr(plugin, MODE_ATTRIBUTE, None)
    path = getattr(plugin, "__file__", None)
    if mode is None or path is None or os.path.basename(path) != "conftest.py":
        return
    if mode not in MODES:
        raise pytest.UsageError(f"{path}: giambio_mode must be strict or auto, not {mode!r}")
    config.stash.setdefault(MODES_OF_DIRECTORIES, {})[Path(path).parent] = mode


def mode_of(item: pytest.Item) -> Mode:
    """Return the mode that a test is in: the command line's, its directory's, or the default."""
    options = item.config.stash[OPTIONS]
    directories = item.config.stash.get(MODES_OF_DIRECTORIES, None)
    if directories and not options.mode_is_forced:
        for directory in item.path.parents:
            if directory in directories:
                return directories[directory]
    return options.mode


def refuse_two_autos(config: pytest.Config) -> None:
    """Say that two plugins cannot both take all async tests.

    Raises:
        pytest.UsageError: They were asked to.
    """
    if config.stash[OPTIONS].mode != "auto":
        return
    for other in ("asyncio_mode", "anyio_mode", "trio_mode"):
        try:
            value = config.getoption(other, None) or config.getini(other)
        except ValueError:  # the other plugin is not there
            continue
        if value == "auto" or value is True:
            raise pytest.UsageError(
                f"giambio_mode and {other} both ask for all async tests; turn one of them off, or "
                "set giambio_mode in the conftest.py of the directories that it is for"
            )
