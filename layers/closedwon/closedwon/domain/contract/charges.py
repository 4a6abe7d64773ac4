"""Charges: what one billing period of a slot costs at a moment, line by line, and of which deal each part is. Pure.

Entitlements have no price of their own in Stigg, but for those of features that the plan charges by the unit. All are
told beside the money, because they are what it is paid for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.money import Holding, shares_of
from closedwon.domain.contract.pieces import Cause, Contract, Entity, Line
from closedwon.domain.contract.subscriptions import by_lead
from closedwon.domain.contract.sweep import is_sold_by_unit
from closedwon.domain.contract.terms import ContractTerms
from closedwon.domain.contract.timeline import Giving, SlotTimeline
from closedwon.domain.desired import Slot
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import NO_DAY, Moment

Given = list[tuple[Giving, Holding]]
"""What some contracts give."""

PRICED = ("Plan", "Add-on")
"""The kinds that have a price whatever the plan is."""


class DealShare(NamedTuple):
    """What one deal adds to a line of a charge. quantity: less than 0 for what it takes. amount: what that costs; None
    where some of it is at the catalogue's price, or nothing of it has a price.
    """

    deal: OpportunityId
    quantity: int
    amount: Fraction | None


class ChargeLine(NamedTuple):
    """What one entity of a slot comes to.

    quantity: None for no limit. amount: for one billing period; None where some of it is at the catalogue's price
    (listed: how many units), or where it has none. shares: by deal, in the order in which they took effect.
    """

    kind: str
    id: str
    quantity: int | None
    amount: Fraction | None
    listed: Fraction
    shares: tuple[DealShare, ...]


@dataclass(frozen=True)
class Charge:
    """What one billing period of a slot charges, from start until before end (NO_DAY: for good).

    Amounts are in whole units of the currency. end_causes: what ends any of it at its end; next_deals: the deals of
    which something starts then.
    """

    slot: Slot
    plan_id: str
    start: Moment
    end: Moment
    currency: str
    billing_period: str | None
    lines: tuple[ChargeLine, ...]
    end_causes: tuple[Cause, ...] = ()
    next_deals: tuple[OpportunityId, ...] = ()

    @property
    def amount(self) -> Fraction | None:
        """The sum of its lines; None where any of them is at the catalogue's price."""
        return None if self.listed else sum((line.amount or Fraction(0) for line in self.lines), start=Fraction(0))

    @property
    def agreed(self) -> Fraction:
        """The sum of those lines that have an agreed price."""
        return sum((line.amount or Fraction(0) for line in self.lines), start=Fraction(0))

    @property
    def listed(self) -> tuple[str, ...]:
        """What is charged at the catalogue's price."""
        return tuple(line.id for line in self.lines if line.listed)

    @property
    def deals(self) -> frozenset[OpportunityId]:
        """The deals that anything of it comes from."""
        return frozenset(share.deal for line in self.lines for share in line.shares)


def charge_at(found: SlotTimeline, moment: Moment, terms: ContractTerms) -> Charge | None:
    """What a slot charges at a moment; None where nothing stands in it."""
    given = found.given(moment)
    plans = [line for giving, _ in given if giving.is_plan for line in giving.lines(moment) if line.item.quantity > 0]
    if not plans:
        return None
    first = min(plans, key=by_lead)
    said = terms.at(first.contract, found.slot, moment).terms
    place = found.place(moment)
    end = found.moments[place + 1] if place + 1 < len(found.moments) else NO_DAY
    causes, next_deals = _at_the_end(found, end)
    return Charge(
        slot=found.slot,
        plan_id=first.item.stigg_id,
        start=found.moments[place],
        end=end,
        currency=said.currency,
        billing_period=said.billing_period,
        lines=_lines(given, moment, found),
        end_causes=causes,
        next_deals=next_deals,
    )


def _at_the_end(found: SlotTimeline, end: Moment) -> tuple[tuple[Cause, ...], tuple[OpportunityId, ...]]:
    """What ends lines of a slot at a moment, and the deals of which something starts then."""
    if end == NO_DAY:
        return (), ()
    lines = [line for giving in found.givings for line in giving.track.lines]
    causes = dict.fromkeys(cause for line in lines if line.end == end for cause in line.causes)
    return tuple(causes), tuple(sorted({line.deal.id for line in lines if line.start == end}))


def _lines(given: Given, moment: Moment, found: SlotTimeline) -> tuple[ChargeLine, ...]:
    entities = sorted(_by_entity(given).items(), key=_in_order)
    charged = found.charged_at(moment)
    return tuple(
        _line(entity, some, moment, has_price(entity, charged), found.catalogue)
        for entity, some in entities
        if not found.catalogue.includes(*entity)  # credits that come with the plan: no deal gives them
    )


def _by_entity(given: Given) -> dict[Entity, Given]:
    """What each contract gives, by what it is."""
    found: dict[Entity, Given] = defaultdict(list)
    for giving, holding in given:
        found[giving.entity].append((giving, holding))
    return found


def _units_of(plans: Given, catalogue: Catalogue) -> int:
    """The units of a plan; see `Totals.units`."""
    sold: dict[Contract, int] = defaultdict(int)
    known = False
    for giving, holding in plans:
        if is_sold_by_unit(catalogue, giving.entity[1]):
            sold[giving.contract] += holding.units
            known = known or catalogue.plan(giving.entity[1]) is not None
    return sum(sold.values()) if known or any(units != 1 for units in sold.values()) else 1


def has_price(entity: Entity, charged: Container[str]) -> bool:
    """Whether something has a price of its own. charged: the features that the plan charges by the unit then."""
    kind, id = entity
    return kind in PRICED or (kind == "Entitlement" and id in charged)


def _in_order(one: tuple[Entity, Given]) -> tuple[int, str]:
    (kind, id), _ = one
    return (("Plan", "Add-on", "Entitlement", "Credit entitlement").index(kind), id)


def _line(entity: Entity, given: Given, moment: Moment, priced: bool, catalogue: Catalogue) -> ChargeLine:
    kind, id = entity
    listed = sum((holding.listed for _, holding in given), start=Fraction(0)) if priced else Fraction(0)
    charge = sum((holding.charge for _, holding in given), start=Fraction(0))
    return ChargeLine(
        kind=kind,
        id=id,
        quantity=_quantity(kind, given, catalogue),
        amount=charge if priced and not listed else None,
        listed=listed,
        shares=tuple(_shares((list(giving.lines(moment)) for giving, _ in given), priced)),
    )


def _quantity(kind: str, given: Given, catalogue: Catalogue) -> int | None:
    if kind == "Plan":
        return _units_of(given, catalogue)
    return None if any(holding.unlimited > 0 for _, holding in given) else sum(holding.units for _, holding in given)


def _shares(contracts: Iterable[list[Line]], priced: bool) -> Iterable[DealShare]:
    """What each deal adds, by contract. In: for each contract, the lines of one entity that count."""
    for lines in sorted(contracts, key=lambda lines: min((one.deal.depth, one.start, one.deal.id) for one in lines)):
        for deal, quantity, charge, listed in shares_of(lines):
            yield DealShare(deal, quantity, charge if priced and not listed else None)
