"""Compares a deal as Salesforce has it now with the order that the ledger recorded. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from closedwon.domain.errors import safe_text
from closedwon.domain.order import Item, Order, netted, with_names
from closedwon.words.changes import listed


def concerns_stigg(order: Order) -> bool:
    """Whether a deal concerns closed-won at all: one without any line for Stigg does not, a cancellation needs none."""
    # A problem in a line shows that the line is for Stigg, even where no item came of it.
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
    # A refused order has only those items that had no problem: comparing them would mislead.
    if now.problems != before.problems:
        return summary_of(now), summary_of(before)
    now = netted(now) if before.form < now.form else now
    # CPQ deletes line items and makes them again: other line numbers are no difference.
    ones, others = ([replace(item, lines=()) for item in order.items] for order in (now, before))
    if ones != others:
        return _only_in(ones, others), _only_in(others, ones)
    names = [name.replace("_", " ") for name in _TERMS if getattr(now, name) != getattr(before, name)]
    return f"another {listed(names)}" if names else "", ""


# `as_of` moves with every save of the opportunity, whatever was changed in it.
_TERMS = tuple(one.name for one in fields(Order) if one.name not in ("items", "as_of", "extra", "form"))


def _only_in(ones: list[Item], others: list[Item]) -> str:
    return ", ".join(_item(item) for item in ones if item not in others) or "none"


_NAMES = ("opportunity_name", "account_name", "account_email", "stored_customer_id", "customer_id", "as_of")
"""Fields that change nothing in Stigg: names, and what closed-won itself wrote back."""

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
    "purchase_order",
    "activation",
    "setup_billing",
)
"""Fields that a callout can fill and Salesforce may lack: where they are empty there, the recorded value stays."""


# Not by the digest: a run compares every deal there is, and hashing two orders for each takes longer.
_content = attrgetter(*(one.name for one in fields(Order) if one.name not in (*_NAMES, "items", "extra")))
_item_content = attrgetter(*(one.name for one in fields(Item) if one.name not in ("lines", "extra")))
_where = attrgetter("kind", "stigg_id", "start", "end")


def as_recorded(read: Order, recorded: Order, others: Iterable[Order]) -> Order:
    """The order that a deal gives now, with the recorded values where Salesforce's fields cannot hold them.

    In: the order as read now; as recorded; the customer's other orders. Contracts and records that the deal became
    since then matter only where another deal names them.
    Out: `recorded` itself, where both are of one form and say the same.
    """
    if _say_the_same(read, recorded):
        return recorded  # nearly always, and quick: the rest takes its time
    carried = {name: getattr(recorded, name) for name in _NAMES}
    carried |= {name: getattr(read, name) or getattr(recorded, name) for name in _OPTIONAL_IN_SALESFORCE}
    carried |= _budget_as_recorded(read, recorded)
    # What a newer version recorded, this one can only keep.
    carried["extra"] = recorded.extra
    # It comes from the user's own application, and no field of Salesforce holds it.
    carried["metadata"] = read.metadata or recorded.metadata
    read = replace(read, **carried, items=tuple(_item_as_recorded(item, recorded.items) for item in read.items))
    # Salesforce creates contracts and records after the deal was won: their IDs alone must not look like a change.
    added = read.names - recorded.names
    if not any(order.references & added for order in others):
        read = replace(read, contract_id=None, items=tuple(item.unnamed() for item in read.items))
    return with_names(read, recorded)


def _budget_as_recorded(read: Order, recorded: Order) -> dict[str, Any]:
    """What of the recorded budget stays: Salesforce has no field for whether it is soft."""
    if read.budget is None:
        return {"budget": recorded.budget, "budget_soft": recorded.budget_soft}
    return {"budget_soft": recorded.budget_soft} if read.budget == recorded.budget else {}


def _say_the_same(one: Order, other: Order) -> bool:
    return _content(one) == _content(other) and list(map(_item_content, one.items)) == list(
        map(_item_content, other.items)
    )


def _item_as_recorded(read: Item, recorded_items: Iterable[Item]) -> Item:
    """An item, completed by the recorded one of the same plan, or by one where either names no plan."""
    recorded = _same_item(read, recorded_items)
    if recorded is None:
        return read
    return replace(
        read,
        plan_id=read.plan_id or recorded.plan_id,
        soft_limit=read.soft_limit or recorded.soft_limit,
        reset_period=read.reset_period or recorded.reset_period,
        # No Stigg Mapping has a field for it, so what is read always says the default.
        cadence=recorded.cadence,
        extra=recorded.extra,
    )


def _same_item(read: Item, recorded_items: Iterable[Item]) -> Item | None:
    """The recorded item of the same product and days: of the same plan, else one where either names no plan."""
    same = [item for item in recorded_items if _where(item) == _where(read)]
    of_its_plan = next((item for item in same if item.plan_id == read.plan_id), None)
    return of_its_plan or next((item for item in same if not item.plan_id or not read.plan_id), None)
