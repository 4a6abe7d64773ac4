"""The bodies of Stigg's API: what a decision of the plan is on the wire, with only what the deal says. Pure.

Source: Stigg's API as its own SDK has it (tests/contract/test_bodies_fit_stigg.py compares them).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from closedwon.domain.changes import AtOnce, Create, Ending, TrialUntil, Update
from closedwon.domain.desired import Entitlement, Grant, Price, Subscription
from closedwon.domain.errors import CustomerTaken, as_read, safe_text, unreadable
from closedwon.domain.identifiers import CustomerId
from closedwon.domain.instants import At, EndOfBillingPeriod, Instant, Never, Until, iso_utc
from closedwon.domain.marks import GRANT_KEY, Backlinks, metadata_of
from closedwon.domain.order import Order
from closedwon.domain.subscription_ids import subscription_id


def customer_body(
    customer_id: CustomerId, order: Order, links: Backlinks, currency: str | None = None
) -> dict[str, Any]:
    """The body of Stigg's POST for a customer, named as the account of this order is. currency: in which it is billed,
    None where no deal says it.
    """
    body = {
        "id": customer_id,
        "name": order.account_name,
        "email": order.account_email,
        # What a customer without one is billed in, Stigg does not say; it refuses prices in another one.
        "billingCurrency": currency,
        "metadata": links.of_customer(),
        "integrations": _integrations(links),
    }
    # A name that was erased is empty, and is not sent: invoices need one (decision 57).
    return {name: value for name, value in body.items() if value}


def customer_difference(existing: Mapping[str, Any], order: Order, links: Backlinks) -> dict[str, Any]:
    """The body of Stigg's PATCH that makes a customer what the order's account says; empty when it already is.

    Stigg replaces metadata and integrations whole: what others put there is sent back as it was. What the account does
    not say (an e-mail address) is left alone. Raises CustomerTaken when the customer belongs to another account.
    """
    with as_read(lambda mistake: unreadable("read customer", mistake)):
        metadata = existing.get("metadata") or {}
        # An ID that was typed into the wrong account must not give that account another customer's access.
        owner = metadata.get("salesforceAccountId")
        if owner not in (None, "", links.account_id):
            raise CustomerTaken(
                f"the customer {safe_text(existing['id'])} in Stigg belongs to another Salesforce account, "
                f"{safe_text(owner)}"
            )
        body: dict[str, Any] = {}
        if order.account_name and existing.get("name") != order.account_name:  # none: it was erased
            body["name"] = order.account_name
        if order.account_email and existing.get("email") != order.account_email:
            body["email"] = order.account_email
        if not links.of_customer().items() <= metadata.items():
            body["metadata"] = {**metadata, **links.of_customer()}
        # Answers have more fields than the PATCH takes, and null where nothing is: only the three it knows are sent.
        integrations = existing.get("integrations") or []
        missing = [link for link in _integrations(links) if link not in [_link(other) for other in integrations]]
        if missing:
            # Our own integration, where it links another account, is replaced, not kept beside the right one.
            others = [_link(other) for other in integrations if other["id"] != links.integration_id]
            body["integrations"] = others + missing
        return body


def currency_body(currency: str) -> dict[str, Any]:
    """The body of Stigg's PATCH that says what a customer is billed in, where it has no currency yet."""
    return {"billingCurrency": currency}


def _integrations(links: Backlinks) -> list[dict[str, str]]:
    if links.integration_id is None:
        return []
    return [{"id": links.integration_id, "vendorIdentifier": "SALESFORCE", "syncedEntityId": links.account_id}]


def _link(integration: Mapping[str, Any]) -> dict[str, Any]:
    return {name: integration.get(name) for name in ("id", "vendorIdentifier", "syncedEntityId")}


def provision_body(customer_id: CustomerId, create: Create, links: Backlinks, *, paid: bool) -> dict[str, Any]:
    """The body of Stigg's POST for a new subscription. paid: whether its plan has a price in the catalogue (PAID).

    What no deal says is left out where it is nobody's setting. Where a default of the plan or the environment would
    decide (trial, schedule, collection of a paid plan), it is always said.
    """
    wanted = create.subscription
    body: dict[str, Any] = {
        "customerId": customer_id,
        "planId": wanted.plan_id,
        # Of our making, so that a try whose answer was lost cannot make a second subscription.
        "id": subscription_id(customer_id, wanted.slot, create.generation),
        "resourceId": wanted.slot.resource_id,
        "addons": _addons(wanted),
        "entitlements": [entitlement_body(entitlement) for entitlement in wanted.entitlements],
        "charges": _new_charges(wanted),
        "priceOverrides": _prices(wanted),
        "billingPeriod": wanted.billing_period,
        "paymentCollectionMethod": wanted.payment_collection or _collection(wanted, paid),
        "startDate": _text(create.start),
        "cancellationDate": _date(wanted.cancellation),
        "unitQuantity": _unit_quantity(wanted),
        "payingCustomerId": wanted.paying_customer_id,
        "appliedCoupon": {"couponId": wanted.coupon} if wanted.coupon else None,
        "trialOverrideConfiguration": _trial(wanted),
        **spending(wanted),
        "salesforceId": wanted.opportunities[0],
        "metadata": metadata_of(wanted, links),
        "scheduleStrategy": "IMMEDIATE",
    }
    return {name: value for name, value in body.items() if value not in (None, [])}


def _collection(wanted: Subscription, paid: bool) -> str | None:
    """How a sale that does not say it is paid for: as Stigg documents what it does by itself (decision 88)."""
    return "CHARGE" if paid and not wanted.slot.trial else None


def _trial(wanted: Subscription) -> dict[str, Any]:
    if not wanted.slot.trial:
        # A plan may have a default trial, with which every sale that says nothing begins.
        return {"isTrial": False}
    return {"isTrial": True, "trialEndDate": _text(wanted.trial_end), "trialEndBehavior": wanted.trial_end_behavior}


def spending(wanted: Subscription) -> dict[str, Any]:
    """Budget and minimum spend as Stigg's API takes them, where a deal says them."""
    body: dict[str, Any] = {}
    if wanted.budget is not None:
        body["budget"] = {"limit": wanted.budget, "hasSoftLimit": wanted.budget_soft}
    if wanted.minimum_spend is not None:
        body["minimumSpend"] = {"amount": wanted.minimum_spend.amount, "currency": wanted.minimum_spend.currency}
    return body


def update_body(update: Update, links: Backlinks) -> dict[str, Any]:
    """The body of Stigg's PATCH for a subscription. Stigg replaces a whole list, and all metadata, by what is sent:
    each is sent whole, and others' metadata is sent back.
    """
    wanted = update.subscription
    body: dict[str, Any] = {
        "metadata": {**update.metadata, **metadata_of(wanted, links)},
        "salesforceId": wanted.opportunities[0],
        "scheduleStrategy": "IMMEDIATE",
    }
    if "add-ons" in update.aspects:
        body["addons"] = _addons(wanted)
    if "charges" in update.aspects:
        body["charges"] = _changed_charges(wanted)
    if "prices" in update.aspects:
        body["priceOverrides"] = _prices(wanted)
    if update.sets_values:
        body |= _values(update)
    if "coupon" in update.aspects:
        body["appliedCoupon"] = {"couponId": wanted.coupon}
    if "end of trial" in update.aspects:
        body["trialEndDate"] = _text(wanted.trial_end)
    if "end" in update.aspects:
        body["cancellationDate"] = _date(wanted.cancellation)
    return body


def _values(update: Update) -> dict[str, Any]:
    """What no answer of Stigg shows: entitlements with their values, the billing period, spending terms."""
    wanted = update.subscription
    body: dict[str, Any] = {"entitlements": [entitlement_body(entitlement) for entitlement in wanted.entitlements]}
    if wanted.billing_period:
        body["billingPeriod"] = wanted.billing_period
    names = {"budget": "budget", "minimum_spend": "minimumSpend"}
    # null takes away what was written once and no deal says any more.
    return {**body, **spending(wanted), **dict.fromkeys(names[name] for name in update.withdrawn)}


def end_call(ending: Ending) -> tuple[Literal["cancel", "update"], dict[str, Any]]:
    """The call that ends a subscription, and its body."""
    match ending:
        case AtOnce():
            return "cancel", {"cancellationTime": "IMMEDIATE"}
        case EndOfBillingPeriod():
            return "cancel", {"cancellationTime": "END_OF_BILLING_PERIOD"}
        case TrialUntil(at):
            # Stigg cancels no trial at a date, so its end is moved; IMMEDIATE, or a schedule set in Stigg could put
            # that off.
            return "update", {"trialEndDate": iso_utc(at), "scheduleStrategy": "IMMEDIATE"}


def grant_body(customer_id: CustomerId, grant: Grant) -> dict[str, Any]:
    """The body of Stigg's POST for a credit grant. Its key in the metadata tells it from every other, whatever
    happens.
    """
    body = {
        "customerId": customer_id,
        "currencyId": grant.currency_id,
        "amount": grant.amount,
        # The opportunity's name may have been erased.
        "displayName": grant.opportunity_name or grant.opportunity_id,
        "grantType": "PAID" if grant.cost else "PROMOTIONAL",
        "cost": {"amount": grant.cost, "currency": grant.money} if grant.cost else None,
        "paymentCollectionMethod": grant.payment_collection if grant.cost else None,
        "resourceId": grant.resource_id,
        "effectiveAt": _text(grant.effective_at),
        "expireAt": _text(grant.expire_at),
        "metadata": {GRANT_KEY: grant.key, "salesforceOpportunityId": grant.opportunity_id},
    }
    return {name: value for name, value in body.items() if value is not None}


def entitlement_body(entitlement: Entitlement) -> dict[str, Any]:
    """One entitlement as Stigg's API takes it."""
    if entitlement.type == "CREDIT":
        body = {
            "type": "CREDIT",
            "id": entitlement.id,
            "amount": entitlement.limit,
            "cadence": entitlement.cadence,
        }
    else:
        body = {
            "type": "FEATURE",
            "id": entitlement.id,
            "usageLimit": entitlement.limit,
            "resetPeriod": entitlement.reset_period,
        }
        if entitlement.unlimited:
            body["hasUnlimitedUsage"] = True
    if entitlement.soft_limit:
        body["hasSoftLimit"] = True
    return {name: value for name, value in body.items() if value is not None}


def _text(at: Instant | None) -> str | None:
    return None if at is None else iso_utc(at)


def _date(until: Until) -> str | None:
    """The date on which a subscription is to end. None where it has none; with its billing period it ends by a call of
    its own (`end_call`), never by a date.
    """
    match until:
        case At(instant):
            return iso_utc(instant)
        case EndOfBillingPeriod() | Never():
            return None


def _addons(wanted: Subscription) -> list[dict[str, Any]]:
    return [{"id": id, "quantity": quantity} for id, quantity in wanted.addons]


def _prices(wanted: Subscription) -> list[dict[str, Any]]:
    return [
        {
            **_priced(p),
            "amount": p.amount,
            "currency": p.currency,
        }
        for p in wanted.prices
    ]


def _priced(price: Price) -> dict[str, Any]:
    """What a price override is of."""
    if price.feature_id:
        return {"featureId": price.feature_id}
    return {"addonId": price.addon_id} if price.addon_id else {"baseCharge": True}


def _unit_quantity(wanted: Subscription) -> int | None:
    """The plan's own units, where it is sold by the unit; None where those are on a line of their own."""
    if wanted.unit_feature is not None:
        return None if wanted.unit_feature in dict(wanted.charges) else wanted.unit_quantity
    return wanted.unit_quantity if wanted.unit_quantity != 1 else None  # of a plan that left the catalogue


def _charges(wanted: Subscription, counted: Mapping[str, int]) -> list[dict[str, Any]]:
    """How many there are of all that the plan charges by the unit: 0 of what no deal gives. Stigg wants each to be said
    (docs.stigg.io, *Subscription management*: "required for per-unit pricing"), and 0 is allowed (the SDK's `Charge`).
    """
    quantities = {**dict.fromkeys(wanted.charged, 0), **counted}
    return [_charge(id, quantity) for id, quantity in sorted(quantities.items())]


def _new_charges(wanted: Subscription) -> list[dict[str, Any]]:
    """How many there are, but for the plan's own units: those are its `unitQuantity`, and not said twice."""
    by_quantity = _unit_quantity(wanted) is not None
    said = _charges(wanted, dict(wanted.charges))
    return [one for one in said if not (by_quantity and one["id"] == wanted.unit_feature)]


def _changed_charges(wanted: Subscription) -> list[dict[str, Any]]:
    """How many there are from now on: a list replaces the whole list.

    The plan's own units are among them: PATCH has no `unitQuantity`, and they are units of the one feature that the
    plan charges (`Plan.unit_feature`). Stigg's documentation changes quantities of per-unit charges so (stiggio/skills,
    stigg-subscriptions/references/updates.md; `billableFeatures` there are `charges` in the REST API). To provision
    again would cancel what runs.
    """
    return _charges(wanted, wanted.counted)


def _charge(feature_id: str, quantity: int) -> dict[str, Any]:
    """One quantity of what a plan charges by the unit. All three fields are required (the SDK's types).

    Whether `id` is the feature's or that of a row of `GET /plans/{id}/charges` is not documented. It is the feature's:
    of rows there is one for each currency, billing period and country, so that none of them is the charge that a
    subscription keeps when its period changes; and quantities, overrides and usage are told by feature everywhere else.
    To be checked on a live account (docs/life-of-a-deal.md); this is the only place that knows.
    """
    return {"id": feature_id, "type": "FEATURE", "quantity": quantity}
