"""``make check-salesforce``: checks the Salesforce package without an organisation, and says what it could not check.

Four checks by four tools in ``tools/salesforce/`` (installed from its lock file the first time): the source converts to
metadata, the flows pass a linter, the Apex parses, and it passes PMD's rules for security and for bulk. They need Node
20 (PMD Java 11 too); where one is missing, the checks that need it are skipped, loudly, and do not fail.

What only an organisation can tell: whether fields, formulas, references and permissions fit, and the Apex tests.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "tools" / "salesforce"
PACKAGES = ("salesforce/force-app", "salesforce/cpq")
OLDEST_NODE = 20
OLDEST_JAVA = 11
LONGEST_SECONDS = 600


class Check(NamedTuple):
    """name: what check.mjs calls it; promise: what holds where it passes; needs_java: whether Node is not enough."""

    name: str
    promise: str
    needs_java: bool = False


CHECKS = (
    Check("convert", "the source converts to metadata"),
    Check("flows", "the flows pass the linter"),
    Check("apex", "the Apex parses"),
    Check("pmd", "the Apex passes PMD's security and bulk rules", needs_java=True),
)


class Output(NamedTuple):
    """What a program answered: its exit code and all it printed."""

    code: int
    text: str


def run(*command: str, folder: Path = ROOT) -> Output:
    """Run a program without a shell; one that is missing or hangs is a failure, with its reason as the text."""
    try:
        done = subprocess.run(  # nosec B603
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Output(127, str(error))
    return Output(done.returncode, done.stdout.strip())


def missing(program: str, option: str, version: str, oldest: int) -> str | None:
    """Why a program cannot be used, or None. version: finds its major version in what it prints."""
    path = shutil.which(program)
    if path is None:
        return f"{program} is not installed"
    found = re.search(version, run(path, option).text)
    if found is None:
        return f"{program} does not run"
    if int(found[1]) < oldest:
        return f"{program} {found[1]} is older than {oldest}"
    return None


def no_node() -> str | None:
    """Why Node's checks cannot run, or None."""
    if shutil.which("npm") is None:
        return "npm is not installed"
    return missing("node", "--version", r"v(\d+)\.", OLDEST_NODE)


def no_java() -> str | None:
    """Why PMD cannot run, or None."""
    return missing("java", "-version", r'version "(\d+)', OLDEST_JAVA)


def installed() -> Output:
    """Install the tools from the lock file, unless that was done since it changed."""
    lock, done = TOOLS / "package-lock.json", TOOLS / "node_modules" / ".package-lock.json"
    if done.exists() and done.stat().st_mtime >= lock.stat().st_mtime:
        return Output(0, "")
    print("Installing the tools that check the Salesforce package, about a minute", flush=True)
    # Scripts of packages have nothing to do here: none of the tools is compiled.
    return run(shutil.which("npm") or "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=TOOLS)


def skipped(checks: list[Check], reason: str) -> None:
    for check in checks:
        print(f"SKIP {check.name:<8} NOT CHECKED that {check.promise}: {reason}", flush=True)


def main(
    node: Callable[[], str | None] = no_node,
    java: Callable[[], str | None] = no_java,
) -> int:
    """0 when every check that can run here passed, 1 when one failed."""
    if reason := node():
        skipped(list(CHECKS), reason)
        return 0
    installation = installed()
    if installation.code != 0:
        print(f"FAIL the tools cannot be installed from {TOOLS.relative_to(ROOT)}/package-lock.json")
        print(installation.text)
        return 1
    failed = 0
    folders = [str(ROOT / package) for package in PACKAGES]
    for check in CHECKS:
        if check.needs_java and (reason := java()):
            skipped([check], reason)
            continue
        answer = run(shutil.which("node") or "node", str(TOOLS / "check.mjs"), check.name, *folders)
        failed |= answer.code != 0
        if answer.code == 0:
            print(f"ok   {check.name:<8} {check.promise} ({answer.text.splitlines()[-1]})", flush=True)
        else:
            print(f"FAIL {check.name:<8} not so: {check.promise}", flush=True)
            print("     " + "\n     ".join(answer.text.splitlines()), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
