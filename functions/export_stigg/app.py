"""export_stigg: exports all subscriptions of the environment from Stigg to S3, for a reconciliation of everything.

In mode ``changed`` it exports nothing: the customers that changed are read live later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.domain.changes import LIVE
from closedwon.reconciliation.exporting import Json, Shift, one_round
from closedwon.reconciliation.runs import Run, Storage
from closedwon.stack import STACK, Stack
from closedwon.stigg.client import Stigg
from closedwon.stigg.rate_limit import Governor

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()

PAGES_A_STEP = 100
"""Pages of 100 written in one batch: few large objects, and little to repeat after a failure."""

PAGES_AT_ONCE = 10
"""Pages reserved with the governor at a time."""


class StiggExport:
    """One run's export of Stigg.

    In: the run; where it is stored; the client of Stigg; what waits for the rate slots of so many pages; how many pages
    are written together; for how many there are rate slots at a time.
    """

    def __init__(
        self,
        run: Run,
        storage: Storage,
        stigg: Stigg,
        wait: Callable[[int], None],
        pages_a_step: int = PAGES_A_STEP,
        pages_at_once: int = PAGES_AT_ONCE,
    ) -> None:
        self._run = run
        self._storage = storage
        self._stigg = stigg
        self._wait = wait
        self._pages_a_step = pages_a_step
        self._pages_at_once = pages_at_once

    def step(self, progress: Json) -> Json:
        """Write the next pages, from the cursor `after`; raises what `closedwon.stigg.client` does."""
        cursor = progress.get("after")
        # Those that ended hold no slot; a suspect is read live, with every state.
        pages = islice(self._stigg.subscription_pages(cursor, LIVE), self._pages_a_step)
        calls = 0
        with self._storage.batch(self._run, f"stigg-{cursor or 'first'}") as writer:
            self._wait(self._pages_at_once)
            for items, following in pages:
                for item in items:
                    writer.add("subscriptions", key_of(item), {"row": item})
                cursor = following
                calls += 1
                if calls % self._pages_at_once == 0 and calls < self._pages_a_step and cursor is not None:
                    self._wait(self._pages_at_once)
        return {
            **progress,
            "after": cursor,
            "done": cursor is None,
            "calls": progress["calls"] + calls,
            "records": progress["records"] + writer.records,
        }


def key_of(subscription: Json) -> str:
    """The account of a subscription, from its metadata; its customer's ID where that does not name one."""
    metadata = subscription.get("metadata") or {}
    return str(metadata.get("salesforceAccountId") or subscription["customerId"])


def wait_for_rate_slots(governor: Governor, pages: int) -> None:
    """Wait until Stigg's limit, which all of closed-won shares, has room for some more pages: a moment, and with the
    smallest share a template allows less than a minute.
    """
    go_at = governor.reserve("list subscriptions", pages)
    time.sleep(max(0.0, go_at / 1000 - time.time()))


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> Json:
    run = Run.of(event["run"])
    if run.mode == "changed":
        return {"calls": 0, "records": 0, "done": True}
    shift = Shift(context.get_remaining_time_in_millis)
    export = StiggExport(run, stack.storage, stack.stigg, partial(wait_for_rate_slots, stack.governor))
    progress = one_round(event["progress"], export.step, shift)
    logger.info("exported", extra={"run": run.id, **{name: progress[name] for name in ("done", "calls", "records")}})
    return progress
