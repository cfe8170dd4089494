# SPDX-License-Identifier: Apache-2.0
"""Seeing what a program does."""

from __future__ import annotations

from ._base import BaseDebugger as BaseDebugger
