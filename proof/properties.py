"""The guarantees as properties: over histories and interleavings that hypothesis and a model check make up.

They are tests of their own (``pytest -m proof``), so that ``make test`` runs them too, with a few examples each. Here
they run with other examples each time the seed changes; at full size with thousands, and histories through the running
system. What fails prints the example, and the line that replays it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

from benchmarks.lines import Line


def run(seed: int, long: bool) -> list[Line]:
    """Out: one line, how many held."""
    command = [sys.executable, "-m", "pytest", "-m", "proof", f"--hypothesis-seed={seed}", "-p", "no:cacheprovider"]
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "prove" if long else "dev", "FIRST_HISTORY": str(seed * 1000)}
    if not long:
        command.append("tests/unit")
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
