"""Units that a plan charges: what becomes of them in the plan, in Stigg's bodies, and in what stood before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from closedwon.domain.changes import Create, Update
from closedwon.domain.codes import Facts, approval_of
from closedwon.domain.comparison import read_differently
from closedwon.domain.desired import Entitlement, Price, Subscription
from closedwon.domain.records import SlotRecord
from closedwon.stigg.bodies import provision_body, update_body
from unit.domain import CALLS, SEATS, Json, an_order, entitlement, folded, only, plan
from unit.test_plan import CUSTOMER, LINKS, SLOT, live, settled, stigg

DASHBOARDS = "feature-dashboards"
GROWTH = plan("plan-growth")


def growing(quantity: int | None, **more: Any) -> Json:
    return entitlement(SEATS, quantity, **more)


def sold(*lines: Json, **more: Any) -> Subscription:
    return only(folded(an_order(*lines, **more)))


def charge(feature: str, quantity: int) -> Json:
    return {"id": feature, "type": "FEATURE", "quantity": quantity}


def test_seats_that_the_plan_charges_are_charges_with_a_price_of_their_own() -> None:
    wanted = sold(GROWTH, growing(20, price=250))
    assert (wanted.charges, wanted.entitlements, wanted.unit_quantity) == (((SEATS, 20),), (), 1)
    assert wanted.prices == (Price(None, 250, "usd", SEATS),)
    body = provision_body(CUSTOMER, Create(wanted, 1), LINKS, paid=True)
    assert body["charges"] == [charge(SEATS, 20)]
    assert body["priceOverrides"] == [{"featureId": SEATS, "amount": 250, "currency": "usd"}]
    assert "unitQuantity" not in body


def test_what_the_plan_charges_and_no_deal_gives_is_none() -> None:
    body = provision_body(CUSTOMER, Create(sold(GROWTH), 1), LINKS, paid=True)
    assert body["charges"] == [charge(SEATS, 0)]
    assert sold(GROWTH).charges == ()


def test_a_change_of_seats_is_one_update_of_nothing_else() -> None:
    world = settled(an_order(GROWTH, growing(20)))
    more = folded(an_order(GROWTH, growing(25)))
    [update] = world.plan(more).changes
    assert isinstance(update, Update)
    assert update.aspects == ("charges",)
    assert update_body(update, LINKS).keys() == {"charges", "metadata", "salesforceId", "scheduleStrategy"}
    assert update_body(update, LINKS)["charges"] == [charge(SEATS, 25)]
    world.apply(world.plan(more))
    assert world.plan(more).empty
    assert live(world) == {update.subscription_id}


def test_seats_that_go_are_said_to_be_none() -> None:
    world = settled(an_order(GROWTH, growing(20)))
    [update] = world.plan(folded(an_order(GROWTH))).changes
    assert isinstance(update, Update)
    assert update_body(update, LINKS)["charges"] == [charge(SEATS, 0)]


def test_the_units_of_a_plan_that_is_sold_by_the_unit_change_in_place() -> None:
    first = sold(plan("plan-per-seat", 5, price=200))
    assert (first.unit_quantity, first.charges, first.prices) == (5, (), (Price(None, 200, "usd", SEATS),))
    body = provision_body(CUSTOMER, Create(first, 1), LINKS, paid=True)
    assert body["unitQuantity"] == 5
    assert "charges" not in body
    world = settled(an_order(plan("plan-per-seat", 5)))
    more = folded(an_order(plan("plan-per-seat", 6)))
    [update] = world.plan(more).changes
    assert isinstance(update, Update)
    assert update_body(update, LINKS)["charges"] == [charge(SEATS, 6)]
    world.apply(world.plan(more))
    assert world.plan(more).empty


def test_where_nobody_knows_what_was_written_the_quantity_is_written_again() -> None:
    world = settled(an_order(GROWTH, growing(20)))
    world.records = {}
    [standing] = world.subscriptions.values()
    standing["metadata"].pop("closedWonTerms")
    [update] = world.plan(folded(an_order(GROWTH, growing(20)))).changes
    assert isinstance(update, Update)
    assert {"charges", "terms"} <= {*update.aspects}


@pytest.mark.parametrize(("seats", "price", "held"), [(25, 250, False), (20, 240, True)])
def test_a_price_in_tiers_that_somebody_set_is_never_patched_away(seats: int, price: int, held: bool) -> None:
    world = settled(an_order(GROWTH, growing(20, price=250)))
    [standing] = world.subscriptions.values()
    tiers = [{"unitPrice": {"amount": 3, "currency": "usd"}}]
    standing["prices"].append({"addonId": "addon-premium-support", "tiers": tiers, "currency": "usd"})
    todo = world.plan(folded(an_order(GROWTH, growing(seats, price=price))))
    assert [hold.reason.code for hold in todo.holds] == (["tiered_override"] if held else [])
    assert [change.aspects for change in todo.changes if isinstance(change, Update)] == ([] if held else [("charges",)])


# What an earlier version sold otherwise


def as_before(wanted: Subscription, quantity: int) -> Subscription:
    """As the version before sold seats: an entitlement of a plan that charges them."""
    limit = Entitlement("FEATURE", SEATS, limit=quantity)
    return replace(wanted, entitlements=(limit,), charges=(), charged=(), prices=())


def test_seats_that_stand_as_an_entitlement_wait_for_an_approval_of_both_values() -> None:
    deals = folded(an_order(GROWTH, growing(20)))
    world = settled(an_order(GROWTH, growing(20)))
    before = as_before(only(deals), 20)
    [standing] = world.subscriptions.values()
    standing["metadata"]["closedWonTerms"] = before.fingerprint
    standing["subscriptionEntitlements"] = [{"id": SEATS, "type": "FEATURE"}]
    standing["prices"] = []
    world.records[SLOT] = replace(world.records[SLOT], applied=before, told=None)
    todo = world.plan(deals)
    assert not todo.changes
    [hold] = todo.holds
    assert (hold.reason.code, hold.approval) == ("read_differently", approval_of(hold.reason))
    assert hold.reason.facts["before"] == Facts({SEATS: "20"})
    assert hold.reason.facts["after"] == Facts({f"charged {SEATS}": 20})
    approved = world.plan(deals, approved={hold.approval or ""})
    [update] = approved.changes
    assert isinstance(update, Update)
    assert update_body(update, LINKS)["charges"] == [charge(SEATS, 20)]
    assert update_body(update, LINKS)["entitlements"] == []


def test_units_that_stand_on_a_plan_without_unit_pricing_are_never_replaced() -> None:
    deals = folded(an_order(plan("plan-team", price=4500)))
    world = settled(an_order(plan("plan-team", price=4500)))
    before = replace(only(deals), unit_quantity=3, prices=(Price(None, 1500, "usd"),))
    [standing] = world.subscriptions.values()
    standing["metadata"]["closedWonTerms"] = before.fingerprint
    standing["prices"] = [{"baseCharge": True, "amount": 1500, "currency": "usd"}]
    for records in ({SLOT: replace(world.records[SLOT], applied=before, told=None)}, {}):
        world.records = records
        [hold] = world.plan(deals).holds
        assert hold.reason.code == "read_differently"
        before_and_after = (hold.reason.facts["before"], hold.reason.facts["after"])
        assert [one["units"] for one in before_and_after if isinstance(one, Facts)] == [3, 1]
        changes = world.plan(deals, approved={hold.approval or ""}).changes
        assert [type(change) for change in changes] == [Update]


def test_what_is_sold_as_it_was_is_read_as_it_was() -> None:
    wanted = sold(plan(), entitlement(SEATS, 20))
    world = settled(an_order(plan(), entitlement(SEATS, 20)))
    [actual] = world.actual
    assert read_differently(wanted, actual, None) is None
    assert read_differently(wanted, actual, wanted) is None


# What is stored


def test_what_has_no_charges_is_stored_and_marked_as_before() -> None:
    wanted = sold(plan(price=48000), entitlement(SEATS, 20))
    assert not {"charges", "charged", "unit_feature"} & wanted.to_json().keys()
    assert [*wanted.to_json()["prices"][0]] == ["addon_id", "amount", "currency"]
    assert replace(wanted, charges=((SEATS, 1),)).fingerprint != wanted.fingerprint
    assert replace(wanted, charged=(SEATS,)).fingerprint == wanted.fingerprint


def test_charges_come_back_from_the_ledger() -> None:
    record = SlotRecord(applied=sold(GROWTH, growing(20, price=250)))
    assert SlotRecord.from_json(record.to_json()).applied == record.applied


# What a deal may say


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (growing(None, unlimited=True), "unlimited"),
        (growing(5, softLimit=True), "softLimit"),
        (growing(5, resetPeriod="MONTH"), "resetPeriod"),
    ],
)
def test_units_have_no_limit_to_be_soft_or_reset(line: Json, field: str) -> None:
    [problems] = folded(an_order(GROWTH, line)).refused.values()
    assert [(problem.line, problem.field) for problem in problems] == [(2, field)]


def test_a_priced_line_belongs_to_the_plan_that_charges_it() -> None:
    both = folded(an_order(GROWTH, plan("plan-analytics"), growing(5, price=250))).subscriptions
    assert {one.plan_id: one.charges for one in both.values()} == {
        "plan-growth": ((SEATS, 5),),
        "plan-analytics": (),
    }


def test_calls_of_a_plan_that_does_not_charge_them_stay_entitlements() -> None:
    wanted = sold(GROWTH, growing(5), entitlement(CALLS, 1000, planId="plan-growth"))
    assert [one.id for one in wanted.entitlements] == [CALLS]
    assert stigg().plan(folded(an_order(GROWTH, growing(5)))).changes
