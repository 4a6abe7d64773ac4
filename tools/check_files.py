"""Refuses files that do not belong in the repository: binary files, and files that are too large.

Every tracked file and every untracked one that git would take is looked at. Screenshots for the documents are allowed:
PNG, in ``docs/images``, small. Any other exception is named in EXCEPTIONS, with its reason.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tools.check_secrets import ROOT, files

IMAGES = "docs/images"
LARGEST_IMAGE = 200_000
LARGEST_FILE = 500_000

EXCEPTIONS: dict[str, str] = {}
"""Files that may be binary or large: the path, and why it has to be in the repository."""


def is_binary(content: bytes) -> bool:
    """Whether content is anything but text in UTF-8."""
    try:
        return "\0" in content.decode("utf-8")
    except UnicodeDecodeError:
        return True


def problem_of(name: str, content: bytes) -> str | None:
    """Why a file does not belong here; None where it does. name: its path below the repository."""
    if name.startswith(f"{IMAGES}/") and name.endswith(".png") and content.startswith(b"\x89PNG\r\n\x1a\n"):
        large = len(content) > LARGEST_IMAGE
        return f"a screenshot of {len(content):,} bytes; {LARGEST_IMAGE:,} are allowed" if large else None
    if is_binary(content):
        return f"a binary file; only PNG screenshots in {IMAGES} are allowed"
    if len(content) > LARGEST_FILE:
        return f"{len(content):,} bytes; {LARGEST_FILE:,} are allowed"
    return None


def problems(root: Path, exceptions: Mapping[str, str] = EXCEPTIONS) -> list[str]:
    """In: a work tree; the files that are let through. Out: what is wrong, a line each."""
    found = {}
    for path in files(root):
        name = path.relative_to(root).as_posix()
        if problem := problem_of(name, path.read_bytes()):
            found[name] = problem
    refused = [f"{name}: {problem}" for name, problem in found.items() if not exceptions.get(name, "").strip()]
    return refused + [f"{name}: is an exception that nothing needs" for name in exceptions if name not in found]


def main() -> int:
    """Print what does not belong here: 0 when there is nothing, 1 otherwise."""
    found = problems(ROOT)
    print("\n".join(found) or f"{len(files(ROOT))} files, none binary or too large")
    if found:
        print("A file that has to be here is named in EXCEPTIONS of tools/check_files.py, with the reason.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
