"""What is seen of a story at a moment, and the look that is printed of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from closedwon.domain.contract.charges import Charge
from closedwon.domain.desired import Slot
from closedwon.preview.charging import charged
from closedwon.words.charges import Names

Json = dict[str, Any]


class Seen(NamedTuple):
    """What there is at a moment. at: epoch milliseconds; subscriptions: all of Stigg's stand-in, in full, oldest first;
    deals: what the API says of each, by opportunity; grants: credits, as Stigg shows them; agreed: what each account
    agreed to, by its customer in Stigg.
    """

    at: int
    subscriptions: list[Json]
    deals: dict[str, Json]
    grants: list[Json]
    agreed: Mapping[str, Agreed] = {}


class Agreed(NamedTuple):
    """What a customer agreed to pay, as it is known at a moment. charges: by slot; named: how its deals are called."""

    charges: Mapping[Slot, Charge]
    named: Names


def look_of(seen: Seen) -> Json:
    """A look, as the format of stories has it."""
    return {
        "subscriptions": [
            {**subscription_of(one), "charge": _charge(charge_of(seen, one))} for one in seen.subscriptions
        ],
        "deals": {
            id: {"status": one["status"], "code": one["code"], "reason": one["reason"]}
            for id, one in seen.deals.items()
        },
        "credits": [{"currencyId": one["currencyId"], "amount": _whole(one["amount"])} for one in seen.grants],
    }


STANDS = ("ACTIVE", "IN_TRIAL")
"""What a subscription's status is while it can be used."""


def charge_of(seen: Seen, one: Json) -> Charge | None:
    """What a billing period of a subscription charges then; None for a trial, and for one that does not stand."""
    if one["status"] != "ACTIVE" or (agreed := seen.agreed.get(one["customerId"])) is None:
        return None
    return agreed.charges.get(Slot(one["productId"], one["resourceId"]))


def _charge(charge: Charge | None) -> Json | None:
    return None if charge is None else charged(charge).model_dump(by_alias=True)


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
        # 0 of a charge is none of it: a quantity that was taken away.
        "charges": {charge["id"]: _whole(charge["quantity"]) for charge in one["charges"] if charge["quantity"]},
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
