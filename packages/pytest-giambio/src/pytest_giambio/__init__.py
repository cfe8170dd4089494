# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin that runs asynchronous tests on giambio."""

from __future__ import annotations

__version__ = "0.1.0"
