"""What Stigg refuses: the rules a subscription's parts must keep, against the catalogue.

Each function raises `Refused`. Sources: the types and comments of the official SDK, and Stigg's documentation of
provisioning, updating and cancelling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from . import models
from .errors import Refused, invalid, not_found
from .packages import Addon, Catalogue, Feature, Plan

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
        raise invalid(f"plan {plan_id} is not published", "PackageNotPublished")
    return found


def parts(
    catalogue: Catalogue,
    of: Plan,
    currency: str,
    held: Sequence[models.Addon],
    wanted: models.SubscriptionProvision | models.SubscriptionUpdate,
) -> None:
    """All that is asked for fits. held: the add-ons it is to have; currency: the payer's."""
    ids = [addon.id for addon in held]
    addons(catalogue, of, held)
    entitlements(catalogue, of, wanted.entitlements or ())
    price_overrides(catalogue, of, ids, currency, wanted.price_overrides or ())
    charges(catalogue, of, ids, wanted.charges or ())


def addons(catalogue: Catalogue, of: Plan, wanted: Sequence[models.Addon]) -> None:
    """Known, published, compatible with the plan, each once, within its quantity, with what it depends on."""
    once("addons", (addon.id for addon in wanted))
    for item in wanted:
        addon = catalogue.addons.get(item.id)
        if addon is None:
            raise not_found("Addon", item.id)
        if addon.status != "PUBLISHED":
            raise invalid(f"add-on {item.id} is not published", "PackageNotPublished")
        if item.id not in of.addons:
            raise invalid(f"add-on {item.id} is not compatible with plan {of.id}", "IncompatibleSubscriptionAddon")
        if addon.max_quantity is not None and item.quantity > addon.max_quantity:
            raise invalid(f"add-on {item.id} allows a quantity of {addon.max_quantity}", "AddonQuantityExceedsLimit")
        missing = set(addon.dependencies) - {other.id for other in wanted}
        if missing:
            raise invalid(f"add-on {item.id} needs {', '.join(sorted(missing))}", "AddonDependencyMissing")


def entitlements(catalogue: Catalogue, of: Plan, wanted: Sequence[models.Entitlement]) -> None:
    """Overrides are for custom plans only; each is of a known feature or currency and fits the feature's type."""
    if wanted and of.pricing != "CUSTOM":
        raise invalid(f"plan {of.id} is not custom: it takes no entitlements", "EntitlementsOfCustomPlansOnly")
    once("entitlements", (f"{item.type} {item.id}" for item in wanted))
    for item in wanted:
        if isinstance(item, models.CreditEntitlement):
            if item.id not in catalogue.currencies:
                raise not_found("CustomCurrency", item.id)
            continue
        feature = catalogue.features.get(item.id)
        if feature is None:
            raise not_found("Feature", item.id)
        _fits(feature, item)


def _fits(feature: Feature, item: models.FeatureEntitlement) -> None:
    def refuse(why: str) -> Refused:
        return invalid(f"{feature.id} is a {feature.type} feature: {why}", "EntitlementDoesNotFitFeature")

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
        raise refuse("its usage does not accumulate, so it takes no reset period")
    if any(period != item.reset_period for period in configured):
        raise refuse("the reset period's configuration is for another period")


def price_overrides(
    catalogue: Catalogue,
    of: Plan,
    held: Iterable[str],
    currency: str,
    wanted: Sequence[models.PriceOverride | models.PriceOverrideUpdate],
) -> None:
    """Each override names a charge that exists: the plan's base charge, an add-on held, or a feature's units.

    held: IDs of the subscription's add-ons. currency: the customer's, which all prices of a subscription share.
    """
    held = set(held)
    targets: list[str] = []
    for item in wanted:
        if item.amount is None and not getattr(item, "tiers", None):
            raise invalid("a price override needs an amount or tiers")
        if item.currency not in (None, currency):
            raise invalid(f"the customer is billed in {currency}, not in {item.currency}", "CurrencyMismatch")
        if item.addon_id is not None:
            addon = catalogue.addons.get(item.addon_id)
            if addon is None:
                raise not_found("Addon", item.addon_id)
            if item.addon_id not in held:
                raise invalid(f"the subscription has no add-on {item.addon_id} to override the price of")
            _charge_exists(addon, item.feature_id)
            targets.append(f"{item.addon_id} {item.feature_id or ''}")
        elif item.feature_id is not None:
            _charge_exists(of, item.feature_id)
            targets.append(f"{of.id} {item.feature_id}")
        elif item.base_charge:
            if of.pricing == "FREE":
                raise invalid(f"plan {of.id} is free: it has no base charge", "PriceNotFound")
            targets.append(of.id)
        else:
            raise invalid("a price override names a baseCharge, an addonId or a featureId")
    once("priceOverrides", targets)


def _charge_exists(package: Plan | Addon, feature: str | None) -> None:
    if not any(price.feature == feature for price in package.prices):
        raise invalid(f"{package.id} has no such charge to override", "PriceNotFound")


def charges(catalogue: Catalogue, of: Plan, held: Iterable[str], wanted: Sequence[models.Charge]) -> None:
    """Each selects a charge by its ID or its feature's, of the plan or of an add-on held."""
    once("charges", (item.id for item in wanted))
    packages = [of, *(catalogue.addons[addon] for addon in held)]
    known = {name for package in packages for price in package.prices for name in (price.id, price.feature) if name}
    for item in wanted:
        if item.id not in known:
            raise not_found("Charge", item.id)


def priced(catalogue: Catalogue, of: Plan, held: Iterable[str], currency: str, overridden: Iterable[str]) -> None:
    """What is not overridden must have a price in the customer's currency. overridden: plan and add-on IDs."""
    overridden = set(overridden)
    for package in [of, *(catalogue.addons[addon] for addon in held)]:
        if package.prices and package.id not in overridden and currency not in package.currencies():
            raise invalid(f"{package.id} has no price in {currency}", "PriceNotFound")


def overridden(of: Plan, items: Iterable[models.PriceOverride | models.PriceOverrideUpdate]) -> list[str]:
    """The IDs of the plan and add-ons whose own price is overridden."""
    return [item.addon_id or of.id for item in items if item.feature_id is None]


def billing_period(of: Plan, chosen: models.BillingPeriod | None) -> None:
    """A paid plan with several periods needs to be told which."""
    if of.pricing == "PAID" and chosen is None and len({price.period for price in of.prices}) > 1:
        raise invalid(f"plan {of.id} has several billing periods: choose one", "BillingPeriodMissing")


def once(name: str, identifiers: Iterable[str]) -> None:
    """Nothing is listed twice."""
    twice = [identifier for identifier, times in Counter(identifiers).items() if times > 1]
    if twice:
        raise invalid(f"{name} lists {', '.join(twice)} more than once")
