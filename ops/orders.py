"""The orders of one deal in words: which order lowered what, and when. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from typing import NamedTuple

from closedwon.domain.errors import safe_text
from closedwon.domain.instants import Moment, iso_utc, starting
from closedwon.domain.order import Item, Order
from closedwon.words.changes import money

_PRIVATE = {"opportunity_name", "account_name", "account_email", "metadata"}
"""What is said to have changed without saying into what: names and addresses of people, and the user's own words."""

_NO_CHANGE = {"items", "problems", "as_of", "stored_customer_id", "opportunity_id", "account_id", "extra"}
"""What has its own words, or changes without anybody changing the deal."""


class Change(NamedTuple):
    """One difference between two orders. lowers: whether the customer gets less by it."""

    words: str
    lowers: bool = False


def changes(order: Order, before: Order | None) -> list[Change]:
    """What an order changed against the one before it; of the first one, all that it says."""
    if order.problems:
        return [Change("refused: " + safe_text("; ".join(map(str, order.problems))))]
    # A refused order never counted, so what follows it is told as a first one.
    if before is None or before.problems:
        what = [Change(_item(item, order)) for item in order.items]
        return what or [Change("a cancellation" if order.trigger == "cancellation" else "nothing for Stigg")]
    return [*_items(order, before), *_terms(order, before)]


def _items(order: Order, before: Order) -> Iterator[Change]:
    ones, others = _by_name(before), _by_name(order)
    if order.trigger == "cancellation":
        others = ones  # it has no lines: it ends what was sold, and takes nothing out of it
    differences = order.differences
    for key, was in ones.items():
        if key in others:
            yield from _item_change(was, others[key], order)
        else:
            yield Change(f"removed {_item(was, before)}", lowers=not differences)  # a difference leaves out what stays
    for key, now in others.items():
        if key not in ones:
            yield Change(f"added {_item(now, order)}", lowers=differences and now.quantity < 0)  # less than before


def _item_change(was: Item, now: Item, order: Order) -> Iterator[Change]:
    name = now.stigg_id
    if (was.quantity, was.unlimited) != (now.quantity, now.unlimited):
        lowers = was.unlimited or (not now.unlimited and now.quantity < was.quantity)
        verb = "lowered" if lowers else "raised"
        yield Change(f"{verb} {name} from {_amount(was)} to {_amount(now)}", lowers)
    if was.price != now.price:
        yield Change(f"price of {name} from {_price(was, order)} to {_price(now, order)}")
    plain = ("soft_limit", "reset_period", "cadence", "plan_id", "value", "prior", "end")
    for one in plain:
        if getattr(was, one) != getattr(now, one):
            told = f"from {_told(getattr(was, one))} to {_told(getattr(now, one))}"
            yield Change(f"{one.replace('_', ' ')} of {name} {told}")


def _terms(order: Order, before: Order) -> Iterator[Change]:
    for one in fields(Order):
        was, now = getattr(before, one.name), getattr(order, one.name)
        # Over all fields: one that is added to orders later is told without anything to do here.
        if was == now or one.name in _NO_CHANGE:
            continue
        name = one.name.replace("_", " ")
        if one.name == "trigger":
            told = f"from {str(was).replace('_', ' ')} to {str(now).replace('_', ' ')}"
            yield Change(f"trigger {told}", lowers=now == "cancellation")
        elif one.name in _PRIVATE:
            yield Change(f"another {name}")
        else:
            yield Change(f"{name} from {_told(was)} to {_told(now)}")


def _by_name(order: Order) -> dict[tuple[str, str, Moment], Item]:
    """An order's items; what is sold from another day on is another item."""
    return {(item.kind, item.stigg_id, starting(item.start)): item for item in order.items}


def _item(item: Item, order: Order) -> str:
    price = f" at {_price(item, order)}" if item.price is not None else ""
    since = f" from {item.start:%Y-%m-%d}" if item.start else ""
    return f"{item.stigg_id} {_amount(item)}{price}{since}"


def _amount(item: Item) -> str:
    return "unlimited" if item.unlimited else f"{item.quantity:,}"


def _price(item: Item, order: Order) -> str:
    return "list price" if item.price is None else money(item.price, order.currency)


def _told(value: object) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, datetime):
        return iso_utc(value)
    return str(value).lower() if isinstance(value, bool) else safe_text(str(value), 100)
