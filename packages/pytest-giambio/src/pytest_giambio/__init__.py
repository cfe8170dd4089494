# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin that runs asynchronous tests on giambio.

Tests need nothing from here but `fixture`, and that one only for fixtures that plain tests use, too.
"""

from __future__ import annotations

from ._decorator import fixture as fixture

__version__ = "0.1.0"
