"""Features given to a customer outside of any subscription, for a time or for good.

By the SDK's texts (`promotional_entitlement_create_params` and `..._create_response`): they come on top of what
subscriptions grant and outlive them; granting one again replaces it; when its time is over it stays in the list, as
Expired.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from . import bodies, rules
from .errors import invalid, not_found
from .packages import stamp
from .periods import months_later
from .records import Promotion
from .service import Service

_MONTHS = {"1 month": 1, "6 month": 6, "1 year": 12}


def grant(service: Service, customer_id: str, wanted: Iterable[bodies.PromotionalEntitlement]) -> list[Promotion]:
    """Grant features to a customer, all or none. Raises `Refused`."""
    service.customer(customer_id)
    granted = list(wanted)
    rules.once("promotionalEntitlements", (one.feature_id for one in granted))
    ends = [_check(service, one) for one in granted]
    return [_granted(service, customer_id, one, end) for one, end in zip(granted, ends, strict=True)]


def _check(service: Service, wanted: bodies.PromotionalEntitlement) -> datetime | None:
    """Raises `Refused` for what fits no feature. Out: when it ends."""
    feature = service.catalogue.features.get(wanted.feature_id)
    if feature is None:
        raise not_found("Feature", wanted.feature_id)
    if feature.type == "ENUM":
        if not set(wanted.enum_values or ()) or not set(wanted.enum_values or ()) <= set(feature.values.values()):
            raise invalid(f"enumValues must be of {', '.join(feature.values.values())}")
    elif wanted.enum_values is not None:
        raise invalid(f"{feature.id} is a {feature.type} feature: it has no values")
    else:
        rules.fits(feature, wanted)
    if (wanted.period == "custom") != (wanted.custom_end_date is not None):
        raise invalid("customEndDate goes with the period custom, and only with it")
    return _end(service.now, wanted)


def _end(now: datetime, wanted: bodies.PromotionalEntitlement) -> datetime | None:
    if wanted.custom_end_date is not None and wanted.custom_end_date <= now:
        raise invalid("customEndDate must lie ahead")
    if wanted.period == "1 week":
        return now + timedelta(weeks=1)
    if wanted.period in _MONTHS:
        return months_later(now, _MONTHS[wanted.period])
    return wanted.custom_end_date


def _granted(
    service: Service, customer_id: str, wanted: bodies.PromotionalEntitlement, end: datetime | None
) -> Promotion:
    before = service.book.promotions.pop((customer_id, wanted.feature_id), None)
    made = Promotion(
        id=before.id if before else str(uuid.uuid4()),
        customer_id=customer_id,
        feature_id=wanted.feature_id,
        period=wanted.period,
        created_at=before.created_at if before else service.now,
        updated_at=service.now,
        end_date=end,
        fields=wanted.sent(),
    )
    service.book.promotions[customer_id, wanted.feature_id] = made
    return made


def revoke(service: Service, customer_id: str, feature_id: str) -> Promotion:
    """Take a feature away again. Raises `Refused` (404) for one that was not given."""
    service.customer(customer_id)
    found = service.book.promotions.pop((customer_id, feature_id), None)
    if found is None:
        raise not_found("PromotionalEntitlement", feature_id)
    return found


def json(service: Service, promotion: Promotion) -> dict[str, Any]:
    """A promotional entitlement as the API shows it."""
    sent = promotion.fields
    configured = (sent.get(f"{every}ResetPeriodConfiguration") for every in ("yearly", "monthly", "weekly"))
    return {
        "id": promotion.id,
        "createdAt": stamp(promotion.created_at),
        "description": None,
        "endDate": stamp(promotion.end_date) if promotion.end_date else None,
        "enumValues": sent.get("enumValues"),
        "environmentId": service.environment,
        "featureGroupIds": [],
        "featureId": promotion.feature_id,
        "hasSoftLimit": sent.get("hasSoftLimit"),
        "hasUnlimitedUsage": sent.get("hasUnlimitedUsage"),
        "isVisible": sent.get("isVisible") is not False,
        "period": promotion.period,
        "resetPeriod": sent.get("resetPeriod"),
        "resetPeriodConfiguration": next((one for one in configured if one), None),
        "startDate": stamp(promotion.updated_at),
        "status": status(promotion, service.now),
        "updatedAt": stamp(promotion.updated_at),
        "usageLimit": sent.get("usageLimit"),
    }


def status(promotion: Promotion, now: datetime) -> str:
    return "Active" if promotion.active(now) else "Expired"
