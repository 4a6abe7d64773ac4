"""weigh: decides, after the comparison, whether repairs go ahead, or so much differs that a person is asked first."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.logging import Logger

from closedwon.reconciliation import runs
from closedwon.reconciliation.runs import Run
from closedwon.settings import setting

logger = Logger()

ALWAYS = 5
"""Customers that are repaired without asking, whatever their share: in a small run three are soon a large one."""


def weigh(run: Run) -> dict[str, Any]:
    """What the partitions found, together.

    Out: `repair`: ``go``, ``ask`` (more customers would change than the stack's share allows) or ``nothing``;
    `customers` compared and `toRepair`, their number; `failedPartitions`: those that told nothing.
    """
    summaries = list(runs.summaries(run))
    customers = sum(summary["customers"] for summary in summaries)
    to_repair = sum(summary["customersToRepair"] for summary in summaries)
    told = {summary["partition"] for summary in summaries}
    most = int(setting("RECONCILE_STOP_PERCENT"))
    too_many = to_repair > ALWAYS and 100 * to_repair > most * customers
    return {
        "repair": "nothing" if not to_repair else "ask" if too_many and not run.approved else "go",
        "customers": customers,
        "toRepair": to_repair,
        "mostPercent": most,
        "failedPartitions": sorted(set(range(run.partitions)) - told),
    }


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    run = Run.of(event["run"])
    weighed = weigh(run)
    logger.info("weighed", extra={"run": run.id, **weighed})
    return weighed
