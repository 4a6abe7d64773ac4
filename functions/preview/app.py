"""preview: answers what provisioning would do with deals. Writes nothing.

POST /v1/previews takes the same body as POST /v1/provisionings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.intake.answers import response
from closedwon.intake.requests import NotNow, RequestRefused, deals_of, refusal
from closedwon.preview.preview import Previewer
from closedwon.stack import STACK, Stack

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()

ASKING = 2 / 3
"""The share of the time in which Stigg is asked; the rest is for a question that is answered late."""


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> dict[str, Any]:
    """In: API Gateway's proxy event. Out: its proxy response."""
    try:
        seconds = ASKING * context.get_remaining_time_in_millis() / 1000
        previewer: Previewer = stack.previewer  # named here, so that a start imports it, not the first request
        results = previewer.preview(deals_of(event["body"]), seconds)
    except (RequestRefused, NotNow) as error:
        return refusal(error)
    for result in results.results:
        logger.info("preview", extra={"opportunity": result.opportunity_id, "status": result.status})
    return response(200, results)
