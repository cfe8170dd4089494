# SPDX-License-Identifier: Apache-2.0
"""The examples about testing print what the documents say that they do."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "testing"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_output_in_the_documents_is_that_of_the_program(path, capsys, monkeypatch):
    """Run from their directory, so that reports have short names of files."""
    monkeypatch.chdir(EXAMPLES)
    runpy.run_path(path.name, run_name="__main__")
    assert capsys.readouterr().out == path.with_suffix(".txt").read_text()
