"""What a measurement prints while it runs, and its tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def progress(text: str) -> None:
    """What is being done now, on one line that the next one replaces; where lines stay, only the larger steps."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", flush=True, file=sys.stderr)
    elif text and ": round" not in text:
        print(text, file=sys.stderr)


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *rest = row
        cells = [first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))]
        print("  ".join(cells).rstrip())
