"""What Stigg would refuse of an order, though no rule of closed-won does: prices, periods. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from closedwon.domain.order import Item, Order
from closedwon.operations.on_sale import InStigg

PRICE_FIX = "In Stigg, add a price in the currency; or tick Stigg Price Override on the product."


class Refusal(NamedTuple):
    """What Stigg refuses of an item, and what to do about it."""

    item: Item
    words: str
    fix: str


def refused_by_stigg(order: Order, stigg: InStigg) -> Iterator[Refusal]:
    """What Stigg would refuse of an order. Of differences and cancellations nothing: what they end up with, only the
    contract shows.
    """
    if order.differences or order.trigger == "cancellation":
        return
    for item in (*order.of_kind("Plan"), *order.of_kind("Add-on")):
        # A price of the deal's own takes the place of the catalogue's.
        if item.price is None:
            yield from _charged_otherwise(item, order, stigg)
    yield from _not_customisable(order, stigg)


def no_price(stigg_id: str, currency: str, offered: Iterable[str]) -> str:
    """That something has no price in a currency. offered: those in which it has one."""
    has = ", ".join(sorted(one.upper() for one in offered))
    return f"{stigg_id} has no price in {currency.upper()} (it has {has})"


def _charged_otherwise(item: Item, order: Order, stigg: InStigg) -> Iterator[Refusal]:
    """No price of the catalogue's in the deal's currency, or none for its billing period."""
    charges = stigg.charges.get(item.stigg_id, frozenset())
    offered = {currency for currency, _ in charges}
    periods = {period for currency, period in charges if currency == order.currency}
    # What has no price at all, as custom plans may, lacks none in this currency.
    if offered and order.currency not in offered:
        yield Refusal(item, no_price(item.stigg_id, order.currency, offered), PRICE_FIX)
    elif item.kind == "Plan" and periods and order.billing_period not in periods:
        yield from _billed_otherwise(item, order, periods, stigg)


def _billed_otherwise(plan: Item, order: Order, periods: set[str], stigg: InStigg) -> Iterator[Refusal]:
    if order.billing_period:
        words = f"{plan.stigg_id} has no {order.billing_period} price in {order.currency.upper()}"
        yield Refusal(plan, words, "In Stigg, add the price; or sell it for another Stigg Billing Period.")
    # Where there is one period only, Stigg can mean no other.
    elif len(periods) > 1 and stigg.catalogue.plans[plan.stigg_id].pricing_type == "PAID":
        words = f"{plan.stigg_id} is billed {' or '.join(sorted(periods))}, and the deal does not say which"
        yield Refusal(plan, words, "Fill Stigg Billing Period on the opportunity, in the flow or by default.")


def _not_customisable(order: Order, stigg: InStigg) -> Iterator[Refusal]:
    """Entitlements that are sold with plans none of which takes any: of others than custom plans only what they charge
    by the unit, and credits that come with them.
    """
    plans = order.of_kind("Plan")
    fixed = [plan.stigg_id for plan in plans if stigg.catalogue.plans[plan.stigg_id].pricing_type != "CUSTOM"]
    if not plans or len(fixed) < len(plans):
        return
    charged = frozenset().union(*(stigg.catalogue.plans[plan.stigg_id].charged for plan in plans))
    for item in (*order.of_kind("Entitlement"), *order.of_kind("Credit entitlement")):
        if item.kind == "Entitlement" and (item.stigg_id in charged or item.stigg_id in stigg.catalogue.currencies):
            continue
        words = f"{item.stigg_id} is sold with {' or '.join(fixed)}: only custom plans take entitlements"
        yield Refusal(item, words, "Sell it as an add-on, or with a plan whose price type in Stigg is custom.")
