"""What Stigg does: one method for each call that reads or changes something, free of HTTP.

The caller holds the lock and has let time advance. Everything that is refused raises `Refused`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from . import entitlements, invoices, models, rules
from .catalogue import Catalogue, Plan
from .errors import Refused, invalid, not_found
from .periods import month_end
from .state import Book, CreditGrant, Customer, Deferred, Subscription, apply

NEVER = datetime.min.replace(tzinfo=UTC)

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


@dataclass
class Service:
    """Stigg's rules over a book.

    now: the present, as of the last `catch_up`. defer_updates: the environment puts updates off to the end of the
    billing period unless told IMMEDIATE.
    """

    catalogue: Catalogue
    defer_updates: bool = False
    now: datetime = NEVER
    book: Book = field(default_factory=Book)

    def catch_up(self, now: datetime) -> None:
        """Let time pass until `now`, which holds for all that is asked until the next call."""
        self.now = now
        self.book.advance(now)

    # Customers

    def customer(self, customer_id: str) -> Customer:
        found = self.book.customers.get(customer_id)
        if found is None:
            raise not_found("Customer", customer_id)
        return found

    def provision_customer(self, wanted: models.CustomerProvision) -> tuple[Customer, bool]:
        """Make a customer, or change the one of that ID. Returns it, and whether it is new."""
        now = self.now
        created = wanted.id not in self.book.customers
        sent = self._customer_fields(wanted)
        customer = self.book.customers.get(wanted.id) or Customer(wanted.id, now, now)
        sent.pop("id")
        if "defaultPaymentMethod" in sent:
            method = sent.pop("defaultPaymentMethod")
            customer.payment_method = method and {"cardBrand": None, "walletType": None, **method}
        customer.fields.update(sent)
        customer.updated_at = now
        self.book.customers[wanted.id] = customer
        return customer, created

    def update_customer(self, customer_id: str, wanted: models.CustomerUpdate) -> Customer:
        """Change what is sent. Metadata and integrations are replaced as a whole."""
        customer = self.customer(customer_id)
        customer.fields.update(self._customer_fields(wanted))
        customer.updated_at = self.now
        return customer

    def _customer_fields(self, wanted: models.CustomerUpdate) -> dict[str, Any]:
        rules.once("integrations", (link.id for link in wanted.integrations or ()))
        if any(link.synced_entity_id is None for link in wanted.integrations or ()):
            raise invalid("syncedEntityId is required to link an integration")
        if wanted.coupon_id and wanted.coupon_id not in self.catalogue.coupons:
            raise not_found("Coupon", wanted.coupon_id)
        return wanted.sent()

    def attach_payment_method(self, customer_id: str) -> None:
        """The customer has a card from now on. Subscriptions that wait for payment go on waiting."""
        self.customer(customer_id).payment_method = {
            "billingId": f"pm_{secrets.token_hex(8)}",
            "cardBrand": "visa",
            "cardExpiryMonth": 12,
            "cardExpiryYear": 2039,
            "cardLast4Digits": "4242",
            "type": "CARD",
            "walletType": None,
        }

    def allowances(self, customer_id: str, resource_id: str | None = None) -> entitlements.Allowances:
        """What the customer may use: without a resource what is the customer's own, with one that resource's too."""
        self.customer(customer_id)

        def counts(record: Subscription | CreditGrant) -> bool:
            return record.customer_id == customer_id and record.resource_id in (None, resource_id)

        return entitlements.effective(
            self.catalogue,
            filter(counts, self.book.subscriptions.of(customer_id)),
            filter(counts, self.book.grants.values()),
            self.now,
        )

    # Subscriptions

    def subscription(self, subscription_id: str) -> Subscription:
        found = self.book.subscriptions.get(subscription_id)
        if found is None:
            raise not_found("Subscription", subscription_id)
        return found

    def provision_subscription(self, wanted: models.SubscriptionProvision) -> Subscription:
        """Make a subscription. When it starts now, what stood in its slot is cancelled.

        Left PAYMENT_PENDING, with a checkout, when a paid plan is to be charged and there is nothing to charge.
        """
        now = self.now
        customer = self.customer(wanted.customer_id)
        payer = self.customer(wanted.paying_customer_id) if wanted.paying_customer_id else customer
        plan = rules.plan(self.catalogue, wanted.plan_id)
        if wanted.id is not None and wanted.id in self.book.subscriptions:
            raise Refused(409, "DuplicatedEntityNotAllowed", f"subscription ID {wanted.id} was already used")
        if self.catalogue.products[plan.product_id].many_subscriptions and wanted.resource_id is None:
            raise invalid(f"product {plan.product_id} allows many subscriptions: resourceId is required")
        rules.billing_period(plan, wanted.billing_period)
        addons = wanted.addons or ()
        self._check_parts(plan, payer.billing_currency, addons, wanted)
        overridden = rules.overridden(plan, wanted.price_overrides or ())
        rules.priced(self.catalogue, plan, [addon.id for addon in addons], payer.billing_currency, overridden)
        trial = wanted.trial_override_configuration
        is_trial = bool(trial and trial.is_trial)
        slot = (customer.id, wanted.resource_id, plan.product_id)
        start = wanted.start_date or self._default_start(slot, is_trial, wanted.schedule_strategy)
        trial_end = _end_of_trial(plan, trial, max(start, now))
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
            price_overrides=self._with_currency(sent.get("priceOverrides", []), payer),
            coupon=self._coupon(wanted.applied_coupon),
            budget=sent.get("budget"),
            minimum_spend=sent.get("minimumSpend"),
            metadata=sent.get("metadata", {}),
            salesforce_id=wanted.salesforce_id,
            billing_id=wanted.billing_id,
            paying_customer_id=wanted.paying_customer_id,
            payment_collection_method=wanted.payment_collection_method,
            is_trial=is_trial,
            trial_end_date=trial_end,
            trial_end_behavior=(trial and trial.trial_end_behavior) or "CANCEL_SUBSCRIPTION",
            cancellation_date=wanted.cancellation_date,
            checkout_options=sent.get("checkoutOptions"),
        )
        self.book.subscriptions[subscription.id] = subscription
        self._begin(subscription, payer)
        return subscription

    def _begin(self, subscription: Subscription, payer: Customer) -> None:
        """Start a subscription that starts now; or leave it until it is paid."""
        charged = subscription.plan.pricing == "PAID" and subscription.payment_collection_method == "CHARGE"
        if charged and not subscription.is_trial and payer.payment_method is None:
            subscription.status = "PAYMENT_PENDING"
            subscription.checkout = secrets.token_urlsafe(18)
        elif subscription.start_date <= self.now:
            self.book.start(subscription, self.now)

    def _default_start(
        self, slot: tuple[str, str | None, str], is_trial: bool, strategy: models.ScheduleStrategy | None
    ) -> datetime:
        """Without a start date: now; after the slot's trial for a paid subscription; or as the strategy says."""
        now = self.now
        if is_trial:
            return now
        trial = next(self.book.in_slot(slot, trial=True), None)
        if trial is not None and trial.trial_end_date is not None:
            return trial.trial_end_date
        active = next(self.book.in_slot(slot, trial=False), None)
        if active is None or strategy in (None, "IMMEDIATE"):
            return now
        return self._later(active, strategy)

    def _later(self, subscription: Subscription, strategy: models.ScheduleStrategy | None) -> datetime:
        now = self.now
        period = subscription.period(now)
        return period[1] if period and strategy != "END_OF_BILLING_MONTH" else month_end(now)

    def _check_parts(
        self,
        plan: Plan,
        currency: str,
        addons: Sequence[models.Addon],
        wanted: models.SubscriptionProvision | models.SubscriptionUpdate,
    ) -> None:
        """Raises `Refused` for what is asked for and does not fit. addons: those it is to have."""
        held = [addon.id for addon in addons]
        rules.addons(self.catalogue, plan, addons)
        rules.entitlements(self.catalogue, plan, wanted.entitlements or ())
        rules.price_overrides(self.catalogue, plan, held, currency, wanted.price_overrides or ())
        rules.charges(self.catalogue, plan, held, wanted.charges or ())

    def _coupon(self, applied: models.AppliedCoupon | None) -> dict[str, Any] | None:
        """A coupon as subscriptions show it."""
        if applied is None:
            return None
        rules.coupon(self.catalogue, applied)
        known = self.catalogue.coupons.get(applied.coupon_id or "")
        discount = applied.discount
        identifier = applied.coupon_id or applied.billing_coupon_id or applied.promotion_code
        if identifier is None and discount is None:
            return None
        amounts = discount and discount.amounts_off
        shown: dict[str, Any] = {"id": identifier or "ad-hoc-discount", "status": "ACTIVE"}
        shown |= {"amountsOff": [off.sent() for off in amounts] if amounts else None}
        if known:
            return {**shown, "name": known.name, "percentOff": known.percent_off}
        name = (discount and discount.name) or identifier or "Discount"
        return {**shown, "name": name, "percentOff": discount and discount.percent_off}

    @staticmethod
    def _with_currency(prices: list[dict[str, Any]], payer: Customer) -> list[dict[str, Any]]:
        return [{"currency": payer.billing_currency, **price} if "amount" in price else price for price in prices]

    def seed_customer(self, sent: dict[str, Any]) -> None:
        """A customer as it would be after POST, unchecked."""
        id = sent.pop("id")
        self.book.customers[id] = Customer(id, self.now, self.now, sent)

    def seed_subscription(self, sent: dict[str, Any]) -> None:
        """A subscription as it would be after POST, unchecked. Its dates are ISO instants."""

        def moment(name: str, within: dict[str, Any]) -> datetime | None:
            return datetime.fromisoformat(within[name]) if within.get(name) else None

        customer = self.book.customers[sent["customerId"]]
        trial = sent.get("trialOverrideConfiguration") or {}
        start = moment("startDate", sent) or self.now
        is_trial = bool(trial.get("isTrial"))
        self.book.subscriptions[sent["id"]] = Subscription(
            id=sent["id"],
            customer_id=customer.id,
            plan=self.catalogue.plans[sent["planId"]],
            created_at=self.now,
            start_date=start,
            status="NOT_STARTED" if start > self.now else "IN_TRIAL" if is_trial else "ACTIVE",
            resource_id=sent.get("resourceId"),
            billing_period=sent.get("billingPeriod"),
            unit_quantity=sent.get("unitQuantity"),
            addons=sent.get("addons", []),
            entitlements=sent.get("entitlements", []),
            charges=sent.get("charges", []),
            price_overrides=self._with_currency(sent.get("priceOverrides", []), customer),
            budget=sent.get("budget"),
            minimum_spend=sent.get("minimumSpend"),
            metadata=sent.get("metadata", {}),
            salesforce_id=sent.get("salesforceId"),
            paying_customer_id=sent.get("payingCustomerId"),
            payment_collection_method=sent.get("paymentCollectionMethod"),
            is_trial=is_trial,
            trial_end_date=moment("trialEndDate", trial),
            trial_end_behavior=trial.get("trialEndBehavior") or "CANCEL_SUBSCRIPTION",
            cancellation_date=moment("cancellationDate", sent),
        )

    def update_subscription(self, subscription_id: str, wanted: models.SubscriptionUpdate) -> Subscription:
        """Change what is sent, every list and the metadata as a whole; now, or when the schedule says so.

        A new update takes the place of one that waits.
        """
        now = self.now
        subscription = self.subscription(subscription_id)
        if subscription.ended:
            raise invalid("the subscription has ended", "SubscriptionAlreadyCanceledOrExpired")
        payer = self.customer(subscription.paying_customer_id or subscription.customer_id)
        self._check_addons(subscription, wanted, payer.billing_currency)
        self._check_end(subscription, wanted)

        changes = wanted.sent()
        for ignored in ("awaitPaymentConfirmation", "billingInformation", "scheduleStrategy"):
            changes.pop(ignored, None)
        anchor = changes.pop("billingCycleAnchor", None)
        applied, code = changes.pop("appliedCoupon", None), changes.pop("promotionCode", None)
        if applied is not None:
            changes["coupon"] = self._coupon(wanted.applied_coupon)
        elif code is not None:
            changes["coupon"] = self._coupon(models.AppliedCoupon(promotionCode=code))
        if "priceOverrides" in changes:
            changes["priceOverrides"] = self._with_currency(changes["priceOverrides"], payer)

        subscription.deferred = None
        if self._puts_off(wanted.schedule_strategy) and subscription.live:
            self._defer(subscription, changes, wanted.schedule_strategy)
        apply(subscription, changes)
        if anchor == "NOW":
            subscription.anchor = now
        self.book.advance(now)  # a trial whose end was set to now is over
        return subscription

    def _check_addons(self, subscription: Subscription, wanted: models.SubscriptionUpdate, currency: str) -> None:
        """Raises `Refused` for parts that do not fit, and for new add-ons without a price in the currency."""
        plan = subscription.plan
        if wanted.addons is None:
            held = [models.Addon.model_validate(addon) for addon in subscription.addons]
            self._check_parts(plan, currency, held, wanted)
            return
        self._check_parts(plan, currency, wanted.addons, wanted)
        own = {addon["id"] for addon in subscription.addons}
        new = [addon.id for addon in wanted.addons if addon.id not in own]
        overridden = rules.overridden(plan, wanted.price_overrides or ())
        rules.priced(self.catalogue, plan, new, currency, [plan.id, *overridden])

    def _check_end(self, subscription: Subscription, wanted: models.SubscriptionUpdate) -> None:
        """Raises `Refused` for an end that it cannot have."""
        if wanted.trial_end_date is not None and not subscription.is_trial:
            raise invalid("the subscription is not a trial", "SubscriptionNotInTrial")
        if wanted.cancellation_date is None:
            return
        if subscription.is_trial:
            raise invalid("a trial ends by its trialEndDate", "InvalidCancellationDate")
        if wanted.cancellation_date <= max(self.now, subscription.start_date):
            raise invalid("cancellationDate must lie after the start and ahead", "InvalidCancellationDate")

    def _puts_off(self, strategy: models.ScheduleStrategy | None) -> bool:
        if strategy is None:
            return self.defer_updates
        return strategy in ("END_OF_BILLING_PERIOD", "END_OF_BILLING_MONTH")

    def _defer(
        self, subscription: Subscription, changes: dict[str, Any], strategy: models.ScheduleStrategy | None
    ) -> None:
        """Take out of the changes those that can be put off, and let them wait."""
        later = {name: changes.pop(name) for name in list(changes) if name in DEFERRABLE}
        if later:
            kinds = list(dict.fromkeys(DEFERRABLE[name] for name in later))
            subscription.deferred = Deferred(self._later(subscription, strategy), later, kinds)

    def cancel_subscription(self, subscription_id: str, wanted: models.SubscriptionCancel) -> Subscription:
        """End a subscription now, at the end of its billing period (the default) or at a date."""
        now = self.now
        subscription = self.subscription(subscription_id)
        when = wanted.cancellation_time or "END_OF_BILLING_PERIOD"
        if subscription.ended:
            raise invalid("the subscription has ended", "SubscriptionAlreadyCanceledOrExpired")
        if (when == "SPECIFIC_DATE") != (wanted.end_date is not None):
            raise invalid("endDate goes with SPECIFIC_DATE, and only with it", "InvalidCancellationDate")
        if when == "IMMEDIATE":
            subscription.cancellation_date = now
            subscription.end("CANCELED", "Immediate", now)
            return subscription
        if subscription.is_trial:
            raise invalid("a trial is cancelled at once, or ended by its trialEndDate", "CannotCancelTrial")
        if wanted.end_date is not None:
            if wanted.end_date <= now:
                raise invalid("endDate must lie ahead", "InvalidCancellationDate")
            subscription.cancellation_date = wanted.end_date
            return subscription
        period = subscription.period(now)
        if subscription.plan.pricing != "PAID" or period is None:
            raise invalid(
                "only paid subscriptions under way end with a billing period",
                "CannotCancelAtEndOfBillingPeriod",
            )
        subscription.cancellation_date = period[1]
        return subscription

    def pay(self, checkout: str) -> Subscription:
        """Pay at a checkout: the customer has a card from now on and the subscription goes ahead.

        Raises `Refused` (404) when there is no such checkout, or it was paid.
        """
        for subscription in self.book.subscriptions.values():
            if subscription.checkout == checkout and subscription.status == "PAYMENT_PENDING":
                now = self.now
                subscription.checkout = None
                self.attach_payment_method(subscription.paying_customer_id or subscription.customer_id)
                subscription.status = "NOT_STARTED"
                if subscription.start_date <= now:
                    self.book.start(subscription, now)
                return subscription
        raise not_found("Checkout", "session")

    def preview_subscription(self, wanted: models.SubscriptionPreview) -> dict[str, Any]:
        """What it would cost. Nothing is written."""
        now = self.now
        customer = self.customer(wanted.customer_id)
        payer = self.customer(wanted.paying_customer_id) if wanted.paying_customer_id else customer
        plan = rules.plan(self.catalogue, wanted.plan_id)
        held = [addon.id for addon in wanted.addons or ()]
        rules.billing_period(plan, wanted.billing_period)
        rules.addons(self.catalogue, plan, wanted.addons or ())
        rules.charges(self.catalogue, plan, held, wanted.charges or ())
        rules.priced(self.catalogue, plan, held, payer.billing_currency, ())
        answer = invoices.preview(
            self.catalogue, plan, wanted, self._coupon(wanted.applied_coupon), payer.billing_currency, now
        )
        slot = (customer.id, wanted.resource_id, plan.product_id)
        current = next(self.book.in_slot(slot, trial=False), None)
        period = wanted.billing_period or "MONTHLY"

        def worth(of: Plan) -> float:
            price = of.price(period, payer.billing_currency)
            return price.amount if price else 0

        answer["hasScheduledUpdates"] = bool(current and current.deferred)
        answer["isPlanDowngrade"] = bool(
            current
            and plan.pricing != "CUSTOM"
            and (current.plan.pricing == "CUSTOM" or worth(plan) < worth(current.plan))
        )
        return answer

    # Credits

    def grant_credits(self, wanted: models.GrantCreate) -> CreditGrant:
        """Grant credits once. With INVOICE and a cost they wait for payment."""
        now = self.now
        self.customer(wanted.customer_id)
        if wanted.currency_id not in self.catalogue.currencies:
            raise not_found("CustomCurrency", wanted.currency_id)
        effective = wanted.effective_at or now
        if wanted.expire_at is not None and wanted.expire_at <= effective:
            raise invalid("expireAt must lie after effectiveAt")
        billing = wanted.billing_information
        grant = CreditGrant(
            id=f"credit-grant-{secrets.token_hex(6)}",
            customer_id=wanted.customer_id,
            currency_id=wanted.currency_id,
            amount=wanted.amount,
            fields=wanted.sent(),
            created_at=now,
            effective_at=effective,
            expire_at=wanted.expire_at,
            pending=bool(
                wanted.payment_collection_method == "INVOICE"
                and wanted.cost
                and wanted.cost.amount
                and not (billing and billing.is_invoice_paid)
            ),
        )
        self.book.grants[grant.id] = grant
        return grant


def _end_of_trial(plan: Plan, trial: models.TrialOverride | None, after: datetime) -> datetime | None:
    """When a trial ends; None for what is not a trial. Raises `Refused` for one that there cannot be."""
    if trial is None or not trial.is_trial:
        return None
    if plan.pricing == "FREE":
        raise invalid(f"plan {plan.id} is free: it has no trial", "TrialNotAllowed")
    if trial.trial_end_date is None or trial.trial_end_date <= after:
        raise invalid("trialEndDate must be given and lie ahead: the plan has no trial of its own")
    return trial.trial_end_date
