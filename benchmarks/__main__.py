"""``python -m benchmarks [cold-start] [one-deal] [callout] [burst] [--rounds N]``: measures; prints results with goals.

Exit code 0 when every goal is met, 1 when one is missed, 2 when something could not be measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import burst, callout, cold_start, folders, one_deal
from benchmarks.world import World

MEASUREMENTS = ("cold-start", "one-deal", "callout", "burst")

PLAIN, COMPILED = 0.25, 0.60
MOST_CALLS, MOST_WRITES, MOST_TRANSITIONS = 5, 3, 8
MOST_CALLS_OF_AN_AMENDMENT = 4
MOST_MILLISECONDS = 2.0

ONCE = (
    "Stigg GET /api/v1/plans",
    "Stigg GET /api/v1/addons",
    "Stigg GET /api/v1/features",
    "Stigg GET /api/v1/credits",
    "Salesforce POST /services/oauth2",
)
"""What only the first deal asks."""


class Line(NamedTuple):
    """One goal and what was measured."""

    what: str
    measured: str
    goal: str
    met: bool


def cold_starts(rounds: int) -> list[Line]:
    """Prints the times; out: the ratios, until ready and until the first answer."""
    built = folders.build()
    with World() as world:
        compared = cold_start.compare(built, world, rounds, _progress)
    _progress("")
    version = subprocess.run([built.python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"\nCold starts on {version}, {rounds} rounds in turns, medians in milliseconds.")
    print("ready: from the process's start until it asks for its first invocation (what Lambda calls Init Duration).")
    print("answered: until it has answered that. CPU: of the process until then.\n")
    rows = [["", "ours", "", "", "usual way", "", "", "usual, compiled", "", ""]]
    rows.append(["step", *("ready", "answered", "CPU") * 3])
    for one in compared:
        times = (one.ours, one.usual, one.usual_compiled)
        rows.append(
            [one.step, *(f"{cold_start.median(t, figure):.0f}" for t in times for figure in cold_start.FIGURES)]
        )
    _print(rows)
    print()
    rows = [["ours to", "usual way", "", "", "usual, compiled", "", ""]]
    rows.append(["step", *("ready", "answered", "CPU") * 2])
    for one in compared:
        shown = [one.ratio(o, f) for o in (one.usual, one.usual_compiled) for f in cold_start.FIGURES]
        rows.append([one.step, *(f"{ratio:.2f}" for ratio in shown)])
    _print(rows)
    lines = []
    for figure, called in (("ready", "until ready"), ("answered", "until the first answer")):
        for name, goal in (("the usual way", PLAIN), ("the usual way, compiled", COMPILED)):
            ratios = {
                one.step: one.ratio(one.usual if goal == PLAIN else one.usual_compiled, figure) for one in compared
            }
            missed = [f"{step} {ratio:.2f}" for step, ratio in ratios.items() if ratio > goal]
            measured = f"{min(ratios.values()):.2f} to {max(ratios.values()):.2f}"
            measured += f" (above: {', '.join(missed)})" if missed else ""
            lines.append(Line(f"cold start {called}, to {name}", measured, f"<= {goal:.2f}", not missed))
    return lines


def one_deals() -> list[Line]:
    """Prints the calls of a first deal, a warm one and an amendment; out: how many."""
    _progress("one deal: starting the sandbox")
    counted = one_deal.count()
    _progress("")
    first, warm, transitions, amendment = counted
    print("\nCalls of a new deal, tokens and catalogue warm:")
    for request in warm.requests:
        print(f"  {request}")
    print("Of an amendment:")
    for request in amendment.requests:
        print(f"  {request}")
    print(f"The first deal after a deployment makes {len(first.requests)}; it reads the catalogue and logs in:")
    for request in (request for request in first.requests if request.startswith(ONCE)):
        print(f"  {request}")
    calls, states = len(warm.requests), f"{transitions.states} states, {transitions.retries} retries, the start"
    return [
        Line("calls to Stigg and Salesforce of a new deal", str(calls), f"<= {MOST_CALLS}", calls <= MOST_CALLS),
        Line("  of these, writes", str(warm.writes), f"<= {MOST_WRITES}", warm.writes <= MOST_WRITES),
        Line(
            "calls of an amendment",
            f"{len(amendment.requests)} ({len(amendment.requests) / MOST_CALLS_OF_AN_AMENDMENT:.2f} of the limit)",
            f"<= {MOST_CALLS_OF_AN_AMENDMENT}",
            len(amendment.requests) <= MOST_CALLS_OF_AN_AMENDMENT,
        ),
        Line(
            "state transitions of an undisturbed deal",
            f"{transitions.total} ({states})",
            f"<= {MOST_TRANSITIONS}",
            transitions.total <= MOST_TRANSITIONS,
        ),
    ]


def callouts(rounds: int) -> list[Line]:
    """Out: our CPU for each deal."""
    _progress(f"callout: {callout.DEALS} deals at a time")
    cost = callout.measure(rounds)
    _progress("")
    return [
        Line(
            f"CPU for each deal of {callout.DEALS}, {name}",
            f"{milliseconds:.2f} ms",
            f"<= {MOST_MILLISECONDS:.0f} ms",
            milliseconds <= MOST_MILLISECONDS,
        )
        for name, milliseconds in (("of as many accounts", cost.accounts), ("of one account", cost.one_account))
    ]


def bursts() -> list[Line]:
    """Out: how a burst of deals drains through the governor, simulated and real."""
    _progress("burst: simulated")
    drained = burst.drain()
    _progress(f"burst: {burst.REAL_DEALS} deals in the sandbox")
    run = burst.real()
    _progress("")
    print(
        f"\n{burst.DEALS:,} deals at once, then {burst.REPAIRS:,} repairs, on a simulated clock: "
        f"{drained.minutes:.1f} minutes at {burst.SHARE:.0%} of Stigg's limit."
    )
    print(
        f"{burst.REAL_DEALS} deals in one callout, in the sandbox, limits scaled by {burst.REAL_SCALE}: "
        f"{run.seconds:.0f} s; the last turn came after {run.queued:.0f} s."
    )
    return [
        Line("burst, share of its pace", f"{drained.share:.1%}", ">= 95%", drained.share >= 0.95),
        Line("burst, answered 429", f"{drained.throttled:.2%}", "< 1%", drained.throttled < 0.01),
        Line("burst, extra transitions a deal", f"{drained.transitions:.2f}", "<= 2", drained.transitions <= 2),
        Line("burst, deals lost or failed", str(drained.lost), "0", drained.lost == 0),
        Line("a callout's wait behind repairs", f"{drained.behind:.0f} s", "<= 60 s", drained.behind <= 60),
        Line(
            "burst in the sandbox, provisioned",
            str(run.provisioned),
            str(burst.REAL_DEALS),
            run.provisioned == burst.REAL_DEALS,
        ),
        Line("  of it answered 429", str(run.throttled), "0", run.throttled == 0),
        Line(
            "  state transitions, at most",
            str(run.transitions),
            f"<= {MOST_TRANSITIONS}",
            run.transitions <= MOST_TRANSITIONS,
        ),
    ]


def _progress(text: str) -> None:
    """What is being done now, on one line that the next one replaces; where lines stay, only the larger steps."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", flush=True, file=sys.stderr)
    elif text and ": round" not in text:
        print(text, file=sys.stderr)


def _print(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *rest = row
        cells = [first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))]
        print("  ".join(cells).rstrip())


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for, everything by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="closed-won, measured")
    parser.add_argument("which", nargs="*", metavar="|".join(MEASUREMENTS), help="all of them by default")
    parser.add_argument("--rounds", type=int, default=7, help="how often each cold start is measured")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.which) - set(MEASUREMENTS):
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors{load},"
        f" measured by Python {platform.python_version()}"
    )
    wanted = asked.which or MEASUREMENTS
    lines: list[Line] = []
    try:
        if "cold-start" in wanted:
            lines += cold_starts(asked.rounds)
        if "one-deal" in wanted:
            lines += one_deals()
        if "callout" in wanted:
            lines += callouts(asked.rounds)
        if "burst" in wanted:
            lines += bursts()
    except (folders.BuildError, cold_start.NotMeasured, one_deal.NotProvisioned, callout.NotAccepted) as error:
        print(f"\nnot measured: {error}", file=sys.stderr)
        return 2
    print()
    verdicts = [[line.what, line.measured, line.goal, "met" if line.met else "MISSED"] for line in lines]
    for row in verdicts:
        print(f"{row[3]:<7} {row[0]}: {row[1]}; goal {row[2]}")
    return 0 if all(line.met for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
