"""The API's answers: what became of each deal and approval, and where a deal stands.

The OpenAPI document comes from these models, so their descriptions are written for the people who call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from closedwon.domain.order import Problem
from closedwon.intake.deal import ApiModel

CODE = "A stable code; docs/codes.md has what each means, who settles it and how."


class LineError(ApiModel):
    """What is wrong, and where. line is null where the fault is not in a line."""

    line: int | None
    field: str
    message: str
    code: Annotated[str, Field(description=CODE)] = "invalid"


class Result(ApiModel):
    """What became of one deal of the request."""

    # None where a deal is so broken that it names no opportunity.
    opportunity_id: str | None
    status: Literal["accepted", "duplicate", "superseded", "invalid"]
    execution: Annotated[str | None, Field(description="Name of the execution that provisions it.")] = None
    errors: list[LineError] = []  # noqa: RUF012 - pydantic gives each its own


class Results(ApiModel):
    """The answer to POST /v1/provisionings, in the order of the request's deals."""

    results: list[Result]


class SubscriptionStatus(ApiModel):
    """One subscription that a deal contributes to."""

    plan_id: str
    subscription_id: str
    url: str
    # Stigg's own word, and so no Literal: a new one must not fail the answer.
    status: str
    checkout_url: str | None = None


class ProvisioningStatus(ApiModel):
    """The answer to GET /v1/provisionings/{opportunityId}: where a deal stands."""

    organization_id: str
    opportunity_id: str
    account_id: str
    status: Literal[
        "Provisioning", "Provisioned", "Payment required", "Scheduled", "Held", "Failed", "Superseded", "Ended"
    ]
    reason: str
    code: Annotated[str, Field(description=f"{CODE} Empty where there is nothing to say.")] = ""
    facts: Annotated[dict[str, Any], Field(description="The facts of the code, by name.")] = {}  # noqa: RUF012
    revision: datetime
    execution: str | None
    customer_id: str | None
    customer_url: str | None
    subscriptions: list[SubscriptionStatus]
    approval: Annotated[str | None, Field(description="What waits for approval: send it to POST /v1/approvals.")] = None
    due_at: Annotated[datetime | None, Field(description="When what is scheduled takes effect.")] = None
    written_back: Annotated[bool, Field(description="Whether Salesforce shows this status already.")]


class ApprovalResult(ApiModel):
    """What became of one approval: unknown when nothing of that deal waits for it, or not any more."""

    opportunity_id: str | None
    status: Literal["approved", "unknown"]
    execution: Annotated[str | None, Field(description="Name of the execution that applies it.")] = None
    message: str = ""


class ApprovalResults(ApiModel):
    """The answer to POST /v1/approvals, in the order of the request's approvals."""

    results: list[ApprovalResult]


class Refusal(ApiModel):
    """The body of an answer that refuses the whole request."""

    message: str


def errors_of(problems: Iterable[Problem]) -> list[LineError]:
    """Problems as the API tells them."""
    return [LineError(line=p.line, field=p.field, message=p.message, code=p.code) for p in problems]


def invalid(opportunity_id: str | None, problems: Iterable[Problem]) -> Result:
    """The answer to a deal that is refused."""
    return Result(opportunity_id=opportunity_id, status="invalid", errors=errors_of(problems))


def response(status: int, body: BaseModel, headers: Mapping[str, str] = {}) -> dict[str, Any]:
    """API Gateway's proxy response."""
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", **headers},
        "body": body.model_dump_json(by_alias=True),
    }
