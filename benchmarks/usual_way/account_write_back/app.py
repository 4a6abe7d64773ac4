"""account_write_back, written the usual way: simple-salesforce and boto3 at the top, Powertools for everything."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import boto3
import requests
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from simple_salesforce import Salesforce  # type: ignore[attr-defined]

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="ClosedWon")
dynamodb = boto3.client("dynamodb")
TABLE = os.environ["LEDGER_TABLE"]
SALESFORCE_URL = os.environ["SALESFORCE_URL"]


class Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Opportunity(Model):
    id: str


class Account(Model):
    id: str
    stigg_customer_id: str | None = None


class Deal(Model):
    opportunity: Opportunity
    account: Account


@cache
def salesforce() -> Any:
    secret: Any = parameters.get_secret(os.environ["SALESFORCE_SECRET_ARN"], transform="json")
    answer = requests.post(
        f"{SALESFORCE_URL}/services/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=(secret["clientId"], secret["clientSecret"]),
        timeout=10,
    )
    answer.raise_for_status()
    return Salesforce(
        instance_url=SALESFORCE_URL,
        session_id=answer.json()["access_token"],
        version=os.environ["SALESFORCE_API_VERSION"],
    )


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
def write_back(deal: Deal) -> None:
    customer_id = deal.account.stigg_customer_id or deal.account.id
    salesforce().Account.update(deal.account.id, {"Stigg_Customer_ID__c": customer_id})
    salesforce().Stigg_Provisioning__c.upsert(
        f"Opportunity_ID__c/{deal.opportunity.id}",
        {
            "Opportunity__c": deal.opportunity.id,
            "Account__c": deal.account.id,
            "Status__c": "Provisioned",
            "Stigg_Customer_ID__c": customer_id,
        },
    )


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    for deal in deals_of(event["accountId"]):
        write_back(deal)
        metrics.add_metric(name="WrittenBack", unit=MetricUnit.Count, value=1)
        logger.info("written back", extra={"opportunity": deal.opportunity.id})
    return {**event, "result": "provisioned", "cause": ""}
