"""What a customer may use in effect: every source put together, the most generous one winning."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from . import charging
from .customers import CreditGrant
from .packages import Catalogue, CreditCurrency, Feature, Grant, stamp
from .periods import Reset, reset_around
from .records import Promotion, Spending
from .state import Subscription


@dataclass(frozen=True)
class Allowance:
    """How much of one feature or currency. limit: None for on/off features, infinity for unlimited ones.

    anchor: what its reset periods are counted from, whatever else their configuration says. values: what an ENUM may
    hold. soft: use goes on beyond the limit. used: what was used, in the current period where there are periods.
    """

    limit: float | None = None
    reset_period: Reset | None = None
    anchor: datetime | None = None
    values: tuple[str, ...] = ()
    soft: bool = False
    used: float = 0

    def __add__(self, more: Allowance) -> Allowance:
        if self.limit is None or more.limit is None:
            return self
        return replace(self, limit=self.limit + more.limit, used=self.used + more.used)

    def generous(self, other: Allowance) -> Allowance:
        """The better of the two."""
        return other if (other.limit or 0) > (self.limit or 0) else self

    def period(self, now: datetime) -> tuple[datetime, datetime] | None:
        """The period that usage counts in now; None for what nothing resets."""
        if self.reset_period is None or self.anchor is None:
            return None
        return reset_around(self.anchor, self.reset_period, now)


Allowances = dict[tuple[str, str], Allowance]
"""By kind (FEATURE or CREDIT) and ID."""


def _of_catalogue(grant: Grant, since: datetime, times: int = 1) -> Allowance:
    every = grant.reset_period or grant.cadence
    if grant.unlimited:
        return Allowance(math.inf, every, since)
    return Allowance(None if grant.limit is None else grant.limit * times, every, since, grant.values)


def of_subscription(catalogue: Catalogue, subscription: Subscription) -> Allowances:
    """The plan's entitlements, replaced by the subscription's own; the units paid for and its add-ons come on top."""
    since = subscription.anchor or subscription.start_date
    allowed: Allowances = {
        (grant.kind, grant.id): _of_catalogue(grant, since) for grant in subscription.plan.entitlements
    }
    for own in subscription.entitlements:
        limit = math.inf if own.get("hasUnlimitedUsage") else own.get("usageLimit", own.get("amount"))
        feature = catalogue.features.get(own["id"])
        if feature is not None and feature.type == "BOOLEAN":
            limit = None
        soft = bool(own.get("hasSoftLimit"))
        allowed[own["type"], own["id"]] = Allowance(
            limit, own.get("resetPeriod") or own.get("cadence"), since, soft=soft
        )
    for name, units in charging.units_of(catalogue, subscription).items():
        included = allowed.get(("FEATURE", name), Allowance(anchor=since))
        allowed["FEATURE", name] = replace(included, limit=(included.limit or 0) + units)
    for held in subscription.addons:
        for grant in catalogue.addons[held["id"]].entitlements:
            key = (grant.kind, grant.id)
            if grant.behavior == "Increment":
                more = _of_catalogue(grant, since, held["quantity"])
                allowed[key] = allowed[key] + more if key in allowed else more
            else:
                granted = _of_catalogue(grant, since)
                allowed[key] = allowed[key].generous(granted) if key in allowed else granted
    return allowed


def of_promotion(promotion: Promotion) -> Allowance:
    """What a feature given outside of any subscription allows."""
    sent = promotion.fields
    limit = math.inf if sent.get("hasUnlimitedUsage") else sent.get("usageLimit")
    return Allowance(
        limit,
        sent.get("resetPeriod"),
        promotion.updated_at,
        tuple(sent.get("enumValues") or ()),
        bool(sent.get("hasSoftLimit")),
    )


def effective(
    catalogue: Catalogue,
    subscriptions: Iterable[Subscription],
    grants: Iterable[CreditGrant],
    promotions: Iterable[Promotion],
    now: datetime,
) -> Allowances:
    """Of live subscriptions and promotions the most generous; credits granted once come on top."""
    allowed: Allowances = {}

    def allow(key: tuple[str, str], allowance: Allowance) -> None:
        allowed[key] = allowed[key].generous(allowance) if key in allowed else allowance

    for subscription in subscriptions:
        if subscription.live:
            for key, allowance in of_subscription(catalogue, subscription).items():
                allow(key, allowance)
    for promotion in promotions:
        if promotion.active(now):
            allow(("FEATURE", promotion.feature_id), of_promotion(promotion))
    for grant in grants:
        if grant.status(now) == "ACTIVE":
            key = ("CREDIT", grant.currency_id)
            granted = Allowance(grant.amount, used=grant.consumed)
            allowed[key] = allowed[key] + granted if key in allowed else granted
    return allowed


def spent(known: Iterable[Spending], resource_id: str | None, allowed: Allowances, now: datetime) -> Allowances:
    """What is allowed, with what was spent of the credits that a plan includes in the period under way."""
    ours = [one for one in known if one.grant_id is None and one.resource_id in (None, resource_id)]
    found = dict(allowed)
    for kind, id in allowed:
        if kind == "CREDIT" and ours:
            allowance = found[kind, id]
            start, end = allowance.period(now) or (now, now)
            used = sum(one.amount for one in ours if one.currency_id == id and start <= one.timestamp < end)
            found[kind, id] = replace(allowance, used=allowance.used + used)
    return found


def json(catalogue: Catalogue, allowed: Allowances, now: datetime) -> list[dict[str, Any]]:
    """Effective entitlements as the API answers them."""
    return [
        of_currency(catalogue.currencies[identifier], allowance, now)
        if kind == "CREDIT"
        else of_feature(catalogue.features[identifier], allowance, now)
        for (kind, identifier), allowance in allowed.items()
    ]


def of_currency(
    currency: CreditCurrency, allowance: Allowance | None, now: datetime, denied: str | None = None
) -> dict[str, Any]:
    """One currency's. allowance: None for what there is none of; denied: why it may not be used."""
    held = allowance or Allowance()
    _, end = held.period(now) or (None, None)
    return {
        "accessDeniedReason": denied,
        "currency": {
            "currencyId": currency.id,
            "displayName": currency.display_name,
            "description": currency.description or None,
            "metadata": {},
            "unitPlural": currency.units[1],
            "unitSingular": currency.units[0],
        },
        "currentUsage": held.used,
        "isGranted": denied is None,
        "type": "CREDIT",
        "usageLimit": held.limit if held.limit and math.isfinite(held.limit) else 0,
        "usageUpdatedAt": stamp(now),
        "entitlementUpdatedAt": stamp(now),
        "usagePeriodEnd": stamp(end) if end else None,
        "validUntil": None,
    }


def of_feature(
    feature: Feature, allowance: Allowance | None, now: datetime, denied: str | None = None
) -> dict[str, Any]:
    """One feature's. allowance: None for what there is none of; denied: why it may not be used."""
    held = allowance or Allowance()
    metered = feature.type == "NUMBER"
    start, end = held.period(now) or (None, None)
    return {
        "accessDeniedReason": denied,
        "isGranted": denied is None,
        "type": "FEATURE",
        "currentUsage": held.used if metered else None,
        "entitlementUpdatedAt": stamp(now),
        "feature": {
            "id": feature.id,
            "displayName": feature.display_name,
            "featureStatus": "ACTIVE",
            "featureType": feature.type,
        },
        "hasUnlimitedUsage": held.limit == math.inf if metered else None,
        "resetPeriod": held.reset_period,
        "usageLimit": None if held.limit is None or math.isinf(held.limit) else held.limit,
        "usagePeriodAnchor": stamp(held.anchor) if start and held.anchor else None,
        "usagePeriodEnd": stamp(end) if end else None,
        "usagePeriodStart": stamp(start) if start else None,
        "validUntil": None,
    }
