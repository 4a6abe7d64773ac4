"""subscription_provision, written the usual way: the official stigg SDK, boto3 at the top, Powertools."""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Literal

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from stigg import Stigg

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="ClosedWon")
dynamodb = boto3.client("dynamodb")
TABLE = os.environ["LEDGER_TABLE"]


class Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Line(Model):
    stigg_type: Literal["Plan", "Add-on", "Entitlement", "Credit entitlement"]
    stigg_id: str
    quantity: float | None = None
    price: float | None = None
    unlimited: bool = False
    reset_period: Literal["YEAR", "MONTH", "WEEK", "DAY", "HOUR"] | None = None


class Opportunity(Model):
    id: str
    currency_iso_code: str = "USD"


class Account(Model):
    id: str
    stigg_customer_id: str | None = None


class Terms(Model):
    billing_period: Literal["MONTHLY", "ANNUALLY"] | None = None


class Deal(Model):
    opportunity: Opportunity
    account: Account
    terms: Terms = Terms()
    lines: list[Line]

    def of_type(self, stigg_type: str) -> list[Line]:
        return [line for line in self.lines if line.stigg_type == stigg_type]


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


def entitlement(line: Line) -> Any:
    wanted: dict[str, Any] = {"id": line.stigg_id, "type": "FEATURE"}
    if line.unlimited:
        return {**wanted, "has_unlimited_usage": True}
    wanted["usage_limit"] = int(line.quantity or 0)
    return {**wanted, "reset_period": line.reset_period} if line.reset_period else wanted


@tracer.capture_method
def provision(deal: Deal) -> str:
    customer_id = deal.account.stigg_customer_id or deal.account.id
    plan = deal.of_type("Plan")[0]
    standing = list(stigg().v1.subscriptions.list(customer_id=customer_id, status=["ACTIVE"]))
    if any(subscription.plan_id == plan.stigg_id for subscription in standing):
        return "unchanged"
    prices: list[Any] = [
        {"amount": plan.price, "currency": deal.opportunity.currency_iso_code.lower(), "base_charge": True}
    ]
    wanted: dict[str, Any] = {"billing_period": deal.terms.billing_period} if deal.terms.billing_period else {}
    answer = stigg().v1.subscriptions.provision(
        customer_id=customer_id,
        plan_id=plan.stigg_id,
        addons=[{"id": line.stigg_id, "quantity": int(line.quantity or 1)} for line in deal.of_type("Add-on")],
        entitlements=[entitlement(line) for line in deal.of_type("Entitlement")],
        price_overrides=prices if plan.price else [],
        salesforce_id=deal.opportunity.id,
        metadata={"salesforceAccountId": deal.account.id},
        **wanted,
    )
    return answer.data.status


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    for deal in deals_of(event["accountId"]):
        status = provision(deal)
        metrics.add_metric(name="Subscriptions", unit=MetricUnit.Count, value=1)
        logger.info("subscription", extra={"opportunity": deal.opportunity.id, "status": status})
    return event
