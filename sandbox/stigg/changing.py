"""What becomes of a subscription there is: updated, cancelled, paid.

Everything that is refused raises `Refused`; then nothing was written.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from . import charging, models, money, rules, schedule
from .charging import Sold
from .customers import Customer
from .errors import invalid, not_found
from .service import Service
from .state import Subscription, apply


def update(service: Service, subscription_id: str, wanted: models.SubscriptionUpdate) -> Subscription:
    """Change what is sent, every list and the metadata as a whole; now, or when the schedule says so.

    A new update takes the place of one that waits.
    """
    now = service.now
    subscription = standing(service, subscription_id)
    payer = service.customer(subscription.paying_customer_id or subscription.customer_id)
    _check_parts(service, subscription, wanted, payer.billing_currency)
    _check_end(service, subscription, wanted)

    changes = _changes(service, wanted, payer)
    anchor = changes.pop("billingCycleAnchor", None)
    subscription.deferred = None
    if schedule.puts_off(wanted.schedule_strategy, service.defer_updates) and subscription.live:
        schedule.put_off(subscription, changes, schedule.until(subscription, wanted.schedule_strategy, now))
    apply(subscription, changes)
    if anchor == "NOW":
        subscription.anchor = now
    service.book.advance(now)  # a trial whose end was set to now is over
    return subscription


def standing(service: Service, subscription_id: str) -> Subscription:
    """A subscription that has not ended."""
    subscription = service.subscription(subscription_id)
    if subscription.ended:
        raise invalid("the subscription has ended", "SubscriptionAlreadyCanceledOrExpired")
    return subscription


def _changes(service: Service, wanted: models.SubscriptionUpdate, payer: Customer) -> dict[str, Any]:
    """What is sent, by wire names, without what says how it is done; coupon and prices as subscriptions hold them."""
    changes = wanted.sent()
    for ignored in ("awaitPaymentConfirmation", "billingInformation", "scheduleStrategy"):
        changes.pop(ignored, None)
    applied, code = changes.pop("appliedCoupon", None), changes.pop("promotionCode", None)
    if applied is not None:
        changes["coupon"] = money.coupon(service.catalogue, wanted.applied_coupon)
    elif code is not None:
        changes["coupon"] = money.coupon(service.catalogue, models.AppliedCoupon(promotionCode=code))
    if "priceOverrides" in changes:
        changes["priceOverrides"] = money.prices(changes["priceOverrides"], payer)
    return changes


def _check_parts(
    service: Service, subscription: Subscription, wanted: models.SubscriptionUpdate, currency: str
) -> None:
    """Raises `Refused` for parts that do not fit, for what has no price in the currency, and for units left unsaid.

    What stays as it was is not looked at again: it may have been agreed under another catalogue.
    """
    catalogue, plan = service.catalogue, subscription.plan
    if wanted.addons is not None:
        rules.addons(catalogue, plan, wanted.addons)
    rules.entitlements(catalogue, plan, wanted.entitlements or ())
    own = {addon["id"]: addon["quantity"] for addon in subscription.addons}
    held = wanted.addons if wanted.addons is not None else [models.Addon(id=id, quantity=own[id]) for id in own]
    sold = Sold.of(catalogue, plan, held, wanted.billing_period or subscription.billing_period, currency)
    charging.price_overrides(catalogue, sold, wanted.price_overrides or ())
    _check_prices(sold, subscription, wanted, own)
    if wanted.charges is not None:
        charging.all_said(sold, charging.said(sold, wanted.charges, None))


def _check_prices(
    sold: Sold, subscription: Subscription, wanted: models.SubscriptionUpdate, own: Container[str]
) -> None:
    """Raises `Refused` for a charge without a price: of new add-ons, and of everything where prices are changed."""
    if wanted.price_overrides is not None:
        overridden = charging.overridden(sold, wanted.price_overrides)
    else:
        held = subscription.price_overrides
        overridden = [(price.get("addonId") or sold.plan.id, price.get("featureId")) for price in held]
    changed = wanted.price_overrides is not None or wanted.billing_period is not None
    packages = sold.packages if changed else [addon for addon, _ in sold.addons if addon.id not in own]
    charging.priced(sold, packages, overridden)


def _check_end(service: Service, subscription: Subscription, wanted: models.SubscriptionUpdate) -> None:
    """Raises `Refused` for an end that it cannot have."""
    if wanted.trial_end_date is not None and not subscription.is_trial:
        raise invalid("the subscription is not a trial", "InvalidSubscriptionStatus")
    if wanted.cancellation_date is None:
        return
    if subscription.is_trial:
        raise invalid("a trial ends by its trialEndDate", "InvalidCancellationDate")
    if wanted.cancellation_date <= max(service.now, subscription.start_date):
        raise invalid("cancellationDate must lie after the start and ahead", "InvalidCancellationDate")


def cancel(service: Service, subscription_id: str, wanted: models.SubscriptionCancel) -> Subscription:
    """End a subscription now, at the end of its billing period (the default) or at a date."""
    now = service.now
    subscription = standing(service, subscription_id)
    when = wanted.cancellation_time or "END_OF_BILLING_PERIOD"
    if (when == "SPECIFIC_DATE") != (wanted.end_date is not None):
        raise invalid("endDate goes with SPECIFIC_DATE, and only with it", "InvalidCancellationDate")
    if when == "IMMEDIATE":
        subscription.cancellation_date = now
        subscription.end("CANCELED", "Immediate", now)
        return subscription
    if subscription.is_trial:
        raise invalid("a trial is cancelled at once, or ended by its trialEndDate", "TrialMustBeCancelledImmediately")
    if wanted.end_date is not None:
        if wanted.end_date <= now:
            raise invalid("endDate must lie ahead", "InvalidCancellationDate")
        subscription.cancellation_date = wanted.end_date
        return subscription
    period = subscription.period(now)
    if subscription.plan.pricing != "PAID" or period is None:
        raise invalid(
            "only paid subscriptions under way end with a billing period",
            "SubscriptionDoesNotHaveBillingPeriod",
        )
    subscription.cancellation_date = period[1]
    return subscription


def pay(service: Service, checkout: str) -> Subscription:
    """Pay at a checkout: the customer has a card from now on and the subscription goes ahead.

    Raises `Refused` (404) when there is no such checkout, or it was paid.
    """
    for subscription in service.book.subscriptions.values():
        if subscription.checkout == checkout and subscription.status == "PAYMENT_PENDING":
            now = service.now
            subscription.checkout, subscription.payment = None, "NOT_REQUIRED"
            service.attach_payment_method(subscription.paying_customer_id or subscription.customer_id)
            subscription.status = "NOT_STARTED"
            if subscription.start_date <= now:
                service.book.start(subscription, now)
            return subscription
    raise not_found("Checkout", "session")
