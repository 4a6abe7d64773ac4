"""A deal as Salesforce tells it now, against the order the ledger was told. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from operator import attrgetter

from closedwon.domain.errors import safe_text
from closedwon.domain.order import Item, Order
from closedwon.words.changes import listed


def concerns_stigg(order: Order) -> bool:
    """Whether a deal concerns closed-won at all: one without any line for Stigg does not, a cancellation needs none."""
    return order.trigger == "cancellation" or bool(order.items) or any(p.line is not None for p in order.problems)


def summary_of(order: Order) -> str:
    """What a deal says, in words."""
    if order.problems:
        return "refused: " + safe_text("; ".join(str(problem) for problem in order.problems))
    if order.trigger == "cancellation":
        return "a cancellation"
    return ", ".join(_item(item) for item in order.items)


def _item(item: Item) -> str:
    return f"{'unlimited' if item.unlimited else f'{item.quantity:,}'} {item.stigg_id}"


def difference_of(now: Order, before: Order) -> tuple[str, str]:
    """What two orders of one deal differ in: items, or the names of terms."""
    if now.trigger != before.trigger:
        return now.trigger.replace("_", " "), before.trigger.replace("_", " ")
    if now.problems != before.problems:
        return summary_of(now), summary_of(before)
    ones, others = ([replace(item, lines=()) for item in order.items] for order in (now, before))
    if ones != others:
        mine = ", ".join(_item(item) for item in ones if item not in others)
        theirs = ", ".join(_item(item) for item in others if item not in ones)
        return mine or "none", theirs or "none"
    names = [
        one.name.replace("_", " ")
        for one in fields(Order)
        if one.name not in ("items", "as_of") and getattr(now, one.name) != getattr(before, one.name)
    ]
    return f"another {listed(names)}" if names else "", ""


_NAMES = ("opportunity_name", "account_name", "account_email", "stored_customer_id", "customer_id", "as_of")
"""What gives nobody anything: names, and what closed-won itself wrote back."""

_OPTIONAL_IN_SALESFORCE = (
    "resource_id",
    "billing_period",
    "start",
    "end",
    "payment_collection",
    "amends",
    "cancel",
    "trial_end",
    "trial_end_behavior",
    "coupon",
    "minimum_spend",
    "paying_customer_id",
)
"""What a callout can say and Salesforce's fields need not: where they are empty, what was told stands."""


_content = attrgetter(*(one.name for one in fields(Order) if one.name not in (*_NAMES, "items")))
_item_content = attrgetter(*(one.name for one in fields(Item) if one.name != "lines"))
_where = attrgetter("kind", "stigg_id", "start", "end")


def as_recorded(read: Order, told: Order, others: Iterable[Order]) -> Order:
    """A deal as it reads now, with what reading cannot know as the ledger was told it.

    A contract that the deal was turned into since matters only where another deal names it. Out: told itself, where
    both say the same.
    """
    if _content(read) == _content(told) and list(map(_item_content, read.items)) == list(
        map(_item_content, told.items)
    ):
        return told  # nearly always: the rest takes its time
    carried = {name: getattr(told, name) for name in _NAMES}
    carried |= {name: getattr(read, name) or getattr(told, name) for name in _OPTIONAL_IN_SALESFORCE}
    if read.budget is None:
        carried |= {"budget": told.budget, "budget_soft": told.budget_soft}
    elif read.budget == told.budget:
        carried["budget_soft"] = told.budget_soft
    if not any(order.amends == read.contract_id for order in others):
        carried["contract_id"] = told.contract_id
    carried["metadata"] = read.metadata or told.metadata
    return replace(read, **carried, items=tuple(_item_as_recorded(item, told.items) for item in read.items))


def _item_as_recorded(read: Item, told_items: Iterable[Item]) -> Item:
    """An item, completed by what was told of the same one: of its plan, or where one of both names no plan."""
    same = [item for item in told_items if _where(item) == _where(read)]
    told = next((item for item in same if item.plan_id == read.plan_id), None)
    told = told or next((item for item in same if not item.plan_id or not read.plan_id), None)
    if told is None:
        return read
    return replace(
        read,
        plan_id=read.plan_id or told.plan_id,
        soft_limit=read.soft_limit or told.soft_limit,
        reset_period=read.reset_period or told.reset_period,
        cadence=told.cadence,
    )
