"""How the endpoints of credits are answered that give none: a grant voided, and the ledger of what became of grants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from werkzeug.wrappers import Request

from .answers import ANY, Answer, Endpoint, of_grant
from .errors import invalid, not_found
from .listing import Filter, Row, choices, page
from .packages import stamp
from .service import Service
from .state import CreditGrant

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
"""What the ledger can tell; here only the first two and the fourth happen."""


def void_grant(service: Service, request: Request, id: str) -> Answer:
    """What was granted counts no more. It cannot be undone, and is done once."""
    grant = service.book.grants.get(id)
    if grant is None:
        raise not_found("CreditGrant", id)
    if grant.status(service.now) in ("VOIDED", "EXPIRED"):
        raise invalid(f"credit grant {id} is {grant.status(service.now).lower()}")
    grant.voided_at = service.now
    return Answer(200, {"data": grant.json(service.now)})


def list_ledger(service: Service, request: Request) -> Answer:
    """What became of a customer's grants. Nothing spends credits here, so none are consumed or reserved."""
    if (customer := request.args.get("customerId")) is not None:
        service.customer(customer)
    events = sorted(
        (event for grant in service.book.grants.values() for event in _events(grant, service.now)),
        key=lambda event: event[0],
    )
    rows = [
        Row(
            f"at-{kind}-{grant.id}",
            at,
            {
                "customerId": grant.customer_id,
                "currencyId": grant.currency_id,
                "resourceId": grant.resource_id,
                "eventType": kind,
                "reservationId": None,
            },
            lambda at=at, kind=kind, grant=grant: _told(at, kind, grant),  # type: ignore[misc]
        )
        for at, kind, grant in events
    ]
    filters = {
        "customerId": Filter(required=True),
        "currencyId": ANY,
        "resourceId": ANY,
        "eventType": choices(*_KINDS),
        "reservationId": ANY,
    }
    return Answer(200, page(rows, request.args, filters, by_date=False))


def _events(grant: CreditGrant, now: datetime) -> Iterator[tuple[datetime, str, CreditGrant]]:
    """What became of a grant until now: when, and what."""
    if grant.effective_at <= now and not grant.pending:
        yield grant.effective_at, "CREDITS_GRANTED", grant
    if grant.voided_at is not None:
        yield grant.voided_at, "CREDITS_VOIDED", grant
    elif grant.expire_at is not None and grant.expire_at <= now:
        yield grant.expire_at, "CREDITS_EXPIRED", grant


def _told(at: datetime, kind: str, grant: CreditGrant) -> dict[str, Any]:
    return {
        "amount": grant.amount if kind == "CREDITS_GRANTED" else -grant.amount,
        "creditCurrencyId": grant.currency_id,
        "creditGrantId": grant.id,
        "customerId": grant.customer_id,
        "eventId": f"{kind.lower()}-{grant.id}",
        "eventType": kind,
        "featureId": None,
        "reservationId": None,
        "resourceId": grant.resource_id,
        "timestamp": stamp(at),
    }


ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    ("POST", "/credits/grants/<id>/void"): Endpoint("grant", void_grant, of_grant, bare=True),
    ("GET", "/credits/ledger"): Endpoint("read", list_ledger),
}
"""By method and path."""
