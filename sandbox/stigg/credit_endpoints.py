"""How the endpoints of credits are answered that give none: spent, voided, and told by the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from werkzeug.wrappers import Request

from . import bodies, entitlements, spending
from .answers import ANY, Answer, Endpoint, of_grant, of_slot, read
from .customers import CreditGrant
from .errors import invalid, not_found
from .listing import Filter, Row, choices, page
from .packages import stamp
from .service import Service

_KINDS = (
    "CREDITS_GRANTED",
    "CREDITS_EXPIRED",
    "CREDITS_CONSUMED",
    "CREDITS_VOIDED",
    "CREDITS_UPDATED",
    "CREDITS_CONSUMPTION_TRANSFER_SOURCE",
    "CREDITS_CONSUMPTION_TRANSFER_TARGET",
    "CREDITS_RESERVED",
    "CREDITS_RESERVATION_RELEASED",
    "CREDITS_RESERVATION_EXPIRED",
)
"""What the ledger can tell; here only the first four happen."""


def void_grant(service: Service, request: Request, id: str) -> Answer:
    """What was granted counts no more. It cannot be undone, and is done once."""
    grant = service.book.grants.get(id)
    if grant is None:
        raise not_found("CreditGrant", id)
    if grant.status(service.now) in ("VOIDED", "EXPIRED"):
        raise invalid(f"credit grant {id} is {grant.status(service.now).lower()}")
    grant.voided_at = service.now
    return Answer(200, {"data": grant.json(service.now)})


def consume(service: Service, request: Request) -> Answer:
    wanted = read(bodies.Consumption, request)
    parts = spending.spend(service, [wanted])
    currency = service.catalogue.currencies[wanted.currency_id]
    allowed = service.allowances(wanted.customer_id, wanted.resource_id).get(("CREDIT", currency.id))
    left = entitlements.of_currency(currency, allowed, service.now)
    data = {
        "amount": sum(part.amount for part in parts),
        "currencyId": currency.id,
        "customerId": wanted.customer_id,
        "timestamp": stamp(parts[0].timestamp),
        "credit": {
            "currencyId": currency.id,
            "currentUsage": left["currentUsage"],
            "timestamp": stamp(service.now),
            "usageLimit": left["usageLimit"],
            "usagePeriodEnd": left["usagePeriodEnd"],
        },
        "resourceId": wanted.resource_id,
    }
    return Answer(201, {"data": data})


def consume_all(service: Service, request: Request) -> Answer:
    """Accepted for later, by the SDK; here it is done at once."""
    spending.spend(service, read(bodies.Consumptions, request).consumptions)
    return Answer(202, {"data": {}})


def list_ledger(service: Service, request: Request) -> Answer:
    """What became of a customer's grants. Credits that a plan includes are of no grant, and are left out."""
    if (customer := request.args.get("customerId")) is not None:
        service.customer(customer)
    events = sorted(
        (event for grant in service.book.grants.values() for event in _events(service, grant)),
        key=lambda event: event.at,
    )
    rows = [
        Row(
            f"at-{event.id}",
            event.at,
            {
                "customerId": event.grant.customer_id,
                "currencyId": event.grant.currency_id,
                "resourceId": event.grant.resource_id,
                "eventType": event.kind,
                "reservationId": None,
            },
            event.json,
        )
        for event in events
    ]
    filters = {
        "customerId": Filter(required=True),
        "currencyId": ANY,
        "resourceId": ANY,
        "eventType": choices(*_KINDS),
        "reservationId": ANY,
    }
    return Answer(200, page(rows, request.args, filters, by_date=False))


@dataclass(frozen=True)
class _Event:
    """What became of a grant: when, what, by how much its balance changed, and a name for it among the grant's."""

    at: datetime
    kind: str
    grant: CreditGrant
    amount: float
    name: str = ""

    @property
    def id(self) -> str:
        return f"{self.kind.lower()}-{self.grant.id}-{self.name}"

    def json(self) -> dict[str, Any]:
        return {
            "amount": self.amount,
            "creditCurrencyId": self.grant.currency_id,
            "creditGrantId": self.grant.id,
            "customerId": self.grant.customer_id,
            "eventId": self.id,
            "eventType": self.kind,
            "featureId": None,
            "reservationId": None,
            "resourceId": self.grant.resource_id,
            "timestamp": stamp(self.at),
        }


def _events(service: Service, grant: CreditGrant) -> Iterator[_Event]:
    """What became of a grant until now."""
    if grant.effective_at <= service.now and not grant.pending:
        yield _Event(grant.effective_at, "CREDITS_GRANTED", grant, grant.amount)
    for spent in service.book.spendings.get(grant.customer_id, ()):
        if spent.grant_id == grant.id:
            yield _Event(spent.timestamp, "CREDITS_CONSUMED", grant, -spent.amount, spent.idempotency_key)
    left = grant.amount - grant.consumed
    if grant.voided_at is not None:
        yield _Event(grant.voided_at, "CREDITS_VOIDED", grant, -left)
    elif grant.expire_at is not None and grant.expire_at <= service.now:
        yield _Event(grant.expire_at, "CREDITS_EXPIRED", grant, -left)


ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    ("POST", "/credits/grants/<id>/void"): Endpoint("grant", void_grant, of_grant, bare=True),
    ("POST", "/credits/consumption"): Endpoint("update", consume, of_slot),
    ("POST", "/credits/consumption/async"): Endpoint("update", consume_all),
    ("GET", "/credits/ledger"): Endpoint("read", list_ledger),
}
"""By method and path."""
