"""compare: finds drift among the customers of one partition, and decides the remedy of each finding.

What the exports show is only a suspicion, because they were taken at different moments. Each suspect is read live and
compared again, by the same rules, before anything becomes a finding. In mode ``changed`` all customers are read live.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.reconciliation.comparing import Export
from closedwon.reconciliation.finding import Finding, Repair
from closedwon.reconciliation.runs import Run
from closedwon.stack import STACK, Stack

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()

ACCOUNTS_AT_ONCE = 25
"""Suspects read together: one request to Salesforce is for all of them."""

LAST = 0.1
"""The last share of the time, in which no new lot is begun. What is left then is counted, and left to the next run."""


def compare_partition(run: Run, partition: int, time_left: Callable[[], int], stack: Stack) -> dict[str, Any]:
    """Compare a partition's customers and store findings, repairs and a summary, which is what comes out.

    time_left: milliseconds until the invocation is cut off.
    """
    export = Export.read(stack.storage, run, partition, stack.intake, stack.settings.trial_stages)
    comparer = stack.comparer(run.deals_since)
    # In mode changed the exports are not whole: they have what changed, and nothing to compare it with.
    suspects = export.accounts if run.mode == "changed" else list(export.suspects(comparer, stack.live, run.deep))
    findings: list[Finding] = []
    repairs: list[Repair] = []
    looked_at = 0
    enough = LAST * time_left()
    for start in range(0, len(suspects), ACCOUNTS_AT_ONCE):
        if time_left() < enough:
            break
        lot = suspects[start : start + ACCOUNTS_AT_ONCE]
        for view in stack.live.views(lot, run.deep):
            found, repair = comparer.verdict(view)
            findings += found
            repairs += [repair] if repair else []
        looked_at += len(lot)
    summary = summary_of(partition, export, findings, repairs, len(suspects), looked_at)
    stack.storage.put_findings(run, partition, [finding.to_json() for finding in findings])
    stack.storage.put_repairs(run, partition, [repair.to_json() for repair in repairs])
    stack.storage.put_summary(run, partition, summary)  # the last: who has one is whole
    return summary


def summary_of(
    partition: int, export: Export, findings: list[Finding], repairs: list[Repair], suspects: int, looked_at: int
) -> dict[str, Any]:
    """The numbers of a partition that `weigh` and `report` need."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for finding in findings:
        kinds[finding.kind][finding.remedy] += 1
    return {
        "partition": partition,
        "customers": len(export.accounts),
        "deals": export.deals,
        "subscriptions": sum(map(len, export.subscriptions.values())),
        "suspects": suspects,
        "unconfirmed": suspects - looked_at,
        "findings": {kind: {"repair": c["repair"], "report": c["report"]} for kind, c in sorted(kinds.items())},
        "customersToRepair": len(repairs),
    }


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> str:
    run = Run.of(event["run"])
    summary = compare_partition(run, event["partition"], context.get_remaining_time_in_millis, stack)
    logger.info("compared", extra={"run": run.id, **summary})
    # Not the summary: a map's result has to stay small, whatever the number of partitions.
    return "ok"
