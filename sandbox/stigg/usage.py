"""Usage of features: reported, counted by period, and told over time.

By the SDK's types (`usage_report_params`, `usage_history_params`): a value adds to the usage, or sets it; it may have
five decimal places; a report is taken once for each idempotency key of the last seven days. No feature here is paid
for in credits, so usage takes none.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

from . import bodies
from .entitlements import Allowance, Allowances
from .errors import invalid, not_found
from .packages import stamp
from .records import Measurement

if TYPE_CHECKING:
    from .service import Service
    from .state import Book

REMEMBERED = timedelta(days=7)
"""How long a report's idempotency key is known."""

WHOLE = 9_007_199_254_740_991
FRACTIONAL = 34_359_738_368
"""The largest value, and what a value with decimal places must stay below."""


def counted(book: Book, customer_id: str, resource_id: str | None, allowed: Allowances, now: datetime) -> Allowances:
    """What a customer (or a resource of it) is allowed, with what was used of it."""
    known = [one for one in book.measurements.get(customer_id, ()) if one.resource_id == resource_id]
    if not known:
        return allowed
    return {
        (kind, id): replace(allowance, used=_used(known, id, allowance, now)) if kind == "FEATURE" else allowance
        for (kind, id), allowance in allowed.items()
    }


def _used(known: Iterable[Measurement], feature_id: str, allowance: Allowance, now: datetime) -> float:
    start, _ = allowance.period(now) or (None, None)
    return _total(
        one
        for one in known
        if one.feature_id == feature_id and (start is None or start <= one.timestamp) and one.timestamp <= now
    )


def _total(of: Iterable[Measurement]) -> float:
    total = sum((Decimal(str(one.value)) for one in of), Decimal(0))
    return int(total) if total == total.to_integral_value() else float(total)


def report(service: Service, reports: Iterable[bodies.UsageReport]) -> list[dict[str, Any]]:
    """Take reports, all or none. Out: what became of each, as the API answers it. Raises `Refused`."""
    wanted = list(reports)
    for one in wanted:
        _check(service, one)
    return [_told(service, _taken(service, one)) for one in wanted]


def _check(service: Service, wanted: bodies.UsageReport | bodies.UsageEstimate) -> None:
    service.customer(wanted.customer_id)
    feature = service.catalogue.features.get(wanted.feature_id)
    if feature is None:
        raise not_found("Feature", wanted.feature_id)
    if feature.meter == "None":
        raise invalid(f"feature {feature.id} is not metered: it takes no usage", "MeteringNotAvailableForFeatureType")
    whole = float(wanted.value).is_integer()
    if abs(wanted.value) > WHOLE or (not whole and abs(wanted.value) >= FRACTIONAL):
        raise invalid("value is too large")


def _taken(service: Service, wanted: bodies.UsageReport) -> Measurement:
    """The measurement that a report makes; the one there is, when its key was seen before."""
    known = service.book.measurements.setdefault(wanted.customer_id, [])
    key = wanted.idempotency_key
    for one in known:
        if key is not None and one.idempotency_key == key and one.created_at > service.now - REMEMBERED:
            return one
    value = float(Decimal(str(wanted.value)).quantize(Decimal("0.00001"), ROUND_HALF_UP))
    if wanted.update_behavior == "SET":
        value -= _current(service, wanted.customer_id, wanted.feature_id, wanted.resource_id).used
    made = Measurement(
        id=str(uuid.uuid4()),
        customer_id=wanted.customer_id,
        feature_id=wanted.feature_id,
        value=int(value) if value.is_integer() else value,
        timestamp=wanted.created_at or service.now,
        created_at=service.now,
        resource_id=wanted.resource_id,
        dimensions=wanted.dimensions or {},
        idempotency_key=key,
    )
    known.append(made)
    return made


def _current(service: Service, customer_id: str, feature_id: str, resource_id: str | None) -> Allowance:
    """What the customer is allowed of a feature, and has used; usage counts without being allowed any, too."""
    allowed = service.allowances(customer_id, resource_id)
    key = ("FEATURE", feature_id)
    return counted(service.book, customer_id, resource_id, {key: allowed.get(key, Allowance(0))}, service.now)[key]


def _told(service: Service, one: Measurement) -> dict[str, Any]:
    current = _current(service, one.customer_id, one.feature_id, one.resource_id)
    start, end = current.period(service.now) or (None, None)
    return {
        "id": one.id,
        "createdAt": stamp(one.created_at),
        "customerId": one.customer_id,
        "featureId": one.feature_id,
        "timestamp": stamp(one.timestamp),
        "value": one.value,
        "credit": None,
        "currentUsage": current.used,
        "nextResetDate": stamp(end) if end else None,
        "resourceId": one.resource_id,
        "usagePeriodEnd": stamp(end) if end else None,
        "usagePeriodStart": stamp(start) if start else None,
    }


def estimate(service: Service, wanted: bodies.UsageEstimate) -> dict[str, Any]:
    """What a report would take in credits: nothing, as no feature here is paid for in them."""
    _check(service, wanted)
    return {"estimates": [], "warnings": ["FEATURE_NOT_CREDIT_BASED"]}


def history(
    service: Service, customer_id: str, feature_id: str, span: tuple[datetime, datetime | None], resource_id: str | None
) -> dict[str, Any]:
    """The usage of a feature as it rose and fell in a span of time: a point for each report. Raises `Refused`."""
    service.customer(customer_id)
    if feature_id not in service.catalogue.features:
        raise not_found("Feature", feature_id)
    known = sorted(
        (
            one
            for one in service.book.measurements.get(customer_id, ())
            if (one.feature_id, one.resource_id) == (feature_id, resource_id)
        ),
        key=lambda one: one.timestamp,
    )
    start, end = span
    points = [
        {"isResetPoint": False, "timestamp": stamp(one.timestamp), "value": _total(known[: place + 1])}
        for place, one in enumerate(known)
        if start <= one.timestamp and (end is None or one.timestamp <= end)
    ]
    return {"markers": [], "series": [{"points": points, "tags": []}]}
