"""Reading Stigg's answers into what the domain speaks of. Pure.

What cannot be read raises StiggUnavailable, which names the call and no content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.changes import Actual, payment_of
from closedwon.domain.desired import Price, Slot, price_order
from closedwon.domain.errors import as_read, unreadable
from closedwon.domain.instants import At, Instant, Never, from_iso
from closedwon.domain.records import Payment


def actual_of(data: Mapping[str, Any], catalogue: Catalogue) -> Actual:
    """A subscription, from an element of Stigg's list. A plan that left the catalogue has a product of its own."""
    with as_read(lambda mistake: unreadable("list subscriptions", mistake)):
        # In brackets, which no ID in Stigg has: it can be no product's of the catalogue.
        product_id = catalogue.product_of(data["planId"]) or f"({data['planId']})"
        return Actual(
            id=data["id"],
            slot=Slot(product_id, data.get("resourceId"), _is_trial(data)),
            plan_id=data["planId"],
            pricing_type=data["pricingType"],
            status=data["status"],
            # Sorted, here and below: the plan compares them as wholes, and their order in an answer says nothing.
            addons=tuple(sorted((addon["id"], addon["quantity"]) for addon in data.get("addons") or ())),
            entitlement_ids=tuple(sorted(_ids(data.get("subscriptionEntitlements")))),
            prices=_prices(data.get("prices") or ()),
            cancellation=_end(data.get("cancellationDate")),
            metadata=dict(data.get("metadata") or {}),
            start=_instant(data.get("startDate")),
            trial_end=_instant(data.get("trialEndDate")),
            coupons=_ids(data.get("coupons")),
            tiered=_tiered(data.get("prices") or (), data["planId"]),
            period=_period(data.get("currentBillingPeriodStart"), data.get("currentBillingPeriodEnd")),
            cancel_reason=data.get("cancelReason"),
            ended=_instant(data.get("effectiveEndDate") or data.get("endDate")),
            payment_collection=data.get("paymentCollection"),
            latest_invoice=_invoice(data),
        )


def payment_in(data: Mapping[str, Any]) -> Payment | None:
    """What is wrong with the payment of a subscription, from the answer to a write of it."""
    with as_read(lambda mistake: unreadable("read subscription", mistake)):
        return payment_of(data["status"], data.get("paymentCollection"), _invoice(data))


def _invoice(data: Mapping[str, Any]) -> str | None:
    """The state of a subscription's newest invoice."""
    return (data.get("latestInvoice") or {}).get("status")


def currency_of(customer: Mapping[str, Any]) -> str | None:
    """What Stigg bills a customer in; None where it has no currency."""
    currency = customer.get("billingCurrency")
    return currency.lower() if isinstance(currency, str) and currency else None


def _ids(listed: Iterable[Mapping[str, Any]] | None) -> tuple[str, ...]:
    return tuple(one["id"] for one in listed or ())


def _is_trial(data: Mapping[str, Any]) -> bool:
    """Whether a subscription is a trial, or begins as one."""
    return data["status"] == "IN_TRIAL" or (data["status"] == "NOT_STARTED" and bool(data.get("trial")))


def _prices(prices: Iterable[Mapping[str, Any]]) -> tuple[Price, ...]:
    """The prices of a plan's base charge, of add-ons and of features charged by the unit, of one unit for one billing
    period, in order.
    """
    found = (
        Price(
            price.get("addonId"),
            float(price["amount"]),
            price.get("currency") or "usd",
            None if price.get("addonId") else price.get("featureId"),
        )
        for price in prices
        # Others are in tiers: no deal says those.
        if price.get("amount") is not None
        and not price.get("tiers")
        and (price.get("addonId") or price.get("baseCharge") or price.get("featureId"))
    )
    return tuple(sorted(found, key=price_order))


def _tiered(prices: Iterable[Mapping[str, Any]], plan_id: str) -> tuple[str, ...]:
    """What has a price in tiers: an add-on, a feature, or the plan."""
    return tuple(
        sorted(str(price.get("addonId") or price.get("featureId") or plan_id) for price in prices if price.get("tiers"))
    )


def _end(text: str | None) -> At | Never:
    return Never() if text is None else At(from_iso(text))


def _period(start: str | None, end: str | None) -> tuple[Instant, Instant] | None:
    return (from_iso(start), from_iso(end)) if start and end else None


def _instant(text: str | None) -> Instant | None:
    return None if text is None else from_iso(text)
