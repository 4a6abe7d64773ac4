"""The upgrade from the first version: what its rules made stays until something comes, or somebody approves the change.

The first version's ledger is one in which `rules` is 1 and a slot holds what these rules would not make.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from closedwon.domain.customer import RULES
from closedwon.domain.desired import Subscription
from unit.domain import SEATS, amended, at_noon, entitlement, opportunity_id, plan, won
from unit.world import World

SOLD = won(1, plan(price=48000), entitlement(SEATS, 100), start="2026-11-01", end=None, saved="2026-11-01")
KEY = "product-platform|"


def upgraded(*more: Any, seats: int = 80) -> World:
    """A customer to whom the first version gave fewer seats than these rules read in its deals."""
    world = World(now=at_noon("2026-11-02"))
    world.send(SOLD, *more)
    world.provision()
    record = world.customer.slots[KEY]
    assert record.applied is not None
    [given] = record.applied.entitlements
    told: Subscription = replace(record.applied, entitlements=(replace(given, limit=seats),))
    world.customer = replace(world.customer, rules=1, slots={KEY: replace(record, applied=told)})
    held = world.stigg.book.subscriptions[record.subscription_id or ""]
    held.entitlements = [{**one, "usageLimit": seats} for one in held.entitlements]
    held.metadata["closedWonTerms"] = told.fingerprint
    return world


def looked_at(world: World, day: str) -> World:
    """Some other day, for no reason of any deal."""
    world.now = at_noon(day)
    world.stigg.catch_up(world._clock)
    world.customer = replace(world.customer, look_again_at=world.now)
    world.provision()
    return world


def seats(world: World) -> str:
    [line] = world.access()
    return line.partition(", ")[2]


def code(world: World, number: int = 1) -> str:
    return world.customer.opportunities[opportunity_id(number)].outcome.code


def test_by_itself_it_changes_nothing_however_often_it_is_looked_at() -> None:
    world = looked_at(upgraded(), "2026-11-10")
    for day in ("2026-11-11", "2026-12-24"):
        assert (seats(world), code(world)) == ("80 seats", "changed_by_upgrade")
        assert (world.customer.rules, world.customer.slots[KEY].upgrades) == (RULES, True)
        looked_at(world, day)


def test_once_it_is_approved_it_is_made() -> None:
    world = looked_at(upgraded(), "2026-11-10")
    world.approve(1)
    assert (seats(world), code(world)) == ("100 seats", "")
    assert not world.customer.slots[KEY].upgrades
    assert world.customer.approved == ()


def test_a_new_reading_of_its_deals_makes_it() -> None:
    world = looked_at(upgraded(), "2026-11-10")
    world.send(amended(2, entitlement(SEATS, 5), of=1, saved="2026-11-10"))
    world.provision()
    assert (seats(world), code(world)) == ("105 seats", "")


def test_a_deal_that_is_held_itself_does_not() -> None:
    world = looked_at(upgraded(), "2026-11-10")
    world.send(amended(2, entitlement(SEATS, -500), of=1, saved="2026-11-10"))
    world.provision()
    assert (seats(world), code(world), code(world, 2)) == ("80 seats", "changed_by_upgrade", "below_zero")


def test_a_date_of_its_deals_makes_it() -> None:
    world = upgraded(amended(2, entitlement(SEATS, 5), of=1, start="2026-11-20", saved="2026-11-01"))
    looked_at(world, "2026-11-10")
    assert seats(world) == "80 seats"
    world.until(at_noon("2026-11-21"))
    assert (seats(world), code(world)) == ("105 seats", "")


def test_a_date_that_came_before_anybody_looked_is_no_upgrade() -> None:
    world = upgraded(amended(2, entitlement(SEATS, 5), of=1, start="2026-11-20", saved="2026-11-01"), seats=100)
    world.until(at_noon("2026-11-21"))
    assert (seats(world), code(world)) == ("105 seats", "")


def test_what_these_rules_made_is_theirs() -> None:
    world = upgraded(seats=100)
    world.customer = replace(world.customer, rules=RULES)
    assert not world.planned().plan.holds
