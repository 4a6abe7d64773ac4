"""How a subscription comes about: asked for, previewed, or put there for a measurement.

Everything that is refused raises `Refused`; then nothing was written.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from . import charging, invoices, models, money, rules, schedule
from .charging import Sold
from .customers import Customer
from .errors import Refused, invalid
from .packages import Catalogue, Period, Plan, TrialEndBehavior
from .periods import months_later
from .service import Service
from .state import Slot, Subscription


def provision(service: Service, wanted: models.SubscriptionProvision) -> Subscription:
    """Make a subscription. When it starts now, what stood in its slot is cancelled.

    Without a `trialOverrideConfiguration` it starts in the plan's own trial where the plan has one; see `DefaultTrial`.
    Left PAYMENT_PENDING, with a checkout, when a paid plan is to be charged and there is nothing to charge.
    """
    now = service.now
    customer = service.customer(wanted.customer_id)
    payer = service.customer(wanted.paying_customer_id) if wanted.paying_customer_id else customer
    plan = rules.plan(service.catalogue, wanted.plan_id)
    _check(service, plan, payer.billing_currency, wanted)
    trial = wanted.trial_override_configuration
    is_trial = trial.is_trial if trial else plan.default_trial is not None
    slot = (customer.id, wanted.resource_id, plan.product_id)
    start = wanted.start_date or _default_start(service, slot, is_trial, wanted.schedule_strategy)
    trial_end = _end_of_trial(plan, trial, max(start, now)) if is_trial else None
    if wanted.cancellation_date and wanted.cancellation_date <= max(start, now):
        raise invalid("cancellationDate must lie after the start and ahead", "InvalidCancellationDate")

    sent = wanted.sent()
    subscription = Subscription(
        id=wanted.id or f"subscription-{plan.id.removeprefix('plan-')}-{secrets.token_hex(3)}",
        customer_id=customer.id,
        plan=plan,
        created_at=now,
        start_date=start,
        status="NOT_STARTED",
        resource_id=wanted.resource_id,
        billing_period=wanted.billing_period,
        unit_quantity=wanted.unit_quantity,
        addons=sent.get("addons", []),
        entitlements=sent.get("entitlements", []),
        charges=sent.get("charges", []),
        price_overrides=money.prices(sent.get("priceOverrides", []), payer),
        coupon=money.coupon(service.catalogue, wanted.applied_coupon),
        budget=sent.get("budget"),
        minimum_spend=sent.get("minimumSpend"),
        metadata=sent.get("metadata", {}),
        salesforce_id=wanted.salesforce_id,
        billing_id=wanted.billing_id,
        paying_customer_id=wanted.paying_customer_id,
        payment_collection_method=wanted.payment_collection_method,
        is_trial=is_trial,
        trial_end_date=trial_end,
        trial_end_behavior=_behavior_of_trial(plan, trial),
        cancellation_date=wanted.cancellation_date,
        checkout_options=sent.get("checkoutOptions"),
    )
    service.book.subscriptions[subscription.id] = subscription
    _begin(service, subscription, payer)
    return subscription


def _check(service: Service, plan: Plan, currency: str, wanted: models.SubscriptionProvision) -> None:
    """Raises `Refused` for an ID that was used, and for what does not fit plan and catalogue."""
    if wanted.id is not None and wanted.id in service.book.subscriptions:
        raise Refused(409, "DuplicatedEntityNotAllowed", f"subscription ID {wanted.id} was already used")
    if service.catalogue.products[plan.product_id].many_subscriptions and wanted.resource_id is None:
        raise invalid(f"product {plan.product_id} allows many subscriptions: resourceId is required")
    catalogue, overrides = service.catalogue, wanted.price_overrides or ()
    rules.addons(catalogue, plan, wanted.addons or ())
    rules.entitlements(catalogue, plan, wanted.entitlements or ())
    sold = _sold(catalogue, plan, wanted, currency)
    charging.price_overrides(catalogue, sold, overrides)
    charging.priced(sold, sold.packages, charging.overridden(sold, overrides))
    charging.all_said(sold, charging.said(sold, wanted.charges or (), wanted.unit_quantity))


def _sold(
    catalogue: Catalogue,
    plan: Plan,
    wanted: models.SubscriptionProvision | models.SubscriptionPreview,
    currency: str,
) -> Sold:
    """What is asked for, of a plan that is sold by the period that is chosen."""
    rules.billing_period(plan, wanted.billing_period)
    return Sold.of(catalogue, plan, wanted.addons or (), wanted.billing_period, currency)


def _begin(service: Service, subscription: Subscription, payer: Customer) -> None:
    """Start a subscription that starts now; or leave it until it is paid."""
    charged = subscription.plan.pricing == "PAID" and subscription.payment_collection_method == "CHARGE"
    if charged and not subscription.is_trial and not payer.chargeable:
        subscription.status = "PAYMENT_PENDING"
        subscription.payment = "FAILED" if payer.card_declines else "ACTION_REQUIRED"
        subscription.checkout = secrets.token_urlsafe(18)
    elif subscription.start_date <= service.now:
        service.book.start(subscription, service.now)


def _default_start(service: Service, slot: Slot, is_trial: bool, strategy: models.ScheduleStrategy | None) -> datetime:
    """Without a start date: now; after the slot's trial for a paid subscription; or as the strategy says."""
    now = service.now
    if is_trial:
        return now
    trial = next(service.book.in_slot(slot, trial=True), None)
    if trial is not None and trial.trial_end_date is not None:
        return trial.trial_end_date
    active = next(service.book.in_slot(slot, trial=False), None)
    if active is None or strategy in (None, "IMMEDIATE"):
        return now
    return schedule.until(active, strategy, now)


def _end_of_trial(plan: Plan, trial: models.TrialOverride | None, after: datetime) -> datetime:
    """When a trial ends: as said, else as the plan's own trial does. Raises `Refused` for one that there cannot be.

    A trial that says no end has the plan's (stiggio/skills, trials.md: "optional; otherwise plan default applies").
    """
    if plan.pricing == "FREE":
        raise invalid(f"plan {plan.id} is free: it has no trial")
    if trial is not None and trial.trial_end_date is not None:
        if trial.trial_end_date <= after:
            raise invalid("trialEndDate must lie ahead")
        return trial.trial_end_date
    if plan.default_trial is None:
        raise invalid("trialEndDate must be given: the plan has no trial of its own")
    length = plan.default_trial
    return months_later(after, length.duration) if length.units == "MONTH" else after + timedelta(days=length.duration)


def _behavior_of_trial(plan: Plan, trial: models.TrialOverride | None) -> TrialEndBehavior:
    if trial is not None and trial.trial_end_behavior is not None:
        return trial.trial_end_behavior
    return plan.default_trial.end_behavior if plan.default_trial else "CANCEL_SUBSCRIPTION"


def preview(service: Service, wanted: models.SubscriptionPreview) -> dict[str, Any]:
    """What it would cost, as the API answers it. Nothing is written."""
    customer = service.customer(wanted.customer_id)
    payer = service.customer(wanted.paying_customer_id) if wanted.paying_customer_id else customer
    catalogue, currency = service.catalogue, payer.billing_currency
    plan = rules.plan(catalogue, wanted.plan_id)
    rules.addons(catalogue, plan, wanted.addons or ())
    sold = _sold(catalogue, plan, wanted, currency)
    charging.priced(sold, sold.packages, ())
    features = wanted.billable_features or ()
    billable = [models.Charge(id=item.feature_id, quantity=item.quantity, type="FEATURE") for item in features]
    units = charging.said(sold, [*(wanted.charges or ()), *billable], wanted.unit_quantity)
    charging.all_said(sold, units)
    coupon = money.coupon(catalogue, wanted.applied_coupon)
    answer = invoices.preview(catalogue, sold, units, wanted, coupon, service.now)
    slot = (customer.id, wanted.resource_id, plan.product_id)
    current = next(service.book.in_slot(slot, trial=False), None)
    period: Period = wanted.billing_period or "MONTHLY"
    answer["hasScheduledUpdates"] = bool(current and current.deferred)
    answer["isPlanDowngrade"] = bool(current and _is_downgrade(current.plan, plan, period, currency))
    return answer


def _is_downgrade(current: Plan, wanted: Plan, period: Period, currency: str) -> bool:
    """Whether a plan is worth less than the one it replaces; a custom plan is worth more than any."""

    def worth(of: Plan) -> float:
        price = of.base(period, currency)
        return price.amount if price else 0

    if wanted.pricing == "CUSTOM":
        return False
    return current.pricing == "CUSTOM" or worth(wanted) < worth(current)


def seed(service: Service, sent: dict[str, Any]) -> None:
    """Put a subscription there as it would be after POST, unchecked. Its dates are ISO instants."""
    customer = service.book.customers[sent["customerId"]]
    trial = sent.get("trialOverrideConfiguration") or {}
    start = _moment("startDate", sent) or service.now
    is_trial = bool(trial.get("isTrial"))
    service.book.subscriptions[sent["id"]] = Subscription(
        id=sent["id"],
        customer_id=customer.id,
        plan=service.catalogue.plans[sent["planId"]],
        created_at=service.now,
        start_date=start,
        status="NOT_STARTED" if start > service.now else "IN_TRIAL" if is_trial else "ACTIVE",
        resource_id=sent.get("resourceId"),
        billing_period=sent.get("billingPeriod"),
        unit_quantity=sent.get("unitQuantity"),
        addons=sent.get("addons", []),
        entitlements=sent.get("entitlements", []),
        charges=sent.get("charges", []),
        price_overrides=money.prices(sent.get("priceOverrides", []), customer),
        budget=sent.get("budget"),
        minimum_spend=sent.get("minimumSpend"),
        metadata=sent.get("metadata", {}),
        salesforce_id=sent.get("salesforceId"),
        paying_customer_id=sent.get("payingCustomerId"),
        payment_collection_method=sent.get("paymentCollectionMethod"),
        is_trial=is_trial,
        trial_end_date=_moment("trialEndDate", trial),
        trial_end_behavior=trial.get("trialEndBehavior") or "CANCEL_SUBSCRIPTION",
        cancellation_date=_moment("cancellationDate", sent),
    )


def _moment(name: str, within: dict[str, Any]) -> datetime | None:
    return datetime.fromisoformat(within[name]) if within.get(name) else None
