"""``python -m benchmarks [package-size|cold-start|contract|one-deal|callout|burst|reconcile ...] [--rounds N]
[--sizes N,N] [--before COMMIT] [--keep]``: measures; prints each result with its goal, and what was kept of it last.

Exit code 0 when every goal is met, 1 when one is missed, 2 when something could not be measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence

from benchmarks import burst, callout, cold_start, contract, folders, one_deal, organisation, reconcile, results
from benchmarks.lines import Line, tell
from benchmarks.reconcile_told import reconciliations
from benchmarks.show import progress, table
from benchmarks.world import World

MEASUREMENTS = ("package-size", "cold-start", "contract", "one-deal", "callout", "burst", "reconcile")

PLAIN, COMPILED = 0.25, 0.60
NOT_SLOWER = 1.05
"""The most times the cold start of an earlier commit; two runs of the same code differ by as much."""

HALF = 0.5
"""The most of the time an earlier commit took for a customer's deals."""

MOST_CALLS, MOST_WRITES, MOST_TRANSITIONS = 5, 3, 8
MOST_CALLS_OF_AN_AMENDMENT = 4
MOST_MILLISECONDS = 2.0
MOST_OF_A_PACKAGE = 250
"""Megabytes of a function with its layers, unpacked (Lambda quotas, developer guide)."""

ONCE = (
    "Stigg GET /api/v1/plans",
    "Stigg GET /api/v1/addons",
    "Stigg GET /api/v1/features",
    "Stigg GET /api/v1/credits",
    "Salesforce POST /services/oauth2",
)
"""What only the first deal asks."""


NOT_MEASURED = (
    folders.BuildError,
    cold_start.NotMeasured,
    contract.NotComparable,
    one_deal.NotProvisioned,
    callout.NotAccepted,
    organisation.NotConsistent,
    reconcile.NotReconciled,
)


def cold_starts(rounds: int, before: str | None = None) -> list[Line]:
    """Prints the times; out: the ratios, until ready and until the first answer, and to an earlier commit's."""
    built = folders.build(before)
    with World() as world:
        compared = cold_start.compare(built, world, rounds, progress)
    progress("")
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
    table(rows)
    print()
    rows = [["ours to", "usual way", "", "", "usual, compiled", "", ""]]
    rows.append(["step", *("ready", "answered", "CPU") * 2])
    for one in compared:
        shown = [one.ratio(o, f) for o in (one.usual, one.usual_compiled) for f in cold_start.FIGURES]
        rows.append([one.step, *(f"{ratio:.2f}" for ratio in shown)])
    table(rows)
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
    return lines + ([] if before is None else _to_before(compared, before))


def _to_before(compared: Sequence[cold_start.Comparison], commit: str) -> list[Line]:
    """Prints the ratios to an earlier commit's cold starts; out: the largest of each figure."""
    ratios = {one.step: {figure: one.ratio(one.before, figure) for figure in cold_start.FIGURES} for one in compared}
    print()
    table(
        [
            [f"ours to {commit}", *cold_start.FIGURES],
            *([step, *(f"{ratio:.2f}" for ratio in of.values())] for step, of in ratios.items()),
        ]
    )
    return [
        Line(
            f"cold start, {figure}, to {commit}",
            f"{min(of[figure] for of in ratios.values()):.2f} to {max(of[figure] for of in ratios.values()):.2f}",
            f"<= {NOT_SLOWER:.2f}",
            all(of[figure] <= NOT_SLOWER for of in ratios.values()),
        )
        for figure in cold_start.FIGURES
    ]


def contracts(rounds: int, before: str | None = None) -> list[Line]:
    """Prints the times; out: those with a goal, and the ratios to an earlier commit's."""
    compared = contract.compare(before, progress, rounds)
    progress("")
    print(
        f"\nOne customer's deals worked out, in seconds of CPU, the least of at most {rounds} rounds: what stands, what"
    )
    print("each deal says, the plan; by ours what will stand at each coming moment as well.\n")
    rows = [["", "ours", "coming moments", *(("at " + before, "ratio") if before else ())]]
    for one in compared:
        row = [f"{one.deals} {one.name}", f"{one.ours.seconds:.3f}", str(one.ours.coming)]
        rows.append([*row, f"{one.before.seconds:.3f}", f"{one.ratio:.3f}"] if one.before else row)
    table(rows)
    lines = []
    for one in compared:
        what, most = f"{one.deals} {one.name}", contract.CUSTOMERS[one.name].most_seconds
        if most is not None:
            lines.append(Line(what, f"{one.ours.seconds:.2f} s", f"<= {most:g} s", one.ours.seconds <= most))
        if one.before:
            lines.append(Line(f"{what}, to {before}", f"{one.ratio:.3f}", f"<= {HALF}", one.ratio <= HALF))
    return lines


def package_sizes() -> list[Line]:
    """Prints a table; out: the largest function with all it imports, against the usual way's and Lambda's limit."""
    built = folders.build()
    shared = folders.megabytes(built.ours.packages)
    usual = folders.megabytes(built.usual_compiled.packages)
    rows = [["MB, unpacked, compiled", "ours: function", "with its layer", "usual way"]]
    largest = 0.0
    for step in folders.STEPS:
        own = folders.megabytes(built.ours.functions / step)
        largest = max(largest, own + shared)
        theirs = usual + folders.megabytes(built.usual_compiled.functions / step)
        rows.append([step, f"{own:.2f}", f"{own + shared:.1f}", f"{theirs:.1f}"])
    print()
    table(rows)
    measured = f"{largest:.1f} MB, {largest / usual:.2f} of the usual way's"
    return [
        Line(
            "largest function with its layer, unpacked",
            measured,
            f"<= {MOST_OF_A_PACKAGE} MB, <= 1",
            largest <= MOST_OF_A_PACKAGE and largest <= usual,
        )
    ]


def one_deals() -> list[Line]:
    """Prints the calls of a first deal, a warm one and an amendment; out: how many."""
    progress("one deal: starting the sandbox")
    counted = one_deal.count()
    progress("")
    first, warm, transitions, amendment, seats, seat_change = counted
    print("\nCalls of a new deal, tokens and catalogue warm:")
    for request in warm.requests:
        print(f"  {request}")
    print("Of an amendment:")
    for request in amendment.requests:
        print(f"  {request}")
    print("Of a change of seats that the plan charges by the unit:")
    for request in seat_change.requests:
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
            "calls of a new deal with seats charged by the unit",
            str(len(seats.requests)),
            f"<= {MOST_CALLS}",
            len(seats.requests) <= MOST_CALLS,
        ),
        Line(
            "calls of a change of seats, and how many of them change a subscription",
            f"{len(seat_change.requests)}, {len(seat_change.subscription_writes)}",
            f"<= {MOST_CALLS_OF_AN_AMENDMENT}, 1 (a PATCH)",
            len(seat_change.requests) <= MOST_CALLS_OF_AN_AMENDMENT
            and [one.split()[1] for one in seat_change.subscription_writes] == ["PATCH"],
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
    progress(f"callout: {callout.DEALS} deals at a time")
    cost = callout.measure(rounds)
    progress("")
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
    progress("burst: simulated")
    drained = {most: burst.drain(most_plans=most) for most in (1, burst.MOST_PLANS)}
    progress(f"burst: {burst.REAL_DEALS} deals in the sandbox")
    run = burst.real()
    progress("")
    print(f"\n{burst.DEALS:,} deals at once, with {burst.REPAIRS:,} repairs due, on a simulated clock:")
    for most, one in drained.items():
        plans = "one plan each" if most == 1 else f"1 to {most} plans"
        print(
            f"  {plans}, {one.subscriptions:,} subscriptions: {one.minutes:.1f} minutes "
            f"at {burst.SHARE} % of Stigg's limit."
        )
    print(
        f"{burst.REAL_DEALS} deals ({burst.REAL_OF_TWO_PLANS} of two plans) in one callout, in the sandbox, limits "
        f"scaled by {burst.REAL_SCALE}: {run.seconds:.0f} s; the last rate slot came after {run.queued:.0f} s."
    )
    subscriptions = burst.REAL_DEALS + burst.REAL_OF_TWO_PLANS
    return [
        *_drained("burst", drained[1]),
        *_drained(f"burst of 1 to {burst.MOST_PLANS} plans", drained[burst.MOST_PLANS]),
        Line(
            "burst in the sandbox, provisioned",
            str(run.provisioned),
            str(burst.REAL_DEALS),
            run.provisioned == burst.REAL_DEALS,
        ),
        Line("  their subscriptions", str(run.subscriptions), str(subscriptions), run.subscriptions == subscriptions),
        Line("  of it answered 429", str(run.throttled), "0", run.throttled == 0),
        Line(
            "  state transitions, at most",
            str(run.transitions),
            f"<= {MOST_TRANSITIONS}",
            run.transitions <= MOST_TRANSITIONS,
        ),
    ]


def _drained(name: str, drained: burst.Drained) -> list[Line]:
    return [
        Line(f"{name}, share of its pace", f"{drained.share:.1%}", ">= 95%", drained.share >= 0.95),
        Line("  answered 429", f"{drained.throttled:.2%}", "< 1%", drained.throttled < 0.01),
        Line("  extra transitions a deal", f"{drained.transitions:.2f}", "<= 2", drained.transitions <= 2),
        Line("  deals lost or failed", str(drained.lost), "0", drained.lost == 0),
        Line("  a callout's wait behind repairs", f"{drained.behind:.0f} s", "<= 60 s", drained.behind <= 60),
    ]


def _sizes(text: str) -> tuple[int, ...]:
    """Raises ValueError, as argparse expects it."""
    return tuple(int(size) for size in text.split(","))


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for, everything by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="closed-won, measured")
    parser.add_argument("which", nargs="*", metavar="|".join(MEASUREMENTS), help="all of them by default")
    parser.add_argument("--rounds", type=int, default=7, help="how often each cold start and contract is measured")
    parser.add_argument(
        "--before", metavar="COMMIT", help="compare cold starts and contracts with an earlier commit's as well"
    )
    parser.add_argument(
        "--sizes",
        type=_sizes,
        default=reconcile.SIZES,
        metavar="N,N",
        help=f"deals that are reconciled ({','.join(map(str, reconcile.SIZES))})",
    )
    parser.add_argument("--keep", action="store_true", help="keep the figures in benchmarks/results/")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.which) - set(MEASUREMENTS):
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    about = results.machine()
    print(", ".join(f"{name} {told}" for name, told in about.items()))
    wanted = asked.which or MEASUREMENTS
    measure: dict[str, Callable[[], list[Line]]] = {
        "package-size": package_sizes,
        "cold-start": lambda: cold_starts(asked.rounds, asked.before),
        "contract": lambda: contracts(asked.rounds, asked.before),
        "one-deal": one_deals,
        "callout": lambda: callouts(asked.rounds),
        "burst": bursts,
        "reconcile": lambda: reconciliations(asked.sizes),
    }
    lines: list[Line] = []
    try:
        for name in measure:
            if name in wanted:
                lines += measure[name]()
    except NOT_MEASURED as error:
        print(f"\nnot measured: {error}", file=sys.stderr)
        return 2
    print()
    before = results.last_kept()
    code = tell(lines)
    for line in lines:
        if line.what in before and before[line.what][0] != line.measured:
            measured, commit = before[line.what]
            print(f"        {line.what}: {measured} when last kept ({commit})")
    if asked.keep:
        print(f"kept in {results.keep(lines, about).relative_to(results.ROOT)}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
