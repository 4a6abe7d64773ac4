"""The guarantees as properties: over histories and interleavings that hypothesis and a model check make up.

They are tests of their own, so that ``make test`` runs them too, with a few examples each. Here they run with more, and
with others each time the seed changes; at full size with thousands. With them runs what is too long for ``make test``
(``pytest -m long``): histories through the running system, bursts, and the other chapters at a small size. What fails
prints the example, and the line that replays it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

from benchmarks.lines import Line

MARKS = "long or proof or hypothesis"
"""What `make test` leaves out, and what it tries with few examples. hypothesis marks its tests itself."""


def run(seed: int, long: bool) -> list[Line]:
    """Out: one line, how many held."""
    return _held(seed, "prove" if long else "short")


def short(seed: int) -> list[Line]:
    """What `make test` leaves out. Out: one line, how many held."""
    return _held(seed, "short")


def _held(seed: int, profile: str) -> list[Line]:
    workers = str(min(4, 1 + (os.cpu_count() or 1)))
    command = [sys.executable, "-m", "pytest", "-m", MARKS, "-p", "no:cacheprovider", "--durations=15"]
    command += ["--numprocesses", workers, "--dist", "loadfile"]  # a file's tests share what took long to make
    if not os.environ.get("CI"):  # there the examples are the same each time
        command.append(f"--hypothesis-seed={seed}")
    environment = {**os.environ, "HYPOTHESIS_PROFILE": profile, "FIRST_HISTORY": str(seed * 1000)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)  # nosec: our own tests
    print(done.stdout, end="", flush=True)
    counted = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    held, missed = counted.get("passed", 0), counted.get("failed", 0) + counted.get("error", 0)
    return [
        Line(
            "guarantees over generated schedules",
            f"{held} properties and models held, {missed} failed",
            "none failed",
            done.returncode == 0 and held > 0,
        )
    ]
