# SPDX-License-Identifier: Apache-2.0
"""What can be seen of a page without running it: names, imports, and where a program comes from."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import symtable
import textwrap
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
READMES = [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md"))]
PAGES = [
    DOCS / "index.md",
    *sorted(page for kind in ("tutorial", "how-to", "reference", "design", "examples")
            for page in (DOCS / kind).glob("*.md")),
]  # fmt: skip
FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
ROLE = re.compile(r"\{(?:py:)?(?:obj|func|class|meth|attr|exc|mod)\}`([^`]+)`")


def name_of(path):
    return str(path.relative_to(ROOT))


def fences(page):
    """Return the blocks of code of a page: what stands behind the three backticks, and the lines."""
    return FENCE.findall(page.read_text())


def free_names(source):
    """Return the names that a program uses, and neither defines nor finds among the built-in ones."""
    used, defined = set(), set()

    def visit(table):
        for symbol in table.get_symbols():
            if symbol.is_global() or table.get_type() == "module":
                (defined if symbol.is_assigned() or symbol.is_imported() else used).add(
                    symbol.get_name()
                )
        for child in table.get_children():
            visit(child)

    visit(symtable.symtable(source, "<page>", "exec"))
    return used - defined - set(dir(builtins)) - {"__name__", "__file__"}


# Names


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_names_that_a_page_links_to_exist(page):
    for link in ROLE.findall(page.read_text()):
        target = re.sub(r".*<(.*)>", r"\1", link).lstrip("~")
        if target.startswith("giambio"):
            resolve_name(target)


def links_of_the_page_for_newcomers():
    page = DOCS / "how-to" / "come-from-asyncio-trio-or-curio.md"
    for link in ROLE.findall(page.read_text()):
        text, _, target = link.removesuffix(">").rpartition(" <")
        yield text or target, target.lstrip("~")


def test_calls_in_the_tables_for_newcomers_are_possible():
    seen = 0
    for text, target in links_of_the_page_for_newcomers():
        obj = resolve_name(target)
        expression = ast.parse(text.removeprefix("~").removeprefix("await "), mode="eval").body
        called = expression.func if isinstance(expression, ast.Call) else expression
        assert ast.unparse(called).split(".")[-1] == target.split(".")[-1], text
        if isinstance(expression, ast.Call):
            seen += 1
            is_method = isinstance(resolve_name(target.rpartition(".")[0]), type)
            own = ["self"] * (is_method and not isinstance(obj, classmethod))
            keywords = {keyword.arg: None for keyword in expression.keywords}
            inspect.signature(obj).bind(*own, *expression.args, **keywords)
    assert seen > 50


# Code


@pytest.mark.parametrize("page", [*READMES, *PAGES], ids=name_of)
def test_code_on_a_page_says_where_names_come_from(page):
    for language, code in fences(page):
        if language == "python":
            assert free_names(code) == set(), code


def included():
    """Return what pages show of examples: the page, the file, and the options."""
    for page in PAGES:
        for language, lines in fences(page):
            if found := re.fullmatch(r"\{literalinclude\} \.\./\.\./(examples/.*\.py)", language):
                options = dict(re.findall(r"^:([\w-]+): (.*)$", lines, re.MULTILINE))
                yield page, found[1], {name: text.strip('"') for name, text in options.items()}


QUOTED = [each for each in included() if each[0].parent.name != "examples"]


def shown(path, options):
    """Return the part of a file that a page shows, as Sphinx does."""
    lines = (ROOT / path).read_text().splitlines()
    if name := options.get("pyobject"):
        body = ast.parse("\n".join(lines)).body
        for part in name.split("."):
            (node,) = (each for each in body if getattr(each, "name", None) == part)
            body = node.body
        return textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno]))
    begin, end = 0, len(lines)
    if "lines" in options:
        begin = int(options["lines"].removesuffix("-")) - 1
    for option, skip in (("start-at", 0), ("start-after", 1)):
        if option in options:
            begin = next(n for n, line in enumerate(lines) if options[option] in line) + skip
    if "end-before" in options:
        rest = enumerate(lines[begin:], begin)
        end = next(n for n, line in rest if options["end-before"] in line)
    return "\n".join(lines[begin:end])


@pytest.mark.parametrize(
    ("page", "path", "options"), QUOTED, ids=[f"{page.stem}-{path}" for page, path, _ in QUOTED]
)
def test_a_part_of_a_program_links_to_the_whole_and_has_its_imports(page, path, options):
    assert options["caption"] == f"[{path}](#{path})"
    code = shown(path, options)
    imports = [
        node
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    imported = {alias.asname or alias.name for node in imports for alias in node.names}
    if re.search("^(import|from) ", code, re.MULTILINE):
        assert free_names(code) & imported == set()
    else:
        assert "pyobject" in options or any(
            other is not options and (page, path) == (other_page, other_path)
            for other_page, other_path, other in QUOTED
        ), "it begins after the imports, and they are not shown before it"


def test_each_example_stands_on_one_of_their_pages_as_a_whole():
    text = "".join(page.read_text() for page in PAGES if page.parent.name == "examples")
    for path in sorted(EXAMPLES.rglob("*.py")):
        name = name_of(path)
        section = (
            f"({name})=\n\n## {path.name}\n\n"
            f"```{{literalinclude}} ../../{name}\n:language: python\n:lines: 2-\n```\n"
        )
        assert text.count(section) == 1, name


def test_no_page_is_left_out_of_the_contents():
    listed = re.findall(r"^([\w-]+/[\w-]+)$", (DOCS / "index.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(set(listed))
    assert {DOCS / f"{name}.md" for name in listed} == set(PAGES[1:])


# Output


def places():
    """Return what pages, and outputs that they show, say of lines of examples."""
    texts = {page: page.read_text() for page in [*READMES, *PAGES]}
    texts.update((path, path.read_text()) for path in sorted(EXAMPLES.rglob("*.txt")))
    picture = DOCS / "pictures" / "watch.svg"
    texts[picture] = picture.read_text().replace("&#160;", " ")
    for source, text in texts.items():
        for name, number, function in re.findall(r"(\w+\.py):(\d+)(?: in)? ([\w.]+)", text):
            yield pytest.param(name, int(number), function, id=f"{source.stem}-{name}:{number}")
        for name, number, function in re.findall(r'"(\w+\.py)", line (\d+), in (\w+)', text):
            yield pytest.param(name, int(number), function, id=f"{source.stem}-{name}:{number}")


@pytest.mark.parametrize(("name", "number", "function"), list(places()))
def test_lines_that_outputs_name_are_where_a_task_can_be(name, number, function):
    (path,) = EXAMPLES.rglob(name)
    source = path.read_text()
    (line,) = source.splitlines()[number - 1 : number]
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.lineno <= number <= node.end_lineno
    ]
    assert function.split(".")[-1] in [node.name for node in functions]
    assert line.strip()
