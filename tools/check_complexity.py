"""Keeps functions simple, and never lets one get worse: a ratchet on cyclomatic complexity, as lizard counts it.

Two rules, over layers, functions, ops and tools:

- outside the modules that pyproject.toml names, no more than the share it names of the functions is above the limit;
- no function is more complex than tools/complexity.json remembers; one that it does not know stays within the limit.

``--record`` writes tools/complexity.json anew. It takes away and lowers; what is new or higher it refuses, unless
``--accept`` says that somebody wants it. Functions are known by module and name: a file that moves to another folder,
or gets another name, changes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import lizard

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("layers", "functions", "ops", "tools")
SLACK = 1.0
"""By how many percent the share may be better than pyproject.toml allows before that has to be lowered."""

RECORD = ROOT / "tools" / "complexity.json"


class Function(NamedTuple):
    """A function as counted. module: the file's name, of an app.py its folder's; place: for people."""

    module: str
    name: str
    complexity: int
    place: str

    @property
    def key(self) -> str:
        return f"{self.module}:{self.name}"


class Rules(NamedTuple):
    """The section [tool.closedwon.complexity] of pyproject.toml."""

    limit: int
    most_percent: float
    apart: frozenset[str]

    @classmethod
    def read(cls, pyproject: Path) -> Rules:
        told = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["closedwon"]["complexity"]
        return cls(told["limit"], told["most-percent"], frozenset(told["apart"]))


def counted(root: Path, folders: Iterable[str] = FOLDERS) -> list[Function]:
    """Every function below the folders, in order."""
    found = []
    for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
        module = path.parent.name if path.stem == "app" else path.stem
        for one in lizard.analyze_file(str(path)).function_list:
            place = f"{path.relative_to(root).as_posix()}:{one.start_line}"
            found.append(Function(module, one.name, one.cyclomatic_complexity, place))
    return found


def share(functions: list[Function], rules: Rules) -> float:
    """Percent of the functions above the limit, outside the modules that stand apart."""
    looked_at = [one for one in functions if one.module not in rules.apart]
    above = [one for one in looked_at if one.complexity > rules.limit]
    return 100 * len(above) / max(len(looked_at), 1)


def allowed(function: Function, recorded: Mapping[str, int], present: Container[str], limit: int) -> int:
    """How complex a function may be: what is remembered of it, else of a namesake that is gone: it may have moved.

    present: the keys of all functions there are.
    """
    if function.key in recorded:
        return recorded[function.key]
    gone = (most for key, most in recorded.items() if key.endswith(f":{function.name}") and key not in present)
    return max([limit, *gone])


def worse(functions: list[Function], recorded: Mapping[str, int], limit: int) -> list[str]:
    """The functions that are more complex than they may be, a line each."""
    present = {one.key for one in functions}
    return [
        f"{one.place}: {one.name} has complexity {one.complexity}; at most {most} is allowed"
        for one in functions
        if one.complexity > (most := allowed(one, recorded, present, limit))
    ]


def record_of(functions: list[Function], limit: int) -> dict[str, int]:
    """What is to be remembered: functions above the limit, of namesakes in one module the highest."""
    above = sorted((one for one in functions if one.complexity > limit), key=lambda one: one.complexity)
    return dict(sorted((one.key, one.complexity) for one in above))


def main() -> int:
    """0 when nothing got worse, else 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--record", action="store_true", help="remember what got simpler")
    parser.add_argument("--accept", action="store_true", help="with --record: remember what got worse, too")
    arguments = parser.parse_args()
    rules = Rules.read(ROOT / "pyproject.toml")
    functions = counted(ROOT)
    recorded: dict[str, int] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    problems = [] if arguments.accept else worse(functions, recorded, rules.limit)
    if arguments.record and not problems:
        text = json.dumps(record_of(functions, rules.limit), indent=2)
        RECORD.write_text(f"{text}\n", encoding="utf-8")
    percent = share(functions, rules)
    if percent > rules.most_percent:
        problems.append(f"{percent:.2f} % of the functions are above {rules.limit}; {rules.most_percent} % are allowed")
    if percent < rules.most_percent - SLACK:
        problems.append(f"only {percent:.2f} % are above {rules.limit} now: lower most-percent in pyproject.toml")
    print("\n".join(problems) or f"{len(functions)} functions, {percent:.2f} % above {rules.limit}; none got worse")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
