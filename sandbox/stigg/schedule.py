"""What a schedule puts off, and until when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from .models import ScheduleStrategy
from .periods import month_end
from .state import Deferred, Subscription

DEFERRABLE = {
    "addons": "ADDON",
    "billingPeriod": "BILLING_PERIOD",
    "budget": "PLAN",
    "charges": "UNIT_AMOUNT",
    "coupon": "COUPON",
    "entitlements": "PLAN",
    "metadata": "ADDITIONAL_META_DATA",
    "minimumSpend": "PLAN",
    "priceOverrides": "PRICE_OVERRIDE",
}
"""What a schedule may put off, and the kind of change Stigg shows for it. What is not here happens at once."""


def until(subscription: Subscription, strategy: ScheduleStrategy | None, now: datetime) -> datetime:
    """When what is put off happens: with the billing month, or with the subscription's billing period if it has one."""
    period = subscription.period(now)
    return period[1] if period and strategy != "END_OF_BILLING_MONTH" else month_end(now)


def puts_off(strategy: ScheduleStrategy | None, unless_told: bool) -> bool:
    """Whether a strategy puts updates off. unless_told: whether the environment does where there is no strategy."""
    return unless_told if strategy is None else strategy in ("END_OF_BILLING_PERIOD", "END_OF_BILLING_MONTH")


def put_off(subscription: Subscription, changes: dict[str, Any], at: datetime) -> None:
    """Take out of the changes, which go by their wire names, those that can be put off, and let them wait."""
    later = {name: changes.pop(name) for name in list(changes) if name in DEFERRABLE}
    if later:
        kinds = list(dict.fromkeys(DEFERRABLE[name] for name in later))
        subscription.deferred = Deferred(at, later, kinds)
