"""A customer's currency is said to Stigg with the first subscription that is made for a deal that asks for money."""

from __future__ import annotations

from closedwon.domain.planned import currency_to_say
from unit.domain import Json, at_noon, plan, renewed, won
from unit.world import World


def said(world: World) -> str | None:
    """What Stigg is told of the currency when what is due now is provisioned."""
    return currency_to_say(world.customer, world.planned())


def world_with(*deals: Json) -> World:
    """A customer to whom these deals were provisioned, one after the other."""
    world = World(now=at_noon("2027-02-01"))
    for deal in deals:
        world.send(deal)
        world.provision()
    return world


def arriving(world: World, deal: Json) -> World:
    world.send(deal)
    return world


def test_it_is_said_with_the_first_deal_that_asks_for_money() -> None:
    priced = won(1, plan(price=48000), start="2027-01-01", end="2027-12-31", currency="JPY")
    free = won(2, plan("plan-analytics"), start="2027-01-01", end="2027-12-31", currency="JPY")
    assert said(arriving(world_with(), priced)) == "jpy"
    assert said(arriving(world_with(), free)) is None
    assert said(arriving(world_with(free), priced)) == "jpy"


def test_what_runs_and_asks_for_money_was_sold_before_it_was_said() -> None:
    priced = won(1, plan(price=48000), start="2027-01-01", end="2027-12-31")
    assert said(arriving(world_with(priced), won(2, plan("plan-analytics", price=900), start="2027-01-01"))) is None


def test_a_deal_that_was_renewed_before_it_came_said_nothing() -> None:
    """Its renewal asks for no money and stands; the deal itself asks, and nothing was ever made for it."""
    renewal = renewed(2, plan(), of=1, start="2027-01-15", end="2027-12-31", currency="JPY")
    base = won(1, plan(price=48000), start="2026-01-15", end="2027-01-14", currency="JPY")
    later = won(3, plan("plan-analytics", price=900), start="2027-02-01", end="2027-12-31", currency="JPY")
    assert said(arriving(world_with(renewal, base), later)) == "jpy"
