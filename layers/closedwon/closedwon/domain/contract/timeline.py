"""The timeline: what stands in each slot from moment to moment, with what it charges and where it comes from. Pure.

Built by a sweep over the moments at which something changes: per contract and place, then per slot. What an interval
holds in detail is worked out when somebody asks for it, and from one to the next only what changes (`sweep`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.contracts import Contracts
from closedwon.domain.contract.money import NONE, Holding, Track, track
from closedwon.domain.contract.pieces import Contract, Entity, Line
from closedwon.domain.contract.sweep import Span, Totals
from closedwon.domain.desired import Slot
from closedwon.domain.instants import BEGINNING, NO_DAY, Instant, Moment, starting


@dataclass(eq=False)
class Times:
    """When something counts: shared by all that a contract gives a slot for the same days.

    spans: in which it counts, because its plan does. meets: in which it meets what other contracts give. moments: when
    what counts changes, in order.
    """

    spans: list[Span]
    meets: list[Span]
    moments: list[Moment]

    def __post_init__(self) -> None:
        self._starts = [start for start, _ in self.spans]
        self._meeting = [start for start, _ in self.meets]

    @classmethod
    def of(cls, spans: list[Span], changes: Iterable[Moment], since: Moment) -> Times:
        """In: the spans in which it counts; when its holdings change, wherever its plan is; when its contract was sold,
        if that says no start: only from then on it meets others, and what was over by then never did.
        """
        edges = {edge for span in spans for edge in span}
        inner = _among(changes, spans)
        meets = [(max(start, since), end) for start, end in spans if since < end]
        return cls(spans, meets, sorted(edges.union(inner) - {NO_DAY}))

    def hold(self, moment: Moment) -> bool:
        """Whether it counts at a moment."""
        return _holds(self.spans, self._starts, moment)

    def meet(self, moment: Moment) -> bool:
        """Whether it meets others at a moment."""
        return _holds(self.meets, self._meeting, moment)


@dataclass(eq=False, slots=True)
class Giving:
    """What one contract gives one slot of one entity. track: its holdings, wherever its plan is. times: when it counts.
    is_plan: whether the entity is a plan.
    """

    contract: Contract
    entity: Entity
    track: Track
    times: Times
    is_plan: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_plan = self.entity[0] == "Plan"

    def at(self, moment: Moment) -> Holding:
        """What counts at a moment."""
        return self.track.at(moment) if self.times.hold(moment) else NONE

    def lines(self, moment: Moment) -> list[Line]:
        """The lines that count at a moment."""
        return [line for line in self.track.lines if line.at(moment)] if self.times.hold(moment) else []

    @property
    def gives(self) -> list[Span]:
        """The spans in which it gives something."""
        return within(gives(self.track), self.times.spans)


@dataclass(eq=False)
class SlotTimeline:
    """One slot's timeline. catalogue: says what its plans charge by the unit. givings: what each contract gives it of
    each entity.
    """

    slot: Slot
    catalogue: Catalogue
    givings: list[Giving] = field(default_factory=list)

    @cached_property
    def changes(self) -> dict[Moment, list[tuple[Times, list[Giving]]]]:
        """By moment, what changes in it then: what has the same times together."""
        together: dict[Times, list[Giving]] = defaultdict(list)
        for giving in self.givings:
            together[giving.times].append(giving)
        found: dict[Moment, list[tuple[Times, list[Giving]]]] = defaultdict(list)
        for times, givings in together.items():
            for moment in times.moments:
                found[moment].append((times, givings))
        return found

    @cached_property
    def moments(self) -> list[Moment]:
        """When something changes in it, in order."""
        return sorted(self.changes)

    @cached_property
    def plan_givings(self) -> list[Giving]:
        return [giving for giving in self.givings if giving.is_plan]

    @cached_property
    def by_entity(self) -> dict[Entity, list[Giving]]:
        """What each contract gives it, by what that is."""
        found: dict[Entity, list[Giving]] = defaultdict(list)
        for giving in self.givings:
            found[giving.entity].append(giving)
        return found

    @cached_property
    def stands(self) -> list[Span]:
        """The spans in which any contract gives it a plan."""
        return merged(span for giving in self.plan_givings for span in giving.times.spans)

    def place(self, moment: Moment) -> int:
        """The number of the interval that holds a moment; -1 before the first one."""
        return bisect_right(self.moments, moment) - 1

    def given(self, moment: Moment) -> list[tuple[Giving, Holding]]:
        """What counts in it at a moment."""
        held = ((giving, giving.at(moment)) for giving in self.givings)
        return [(giving, holding) for giving, holding in held if holding.gives]

    @cached_property
    def _totals(self) -> Totals:
        return Totals(self)

    def amounts(self, moment: Moment) -> dict[str, float]:
        """How much of each entity there is at a moment; see `Totals.amounts`."""
        self._totals.move(moment)
        return self._totals.amounts()

    def charged_at(self, moment: Moment) -> frozenset[str]:
        """The features that its plan charges by the unit at a moment: an Entitlement line of these is a charge."""
        plan_id = self.plan_at(moment)
        plan = self.catalogue.plan(plan_id) if plan_id is not None else None
        return plan.charged if plan is not None else frozenset()

    def plan_at(self, moment: Moment) -> str | None:
        """The plan that is given at a moment; None: none."""
        lines = (line for giving in self.plan_givings for line in giving.lines(moment))
        return next((line.item.stigg_id for line in lines if line.item.quantity > 0), None)


class Timeline:
    """What some deals come to. In: their contracts, built; now, which nothing was sold after."""

    def __init__(self, contracts: Contracts, now: Instant) -> None:
        self.contracts = contracts
        self.slots: dict[Slot, SlotTimeline] = {}
        self._now = starting(now)
        by_contract = {contract: _tracks(contract) for contract in contracts.contracts}
        self._presence = _presence(by_contract)
        anybody: dict[Slot, list[Span]] = defaultdict(list)
        for (_, slot), spans in self._presence.items():
            anybody[slot] += spans
        self._together = {slot: merged(spans) for slot, spans in anybody.items()}
        self._givings: dict[Contract, dict[tuple[Slot, Entity], Giving]] = {}
        self.unplanned: list[Line] = []
        """Lines whose slot no plan ever stands in while they count."""
        for contract, tracks in by_contract.items():
            self._add(contract, tracks)

    def _add(self, contract: Contract, tracks: Mapping[tuple[Slot, Entity], Track]) -> None:
        """Add what a contract gives."""
        since = min(_sold(contract), self._now)
        known: dict[tuple[Slot, Span], Times] = {}  # most of a contract has the same days
        givings = self._givings[contract] = {}
        for key, found in tracks.items():
            slot, entity = key
            times = self._times(contract, slot, entity, found, since, known)
            if not times.spans and entity[0] != "Plan":
                self.unplanned += found.lines
            givings[key] = giving = Giving(contract, entity, found, times)
            timeline = self.slots.get(slot)
            if timeline is None:
                timeline = self.slots[slot] = SlotTimeline(slot, self.contracts.catalogue)
            timeline.givings.append(giving)

    def _times(
        self,
        contract: Contract,
        slot: Slot,
        entity: Entity,
        found: Track,
        since: Moment,
        known: dict[tuple[Slot, Span], Times],
    ) -> Times:
        """When what a contract gives a slot of an entity counts. known: of its single lines, by their days."""
        if entity[0] == "Plan":
            return Times.of(gives(found), found.moments, since)
        span = found.span
        if span is not None and (slot, span) in known:
            return known[slot, span]
        # A part whose contract never gives a plan counts with the slot's plan, whoever gives it.
        spans = self._presence.get((contract, slot)) or self._together.get(slot, [])
        times = Times.of(within(_lives(found), spans), found.moments, since)
        if span is not None:
            known[slot, span] = times
        return times

    def counts(self, line: Line, moment: Moment) -> bool:
        """Whether a line counts at a moment, with its plan."""
        giving = self._givings.get(line.contract, {}).get((line.slot, line.entity))
        return giving is not None and line.at(moment) and giving.times.hold(moment)


def _presence(
    by_contract: Mapping[Contract, Mapping[tuple[Slot, Entity], Track]],
) -> dict[tuple[Contract, Slot], list[Span]]:
    """By contract and slot, when it gives a plan, or one that renewed it does."""
    found: dict[tuple[Contract, Slot], list[Span]] = {}
    for contract in sorted(by_contract, key=lambda contract: -contract.rank):  # renewals first
        own: dict[Slot, list[Span]] = defaultdict(list)
        for (slot, entity), track_ in by_contract[contract].items():
            if entity[0] == "Plan":
                own[slot] += gives(track_)
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


def gives(found: Track) -> list[Span]:
    """The spans in which there is some of it."""
    held = zip(found.moments, [*found.moments, NO_DAY][1:], found.holdings, strict=True)
    return merged((start, end) for start, end, holding in held if holding.gives)


def _lives(found: Track) -> list[Span]:
    """The spans in which any line of it counts, even where together they come to nothing."""
    return merged((line.start, line.end) for line in found.lines)


def _holds(spans: Sequence[Span], starts: Sequence[Moment], moment: Moment) -> bool:
    """Whether spans hold a moment. starts: theirs, in order."""
    place = bisect_right(starts, moment)
    return place > 0 and moment < spans[place - 1][1]


def _among(moments: Iterable[Moment], spans: Sequence[Span]) -> Iterator[Moment]:
    """Those of some moments that lie within spans."""
    starts = [start for start, _ in spans]
    return (moment for moment in moments if _holds(spans, starts, moment))


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
