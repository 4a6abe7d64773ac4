"""Runs the official Stigg SDK's own test suite against the sandbox's stand-in for Stigg, skip marks off.

The tests come from the source distribution of the SDK's installed version: ``python -m tools.check_stigg`` downloads
it, so that it takes a network. What is expected of each operation is listed in `tests/contract/stigg_operations.toml`.
Ends with 0 where all is as listed, 1 where it is not, 2 where the tests could not be had.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator

from tools.stigg_suite import made_up
from tools.stigg_suite.expected import FORMS, LIST, Expectations, Expected, differences, read
from tools.stigg_suite.run import Outcomes, run
from tools.stigg_suite.source import PINS, Unavailable, fetched, pinned

WIDTH = 80
UNKNOWN = Expected()


def main() -> int:
    argparse.ArgumentParser(description="Run the Stigg SDK's own tests against the stand-in.").parse_args()
    expected = read(LIST.read_text(encoding="utf-8"))
    try:
        folder = fetched()
    except Unavailable as why:
        print(f"The Stigg SDK's tests could not be had: {why}", file=sys.stderr)
        return 2
    found = run(folder, made_up.stand_in(), made_up.site())
    version, _ = pinned(PINS.read_text(encoding="utf-8"))
    print(f"The tests of the Stigg SDK {version} against the stand-in; * is called by the product.\n")
    print("\n".join(report(expected, found)))
    wrong = differences(expected, found)
    if wrong:
        print(f"\nNot as {LIST.name} says, {len(wrong)}:", file=sys.stderr)
        for line in wrong:
            print(_wrapped(line, "  "), file=sys.stderr)
    return 1 if wrong else 0


def report(expected: Expectations, found: Outcomes) -> Iterator[str]:
    """What was found as a table, line by line: each operation, what is absent by reason, and the sum."""
    yield from _operations(expected, found)
    yield "\nRefused on purpose:"
    for reason, refusal in expected.refusals.items():
        yield _wrapped(f"{reason}: {refusal.why}", "    ")
    yield "\nNot in the stand-in:"
    for reason, why in expected.absences.items():
        names = sorted(name for name, one in expected.operations.items() if one.absent == reason)
        yield _wrapped(f"{', '.join(names)}: {why}", "    ")
    yield ""
    yield from _sums(expected, found)


def _operations(expected: Expectations, found: Outcomes) -> Iterator[str]:
    """Those that the stand-in has: a line each, and one for each form that it refuses."""
    width = max(map(len, found)) + 2
    yield f"{'operation':<{width}}{'tests':>7}{'passed':>8}{'refused':>9}"
    for name in sorted(found):
        wanted = expected.operations.get(name, UNKNOWN)
        if wanted.absent:
            continue
        tests, passed = _sum(found, name)
        marked = name + "*" if wanted.used else name
        yield f"{marked:<{width}}{tests:>7}{passed:>8}{tests - passed or '':>9}".rstrip()
        for form, reason in wanted.refused.items():
            yield f"    {FORMS[form]}: {reason}"


def _sums(expected: Expectations, found: Outcomes) -> Iterator[str]:
    """How many operations and tests there are of which kind."""

    def line(what: str, names: list[str]) -> str:
        sums = [_sum(found, name) for name in names]
        tests, passed = sum(one for one, _ in sums), sum(one for _, one in sums)
        return f"{what:<32}{len(names):>5} operations{tests:>6} tests{passed:>6} pass"

    there = [name for name in found if not expected.operations.get(name, UNKNOWN).absent]
    used = [name for name in there if expected.operations.get(name, UNKNOWN).used]
    yield line("Called by the product:", used)
    yield line("In the stand-in besides:", [name for name in there if name not in used])
    yield line("Not in the stand-in:", [name for name in found if name not in there])
    yield line("All:", list(found))


def _sum(found: Outcomes, name: str) -> tuple[int, int]:
    """An operation's tests, and how many of them passed."""
    forms = found[name].values()
    return sum(one.tests for one in forms), sum(one.passed for one in forms)


def _wrapped(line: str, indent: str) -> str:
    return textwrap.fill(line, WIDTH, initial_indent=indent[:-2], subsequent_indent=indent, break_long_words=False)


if __name__ == "__main__":
    sys.exit(main())
