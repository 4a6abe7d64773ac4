"""Reconciliation over several sizes, as `make bench` tells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

from benchmarks import reconcile
from benchmarks.lines import Line
from benchmarks.show import progress, table

MOST_TIMES_THE_CALLS, MOST_MEGABYTES, MOST_GROWTH, MOST_SECONDS = 1.05, 256, 1.25, 600


def reconciliations(sizes: Sequence[int]) -> list[Line]:
    """Prints tables over the sizes; out: calls, memory, time."""
    runs = reconcile.measure(sizes, progress)
    progress("")
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
    before = {name: _peak_of(name, runs[max(0, len(runs) - 2)]) for name in peaks}
    growth = {name: peaks[name] / before[name] for name in peaks if before[name]}  # 0: it had nothing to do
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
        table([[title, *(f"{run.there.deals:,}" for run in runs)], *_cells(runs, rows)])
    else:
        table(_cells(runs, rows))


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
    rows_ = [
        [
            title,
            *(f"{run.there.deals:,}" for run in runs),
            *(f"x{b.there.deals / a.there.deals:.0f}" for a, b in pairwise(runs)),
        ]
    ]
    for name, figure in rows.items():
        figures = [figure(run) for run in runs]
        ratios = [f"{b / a:.2f}" if a else "" for a, b in pairwise(figures)]
        rows_.append([name, *(shape.format(one) for one in figures), *ratios])
    table(rows_)
