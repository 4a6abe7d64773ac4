"""``python -m proof [chapter ...] [--seed N] [--short | --long]``: tries what closed-won guarantees; a table follows.

Exit code 0 when everything held, else 1. The same seed does the same again; each chapter says how to replay what
failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks.lines import Line, tell
from proof import defects, hostile, load, properties, tour
from proof.campaign import campaign

CHAPTERS: dict[str, Callable[[int, bool], list[Line]]] = {
    "campaign": campaign,
    "defects": defects.run,
    "hostile": hostile.hostile,
    "canaries": tour.canaries,
    "permissions": tour.permissions,
    "load": load.run,
    "properties": properties.run,
}
"""By name: what tries, in: the seed, whether at full size; out: what was found."""

SHORT: dict[str, Callable[[int], list[Line]]] = {"properties": properties.short, "defects": defects.short}
"""The short form, for every change: all chapters are in it, most of them as tests that `make test` leaves out."""


def main(arguments: Sequence[str]) -> int:
    """Run the chapters that were asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m proof", description="What closed-won guarantees, tried hard.")
    parser.add_argument("chapters", nargs="*", metavar="|".join(CHAPTERS), help="all of them by default")
    parser.add_argument("--seed", type=int, default=1, help="what is made up is made up from it (default 1)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--short", action="store_true", help="a little of each chapter, and what make test leaves out")
    size.add_argument("--long", action="store_true", help="at full size: hours, not minutes")
    parser.add_argument("--deals", type=int, help="of the campaign: how many")
    parser.add_argument("--history", type=int, help="of the campaign: this customer alone")
    parser.add_argument("--stop-at-first", action="store_true", help="of the campaign: end with the first violation")
    asked = parser.parse_args(arguments)
    for name in ("deals", "history", "stop_at_first"):
        if (value := getattr(asked, name)) not in (None, False):
            os.environ[f"PROOF_{name.upper()}"] = str(value)
    chapters = list(SHORT if asked.short else CHAPTERS)
    if unknown := set(asked.chapters) - set(chapters):
        parser.error(f"no such chapter: {', '.join(sorted(unknown))}")
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    lines: list[Line] = []
    for name in asked.chapters or chapters:
        began = time.monotonic()
        print(f"\n== {name} (seed {asked.seed})", flush=True)
        lines += SHORT[name](asked.seed) if asked.short else CHAPTERS[name](asked.seed, asked.long)
        print(f"== {name}: {time.monotonic() - began:.0f} s", flush=True)
    print()
    return tell(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
