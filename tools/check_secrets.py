"""Refuses secrets, package registries and paths of one machine in any file git would take.

Every tracked file and every untracked one that is not ignored is read, line by line:

- secrets of a known form (AWS, Stigg, Salesforce, GitHub, Slack, private keys, JSON web tokens);
- a random-looking value given to a name such as ``key``, ``secret``, ``token`` or ``password``;
- a package registry's host: which one is used is each machine's own setting;
- a path that exists on one machine only.

A line that must hold such a thing says so and why, in any kind of comment: ``scan: allow <reason>``.
The value found is never printed: this output ends up in logs.
"""

from __future__ import annotations

import argparse
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

ALLOWED = re.compile(r"scan: allow \w+")

# None of these matches its own source: a backslash or a bracket stands where the real thing has a letter.
KNOWN = {
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "a JSON web token": re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}"),
    "a Stigg API key": re.compile(r"\b(?:server|client)-(?=[\w:-]*\d[\w:-]*\d)\w{8,}[:-][\w:-]{8,}"),
    "a Salesforce session": re.compile(r"\b00D[0-9A-Za-z]{12,15}![\w.]{20,}"),
    "a Salesforce refresh token": re.compile(r"\b5Aep861[\w.]{20,}"),
    "a Salesforce client ID": re.compile(r"\b3MVG9[\w.]{40,}"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[0-9A-Za-z]{36}|github_pat_\w{40,})"),
    "a Slack token": re.compile(r"\bxox[abeprs]-[\w-]{10,}"),
    "a password in an address": re.compile(r"\b[a-z][a-z+]+://[^\s/:@$<{\"']+:[^\s/:@$<{\"']{3,}@[\w.-]+"),
}
REGISTRY = re.compile(
    r"\b(?:(?:test\.)?pypi\.(?:org|io)|(?:files\.)?pythonhosted\.org|registry\.(?:npmjs\.org|yarnpkg\.com)"
    r"|(?:\w+\.)?anaconda\.org|(?:deb|security)\.debian\.org|(?:archive|ports)\.ubuntu\.com"
    r"|(?:proxy|sum)\.golang\.org|(?:static\.|index\.)?crates\.io|rubygems\.org|repo\d?\.maven\.(?:apache\.)?org)\b",
    re.IGNORECASE,
)
MACHINE_PATH = re.compile(r"(?<![\w.\-/~}>$])/(?:work|tmp|root|home/\w+|Users/\w+|opt/(?:wheels|pypi))\b(?!\.)")
NAMED_VALUE = re.compile(
    r"(?:secret|token|passw(?:or)?d|credential|(?:api|access|private|client|callout|signing|encryption)[_-]?key)"
    r"\w*[\"']?\s*(?::|=|:=|=>)\s*(?P<quote>[\"']?)(?P<value>[A-Za-z0-9+/_.~=-]{16,})(?P=quote)\s*(?:[,;})#\]]|$)",
    re.IGNORECASE,
)
WORDS = re.compile(r"(?:[A-Za-z]{2,}|\d{1,6})(?:[-_./](?:[A-Za-z]+\d?|\d{1,6}))*")


def looks_random(value: str) -> bool:
    """Whether a value looks drawn at random rather than written: letters and digits mixed, few repeats, not words.

    ``callout-key-0001`` and ``layers/closedwon`` are written; 16 characters of hexadecimal are not.
    """
    if len(re.findall(r"\d", value)) < 2 or not re.search(r"[A-Za-z]", value) or WORDS.fullmatch(value):
        return False
    counts = Counter(value)
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return entropy >= 3.0


def problems_in(text: str) -> Iterator[tuple[int, str]]:
    """What is wrong in a file's text: line number, and the kind of thing found, never the thing."""
    for number, line in enumerate(text.splitlines(), start=1):
        if ALLOWED.search(line):
            continue
        for kind, pattern in KNOWN.items():
            if pattern.search(line):
                yield number, kind
        for found in NAMED_VALUE.finditer(line):
            if looks_random(found["value"]):
                yield number, "a random-looking value under a secret's name"
        if REGISTRY.search(line):
            yield number, "a package registry's host"
        if MACHINE_PATH.search(line):
            yield number, "a path of one machine"


def files(root: Path) -> list[Path]:
    """Every file under a git work tree that git has or would take, in order.

    Raises subprocess.CalledProcessError where there is no work tree: a scan of nothing must not pass.
    """
    # safe.directory: a clone may belong to another user, and listing its files runs nothing of it.
    listed = subprocess.run(  # nosec B603 B607
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    ).stdout
    names = {name for name in listed.decode().split("\0") if name}
    return [path for name in sorted(names) if (path := root / name).is_file() and not path.is_symlink()]


def scan(root: Path) -> list[str]:
    """Scan a work tree: one ``file:line: what`` a finding. A file that is not text is passed over."""
    found = []
    for path in files(root):
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, kind in problems_in(content.decode("utf-8", errors="replace")):
            found.append(f"{path.relative_to(root).as_posix()}:{number}: {kind}")
    return found


def main() -> int:
    """Print every finding: 0 when there is none, 1 otherwise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="the work tree to scan")
    root: Path = parser.parse_args().root
    found = scan(root)
    print("\n".join(found) if found else f"{len(files(root))} files, nothing found")
    if found:
        print("A line that is right as it is ends with a comment: scan: allow <reason>")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
