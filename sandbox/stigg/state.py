"""What the stand-in remembers: subscriptions beside customers and credit grants, and how time changes them.

Nothing happens in the background. `Book.advance` brings everything up to the present, in the order in which it would
have happened, before each request is answered.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from .customers import CreditGrant, Customer
from .models import BillingPeriod, PaymentCollectionMethod, TrialEndBehavior
from .packages import Plan, stamp
from .periods import period_around
from .records import BillingReason, Contract, Invoice, InvoiceStatus, Measurement, Promotion, Spending, cursor

Status = Literal["PAYMENT_PENDING", "ACTIVE", "EXPIRED", "IN_TRIAL", "CANCELED", "NOT_STARTED"]
CancelReason = Literal[
    "UPGRADE_OR_DOWNGRADE",
    "CANCELLED_BY_BILLING",
    "EXPIRED",
    "DETACH_BILLING",
    "TRIAL_ENDED",
    "TRIAL_CONVERTED",
    "PENDING_PAYMENT_EXPIRED",
    "Immediate",
    "ScheduledCancellation",
    "CustomerArchived",
    "AutoCancellationRule",
]
"""As the SDK's `Subscription` spells them, to the letter."""

PaymentCollection = Literal["NOT_REQUIRED", "PROCESSING", "FAILED", "ACTION_REQUIRED"]

CHECKOUT_LASTS = timedelta(hours=24)
"""How long a subscription waits for its first payment: as long as Stripe's checkout sessions last unless told otherwise
(docs.stripe.com, *Create a Checkout Session*, `expires_at`). What Stigg does with others is not documented.
"""

ENDED: frozenset[str] = frozenset({"EXPIRED", "CANCELED"})
LIVE: frozenset[str] = frozenset({"ACTIVE", "IN_TRIAL"})

Slot = tuple[str, str | None, str]
"""Customer, resource and product: what holds one paid subscription and one trial at a time."""


Event = tuple[datetime, int, str]
"""When something happens to a subscription by itself, its place among events of that moment, and what."""


@dataclass
class Deferred:
    """An update that waits for its time: the fields as sent, and the kinds of change Stigg shows for it."""

    at: datetime
    changes: dict[str, Any]
    kinds: list[str]

    def json(self) -> list[dict[str, Any]]:
        return [
            {
                "scheduledExecutionTime": stamp(self.at),
                "scheduleStatus": "SCHEDULED",
                "subscriptionScheduleType": kind,
                "targetPackage": None,
            }
            for kind in self.kinds
        ]


@dataclass(eq=False)
class Subscription:
    id: str
    customer_id: str
    plan: Plan
    created_at: datetime
    start_date: datetime
    status: Status
    resource_id: str | None = None
    billing_period: BillingPeriod | None = None
    unit_quantity: int | None = None
    addons: list[dict[str, Any]] = field(default_factory=list)
    entitlements: list[dict[str, Any]] = field(default_factory=list)
    charges: list[dict[str, Any]] = field(default_factory=list)
    price_overrides: list[dict[str, Any]] = field(default_factory=list)
    coupon: dict[str, Any] | None = None
    budget: dict[str, Any] | None = None
    minimum_spend: dict[str, Any] | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    salesforce_id: str | None = None
    billing_id: str | None = None
    paying_customer_id: str | None = None
    payment_collection_method: PaymentCollectionMethod | None = None
    is_trial: bool = False
    trial_end_date: datetime | None = None
    trial_end_behavior: TrialEndBehavior = "CANCEL_SUBSCRIPTION"
    cancellation_date: datetime | None = None
    cancel_reason: CancelReason | None = None
    ended_at: datetime | None = None
    anchor: datetime | None = None
    deferred: Deferred | None = None
    contract_id: str | None = None
    """Stigg's own ID of the contract that it is part of."""
    payment: PaymentCollection = "NOT_REQUIRED"
    invoice: Invoice | None = None
    checkout: str | None = None
    checkout_options: dict[str, Any] | None = None
    cursor: str = field(default_factory=cursor)
    place: int = -1
    """Among all subscriptions, the oldest being 0."""
    changed: set[Subscription] | None = field(default=None, repr=False, compare=False)
    """Where a change of it is noted."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if (changed := self.__dict__.get("changed")) is not None:
            changed.add(self)

    @property
    def slot(self) -> Slot:
        return self.customer_id, self.resource_id, self.plan.product_id

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def live(self) -> bool:
        return self.status in LIVE

    @property
    def billed(self) -> bool:
        """Whether the billing provider asks for money now: for paid plans, unless they are collected elsewhere."""
        collected = self.payment_collection_method in ("CHARGE", "INVOICE")
        return self.plan.pricing == "PAID" and collected and not self.is_trial

    def period(self, now: datetime) -> tuple[datetime, datetime] | None:
        """The billing period at `now`, None for what is not billed by the period."""
        if self.billing_period is None or self.status not in ("ACTIVE", "IN_TRIAL"):
            return None
        return period_around(self.anchor or self.start_date, self.billing_period, now)

    def events(self) -> Iterator[Event]:
        """What will happen to it by itself, as it is now."""
        if self.ended:
            return
        if self.status == "IN_TRIAL" and self.trial_end_date:
            yield self.trial_end_date, 0, "trial"
        if self.cancellation_date:
            yield self.cancellation_date, 1, "cancellation"
        if self.deferred:
            yield self.deferred.at, 2, "update"
        if self.status == "NOT_STARTED":
            yield self.start_date, 3, "start"
        if self.status == "PAYMENT_PENDING":
            yield self.created_at + CHECKOUT_LASTS, 4, "checkout"

    def bill(
        self, at: datetime, status: InvoiceStatus, reason: BillingReason, *, requires_action: bool = False
    ) -> None:
        """The billing provider writes an invoice, in place of the latest one."""
        number = int(self.invoice.billing_id.rpartition("-")[2]) + 1 if self.invoice else 1
        self.invoice = Invoice(f"in-{self.id}-{number}", at, status, reason, requires_action)

    def settle(self, status: InvoiceStatus) -> None:
        """The latest invoice is paid or taken back."""
        if self.invoice is not None:
            self.invoice = replace(self.invoice, status=status, requires_action=False)
        self.payment = "NOT_REQUIRED"

    def expire_checkout(self, at: datetime) -> None:
        """Nobody paid. Whether Stigg calls it EXPIRED or CANCELED is not documented: go by the reason."""
        self.payment = "NOT_REQUIRED"
        self.end("EXPIRED", "PENDING_PAYMENT_EXPIRED", at)

    def end(self, status: Literal["EXPIRED", "CANCELED"], reason: CancelReason, at: datetime) -> None:
        self.status, self.cancel_reason, self.ended_at = status, reason, at
        self.deferred = None
        self.checkout = None

    def json(self, now: datetime) -> dict[str, Any]:
        """What the API shows: no values of entitlements, no billing period, no units, no Salesforce ID."""
        period_start, period_end = self.period(now) or (None, None)
        return {
            "id": self.id,
            "billingId": self.billing_id,
            "createdAt": stamp(self.created_at),
            "customerId": self.customer_id,
            "paymentCollection": self.payment,
            "planId": self.plan.id,
            "pricingType": self.plan.pricing,
            "startDate": stamp(self.start_date),
            "status": self.status,
            "addons": [dict(addon) for addon in self.addons],
            "billingCycleAnchor": stamp(self.anchor or self.start_date),
            "budget": self.budget,
            "cancellationDate": _stamp(self.cancellation_date),
            "cancelReason": self.cancel_reason,
            "contractId": self.contract_id,
            "coupons": [self.coupon] if self.coupon else [],
            "currentBillingPeriodEnd": _stamp(period_end),
            "currentBillingPeriodStart": _stamp(period_start),
            "effectiveEndDate": _stamp(self.ended_at or self.cancellation_date),
            "endDate": _stamp(self.ended_at),
            "futureUpdates": self.deferred.json() if self.deferred else [],
            "latestInvoice": self.invoice.json() if self.invoice else None,
            "metadata": dict(self.metadata),
            "minimumSpend": self.minimum_spend,
            "payingCustomerId": self.paying_customer_id,
            "paymentCollectionMethod": self.payment_collection_method,
            "prices": [_shown_price(price) for price in self.price_overrides],
            "resourceId": self.resource_id,
            "subscriptionEntitlements": [{"id": e["id"], "type": e["type"]} for e in self.entitlements],
            "trial": {"trialEndBehavior": self.trial_end_behavior} if self.is_trial else None,
            "trialEndDate": _stamp(self.trial_end_date),
        }

    @property
    def units(self) -> int | None:
        """The units of a plan that is sold by the unit: they are those of the one feature it charges, so that a charge
        of that changes them (`unitQuantity` is in no PATCH).
        """
        said = [charge["quantity"] for charge in self.charges if charge["id"] == self.plan.unit_feature]
        return int(said[0]) if said else self.unit_quantity

    def full(self, now: datetime) -> dict[str, Any]:
        """Everything remembered, for tests and pages: the API's view and what it leaves out."""
        return {
            **self.json(now),
            "billingPeriod": self.billing_period,
            "charges": [dict(charge) for charge in self.charges],
            "entitlements": [dict(entitlement) for entitlement in self.entitlements],
            "priceOverrides": [dict(price) for price in self.price_overrides],
            "productId": self.plan.product_id,
            "salesforceId": self.salesforce_id,
            "unitQuantity": self.units,
        }


_SHOWN_OF_A_PRICE = frozenset(
    ("addonId", "amount", "baseCharge", "billingCountryCode", "blockSize", "currency", "featureId", "tiers")
)


def _shown_price(price: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in price.items() if name in _SHOWN_OF_A_PRICE}


def _stamp(moment: datetime | None) -> str | None:
    return stamp(moment) if moment else None


class Subscriptions(dict[str, Subscription]):
    """Subscriptions by ID, which are never removed: also in order, by customer, by cursor, and by what happens next.

    So that none of these takes longer the more there are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.in_order: list[Subscription] = []
        self._of_customer: dict[str, list[Subscription]] = {}
        self._cursors: dict[str, int] = {}
        self._changed: set[Subscription] = set()
        self.noticed: set[Subscription] | None = None
        """What changed since `take_noticed` was called last, where somebody wants to know."""
        self._coming: list[tuple[datetime, int, int]] = []

    def __setitem__(self, id: str, subscription: Subscription) -> None:
        super().__setitem__(id, subscription)
        subscription.place = len(self.in_order)
        subscription.changed = self._changed
        self.in_order.append(subscription)
        self._of_customer.setdefault(subscription.customer_id, []).append(subscription)
        self._cursors[subscription.cursor] = subscription.place

    def of(self, customer_id: str) -> list[Subscription]:
        """A customer's, oldest first."""
        return self._of_customer.get(customer_id, [])

    def hand_on(self, subscription: Subscription, customer_id: str) -> None:
        """Give a subscription to another customer, who must be known."""
        self._of_customer[subscription.customer_id].remove(subscription)
        subscription.customer_id = customer_id
        self._of_customer.setdefault(customer_id, []).append(subscription)

    def place_of(self, cursor: str) -> int | None:
        """The place a cursor stands for; None for one that is not known."""
        return self._cursors.get(cursor)

    def take_noticed(self) -> set[Subscription]:
        """What may have changed since the last time."""
        noticed, self.noticed = self._changed | (self.noticed or set()), set()
        return noticed

    def next_event(self, now: datetime) -> tuple[Event, Subscription] | None:
        """The first thing that was due until `now`; of those due at one moment the first by kind, then the oldest's."""
        for subscription in self._changed:
            for at, order, _ in subscription.events():
                heapq.heappush(self._coming, (at, order, subscription.place))
        if self.noticed is not None:
            self.noticed |= self._changed
        self._changed.clear()
        while self._coming and self._coming[0][0] <= now:
            at, order, place = heapq.heappop(self._coming)
            subscription = self.in_order[place]
            for event in subscription.events():
                if event[:2] == (at, order):  # else it was changed since
                    return event, subscription
        return None


@dataclass
class Book:
    """All records, oldest first."""

    customers: dict[str, Customer] = field(default_factory=dict)
    subscriptions: Subscriptions = field(default_factory=Subscriptions)
    grants: dict[str, CreditGrant] = field(default_factory=dict)
    contracts: dict[str, Contract] = field(default_factory=dict)
    """By the caller's ID."""
    promotions: dict[tuple[str, str], Promotion] = field(default_factory=dict)
    """By customer and feature."""
    measurements: dict[str, list[Measurement]] = field(default_factory=dict)
    """By customer."""
    auto_cancellations: set[tuple[str, str]] = field(default_factory=set)
    """Products of which a start ends what the customer has of another product: that one, and the other."""
    spendings: dict[str, list[Spending]] = field(default_factory=dict)
    """By customer."""

    def in_slot(self, slot: Slot, *, trial: bool) -> Iterator[Subscription]:
        """The live subscriptions of a slot: its trial, or what is not a trial."""
        wanted = "IN_TRIAL" if trial else "ACTIVE"
        return (s for s in self.subscriptions.of(slot[0]) if s.slot == slot and s.status == wanted)

    def start(self, subscription: Subscription, at: datetime, reason: BillingReason = "SUBSCRIPTION_CREATION") -> None:
        """The subscription takes its slot: what stood there (of its kind) is cancelled, and what a rule says.

        A paid plan is billed by its collection method: charged, or by an invoice that waits while access does not. One
        that was back-dated is billed with its next period. A custom plan is not (stiggio/skills, plans.md: "Excluded
        from automated billing system integrations by default").
        """
        for other in list(self.in_slot(subscription.slot, trial=subscription.is_trial)):
            if other is not subscription:
                other.end("CANCELED", "UPGRADE_OR_DOWNGRADE", at)
        for other in list(self.subscriptions.of(subscription.customer_id)):
            if other.live and (subscription.plan.product_id, other.plan.product_id) in self.auto_cancellations:
                other.end("CANCELED", "AutoCancellationRule", at)
        subscription.status = "IN_TRIAL" if subscription.is_trial else "ACTIVE"
        if subscription.billed and subscription.start_date >= subscription.created_at:
            charged = subscription.payment_collection_method == "CHARGE"
            subscription.bill(at, "PAID" if charged else "OPEN", reason)

    def end_trial(self, trial: Subscription, at: datetime) -> None:
        """A trial is over: a paid subscription made since follows it, or it becomes one itself, or it ends."""
        if any(_follows(other, trial, at) for other in self.subscriptions.of(trial.customer_id)):
            trial.end("EXPIRED", "TRIAL_CONVERTED", at)
            return
        customer = self.customers[trial.customer_id]
        chargeable = trial.plan.pricing != "PAID" or trial.payment_collection_method != "CHARGE" or customer.chargeable
        if trial.trial_end_behavior == "CONVERT_TO_PAID" and chargeable:
            trial.is_trial = False
            trial.anchor = at
            self.start(trial, at, "BILLING_CYCLE")
        else:
            trial.end("EXPIRED", "TRIAL_ENDED", at)

    def advance(self, now: datetime) -> None:
        """Let everything happen that was due until `now`, in its order."""
        while due := self.subscriptions.next_event(now):
            (at, _, kind), subscription = due
            match kind:
                case "trial":
                    self.end_trial(subscription, at)
                case "cancellation":
                    subscription.end("CANCELED", "ScheduledCancellation", at)
                case "update":
                    assert subscription.deferred is not None
                    changes, subscription.deferred = subscription.deferred.changes, None
                    apply(subscription, changes)
                case "start":
                    self.start(subscription, at)
                case "checkout":
                    subscription.expire_checkout(at)


def apply(subscription: Subscription, changes: dict[str, Any]) -> None:
    """Write changes, by their wire names, over a subscription. Every list and the metadata are replaced."""
    for name, value in changes.items():
        setattr(subscription, _ATTRIBUTES[name], value)
    if "addons" in changes and "priceOverrides" not in changes:
        held = {addon["id"] for addon in subscription.addons}
        subscription.price_overrides = [
            price for price in subscription.price_overrides if not price.get("addonId") or price["addonId"] in held
        ]


_ATTRIBUTES = {
    "addons": "addons",
    "billingPeriod": "billing_period",
    "budget": "budget",
    "cancellationDate": "cancellation_date",
    "charges": "charges",
    "coupon": "coupon",
    "entitlements": "entitlements",
    "metadata": "metadata",
    "minimumSpend": "minimum_spend",
    "priceOverrides": "price_overrides",
    "salesforceId": "salesforce_id",
    "trialEndDate": "trial_end_date",
}


def _follows(other: Subscription, trial: Subscription, at: datetime) -> bool:
    """Whether a subscription that was made since is what a trial turned into."""
    if other.slot != trial.slot or other.is_trial:
        return False
    if other.status == "ACTIVE":
        return other.created_at >= trial.created_at
    return other.status == "NOT_STARTED" and other.start_date <= at
