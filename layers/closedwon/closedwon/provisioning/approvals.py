"""Approves what is held: from the body of a request to an answer for each approval.

An approval is in the ledger before it is answered, and is applied even if its execution cannot be started now.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.logging import Logger
from pydantic import ValidationError

from closedwon.aws.executions import Start
from closedwon.aws.ledger import Claim, Ledger
from closedwon.intake.answers import ApprovalResult, ApprovalResults
from closedwon.intake.deal import Approval, problems_of
from closedwon.intake.requests import list_in
from closedwon.provisioning.accepting import start_each
from closedwon.stigg.rate_limit import Governor

logger = Logger()

NOTHING_WAITS = "nothing of this deal waits for that approval, or not any more: look at its status again"


def approvals_of(body: str | None) -> list[Any]:
    """The approvals of a request's body, not looked into yet. Raises RequestRefused."""
    return list_in(body, "approvals", "approval")


def approve(
    approvals: list[Any], organization_id: str, ledger: Ledger, governor: Governor, start: Start
) -> ApprovalResults:
    """Answer every approval, and start what was approved; one that is wrong does not touch the others.

    organization_id: the Salesforce organisation that the stack serves.
    """
    results: list[ApprovalResult] = []
    claims: list[Claim] = []
    for content in approvals:
        try:
            approval = Approval.model_validate(content)
        except ValidationError as error:
            results.append(unknown(None, "; ".join(str(problem) for problem in problems_of(content, error))))
            continue
        # A refreshed sandbox has the same record IDs, and would approve for production.
        if approval.organization_id != organization_id:
            results.append(unknown(approval.opportunity_id, "this stack serves another organisation"))
            continue
        # The rate slot first, because the due time that is recorded lies after it; where nothing waits, the slot is
        # lost.
        status, claim = ledger.approve(approval.opportunity_id, approval.approval, governor.rate_slots(1)[0])
        logger.info("approval", extra={"opportunity": approval.opportunity_id, "status": status})
        if status == "unknown":
            results.append(unknown(approval.opportunity_id, NOTHING_WAITS))
            continue
        if claim is not None:
            claims.append(claim)
        execution = claim.execution if claim else None
        results.append(ApprovalResult(opportunity_id=approval.opportunity_id, status="approved", execution=execution))
    start_each(claims, start)
    return ApprovalResults(results=results)


def unknown(opportunity_id: str | None, message: str) -> ApprovalResult:
    return ApprovalResult(opportunity_id=opportunity_id, status="unknown", message=message)
