"""Sweeps: what is there in a slot, carried from one moment to the next, so that each moment costs what changes at it.

Pure: an answer depends on the moment alone. Moments asked for in their order are cheap; going back begins anew.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.money import NONE, Holding
from closedwon.domain.contract.pieces import Contract, Entity
from closedwon.domain.instants import NO_DAY, Moment

if TYPE_CHECKING:
    from closedwon.domain.contract.timeline import Giving, SlotTimeline

PLAN = "plan"
"""The plan among the amounts of a slot."""

Span = tuple[Moment, Moment]
"""From a moment until before another."""

T = TypeVar("T", bound=Hashable)


class Present(Generic[T]):
    """Which of some things are there at a moment, in an order of their own.

    In: things, each with a span in which it is there, one thing with as many as it has; by what they are put in order,
    equals as they came; latest: whether the largest is the first.
    """

    def __init__(self, spans: Iterable[tuple[T, Span]], order: Callable[[T], Any], *, latest: bool = False) -> None:
        known = list(spans)
        self._things = sorted(dict.fromkeys(thing for thing, _ in known), key=order, reverse=latest)
        ranks = {thing: rank for rank, thing in enumerate(self._things)}
        changes: dict[Moment, list[tuple[int, int]]] = defaultdict(list)
        for thing, (start, end) in known:
            changes[start].append((ranks[thing], 1))
            if end != NO_DAY:
                changes[end].append((ranks[thing], -1))
        self.moments = sorted(changes)
        """When anything comes or goes."""
        self._changes = [changes[moment] for moment in self.moments]
        self._begin()

    def _begin(self) -> None:
        self._next = 0
        self._there: list[int] = []
        self._spans_of = [0] * len(self._things)

    def at(self, moment: Moment) -> Sequence[T]:
        """What is there at a moment."""
        self._move(moment)
        return [self._things[rank] for rank in self._there]

    def first(self, moment: Moment) -> T | None:
        """The first of what is there at a moment."""
        self._move(moment)
        return self._things[self._there[0]] if self._there else None

    def _move(self, moment: Moment) -> None:
        place = bisect_right(self.moments, moment)
        if place < self._next:
            self._begin()
        for changes in self._changes[self._next : place]:
            for rank, spans in changes:
                self._change(rank, spans)
        self._next = place

    def _change(self, rank: int, spans: int) -> None:
        before = self._spans_of[rank]
        self._spans_of[rank] = after = before + spans
        if not before:
            insort(self._there, rank)
        elif not after:
            del self._there[bisect_left(self._there, rank)]


class Total:
    """What all contracts together have of one entity.

    holdings: what each of those has that give some. units: of all of these; charge, priced_units:
    of those that have a price. listed, priced, mixed, without_limit, other_than_one: how many of them are so.
    """

    __slots__ = (
        "charge",
        "holdings",
        "listed",
        "mixed",
        "other_than_one",
        "priced",
        "priced_units",
        "units",
        "without_limit",
    )

    def __init__(self) -> None:
        self.holdings: dict[Giving, Holding] = {}
        self.units = self.priced_units = 0
        self.listed = self.priced = self.mixed = self.without_limit = self.other_than_one = 0
        self.charge = NONE.charge

    def put(self, giving: Giving, holding: Holding) -> int:
        """Say what a contract has from now on. Out: how many units that is more."""
        before = self.units
        known = self.holdings.pop(giving, None)
        if known is not None:
            self._count(known, -1)
        if holding.gives:
            self.holdings[giving] = holding
            self._count(holding, 1)
        return self.units - before

    def _count(self, holding: Holding, sign: int) -> None:
        self.units += sign * holding.units
        if holding.units != 1:
            self.other_than_one += sign
        if holding.unlimited > 0:
            self.without_limit += sign
        if holding.listed:
            self.listed += sign
        if holding.priced:
            self.priced += sign
            self.priced_units += sign * holding.units
            self.charge += sign * holding.charge
            self.mixed += sign * holding.mixed


class Totals:
    """What all contracts together have of each entity of a slot, at a moment. In: the slot's timeline.

    of: by entity. units: of its plans, by contract.
    """

    def __init__(self, found: SlotTimeline) -> None:
        self._found = found
        self._catalogue = found.catalogue
        self._begin()

    def _begin(self) -> None:
        self._next = 0
        self.of: dict[Entity, Total] = {}
        self._units: dict[Contract, int] = {}
        self._changed = dict.fromkeys(self._found.by_entity)

    def move(self, moment: Moment) -> None:
        """Go on to a moment."""
        place = self._found.place(moment) + 1
        if place < self._next:
            self._begin()
        for at in self._found.moments[self._next : place]:
            for times, givings in self._found.changes[at]:
                counts = times.hold(at)
                for giving in givings:
                    self._put(giving, giving.track.at(at) if counts else NONE)
        self._next = place

    def _put(self, giving: Giving, holding: Holding) -> None:
        entity = giving.entity
        total = self.of.get(entity)
        if total is None:
            total = self.of[entity] = Total()
        more = total.put(giving, holding)
        self._changed[entity] = None
        if more and giving.is_plan and is_sold_by_unit(self._catalogue, entity[1]):
            units = self._units.pop(giving.contract, 0) + more
            if units:
                self._units[giving.contract] = units

    def changed(self) -> Iterable[Entity]:
        """The entities of which something changed since they were asked for last."""
        found, self._changed = self._changed, {}
        return found

    @property
    def plans(self) -> Iterator[Total]:
        """What there is of each plan."""
        return (total for (kind, _), total in self.of.items() if kind == "Plan" and total.holdings)

    @property
    def units(self) -> int:
        """The units of the plan: those of all contracts where it is sold by the unit, else 1. Of one that left the
        catalogue it is not known: then it is sold so if any contract has another number.
        """
        sold = [id for (kind, id), total in self.of.items() if kind == "Plan" and total.holdings and self._by_unit(id)]
        known = any(self._catalogue.plan(id) is not None for id in sold)
        units = self._units.values()
        return sum(units) if known or any(unit != 1 for unit in units) else 1

    def _by_unit(self, plan_id: str) -> bool:
        return is_sold_by_unit(self._catalogue, plan_id)

    def amounts(self) -> dict[str, float]:
        """How much of each entity there is: infinity for what has no limit. The plan counts as one, and by the unit
        where it is sold so. Credits that come with a plan are the plan's: no deal gives or takes them.
        """
        found: dict[str, float] = {}
        for (kind, id), total in self.of.items():
            if total.holdings and kind != "Plan" and not self._catalogue.includes(kind, id):
                found[id] = found.get(id, 0) + (float("inf") if total.without_limit else total.units)
        if units := self._amount_of_plan():
            found[PLAN] = units
        return found

    def _amount_of_plan(self) -> int:
        """How much there is of the plan; 0: none."""
        plans = [(self._by_unit(id), total) for (kind, id), total in self.of.items() if kind == "Plan"]
        units = sum(total.units if sold else len(total.holdings) for sold, total in plans)
        return units if any(sold and total.other_than_one for sold, total in plans) else min(units, 1)


def is_sold_by_unit(catalogue: Catalogue, plan_id: str) -> bool:
    """Whether a plan's own quantity counts: where the catalogue says so, or does not know the plan any more."""
    plan = catalogue.plan(plan_id)
    return plan is None or plan.unit_pricing
