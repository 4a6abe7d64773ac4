"""The documentation names what exists: modules, classes and functions, files, headings, parameters, commands."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from ops import cli

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "layers/closedwon/closedwon"
PAGES = sorted(page for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if page.name != "CHANGELOG.md")
COMMANDS = {name for names in cli.COMMANDS.values() for name in names}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@cache
def names_in(path: Path) -> frozenset[str]:
    """What a Python file defines: functions, classes, their methods and fields, constants, and what it imports."""
    found = set()

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    walk(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    walk(ast.parse(path.read_text()).body, "")
    return frozenset(found)


def is_defined(dotted: str) -> bool:
    """Whether the package has a module, or a module that defines a name, of this dotted name."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        module = PACKAGE.joinpath(*parts[:length])
        file = module.with_suffix(".py") if module.with_suffix(".py").is_file() else module / "__init__.py"
        if file.is_file():
            return length == len(parts) or ".".join(parts[length:]) in names_in(file)
    return False


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors_of(file)):
            broken.append(target)
    assert not broken


def test_the_glossary_names_what_exists() -> None:
    template = (ROOT / "template.yaml").read_text()
    terms: list[str] = []
    for row in re.findall(r"^\| \*\*.*$", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE):
        term, meaning, where, words_not_used = (cell.strip() for cell in row.strip("|").split("|"))
        assert meaning.endswith((".", ")")), row
        assert words_not_used, row
        terms += re.findall(r"\*\*(.+?)\*\*", term)
        for kind, name in re.findall(r"(parameter |state )?`([^`]+)`", where):
            if kind == "parameter ":
                assert re.search(rf"^  {name}:$", template, re.MULTILINE), name
            elif kind == "state ":
                assert f"{name}:" in (ROOT / "statemachines/provision.asl.yaml").read_text(), name
            elif name.startswith("./closedwon "):
                assert name.split()[1] in COMMANDS, name
            elif "/" in name:
                assert (ROOT / name).exists(), name
            else:
                assert is_defined(name), name
        for label in re.findall(r"label \*(.+?)\*", where):
            files = (ROOT / "salesforce").rglob("*.xml")
            assert any(f"<label>{label}</label>" in file.read_text() for file in files), label
    assert len(terms) == len(set(terms)) > 40


def test_the_walk_names_functions_that_exist() -> None:
    page = ROOT / "docs/architecture.md"
    stops = re.findall(r"^\| (\d+) \| \[`([\w.]+)`\]\(([^)]+)\) \|", page.read_text(), re.MULTILINE)
    assert [int(number) for number, _, _ in stops] == list(range(1, len(stops) + 1))
    assert 10 <= len(stops) <= 15
    assert [name for _, name, path in stops if name not in names_in((page.parent / path).resolve())] == []


def test_the_architecture_names_what_exists() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    folders = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(folders) == sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file())
    for name in re.findall(r"`((?:domain|provisioning|reconciliation)\.[\w.]+)`", text):
        assert is_defined(name), name
    for path in re.findall(r"`((?:functions|statemachines)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path
