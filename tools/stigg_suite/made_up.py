"""The site that the SDK's tests are written for: a catalogue and records by the IDs that they name.

The tests were made from the API's description and call everything ``x``, ``id`` or after its field. The stand-in knows
nobody of these names, so they are put there as anybody else would be, under its own rules; its rules stay as they are.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from stigg import Stigg
from stigg.types.v1.customers.promotional_entitlement_create_params import PromotionalEntitlement

from sandbox.stand_in import StandIn
from sandbox.stigg.packages import Addon, Catalogue, Coupon, CreditCurrency, Feature, Grant, Plan, Price, Product

from .run import API_KEY, Overheard, Site

NOW = datetime(2019, 12, 1, 9, 0, tzinfo=UTC)
"""The tests' dates are 2019-12-27; whoever sends them means a day that is still to come."""

CUSTOMERS = ("x", "id", "customerId", "payingCustomerId", "targetCustomerId")
PRODUCTS = ("x", "productId")
ADDONS = ("x", "id", "addonId")
FEATURES = ("x", "id", "featureId", "compute-minutes")
CURRENCIES = ("x", "currencyId", "cred-type-tokens")
COUPONS = ("x", "couponId")
PROMOTION: PromotionalEntitlement = {
    "feature_id": "featureId",
    "period": "lifetime",
    "usage_limit": 1,
    "custom_end_date": None,
    "enum_values": None,
    "has_soft_limit": None,
    "has_unlimited_usage": None,
    "is_visible": None,
    "monthly_reset_period_configuration": None,
    "reset_period": None,
    "weekly_reset_period_configuration": None,
    "yearly_reset_period_configuration": None,
}
CUSTOM = "custom"
"""A plan that no test names, for the subscription that one links to a contract."""


def catalogue() -> Catalogue:
    """What is for sale: paid plans by the month and a custom one, with everything that the tests name."""
    price = Price("charge-monthly", "MONTHLY", 10)
    grants = tuple(Grant(id, limit=10) for id in FEATURES)
    return Catalogue(
        products={id: Product(id, "A product") for id in PRODUCTS},
        plans={
            "x": Plan("x", "A plan", "x", "PAID", (price,), grants, addons=ADDONS),
            "planId": Plan("planId", "A plan", "productId", "PAID", (price,), grants, addons=ADDONS),
            CUSTOM: Plan(CUSTOM, "A plan", "x", "CUSTOM"),
        },
        addons={id: Addon(id, "An add-on", "productId", "PAID", (price,), (Grant("id", limit=1),)) for id in ADDONS},
        features={id: Feature(id, "A feature", "NUMBER", "INCREMENTAL", ("unit", "units")) for id in FEATURES},
        currencies={id: CreditCurrency(id, "A currency", ("credit", "credits")) for id in CURRENCIES},
        coupons={id: Coupon(id, "A coupon", 10) for id in COUPONS},
    )


def stand_in() -> Overheard:
    """A stand-in that sells what the tests name, on a day before those that they name. Nobody is a customer yet."""
    return Overheard(API_KEY, False, now=lambda: NOW, catalogue=catalogue())


def site() -> Site:
    """The records that the tests name, made by a stand-in itself."""
    usual = _records()
    special = {"v1.customers.unarchive": _records(archive="x")}
    return lambda operation: special.get(operation, usual)


def _records(archive: str | None = None) -> list[dict[str, Any]]:
    """Customers, subscriptions, a contract and more, as the stand-in keeps them. archive: a customer's ID."""
    app = stand_in()
    for id in CUSTOMERS:
        app.add_customer(id, name="Somebody", email="somebody@customer.example")
    app.add_subscription("customerId", "planId", id="x", billing_period="MONTHLY", payment_collection_method="INVOICE")
    app.change_subscription("x", metadata={"later": "yes"}, schedule_strategy="END_OF_BILLING_PERIOD")
    app.add_subscription("customerId", CUSTOM, id="NxI")
    with StandIn(app) as served, Stigg(api_key=API_KEY, base_url=served.url, max_retries=0) as client:
        api = client.v1
        api.customers.payment_method.attach(
            "x", integration_id="integrationId", payment_method_id="card", vendor_identifier="STRIPE"
        )
        api.customers.integrations.link(
            "id", body_id="integrationId", synced_entity_id="cus_1", vendor_identifier="STRIPE"
        )
        api.customers.promotional_entitlements.create("id", promotional_entitlements=[PROMOTION])
        api.contracts.create(customer_id="customerId", contract_id="x", setup_billing=False)
        grant = api.credits.grants.create(
            customer_id="customerId",
            currency_id="currencyId",
            amount=1,
            display_name="Credits",
            grant_type="PROMOTIONAL",
        )
        if archive is not None:
            api.customers.archive(archive)
    return [record | {"id": "x"} if record["id"] == grant.data.id else record for record in app.kept()]
