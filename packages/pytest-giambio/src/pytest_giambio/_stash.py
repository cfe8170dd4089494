# SPDX-License-Identifier: Apache-2.0
"""Under which keys this plugin keeps what it knows of a test, or of the session, in pytest's stashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ._marker import Settings
    from ._options import Mode, Options
    from ._program import Promise
    from ._runner import Runner
    from ._unawaited import Recorder

# Of the session.
OPTIONS: pytest.StashKey[Options] = pytest.StashKey()
MODES_OF_DIRECTORIES: pytest.StashKey[dict[Path, Mode]] = pytest.StashKey()
SHARED_RUNNER: pytest.StashKey[Runner] = pytest.StashKey()

# Of a test.
SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
PROMISES: pytest.StashKey[list[Promise]] = pytest.StashKey()
RUNNER: pytest.StashKey[Runner] = pytest.StashKey()
SHARES_RUNNER: pytest.StashKey[bool] = pytest.StashKey()
WARNINGS: pytest.StashKey[Recorder] = pytest.StashKey()
# Puts back the frames that are hidden while the report is made.
HIDDEN_FRAMES: pytest.StashKey[Callable[[], None]] = pytest.StashKey()
# The settings of pytest-timeout's timer, and when it goes off.
OTHER_TIMER: pytest.StashKey[tuple[Any, float]] = pytest.StashKey()
