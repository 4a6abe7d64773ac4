"""flow_callout: the API that Salesforce's flows call: accepts deals and approvals, answers where a deal stands.

POST /v1/provisionings answers each deal at once, and reads from Salesforce those that come without lines; POST
/v1/approvals approves what is held; GET /v1/provisionings/{opportunityId} reads the ledger.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.domain.identifiers import normalised_id
from closedwon.domain.links import stigg_customer_url, stigg_subscription_url
from closedwon.intake.answers import ProvisioningStatus, Refusal, response
from closedwon.intake.requests import NotNow, RequestRefused, deals_of, refusal
from closedwon.provisioning.accepting import accept
from closedwon.provisioning.approvals import approvals_of, approve
from closedwon.stack import STACK, Stack
from closedwon.words.reasons import told

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()


def status_of(opportunity_id: str, stack: Stack) -> ProvisioningStatus | None:
    """Where a deal stands; None when it was never accepted."""
    found = stack.ledger.find(opportunity_id)
    if found is None:
        return None
    customer, state = found
    app_url = stack.settings["STIGG_APP_URL"]
    customer_id = customer.shown_id
    return ProvisioningStatus.model_validate(
        {
            "organizationId": stack.settings.organization_id,
            "opportunityId": state.order.opportunity_id,
            "accountId": customer.account_id,
            "status": state.outcome.status,
            "reason": told(state.outcome),
            "code": state.outcome.code,
            "facts": state.outcome.facts.to_json(),
            "revision": _instant(state.revision.modified),
            "execution": state.execution,
            "customerId": customer_id,
            "customerUrl": stigg_customer_url(app_url, customer_id) if customer_id else None,
            "subscriptions": [
                {
                    "planId": subscription.plan_id,
                    "subscriptionId": subscription.subscription_id,
                    "url": stigg_subscription_url(app_url, subscription.subscription_id),
                    "status": subscription.status,
                    "checkoutUrl": subscription.checkout_url,
                }
                for subscription in state.outcome.subscriptions
            ],
            "approval": state.outcome.approval,
            "dueAt": _instant(state.outcome.due_at),
            "writtenBack": state.written == state.mark(customer_id),
        }
    )


def _instant(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> dict[str, Any]:
    """In: API Gateway's proxy event. Out: its proxy response."""
    match event["httpMethod"], event["resource"]:
        case "POST", "/v1/provisionings":
            try:
                deals = deals_of(event["body"])
                results = accept(deals, stack.intake, stack.ledger, stack.governor, stack.start)
            except (RequestRefused, NotNow) as error:
                return refusal(error)
            for result in results.results:
                logger.info(
                    "deal",
                    extra={
                        "opportunity": result.opportunity_id,
                        "status": result.status,
                        "execution": result.execution,
                    },
                )
            # Accepted, not done: what is in the ledger is provisioned, even if every later call fails (G5).
            return response(202, results)
        case "POST", "/v1/approvals":
            try:
                approvals = approvals_of(event["body"])
            except RequestRefused as error:
                return refusal(error)
            organization_id = stack.settings.organization_id
            return response(202, approve(approvals, organization_id, stack.ledger, stack.governor, stack.start))
        case "GET", "/v1/provisionings/{opportunityId}":
            try:
                # Salesforce gives the ID in 15 or 18 characters; the ledger knows it in 18.
                status = status_of(normalised_id(event["pathParameters"]["opportunityId"], "006"), stack)
            except ValueError as error:
                return response(400, Refusal(message=f"opportunityId {error}"))
            if status is None:
                return response(404, Refusal(message="this opportunity has never been accepted"))
            return response(200, status)
    return response(404, Refusal(message="there is nothing here"))
