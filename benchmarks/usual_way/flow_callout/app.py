"""flow_callout, written the usual way: Powertools' event handler with validation, pydantic models, boto3 at the top."""

import json
import os
from datetime import datetime
from typing import Any, Literal

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="ClosedWon")
app = APIGatewayRestResolver(enable_validation=True)

dynamodb = boto3.client("dynamodb")
stepfunctions = boto3.client("stepfunctions")
TABLE = os.environ["LEDGER_TABLE"]
STATE_MACHINE = os.environ["PROVISION_STATE_MACHINE_ARN"]


class Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Opportunity(Model):
    id: str = Field(min_length=15, max_length=18)
    name: str = ""
    system_modstamp: datetime
    read_at: datetime
    currency_iso_code: str = "USD"


class Account(Model):
    id: str = Field(min_length=15, max_length=18)
    name: str = Field(min_length=1)
    email: str | None = None
    stigg_customer_id: str | None = None


class Terms(Model):
    billing_period: Literal["MONTHLY", "ANNUALLY"] | None = None
    start: str | None = None
    end: str | None = None
    payment_collection: Literal["CHARGE", "INVOICE", "NONE"] | None = None


class Line(Model):
    line: int | None = None
    stigg_type: Literal["Plan", "Add-on", "Entitlement", "Credit entitlement"]
    stigg_id: str
    quantity: float | None = None
    price: float | None = None
    unlimited: bool = False
    reset_period: Literal["YEAR", "MONTH", "WEEK", "DAY", "HOUR"] | None = None


class Deal(Model):
    organization_id: str
    trigger: Literal["closed_won", "trial", "amendment", "renewal", "cancellation"]
    opportunity: Opportunity
    account: Account
    terms: Terms = Terms()
    lines: list[Line]


class Callout(Model):
    deals: list[Deal] = Field(min_length=1, max_length=200)


class Result(Model):
    opportunity_id: str
    status: str
    execution: str


class Results(Model):
    results: list[Result]


@tracer.capture_method
def accept(deal: Deal) -> Result:
    execution = f"{deal.opportunity.id}-{deal.opportunity.system_modstamp:%Y%m%dT%H%M%S}-1"
    item = {
        "pk": {"S": f"ACCOUNT#{deal.account.id}"},
        "sk": {"S": f"DEAL#{deal.opportunity.id}"},
        "body": {"S": deal.model_dump_json(by_alias=True)},
        "execution": {"S": execution},
    }
    dynamodb.put_item(TableName=TABLE, Item=item)
    try:
        stepfunctions.start_execution(
            stateMachineArn=STATE_MACHINE,
            name=execution,
            input=json.dumps({"accountId": deal.account.id, "token": 0}),
        )
    except stepfunctions.exceptions.ExecutionAlreadyExists:
        logger.info("duplicate", extra={"execution": execution})
    return Result(opportunity_id=deal.opportunity.id, status="accepted", execution=execution)


@app.post("/v1/provisionings")
@tracer.capture_method
def provision(callout: Callout) -> Response[Results]:
    results = Results(results=[accept(deal) for deal in callout.deals])
    metrics.add_metric(name="Deals", unit=MetricUnit.Count, value=len(callout.deals))
    return Response(status_code=202, content_type="application/json", body=results)


@app.get("/v1/provisionings/<opportunity_id>")
@tracer.capture_method
def status(opportunity_id: str) -> dict[str, Any]:
    key = {"pk": {"S": f"OPPORTUNITY#{opportunity_id}"}, "sk": {"S": "STATUS"}}
    item = dynamodb.get_item(TableName=TABLE, Key=key).get("Item")
    if item is None:
        raise NotFoundError("this opportunity has never been accepted")
    return {"status": item["status"]["S"]}


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
@tracer.capture_lambda_handler
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
