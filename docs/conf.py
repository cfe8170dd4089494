# SPDX-License-Identifier: Apache-2.0
"""Settings of the documentation. Build it with ``nox -s docs``."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx import addnodes
from sphinx.util.nodes import make_refnode

import giambio

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

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
html_static_path = ["_static"]
html_css_files = ["tables.css"]

# Names in docstrings. Unlike "any", this takes a name for what it is where it stands, and does not
# guess: see `find_name` for where it is looked up.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Checkpoint", "returns_style"), ("Source", "returns_style")]

# Every name must lead somewhere, but for what stands in the standard library's own documentation.
nitpicky = True
STANDARD = "|".join([*sorted(sys.stdlib_module_names), *filter(str.isidentifier, dir(builtins))])
nitpick_ignore_regex = [
    ("py:.*", rf"({STANDARD})(\..+)?"),
    # The same, without the module, and names of tkinter and pytest.
    ("py:class", r"AbstractAsyncContextManager|Context|ContextVar|FrameType|Future|PathLike|deque"),
    ("py:.*", r"tk\.Misc|pytest\..+"),
    ("py:.*", r"(.+\.)?(T|T1|T2|T3|T4|P|P\.args|P\.kwargs|R|S|Item|Done)"),  # type variables
]


def setup(app: Sphinx) -> None:
    bring_home()
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", hide_constructor)
    app.connect("autodoc-process-docstring", shorten_types, priority=600)  # after napoleon
    app.connect("doctree-read", tidy_signatures)
    app.connect("missing-reference", find_name)


def bring_home() -> None:
    """Tell classes and functions in which file they are, where their fields are described.

    They think that they are where they are public, once somebody has used them.
    """
    for name in dir(giambio):
        getattr(giambio, name)
    for name, module in list(sys.modules.items()):
        if name.startswith(("giambio", "pytest_giambio")) and module.__file__:
            for node in ast.parse(Path(module.__file__).read_bytes()).body:
                kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
                if isinstance(node, kinds) and node.name in vars(module):
                    vars(module)[node.name].__module__ = name


def prepare_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Do not let napoleon take what stands before a colon for a type: types are annotations here."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()  # what Python says of the fields of named tuples
    if "Returns:" in lines:
        lines.insert(lines.index("Returns:") + 1, "    \\")  # an escaped end of line: nothing
    if what in {"attribute", "property"}:
        lines.insert(0, "\\")


def hide_constructor(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str, returned: str
) -> tuple[str, str] | None:
    """Of a class that nobody makes by hand, do not show how it is made."""
    if not isinstance(obj, type):
        return None
    made_by = re.search(r"[Mm]ade by [^.]+", obj.__doc__ or "")
    is_made = made_by is not None and " or of " not in made_by[0]
    is_private = re.search(r"\b_[A-Z]", signature or "") is not None
    is_abstract = issubclass(obj, Enum) or getattr(obj, "_is_protocol", False)
    return ("", "") if is_made or is_private or is_abstract else None


def shorten_types(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Show the types of attributes without the files that they are defined in."""
    for number, line in enumerate(lines):
        if ":type:" in line:
            lines[number] = re.sub(r"\bgiambio\w*(\.\w+)*\._\w+(\.\w+)*\.(\w+)", r"\3", line)


def tidy_signatures(app: Sphinx, doctree: nodes.document) -> None:
    for module in list(doctree.findall(addnodes.desc_addname)):
        if "._" in module.astext():  # of a class that one gets but never imports
            module.parent.remove(module)
    for parameter in doctree.findall(addnodes.desc_parameter):
        name = parameter.astext().partition(":")[0]
        if "~P" in parameter.astext():  # what Sphinx makes of the variables of a ParamSpec
            parameter.children = [addnodes.desc_sig_name("", f"{name}: P.{name.strip('*')}")]


# Where a name may come from that does not say it.
MODULES = [
    "giambio",
    "giambio.exceptions",
    "giambio.testing",
    "giambio.debug",
    "giambio.from_thread",
    "giambio.socket",
    "giambio.hosting",
    "giambio.lowlevel",
    "giambio_kernel",
]


def find_name(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.Element
) -> nodes.reference | None:
    """Resolve a name whose object is documented under another one: a re-exported one, for example."""
    if node.get("refdomain") != "py":
        return None
    documented = env.domains.python_domain.objects
    found = {name: look_up(name) for name, entry in documented.items() if not entry.aliased}
    named = {id(obj): name for name, (obj, members) in found.items() if obj and not members}
    target = node["reftarget"]
    homes = filter(None, [node.get("py:module"), *MODULES])
    for path in [target, *(f"{home}.{target}" for home in homes)]:
        obj, members = look_up(path)
        name = ".".join([named.get(id(obj), ""), *members])
        if name in documented:
            page, place = documented[name].docname, documented[name].node_id
            return make_refnode(app.builder, node["refdoc"], page, place, text, name)
    return None


def look_up(path: str) -> tuple[object, list[str]]:
    """Return the class, function or module at a dotted path, and what comes after a class."""
    names = path.split(".")
    obj: object = None
    for number, name in enumerate(names):
        if isinstance(obj, type):
            return obj, names[number:]
        try:
            obj = getattr(obj, name) if number else importlib.import_module(name)
        except (AttributeError, ImportError):
            return None, []
    return obj, []
