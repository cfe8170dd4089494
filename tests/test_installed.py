# SPDX-License-Identifier: Apache-2.0
"""In CI the tests run against the built wheels, not against the sources beside them."""

from __future__ import annotations

import importlib
import os
from importlib import metadata

import pytest

IMPORTS = {
    "giambio_kernel": "giambio-kernel",
    "giambio": "giambio",
    "pytest_giambio": "pytest-giambio",
}


@pytest.mark.parametrize("name", IMPORTS)
def test_the_modules_come_from_site_packages(name):
    if "GIAMBIO_TEST_INSTALLED" not in os.environ:
        pytest.skip("not run by nox")
    module = importlib.import_module(name)
    assert "site-packages" in module.__file__.split(os.sep)


@pytest.mark.parametrize(("name", "distribution"), IMPORTS.items())
def test_the_version_is_that_of_the_distribution(name, distribution):
    assert importlib.import_module(name).__version__ == metadata.version(distribution)


def test_siblings_are_pinned_to_the_same_version():
    version = metadata.version("giambio")
    assert metadata.requires("giambio-kernel") is None
    assert metadata.requires("giambio") == [f"giambio-kernel=={version}"]
    assert f"giambio=={version}" in metadata.requires("pytest-giambio")
