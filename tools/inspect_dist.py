# SPDX-License-Identifier: Apache-2.0
"""Check what is in the built distributions: the code, its types, its licence, and nothing else."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path


def members(archive: Path) -> list[str]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.namelist()
    with tarfile.open(archive) as sdist:
        return [name.partition("/")[2] for name in sdist.getnames()]


def complaints(archive: Path) -> list[str]:
    names = members(archive)
    found = []
    package = archive.name.split("-")[0]
    if archive.suffix == ".whl":
        allowed = (f"{package}/", f"{package}-")
        found += [f"{name} does not belong there" for name in names if not name.startswith(allowed)]
        found += [f"{name} is a test" for name in names if "tests/" in name]
        wanted = [f"{package}/__init__.py", f"{package}/py.typed"]
        licence = any(name.endswith("licenses/LICENSE") for name in names)
    else:
        wanted = [f"src/{package}/__init__.py", "README.md", "pyproject.toml"]
        licence = "LICENSE" in names
        if not any(name.startswith("tests/") for name in names):
            found.append("the tests are missing")
    found += [f"{name} is missing" for name in wanted if name not in names]
    if not licence:
        found.append("the licence is missing")
    return [f"{archive.name}: {complaint}" for complaint in found]


if __name__ == "__main__":
    archives = sorted(Path(sys.argv[1]).iterdir())
    all_complaints = [complaint for archive in archives for complaint in complaints(archive)]
    print("\n".join(all_complaints) or f"{len(archives)} distributions are as they should be")
    sys.exit(1 if all_complaints or len(archives) != 6 else 0)
