"""export_stigg: exports all subscriptions of the environment from Stigg to S3, for a reconciliation of everything.

In mode ``changed`` it exports nothing: the customers that changed are read live later.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.domain.plan import LIVE
from closedwon.provisioning.work import stigg
from closedwon.reconciliation.exporting import Json, Shift, one_round
from closedwon.reconciliation.runs import PartitionWriter, Run
from closedwon.stigg.rate_limit import governor

logger = Logger()

PAGES_A_STEP = 100
"""Pages of 100 that are written together: more records for each object, and little to do again."""

PAGES_AT_ONCE = 10
"""Pages reserved with the governor at a time."""


def step(run: Run, progress: Json) -> Json:
    """Write the next pages, from the cursor `after`; raises what `closedwon.stigg.client` does."""
    cursor = progress.get("after")
    pages = islice(stigg().subscription_pages(cursor, LIVE), PAGES_A_STEP)
    calls = 0
    with PartitionWriter(run, f"stigg-{cursor or 'first'}") as writer:
        wait_for_rate_slot()
        for items, following in pages:
            for item in items:
                writer.add("subscriptions", key_of(item), {"row": item})
            cursor = following
            calls += 1
            if calls % PAGES_AT_ONCE == 0 and calls < PAGES_A_STEP and cursor is not None:
                wait_for_rate_slot()
    return {
        **progress,
        "after": cursor,
        "done": cursor is None,
        "calls": progress["calls"] + calls,
        "records": progress["records"] + writer.records,
    }


def key_of(subscription: Json) -> str:
    """The account a subscription belongs to, as far as it says so itself; else its customer's ID."""
    metadata = subscription.get("metadata") or {}
    return str(metadata.get("salesforceAccountId") or subscription["customerId"])


def wait_for_rate_slot() -> None:
    """Wait until Stigg's limit, which all of closed-won shares, has room for some more pages: a moment, and with the
    smallest share a template allows less than a minute.
    """
    go_at = governor().reserve("list subscriptions", PAGES_AT_ONCE)
    time.sleep(max(0.0, go_at / 1000 - time.time()))


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Any) -> Json:
    run = Run.of(event["run"])
    if run.mode == "changed":
        return {"calls": 0, "records": 0, "done": True}
    shift = Shift(context.get_remaining_time_in_millis)
    progress = one_round(event["progress"], lambda so_far: step(run, so_far), shift)
    logger.info("exported", extra={"run": run.id, **{name: progress[name] for name in ("done", "calls", "records")}})
    return progress
