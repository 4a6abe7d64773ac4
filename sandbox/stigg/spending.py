"""Credits spent: what included credits and grants have left, and which of them are taken first.

By the SDK's types (`consumption_consume_params`, `credit_grant_response`): a key spends once, and of grants the lower
priority goes first. Not told, and taken so here: what a plan includes each period goes before any grant, of one
priority the grant that expires first, and what is not there cannot be spent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from . import bodies
from .customers import CreditGrant
from .errors import invalid, not_found
from .records import Spending
from .service import Service

NEVER = datetime.max.replace(tzinfo=UTC)


def spend(service: Service, wanted: Iterable[bodies.Consumption]) -> list[Spending]:
    """Spend credits, one after another up to the first that is refused. Out: what was spent, by source."""
    return [part for one in wanted for part in _spent(service, one)]


def _spent(service: Service, wanted: bodies.Consumption) -> list[Spending]:
    service.customer(wanted.customer_id)
    if wanted.currency_id not in service.catalogue.currencies:
        raise not_found("CustomCurrency", wanted.currency_id)
    known = service.book.spendings.setdefault(wanted.customer_id, [])
    if before := [one for one in known if one.idempotency_key == wanted.idempotency_key]:
        return before
    parts: list[Spending] = []
    missing = wanted.amount
    for grant, left in _sources(service, wanted):
        taken = min(left, missing)
        if taken <= 0:
            continue
        missing -= taken
        parts.append(
            Spending(
                customer_id=wanted.customer_id,
                currency_id=wanted.currency_id,
                idempotency_key=wanted.idempotency_key,
                timestamp=wanted.created_at or service.now,
                created_at=service.now,
                resource_id=wanted.resource_id,
                grant_id=grant.id if grant else None,
                amount=taken,
            )
        )
    if missing > 0:
        raise invalid(f"customer {wanted.customer_id} lacks {missing} credits of {wanted.currency_id}")
    for part in parts:
        if part.grant_id is not None:
            service.book.grants[part.grant_id].consumed += part.amount
    known.extend(parts)
    return parts


def _sources(service: Service, wanted: bodies.Consumption) -> Iterator[tuple[CreditGrant | None, float]]:
    """What credits are taken from, in order, and how many each has left. None stands for what a plan includes."""
    key = ("CREDIT", wanted.currency_id)
    included = service.included(wanted.customer_id, wanted.resource_id).get(key)
    if included is not None and included.limit is not None:
        yield None, included.limit - included.used
    grants = [
        grant
        for grant in service.grants(wanted.customer_id, wanted.resource_id)
        if grant.currency_id == wanted.currency_id and grant.status(service.now) == "ACTIVE"
    ]
    for grant in sorted(
        grants, key=lambda grant: (grant.fields.get("priority", 50), grant.expire_at or NEVER, grant.created_at)
    ):
        yield grant, grant.amount - grant.consumed
