"""stigg_events: hears what Stigg says by its webhook, POST /v1/stigg-events: its customer is due, and is looked at.

The answer is 202 whatever an event says that closed-won does not know: Stigg would only send it again. What the
authorizer does not let in never gets here (decision 84).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from closedwon.aws import metrics
from closedwon.provisioning.hearing import Hearing
from closedwon.stack import STACK, Stack
from closedwon.stigg.events import MOST_BYTES

if TYPE_CHECKING:
    from closedwon.aws.context import Context


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> dict[str, Any]:
    """In: API Gateway's proxy event. Out: its proxy response. What fails is a 5xx, and Stigg sends the event again."""
    body = event["body"]
    if body is not None and len(body) > MOST_BYTES:
        return _answer(413, f"an event has at most {MOST_BYTES} bytes")
    hearing: Hearing = stack.hearing
    hearing.hear(body, "WEBHOOK")
    # Nothing of what became of it: who sends events learns nothing of who is a customer.
    return _answer(202, "heard")


def _answer(status: int, message: str) -> dict[str, Any]:
    # Not `intake.answers.response`: it would bring the validation library, and a second of start-up.
    body = json.dumps({"message": message})
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": body}
