"""Stigg's own preview of the invoices: what it is asked, and what it cannot include. Pure."""

from __future__ import annotations

from typing import Any

from closedwon.domain.changes import Create, Update
from closedwon.preview.foresight import Foresight
from closedwon.stigg.bodies import provision_body

PREVIEWED = (
    "customerId",
    "planId",
    "addons",
    "appliedCoupon",
    "billingPeriod",
    "charges",
    "payingCustomerId",
    "resourceId",
    "scheduleStrategy",
    "startDate",
    "trialOverrideConfiguration",
    "unitQuantity",
)
"""The fields that Stigg's preview takes: no entitlements, no price overrides, no spending terms."""


def invoice_question(foresight: Foresight, change: Create | Update) -> dict[str, Any]:
    """The body of Stigg's preview: of a new subscription, or of what a changed one is as a whole."""
    start = foresight.begins(change.start) if isinstance(change, Create) else None
    # Stigg previews new subscriptions only, so an update is asked about as one. The generation is not sent.
    create = Create(change.subscription, 1, start=start)
    body = provision_body(foresight.customer_id, create, foresight.stack.links, paid=False)  # it takes no collection
    return {name: body[name] for name in PREVIEWED if name in body}


def not_included(foresight: Foresight, change: Create | Update) -> list[str]:
    """The parts of a subscription that Stigg's invoice preview leaves out, in words."""
    wanted = change.subscription
    said = []
    if wanted.prices:
        said.append("price overrides: Stigg's preview shows list prices")
    if wanted.entitlements:
        said.append("entitlements: Stigg's preview takes none")
    if wanted.minimum_spend is not None:
        said.append("the minimum spend: Stigg's preview takes none")
    if wanted.budget is not None:
        said.append("the budget: it limits usage, which nobody knows yet")
    if any(grant.opportunity_id in wanted.opportunities for grant in foresight.plan.grants):
        said.append("credit grants: they are charged apart")
    if isinstance(change, Update):
        said.append("what the change costs at once: Stigg previews new subscriptions only")
    return said
