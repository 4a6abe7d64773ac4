"""sweep: starts, every minute, whatever is due.

That is: starts that were lost, executions that died, payments and dates to check again, repairs. While an operator has
paused the stack it starts nothing. It takes no more rate slots than come before the next sweep, so that callouts never
wait long behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.aws.executions import Start
from closedwon.aws.ledger import Ledger
from closedwon.stack import STACK, Stack
from closedwon.stigg.rate_limit import Governor

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()

PERIOD = 60_000
"""Milliseconds from one sweep to the next, by its schedule."""


def start_due(ledger: Ledger, governor: Governor, start: Start) -> int:
    """Start every customer that is due. Out: how many. One that cannot be started does not stop the others; it is due
    again soon.

    Raises the first error once all were tried.
    """
    errors: list[Exception] = []
    runs = ledger.control().mode == "run"  # else what is due is only counted
    claims = ledger.due(lambda count: governor.rate_slots(count, PERIOD) if runs else ())
    for claim in claims:
        try:
            start(claim)
        except Exception as error:
            logger.exception("not started", extra={"execution": claim.execution})
            errors.append(error)
    # Raised at the end, so that the alarm on the sweep's errors sees it.
    if errors:
        raise errors[0]
    return len(claims)


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> dict[str, Any]:
    started = start_due(stack.ledger, stack.governor, stack.start)
    logger.info("swept", extra={"started": started})
    return {"started": started}
