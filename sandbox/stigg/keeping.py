"""The whole content of the stand-in as plain data, to be kept in a file and put back.

Records are told by the names the API gives their fields, so that what was kept outlives changes of the stand-in. What
ends with the process (idempotency keys, rate limits, places in lists) is left out, and so is what is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, TypeVar

from pydantic.alias_generators import to_camel

from .customers import CreditGrant, Customer
from .packages import Catalogue
from .records import Contract, Invoice, Measurement, Promotion, Spending
from .state import Book, Deferred, Subscription

Json = dict[str, Any]
T = TypeVar("T", Contract, Promotion, Measurement, Spending)

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
    "contract_id": "contractId",
}
"""A subscription's attributes by their names on the wire; the plan and what is deferred are told apart."""

_INSTANTS = ("createdAt", "startDate", "trialEndDate", "cancellationDate", "endDate", "billingCycleAnchor")


def kept(book: Book) -> Iterator[Json]:
    """Every record, each with its `kind`: customers, subscriptions, grants, contracts, promotions, usage, spendings;
    the oldest of each kind first.
    """
    for customer in book.customers.values():
        yield _plain(
            kind="customer",
            id=customer.id,
            createdAt=customer.created_at,
            updatedAt=customer.updated_at,
            archivedAt=customer.archived_at,
            cardDeclines=customer.card_declines,
            defaultPaymentMethod=customer.payment_method,
            fields=customer.fields,
        )
    for subscription in book.subscriptions.in_order:
        said = {wire: getattr(subscription, name) for name, wire in _SUBSCRIPTION.items()}
        waits = subscription.deferred
        later = _plain(at=waits.at, changes=waits.changes, kinds=waits.kinds) if waits else None
        invoice = _plain(**asdict(subscription.invoice)) if subscription.invoice else None
        payment = None if subscription.payment == "NOT_REQUIRED" else subscription.payment
        more = {"futureUpdate": later, "paymentCollection": payment, "latestInvoice": invoice}
        yield _plain(kind="subscription", planId=subscription.plan.id, **more, **said)
    for grant in book.grants.values():
        yield _plain(
            kind="grant",
            id=grant.id,
            createdAt=grant.created_at,
            effectiveAt=grant.effective_at,
            expireAt=grant.expire_at,
            voidedAt=grant.voided_at,
            consumedAmount=grant.consumed,
            pending=grant.pending,
            fields=grant.fields,
        )
    for kind, record in _others(book):
        said = {to_camel(name.name): getattr(record, name.name) for name in fields(record) if name.name != "cursor"}
        yield _plain(kind=kind, **said)


def _others(book: Book) -> Iterator[tuple[str, Contract | Promotion | Measurement | Spending]]:
    """The records that are told field by field, each with its kind."""
    for contract in book.contracts.values():
        yield "contract", contract
    for promotion in book.promotions.values():
        yield "promotion", promotion
    for measured in book.measurements.values():
        for measurement in measured:
            yield "usage", measurement
    for spent in book.spendings.values():
        for spending in spent:
            yield "spending", spending


def book_of(records: Iterable[Mapping[str, Any]], catalogue: Catalogue) -> Book:
    """The book that was kept. In: what `kept` gave, in its order; the catalogue its plans are from."""
    book = Book()
    for record in records:
        match record["kind"]:
            case "customer":
                book.customers[record["id"]] = _customer(record)
            case "subscription":
                book.subscriptions[record["id"]] = _subscription(record, catalogue)
            case "grant":
                book.grants[record["id"]] = _grant(record)
            case "contract":
                book.contracts[record["contractId"]] = _other(Contract, record)
            case "promotion":
                book.promotions[record["customerId"], record["featureId"]] = _other(Promotion, record)
            case "spending":
                book.spendings.setdefault(record["customerId"], []).append(_other(Spending, record))
            case "usage":
                book.measurements.setdefault(record["customerId"], []).append(_other(Measurement, record))
    return book


def _customer(record: Mapping[str, Any]) -> Customer:
    return Customer(
        record["id"],
        datetime.fromisoformat(record["createdAt"]),
        datetime.fromisoformat(record["updatedAt"]),
        dict(record.get("fields", {})),
        record.get("defaultPaymentMethod"),
        _instant(record.get("archivedAt")),
        record.get("cardDeclines", False),
    )


def _grant(record: Mapping[str, Any]) -> CreditGrant:
    said = record["fields"]
    return CreditGrant(
        record["id"],
        said["customerId"],
        said["currencyId"],
        said["amount"],
        dict(said),
        datetime.fromisoformat(record["createdAt"]),
        datetime.fromisoformat(record["effectiveAt"]),
        _instant(record.get("expireAt")),
        record.get("pending", False),
        _instant(record.get("voidedAt")),
        record.get("consumedAmount", 0),
    )


def _other(kind: type[T], record: Mapping[str, Any]) -> T:
    """A record that was told field by field. What was left out as empty is as in a new one."""
    said: Json = {}
    for field in fields(kind):
        if (wire := to_camel(field.name)) in record:
            value = record[wire]
            said[field.name] = datetime.fromisoformat(value) if str(field.type).startswith("datetime") else value
    return kind(**said)


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _subscription(record: Mapping[str, Any], catalogue: Catalogue) -> Subscription:
    said: Json = {
        name: datetime.fromisoformat(record[wire]) if wire in _INSTANTS else record[wire]
        for name, wire in _SUBSCRIPTION.items()
        if wire in record
    }
    waits = "ACTION_REQUIRED" if record["status"] == "PAYMENT_PENDING" else "NOT_REQUIRED"
    payment = record.get("paymentCollection", waits)
    made = Subscription(plan=catalogue.plans[record["planId"]], payment=payment, **said)
    if invoice := record.get("latestInvoice"):
        made.invoice = Invoice(**{**invoice, "created_at": datetime.fromisoformat(invoice["created_at"])})
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
