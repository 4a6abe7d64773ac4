"""Lists what closed-won is built on, with versions and licences, in docs/licences.md; refuses what is not permitted.

``python -m tools.licences`` writes the document, ``--check`` says whether it is as it should be. Packages and versions
come from the pinned requirements, licences from the metadata of what is installed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "licences.md"
DEPLOYED, DEVELOPMENT = "layers/closedwon/requirements.txt", "requirements-dev.txt"

PERMISSIVE = frozenset(
    {
        "0BSD",
        "AFL-2.1",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CNRI-Python",
        "ISC",
        "MIT",
        "MIT-0",
        "PSF-2.0",
    }
)
"""By SPDX's names: they ask for a notice and no more."""

EXCEPTIONS = {
    "certifi": "MPL-2.0 asks that changes to its own files are published; it is a list of certificates, used unchanged",
    "hypothesis": "MPL-2.0 as above; for tests only, never deployed",
    "pathspec": "MPL-2.0 as above; for checks only, never deployed",
}
"""Packages whose licence is not permissive, and why they are used nevertheless."""

SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""What packages write for it. "BSD" does not say how many clauses; the longest of the usual ones is meant."""

NOT_EVERYWHERE = {"colorama": "BSD-3-Clause", "pywin32": "PSF-2.0"}
"""Packages that other systems need and that are not installed on all."""


class Package(NamedTuple):
    """A package. licence: an SPDX expression; "" where its metadata says none."""

    name: str
    version: str
    licence: str


def pinned(path: Path) -> Iterator[tuple[str, str]]:
    """Name and version of each requirement."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"([\w.-]+)(?:\[[^]]*\])?==([^\s;\\]+)", line):
            yield found[1].lower().replace("_", "-"), found[2]


def licence_of(name: str, told: Mapping[str, list[str]] | None = None) -> str:
    """In: a package's name; its metadata, else that of what is installed. Out: SPDX, as well as it can be told."""
    told = _installed(name) if told is None else told
    if told is None:
        return NOT_EVERYWHERE.get(name, "")
    if expression := told.get("License-Expression"):
        return expression[0]
    written = told.get("License", [""])[0].strip()
    if SPDX.get(written, written) in {*PERMISSIVE, *SPDX.values()} or re.fullmatch(r"[\w.-]+ OR [\w.-]+", written):
        return SPDX.get(written, written)
    classified = [c.rpartition("::")[2].strip() for c in told.get("Classifier", []) if c.startswith("License ::")]
    return " OR ".join(SPDX.get(one, one) for one in classified)


def _installed(name: str) -> dict[str, list[str]] | None:
    """The metadata of a package that is installed, None where it is not."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    return {field: [str(value) for value in about.get_all(field) or []] for field in set(about)}


def is_permissive(licence: str) -> bool:
    """Whether an expression allows use under permissive licences alone. One with parentheses is not understood."""
    choices = re.split(r"\s+OR\s+", licence)
    return any(all(part in PERMISSIVE for part in re.split(r"\s+AND\s+", choice)) for choice in choices)


def packages(file: str) -> list[Package]:
    """The packages of a requirements file, in order."""
    return [Package(name, version, licence_of(name)) for name, version in sorted(set(pinned(ROOT / file)))]


def refused(found: list[Package]) -> list[str]:
    """The packages that may not be used, in words."""
    return [
        f"{one.name} {one.version}: {one.licence or 'no licence is told'}"
        for one in found
        if not is_permissive(one.licence) and (one.name not in EXCEPTIONS or "MPL-2.0" not in one.licence)
    ]


def document(deployed: list[Package], development: list[Package]) -> str:
    """The text of docs/licences.md."""

    def table(found: list[Package]) -> str:
        rows = [f"| {one.name} | {one.version} | {one.licence} |" for one in found]
        return "\n".join(["| package | version | licence |", "|---|---|---|", *rows])

    names = {(one.name, one.version) for one in deployed}
    others = [one for one in development if (one.name, one.version) not in names]
    reasons = "\n".join(f"- **{name}**: {why}." for name, why in EXCEPTIONS.items())
    return f"""# Licences

Made by `python -m tools.licences` from the pinned requirements and the packages' own metadata; `make check` holds it to
them, and refuses a licence that is not permissive and not named below. Each package brings its own notice.

Not permissive in the narrow sense, and used nevertheless:

{reasons}

## Deployed: the layer of all functions

{table(deployed)}

## For development only: tests, checks, the sandbox, the operators' command

What the layer has is used here too. The SAM CLI and checkov, in virtual environments of their own, are not listed.

{table(others)}
"""


def main() -> int:
    """0 when all is permitted and, with --check, the document says so; else 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing: compare")
    deployed, development = packages(DEPLOYED), packages(DEVELOPMENT)
    text = document(deployed, development)
    problems = [f"not permitted: {one}" for one in refused([*deployed, *development])]
    if not parser.parse_args().check:
        DOCUMENT.write_text(text, encoding="utf-8")
    elif not DOCUMENT.exists() or DOCUMENT.read_text(encoding="utf-8") != text:
        problems.append("docs/licences.md is not up to date: run python -m tools.licences")
    print("\n".join(problems) or f"{len(deployed)} packages deployed, {len(development)} for development: permitted")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
