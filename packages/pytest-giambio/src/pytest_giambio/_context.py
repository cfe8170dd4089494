# SPDX-License-Identifier: Apache-2.0
"""Context variables that a fixture sets, for the tests that use it and for nobody else.

A fixture runs in a context of its own. What it changes there is set in pytest's context, too, when its
set-up is done, so that later fixtures and the test, which run in copies of that, see it, and is taken
back when the fixture has ended. The test's own changes stay in its copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from giambio.lowlevel import running

if TYPE_CHECKING:
    from contextvars import Context, ContextVar, Token

Changes: TypeAlias = "list[tuple[ContextVar[Any], Token[Any]]]"
"""What has to be taken back, in the order in which it was done."""

_UNSET = object()


def apply_changes(context: Context) -> Changes:
    """Set in the current context what differs in *context*."""
    changes: Changes = []
    for variable, value in context.items():
        # Which loop one is in is no business of pytest's, which is in none.
        if variable is not running and variable.get(_UNSET) is not value:
            changes.append((variable, variable.set(value)))
    return changes


def take_back(changes: Changes) -> None:
    """Undo what `apply_changes` did."""
    while changes:
        variable, token = changes.pop()
        variable.reset(token)
