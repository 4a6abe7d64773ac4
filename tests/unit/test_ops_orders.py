"""The story of a deal's orders: who lowered what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from closedwon.domain.identifiers import AccountId, OpportunityId
from closedwon.domain.instants import from_iso
from closedwon.domain.order import Item, Order, Problem
from ops.orders import changes


def item(stigg_id: str, quantity: int = 1, **more: Any) -> Item:
    return Item("Entitlement", stigg_id, quantity, (1,), **more)


ORDER = Order(
    opportunity_id=OpportunityId("0065g00000ABCdEAAX"),
    opportunity_name="A deal",
    account_id=AccountId("0015g00000XyZaBAAV"),
    account_name="Northwind",
    account_email="someone@example.com",
    stored_customer_id=None,
    customer_id=None,
    resource_id=None,
    trigger="closed_won",
    currency="USD",
    items=(item("feature-seats", 250), item("plan-enterprise", price=48000.0)),
)


def told(order: Order, before: Order | None = ORDER) -> list[str]:
    return [change.words for change in changes(order, before)]


def lowers(order: Order) -> bool:
    return any(change.lowers for change in changes(order, ORDER))


def test_the_first_order_is_told_whole() -> None:
    assert told(ORDER, None) == ["feature-seats 250", "plan-enterprise 1 at 48,000.00 USD"]


def test_quantities_that_change_are_raised_or_lowered() -> None:
    fewer = replace(ORDER, items=(item("feature-seats", 40), ORDER.items[1]))
    assert told(fewer) == ["lowered feature-seats from 250 to 40"]
    assert lowers(fewer)
    endless = replace(ORDER, items=(item("feature-seats", unlimited=True), ORDER.items[1]))
    assert told(endless) == ["raised feature-seats from 250 to unlimited"]
    assert not lowers(endless)
    assert told(fewer, endless) == ["lowered feature-seats from unlimited to 40"]


def test_what_comes_and_goes_is_said_with_its_price() -> None:
    other = replace(ORDER, items=(ORDER.items[0], item("addon-sso", 2, price=12.5)))
    assert told(other) == ["removed plan-enterprise 1 at 48,000.00 USD", "added addon-sso 2 at 12.50 USD"]
    assert lowers(other)


def test_prices_and_terms_are_told_from_what_to_what() -> None:
    cheaper = replace(
        ORDER, items=(ORDER.items[0], item("plan-enterprise", price=40000.0)), end=from_iso("2027-01-01T00:00:00Z")
    )
    assert told(cheaper) == [
        "price of plan-enterprise from 48,000.00 USD to 40,000.00 USD",
        "end from none to 2027-01-01T00:00:00.000Z",
    ]


def test_a_cancellation_is_told_as_one_and_takes_no_line_away() -> None:
    cancelled = replace(ORDER, trigger="cancellation", items=(), cancel="now")
    assert told(cancelled) == ["trigger from closed won to cancellation", "cancel from none to now"]


def test_names_and_addresses_are_never_told() -> None:
    renamed = replace(ORDER, opportunity_name="Secret", account_email="other@example.com")
    assert told(renamed) == ["another opportunity name", "another account email"]


def test_a_refusal_says_why_and_nothing_changes_by_a_mere_save() -> None:
    refused = replace(ORDER, problems=(Problem(2, "stiggId", "is unknown"),))
    assert told(refused) == ["refused: line 2, stiggId: is unknown"]
    again = tuple(replace(one, lines=(7,)) for one in ORDER.items)
    assert told(replace(ORDER, items=again, as_of=from_iso("2026-01-15T00:00:00.000Z"))) == []
