"""Everything `make check` looks at, two checks at a time; all of them run, whichever fails.

``python -m tools.check [name ...]`` runs the named checks only.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
CHECKED_BY_BANDIT = ("layers/closedwon", "functions", "ops", "tools")
LAYER = "layers/closedwon/closedwon"
CHECKED_BY_MYPY = (
    LAYER,
    "layers/closedwon/trim_sdk.py",
    *("functions", "sandbox", "tools", "benchmarks", "ops", "proof", "tests/unit", "tests/recorded"),
)

OVERLOAD = re.compile(r": note:     def |note: Possible overload variants")
"""mypy answers one wrong boto3 call with all four hundred services."""

CHECKS: dict[str, list[str]] = {
    # The slow ones first: there are two workers.
    "mypy": [PYTHON, "-m", "mypy", *CHECKED_BY_MYPY],
    "cfn-lint": [str(Path(PYTHON).with_name("cfn-lint")), "template.yaml"],
    "bandit": [PYTHON, "-m", "bandit", "-q", "-r", *CHECKED_BY_BANDIT, "-c", "pyproject.toml"],
    "state-machines": [PYTHON, "-m", "tools.check_state_machines"],
    "secrets": [PYTHON, "-m", "tools.check_secrets"],
    "ruff": [PYTHON, "-m", "ruff", "check", "."],
    "format": [PYTHON, "-m", "ruff", "format", "--check", "."],
    "openapi": [PYTHON, "-m", "tools.openapi", "--check"],
    "imports": [str(Path(PYTHON).with_name("lint-imports")), "--no-cache"],
    "files": [PYTHON, "-m", "tools.check_files"],
    "versions": [PYTHON, "-m", "tools.release", "--check"],
    "decisions": [PYTHON, "-m", "tools.check_decisions"],
    "codes": [PYTHON, "-m", "tools.codes"],
    "complexity": [PYTHON, "-m", "tools.check_complexity"],
    "licences": [PYTHON, "-m", "tools.licences", "--check"],
    "manifests": [PYTHON, "-m", "tools.salesforce_manifest", "--check"],
}


def commands() -> dict[str, list[str]]:
    """The checks that apply to this tree, by name.

    Folders without a Python file yet are not given to mypy and bandit, which refuse them; the OpenAPI check belongs to
    its generator and runs once that exists.
    """
    found = {}
    for name, command in CHECKS.items():
        found[name] = [
            word
            for word in command
            if word not in (*CHECKED_BY_MYPY, *CHECKED_BY_BANDIT) or any((ROOT / word).rglob("*.py"))
        ]
    if not (ROOT / "tools" / "openapi.py").exists():
        del found["openapi"]
    return found


def run(name: str, command: list[str]) -> tuple[str, int, float, str]:
    """Run one check from the repository's root: its name, exit code, seconds, and all it printed."""
    start = time.monotonic()
    # Only the commands listed above come here, without a shell.
    done = subprocess.run(  # nosec B603
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if not OVERLOAD.search(line)]
    return name, done.returncode, time.monotonic() - start, "\n".join(lines)


def main(names: list[str]) -> int:
    """Run the named checks, or all: 0 when all passed, 1 when one failed, 2 for a name that is none."""
    known = commands()
    if unknown := set(names) - set(known):
        print(f"no such check: {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = {name: known[name] for name in known if not names or name in names}
    bad = []
    with ThreadPoolExecutor(max_workers=2) as workers:
        for name, code, seconds, output in workers.map(run, chosen, chosen.values()):
            print(f"{'ok  ' if code == 0 else 'FAIL'} {name:<15} {seconds:5.1f} s", flush=True)
            if code != 0:
                bad.append(name)
                print("     " + "\n     ".join(output.rstrip().splitlines()), flush=True)
    if bad:
        print(f"Not in order: {', '.join(bad)}. One alone: make check ARGS={bad[0]}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
