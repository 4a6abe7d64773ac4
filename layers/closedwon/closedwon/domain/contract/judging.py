"""Judging: what does not fit between the lines of one contract. Pure.

Quantities, prices and what quotes were made on are judged within one contract, at every moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

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
            if giving.track.is_given:
                continue
            yield from _below_zero(slot, giving)
            yield from _prices(slot, giving)
            yield from _priors(slot, giving)


class Change(NamedTuple):
    """The lines that end and that start at one moment."""

    moment: Moment
    ending: list[Line]
    starting: list[Line]


def _changes(lines: Iterable[Line]) -> Iterator[Change]:
    """When lines start and end, from the first moment to the last. In: lines that count at some time."""
    found: dict[Moment, Change] = {}
    for line in lines:
        found.setdefault(line.start, Change(line.start, [], [])).starting.append(line)
        found.setdefault(line.end, Change(line.end, [], [])).ending.append(line)
    for moment in sorted(found):
        yield found[moment]


def _is_judged(giving: Giving, moment: Moment) -> bool:
    """Whether what a giving comes to at a moment matters: that of a plan always, that of others while their plan is."""
    return giving.is_plan or giving.times.hold(moment)


class Units:
    """How many units the lines come to that count at a moment: those with a limit, and those without one."""

    def __init__(self) -> None:
        self.lines: dict[Line, None] = {}
        self._sums = [0, 0]

    def add(self, line: Line) -> None:
        """Add a line."""
        self.lines[line] = None
        self._sums[line.item.unlimited] += line.item.quantity

    def remove(self, line: Line) -> None:
        """Take a line out again."""
        del self.lines[line]
        self._sums[line.item.unlimited] -= line.item.quantity

    def remove_deals(self, deals: set[Deal]) -> None:
        """Take out all lines of some deals."""
        for line in [line for line in self.lines if line.deal in deals]:
            self.remove(line)

    @property
    def are_below_zero(self) -> bool:
        """Whether more is taken away than there is."""
        return min(self._sums) < 0

    def missing(self) -> tuple[int, list[Line]]:
        """What is below zero: how many units, and the lines that take them away."""
        without = self._sums[1] < 0
        takers = [line for line in self.lines if line.item.quantity < 0 and line.item.unlimited == without]
        return self._sums[without], takers


def _below_zero(slot: Slot, giving: Giving) -> Iterator[Fault]:
    """Moments at which more is taken away than there is. Who takes makes way before who gives.

    What comes after is looked at without those: so one look finds them all.
    """
    if not any(holding.below_zero for holding in giving.track.holdings):
        return
    units, gone = Units(), set[Deal]()
    for moment, ending, starting in _changes(giving.track.lines):
        for line in ending:
            if line.deal not in gone:
                units.remove(line)
        for line in starting:
            if line.deal not in gone:
                units.add(line)
        if units.are_below_zero and _is_judged(giving, moment):
            yield _taken_too_much(slot, giving, moment, units)
            _, takers = units.missing()
            gone |= {line.deal for line in takers}
            units.remove_deals(gone)


def _taken_too_much(slot: Slot, giving: Giving, moment: Moment, units: Units) -> Fault:
    """The fault of lines that take away more than there is."""
    leaves, takers = units.missing()
    givers = [line for line in units.lines if line.item.quantity > 0]
    tiers = (*tiers_of(depths(takers)), *tiers_of(depths(givers)))
    taken = -sum(line.item.quantity for line in takers)
    facts = {"item": giving.entity[1], "quantity": taken, "there": taken + leaves, "leaves": leaves}
    return Fault("below_zero", tiers, slot, moment, facts, frozenset(line.deal.id for line in takers))


def _prices(slot: Slot, giving: Giving) -> Iterator[Fault]:
    """Prices that the contract did not charge; known prices beside the catalogue's."""
    for moment, line in giving.track.conflicts:
        others = [other for other in giving.track.lines if other.at(moment) and other.deal is not line.deal]
        tiers = (*tiers_of(depths([line])), *tiers_of(depths(others)))
        facts = {"item": line.item.stigg_id, "price": line.item.price, "quantity": line.item.quantity}
        yield Fault("price_conflict", tiers, slot, moment, facts)
    for moment, holding in zip(giving.track.moments, giving.track.holdings, strict=True):
        if holding.mixed and _is_judged(giving, moment):
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

    def add_lines(self, lines: Iterable[Line]) -> None:
        """Add what lines give."""
        for line in lines:
            self.add_line(line)

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
    if not any(_is_quoted(line) for line in lines):
        return
    alive: dict[Line, None] = {}
    total, sums = 0, Sums()
    for moment, ending, starting in _changes(lines):
        for line in ending:
            total -= line.item.quantity
            del alive[line]
        if ending:
            sums = Sums()
            sums.add_lines(alive)
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
    left = _not_in_turn([line for line in starting if _is_quoted(line)], starting, total)
    if not left:
        return
    everything = sums.copy()
    everything.add_lines(starting)
    after = total + sum(line.item.quantity for line in starting)
    for line in left:
        if (line.item.prior or 0) not in everything or not _is_sum_of_others(line, starting, alive, after, sums):
            yield line


def _is_sum_of_others(line: Line, starting: list[Line], alive: dict[Line, None], after: int, sums: Sums) -> bool:
    """Whether a line's prior quantity is all that other deals give, or a part of it. after: what all come to."""
    prior = line.item.prior or 0
    own = sum(other.item.quantity for other in starting if other.deal is line.deal)
    return prior == after - own or prior in _without(line.deal, starting, alive, sums)


def _is_quoted(line: Line) -> bool:
    """Whether a line says on which quantity its quote was made, so that it can be judged."""
    return line.item.prior is not None and not line.item.unlimited and line.difference


def _not_in_turn(quoted: list[Line], starting: list[Line], total: int) -> list[Line]:
    """The quotes of one moment left when those are gone that were made one on the other: each of them is right where
    the one before it is.

    In: the lines with a prior quantity; all that start then; how many units there were before.
    """
    by_prior: dict[int, list[Line]] = defaultdict(list)
    for line in quoted:
        by_prior[line.item.prior or 0].append(line)
    right: set[Line] = set()
    first = sum(line.item.quantity for line in starting if line.item.prior is None and not line.difference)
    ahead = [total, total + first]
    while ahead:
        sum_ = ahead.pop()
        for line in by_prior.pop(sum_, ()):
            right.add(line)
            ahead.append(sum_ + line.item.quantity)
    return [line for line in quoted if line not in right]


def _without(deal: Deal, starting: list[Line], alive: dict[Line, None], sums: Sums) -> Sums:
    """The sums of what other deals give."""
    if any(line.deal is deal for line in alive):
        sums = Sums()
        sums.add_lines(line for line in alive if line.deal is not deal)
    found = sums.copy()
    found.add_lines(line for line in starting if line.deal is not deal)
    return found
