"""What the sandbox's Stigg sells: products, plans, add-ons, features, a credit currency and a coupon.

Plain data, and the JSON Stigg's catalogue endpoints answer for it. Money is in whole units: 49 is 49.00.
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
class Price:
    """One recurring charge. feature: the feature whose units it counts, None for a flat fee."""

    id: str
    period: Period
    amount: float
    currency: str = "usd"
    feature: str | None = None

    def json(self, used: bool) -> dict[str, Any]:
        return {
            "id": self.id,
            "billingCadence": "RECURRING",
            "billingModel": "PER_UNIT" if self.feature else "FLAT_FEE",
            "billingPeriod": self.period,
            "createdAt": stamp(CREATED),
            "billingCountryCode": None,
            "billingId": None,
            "blockSize": None,
            "creditGrantCadence": None,
            "creditRate": None,
            "crmId": None,
            "crmLinkUrl": None,
            "featureId": self.feature,
            "maxUnitQuantity": None,
            "minUnitQuantity": None,
            "price": {"amount": self.amount, "currency": self.currency},
            "tiers": None,
            "tiersMode": None,
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

    def price(self, period: Period, currency: str, feature: str | None = None) -> Price | None:
        """The charge for a period and currency, flat or for a feature's units."""
        wanted = (period, currency, feature)
        return next((p for p in self.prices if (p.period, p.currency, p.feature) == wanted), None)

    def currencies(self) -> set[str]:
        return {price.currency for price in self.prices}

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
class Plan(Package):
    """A plan and the add-ons that may be sold with it."""

    addons: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        more = {"compatibleAddonIds": list(self.addons), "defaultTrialConfig": None, "parentPlanId": None}
        return {**super().json(), **more}


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
    percent_off: float


@dataclass(frozen=True)
class Catalogue:
    """Everything for sale, by ID."""

    products: dict[str, Product]
    plans: dict[str, Plan]
    addons: dict[str, Addon]
    features: dict[str, Feature]
    currencies: dict[str, CreditCurrency]
    coupons: dict[str, Coupon]


def _prices(package: str, monthly: float, annually: float, *currencies: str) -> tuple[Price, ...]:
    both: tuple[tuple[Period, float], ...] = (("MONTHLY", monthly), ("ANNUALLY", annually))
    return tuple(
        Price(f"charge-{package}-{period.lower()}-{currency}", period, amount, currency)
        for currency in currencies or ("usd",)
        for period, amount in both
    )


PLATFORM, ANALYTICS = "product-platform", "product-analytics"
SUPPORT, WORKSPACE, AUDIT, IMPORT, EXPORT = (
    "addon-premium-support",
    "addon-extra-workspace",
    "addon-audit-log",
    "addon-legacy-import",
    "addon-data-export",
)
SEATS, CALLS, STORAGE, SSO, RETENTION, DASHBOARDS, TIER = (
    "feature-seats",
    "feature-api-calls",
    "feature-storage-gb",
    "feature-sso",
    "feature-audit-retention-days",
    "feature-dashboards",
    "feature-support-tier",
)
AI_CREDITS = "currency-ai-credits"

_FEATURES = (
    Feature(SEATS, "Seats", "NUMBER", units=("seat", "seats"), description="People who may sign in"),
    Feature(CALLS, "API calls", "NUMBER", "INCREMENTAL", ("call", "calls"), description="Calls to the public API"),
    Feature(STORAGE, "Storage", "NUMBER", "FLUCTUATING", ("GB", "GB"), description="Files kept in all workspaces"),
    Feature(SSO, "Single sign-on", "BOOLEAN", description="SAML and OpenID Connect"),
    Feature(RETENTION, "Audit log retention", "NUMBER", units=("day", "days")),
    Feature(DASHBOARDS, "Dashboards", "NUMBER", units=("dashboard", "dashboards")),
    Feature(
        TIER,
        "Support tier",
        "ENUM",
        values={"Community": "community", "Standard": "standard", "Premium": "premium"},
    ),
)

_ADDONS = (
    Addon(
        SUPPORT,
        "Premium Support",
        PLATFORM,
        "PAID",
        _prices("premium-support", 500, 5000, "usd", "eur"),
        (Grant(TIER, values=("premium",)),),
        "One hour to the first answer, day and night",
    ),
    Addon(
        WORKSPACE,
        "Extra Workspace",
        PLATFORM,
        "PAID",
        _prices("extra-workspace", 120, 1200, "usd", "eur"),
        (Grant(STORAGE, limit=100, behavior="Increment"),),
        "One more workspace with 100 GB of storage",
    ),
    Addon(
        AUDIT,
        "Audit Log",
        PLATFORM,
        "PAID",
        _prices("audit-log", 200, 2000),
        (Grant(RETENTION, limit=365),),
        "Who did what, kept for a year",
        max_quantity=1,
    ),
    Addon(
        IMPORT,
        "Legacy Import",
        PLATFORM,
        "PAID",
        _prices("legacy-import", 50, 500),
        description="Imports from the first generation's format",
        max_quantity=3,
    ),
    Addon(
        EXPORT,
        "Data Export",
        ANALYTICS,
        "PAID",
        _prices("data-export", 80, 800),
        (Grant(CALLS, limit=100_000, reset_period="MONTH", behavior="Increment"),),
        "Nightly export to the customer's own warehouse",
    ),
)

_ENTERPRISE = (
    Grant(SEATS, limit=50, custom=True),
    Grant(CALLS, limit=1_000_000, reset_period="MONTH", custom=True),
    Grant(STORAGE, limit=500, custom=True),
    Grant(SSO),
    Grant(RETENTION, limit=90, custom=True),
    Grant(TIER, values=("standard",)),
)

_PLANS = (
    Plan(
        "plan-free",
        "Free",
        PLATFORM,
        "FREE",
        entitlements=(
            Grant(SEATS, limit=3),
            Grant(CALLS, limit=1_000, reset_period="MONTH"),
            Grant(STORAGE, limit=1),
            Grant(TIER, values=("community",)),
        ),
        description="To look around",
    ),
    Plan(
        "plan-team",
        "Team",
        PLATFORM,
        "PAID",
        _prices("team", 490, 4900),
        (
            Grant(SEATS, limit=20),
            Grant(CALLS, limit=100_000, reset_period="MONTH"),
            Grant(STORAGE, limit=100),
            Grant(TIER, values=("standard",)),
        ),
        "For one team",
        {"salesforceProductCode": "PLT-TEAM"},
        addons=(SUPPORT, WORKSPACE, IMPORT),
    ),
    Plan(
        "plan-enterprise",
        "Enterprise",
        PLATFORM,
        "CUSTOM",
        entitlements=_ENTERPRISE,
        description="Sold by people, to the customer's measure",
        metadata={"salesforceProductCode": "PLT-ENT"},
        addons=(SUPPORT, WORKSPACE, AUDIT),
    ),
    Plan(
        "plan-enterprise-plus",
        "Enterprise Plus",
        PLATFORM,
        "CUSTOM",
        entitlements=(
            *_ENTERPRISE,
            Grant(AI_CREDITS, "CREDIT", limit=1_000, cadence="MONTH", custom=True),
        ),
        description="Enterprise with AI credits",
        metadata={"salesforceProductCode": "PLT-ENT-PLUS"},
        addons=(SUPPORT, WORKSPACE, AUDIT),
    ),
    Plan("plan-starter", "Starter", PLATFORM, "PAID", _prices("starter", 90, 900), status="ARCHIVED"),
    Plan(
        "plan-analytics",
        "Analytics",
        ANALYTICS,
        "CUSTOM",
        entitlements=(Grant(DASHBOARDS, limit=25, custom=True), Grant(SEATS, limit=10, custom=True)),
        description="Analytics to the customer's measure",
        metadata={"salesforceProductCode": "ANL"},
        addons=(EXPORT,),
    ),
    Plan(
        "plan-analytics-pro",
        "Analytics Pro",
        ANALYTICS,
        "PAID",
        (
            *_prices("analytics-pro", 190, 1900),
            Price("charge-analytics-pro-dashboards-monthly-usd", "MONTHLY", 9, feature=DASHBOARDS),
            Price("charge-analytics-pro-dashboards-annually-usd", "ANNUALLY", 90, feature=DASHBOARDS),
        ),
        (Grant(DASHBOARDS, limit=10), Grant(SEATS, limit=5)),
        "Analytics for one team; dashboards beyond the first ten by the piece",
        {"salesforceProductCode": "ANL-PRO"},
        addons=(EXPORT,),
    ),
)


def sandbox_catalogue() -> Catalogue:
    """The catalogue that the sandbox, the demo and the tests share."""
    return Catalogue(
        products={
            product.id: product
            for product in (
                Product(PLATFORM, "Platform", "Workspaces, API and storage"),
                Product(ANALYTICS, "Analytics", "Dashboards over the platform's data"),
            )
        },
        plans={plan.id: plan for plan in _PLANS},
        addons={addon.id: addon for addon in _ADDONS},
        features={feature.id: feature for feature in _FEATURES},
        currencies={
            AI_CREDITS: CreditCurrency(
                AI_CREDITS, "AI credits", ("credit", "credits"), description="Spent by the assistant"
            )
        },
        coupons={"coupon-partner-20": Coupon("coupon-partner-20", "Partner discount", 20)},
    )
