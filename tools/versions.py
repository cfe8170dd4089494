# SPDX-License-Identifier: Apache-2.0
"""Keep the versions of the three distributions, and their pins on each other, the same.

python tools/versions.py            check that they agree
python tools/versions.py 1.2.3      set them
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "giambio-kernel": "giambio_kernel",
    "giambio": "giambio",
    "pytest-giambio": "pytest_giambio",
}
VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.dev\d+)?")


def places() -> list[tuple[Path, re.Pattern[str]]]:
    """Where a version stands: a file, and a pattern that is the version between two groups."""
    found = []
    siblings = "|".join(PACKAGES)
    for package, name in PACKAGES.items():
        project = ROOT / "packages" / package / "pyproject.toml"
        found.append((project, re.compile(r'(^version = ")([^"]+)(")', re.MULTILINE)))
        if package != "giambio-kernel":
            found.append((project, re.compile(rf'("(?:{siblings})\s*[=<>!~]=\s*)([^"]+)(")')))
        module = ROOT / "packages" / package / "src" / name / "__init__.py"
        found.append((module, re.compile(r'(^__version__ = ")([^"]+)(")', re.MULTILINE)))
    return found


def check() -> int:
    """Print every place that disagrees with the kernel's version; return how many."""
    expected = ""
    wrong = 0
    for path, pattern in places():
        matches = list(pattern.finditer(path.read_text()))
        if not matches:
            print(f"{path.relative_to(ROOT)}: found no version by {pattern.pattern}")
            wrong += 1
        for match in matches:
            expected = expected or match[2]
            exact = "==" in match[1] or "version" in match[1]
            if match[2] != expected or not exact:
                print(f"{path.relative_to(ROOT)}: {match[0]} (expected {expected}, pinned with ==)")
                wrong += 1
    if not wrong:
        print(f"all versions and pins are {expected}")
    return wrong


def bump(version: str) -> None:
    """Set every version and pin to *version*."""
    if not VERSION.fullmatch(version):
        sys.exit(f"{version!r} is not a version number")
    for path, pattern in places():
        path.write_text(pattern.sub(rf"\g<1>{version}\g<3>", path.read_text()))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        bump(sys.argv[1])
    sys.exit(1 if check() else 0)
