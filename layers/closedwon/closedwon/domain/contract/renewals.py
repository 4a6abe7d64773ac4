"""Renewals: what renews what, from when, and what they leave out. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from closedwon.domain.contract.faults import Fault, tiers_of
from closedwon.domain.contract.linking import renewed_names
from closedwon.domain.contract.pieces import PLAN_PLACE, Cause, Contract, Line, Place
from closedwon.domain.desired import Slot
from closedwon.domain.instants import BEGINNING, NO_DAY, Moment
from closedwon.domain.order import Item

if TYPE_CHECKING:
    from closedwon.domain.contract.contracts import Contracts


class Ends(NamedTuple):
    """When what a renewal renews ends, by place and altogether; NO_DAY: on different days, or never."""

    places: dict[tuple[Slot, Place], Moment]
    all: Moment

    def of(self, slot: Slot, item: Item) -> Moment:
        """When the place of an item ends; of one that is new, when all of it does."""
        place = PLAN_PLACE if item.kind == "Plan" else (item.kind, item.stigg_id)
        return self.places.get((slot, place), self.all)


class Renewals:
    """The ends that renewals give what they renew. In: the contracts that are being built."""

    def __init__(self, contracts: Contracts) -> None:
        self._all = contracts
        self._covers: dict[Line, list[tuple[Contract, Moment | None]]] = defaultdict(list)
        self._twice: set[tuple[frozenset[Contract], Slot, Place]] = set()

    def ends(self, renewal: Contract) -> Ends:
        """When what a renewal renews ends by itself, after cancellations."""
        places: dict[tuple[Slot, Place], dict[Contract, Moment]] = defaultdict(dict)
        plans: dict[Contract, Moment] = {}
        for line in self._covered(renewal):
            if line.is_grant or line.item.quantity <= 0:
                continue
            by_another = any(cause.kind == "renewed" for cause in line.causes)
            end = line.natural if by_another else min(line.natural, line.end)
            ends = places[line.slot, line.place]
            ends[line.contract] = max(ends.get(line.contract, BEGINNING), end)
            if line.is_plan:
                plans[line.contract] = max(plans.get(line.contract, BEGINNING), end)
        together = {place: _one(ends.values()) for place, ends in places.items()}
        return Ends(together, _one(plans.values()))

    def _covered(self, renewal: Contract) -> Iterable[Line]:
        """The lines that a renewal names: all of a contract, or those named with what was added to them."""
        found: dict[Line, None] = {}
        narrow: dict[Contract, None] = {}
        for name in renewed_names(renewal):
            for target in self._all.names.find(name):
                if target.deal is renewal.root:
                    continue
                if target.names_lines:
                    ahead = self._all.index.of(target)
                    narrow |= dict.fromkeys(line.contract for line in ahead)
                    found |= dict.fromkeys(self._with_amendments(ahead))
                else:
                    contracts = self._all.links.contracts_named([name])
                    found |= {line: None for contract in contracts for line in contract.lines}
        for contract in narrow:
            found |= dict.fromkeys(self._unnamed(contract, found))
        return found

    def _with_amendments(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Lines with those that were added to them by name."""
        ahead, seen = list(lines), set()
        while ahead:
            line = ahead.pop()
            if line not in seen:
                seen.add(line)
                ahead += self._all.added_to.get(line, ())
                yield line

    def _unnamed(self, contract: Contract, found: dict[Line, None]) -> Iterable[Line]:
        """Lines of amendments that name no record: they go once all lines have gone that they may add to."""
        named: dict[tuple[Slot, Place], bool] = {}
        for line in contract.lines:
            if line.deal is contract.root or line.amends:
                gone = line in found or line in self._covers
                named[line.slot, line.place] = named.get((line.slot, line.place), True) and gone
        for line in contract.lines:
            if line.deal is not contract.root and not line.amends and named.get((line.slot, line.place)):
                yield line

    def cut(self, renewals: Sequence[Contract]) -> None:
        """End what renewals name: where their own first line of the same place starts, or where they start."""
        for renewal in renewals:
            self._cover(renewal)
        touched = {line: None for renewal in renewals for line in self._covered(renewal)}
        for line in touched:
            self._cut_line(line)

    def _cover(self, renewal: Contract) -> None:
        """Note what a renewal renews, and from when it gives the same place: if a line of its own really starts."""
        gives: dict[tuple[Slot, Place], Moment] = {}
        for line in renewal.lines:
            if line.ever and not line.is_grant:
                key = (line.slot, line.place)
                gives[key] = min(gives.get(key, NO_DAY), line.start)
        if gives:
            for line in self._covered(renewal):
                self._covers[line].append((renewal, gives.get((line.slot, line.place))))

    def _cut_line(self, line: Line) -> None:
        """End a line where the renewals say it that renew it."""
        covers = self._covers.get(line, [])
        giving = [(start, renewal) for renewal, start in covers if start is not None]
        # What one renewal leaves out, and another one gives, ends where that one starts.
        renewed = giving or [(renewal.start, renewal) for renewal, _ in covers]
        for at, renewal in renewed:
            line.cut(at, Cause("renewed", renewal.root.id))
        if len(renewed) > 1:
            self._note_twice(line, [renewal for _, renewal in renewed])

    def _note_twice(self, line: Line, renewals: list[Contract]) -> None:
        """Two renewals, neither renewing the other, that give one place at one time instead of a line."""
        against = frozenset(one for one in renewals if any(self._meet(one, other, line) for other in renewals))
        key = (against, line.slot, line.place)
        if not against or key in self._twice:
            return
        self._twice.add(key)
        tiers = tiers_of((contract.root.id, contract.root.depth) for contract in against)
        at = max(contract.start for contract in against)
        facts = {"item": line.item.stigg_id, "others": sorted(contract.root.id for contract in against)}
        self._all.faults.append(Fault("renewed_twice", tiers, line.slot, at, facts))

    def _meet(self, one: Contract, other: Contract, line: Line) -> bool:
        if one.root is other.root or _renews(one, other) or _renews(other, one):
            return False
        ours, theirs = _instead_of(line, one), _instead_of(line, other)
        return any(a.slot == b.slot and a.start < b.end and b.start < a.end for a in ours for b in theirs)

    def renewed_from(self, contract: Contract) -> dict[Slot, Moment]:
        """By slot, from when the plan of a contract has been renewed; slots whose plan it goes on giving left out."""
        giving = _plans_by_slot(line for line in contract.lines if line.item.quantity > 0)
        found: dict[Slot, Moment] = {}
        for slot, lines in giving.items():
            end = max(line.end for line in lines)
            if any(c.kind == "renewed" for line in lines if line.end == end for c in line.causes):
                found[slot] = end
        return found

    def finish(self) -> None:
        """A renewal of something unknown would count double where another contract gives its plan."""
        unknown = self._all.links.unknown_renewals
        plans = _plans_by_slot(self._all.lines) if unknown else {}
        for deal, names in unknown.items():
            for contract in self._all.links.by_root[deal]:
                found = next(_given_by_others(contract, plans), None)
                if found is not None:
                    line, other = found
                    facts = {"reference": names[0], "plan": line.item.stigg_id, "other": other.deal.id}
                    self._all.fault("renews_unknown", deal, at=line.start, slot=line.slot, **facts)


def _plans_by_slot(lines: Iterable[Line]) -> dict[Slot, list[Line]]:
    """Of lines, those of plans that count at some time, by slot."""
    found: dict[Slot, list[Line]] = defaultdict(list)
    for line in lines:
        if line.is_plan and line.ever:
            found[line.slot].append(line)
    return found


def _given_by_others(contract: Contract, plans: Mapping[Slot, list[Line]]) -> Iterator[tuple[Line, Line]]:
    """Lines of a contract's plans, each with those of other roots that give a plan of the same slot when it starts."""
    for line in contract.lines:
        if line.is_plan and line.ever:
            yield from (
                (line, other)
                for other in plans[line.slot]
                if other.contract.root is not contract.root and other.at(line.start)
            )


def _instead_of(line: Line, contract: Contract) -> list[Line]:
    """What a renewal gives instead of a line at some time: its place; for a plan also those of other products."""
    lines = [other for other in contract.lines if other.place == line.place and other.ever]
    return [other for other in lines if other.slot == line.slot] or [other for other in lines if line.is_plan]


def _one(moments: Iterable[Moment]) -> Moment:
    """The one moment that several are; NO_DAY where they differ or there is none."""
    different = set(moments)
    return different.pop() if len(different) == 1 else NO_DAY


def _renews(one: Contract, other: Contract) -> bool:
    """Whether a renewal renews another contract, directly or through others."""
    ahead, seen = list(one.renews), set()
    while ahead:
        contract = ahead.pop()
        if contract is other:
            return True
        if contract not in seen:
            seen.add(contract)
            ahead += contract.renews
    return False
