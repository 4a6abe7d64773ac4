"""What the sandbox's Stigg sells. Money is in whole units: 49 is 49.00.

Plans, add-ons and features are added, never changed: stories and benchmarks name them.
"""

from __future__ import annotations

from collections.abc import Iterator

from .packages import (
    Addon,
    Catalogue,
    Coupon,
    CreditCurrency,
    DefaultTrial,
    Feature,
    Grant,
    Period,
    Plan,
    Price,
    Product,
    Tier,
)

_PERIODS: tuple[Period, ...] = ("MONTHLY", "ANNUALLY")


def _prices(package: str, monthly: float, annually: float, *currencies: str) -> tuple[Price, ...]:
    """A base charge: the same amounts in each currency."""
    return tuple(
        Price(f"charge-{package}-{period.lower()}-{currency}", period, amount, currency)
        for currency in currencies or ("usd",)
        for period, amount in zip(_PERIODS, (monthly, annually), strict=True)
    )


def _worldwide(package: str, monthly: float, annually: float, feature: str | None = None) -> tuple[Price, ...]:
    """A charge in dollars, euros and, at a hundred times the amount, yen. feature: whose units it counts."""
    name = package if feature is None else f"{package}-{feature.removeprefix('feature-')}"
    return tuple(
        Price(f"charge-{name}-{period.lower()}-{currency}", period, amount * times, currency, feature)
        for currency, times in (("usd", 1), ("eur", 1), ("jpy", 100))
        for period, amount in zip(_PERIODS, (monthly, annually), strict=True)
    )


def _metered() -> Iterator[Price]:
    """What the metered plan charges besides its base: tiers of dashboards, blocks of calls, storage by use."""
    for period, months in zip(_PERIODS, (1, 10), strict=True):
        at = f"{period.lower()}-usd"
        tiers = (Tier(10, 10 * months), Tier(50, 8 * months), Tier(None, 5 * months, flat=40 * months))
        yield Price(f"charge-metered-dashboards-{at}", period, 0, feature=DASHBOARDS, tiers=tiers)
        yield Price(f"charge-metered-api-calls-{at}", period, 2 * months, feature=CALLS, block_size=1000)
        yield Price(f"charge-metered-storage-gb-{at}", period, months, feature=STORAGE, usage_based=True)


PLATFORM, ANALYTICS = "product-platform", "product-analytics"
SUPPORT, WORKSPACE, AUDIT, IMPORT, EXPORT, DOMAINS = (
    "addon-premium-support",
    "addon-extra-workspace",
    "addon-audit-log",
    "addon-legacy-import",
    "addon-data-export",
    "addon-sso-domains",
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
AI_CREDITS, TOKENS = "currency-ai-credits", "cred-type-tokens"

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
    Addon(
        DOMAINS,
        "SSO Domains",
        PLATFORM,
        "PAID",
        _prices("sso-domains", 30, 300, "usd", "eur"),
        description="Another domain whose people sign in once",
        max_quantity=5,
        dependencies=(AUDIT,),
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
        addons=(SUPPORT, WORKSPACE, AUDIT, DOMAINS),
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
        addons=(SUPPORT, WORKSPACE, AUDIT, DOMAINS),
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
    Plan(
        "plan-growth",
        "Growth",
        PLATFORM,
        "PAID",
        (*_worldwide("growth", 300, 3000), *_worldwide("growth", 30, 300, SEATS)),
        (Grant(SEATS), Grant(CALLS, limit=200_000, reset_period="MONTH"), Grant(STORAGE, limit=200)),
        "A base price and a price for each seat",
        {"salesforceProductCode": "PLT-GROWTH"},
        addons=(SUPPORT, WORKSPACE),
    ),
    Plan(
        "plan-per-seat",
        "Per Seat",
        PLATFORM,
        "PAID",
        tuple(
            Price(f"charge-per-seat-seats-{period.lower()}-{currency}", period, amount, currency, SEATS)
            for currency in ("usd", "eur")
            for period, amount in zip(_PERIODS, (25, 250), strict=True)
        ),
        (Grant(SEATS), Grant(STORAGE, limit=50)),
        "Nothing but a price for each seat",
        {"salesforceProductCode": "PLT-SEAT"},
    ),
    Plan(
        "plan-pilot",
        "Pilot",
        PLATFORM,
        "PAID",
        _worldwide("pilot", 200, 2000),
        (Grant(SEATS, limit=15), Grant(CALLS, limit=50_000, reset_period="MONTH")),
        "Two weeks for nothing, then a price",
        {"salesforceProductCode": "PLT-PILOT"},
        default_trial=DefaultTrial(14),
    ),
    Plan(
        "plan-metered",
        "Metered",
        ANALYTICS,
        "PAID",
        (*_prices("metered", 100, 1000), *_metered()),
        (Grant(DASHBOARDS), Grant(CALLS, reset_period="MONTH"), Grant(STORAGE, unlimited=True)),
        "Dashboards in tiers, calls in blocks, storage by use",
        {"salesforceProductCode": "ANL-METERED"},
    ),
    Plan(
        "plan-assistant",
        "Assistant",
        ANALYTICS,
        "CUSTOM",
        entitlements=(
            Grant(SEATS, limit=10, custom=True),
            Grant(TOKENS, "CREDIT", limit=10_000, cadence="MONTH"),
        ),
        description="The assistant, with tokens each month",
        metadata={"salesforceProductCode": "ANL-ASSIST"},
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
            ),
            TOKENS: CreditCurrency(TOKENS, "Tokens", ("token", "tokens"), description="Read and written by models"),
        },
        coupons={"coupon-partner-20": Coupon("coupon-partner-20", "Partner discount", 20)},
    )
