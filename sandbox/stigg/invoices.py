"""What a subscription would cost: the preview's invoices, from the catalogue's prices."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from . import charging, models
from .charging import Sold, Units
from .packages import Catalogue, Period, stamp
from .periods import period_around


def lines(catalogue: Catalogue, sold: Sold, units: Units) -> list[dict[str, Any]]:
    """One line for each charge with a price and a quantity.

    The SDK's lines have one `unitPrice` and no tiers: of tiers and blocks it is what a unit comes to.
    """
    return [
        {
            "currency": sold.currency,
            "description": line.package.display_name
            if line.feature is None
            else f"{line.package.display_name}: {catalogue.features[line.feature].display_name}",
            "quantity": line.quantity,
            "subTotal": line.total,
            "unitPrice": round(line.total / line.quantity, 6),
        }
        for line in charging.bill(sold, units)
    ]


def invoice(
    found: list[dict[str, Any]],
    currency: str,
    coupon: dict[str, Any] | None,
    tax_percentage: float,
    covered: tuple[datetime, datetime],
) -> dict[str, Any]:
    """An invoice over some lines. coupon: as subscriptions show it (`percentOff` or `amountsOff`)."""
    sub_total = sum(line["subTotal"] for line in found)
    discount = 0.0
    if coupon:
        fixed = next((off["amount"] for off in coupon["amountsOff"] or () if off["currency"] == currency), 0)
        discount = min(sub_total, round(sub_total * (coupon["percentOff"] or 0) / 100 + fixed, 2))
    tax = round((sub_total - discount) * tax_percentage / 100, 2)
    return {
        "subTotal": sub_total,
        "total": round(sub_total - discount + tax, 2),
        "billingPeriodRange": {"start": stamp(covered[0]), "end": stamp(covered[1])},
        "currency": currency,
        "discount": discount,
        "discountDetails": {"code": None, "fixedAmount": None, "percentage": coupon["percentOff"]} if coupon else None,
        "discounts": [{"amount": discount, "currency": currency, "description": coupon["name"]}] if coupon else [],
        "lines": found,
        "tax": tax,
    }


def preview(
    catalogue: Catalogue,
    sold: Sold,
    units: Units,
    wanted: models.SubscriptionPreview,
    coupon: dict[str, Any] | None,
    now: datetime,
) -> dict[str, Any]:
    """Both invoices. What starts later, was back-dated or is a trial costs nothing at once.

    There is no proration here: a change of plan costs a whole period. What is used is not billed in advance.
    """
    period: Period = wanted.billing_period or "MONTHLY"
    start = wanted.start_date or now
    trial = wanted.trial_override_configuration
    is_trial = trial.is_trial if trial else sold.plan.default_trial is not None
    covered = period_around(start, period, max(start, now))
    found = lines(catalogue, replace(sold, period=period), units)
    tax = (wanted.billing_information and wanted.billing_information.tax_percentage) or 0
    at_once = start == now and not is_trial
    due, off = (found, coupon) if at_once else ([], None)
    return {
        "immediateInvoice": invoice(due, sold.currency, off, tax, covered),
        "billingPeriodRange": {"start": stamp(covered[0]), "end": stamp(covered[1])},
        "freeItems": [],
        "recurringInvoice": invoice(found, sold.currency, coupon, tax, covered),
    }
