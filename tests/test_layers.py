# SPDX-License-Identifier: Apache-2.0
"""Imports go down only: between the three distributions, and between the files of each."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {
    "giambio_kernel": ROOT / "packages/giambio-kernel/src/giambio_kernel",
    "giambio": ROOT / "packages/giambio/src/giambio",
    "pytest_giambio": ROOT / "packages/pytest-giambio/src/pytest_giambio",
}
MAY_IMPORT = {
    "giambio_kernel": set(),
    "giambio": {"giambio_kernel"},
    "pytest_giambio": {"giambio", "giambio_kernel", "pytest", "_pytest"},
}

# From the ground up: each file imports only from those before it.
KERNEL = [
    "_errors",
    "_clock",
    "_timers",
    "_current",
    "_poller",
    "_wakeup",
    "_io",
    "_scope",
    "traps",
    "_waitqueue",
    "_task",
    "_interrupt",
    "_tracebacks",
    "_asyncgens",
    "_hooks",
    "_report",
    "_root",
    "_loop",
    "_scheduler",
    "__init__",
]

# The parts of giambio, from the ground up: packages, and the files that are no part of one.
GIAMBIO = [
    "exceptions",
    "_closing",
    "_numbers",
    "_predicates",
    "_simulation",
    "_selection",
    "lowlevel",
    "_pool",
    "_timeouts",
    "_combine",
    "_signals",
    "_sync",
    "_channels",
    "_retry",
    "_policies",
    "_threads",
    "from_thread",
    "_sockets",
    "socket",
    "_streams",
    "_tls",
    "_net",
    "_files",
    "_processes",
    "_run",
    "_workers",
    "hosting",
    "debug",
    "testing",
    "_command",
    "__main__",
]


def module_imports(path: Path, package: str) -> list[tuple[str, list[str]]]:
    """Return what a file imports at run time: module names, and the names taken from each.

    Relative imports are resolved; what stands under ``if TYPE_CHECKING`` may look up and is left out.
    """
    found: list[tuple[str, list[str]]] = []

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                for alternative in child.orelse:
                    visit(alternative)
            elif isinstance(child, ast.Import):
                found.extend((alias.name, []) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                module = child.module or ""
                if child.level:
                    parents = [package, *path.relative_to(SOURCES[package]).parts[:-1]]
                    base = parents[: len(parents) - child.level + 1]
                    module = ".".join([*base, module] if module else base)
                found.append((module, [alias.name for alias in child.names]))
            else:
                visit(child)

    visit(ast.parse(path.read_text()))
    return found


def files(package: str) -> list[Path]:
    return sorted(SOURCES[package].rglob("*.py"))


ALL_FILES = [(package, path) for package in SOURCES for path in files(package)]


@pytest.mark.parametrize(
    ("package", "path"), ALL_FILES, ids=lambda value: getattr(value, "stem", value)
)
def test_a_file_imports_the_standard_library_and_what_lies_below(package, path):
    allowed = {package, *MAY_IMPORT[package], *sys.stdlib_module_names}
    for module, _ in module_imports(path, package):
        assert module.partition(".")[0] in allowed, f"{path.name} imports {module}"


@pytest.mark.parametrize("package", ["giambio", "pytest_giambio"])
def test_only_public_names_are_taken_from_the_package_below(package):
    for path in files(package):
        for module, names in module_imports(path, package):
            top, _, rest = module.partition(".")
            if top not in SOURCES or top == package:
                continue
            private = [name for name in [*rest.split("."), *names] if name.startswith("_")]
            assert not private, f"{path.name} takes {private} from {module}"


def internal(package: str) -> dict[str, set[str]]:
    """For each module of a package, which other modules of it are imported when it is."""
    root = SOURCES[package]
    names = {
        ".".join([package, *path.relative_to(root).with_suffix("").parts]): path
        for path in files(package)
    }
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        found: set[str] = set()
        for module, imported in module_imports(path, package):
            for candidate in [module, *(f"{module}.{each}" for each in imported)]:
                for known in (candidate, f"{candidate}.__init__"):
                    if known in names and known != name:
                        found.add(known)
        graph[name] = found
    return graph


def test_the_kernel_is_built_from_the_ground_up():
    graph = internal("giambio_kernel")
    assert {name.rpartition(".")[2] for name in graph} == set(KERNEL), (
        "the list above is out of date"
    )
    for name, imports in graph.items():
        level = KERNEL.index(name.rpartition(".")[2])
        for other in imports:
            assert KERNEL.index(other.rpartition(".")[2]) < level, f"{name} imports {other}"


def test_the_parts_of_giambio_are_built_from_the_ground_up():
    def part(module: str) -> str:
        return module.split(".")[1]

    graph = internal("giambio")
    # What is public stands in the package itself, which takes it from everywhere.
    del graph["giambio.__init__"]
    assert {part(name) for name in graph} == set(GIAMBIO), "the list above is out of date"
    for name, imports in graph.items():
        level = GIAMBIO.index(part(name))
        for other in imports - {"giambio.__init__"}:
            assert GIAMBIO.index(part(other)) <= level, f"{name} imports {other}"


@pytest.mark.parametrize("package", SOURCES)
def test_no_imports_go_round_in_a_circle(package):
    # A lazy attribute of a package is an import that its __getattr__ does; none of them goes back.
    graph = internal(package)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())
