"""One entitlement asked for: may a customer use this much of it, and if not, why not.

By the SDK's types (`customer_check_entitlement_params` and `..._response`), whose list of reasons this is; which of
several reasons Stigg names is not told, so they go from the customer to the feature to the amount.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import entitlements
from .entitlements import Allowance
from .errors import not_found
from .packages import Feature
from .service import Service


@dataclass(frozen=True)
class Asked:
    """What is to be used. usage: more of it, on top of what was used; values: those of an ENUM."""

    usage: int | None = None
    values: Sequence[str] = ()


def of_feature(
    service: Service, customer_id: str, resource_id: str | None, feature_id: str, asked: Asked
) -> dict[str, Any]:
    """The answer for a feature, as the API gives it."""
    feature = service.catalogue.features.get(feature_id)
    reason = service.stranger(customer_id)
    if reason is not None or feature is None:
        return _unknown(reason or "FeatureNotFound")
    allowed = service.allowances(customer_id, resource_id)
    allowance = allowed.get(("FEATURE", feature_id))
    if allowance is None:
        reason = "NoFeatureEntitlementInSubscription" if allowed else "NoActiveSubscription"
    else:
        reason = _too_much(feature, allowance, asked)
    return entitlements.of_feature(feature, allowance, service.now, reason)


def of_currency(
    service: Service, customer_id: str, resource_id: str | None, currency_id: str, asked: Asked
) -> dict[str, Any]:
    """The answer for credits, as the API gives it. Raises `Refused` (404) for a currency that is not known."""
    currency = service.catalogue.currencies.get(currency_id)
    if currency is None:
        raise not_found("CustomCurrency", currency_id)
    reason = service.stranger(customer_id)
    allowance = None if reason else service.allowances(customer_id, resource_id).get(("CREDIT", currency_id))
    if reason is None and allowance is None:
        reason = "EntitlementNotFound"
    if allowance is not None and allowance.used + (asked.usage or 0) > (allowance.limit or 0):
        reason = "InsufficientCredits"
    return entitlements.of_currency(currency, allowance, service.now, reason)


def _unknown(reason: str) -> dict[str, Any]:
    return {"accessDeniedReason": reason, "isGranted": False, "type": "FEATURE", "feature": None}


def _too_much(feature: Feature, allowance: Allowance, asked: Asked) -> str | None:
    """Why what is asked for is more than what is allowed; None where it is not."""
    if (asked.usage is not None and feature.type != "NUMBER") or (asked.values and feature.type != "ENUM"):
        return "FeatureTypeMismatch"
    if not set(asked.values) <= set(allowance.values):
        return "RequestedValuesMismatch"
    limit = math.inf if allowance.soft or allowance.limit is None else allowance.limit
    return "RequestedUsageExceedingLimit" if allowance.used + (asked.usage or 0) > limit else None
