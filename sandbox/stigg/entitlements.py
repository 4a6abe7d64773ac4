"""What a customer may use in effect: every source put together, the most generous one winning."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from .packages import Catalogue, Grant, stamp
from .state import CreditGrant, Subscription


@dataclass(frozen=True)
class Allowance:
    """How much of one feature or currency. limit: None for on/off features, infinity for unlimited ones."""

    limit: float | None = None
    reset_period: str | None = None

    def __add__(self, more: Allowance) -> Allowance:
        if self.limit is None or more.limit is None:
            return self
        return replace(self, limit=self.limit + more.limit)

    def generous(self, other: Allowance) -> Allowance:
        """The better of the two."""
        return other if (other.limit or 0) > (self.limit or 0) else self


Allowances = dict[tuple[str, str], Allowance]
"""By kind (FEATURE or CREDIT) and ID."""


def _of_catalogue(grant: Grant, times: int = 1) -> Allowance:
    if grant.unlimited:
        return Allowance(math.inf, grant.reset_period)
    return Allowance(None if grant.limit is None else grant.limit * times, grant.reset_period)


def of_subscription(catalogue: Catalogue, subscription: Subscription) -> Allowances:
    """The plan's entitlements, replaced by the subscription's own, and what its add-ons add."""
    allowed: Allowances = {(grant.kind, grant.id): _of_catalogue(grant) for grant in subscription.plan.entitlements}
    for own in subscription.entitlements:
        limit = math.inf if own.get("hasUnlimitedUsage") else own.get("usageLimit", own.get("amount"))
        feature = catalogue.features.get(own["id"])
        if feature is not None and feature.type == "BOOLEAN":
            limit = None
        allowed[own["type"], own["id"]] = Allowance(limit, own.get("resetPeriod"))
    for held in subscription.addons:
        for grant in catalogue.addons[held["id"]].entitlements:
            key = (grant.kind, grant.id)
            if grant.behavior == "Increment":
                more = _of_catalogue(grant, held["quantity"])
                allowed[key] = allowed[key] + more if key in allowed else more
            else:
                granted = _of_catalogue(grant)
                allowed[key] = allowed[key].generous(granted) if key in allowed else granted
    return allowed


def effective(
    catalogue: Catalogue, subscriptions: Iterable[Subscription], grants: Iterable[CreditGrant], now: datetime
) -> Allowances:
    """Of live subscriptions the most generous; credits granted once come on top."""
    allowed: Allowances = {}
    for subscription in subscriptions:
        if subscription.live:
            for key, allowance in of_subscription(catalogue, subscription).items():
                allowed[key] = allowed[key].generous(allowance) if key in allowed else allowance
    for grant in grants:
        if grant.status(now) == "ACTIVE":
            key = ("CREDIT", grant.currency_id)
            granted = Allowance(grant.amount)
            allowed[key] = allowed[key] + granted if key in allowed else granted
    return allowed


def json(catalogue: Catalogue, allowed: Allowances, now: datetime) -> list[dict[str, Any]]:
    """Effective entitlements as the API answers them. Usage is always nought: nothing reports any here."""
    answer: list[dict[str, Any]] = []
    for (kind, identifier), allowance in allowed.items():
        finite = None if allowance.limit is None or math.isinf(allowance.limit) else allowance.limit
        if kind == "CREDIT":
            currency = catalogue.currencies[identifier]
            answer.append(
                {
                    "accessDeniedReason": None,
                    "currency": {
                        "currencyId": currency.id,
                        "displayName": currency.display_name,
                        "description": currency.description or None,
                        "metadata": {},
                        "unitPlural": currency.units[1],
                        "unitSingular": currency.units[0],
                    },
                    "currentUsage": 0,
                    "isGranted": True,
                    "type": "CREDIT",
                    "usageLimit": finite or 0,
                    "usageUpdatedAt": stamp(now),
                    "entitlementUpdatedAt": stamp(now),
                    "usagePeriodEnd": None,
                    "validUntil": None,
                }
            )
            continue
        feature = catalogue.features[identifier]
        metered = feature.type == "NUMBER"
        answer.append(
            {
                "accessDeniedReason": None,
                "isGranted": True,
                "type": "FEATURE",
                "currentUsage": 0 if metered else None,
                "entitlementUpdatedAt": stamp(now),
                "feature": {
                    "id": feature.id,
                    "displayName": feature.display_name,
                    "featureStatus": "ACTIVE",
                    "featureType": feature.type,
                },
                "hasUnlimitedUsage": allowance.limit == math.inf if metered else None,
                "resetPeriod": allowance.reset_period,
                "usageLimit": finite,
                "usagePeriodAnchor": None,
                "usagePeriodEnd": None,
                "usagePeriodStart": None,
                "validUntil": None,
            }
        )
    return answer
