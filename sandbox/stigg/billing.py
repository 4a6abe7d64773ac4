"""What the billing provider does to subscriptions: payments that fail and are made, checkouts that expire, ends.

Stigg reflects it in `paymentCollection`, `latestInvoice` and `cancelReason`. Sources: docs.stigg.io, *Handling payment
errors* ("the customer continues to have access ... until the billing solution cancels the subscription"; "Active and
Payment error statuses at the same time") and *Bill customers using invoices* ("activate immediately upon creation").
Everything that is refused raises `Refused`; then nothing was written.
"""

from __future__ import annotations

from typing import Literal

from . import changing
from .errors import invalid
from .records import Invoice
from .service import Service
from .state import Subscription

Unpaid = Literal["FAILED", "ACTION_REQUIRED", "PROCESSING"]
EndedBy = Literal["CANCELLED_BY_BILLING", "DETACH_BILLING", "EXPIRED", "AutoCancellationRule"]


def fail_payment(service: Service, subscription_id: str, leaves: Unpaid = "FAILED") -> Subscription:
    """A payment fails, or hangs: the first one, or of a subscription that runs and goes on running.

    leaves: what `paymentCollection` says from now on.
    """
    subscription = service.subscription(subscription_id)
    if subscription.status not in ("ACTIVE", "PAYMENT_PENDING"):
        raise invalid("there is nothing to pay", "InvalidSubscriptionStatus")
    if subscription.status == "ACTIVE":
        subscription.bill(service.now, "OPEN", "BILLING_CYCLE", requires_action=leaves == "ACTION_REQUIRED")
    subscription.payment = leaves
    return subscription


def pay(service: Service, subscription_id: str) -> Subscription:
    """Pay what is open: at the checkout that a subscription waits at, or its latest invoice."""
    subscription = service.subscription(subscription_id)
    if subscription.checkout is not None:
        return changing.pay(service, subscription.checkout)
    return mark_as_paid(service, subscription_id)


def mark_as_paid(service: Service, subscription_id: str) -> Subscription:
    """The latest invoice was paid. By the SDK's text it "must exist and have an OPEN status"."""
    subscription = service.subscription(subscription_id)
    if subscription.invoice is None or subscription.invoice.status != "OPEN":
        raise invalid("nothing is to be paid", "InvalidSubscriptionStatus")
    subscription.settle("PAID")
    return subscription


def invoices_of(service: Service, customer_id: str) -> list[tuple[Subscription, Invoice]]:
    """The latest invoice of each subscription that a customer pays for, the oldest invoice first."""
    service.customer(customer_id)
    found = [
        (one, one.invoice)
        for one in service.book.subscriptions.in_order
        if one.invoice is not None and (one.paying_customer_id or one.customer_id) == customer_id
    ]
    return sorted(found, key=lambda pair: pair[1].created_at)


def void_invoice(service: Service, subscription_id: str) -> Subscription:
    """The latest invoice is taken back: nobody has to pay it."""
    subscription = service.subscription(subscription_id)
    if subscription.invoice is None or subscription.invoice.status != "OPEN":
        raise invalid("no invoice is open", "InvalidSubscriptionStatus")
    subscription.settle("CANCELED")
    return subscription


def expire_checkout(service: Service, subscription_id: str) -> Subscription:
    """Nobody paid in time, which comes by itself after `CHECKOUT_LASTS`."""
    subscription = service.subscription(subscription_id)
    if subscription.status != "PAYMENT_PENDING":
        raise invalid("the subscription does not wait for a payment", "InvalidSubscriptionStatus")
    subscription.expire_checkout(service.now)
    return subscription


def end_by(service: Service, subscription_id: str, reason: EndedBy) -> Subscription:
    """The billing provider, its removal, or a rule of Stigg's ends a subscription at once, whoever made it."""
    subscription = changing.standing(service, subscription_id)
    if subscription.invoice is not None and subscription.invoice.status == "OPEN":
        subscription.settle("CANCELED")
    subscription.end("EXPIRED" if reason == "EXPIRED" else "CANCELED", reason, service.now)
    return subscription
