"""sweep, written the usual way: boto3 at the top, Powertools for everything."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="ClosedWon")
dynamodb = boto3.client("dynamodb")
stepfunctions = boto3.client("stepfunctions")
TABLE = os.environ["LEDGER_TABLE"]
STATE_MACHINE = os.environ["PROVISION_STATE_MACHINE_ARN"]


@tracer.capture_method
def due() -> list[str]:
    now = str(time.time_ns() // 1_000_000)
    found = dynamodb.query(
        TableName=TABLE,
        IndexName="due",
        KeyConditionExpression="due = :due AND due_at <= :now",
        ExpressionAttributeValues={":due": {"S": "DUE"}, ":now": {"N": now}},
        Limit=100,
    )
    return [item["pk"]["S"].partition("#")[2] for item in found["Items"]]


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    accounts = due()
    for account_id in accounts:
        stepfunctions.start_execution(
            stateMachineArn=STATE_MACHINE,
            name=f"{account_id}-{time.time_ns()}",
            input=json.dumps({"accountId": account_id, "token": 0}),
        )
    metrics.add_metric(name="Started", unit=MetricUnit.Count, value=len(accounts))
    logger.info("swept", extra={"started": len(accounts)})
    return {"started": len(accounts)}
