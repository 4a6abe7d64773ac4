"""What the user's own application is asked about one opportunity. Pure."""

from __future__ import annotations

from typing import Any

from closedwon.domain.order import Order


def request_body(order: Order, organization_id: str, customer_id: str | None) -> dict[str, Any]:
    """What the application is asked.

    In: the order; the Salesforce organisation; the customer's ID in Stigg, None while the application may choose it.
    Out: the request's JSON; what is not known is left out. docs/own-application.md tells the application's side.
    """
    return {
        "version": 1,
        "organizationId": organization_id,
        "trigger": order.trigger,
        "opportunity": {"id": order.opportunity_id, "name": order.opportunity_name},
        "account": _known(id=order.account_id, name=order.account_name, email=order.account_email),
        "lines": [
            _known(type=item.kind, id=item.stigg_id, quantity=item.quantity, unlimited=item.unlimited or None)
            for item in order.items
        ],
        "terms": _known(start=order.start, end=order.end, trialEnd=order.trial_end, billingPeriod=order.billing_period),
        **_known(customerId=customer_id, resourceId=order.resource_id),
    }


def idempotency_key(organization_id: str, opportunity_id: str) -> str:
    """The Idempotency-Key of everything that is ever asked about one opportunity. The organisation is part of it,
    because a Salesforce sandbox is a copy with the same record IDs.
    """
    return f"{organization_id}-{opportunity_id}"


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
