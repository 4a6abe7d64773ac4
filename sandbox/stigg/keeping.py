"""The whole content of the stand-in as plain data, to be kept in a file and put back.

Records are told by the names the API gives their fields, so that what was kept outlives changes of the stand-in. What
ends with the process (idempotency keys, rate limits, places in lists) is left out, and so is what is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from .packages import Catalogue
from .state import Book, CreditGrant, Customer, Deferred, Subscription

Json = dict[str, Any]

_SUBSCRIPTION = {
    "id": "id",
    "customer_id": "customerId",
    "created_at": "createdAt",
    "start_date": "startDate",
    "status": "status",
    "resource_id": "resourceId",
    "billing_period": "billingPeriod",
    "unit_quantity": "unitQuantity",
    "addons": "addons",
    "entitlements": "entitlements",
    "charges": "charges",
    "price_overrides": "priceOverrides",
    "coupon": "coupon",
    "budget": "budget",
    "minimum_spend": "minimumSpend",
    "metadata": "metadata",
    "salesforce_id": "salesforceId",
    "billing_id": "billingId",
    "paying_customer_id": "payingCustomerId",
    "payment_collection_method": "paymentCollectionMethod",
    "is_trial": "isTrial",
    "trial_end_date": "trialEndDate",
    "trial_end_behavior": "trialEndBehavior",
    "cancellation_date": "cancellationDate",
    "cancel_reason": "cancelReason",
    "ended_at": "endDate",
    "anchor": "billingCycleAnchor",
    "checkout": "checkout",
    "checkout_options": "checkoutOptions",
}
"""A subscription's attributes by their names on the wire; the plan and what is deferred are told apart."""

_INSTANTS = ("createdAt", "startDate", "trialEndDate", "cancellationDate", "endDate", "billingCycleAnchor")


def kept(book: Book) -> Iterator[Json]:
    """Every record, each with its `kind`: customers, subscriptions, grants; the oldest of each kind first."""
    for customer in book.customers.values():
        yield _plain(
            kind="customer",
            id=customer.id,
            createdAt=customer.created_at,
            updatedAt=customer.updated_at,
            defaultPaymentMethod=customer.payment_method,
            fields=customer.fields,
        )
    for subscription in book.subscriptions.in_order:
        said = {wire: getattr(subscription, name) for name, wire in _SUBSCRIPTION.items()}
        waits = subscription.deferred
        later = _plain(at=waits.at, changes=waits.changes, kinds=waits.kinds) if waits else None
        yield _plain(kind="subscription", planId=subscription.plan.id, futureUpdate=later, **said)
    for grant in book.grants.values():
        yield _plain(
            kind="grant",
            id=grant.id,
            createdAt=grant.created_at,
            effectiveAt=grant.effective_at,
            expireAt=grant.expire_at,
            pending=grant.pending,
            fields=grant.fields,
        )


def book_of(records: Iterable[Mapping[str, Any]], catalogue: Catalogue) -> Book:
    """The book that was kept. In: what `kept` gave, in its order; the catalogue its plans are from."""
    book = Book()
    for record in records:
        match record["kind"]:
            case "customer":
                book.customers[record["id"]] = Customer(
                    record["id"],
                    datetime.fromisoformat(record["createdAt"]),
                    datetime.fromisoformat(record["updatedAt"]),
                    dict(record.get("fields", {})),
                    record.get("defaultPaymentMethod"),
                )
            case "subscription":
                book.subscriptions[record["id"]] = _subscription(record, catalogue)
            case "grant":
                fields = record["fields"]
                expires = record.get("expireAt")
                book.grants[record["id"]] = CreditGrant(
                    record["id"],
                    fields["customerId"],
                    fields["currencyId"],
                    fields["amount"],
                    dict(fields),
                    datetime.fromisoformat(record["createdAt"]),
                    datetime.fromisoformat(record["effectiveAt"]),
                    datetime.fromisoformat(expires) if expires else None,
                    record.get("pending", False),
                )
    return book


def _subscription(record: Mapping[str, Any], catalogue: Catalogue) -> Subscription:
    said: Json = {
        name: datetime.fromisoformat(record[wire]) if wire in _INSTANTS else record[wire]
        for name, wire in _SUBSCRIPTION.items()
        if wire in record
    }
    made = Subscription(plan=catalogue.plans[record["planId"]], **said)
    if later := record.get("futureUpdate"):
        made.deferred = Deferred(datetime.fromisoformat(later["at"]), later["changes"], later["kinds"])
    return made


def _plain(**said: Any) -> Json:
    """Plain data: instants as text, nothing that is empty."""
    return {name: _text(value) for name, value in said.items() if value not in (None, [], {}, False)}


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: _text(one) for name, one in value.items()}
    return [_text(one) for one in value] if isinstance(value, (list, tuple)) else value
