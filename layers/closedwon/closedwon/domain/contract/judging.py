"""Judging: what does not fit between the lines of one contract. Pure.

Quantities, prices and what quotes were made on are judged within one contract, at every moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from closedwon.domain.contract.faults import Fault, tiers_of
from closedwon.domain.contract.pieces import Line
from closedwon.domain.contract.references import Deal
from closedwon.domain.contract.timeline import Giving, Timeline
from closedwon.domain.desired import Slot
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import Moment

MOST_BITS = 1 << 22
"""How large the sums may be among which a prior quantity is looked for: beyond, any is believed."""


def depths(lines: Iterable[Line]) -> list[tuple[OpportunityId, int]]:
    """The deals of lines, each with its depth."""
    return list({line.deal.id: line.deal.depth for line in lines}.items())


def contract_faults(timeline: Timeline) -> Iterator[Fault]:
    """What does not fit within contracts."""
    for slot, found in timeline.slots.items():
        for giving in found.givings:
            yield from _below_zero(slot, giving)
            yield from _prices(slot, giving)
            yield from _priors(slot, giving)


def _below_zero(slot: Slot, giving: Giving) -> Iterator[Fault]:
    """Moments at which more is taken away than there is. Who takes makes way before who gives.

    What comes after is looked at without those: so one look finds them all.
    """
    if not any(holding.below_zero for holding in giving.track.holdings):
        return
    changes: dict[Moment, list[Line]] = defaultdict(list)
    for line in giving.track.lines:
        changes[line.start].append(line)
        changes[line.end].append(line)
    units, alive, gone = [0, 0], dict[Line, None](), set[Deal]()
    for moment in sorted(changes):
        for line in changes[moment]:
            if line.deal in gone:
                continue
            starts = line.start == moment
            units[line.item.unlimited] += line.item.quantity if starts else -line.item.quantity
            if starts:
                alive[line] = None
            else:
                del alive[line]
        if min(units) >= 0 or not (giving.is_plan or giving.counts_at(moment)):
            continue
        without = units[1] < 0
        takers = [line for line in alive if line.item.quantity < 0 and line.item.unlimited == without]
        givers = [line for line in alive if line.item.quantity > 0]
        tiers = (*tiers_of(depths(takers)), *tiers_of(depths(givers)))
        taken = -sum(line.item.quantity for line in takers)
        facts = {"item": giving.entity[1], "quantity": taken, "there": taken + units[without]}
        by = frozenset(line.deal.id for line in takers)
        yield Fault("below_zero", tiers, slot, moment, {**facts, "leaves": units[without]}, by)
        gone |= {line.deal for line in takers}
        for line in [line for line in alive if line.deal in gone]:
            units[line.item.unlimited] -= line.item.quantity
            del alive[line]


def _prices(slot: Slot, giving: Giving) -> Iterator[Fault]:
    """Prices that the contract did not charge; known prices beside the catalogue's."""
    for moment, line in giving.track.conflicts:
        others = [other for other in giving.track.lines if other.at(moment) and other.deal is not line.deal]
        tiers = (*tiers_of(depths([line])), *tiers_of(depths(others)))
        facts = {"item": line.item.stigg_id, "price": line.item.price, "quantity": line.item.quantity}
        yield Fault("price_conflict", tiers, slot, moment, facts)
    for moment, holding in zip(giving.track.moments, giving.track.holdings, strict=True):
        if holding.mixed and (giving.is_plan or giving.counts_at(moment)):
            alive = [line for line in giving.track.lines if line.at(moment)]
            yield Fault("price_unknown", tiers_of(depths(alive)), slot, moment, {"item": giving.entity[1]})
            break


class Sums:
    """All sums of some of the quantities added so far, as bits."""

    def __init__(self) -> None:
        self._bits, self._zero = 1, 0

    def add(self, quantity: int) -> None:
        """Add a quantity, which a sum may hold or not."""
        if self._bits.bit_length() + abs(quantity) > MOST_BITS:
            self._bits = 0
        elif quantity >= 0:
            self._bits |= self._bits << quantity
        else:
            self._bits |= self._bits << -quantity
            self._zero -= quantity

    def add_line(self, line: Line) -> None:
        """Add what a line gives. One that several lines of the deal were added up to may be any part of it."""
        if len(line.item.lines) < 2 or line.item.quantity < 2:
            self.add(line.item.quantity)
            return
        left, step = line.item.quantity, 1
        while left:
            step = min(step, left)
            self.add(step)
            left, step = left - step, step * 2

    def __contains__(self, total: int) -> bool:
        place = total + self._zero
        return not self._bits or (place >= 0 and bool(self._bits >> place & 1))

    def copy(self) -> Sums:
        other = Sums()
        other._bits, other._zero = self._bits, self._zero
        return other


def _priors(slot: Slot, giving: Giving) -> Iterator[Fault]:
    """Quotes that were made on a quantity that no lines of the contract come to on the day the line starts."""
    lines = giving.track.lines
    if all(line.item.prior is None or line.item.unlimited or not line.difference for line in lines):
        return
    changes: dict[Moment, tuple[list[Line], list[Line]]] = defaultdict(lambda: ([], []))
    for line in lines:
        changes[line.start][0].append(line)
        changes[line.end][1].append(line)
    alive: dict[Line, None] = {}
    total, sums = 0, Sums()
    for moment in sorted(changes):
        starting, ending = changes[moment]
        for line in ending:
            total -= line.item.quantity
            del alive[line]
        if ending:
            sums = Sums()
            for line in alive:
                sums.add_line(line)
        for line in _misquoted(starting, alive, total, sums):
            there = total + sum(o.item.quantity for o in starting if o.deal is not line.deal)
            facts = {"item": line.item.stigg_id, "before": line.item.prior, "there": there}
            tiers = (*tiers_of(depths([line])), *tiers_of([(line.contract.root.id, line.contract.root.depth)]))
            yield Fault("prior_mismatch", tiers, slot, moment, facts, frozenset({line.deal.id}))
        for line in starting:
            total += line.item.quantity
            alive[line] = None
            sums.add_line(line)


def _misquoted(starting: list[Line], alive: dict[Line, None], total: int, sums: Sums) -> Iterator[Line]:
    """Of the lines that start at one moment, those whose prior quantity is no sum of the others that count then."""
    quoted = [line for line in starting if line.item.prior is not None and not line.item.unlimited and line.difference]
    if not quoted:
        return
    after = total + sum(line.item.quantity for line in starting)
    by_prior: dict[int, list[Line]] = defaultdict(list)
    for line in quoted:
        by_prior[line.item.prior or 0].append(line)
    # Quotes that were made one on the other: each is right where the one before it is.
    right: set[Line] = set()
    first = sum(line.item.quantity for line in starting if line.item.prior is None and not line.difference)
    ahead = [total, total + first]
    while ahead:
        sum_ = ahead.pop()
        for line in by_prior.pop(sum_, ()):
            right.add(line)
            ahead.append(sum_ + line.item.quantity)
    left = [line for line in quoted if line not in right]
    if not left:
        return
    everything = sums.copy()
    for line in starting:
        everything.add_line(line)
    for line in left:
        prior = line.item.prior or 0
        if prior in everything and (
            prior == after - sum(o.item.quantity for o in starting if o.deal is line.deal)
            or prior in _without(line.deal, starting, alive, sums)
        ):
            continue
        yield line


def _without(deal: Deal, starting: list[Line], alive: dict[Line, None], sums: Sums) -> Sums:
    """The sums of what other deals give."""
    if any(line.deal is deal for line in alive):
        sums = Sums()
        for line in alive:
            if line.deal is not deal:
                sums.add_line(line)
    found = sums.copy()
    for line in starting:
        if line.deal is not deal:
            found.add_line(line)
    return found
