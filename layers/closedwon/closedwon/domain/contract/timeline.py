"""The timeline: what stands in each slot from moment to moment, with what it charges and where it comes from. Pure.

Built by a sweep over the moments at which something changes: per contract and place, then per slot. What an interval
holds in detail is worked out when somebody asks for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.contracts import Contracts
from closedwon.domain.contract.money import NONE, Holding, Track, track
from closedwon.domain.contract.pieces import Contract, Entity, Line
from closedwon.domain.desired import Slot
from closedwon.domain.instants import BEGINNING, NO_DAY, Instant, Moment, starting

Span = tuple[Moment, Moment]
"""From a moment until before another."""


@dataclass(eq=False)
class Giving:
    """What one contract gives one slot of one entity.

    track: its holdings, wherever its plan is. counts: the spans in which it counts, because its plan does. since: when
    a contract was sold that says no start.
    """

    contract: Contract
    entity: Entity
    track: Track
    counts: list[Span]
    since: Moment = BEGINNING

    @property
    def is_plan(self) -> bool:
        return self.entity[0] == "Plan"

    @cached_property
    def _starts(self) -> list[Moment]:
        return [start for start, _ in self.counts]

    def counts_at(self, moment: Moment) -> bool:
        place = bisect_right(self._starts, moment)
        return place > 0 and moment < self.counts[place - 1][1]

    @cached_property
    def meets(self) -> list[Span]:
        """The spans in which it meets what other contracts give: one without a start, from when it was sold. What was
        over by then it never met.
        """
        return [(max(start, self.since), end) for start, end in self.counts if self.since < end]

    def meets_at(self, moment: Moment) -> bool:
        return self.since <= moment and self.counts_at(moment)

    def at(self, moment: Moment) -> Holding:
        """What counts at a moment."""
        return self.track.at(moment) if self.counts_at(moment) else NONE

    def lines(self, moment: Moment) -> Iterator[Line]:
        """The lines that count at a moment."""
        if self.counts_at(moment):
            yield from (line for line in self.track.lines if line.at(moment))

    @cached_property
    def moments(self) -> list[Moment]:
        """When what counts changes."""
        found = {edge for span in self.counts for edge in span}
        if self.counts:
            first, last = self.counts[0][0], self.counts[-1][1]
            found |= {moment for moment in self.track.moments if first < moment < last and self.counts_at(moment)}
        return sorted(found - {NO_DAY})


@dataclass(eq=False)
class SlotTimeline:
    """One slot's timeline.

    catalogue: says what its plans charge by the unit. givings: what each contract gives it of each entity. moments:
    when something changes in it, in order.
    """

    slot: Slot
    catalogue: Catalogue
    givings: list[Giving] = field(default_factory=list)

    @cached_property
    def moments(self) -> list[Moment]:
        return sorted({moment for giving in self.givings for moment in giving.moments})

    @cached_property
    def plan_givings(self) -> list[Giving]:
        return [giving for giving in self.givings if giving.is_plan]

    @cached_property
    def stands(self) -> list[Span]:
        """The spans in which any contract gives it a plan."""
        return merged(span for giving in self.plan_givings for span in giving.counts)

    def place(self, moment: Moment) -> int:
        """The number of the interval that holds a moment; -1 before the first one."""
        return bisect_right(self.moments, moment) - 1

    def given(self, moment: Moment) -> list[tuple[Giving, Holding]]:
        """What counts in it at a moment."""
        held = ((giving, giving.at(moment)) for giving in self.givings)
        return [(giving, holding) for giving, holding in held if holding.gives]

    def amounts(self, moment: Moment) -> dict[str, float]:
        """How much of each entity there is at a moment: infinity for what has no limit. The plan counts as one, and by
        the unit where it is sold so. Credits that come with a plan are the plan's: no deal gives or takes them.
        """
        found: dict[str, float] = defaultdict(float)
        plans, by_unit = [], False
        for giving, holding in self.given(moment):
            if giving.is_plan:
                sold = is_sold_by_unit(self.catalogue, giving.entity[1])
                plans.append(holding.units if sold else 1)
                by_unit = by_unit or (sold and holding.units != 1)
            elif not self.catalogue.includes(*giving.entity):
                found[giving.entity[1]] += float("inf") if holding.unlimited > 0 else holding.units
        if plans:
            found[PLAN] = sum(plans) if by_unit else 1
        return dict(found)

    def charged_at(self, moment: Moment) -> frozenset[str]:
        """The features that its plan charges by the unit at a moment: an Entitlement line of these is a charge."""
        plan_id = self.plan_at(moment)
        plan = self.catalogue.plan(plan_id) if plan_id is not None else None
        return plan.charged if plan is not None else frozenset()

    def plan_at(self, moment: Moment) -> str | None:
        """The plan that is given at a moment; None: none."""
        lines = (line for giving in self.plan_givings if giving.counts_at(moment) for line in giving.lines(moment))
        return next((line.item.stigg_id for line in lines if line.item.quantity > 0), None)


def is_sold_by_unit(catalogue: Catalogue, plan_id: str) -> bool:
    """Whether a plan's own quantity counts: where the catalogue says so, or does not know the plan any more."""
    plan = catalogue.plan(plan_id)
    return plan is None or plan.unit_pricing


PLAN = "plan"
"""The plan among the amounts of a slot."""


class Timeline:
    """What some deals come to. In: their contracts, built; now, which nothing was sold after."""

    def __init__(self, contracts: Contracts, now: Instant) -> None:
        self.contracts = contracts
        self.slots: dict[Slot, SlotTimeline] = {}
        by_contract = {contract: _tracks(contract) for contract in contracts.contracts}
        presence = self._presence(by_contract)
        anybody: dict[Slot, list[Span]] = defaultdict(list)
        for (_, slot), spans in presence.items():
            anybody[slot] += spans
        together = {slot: merged(spans) for slot, spans in anybody.items()}
        self.givings: dict[tuple[Contract, Slot, Entity], Giving] = {}
        self.unplanned: list[Line] = []
        """Lines whose slot no plan ever stands in while they count."""
        for contract, tracks in by_contract.items():
            since = min(_sold(contract), starting(now))
            for (slot, entity), found in tracks.items():
                if entity[0] == "Plan":
                    counts = _gives(found)
                else:
                    # A part whose contract never gives a plan counts with the slot's plan, whoever gives it.
                    spans = presence.get((contract, slot)) or together.get(slot, [])
                    counts = within(_lives(found), spans)
                    if not counts:
                        self.unplanned += found.lines
                timeline = self.slots.setdefault(slot, SlotTimeline(slot, contracts.catalogue))
                giving = self.givings[contract, slot, entity] = Giving(contract, entity, found, counts, since)
                timeline.givings.append(giving)

    def counts(self, line: Line, moment: Moment) -> bool:
        """Whether a line counts at a moment, with its plan."""
        giving = self.givings.get((line.contract, line.slot, line.entity))
        return giving is not None and line.at(moment) and giving.counts_at(moment)

    def _presence(
        self, by_contract: dict[Contract, dict[tuple[Slot, Entity], Track]]
    ) -> dict[tuple[Contract, Slot], list[Span]]:
        """By contract and slot, when it gives a plan, or one that renewed it does."""
        found: dict[tuple[Contract, Slot], list[Span]] = {}
        for contract in sorted(by_contract, key=lambda contract: -contract.rank):  # renewals first
            own: dict[Slot, list[Span]] = defaultdict(list)
            for (slot, entity), track_ in by_contract[contract].items():
                if entity[0] == "Plan":
                    own[slot] += _gives(track_)
            for slot, spans in own.items():
                later = (span for other in contract.renewed_by for span in found.get((other, slot), ()))
                if spans:
                    found[contract, slot] = merged([*spans, *later])
        return found


def _tracks(contract: Contract) -> dict[tuple[Slot, Entity], Track]:
    """The holdings of a contract, by slot and entity."""
    groups: dict[tuple[Slot, Entity], list[Line]] = defaultdict(list)
    for line in contract.lines:
        if not line.is_grant:
            groups[line.slot, line.entity].append(line)
    return {key: track(lines) for key, lines in groups.items()}


def _sold(contract: Contract) -> Moment:
    """When a contract was sold that starts when it is provisioned: at once, whatever is read of it later."""
    root = contract.root
    return starting(root.sold or root.order.as_of) if contract.start == BEGINNING else BEGINNING


def _gives(found: Track) -> list[Span]:
    """The spans in which there is some of it."""
    held = zip(found.moments, [*found.moments, NO_DAY][1:], found.holdings, strict=True)
    return merged((start, end) for start, end, holding in held if holding.gives)


def _lives(found: Track) -> list[Span]:
    """The spans in which any line of it counts, even where together they come to nothing."""
    return merged((line.start, line.end) for line in found.lines)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Spans put together where they touch, in order."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif start < end:
            found.append((start, end))
    return found


def within(spans: list[Span], others: list[Span]) -> list[Span]:
    """Where both are."""
    found: list[Span] = []
    place = 0
    for start, end in spans:
        while place and others[place - 1][1] > start:
            place -= 1
        while place < len(others) and others[place][1] <= start:
            place += 1
        at = place
        while at < len(others) and others[at][0] < end:
            found.append((max(start, others[at][0]), min(end, others[at][1])))
            at += 1
    return [span for span in found if span[0] < span[1]]


def charge_of(given: Iterable[tuple[Giving, Holding]]) -> Fraction | None:
    """What some of it charges for one period; None where any of it is at the catalogue's price."""
    total = Fraction(0)
    for _, holding in given:
        if holding.listed and not holding.priced:
            return None
        total += holding.charge
    return total
