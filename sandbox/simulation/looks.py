"""What is seen of a story at a moment, and the look that is printed of it."""

from __future__ import annotations

from typing import Any, NamedTuple

Json = dict[str, Any]


class Seen(NamedTuple):
    """What there is at a moment. at: epoch milliseconds; subscriptions: all of Stigg's stand-in, in full, oldest first;
    deals: what the API says of each, by opportunity; grants: credits, as Stigg shows them.
    """

    at: int
    subscriptions: list[Json]
    deals: dict[str, Json]
    grants: list[Json]


def look_of(seen: Seen) -> Json:
    """A look, as the format of stories has it."""
    return {
        "subscriptions": [subscription_of(one) for one in seen.subscriptions],
        "deals": {
            id: {"status": one["status"], "code": one["code"] or None, "reason": one["reason"]}
            for id, one in seen.deals.items()
        },
        "credits": [{"currencyId": one["currencyId"], "amount": _whole(one["amount"])} for one in seen.grants],
    }


def subscription_of(one: Json) -> Json:
    """A subscription of the stand-in in the form of a look."""
    return {
        "id": one["id"],
        "productId": one["productId"],
        "planId": one["planId"],
        "resourceId": one["resourceId"],
        "trial": one["trial"] is not None,
        "status": one["status"],
        "units": 1 if one["unitQuantity"] is None else _whole(one["unitQuantity"]),
        "addons": {addon["id"]: _whole(addon["quantity"]) for addon in one["addons"]},
        "entitlements": {entitlement["id"]: _limit(entitlement) for entitlement in one["entitlements"]},
        "charges": {charge["id"]: _whole(charge["quantity"]) for charge in one["charges"]},
        "prices": {
            price.get("addonId") or price.get("featureId") or "plan": _whole(price["amount"])
            for price in one["priceOverrides"]
            if price.get("amount") is not None
        },
        "startDate": one["startDate"],
        # Known beforehand or not: when it ended, or will by what Stigg knows now.
        "endDate": one["effectiveEndDate"] or one["trialEndDate"],
    }


def _limit(entitlement: Json) -> Any:
    """How much of a feature or of credits: a number, "unlimited", or True for a feature without a limit."""
    if entitlement.get("hasUnlimitedUsage"):
        return "unlimited"
    limit = entitlement.get("usageLimit", entitlement.get("amount"))
    return True if limit is None else _whole(limit)


def _whole(number: Any) -> Any:
    """A number without a needless fraction."""
    return int(number) if isinstance(number, float) and number.is_integer() else number
