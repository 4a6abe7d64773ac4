"""Stigg's pricing model in the stand-in, driven by the official SDK: charges, units, tiers, blocks, overrides."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import requests
import stigg

from contract.stigg_client import KEY, Client, post
from sandbox.stigg import Stigg, errors
from sandbox.stigg.charging import cost
from sandbox.stigg.errors import Refused
from sandbox.stigg.packages import Price, Tier

SEATS, DASHBOARDS, CALLS, STORAGE = (
    "feature-seats",
    "feature-dashboards",
    "feature-api-calls",
    "feature-storage-gb",
)
GROWTH = {"customerId": "acme", "planId": "plan-growth", "billingPeriod": "MONTHLY"}
METERED = {"customerId": "acme", "planId": "plan-metered", "billingPeriod": "MONTHLY"}
PER_SEAT = {"customerId": "acme", "planId": "plan-per-seat", "billingPeriod": "MONTHLY"}


def charge(feature: str, quantity: float, **other: Any) -> dict[str, Any]:
    return {"id": feature, "type": "FEATURE", "quantity": quantity, **other}


def total(url: str, body: dict[str, Any]) -> float:
    """What a preview says each period costs."""
    answer = post(url, "/subscriptions/preview", body)
    assert answer.status_code == 200, answer.text
    return float(answer.json()["data"]["recurringInvoice"]["total"])


def test_units_are_sold_changed_in_place_and_shown_nowhere(client: Client, app: Stigg, acme: str) -> None:
    sold = client.v1.subscriptions.provision(
        id="s1",
        customer_id=acme,
        plan_id="plan-growth",
        billing_period="MONTHLY",
        charges=[{"id": SEATS, "type": "FEATURE", "quantity": 5}],
    ).data.subscription
    assert sold is not None
    assert app.entitlements(acme)[SEATS] == 5
    changed = client.v1.subscriptions.update("s1", charges=[{"id": SEATS, "type": "FEATURE", "quantity": 6}]).data
    assert (changed.id, changed.status, app.entitlements(acme)[SEATS]) == ("s1", "ACTIVE", 6)
    assert app.subscription("s1")["charges"] == [charge(SEATS, 6)]
    shown = client.v1.subscriptions.retrieve("s1").data
    assert "quantity" not in shown.model_dump_json().replace('"quantity":null', "")


def test_provisioning_another_time_replaces_what_runs(client: Client, app: Stigg, acme: str) -> None:
    for id, seats in (("five", 5), ("six", 6)):
        app.add_subscription(acme, "plan-growth", id=id, billing_period="MONTHLY", charges=[charge(SEATS, seats)])
    five = client.v1.subscriptions.retrieve("five").data
    assert (five.status, five.cancel_reason) == ("CANCELED", "UPGRADE_OR_DOWNGRADE")
    assert app.entitlements(acme)[SEATS] == 6


def test_a_plan_sold_by_the_unit_takes_a_quantity_of_units(client: Client, app: Stigg, acme: str) -> None:
    client.v1.subscriptions.provision(
        id="s1", customer_id=acme, plan_id="plan-per-seat", billing_period="MONTHLY", unit_quantity=5
    )
    assert app.entitlements(acme)[SEATS] == 5
    client.v1.subscriptions.update("s1", charges=[{"id": SEATS, "type": "FEATURE", "quantity": 7}])
    assert app.entitlements(acme)[SEATS] == 7


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("InvalidQuantity", GROWTH),  # how many seats?
        ("InvalidQuantity", PER_SEAT),
        ("InvalidQuantity", {**METERED, "charges": [charge(CALLS, 1000)]}),  # and dashboards?
        ("PriceNotFound", {**GROWTH, "charges": [charge(SEATS, 5), charge(DASHBOARDS, 5)]}),
        ("PriceNotFound", {**GROWTH, "charges": [charge(SEATS, 5, type="CREDIT")]}),
        ("PriceNotFound", {**GROWTH, "charges": [charge("charge-growth-seats-annually-usd", 5)]}),  # another period's
        ("PriceNotFound", {**GROWTH, "charges": [charge("charge-growth-seats-monthly-eur", 5)]}),  # another currency's
        ("InvalidQuantity", {**GROWTH, "charges": [charge(SEATS, 5), charge("charge-growth-monthly-usd", 2)]}),
        (
            "InvalidQuantity",  # billed by use
            {**METERED, "charges": [charge(CALLS, 1000), charge(DASHBOARDS, 5), charge(STORAGE, 10)]},
        ),
        ("BadUserInput", {**GROWTH, "charges": [charge(SEATS, 5), charge("charge-growth-seats-monthly-usd", 5)]}),
        ("BadUserInput", {**GROWTH, "charges": [{"id": SEATS, "quantity": 5}]}),
        ("BadUserInput", {**GROWTH, "charges": [{"id": SEATS, "type": "FEATURE"}]}),
        ("BadUserInput", {**GROWTH, "charges": [charge(SEATS, -1)]}),
        ("UnsupportedParameter", {**GROWTH, "unitQuantity": 5}),  # it has a base charge too
        ("UnsupportedParameter", {"customerId": "acme", "planId": "plan-enterprise", "unitQuantity": 5}),
        ("BadUserInput", {**PER_SEAT, "unitQuantity": 5, "charges": [charge(SEATS, 5)]}),
    ],
)
def test_charges_that_do_not_fit_the_plan_are_refused_by_provisioning_and_by_its_preview(
    url: str, app: Stigg, code: str, body: dict[str, Any]
) -> None:
    app.add_customer("acme")
    for path in ("/subscriptions", "/subscriptions/preview"):
        answer = post(url, path, body)
        assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    assert app.subscriptions() == []


def test_an_update_replaces_the_charges_and_leaves_none_without_a_quantity(url: str, app: Stigg) -> None:
    app.add_customer("acme")
    app.add_subscription(
        "acme",
        "plan-metered",
        id="s1",
        billing_period="MONTHLY",
        charges=[charge(DASHBOARDS, 5), charge(CALLS, 3000)],
    )

    def patch(body: dict[str, Any]) -> int:
        return requests.patch(
            f"{url}/api/v1/subscriptions/s1", json=body, headers={"X-API-KEY": KEY}, timeout=60
        ).status_code

    assert patch({"charges": []}) == 400
    assert patch({"charges": [charge(DASHBOARDS, 6)]}) == 400
    assert app.subscription("s1")["charges"] == [charge(DASHBOARDS, 5), charge(CALLS, 3000)]
    assert patch({"charges": [charge(DASHBOARDS, 6), charge(CALLS, 0)]}) == 200
    assert app.subscription("s1")["charges"] == [charge(DASHBOARDS, 6), charge(CALLS, 0)]


@pytest.mark.parametrize(
    ("body", "costs"),
    [
        ({**GROWTH, "charges": [charge(SEATS, 5)]}, 300 + 5 * 30),
        ({**GROWTH, "charges": [charge("charge-growth-seats-monthly-usd", 5)]}, 300 + 5 * 30),
        ({**GROWTH, "billableFeatures": [{"featureId": SEATS, "quantity": 5}]}, 300 + 5 * 30),
        ({**GROWTH, "billingPeriod": "ANNUALLY", "charges": [charge(SEATS, 5)]}, 3000 + 5 * 300),
        ({**GROWTH, "charges": [charge(SEATS, 0)]}, 300),
        ({**PER_SEAT, "unitQuantity": 4}, 4 * 25),
        # Ten dashboards at 10, forty at 8, the rest at 5 with 40 once; calls by the thousand.
        ({**METERED, "charges": [charge(DASHBOARDS, 10), charge(CALLS, 0)]}, 100 + 100),
        ({**METERED, "charges": [charge(DASHBOARDS, 11), charge(CALLS, 1)]}, 100 + 108 + 2),
        ({**METERED, "charges": [charge(DASHBOARDS, 60), charge(CALLS, 1000)]}, 100 + 100 + 320 + 50 + 40 + 2),
        ({**METERED, "charges": [charge(DASHBOARDS, 0), charge(CALLS, 1001)]}, 100 + 4),
    ],
)
def test_a_preview_computes_with_units_tiers_and_blocks(
    url: str, app: Stigg, body: dict[str, Any], costs: float
) -> None:
    app.add_customer("acme")
    assert total(url, body) == costs


@pytest.mark.parametrize(("units", "costs"), [(0, 20), (10, 120), (10.5, 89), (11, 92)])
def test_volume_tiers_price_all_units_as_the_tier_that_they_reach(units: float, costs: float) -> None:
    tiers = (Tier(10, 10, flat=20), Tier(None, 6, flat=26))
    assert cost(Price("charge", "MONTHLY", 0, feature=SEATS, tiers=tiers, tiers_mode="VOLUME"), units) == costs


def test_the_lines_of_a_preview_fit_the_sdk(client: Client, acme: str) -> None:
    shown = client.v1.subscriptions.preview(
        customer_id=acme,
        plan_id="plan-metered",
        billing_period="MONTHLY",
        charges=[
            {"id": DASHBOARDS, "type": "FEATURE", "quantity": 12},
            {"id": CALLS, "type": "FEATURE", "quantity": 1500},
        ],
    ).data
    lines = {line.description: (line.quantity, line.sub_total) for line in shown.immediate_invoice.lines or ()}
    assert lines == {"Metered": (1, 100), "Metered: Dashboards": (12, 116), "Metered: API calls": (1500, 4)}


@pytest.mark.parametrize(("currency", "seats"), [("eur", 30), ("jpy", 3000)])
def test_a_customer_is_charged_in_its_currency(url: str, app: Stigg, currency: str, seats: float) -> None:
    app.add_customer("acme", billing_currency=currency)
    body = {**GROWTH, "charges": [charge(SEATS, 1)]}
    assert total(url, body) == 11 * seats
    assert post(url, "/subscriptions", {**METERED, "charges": []}).json()["code"] == "PriceNotFound"


def test_a_charge_of_a_feature_is_overridden_by_amount_tiers_or_block(url: str, app: Stigg) -> None:
    app.add_customer("acme", billing_currency="eur")
    tiers = [
        {"upTo": 10, "unitPrice": {"amount": 9, "currency": "eur"}},
        {"unitPrice": {"amount": 4, "currency": "eur"}},
    ]
    body = {**METERED, "charges": [charge(DASHBOARDS, 5), charge(CALLS, 3000)]}
    overrides: list[dict[str, Any]] = [
        {"baseCharge": True, "amount": 90},
        {"featureId": DASHBOARDS, "tiers": tiers},
        {"featureId": CALLS, "amount": 3, "blockSize": 500},
        {"featureId": STORAGE, "amount": 2},
    ]
    assert post(url, "/subscriptions", {**body, "priceOverrides": overrides[:3]}).json()["code"] == "PriceNotFound"
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("PriceNotFound", {"featureId": SEATS, "amount": 1}),
        ("BadUserInput", {"featureId": STORAGE, "amount": 1, "tiers": tiers}),
        ("BadUserInput", {"featureId": STORAGE, "blockSize": 100}),
        ("BadUserInput", {"featureId": STORAGE, "tiers": tiers[:1]}),
        ("CurrencyMismatch", {"featureId": STORAGE, "tiers": [{"unitPrice": {"amount": 9, "currency": "usd"}}]}),
    ]
    for code, override in wrong:
        refused = post(url, "/subscriptions", {**body, "priceOverrides": [*overrides[:3], override]})
        assert (refused.status_code, refused.json()["code"]) == (400, code), refused.text
    made = post(url, "/subscriptions", {**body, "id": "s1", "priceOverrides": overrides})
    assert made.status_code == 201, made.text
    shown = {price.get("featureId"): price for price in made.json()["data"]["subscription"]["prices"]}
    assert shown[DASHBOARDS]["tiers"] == tiers
    assert shown[CALLS] == {"featureId": CALLS, "amount": 3, "blockSize": 500, "currency": "eur"}


def test_an_update_cannot_say_tiers_and_loses_those_there_are(client: Client, url: str, app: Stigg, acme: str) -> None:
    tiers = [{"unitPrice": {"amount": 4, "currency": "usd"}}]
    app.add_subscription(
        acme,
        "plan-metered",
        id="s1",
        billing_period="MONTHLY",
        charges=[charge(DASHBOARDS, 5), charge(CALLS, 0)],
        price_overrides=[{"featureId": DASHBOARDS, "tiers": tiers}],
    )
    for name, value in (("tiers", tiers), ("blockSize", 10)):
        refused = requests.patch(
            f"{url}/api/v1/subscriptions/s1",
            json={"priceOverrides": [{"featureId": DASHBOARDS, name: value}]},
            headers={"X-API-KEY": KEY},
            timeout=60,
        )
        assert refused.status_code == 400
    client.v1.subscriptions.update("s1", metadata={"a": "b"})
    assert app.subscription("s1")["priceOverrides"] == [{"featureId": DASHBOARDS, "tiers": tiers}]
    client.v1.subscriptions.update("s1", price_overrides=[{"base_charge": True, "amount": 50}])
    assert [price["amount"] for price in app.subscription("s1")["priceOverrides"]] == [50]


def test_an_addon_that_depends_on_another_is_not_sold_without_it(client: Client, app: Stigg, acme: str) -> None:
    domains: Any = {"id": "addon-sso-domains", "quantity": 5}
    wanted: Any = {"id": "s1", "customer_id": acme, "plan_id": "plan-enterprise"}
    too_many: Any = [{**domains, "quantity": 6}, {"id": "addon-audit-log", "quantity": 1}]
    refusals: list[tuple[Any, str]] = [
        ([domains], "AddonDependencyMissingError"),
        (too_many, "AddonQuantityExceedsLimitError"),
    ]
    for addons, code in refusals:
        with pytest.raises(stigg.BadRequestError) as refused:
            client.v1.subscriptions.provision(**wanted, addons=addons)
        assert refused.value.body is not None
        assert refused.value.body["code"] == code  # type: ignore[index]
    client.v1.subscriptions.provision(**wanted, addons=[domains, {"id": "addon-audit-log", "quantity": 1}])
    with pytest.raises(stigg.BadRequestError):
        client.v1.subscriptions.update("s1", addons=[domains])


def test_credits_that_a_plan_includes_come_each_month(client: Client, app: Stigg, acme: str) -> None:
    app.add_subscription(acme, "plan-assistant", id="s1")
    [tokens] = [e for e in client.v1.customers.retrieve_entitlements(acme).data.entitlements if e.type == "CREDIT"]
    assert (tokens.currency.currency_id, tokens.usage_limit) == ("cred-type-tokens", 10_000)


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("UnPublishedPackage", {"planId": "plan-starter"}),
        ("BillingPeriodMissingError", {"planId": "plan-team"}),
        ("IncompatibleSubscriptionAddon", {"addons": [{"id": "addon-legacy-import", "quantity": 1}]}),
        ("DuplicateAddonProvisionedError", {"addons": [{"id": "addon-audit-log", "quantity": 1}] * 2}),
        (
            "CannotAddOverrideEntitlementToPlan",
            {"planId": "plan-free", "entitlements": [{"type": "FEATURE", "id": SEATS, "usageLimit": 1}]},
        ),
        (
            "InvalidEntitlementResetPeriod",
            {"entitlements": [{"type": "FEATURE", "id": SEATS, "usageLimit": 1, "resetPeriod": "MONTH"}]},
        ),
    ],
)
def test_a_refusal_has_stiggs_own_code(url: str, app: Stigg, code: str, body: dict[str, Any]) -> None:
    app.add_customer("acme")
    answer = post(url, "/subscriptions", {"customerId": "acme", "planId": "plan-enterprise", **body})
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_a_code_that_is_nobodys_cannot_be_answered() -> None:
    with pytest.raises(ValueError, match="AddonDependencyMissing is neither"):
        Refused(400, "AddonDependencyMissing", "it needs another one")


def test_every_code_that_the_stand_in_names_is_stiggs_or_known_to_be_ours() -> None:
    places = {"invalid": 1, "refuse": 1, "Refused": 1, "not_found": 0}
    named = set()
    for source in Path(errors.__file__).parent.glob("*.py"):
        for call in ast.walk(ast.parse(source.read_text())):
            place = places.get(call.func.id) if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else None
            if place is None or len(call.args) <= place or not isinstance(call.args[place], ast.Constant):  # type: ignore[attr-defined]
                continue
            word = call.args[place].value  # type: ignore[attr-defined]
            named.add(errors.not_found(word, "").code if place == 0 else word)
    assert "TrialMustBeCancelledImmediately" in named
    assert named <= errors.STIGGS | errors.OURS | set(errors.CODES.values())
