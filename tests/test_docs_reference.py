# SPDX-License-Identifier: Apache-2.0
"""Every public name stands in the reference, once, and what the reference names exists."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
MODULES = [
    "giambio_kernel",
    "giambio",
    "giambio.debug",
    "giambio.exceptions",
    "giambio.from_thread",
    "giambio.hosting",
    "giambio.lowlevel",
    "giambio.socket",
    "giambio.testing",
    "pytest_giambio",
]
DIRECTIVE = re.compile(r"^\.\. (?:auto|py:)?(\w+):: ([\w.]+).*\n((?:   :.*\n)*)", re.MULTILINE)


def public_names(module):
    """Return what a module defines, and what it says that it re-exports: ``import name as name``."""
    names = set()

    def visit(statements):
        for node in statements:
            if isinstance(node, ast.ImportFrom):
                names.update(alias.name for alias in node.names if alias.name == alias.asname)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.If):
                visit(node.body)

    visit(ast.parse(Path(importlib.import_module(module).__file__).read_text()).body)
    return sorted(name for name in names if not name.startswith("_"))


def described():
    """Return the dotted paths of all that the pages of the reference describe."""
    paths = set()
    for page in REFERENCE.glob("*.md"):
        module = None
        for kind, name, lines in DIRECTIVE.findall(page.read_text()):
            options = dict(re.findall(r"   :([\w-]+):(.*)", lines))
            if kind in {"module", "currentmodule"}:
                module = name
                paths.add(name)
                if "members" in options:
                    listed = re.findall(r"\w+", options["members"]) or public_names(name)
                    left_out = re.findall(r"\w+", options.get("exclude-members", ""))
                    paths.update(f"{name}.{each}" for each in listed if each not in left_out)
            elif name.startswith(("giambio", "pytest_giambio")):
                paths.add(name)
            elif module:  # otherwise it is a name in signatures only
                paths.add(f"{module}.{name}")
    return paths


def test_what_is_described_exists():
    for path in described():
        resolve_name(path)


def test_nothing_is_described_twice():
    names = {}
    for path in described():
        names.setdefault(id(resolve_name(path)), []).append(path)
    assert [paths for paths in names.values() if len(paths) > 1] == []


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_described(module):
    known = {id(resolve_name(path)) for path in described()}
    names = public_names(module)
    assert names
    assert [name for name in names if id(resolve_name(f"{module}.{name}")) not in known] == []


def test_the_page_about_lowlevel_names_all_that_it_has():
    page = (REFERENCE / "lowlevel.md").read_text()
    named = {
        *re.findall(r"{py:obj}`(\w+)`", page),
        *re.findall(r"^\.\. \S+:: (\w+)$", page, re.MULTILINE),
    }
    assert set(public_names("giambio.lowlevel")) <= named


# Of typeshed, which has longer words for them, and of the kernel, where it is a class.
NOT_OURS = {
    "Loop",
    "OpenBinaryMode",
    "OpenTextMode",
    "ReadableBuffer",
    "StrPath",
    "WriteableBuffer",
}
# What the sources build others of.
PARTS = {"Argument", "PlainHandler", "TLSHandler"}


def test_names_in_signatures_stand_for_what_the_sources_say():
    said = {}
    for path in ROOT.glob("packages/*/src/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                value = node.value
                is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
                said[ast.unparse(target)] = value.value if is_text else ast.unparse(value)

    def spelled_out(text):
        words = re.split(r"(\w+)", text.replace("'", '"'))
        return "".join(spelled_out(said[word]) if word in PARTS else word for word in words)

    page = (REFERENCE / "types.md").read_text()
    for name, meaning in re.findall(r"py:type:: (\w+)\n   :canonical: (.*)\n", page):
        assert name in NOT_OURS or meaning == spelled_out(said[name])
