"""``python -m benchmarks [package-size|cold-start|one-deal|callout|burst|reconcile ...] [--rounds N] [--sizes N,N]
[--before COMMIT] [--keep]``: measures; prints each result with its goal, and what was kept of it last.

Exit code 0 when every goal is met, 1 when one is missed, 2 when something could not be measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

from benchmarks import burst, callout, cold_start, folders, one_deal, organisation, reconcile, results
from benchmarks.lines import Line, tell
from benchmarks.world import World

MEASUREMENTS = ("package-size", "cold-start", "one-deal", "callout", "burst", "reconcile")

PLAIN, COMPILED = 0.25, 0.60
NOT_SLOWER = 1.05
"""The most times the cold start of an earlier commit; two runs of the same code differ by as much."""

MOST_CALLS, MOST_WRITES, MOST_TRANSITIONS = 5, 3, 8
MOST_CALLS_OF_AN_AMENDMENT = 4
MOST_MILLISECONDS = 2.0
MOST_OF_A_PACKAGE = 250
"""Megabytes of a function with its layers, unpacked (Lambda quotas, developer guide)."""

MOST_TIMES_THE_CALLS, MOST_MEGABYTES, MOST_GROWTH, MOST_SECONDS = 1.05, 256, 1.25, 600

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
    one_deal.NotProvisioned,
    callout.NotAccepted,
    organisation.NotConsistent,
    reconcile.NotReconciled,
)


def cold_starts(rounds: int, before: str | None = None) -> list[Line]:
    """Prints the times; out: the ratios, until ready and until the first answer, and to an earlier commit's."""
    built = folders.build(before)
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
    return lines + ([] if before is None else _to_before(compared, before))


def _to_before(compared: Sequence[cold_start.Comparison], commit: str) -> list[Line]:
    """Prints the ratios to an earlier commit's cold starts; out: the largest of each figure."""
    ratios = {one.step: {figure: one.ratio(one.before, figure) for figure in cold_start.FIGURES} for one in compared}
    print()
    _print(
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
    _print(rows)
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
    drained = {most: burst.drain(most_plans=most) for most in (1, burst.MOST_PLANS)}
    _progress(f"burst: {burst.REAL_DEALS} deals in the sandbox")
    run = burst.real()
    _progress("")
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


def reconciliations(sizes: Sequence[int]) -> list[Line]:
    """Prints tables over the sizes; out: calls, memory, time."""
    runs = reconcile.measure(sizes, _progress)
    _progress("")
    print("\nReconciliation of everything, by the real state machine and functions, two processes of each.")
    print("Stigg's limits are out of the way and waits are cut; the ledger is read from files of DynamoDB's export.\n")
    _over_sizes(
        runs,
        "",
        {
            "deals": lambda run: f"{run.there.deals:,}",
            "line items": lambda run: f"{run.there.lines:,}",
            "customers": lambda run: f"{run.there.customers:,}",
            "subscriptions": lambda run: f"{run.there.subscriptions:,}",
            "items of the ledger": lambda run: f"{run.there.items:,}",
            "objects in S3": lambda run: f"{run.objects:,}",
            "drifts planted, and found": lambda run: f"{run.there.planted.total():,}",
        },
    )
    print()
    seconds = {phase: partial(_seconds_of, phase) for phase in reconcile.PHASES}
    _growing(runs, "seconds", {**seconds, "all": lambda run: run.total}, "{:.1f}")
    print()
    cpu = {_short(name): partial(_cpu_of, name) for name in reconcile.FUNCTIONS}
    _growing(runs, "seconds of CPU", {**cpu, "stand-ins, moto": lambda run: run.stand_ins}, "{:.1f}")
    print()
    _growing(runs, "peak MB", {_short(n): partial(_peak_of, n) for n in reconcile.FUNCTIONS}, "{:.0f}")
    print()
    _over_sizes(
        runs,
        "calls",
        {
            "Salesforce: least": lambda run: f"{run.salesforce.least}",
            "Salesforce: pages": lambda run: f"{run.salesforce.pages}",
            "Salesforce: others": lambda run: f"{run.salesforce.others}",
            "Stigg: least": lambda run: f"{run.stigg.least}",
            "Stigg: pages": lambda run: f"{run.stigg.pages}",
            "Stigg: others": lambda run: f"{run.stigg.others}",
            "to look at suspects and repair": lambda run: f"{run.live}",
        },
    )
    first, last = runs[0], runs[-1]
    times = (last.salesforce.all + last.stigg.all) / (last.salesforce.least + last.stigg.least)
    alone = (
        f"Salesforce {last.salesforce.all / last.salesforce.least:.2f}, Stigg {last.stigg.all / last.stigg.least:.2f}"
    )
    peaks = {name: _peak_of(name, last) for name in reconcile.FUNCTIONS}
    growth = {name: peaks[name] / _peak_of(name, runs[max(0, len(runs) - 2)]) for name in peaks}
    largest, fastest = max(peaks, key=peaks.__getitem__), max(growth, key=growth.__getitem__)
    deals = f"{last.there.deals:,} deals"
    return [
        Line(
            f"calls of the exports of {deals}, to the least there can be",
            f"{times:.2f} ({alone})",
            f"<= {MOST_TIMES_THE_CALLS:.2f}",
            times <= MOST_TIMES_THE_CALLS,
        ),
        Line(
            f"peak memory of a worker, {deals}",
            f"{peaks[largest]:.0f} MB ({_short(largest)})",
            f"<= {MOST_MEGABYTES} MB",
            peaks[largest] <= MOST_MEGABYTES,
        ),
        Line(
            "  its growth over the last two sizes, of the one that grows most",
            f"{growth[fastest]:.2f} ({_short(fastest)})",
            f"<= {MOST_GROWTH:.2f}",
            growth[fastest] <= MOST_GROWTH,
        ),
        Line(
            f"seconds for {deals}",
            f"{last.total:.0f} ({last.total / first.total:.1f} times those for {first.there.deals:,})",
            f"<= {MOST_SECONDS}",
            last.total <= MOST_SECONDS,
        ),
    ]


def _seconds_of(phase: str, run: reconcile.Reconciled) -> float:
    return run.seconds.get(phase, 0.0)


def _cpu_of(name: str, run: reconcile.Reconciled) -> float:
    return run.workers[name].cpu


def _peak_of(name: str, run: reconcile.Reconciled) -> float:
    return run.workers[name].peak / 1_000_000


def _short(function: str) -> str:
    return function.removesuffix("Function")


def _over_sizes(
    runs: Sequence[reconcile.Reconciled], title: str, rows: Mapping[str, Callable[[reconcile.Reconciled], str]]
) -> None:
    if title:
        _print([[title, *(f"{run.there.deals:,}" for run in runs)], *_cells(runs, rows)])
    else:
        _print(_cells(runs, rows))


def _cells(
    runs: Sequence[reconcile.Reconciled], rows: Mapping[str, Callable[[reconcile.Reconciled], str]]
) -> list[list[str]]:
    return [[name, *(shown(run) for run in runs)] for name, shown in rows.items()]


def _growing(
    runs: Sequence[reconcile.Reconciled],
    title: str,
    rows: Mapping[str, Callable[[reconcile.Reconciled], float]],
    shape: str,
) -> None:
    """A table with the ratios from one size to the next."""
    table = [
        [
            title,
            *(f"{run.there.deals:,}" for run in runs),
            *(f"x{b.there.deals / a.there.deals:.0f}" for a, b in pairwise(runs)),
        ]
    ]
    for name, figure in rows.items():
        figures = [figure(run) for run in runs]
        ratios = [f"{b / a:.2f}" if a else "" for a, b in pairwise(figures)]
        table.append([name, *(shape.format(one) for one in figures), *ratios])
    _print(table)


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


def _sizes(text: str) -> tuple[int, ...]:
    """Raises ValueError, as argparse expects it."""
    return tuple(int(size) for size in text.split(","))


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for, everything by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="closed-won, measured")
    parser.add_argument("which", nargs="*", metavar="|".join(MEASUREMENTS), help="all of them by default")
    parser.add_argument("--rounds", type=int, default=7, help="how often each cold start is measured")
    parser.add_argument("--before", metavar="COMMIT", help="compare cold starts with an earlier commit's as well")
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
