"""What Stigg can sell: products, plans, add-ons, features, charges, currencies of credits, coupons.

Plain data, and the JSON that Stigg's catalogue endpoints answer for it. Money is in whole units: 49 is 49.00.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

FeatureType = Literal["BOOLEAN", "NUMBER", "ENUM"]
MeterType = Literal["None", "FLUCTUATING", "INCREMENTAL"]
PackageStatus = Literal["DRAFT", "PUBLISHED", "ARCHIVED"]
Period = Literal["MONTHLY", "ANNUALLY"]
PricingType = Literal["FREE", "PAID", "CUSTOM"]
BillingModel = Literal["FLAT_FEE", "PER_UNIT", "USAGE_BASED"]
TiersMode = Literal["VOLUME", "GRADUATED"]
TrialEndBehavior = Literal["CONVERT_TO_PAID", "CANCEL_SUBSCRIPTION"]

CREATED = datetime(2025, 1, 15, 10, 30, tzinfo=UTC)
PUBLISHED = datetime(2025, 2, 3, 8, 0, tzinfo=UTC)


def stamp(moment: datetime) -> str:
    """A moment as the API writes it: UTC, with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Feature:
    """Something a customer may use. units: singular and plural. values: what an ENUM may hold, by display name."""

    id: str
    display_name: str
    type: FeatureType
    meter: MeterType = "None"
    units: tuple[str, str] | None = None
    values: dict[str, str] = field(default_factory=dict)
    description: str = ""

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "createdAt": stamp(CREATED),
            "description": self.description or None,
            "displayName": self.display_name,
            "enumConfiguration": [{"displayName": n, "value": v} for n, v in self.values.items()] or None,
            "featureStatus": "ACTIVE",
            "featureType": self.type,
            "featureUnits": self.units[0] if self.units else None,
            "featureUnitsPlural": self.units[1] if self.units else None,
            "metadata": {},
            "meter": None,
            "meterType": self.meter,
            "unitTransformation": None,
            "updatedAt": stamp(PUBLISHED),
        }


@dataclass(frozen=True)
class Grant:
    """What a plan or an add-on entitles to: a feature (limit, unlimited or enum values) or recurring credits.

    behavior ``Increment`` adds to what the plan gives, once for each unit of the add-on.
    """

    id: str
    kind: Literal["FEATURE", "CREDIT"] = "FEATURE"
    limit: float | None = None
    unlimited: bool = False
    reset_period: Literal["YEAR", "MONTH", "WEEK", "DAY", "HOUR"] | None = None
    values: tuple[str, ...] = ()
    cadence: Literal["MONTH", "YEAR"] | None = None
    custom: bool = False
    behavior: Literal["Increment", "Override"] = "Override"

    def json(self, order: int) -> dict[str, Any]:
        common: dict[str, Any] = {
            "id": self.id,
            "behavior": self.behavior,
            "createdAt": stamp(CREATED),
            "description": None,
            "displayNameOverride": None,
            "hasSoftLimit": False,
            "hiddenFromWidgets": [],
            "isCustom": self.custom,
            "isGranted": True,
            "order": order,
            "type": self.kind,
            "updatedAt": stamp(PUBLISHED),
        }
        if self.kind == "CREDIT":
            return {**common, "amount": self.limit, "cadence": self.cadence, "dependencyFeatureId": None}
        reset = {"accordingTo": "SubscriptionStart"} if self.reset_period in ("MONTH", "YEAR", "WEEK") else None
        return {
            **common,
            "enumValues": list(self.values) or None,
            "hasUnlimitedUsage": self.unlimited,
            "resetPeriod": self.reset_period,
            "resetPeriodConfiguration": reset,
            "usageLimit": self.limit,
        }


@dataclass(frozen=True)
class Tier:
    """A range of units of a charge, up to and with so many (None: without an end), and what they cost.

    unit: for each unit; flat: once, when the tier is reached.
    """

    up_to: float | None
    unit: float = 0
    flat: float = 0

    def json(self, currency: str) -> dict[str, Any]:
        return {
            "upTo": self.up_to,
            "unitPrice": {"amount": self.unit, "currency": currency},
            "flatPrice": {"amount": self.flat, "currency": currency} if self.flat else None,
        }


@dataclass(frozen=True)
class Price:
    """One recurring charge, as one row of `GET /plans/{id}/charges`: one period and one currency.

    feature: the feature whose units it counts, None for the base charge. amount: for each unit, or each block of
    `block_size` units begun; 0 where `tiers` say what units cost. usage_based: what is used is billed afterwards, so
    nobody says a quantity.
    """

    id: str
    period: Period
    amount: float
    currency: str = "usd"
    feature: str | None = None
    tiers: tuple[Tier, ...] = ()
    tiers_mode: TiersMode = "GRADUATED"
    block_size: int | None = None
    usage_based: bool = False

    @property
    def billing_model(self) -> BillingModel:
        if self.feature is None:
            return "FLAT_FEE"
        return "USAGE_BASED" if self.usage_based else "PER_UNIT"

    def json(self, used: bool) -> dict[str, Any]:
        return {
            "id": self.id,
            "billingCadence": "RECURRING",
            "billingModel": self.billing_model,
            "billingPeriod": self.period,
            "createdAt": stamp(CREATED),
            "billingCountryCode": None,
            "billingId": None,
            "blockSize": self.block_size,
            "creditGrantCadence": None,
            "creditRate": None,
            "crmId": None,
            "crmLinkUrl": None,
            "featureId": self.feature,
            "maxUnitQuantity": None,
            "minUnitQuantity": None,
            "price": None if self.tiers else {"amount": self.amount, "currency": self.currency},
            "tiers": [tier.json(self.currency) for tier in self.tiers] or None,
            "tiersMode": self.tiers_mode if self.tiers else None,
            "topUpCustomCurrencyId": None,
            "usedInSubscriptions": used,
        }


@dataclass(frozen=True)
class Package:
    """What plans and add-ons share."""

    id: str
    display_name: str
    product_id: str
    pricing: PricingType
    prices: tuple[Price, ...] = ()
    entitlements: tuple[Grant, ...] = ()
    description: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    status: PackageStatus = "PUBLISHED"

    def base(self, period: Period, currency: str) -> Price | None:
        """The base charge for a period and currency."""
        wanted = (period, currency, None)
        return next((p for p in self.prices if (p.period, p.currency, p.feature) == wanted), None)

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "billingId": None,
            "createdAt": stamp(CREATED),
            "description": self.description or None,
            "displayName": self.display_name,
            "entitlements": [{"id": grant.id, "type": grant.kind} for grant in self.entitlements],
            "isLatest": True,
            "metadata": dict(self.metadata),
            "pricingType": self.pricing,
            "productId": self.product_id,
            "status": self.status,
            "updatedAt": stamp(PUBLISHED),
            "versionNumber": 0,
        }


@dataclass(frozen=True)
class DefaultTrial:
    """The trial in which a plan's subscriptions start unless told otherwise.

    Source: `defaultTrialConfig` of the SDK's `Plan` ("subscriptions provisioned on this plan without explicit trial
    settings automatically start in trial for the configured duration").
    """

    duration: int
    units: Literal["DAY", "MONTH"] = "DAY"
    end_behavior: TrialEndBehavior = "CONVERT_TO_PAID"

    def json(self) -> dict[str, Any]:
        return {
            "duration": self.duration,
            "units": self.units,
            "budget": None,
            "trialEndBehavior": self.end_behavior,
        }


@dataclass(frozen=True)
class Plan(Package):
    """A plan and the add-ons that may be sold with it. default_trial: None where subscriptions start paid."""

    addons: tuple[str, ...] = ()
    default_trial: DefaultTrial | None = None

    @property
    def unit_feature(self) -> str | None:
        """What the units of a plan are that is sold by the unit: those of its only charge. None for any other plan."""
        models = {price.billing_model for price in self.prices}
        features = {price.feature for price in self.prices}
        return features.pop() if models == {"PER_UNIT"} and len(features) == 1 else None

    def json(self) -> dict[str, Any]:
        trial = self.default_trial
        return {
            **super().json(),
            "compatibleAddonIds": list(self.addons),
            "defaultTrialConfig": trial.json() if trial else None,
            "parentPlanId": None,
        }


@dataclass(frozen=True)
class Addon(Package):
    """An add-on. max_quantity: None for any number. dependencies: add-ons it cannot be sold without."""

    max_quantity: int | None = None
    dependencies: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        more = {"dependencies": list(self.dependencies) or None, "maxQuantity": self.max_quantity}
        return {**super().json(), **more}


@dataclass(frozen=True)
class Product:
    """A product. many_subscriptions: a customer may hold several at once, each with a resource of its own."""

    id: str
    display_name: str
    description: str = ""
    many_subscriptions: bool = False

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "createdAt": stamp(CREATED),
            "description": self.description or None,
            "displayName": self.display_name,
            "metadata": {},
            "multipleSubscriptions": self.many_subscriptions,
            "status": "PUBLISHED",
            "updatedAt": stamp(PUBLISHED),
            "productSettings": {
                "subscriptionCancellationTime": "END_OF_BILLING_PERIOD",
                "subscriptionEndSetup": "CANCEL_SUBSCRIPTION",
                "subscriptionStartSetup": "PLAN_SELECTION",
                "downgradePlanId": None,
                "prorateAtEndOfBillingPeriod": False,
                "subscriptionStartPlanId": None,
            },
        }


@dataclass(frozen=True)
class CreditCurrency:
    """A currency of credits, such as AI credits."""

    id: str
    display_name: str
    units: tuple[str, str]
    symbol: str | None = None
    description: str = ""

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "archivedAt": None,
            "createdAt": stamp(CREATED),
            "description": self.description or None,
            "displayName": self.display_name,
            "metadata": {},
            "symbol": self.symbol,
            "units": {"singular": self.units[0], "plural": self.units[1]},
            "updatedAt": stamp(PUBLISHED),
        }


@dataclass(frozen=True)
class Coupon:
    """A coupon of the catalogue: a share of the price, 0 to 100."""

    id: str
    name: str
    percent_off: int

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "amountsOff": None,
            "billingId": None,
            "billingLinkUrl": None,
            "createdAt": stamp(CREATED),
            "description": None,
            "durationInMonths": None,
            "metadata": {},
            "name": self.name,
            "percentOff": self.percent_off,
            "source": "STIGG",
            "status": "ACTIVE",
            "type": "PERCENTAGE",
            "updatedAt": stamp(PUBLISHED),
        }


@dataclass(frozen=True)
class Catalogue:
    """Everything for sale, by ID."""

    products: dict[str, Product]
    plans: dict[str, Plan]
    addons: dict[str, Addon]
    features: dict[str, Feature]
    currencies: dict[str, CreditCurrency]
    coupons: dict[str, Coupon]
