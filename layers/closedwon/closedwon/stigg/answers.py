"""Reading Stigg's answers into what the domain speaks of. Pure.

What cannot be read raises StiggUnavailable, which names the call and no content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.desired import Price, Slot
from closedwon.domain.errors import as_read, unreadable
from closedwon.domain.plan import Actual, price_order


def actual_of(data: Mapping[str, Any], catalogue: Catalogue) -> Actual:
    """A subscription, from an element of Stigg's list. A plan that left the catalogue has a product of its own."""
    with as_read(lambda mistake: unreadable("list subscriptions", mistake)):
        trial = data["status"] == "IN_TRIAL" or (data["status"] == "NOT_STARTED" and bool(data.get("trial")))
        product_id = catalogue.product_of(data["planId"]) or f"({data['planId']})"
        return Actual(
            id=data["id"],
            slot=Slot(product_id, data.get("resourceId"), trial),
            plan_id=data["planId"],
            pricing_type=data["pricingType"],
            status=data["status"],
            addons=tuple(sorted((addon["id"], addon["quantity"]) for addon in data.get("addons") or ())),
            entitlement_ids=tuple(
                sorted(entitlement["id"] for entitlement in data.get("subscriptionEntitlements") or ())
            ),
            prices=tuple(
                sorted(
                    (
                        Price(price.get("addonId"), float(price["amount"]), price.get("currency") or "usd")
                        for price in data.get("prices") or ()
                        if price.get("amount") is not None and (price.get("addonId") or price.get("baseCharge"))
                    ),
                    key=price_order,
                )
            ),
            cancellation=data.get("cancellationDate"),
            metadata=dict(data.get("metadata") or {}),
            start=data.get("startDate"),
            trial_end=data.get("trialEndDate"),
            coupons=tuple(coupon["id"] for coupon in data.get("coupons") or ()),
        )
