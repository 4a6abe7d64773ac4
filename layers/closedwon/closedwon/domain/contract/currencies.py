"""The customer's currency: Stigg bills a customer in one, and refuses prices in another. Pure.

It is said with the first deal that asks for money, and stays. Source: `billingCurrency` of a customer in the SDK's
types; the error CurrencyMismatch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.facts import History
from closedwon.domain.contract.faults import Fault, tiers_of
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.order import Order, Revision

if TYPE_CHECKING:
    from closedwon.domain.contract.standing import Standing


def asks_for_money(order: Order, catalogue: Catalogue) -> bool:
    """Whether Stigg is to charge something in an order's currency: a price that it says, or one of the catalogue's."""
    if order.minimum_spend is not None or any(item.price is not None for item in order.items):
        return True
    plans = (catalogue.plan(plan.stigg_id) for plan in order.of_kind("Plan"))
    return bool(order.of_kind("Add-on")) or any(plan is not None and plan.pricing_type == "PAID" for plan in plans)


def billed_in(standing: Standing) -> str | None:
    """The customer's currency: as Stigg said, else that of the first deal that asks for money, what stands before what
    is new. None where none does.
    """
    if standing.world.currency is not None:
        return standing.world.currency
    first = min(_asking(standing), key=_place, default=None)
    return None if first is None else _order(standing, first).currency


def asking(standing: Standing) -> frozenset[OpportunityId]:
    """The deals that ask for money as far as they stand."""
    return frozenset(history.id for history in _asking(standing))


def currency_faults(standing: Standing) -> Iterator[Fault]:
    """Deals in another currency than their customer's: what Stigg stands for already is not judged again."""
    currency = billed_in(standing)
    for history in _asking(standing):
        order = _order(standing, history)
        if not history.stands and not standing.level(history.id) and order.currency != currency:
            facts = {"before": currency, "after": order.currency}
            yield Fault("currency_differs", tiers_of([(history.id, 0)]), facts=facts)


def _asking(standing: Standing) -> Iterator[History]:
    """The deals that ask for money as far as they stand. What another customer pays is in that one's currency."""
    for history in standing.histories:
        order = standing.contribution(history.id).order
        if order is None or order.trigger == "cancellation" or order.paying_customer_id:
            continue
        if asks_for_money(order, standing.world.catalogue):
            yield history


def _order(standing: Standing, history: History) -> Order:
    order = standing.contribution(history.id).order
    assert order is not None  # of `_asking`
    return order


def _place(history: History) -> tuple[bool, Revision, str]:
    return history.settled is None, history.first or history.newest.revision, history.id
