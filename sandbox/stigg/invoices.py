"""What a subscription would cost: the preview's invoices, from the catalogue's prices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from . import models
from .packages import Catalogue, Period, Plan, stamp
from .periods import period_around


def lines(
    catalogue: Catalogue,
    plan: Plan,
    addons: Sequence[models.Addon],
    units: dict[str, float],
    period: Period,
    currency: str,
) -> list[dict[str, Any]]:
    """One line for each charge with a price. units: quantities of charges, by charge or feature ID."""
    found: list[dict[str, Any]] = []
    for package, quantity in [(plan, 1), *((catalogue.addons[item.id], item.quantity) for item in addons)]:
        for price in package.prices:
            if (price.period, price.currency) != (period, currency):
                continue
            count: float = quantity
            description = package.display_name
            if price.feature:
                count = units.get(price.id, units.get(price.feature, 0))
                description = f"{package.display_name}: {catalogue.features[price.feature].display_name}"
            if count:
                found.append(
                    {
                        "currency": currency,
                        "description": description,
                        "quantity": count,
                        "subTotal": price.amount * count,
                        "unitPrice": price.amount,
                    }
                )
    return found


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
    plan: Plan,
    wanted: models.SubscriptionPreview,
    coupon: dict[str, Any] | None,
    currency: str,
    now: datetime,
) -> dict[str, Any]:
    """Both invoices. What starts later, was back-dated or is a trial costs nothing at once.

    There is no proration here: a change of plan costs a whole period.
    """
    period: Period = wanted.billing_period or "MONTHLY"
    start = wanted.start_date or now
    trial = wanted.trial_override_configuration
    is_trial = trial.is_trial if trial else plan.default_trial is not None
    covered = period_around(start, period, max(start, now))
    units = {charge.id: float(charge.quantity) for charge in wanted.charges or ()}
    units |= {item.feature_id: float(item.quantity) for item in wanted.billable_features or ()}
    if wanted.unit_quantity is not None:
        units |= {price.feature: float(wanted.unit_quantity) for price in plan.prices if price.feature}
    found = lines(catalogue, plan, wanted.addons or (), units, period, currency)
    tax = (wanted.billing_information and wanted.billing_information.tax_percentage) or 0
    at_once = start == now and not is_trial
    return {
        "immediateInvoice": invoice(found if at_once else [], currency, coupon if at_once else None, tax, covered),
        "billingPeriodRange": {"start": stamp(covered[0]), "end": stamp(covered[1])},
        "freeItems": [],
        "recurringInvoice": invoice(found, currency, coupon, tax, covered),
    }
