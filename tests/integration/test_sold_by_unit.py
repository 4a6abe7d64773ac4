"""Units that a plan charges, through the running system: sold, changed in place, renewed, read from Salesforce."""

from __future__ import annotations

import json
from typing import Any

import pytest

from integration.scenes import House, Json, limits, opportunity_of, provision, sell, status, subscriptions
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox


@pytest.fixture(params=["in process", pytest.param("sandbox", marks=pytest.mark.long)])
def house(request: pytest.FixtureRequest) -> House:
    """In this process; `make prove` plays the same through the sandbox."""
    return request.getfixturevalue(str(request.param).replace(" ", "_"))  # type: ignore[no-any-return]


SEATS, DASHBOARDS = "feature-seats", "feature-dashboards"
ANNUAL = {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE"}
SUBSCRIPTIONS = "/api/v1/subscriptions"


def more(house: House, account: str, base: Json, *sold: Sold, **terms: Any) -> Json:
    """Win an amendment of a deal: differences."""
    of = opportunity_of(base)
    return sell(house, account, *sold, terms=terms, trigger="amendment", amends=of, quantities="differences")


def calls(house: House, *deals: Json) -> list[str]:
    """Provision deals. Out: the calls to Stigg and Salesforce."""
    seen = len(house.stigg_server.exchanges), len(house.salesforce_server.exchanges)
    provision(house, *deals)
    made = [*house.stigg_server.exchanges[seen[0] :], *house.salesforce_server.exchanges[seen[1] :]]
    return [f"{one.method} {one.path}" for one in made]


def says(house: House, deal: Json) -> tuple[str, str]:
    """Status and code of a deal."""
    told = status(house, deal)
    return told["status"], told["code"]


def last(house: House, method: str, path: str) -> Json:
    """The body of the last such request to Stigg."""
    body: Json = json.loads(house.stigg_server.asked(method, path)[-1].body)
    return body


def units(subscription: Json) -> dict[str, int]:
    return {charge["id"]: charge["quantity"] for charge in subscription["charges"]}


def prices(subscription: Json) -> dict[str, float]:
    return {p.get("featureId") or p.get("addonId") or "plan": p["amount"] for p in subscription["priceOverrides"]}


def test_seats_are_sold_and_changed_in_place_with_one_call_that_writes_to_stigg(house: House) -> None:
    first = house.sales.account("Northwind Traders")
    provision(house, sell(house, first, Sold("plan-growth"), Sold(SEATS, 3), terms=ANNUAL))  # the catalogue is kept
    account = house.sales.account("Southridge Video")
    base = sell(house, account, Sold("plan-growth"), Sold(SEATS, 20, price=250), terms=ANNUAL)
    assert len(calls(house, base)) <= 5
    [made] = subscriptions(house, account)
    assert (units(made), prices(made), limits(made)) == ({SEATS: 20}, {SEATS: 250}, {})

    change = more(house, account, base, Sold(SEATS, 5, price=220))
    asked = calls(house, change)
    assert len(asked) <= 4
    assert [one for one in asked if SUBSCRIPTIONS in one and not one.startswith("GET")] == [
        f"PATCH {SUBSCRIPTIONS}/{made['id']}"
    ]
    [changed] = subscriptions(house, account, live=False)
    assert changed["id"] == made["id"]
    assert (units(changed), prices(changed)) == ({SEATS: 25}, {SEATS: 244})
    assert (says(house, base), says(house, change)) == (("Provisioned", ""), ("Provisioned", ""))

    seats_alone = calls(house, more(house, account, base, Sold(SEATS, 5)))
    assert len(seats_alone) <= 4
    written = last(house, "PATCH", f"{SUBSCRIPTIONS}/.*")
    assert written.keys() == {"charges", "priceOverrides", "metadata", "salesforceId", "scheduleStrategy"}
    assert units(subscriptions(house, account)[0]) == {SEATS: 30}


def test_of_two_plans_only_the_one_that_charges_a_feature_sells_units_of_it(house: House) -> None:
    account = house.sales.account("Northwind Traders")
    deal = sell(
        house,
        account,
        Sold("plan-enterprise", 1, 48000),
        Sold("plan-analytics-pro"),
        Sold(DASHBOARDS, 15),
        terms=ANNUAL,
    )
    provision(house, deal)
    by_plan = {one["planId"]: one for one in subscriptions(house, account)}
    assert units(by_plan["plan-analytics-pro"]) == {DASHBOARDS: 15}
    assert units(by_plan["plan-enterprise"]) == {}


@pytest.mark.long
def test_what_the_catalogue_does_not_sell_is_previewed_and_failed_by_the_same_code(sandbox: Sandbox) -> None:
    house = sandbox
    account = house.sales.account("Northwind Traders")
    deal = sell(house, account, Sold("plan-enterprise"), Sold(SEATS, 20, price=30), terms=ANNUAL)
    [answer] = house.preview(deal).json()["results"]
    assert answer["status"] == "invalid"
    assert "does not charge feature-seats by the unit" in str(answer["errors"])
    provision(house, deal)
    assert says(house, deal) == ("Failed", "not_charged_by_unit")
    assert subscriptions(house, account) == []


@pytest.mark.long
def test_a_preview_says_the_units_and_asks_stigg_with_them(sandbox: Sandbox) -> None:
    house = sandbox
    account = house.sales.account("Northwind Traders")
    base = sell(house, account, Sold("plan-growth"), Sold(SEATS, 20, price=250), terms=ANNUAL)
    provision(house, base)
    [answer] = house.preview(more(house, account, base, Sold(SEATS, 5, price=250))).json()["results"]
    assert answer["status"] == "ok"
    [update] = [change for change in answer["changes"] if change["action"] == "update"]
    assert update["charges"] == [{"featureId": SEATS, "quantity": 25}]
    asked = last(house, "POST", f"{SUBSCRIPTIONS}/preview")
    assert asked["charges"] == [{"id": SEATS, "type": "FEATURE", "quantity": 25}]
    assert "feature-seats 20 -> 25" in " ".join(answer["summary"])
    [charged] = answer["charges"]
    assert (charged["before"]["agreed"], charged["after"]["agreed"]) == (5000, 6250)


def test_credits_that_come_with_a_plan_are_sold_by_a_line_that_sends_nothing(house: House) -> None:
    account = house.sales.account("Northwind Traders")
    deal = sell(house, account, Sold("plan-assistant"), Sold("cred-type-tokens", 10_000), terms=ANNUAL)
    provision(house, deal)
    assert says(house, deal) == ("Provisioned", "")
    [made] = subscriptions(house, account)
    assert (made["entitlements"], made["charges"]) == ([], [])
    other = house.sales.account("Southridge Video")
    wrong = sell(house, other, Sold("plan-assistant"), Sold("cred-type-tokens", 5_000), terms=ANNUAL)
    provision(house, wrong)
    assert says(house, wrong) == ("Failed", "included_credits_differ")
    assert "10,000 cred-type-tokens each month, and the line says 5,000" in status(house, wrong)["reason"]
