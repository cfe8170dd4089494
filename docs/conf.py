# SPDX-License-Identifier: Apache-2.0
"""Settings of the documentation. Build it with ``nox -s docs``."""

from __future__ import annotations

import giambio

project = "giambio"
author = "The giambio developers"
copyright = "The giambio developers, Apache-2.0"
version = release = giambio.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "pictures/README.md"]

html_theme = "furo"
html_title = "giambio"

default_role = "any"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Checkpoint", "returns_style"), ("Source", "returns_style")]

# What the standard library and type variables are called in signatures is not explained here.
nitpick_ignore_regex = [("py:.*", ".*")]
suppress_warnings = ["ref.any", "ref.python"]
