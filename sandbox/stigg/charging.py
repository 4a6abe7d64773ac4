"""What a subscription is charged for: which charges may be said, overridden and left out, and what units cost.

A plan's or add-on's price is a base charge and any number of charges on features: by the unit, for a quantity that is
said when it is sold, or by use, billed afterwards. Sources: the SDK's `SubscriptionProvisionParams` and
`PlanListChargesResponse`; stiggio/skills, charges-and-pricing-models.md and hybrid-pricing.md; docs.stigg.io,
*Subscription management* ("Billable feature quantities - required for per-unit pricing").
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import models
from .errors import invalid, not_found
from .packages import Addon, Catalogue, Package, Period, Plan, Price, Tier
from .state import Subscription

Units = dict[str, float]
"""How many units of each feature are charged for, by the feature's ID."""

Charged = tuple[str, str | None]
"""One charge: its plan or add-on, and the feature whose units it counts; None for the base charge."""


@dataclass(frozen=True)
class Sold:
    """What is sold: a plan with add-ons (and how many of each), by a period, in a currency.

    period: None where nobody chose one.
    """

    plan: Plan
    addons: tuple[tuple[Addon, int], ...]
    period: Period | None
    currency: str

    @classmethod
    def of(
        cls, catalogue: Catalogue, plan: Plan, addons: Iterable[models.Addon], period: Period | None, currency: str
    ) -> Sold:
        """In: add-ons of the catalogue."""
        return cls(plan, tuple((catalogue.addons[item.id], item.quantity) for item in addons), period, currency)

    @property
    def packages(self) -> tuple[Package, ...]:
        return (self.plan, *(addon for addon, _ in self.addons))

    def fits(self, price: Price) -> bool:
        """Whether a row of the catalogue is of this period and currency."""
        return price.currency == self.currency and self.period in (None, price.period)


def units_of(catalogue: Catalogue, subscription: Subscription) -> Units:
    """The units a subscription is charged for: as its `charges` say, else its `unitQuantity`."""
    packages = [subscription.plan, *(catalogue.addons[addon["id"]] for addon in subscription.addons)]
    features = {name: price.feature for price in _rows(packages) for name in (price.id, price.feature)}
    units: Units = {}
    if subscription.unit_quantity is not None and subscription.plan.unit_feature is not None:
        units[subscription.plan.unit_feature] = subscription.unit_quantity
    for charge in subscription.charges:
        if (feature := features.get(charge["id"])) is not None:
            units[feature] = charge["quantity"]
    return units


def said(sold: Sold, charges: Iterable[models.Charge], unit_quantity: int | None) -> Units:
    """The units that a request says. Raises `Refused` for what is not charged by the unit, or said twice.

    A charge is named by its feature's ID, or by that of a row of `GET /plans/{id}/charges`, which then must be of the
    period and the currency: which of the two Stigg takes is not documented (the SDK says "Charge ID").
    """
    units: Units = {}
    for charge in charges:
        feature = _feature_of(sold, charge)
        if feature in units:
            raise invalid(f"charges lists {feature} more than once")
        units[feature] = charge.quantity
    if unit_quantity is not None:
        feature = _unit_feature(sold.plan)
        if feature in units:
            raise invalid(f"the units of {feature} are said twice: by unitQuantity and by charges")
        units[feature] = unit_quantity
    return units


def all_said(sold: Sold, units: Units) -> None:
    """Raises `Refused` where a charge by the unit has no quantity: what is charged then is not documented."""
    for package in sold.packages:
        for price in package.prices:
            if price.billing_model == "PER_UNIT" and price.feature not in units:
                raise invalid(f"{package.id} charges {price.feature} by the unit: say a quantity", "InvalidQuantity")


def _feature_of(sold: Sold, charge: models.Charge) -> str:
    """The feature whose units a charge counts."""
    named = [price for price in _rows(sold.packages) if charge.id in (price.id, price.feature)]
    if not named or charge.type == "CREDIT":  # nothing in this catalogue is charged by credits
        raise invalid(f"{sold.plan.id} and its add-ons have no {charge.type} charge {charge.id}", "PriceNotFound")
    price = named[0]
    if price.billing_model != "PER_UNIT" or price.feature is None:
        raise invalid(f"{charge.id} is not charged by the unit: it takes no quantity", "InvalidQuantity")
    if charge.id != price.feature and not sold.fits(price):
        raise invalid(f"{charge.id} is no charge of this billing period in {sold.currency}", "PriceNotFound")
    return price.feature


def _unit_feature(plan: Plan) -> str:
    """What `unitQuantity` counts: the units of the plan's only charge.

    Source: the SDK's "Unit quantity for per-unit pricing". What it does to a plan that has a base charge, several
    charges or none is not documented: refused.
    """
    if plan.unit_feature is None:
        raise invalid(f"plan {plan.id} is not sold by the unit: it takes no unitQuantity", "UnsupportedParameter")
    return plan.unit_feature


def _rows(packages: Iterable[Package]) -> Iterator[Price]:
    return (price for package in packages for price in package.prices)


# Price overrides


def overridden(sold: Sold, items: Iterable[models.PriceOverride | models.PriceOverrideUpdate]) -> list[Charged]:
    """The charges whose prices are overridden."""
    return [(item.addon_id or sold.plan.id, item.feature_id) for item in items]


def price_overrides(
    catalogue: Catalogue, sold: Sold, wanted: Sequence[models.PriceOverride | models.PriceOverrideUpdate]
) -> None:
    """Each override names a charge that exists, once, and says an amount or tiers in the customer's currency."""
    for item in wanted:
        _fits(item, sold.currency)
        _overrides_a_charge(catalogue, sold, item)
    twice = [charge for charge, times in Counter(overridden(sold, wanted)).items() if times > 1]
    if twice:
        raise invalid(f"priceOverrides lists {twice[0][1] or twice[0][0]} more than once")


def _fits(item: models.PriceOverride | models.PriceOverrideUpdate, currency: str) -> None:
    tiers = getattr(item, "tiers", None) or []
    if (item.amount is None) == (not tiers):
        raise invalid("a price override needs either an amount or tiers")
    if tiers and item.feature_id is None:
        raise invalid("tiers are of a feature's units")
    if [tier.up_to is None for tier in tiers[:-1]].count(True) or (tiers and tiers[-1].up_to is not None):
        raise invalid("every tier but the last says upTo, and the last does not")
    prices = [price for tier in tiers for price in (tier.unit_price, tier.flat_price) if price is not None]
    for named in (item.currency, *(price.currency for price in prices)):
        if named not in (None, currency):
            # No code of Stigg's for it is known.
            raise invalid(f"the customer is billed in {currency}, not in {named}", "CurrencyMismatch")


def _overrides_a_charge(
    catalogue: Catalogue, sold: Sold, item: models.PriceOverride | models.PriceOverrideUpdate
) -> None:
    package: Package = sold.plan
    if item.addon_id is not None:
        if item.addon_id not in catalogue.addons:
            raise not_found("Addon", item.addon_id)
        if item.addon_id not in {addon.id for addon, _ in sold.addons}:
            raise invalid(f"the subscription has no add-on {item.addon_id} to override the price of")
        package = catalogue.addons[item.addon_id]
    elif item.feature_id is None and not item.base_charge:
        raise invalid("a price override names a baseCharge, an addonId or a featureId")
    elif item.feature_id is None and package.pricing == "CUSTOM":
        return  # its price is whatever was agreed
    if not any(price.feature == item.feature_id for price in package.prices):
        raise invalid(f"{package.id} has no such charge to override", "PriceNotFound")


def priced(sold: Sold, packages: Iterable[Package], free_of: Iterable[Charged]) -> None:
    """Each charge of some packages has a price in the period and the currency. free_of: overridden ones need none."""
    overridden = set(free_of)
    for package in packages:
        for feature in {price.feature: None for price in package.prices}:
            found = any(sold.fits(price) for price in package.prices if price.feature == feature)
            if not found and (package.id, feature) not in overridden:
                raise invalid(f"{feature or package.id} has no price in {sold.currency}", "PriceNotFound")


# What it costs


@dataclass(frozen=True)
class Line:
    """What one charge comes to in a period. quantity: units, or add-ons."""

    package: Package
    feature: str | None
    quantity: float
    price: Price

    @property
    def total(self) -> float:
        return cost(self.price, self.quantity)


def bill(sold: Sold, units: Units, overrides: Iterable[dict[str, Any]] = ()) -> Iterator[Line]:
    """What is billed for one period, charge by charge, of what is not billed by use.

    overrides: as a subscription holds them.
    """
    own = {(item.get("addonId") or sold.plan.id, item.get("featureId")): item for item in overrides}
    for package, quantity in ((sold.plan, 1), *sold.addons):
        for feature in {price.feature: None for price in package.prices} or {None: None}:
            price = _price(sold, package, feature, own.get((package.id, feature)))
            count = quantity if feature is None else units.get(feature, 0)
            if price is not None and not price.usage_based and count:
                yield Line(package, feature, count, price)


def _price(sold: Sold, package: Package, feature: str | None, override: dict[str, Any] | None) -> Price | None:
    """The price of a charge: the catalogue's, or what overrides it."""
    rows = [price for price in package.prices if price.feature == feature]
    price = next((price for price in rows if sold.fits(price)), None)
    if override is None:
        return price
    base = price or (rows[0] if rows else Price("", sold.period or "MONTHLY", 0, feature=feature))
    base = replace(base, currency=sold.currency, block_size=override.get("blockSize", base.block_size))
    if "amount" in override:
        return replace(base, amount=override["amount"], tiers=())
    return replace(base, amount=0, tiers=tuple(map(_tier, override["tiers"])))


def _tier(said: dict[str, Any]) -> Tier:
    def amount(name: str) -> float:
        return (said.get(name) or {}).get("amount", 0)

    return Tier(said.get("upTo"), amount("unitPrice"), amount("flatPrice"))


def cost(price: Price, quantity: float) -> float:
    """What so many units cost.

    GRADUATED: the units of each tier at its price; VOLUME: all units at the price of the tier they reach. A block that
    was begun is paid as a whole ("usage is billed in increments of 100 units": stiggio/api-client-go, `BlockSize`).
    """
    if not price.tiers:
        return price.amount * (math.ceil(quantity / price.block_size) if price.block_size else quantity)
    if price.tiers_mode == "VOLUME":
        reached = next(tier for tier in price.tiers if tier.up_to is None or quantity <= tier.up_to)
        return quantity * reached.unit + reached.flat
    total, below = 0.0, 0.0
    for tier in price.tiers:
        if quantity <= below:
            break
        upper = quantity if tier.up_to is None else min(quantity, tier.up_to)
        total += (upper - below) * tier.unit + tier.flat
        below = upper
    return total
