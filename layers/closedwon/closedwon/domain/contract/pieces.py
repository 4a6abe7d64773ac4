"""Pieces: the lines of deals, each with where it came from, and the contracts they belong to. Pure.

A line has no identity of its own: never its ID in Salesforce, never its position. It has a place (slot, kind, ID), a
time, and causes of its end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.references import Deal, Target
from closedwon.domain.desired import Slot
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import BEGINNING, NO_DAY, Moment
from closedwon.domain.order import Item

Place = tuple[str, str]
"""Kind and ID within a slot; every plan of a product has the same place."""

PLAN_PLACE: Place = ("Plan", "")

Entity = tuple[str, str]
"""Kind and ID."""


class Cause(NamedTuple):
    """Why a line ends. by: the deal that ended it, where one did.

    renewed, amended, cancelled: by another deal; own: by a later reading of its own deal; term: its time ran out, and
    the policy ends it; stopped: Stigg or billing ended it.
    """

    kind: Literal["renewed", "amended", "cancelled", "own", "term", "stopped"]
    by: OpportunityId | None = None


TERM = Cause("term")


@dataclass(eq=False, slots=True)
class Line:
    """One line of a deal. With slots: nothing is made as often.

    start, end: from when until when it counts, as long as its plan does. natural: the end that was sold. causes: of
    its end, several where they meet on one day. lapses: the cancellation that ends it with a billing period that is
    not known yet. amends: the lines it adds to, where it names them. moved: whether its contract had been renewed when
    it starts, so that it belongs to the renewal. entity: what it gives.
    """

    deal: Deal
    item: Item
    contract: Contract
    slot: Slot
    start: Moment
    natural: Moment
    end: Moment = NO_DAY
    causes: tuple[Cause, ...] = ()
    lapses: OpportunityId | None = None
    amends: tuple[Line, ...] = ()
    moved: bool = False
    entity: Entity = field(init=False)
    is_plan: bool = field(init=False)
    is_grant: bool = field(init=False)

    def __post_init__(self) -> None:
        kind = self.item.kind
        self.entity = (kind, self.item.stigg_id)
        self.is_plan, self.is_grant = kind == "Plan", kind == "Credit grant"

    @property
    def place(self) -> Place:
        return PLAN_PLACE if self.is_plan else self.entity

    @property
    def difference(self) -> bool:
        return self.deal.order.differences

    @property
    def ever(self) -> bool:
        """Whether it counts at any time."""
        return self.start < self.end

    def at(self, moment: Moment) -> bool:
        """Whether it counts at a moment, if its plan does."""
        return self.start <= moment < self.end

    def cut(self, at: Moment, cause: Cause) -> None:
        """End it at a moment, unless it ends before: the earliest end counts, so that their order does not."""
        if at < self.end:
            self.end, self.causes = at, (cause,)
        elif at == self.end and at != NO_DAY and cause not in self.causes:
            self.causes = (*self.causes, cause)

    def ended_by(self, kind: str) -> list[OpportunityId]:
        """The deals that ended it in one way, in no order that means anything."""
        return sorted(cause.by for cause in self.causes if cause.kind == kind and cause.by is not None)


@dataclass(eq=False)
class Contract:
    """A root's lines of one contract with what its amendments add.

    contract_id: where the root's lines name several contracts, which one. renews: what it renews. rank: how many
    renewals lead to it. keeps: whether its term goes on because a deal that would renew it is held. sells, plans: the
    products in which its lines give each entity, and the plans it gives, as far as it is built.
    """

    root: Deal
    contract_id: str | None
    items: tuple[Item, ...]
    resource_id: str | None = None
    start: Moment = BEGINNING
    lines: list[Line] = field(default_factory=list)
    renews: tuple[Contract, ...] = ()
    renewed_by: list[Contract] = field(default_factory=list)
    rank: int = 0
    keeps: bool = False
    sells: dict[Entity, frozenset[str]] = field(default_factory=dict)
    plans: dict[str, None] = field(default_factory=dict)
    wholes: list[tuple[Moment, Deal]] = field(default_factory=list)

    @property
    def is_trial(self) -> bool:
        return self.root.order.trigger == "trial"

    def add(self, line: Line) -> None:
        """Add a line."""
        self.lines.append(line)
        self.sells[line.entity] = self.sells.get(line.entity, frozenset()) | _just(line.slot.product_id)
        if line.is_plan:
            self.plans[line.item.stigg_id] = None

    @cached_property
    def sold_plans(self) -> tuple[str, ...]:
        """The plans of its root that may take its parts: those that the root gives it, if any."""
        own = [item.stigg_id for item in self.items if item.kind == "Plan"]
        return tuple(own or [plan.stigg_id for plan in self.root.plans])

    @cached_property
    def entities(self) -> frozenset[Entity]:
        """What its root sells."""
        return frozenset((item.kind, item.stigg_id) for item in self.items)


@lru_cache(maxsize=4096)
def _just(product: str) -> frozenset[str]:
    return frozenset((product,))


@lru_cache(maxsize=4096)
def exact(amount: float) -> Fraction:
    """An amount of money as it was said: 0.1 is a tenth."""
    return Fraction(Decimal(repr(amount)))


# Products


class Unresolved(NamedTuple):
    """Why it is not known to which product a part belongs. plans: between which plans, or which do not take it."""

    code: Literal["plan_ambiguous", "no_plan", "not_compatible"]
    plans: tuple[str, ...]


def part_key(deal: OpportunityId, item: Item) -> str:
    """What names a part of a settled deal, for the product that is stored for it."""
    return "|".join((deal, item.kind, item.stigg_id, item.plan_id or "", *item.amends))


def _products(plans: Iterable[str], catalogue: Catalogue) -> frozenset[str]:
    """The products of plans, as far as they are known."""
    return frozenset(filter(None, map(catalogue.product_of, plans)))


def product_of_part(
    item: Item, own: Sequence[str], has: frozenset[str], plans: Sequence[str], amends: bool, catalogue: Catalogue
) -> str | Unresolved:
    """The product that a part belongs to.

    In: the part; the deal's own plans; the products in which its contract has the same item; the contract's plans;
    whether the deal amends or ends something; the catalogue.
    Out: the product, or why it is not known.
    """
    if item.plan_id is not None:
        return catalogue.product_of(item.plan_id) or Unresolved("no_plan", (item.plan_id,))
    taking = catalogue.takers(item.kind, item.stigg_id, own, item.price is not None)
    products = _products(taking, catalogue)
    if amends and products and has:
        if not products & has:
            return Unresolved("plan_ambiguous", tuple(taking))
        products &= has
    products = products or has
    return _one_of(products, taking or plans) if products else _product_of_new(item, own, plans, catalogue)


def _one_of(products: frozenset[str], plans: Sequence[str]) -> str | Unresolved:
    """The one product that there is. In: at least one; the plans between which several leave a choice."""
    return next(iter(products)) if len(products) == 1 else Unresolved("plan_ambiguous", tuple(plans))


def _product_of_new(item: Item, own: Sequence[str], plans: Sequence[str], catalogue: Catalogue) -> str | Unresolved:
    """The product of a part that its contract does not have yet, and none of the deal's own plans takes."""
    taking = catalogue.takers(item.kind, item.stigg_id, plans, item.price is not None)
    if products := _products(taking, catalogue):
        return _one_of(products, taking)
    known = _products((*own, *plans), catalogue)
    if len(known) == 1:  # with one product there is no choice: whether its plan takes it is judged on its day
        return next(iter(known))
    return Unresolved("not_compatible" if known else "no_plan", tuple(dict.fromkeys((*own, *plans))))


class LineIndex:
    """Which lines a name leads to."""

    def __init__(self) -> None:
        self._records: dict[str, list[Line]] = defaultdict(list)
        self._deals: dict[Deal, list[Line]] = defaultdict(list)
        self._ids: dict[Deal, dict[str, list[Line]]] = {}
        """By deal, its lines by ID: of those deals of which a line was named so."""

    def add(self, line: Line) -> None:
        """Add a line, under all its names."""
        if line.item.record:
            self._records[line.item.record].append(line)
        self._deals[line.deal].append(line)
        if line.deal in self._ids:
            self._ids[line.deal][line.item.stigg_id].append(line)

    def of(self, target: Target) -> list[Line]:
        """The lines that a target names itself."""
        if target.record is not None:
            return [line for line in self._records.get(target.record, ()) if line.deal is target.deal]
        if target.stigg_id is not None:
            lines = self._of_id(target.deal, target.stigg_id)
            return [line for line in lines if target.takes(line.deal, line.item, line.contract.contract_id)]
        lines = self._deals.get(target.deal, [])
        if target.contract_id is None:
            return list(lines)
        return [line for line in lines if line.contract.contract_id == target.contract_id]

    def _of_id(self, deal: Deal, stigg_id: str) -> list[Line]:
        if deal not in self._ids:
            self._ids[deal] = defaultdict(list)
            for line in self._deals.get(deal, ()):
                self._ids[deal][line.item.stigg_id].append(line)
        return self._ids[deal].get(stigg_id, [])

    def of_deal(self, deal: Deal) -> list[Line]:
        """All lines of a deal."""
        return self._deals.get(deal, [])
