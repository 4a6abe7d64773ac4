"""A goal and what was measured, as `make bench` and `make prove` print them at their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Line(NamedTuple):
    """One goal and what was measured. what, measured, goal: as people read them."""

    what: str
    measured: str
    goal: str
    met: bool


def tell(lines: Sequence[Line]) -> int:
    """Prints a line for each goal. Out: the exit code, 0 when every goal is met, else 1."""
    for line in lines:
        print(f"{'met' if line.met else 'MISSED':<7} {line.what}: {line.measured}; goal {line.goal}")
    return 0 if all(line.met for line in lines) else 1
