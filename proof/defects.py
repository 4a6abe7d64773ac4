"""Does the proof bite? Deliberate defects are put into a copy of the product, one at a time, and each must be caught.

A proof that cannot fail is no proof. The trial is the fault campaign, small and stopped at its first violation; where
a defect shows only in a scene that no campaign can be expected to play, it is the test that plays it. The product as
it is passes the same trials: `make prove` and `make test` are that.

    python -m proof defects            all of them
    python -m proof.defects <name>     one, with all that its trial printed
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.lines import Line
from proof.market import first_that_buys
from proof.planted import DEFECTS, PACKAGE, Defect

ROOT = Path(__file__).resolve().parent.parent
AT_ONCE = 2
PATIENCE = 600
"""Seconds for a trial. One that lasts longer has caught nothing."""


class Caught(NamedTuple):
    """by: what noticed; empty where nothing did. seconds: until then."""

    by: str
    seconds: float
    output: str


def copy_of(defect: Defect, folder: Path) -> None:
    """The tree that git knows, with the defect. Raises ValueError where a text to edit is not there as it should be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout.split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for file, old, new, times in defect.edits:
        source = (folder / file).read_text(encoding="utf-8")
        if source.count(old) != times:
            raise ValueError(f"{defect.name}: {old!r} is {source.count(old)} times in {file}")
        (folder / file).write_text(source.replace(old, new), encoding="utf-8")


def attempt(defect: Defect, deals: int = 100) -> Caught:
    """Try the copy with the defect."""
    with tempfile.TemporaryDirectory(prefix="closed-won-defect-") as folder:
        copy_of(defect, Path(folder))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", defect.test]
        if not defect.test:
            command = [sys.executable, "-m", "proof", "campaign", "--seed", str(defect.seed), "--deals", str(deals)]
            command += [
                "--stop-at-first",
                *(["--history", str(first_that_buys(defect.sells, defect.seed))] if defect.sells else []),
            ]
        paths = [folder, f"{folder}/{PACKAGE.rpartition('/')[0]}", f"{folder}/tests"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
        began = time.monotonic()
        with subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as trial:
            try:
                output = trial.communicate(timeout=PATIENCE)[0]
            except subprocess.TimeoutExpired:
                trial.kill()
                output = trial.communicate()[0]
        return Caught(seen_in(output, bool(defect.test)), time.monotonic() - began, output)


def seen_in(output: str, tests: bool) -> str:
    """What noticed: a failed test, or the first violation. A harness that broke has noticed nothing."""
    if tests:
        found = re.search(r"^FAILED (?:.*/)?(\S+?\.py::\S+)", output, re.MULTILINE)
    else:
        found = re.search(r"^\s*violation: ([^:]+):", output, re.MULTILINE)
    return found[1] if found else ""


def run(seed: int, long: bool) -> list[Line]:
    """Out: how many were caught. They have seeds of their own, by which they are met."""
    return caught_of(DEFECTS)


def short(seed: int) -> list[Line]:
    """Those that a test without the sandbox catches."""
    return caught_of([defect for defect in DEFECTS if defect.test.startswith("tests/unit")])


def caught_of(defects: Sequence[Defect]) -> list[Line]:
    """Out: how many were caught of those."""
    missed = []
    print(f"  {'defect':<42} {'caught by':<62} after")
    with ThreadPoolExecutor(AT_ONCE) as workers:
        for defect, caught in zip(defects, workers.map(attempt, defects), strict=True):
            by = caught.by if defect.test else caught.by and f"the campaign: {caught.by}"
            print(
                f"  {defect.name:<42} {by[-62:] or 'NOTHING':<62} {caught.seconds:3.0f} s   {defect.breaks}", flush=True
            )
            if not by:
                missed.append(defect.name)
                print("\n".join(f"    {line}" for line in caught.output.splitlines()[-12:]))
    measured = f"{len(defects) - len(missed)} of {len(defects)}" + (f" (not: {', '.join(missed)})" if missed else "")
    return [Line("deliberate defects that were caught", measured, f"{len(defects)} of {len(defects)}", not missed)]


def main(names: list[str]) -> int:
    for defect in (one for one in DEFECTS if one.name in names):
        caught = attempt(defect)
        print(caught.output)
        print(f"{defect.name}: {caught.by or 'NOTHING'} after {caught.seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
