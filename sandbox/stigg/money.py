"""Prices and coupons as a subscription holds them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import models
from .customers import Customer
from .errors import invalid, not_found
from .packages import Catalogue


def prices(overrides: Iterable[dict[str, Any]], payer: Customer) -> list[dict[str, Any]]:
    """Price overrides as sent, each amount in a currency: the payer's where none is named."""
    return [{"currency": payer.billing_currency, **price} if "amount" in price else price for price in overrides]


def coupon(catalogue: Catalogue, applied: models.AppliedCoupon | None) -> dict[str, Any] | None:
    """A coupon as subscriptions show it; None for none. Raises `Refused` for what `_check` refuses."""
    if applied is None:
        return None
    _check(catalogue, applied)
    identifier = applied.coupon_id or applied.billing_coupon_id or applied.promotion_code
    if identifier is None and applied.discount is None:
        return None
    shown = {"id": identifier or "ad-hoc-discount", "status": "ACTIVE", **_amounts(applied.discount)}
    if known := catalogue.coupons.get(applied.coupon_id or ""):
        return {**shown, "name": known.name, "percentOff": known.percent_off}
    return {**shown, **_named(applied.discount, identifier or "Discount")}


def _check(catalogue: Catalogue, applied: models.AppliedCoupon) -> None:
    """One kind of coupon at a time; a coupon of the catalogue is known."""
    kinds = [applied.coupon_id, applied.billing_coupon_id, applied.promotion_code, applied.discount]
    if sum(kind is not None for kind in kinds) > 1:
        raise invalid("one coupon at a time")
    if applied.coupon_id is not None and applied.coupon_id not in catalogue.coupons:
        raise not_found("Coupon", applied.coupon_id)


def _amounts(discount: models.CouponDiscount | None) -> dict[str, Any]:
    amounts = discount and discount.amounts_off
    return {"amountsOff": [off.sent() for off in amounts] if amounts else None}


def _named(discount: models.CouponDiscount | None, usual: str) -> dict[str, Any]:
    """Name and percentage of a discount that the catalogue does not know."""
    if discount is None:
        return {"name": usual, "percentOff": None}
    return {"name": discount.name or usual, "percentOff": discount.percent_off}
