"""repair: makes the customers of one partition due in the ledger where they differ.

An execution of the provisioning state machine then repairs each, as after a callout: nothing is written to Stigg or
Salesforce here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.intake.requests import NotNow
from closedwon.provisioning.accepting import record
from closedwon.reconciliation.finding import Repair
from closedwon.reconciliation.runs import Run
from closedwon.stack import STACK, Stack

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()

# As many as one callout brings (intake.deal.MOST_DEALS).
DEALS_AT_ONCE = 200


def repair(run: Run, partition: int, stack: Stack) -> dict[str, int]:
    """Carry out the repairs of a partition. Doing so again does no harm: what was accepted is a duplicate, and what
    moved on is left alone.

    Out: how many deals were accepted, how many customers made due, how many left alone because they moved on.
    """
    repairs = [Repair.from_json(data) for data in stack.storage.repairs(run, partition)]
    # Before any deal is accepted: accepting raises the rev, and its customer would count as moved on.
    due = [
        stack.ledger.make_due(one.account_id, one.rev, one.look, one.rewrite, one.account)
        for one in repairs
        if one.look or one.rewrite or one.account
    ]
    accepted = accept_missed([pair for one in repairs for pair in one.accept], stack)
    return {"accepted": accepted, "madeDue": sum(due), "leftAlone": len(due) - sum(due)}


def accept_missed(missed: Sequence[tuple[str, str]], stack: Stack) -> int:
    """Accept deals that never arrived. In: opportunities, each with what it is sent as. Out: how many were accepted."""
    accepted = 0
    for start in range(0, len(missed), DEALS_AT_ONCE):
        try:
            given = stack.live.given(dict(missed[start : start + DEALS_AT_ONCE]))
            # Only recorded: the sweep starts them, so that callouts do not wait behind repairs (decision 41).
            results = record(given, stack.intake, stack.ledger).results
        except NotNow as error:  # the reason itself: the state machine tries again by its name
            raise error.__context__ or error from None
        accepted += sum(result.status == "accepted" for result in results)
    return accepted


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> str:
    run = Run.of(event["run"])
    done = repair(run, event["partition"], stack)
    stack.storage.put_json(run, f"repaired/{event['partition']:04d}.json", done)
    logger.info("repaired", extra={"run": run.id, "partition": event["partition"], **done})
    # Not the numbers: a map's result has to stay small, whatever the number of partitions.
    return "ok"
