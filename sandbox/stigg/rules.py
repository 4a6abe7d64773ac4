"""What Stigg refuses: the rules a subscription's parts must keep, against the catalogue. Those of prices: `charging`.

Each function raises `Refused`. Sources: the types and comments of the official SDK, and Stigg's documentation of
provisioning, updating and cancelling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from . import bodies, models
from .errors import Refused, invalid, not_found
from .packages import Catalogue, Feature, Plan

RESET_CONFIGURATIONS = {
    "YEAR": "yearly_reset_period_configuration",
    "MONTH": "monthly_reset_period_configuration",
    "WEEK": "weekly_reset_period_configuration",
}


def plan(catalogue: Catalogue, plan_id: str) -> Plan:
    """The plan, known and published."""
    found = catalogue.plans.get(plan_id)
    if found is None:
        raise not_found("Plan", plan_id)
    if found.status != "PUBLISHED":
        raise invalid(f"plan {plan_id} is not published", "UnPublishedPackage")
    return found


def addons(catalogue: Catalogue, of: Plan, wanted: Sequence[models.Addon]) -> None:
    """Known, published, compatible with the plan, each once, within its quantity, with what it depends on."""
    once("addons", (addon.id for addon in wanted), "DuplicateAddonProvisionedError")
    for item in wanted:
        addon = catalogue.addons.get(item.id)
        if addon is None:
            raise not_found("Addon", item.id)
        if addon.status != "PUBLISHED":
            raise invalid(f"add-on {item.id} is not published", "UnPublishedPackage")
        if item.id not in of.addons:
            raise invalid(f"add-on {item.id} is not compatible with plan {of.id}", "IncompatibleSubscriptionAddon")
        if addon.max_quantity is not None and item.quantity > addon.max_quantity:
            raise invalid(
                f"add-on {item.id} allows a quantity of {addon.max_quantity}", "AddonQuantityExceedsLimitError"
            )
        missing = set(addon.dependencies) - {other.id for other in wanted}
        if missing:
            raise invalid(f"add-on {item.id} needs {', '.join(sorted(missing))}", "AddonDependencyMissingError")


def entitlements(catalogue: Catalogue, of: Plan, wanted: Sequence[models.Entitlement]) -> None:
    """Overrides are for custom plans only; each is of a known feature or currency and fits the feature's type."""
    if wanted and of.pricing != "CUSTOM":
        raise invalid(f"plan {of.id} is not custom: it takes no entitlements", "CannotAddOverrideEntitlementToPlan")
    once("entitlements", (f"{item.type} {item.id}" for item in wanted))
    for item in wanted:
        if isinstance(item, models.CreditEntitlement):
            if item.id not in catalogue.currencies:
                raise not_found("CustomCurrency", item.id)
            continue
        feature = catalogue.features.get(item.id)
        if feature is None:
            raise not_found("Feature", item.id)
        fits(feature, item)


def fits(feature: Feature, item: models.FeatureEntitlement | bodies.PromotionalEntitlement) -> None:
    """What a feature's entitlement says is what its type and its meter allow."""

    def refuse(why: str, code: str = "BadUserInput") -> Refused:
        return invalid(f"{feature.id} is a {feature.type} feature: {why}", code)

    configured = [period for period, name in RESET_CONFIGURATIONS.items() if getattr(item, name) is not None]
    resets = item.reset_period is not None or bool(configured)
    if feature.type == "ENUM":
        raise refuse("its value cannot be set here")
    if feature.type == "BOOLEAN":
        if item.usage_limit is not None or item.has_soft_limit is not None or resets:
            raise refuse("it takes no limit and no reset period")
        return
    if bool(item.has_unlimited_usage) == (item.usage_limit is not None):
        raise refuse("it takes either a usageLimit or hasUnlimitedUsage")
    if resets and feature.meter != "INCREMENTAL":
        raise refuse("its usage does not accumulate: it takes no reset period", "InvalidEntitlementResetPeriod")
    if any(period != item.reset_period for period in configured):
        raise refuse("the reset period's configuration is for another", "InvalidEntitlementResetPeriod")


def billing_period(of: Plan, chosen: models.BillingPeriod | None) -> None:
    """A paid plan with several periods needs to be told which."""
    if of.pricing == "PAID" and chosen is None and len({price.period for price in of.prices}) > 1:
        raise invalid(f"plan {of.id} has several billing periods: choose one", "BillingPeriodMissingError")


def once(name: str, identifiers: Iterable[str], code: str = "BadUserInput") -> None:
    """Nothing is listed twice."""
    twice = [identifier for identifier, times in Counter(identifiers).items() if times > 1]
    if twice:
        raise invalid(f"{name} lists {', '.join(twice)} more than once", code)
