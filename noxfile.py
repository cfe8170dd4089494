# SPDX-License-Identifier: Apache-2.0
"""Everything that is done to this repository. ``nox`` alone runs what CI runs; ``nox -l`` lists it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True

ROOT = Path(__file__).parent
DIST = ROOT / "dist"
# The wheels that are tested, and where they are; built once in a run of nox.
WHEELS: list[str] = []
BUILT = ROOT / ".nox" / "wheels"
# From the ground up: each may depend on those before it.
PACKAGES = ["giambio-kernel", "giambio", "pytest-giambio"]
IMPORTS = ["giambio_kernel", "giambio", "pytest_giambio"]
SOURCES = [
    f"packages/{package}/src/{name}" for package, name in zip(PACKAGES, IMPORTS, strict=True)
]

# The Python that runs nox comes first; it is the one that `dev.py test` uses.
THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"
PYTHONS = [THIS, *(v for v in ("3.11", "3.12", "3.13", "3.14", "3.15") if v != THIS)]

TEST_TOOLS = [
    "pytest>=8.4,<10",
    "hypothesis>=6.100",
    "coverage[toml]>=7.6",
    "trustme>=1.1",
    "h11>=0.14",  # protocols without I/O, for the examples
    "wsproto>=1.2",
    "aiosqlite>=0.20",  # a library that needs asyncio, for the bridge to it
]
COVERAGE = {"giambio_kernel": 95, "giambio": 95, "pytest_giambio": 95}
PYTESTS = ["8.4", "9.0", "9.1", "9.2"]

nox.options.sessions = [
    "lint", "types", "layers", "versions", "build", "tests", "plugin", "coverage", "soak", "docs",
]  # fmt: skip


def wheels(session: nox.Session) -> list[str]:
    """Return the paths of the three wheels, built from their sdists by the first who asks."""
    if not WHEELS:
        session.install("build>=1.2")
        shutil.rmtree(BUILT, ignore_errors=True)
        for package in PACKAGES:
            session.run(
                "python", "-m", "build", "--outdir", str(BUILT), f"packages/{package}", silent=True
            )
        WHEELS.extend(str(next(BUILT.glob(f"{name}-*.whl"))) for name in IMPORTS)
    return WHEELS


def install_wheels(session: nox.Session, *more: str) -> None:
    """Install the built wheels by path, so that no index can supply one of them."""
    built = wheels(session)
    session.install(*built, *more)
    # In an environment that is used again pip would be content with what has the same version.
    session.install("--force-reinstall", "--no-deps", *built)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests against the built wheels, in a fresh virtual environment."""
    if session.python == os.environ.get("GIAMBIO_TESTED_ON"):
        session.skip("done by .ci/run already, with the README's command")
    install_wheels(session, *TEST_TOOLS)
    session.env["GIAMBIO_TEST_INSTALLED"] = "1"  # tests/test_installed.py then insists on wheels
    session.env["COVERAGE_FILE"] = f".coverage.{session.python}"
    # -P: the current directory must not be importable. coverage, not a pytest plugin: ours is
    # imported when pytest starts, before a plugin could begin to count.
    what = session.posargs or ["-q", "-m", "not soak"]
    session.run("python", "-P", "-m", "coverage", "run", "-m", "pytest", *what)


@nox.session
@nox.parametrize("pytest", PYTESTS)
def plugin(session: nox.Session, pytest: str) -> None:
    """Run the tests of the pytest plugin with older versions of pytest, and beside other plugins."""
    install_wheels(
        session,
        f"pytest=={pytest}.*",
        "anyio>=4.9",
        "hypothesis>=6.100",
        "pytest-asyncio>=1.0",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
    )
    what = session.posargs or ["packages/pytest-giambio/tests"]
    # The tests that want pytest-asyncio turn it on in runs of their own.
    session.run("python", "-P", "-m", "pytest", "-q", "-p", "no:asyncio", *what)


@nox.session
def soak(session: nox.Session) -> None:
    """Run much of everything for some time; nothing may be left behind."""
    install_wheels(session, *TEST_TOOLS)
    session.run("python", "-P", "-m", "pytest", "-q", "-m", "soak", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Combine what `tests` has counted, and fail below the bound of a package."""
    session.install("coverage[toml]>=7.6")
    session.run("coverage", "combine", "--keep", *map(str, ROOT.glob(".coverage.3.*")))
    for name, bound in COVERAGE.items():
        session.log(f"{name}: at least {bound} %")
        session.run("coverage", "report", f"--include=*/{name}/*", f"--fail-under={bound}")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install("ruff==0.17.5")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types strictly, and that every public name has one."""
    install_wheels(session, "mypy==2.4.1", "pyright==1.1.414", "pytest>=8.4,<10")
    session.run("mypy", *SOURCES)
    session.run("mypy", "tests/typing")
    session.run("pyright", "tests/typing")  # they disagree usefully
    for name in IMPORTS:
        session.run("pyright", "--verifytypes", name, "--ignoreexternal")


@nox.session
def layers(session: nox.Session) -> None:
    """Check that imports go down only."""
    session.install("pytest>=8.4,<10")
    session.run("pytest", "-q", "-p", "no:giambio", "tests/test_layers.py")


@nox.session
def versions(session: nox.Session) -> None:
    """Check that all versions and pins agree; ``nox -s versions -- 1.2.3`` sets them."""
    session.run("python", "tools/versions.py", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build sdists, and wheels from them, into dist/, and check what is in them."""
    session.install("build>=1.2", "twine>=6")
    shutil.rmtree(DIST, ignore_errors=True)
    for package in PACKAGES:
        session.run(
            "python", "-m", "build", "--outdir", str(DIST), f"packages/{package}", silent=True
        )
    session.run("twine", "check", "--strict", *map(str, sorted(DIST.iterdir())))
    session.run("python", "tools/inspect_dist.py", str(DIST))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    install_wheels(session, "-r", "docs/requirements.txt")
    session.run("sphinx-build", "-n", "-T", "-W", "-q", "-b", "html", "docs", "docs/_build/html")


@nox.session(python=PYTHONS[0])
def demo(session: nox.Session) -> None:
    """Show an echo server of ours that serves real clients at the same time."""
    session.install(*(f"packages/{package}" for package in PACKAGES[:2]))
    session.run("python", "examples/demo.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare with curio, trio, asyncio and uvloop; ``-- --help`` lists the options."""
    install_wheels(session, "-r", "benchmarks/requirements.txt")
    session.run("python", "-m", "benchmarks", *session.posargs)
