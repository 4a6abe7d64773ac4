"""The authorizer, written the usual way: Powertools for everything, its parameters utility for the secret."""

from __future__ import annotations

import hmac
import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.data_classes import event_source
from aws_lambda_powertools.utilities.data_classes.api_gateway_authorizer_event import (
    APIGatewayAuthorizerResponse,
    APIGatewayAuthorizerTokenEvent,
)
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="ClosedWon")

SECRET_ARN = os.environ["CALLOUT_KEY_SECRET_ARN"]


@tracer.capture_method
def is_key(given: str) -> bool:
    key = parameters.get_secret(SECRET_ARN, max_age=300)
    return hmac.compare_digest(given.encode(), str(key).encode())


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_source(data_class=APIGatewayAuthorizerTokenEvent)
def lambda_handler(event: APIGatewayAuthorizerTokenEvent, context: LambdaContext) -> dict[str, Any]:
    arn = event.parsed_arn
    policy = APIGatewayAuthorizerResponse(
        principal_id="salesforce",
        region=arn.region,
        aws_account_id=arn.aws_account_id,
        api_id=arn.api_id,
        stage=arn.stage,
    )
    if is_key(event.authorization_token):
        policy.allow_all_routes()
    else:
        metrics.add_metric(name="Refused", unit=MetricUnit.Count, value=1)
        policy.deny_all_routes()
    return policy.asdict()
