"""customer_provision, written the usual way: the official stigg SDK, boto3 at the top, Powertools for everything."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from stigg import NotFoundError, Stigg

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="ClosedWon")
dynamodb = boto3.client("dynamodb")
TABLE = os.environ["LEDGER_TABLE"]


class Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Account(Model):
    id: str
    name: str
    email: str | None = None
    stigg_customer_id: str | None = None


class Deal(Model):
    account: Account


@cache
def stigg() -> Stigg:
    secret: Any = parameters.get_secret(os.environ["STIGG_SECRET_ARN"], transform="json")
    return Stigg(api_key=secret["apiKey"], base_url=os.environ["STIGG_API_URL"])


@tracer.capture_method
def deals_of(account_id: str) -> list[Deal]:
    found = dynamodb.query(
        TableName=TABLE,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
        ExpressionAttributeValues={":pk": {"S": f"ACCOUNT#{account_id}"}, ":sk": {"S": "DEAL#"}},
        ConsistentRead=True,
    )
    return [Deal.model_validate_json(item["body"]["S"]) for item in found["Items"]]


@tracer.capture_method
def ensure(account: Account) -> str:
    customer_id = account.stigg_customer_id or account.id
    metadata = {"salesforceAccountId": account.id}
    try:
        customer = stigg().v1.customers.retrieve(customer_id).data
    except NotFoundError:
        stigg().v1.customers.provision(id=customer_id, name=account.name, email=account.email, metadata=metadata)
        return customer_id
    if customer.name != account.name:
        stigg().v1.customers.update(customer_id, name=account.name, metadata={**(customer.metadata or {}), **metadata})
    return customer_id


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    deals = deals_of(event["accountId"])
    customer_id = ensure(deals[-1].account)
    metrics.add_metric(name="Customers", unit=MetricUnit.Count, value=1)
    logger.info("customer", extra={"customer": customer_id})
    return {**event, "customerId": customer_id, "work": "provision"}
