"""weigh: decides, after the comparison, whether repairs go ahead, or so much differs that a person is asked first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger

from closedwon.reconciliation.runs import Run, Storage
from closedwon.stack import STACK, Stack

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()

ALWAYS = 5
"""Customers that are repaired without asking, whatever their share: in a small run, three are a large share."""


def weigh(run: Run, storage: Storage, most: int) -> dict[str, Any]:
    """Add up what the partitions found, and decide. most: the share of customers, in percent, that is repaired without
    asking.

    Out: `repair`: ``go``, ``ask`` (more customers would change than the stack's share allows) or ``nothing``;
    `customers` compared and `toRepair`, their number; `failedPartitions`: those without a summary.
    """
    summaries = list(storage.summaries(run))
    customers = sum(summary["customers"] for summary in summaries)
    to_repair = sum(summary["customersToRepair"] for summary in summaries)
    # A partition that failed wrote no summary.
    compared = {summary["partition"] for summary in summaries}
    too_many = to_repair > ALWAYS and 100 * to_repair > most * customers
    return {
        "repair": "nothing" if not to_repair else "ask" if too_many and not run.approved else "go",
        "customers": customers,
        "toRepair": to_repair,
        "mostPercent": most,
        "failedPartitions": sorted(set(range(run.partitions)) - compared),
    }


def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> dict[str, Any]:
    run = Run.of(event["run"])
    weighed = weigh(run, stack.storage, int(stack.settings["RECONCILE_STOP_PERCENT"]))
    logger.info("weighed", extra={"run": run.id, **weighed})
    return weighed
