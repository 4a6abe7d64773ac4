"""Holds the version together, and makes what a release consists of.

The version is said once, as ``__version__`` of the package ``closedwon``. ``--check`` says whether all that repeats it
agrees: pyproject.toml, template.yaml (the stack's description and its output ``Version``), and the newest dated
section of CHANGELOG.md. ``--tag v1.2.3`` compares a tag too. Without an option, after ``make build``, it writes to
``.build/release/``: the archive to deploy from, and the release's text.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tools.sam_template import read_template

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "layers/closedwon/closedwon/__init__.py"
RELEASE = ".build/release"
SHIPPED = (
    ".aws-sam/build",
    "CHANGELOG.md",
    "LICENSE",
    "salesforce",
    "samconfig.toml",
    "statemachines",
    "template.yaml",
)
"""What `sam deploy` needs, where it looks for it, and the package for Salesforce."""

LINKS = ("CodeUri", "ContentUri", "DefinitionUri")
HEADING = re.compile(r"^## \[(?P<version>[^]]+)\](?: - (?P<date>\d{4}-\d{2}-\d{2}))?$", re.MULTILINE)


class ReleaseError(Exception):
    """A release cannot be made; the message says why."""


def version(root: Path = ROOT) -> str:
    """The version, from the one place that says it."""
    found = re.search(r'^__version__ = "(\d+\.\d+\.\d+)"$', (root / PACKAGE).read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise ReleaseError(f"{PACKAGE} has no line __version__ = with three numbers")
    return found[1]


def sections(changelog: str) -> list[tuple[str, str, str]]:
    """The sections of a changelog, newest first: version, date ("" for what is not released), text."""
    headings = list(HEADING.finditer(changelog))
    ends = [heading.start() for heading in headings[1:]] + [len(changelog)]
    return [
        (heading["version"], heading["date"] or "", changelog[heading.end() : end].strip())
        for heading, end in zip(headings, ends, strict=True)
    ]


def repeated(root: Path) -> Iterator[tuple[str, str]]:
    """Where the version is said again, and what it is there."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    yield "pyproject.toml", project["version"]
    template = read_template(root / "template.yaml")
    named = re.match(r"closed-won (\S+):", str(template["Description"]))
    yield "template.yaml, Description", named[1] if named else "not said"
    yield "template.yaml, output Version", str(template["Outputs"].get("Version", {}).get("Value", "not said"))
    dated = [number for number, date, _ in sections((root / "CHANGELOG.md").read_text(encoding="utf-8")) if date]
    yield "CHANGELOG.md, newest dated section", dated[0] if dated else "not said"


def disagreements(root: Path = ROOT, tag: str | None = None) -> list[str]:
    """What does not agree with the package's version, a line each."""
    wanted = version(root)
    said = [*repeated(root), *([("the tag", tag.removeprefix("v"))] if tag is not None else [])]
    wrong = [f"{where}: {number}; the package says {wanted}" for where, number in said if number != wanted]
    headings = [(number, date) for number, date, _ in sections((root / "CHANGELOG.md").read_text(encoding="utf-8"))]
    dates = [date for _, date in headings if date]
    if headings[0] != ("Unreleased", ""):
        wrong.append("CHANGELOG.md: does not begin with ## [Unreleased]")
    if dates != sorted(dates, reverse=True) or len(dates) != len(headings) - 1:
        wrong.append("CHANGELOG.md: every version needs a date, the newest first")
    return wrong


def shipped(root: Path) -> list[Path]:
    """The files of the archive, in order. Raises ReleaseError when one is missing that the built template names."""
    built = root / ".aws-sam" / "build" / "template.yaml"
    if not built.exists():
        raise ReleaseError("there is no .aws-sam/build yet: run make build")
    found: set[Path] = set()
    for name in SHIPPED:
        path = root / name
        found |= {path} if path.is_file() else {one for one in path.rglob("*") if one.is_file()}
    there = found | {folder for path in found for folder in path.parents}
    for name, link, named in linked(built):
        if (built.parent / named).resolve() not in there:
            raise ReleaseError(f"{name}: {link} {named} is not in the archive")
    return sorted(found)


def linked(template: Path) -> Iterator[tuple[str, str, str]]:
    """The files and folders that a template's resources name: resource, property, path from the template's folder."""
    for name, resource in (read_template(template).get("Resources") or {}).items():
        for link in LINKS:
            named = (resource.get("Properties") or {}).get(link)
            if isinstance(named, str):
                yield name, link, named


def write_archive(root: Path, target: Path) -> None:
    """Write the archive; the same files give the same bytes."""
    files = shipped(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            entry = zipfile.ZipInfo(f"{target.stem}/{path.relative_to(root).as_posix()}", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())


def notes(root: Path) -> str:
    """The text of this version's release."""
    wanted = version(root)
    texts = [
        text for number, _, text in sections((root / "CHANGELOG.md").read_text(encoding="utf-8")) if number == wanted
    ]
    how = f"Unpack `closed-won-{wanted}.zip` and run `sam deploy --guided --config-env production` in it."
    how += " The repository's README.md explains the parameters."
    return f"{texts[0]}\n\n## Deploy\n\n{how}\n"


def main() -> int:
    """0 when versions agree and, unless only that was asked, the release was written; else 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only compare versions")
    parser.add_argument("--tag", help="only compare versions, with this tag too")
    arguments = parser.parse_args()
    try:
        problems = disagreements(ROOT, arguments.tag)
        if problems or arguments.check or arguments.tag is not None:
            print("\n".join(problems) or f"version {version()} everywhere")
            return 1 if problems else 0
        target = ROOT / RELEASE / f"closed-won-{version()}.zip"
        write_archive(ROOT, target)
        (target.parent / "notes.md").write_text(notes(ROOT), encoding="utf-8")
        print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1e6:.1f} MB")
    except ReleaseError as error:
        print(f"make release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
