"""How the stand-in says no."""

from __future__ import annotations

CODES = {
    400: "BadUserInput",
    401: "Unauthenticated",
    403: "IdentityForbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    422: "UnprocessableEntity",
    429: "RateLimitExceeded",
    500: "InternalServerError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "GatewayTimeout",
}
"""The code of an answer that has no more telling one. Stigg promises none: clients should go by the status."""

STIGGS = frozenset(
    """
    AddonDependencyMissingError AddonNotFound AddonQuantityExceedsLimitError BadUserInput BillingPeriodMissingError
    CannotAddOverrideEntitlementToPlan CannotDeleteCustomerError CouponNotFound CreditGrantNotFound
    CustomCurrencyNotFound CustomerNotFound DuplicateAddonProvisionedError DuplicatedEntityNotAllowed
    EntityIsArchivedError ExpireAtMustBeLaterThanEffectiveAtError FeatureNotFound IdentityForbidden
    IncompatibleSubscriptionAddon IntegrationNotFound InvalidCancellationDate InvalidEntitlementResetPeriod
    InvalidQuantity InvalidSubscriptionStatus MeteringNotAvailableForFeatureType PaymentMethodNotFoundError
    PlanNotFound PriceNotFound ProductNotFoundError PromotionalEntitlementNotFoundError RateLimitExceeded
    SubscriptionAlreadyCanceledOrExpired SubscriptionDoesNotHaveBillingPeriod SubscriptionNotFound
    TrialMustBeCancelledImmediately UnPublishedPackage Unauthenticated UnsupportedParameter
    """.split()
)
"""Stigg's own names that are used here. Source: the enum `ErrorCode` of its GraphQL client (stiggio/api-client-go 6.21,
generated-stiggModels.go); that REST answers the same names is likely, not seen. Which situation has which name is taken
from the names alone.
"""

OURS = frozenset(("Conflict", "CurrencyMismatch", "Error", "IdempotencyKeyReused", "NotFound", "NotInTheSandbox"))
"""Codes of what Stigg has no name for, or none that is known. Those of `CODES` beside."""

_NOT_FOUND = {
    "Checkout": "NotFound",
    "Contract": "NotFound",
    "Page": "NotFound",
    "PaymentMethod": "PaymentMethodNotFoundError",
    "Product": "ProductNotFoundError",
    "PromotionalEntitlement": "PromotionalEntitlementNotFoundError",
}
"""The codes that do not end as the others do, by what is not there."""


class Refused(Exception):
    """A request that is answered with an error.

    status: the HTTP status; code: a word for programs, Stigg's own where it has one (else ValueError); message: a
    sentence for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        if code not in STIGGS | OURS and code not in CODES.values():
            raise ValueError(f"{code} is neither a code of Stigg's nor one of ours")
        self.status = status
        self.code = code
        self.message = message


def invalid(message: str, code: str = "BadUserInput") -> Refused:
    """The request makes no sense as it is: 400."""
    return Refused(400, code, message)


def not_found(kind: str, identifier: str) -> Refused:
    """There is no such thing: 404. kind is a noun, such as ``Customer``."""
    return Refused(404, _NOT_FOUND.get(kind, f"{kind}NotFound"), f"{kind} {identifier} is not known")
