"""Cuts: what ends what. Pure.

A cut is an instant from which another deal ends a line. A line's end is the earliest of its cuts, so that their order
cannot matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from closedwon.domain.contract.faults import Fault, tiers_of
from closedwon.domain.contract.pieces import PLAN_PLACE, Cause, Contract, Line, Place, product_of_part
from closedwon.domain.contract.references import Deal, Target
from closedwon.domain.desired import Slot
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import BEGINNING, NO_DAY, Instant, Moment, ending, starting
from closedwon.domain.order import Item

if TYPE_CHECKING:
    from closedwon.domain.contract.contracts import Contracts


@dataclass(eq=False)
class Churn:
    """A cancellation of what another deal sold.

    contracts: those it names as a whole. named: the deals and lines that it names beside. hits: the lines it ends, each
    with the moment; NO_DAY: with a billing period whose end is not known yet. listed: by item, the lines it names.
    """

    deal: Deal
    contracts: frozenset[Contract]
    named: tuple[Target, ...]
    hits: dict[Line, Moment] = field(default_factory=dict)
    listed: dict[int, list[Line]] = field(default_factory=lambda: defaultdict(list))

    @property
    def since(self) -> Instant | None:
        """When it was cancelled."""
        return self.deal.contribution.since or self.deal.order.as_of

    def is_about(self, line: Line) -> bool:
        """Whether it names a line's contract, its deal or the line itself."""
        if line.contract in self.contracts:
            return True
        if any(target.takes(line.deal, line.item, line.contract.contract_id) for target in self.named):
            return True
        return any(self.is_about(other) for other in line.amends)


class Ends(NamedTuple):
    """When what a renewal renews ends, by place and altogether; NO_DAY: on different days, or never."""

    places: dict[tuple[Slot, Place], Moment]
    all: Moment

    def of(self, slot: Slot, item: Item) -> Moment:
        """When the place of an item ends; of one that is new, when all of it does."""
        place = PLAN_PLACE if item.kind == "Plan" else (item.kind, item.stigg_id)
        return self.places.get((slot, place), self.all)


def replaces(whole: Deal, line: Line) -> bool:
    """Whether a whole amendment replaces a line of its contract: what took effect before it, and what it refers to."""
    before, at = line.deal.effective, whole.effective
    return before < at or (before == at and line.deal.depth < whole.depth)


class Cuts:
    """The ends that deals give each other's lines. In: the contracts that are being built; the cancellations."""

    def __init__(self, contracts: Contracts, churns: Iterable[Deal]) -> None:
        self._all = contracts
        self.churns: list[Churn] = []
        self._of_contract: dict[Contract, list[Churn]] = defaultdict(list)
        self._of_deal: dict[Deal, list[Churn]] = defaultdict(list)
        self._covers: dict[Line, list[tuple[Contract, Moment | None]]] = defaultdict(list)
        self._twice: set[tuple[frozenset[Contract], Slot, Place]] = set()
        for deal in churns:
            self._add_churn(deal)

    def _add_churn(self, deal: Deal) -> None:
        names = self._all.names
        listed = [name for item in deal.order.items for name in item.ends]
        contracts: set[Contract] = set()
        named: list[Target] = []
        for name in dict.fromkeys(deal.order.amends or listed):
            targets = [target for target in names.find(name) if target.deal is not deal]
            if not targets and names.says(name):
                self._all.fault("waits_for", deal, reference=name, other=name.partition("/")[0])
            elif not targets:
                self._all.fault("reference_unknown", deal, reference=name)
            for target in targets:
                if target.deal.is_root and not target.names_lines:
                    contracts |= set(self._all.contracts_of(target))
                elif not target.deal.is_churn:
                    named.append(target)
        churn = Churn(deal, frozenset(contracts), tuple(named))
        self.churns.append(churn)
        for contract in contracts:
            self._of_contract[contract].append(churn)
        for named_deal in dict.fromkeys(target.deal for target in named):
            self._of_deal[named_deal].append(churn)

    # Cancellations

    def cancel(self, contract: Contract, lines: Sequence[Line]) -> None:
        """End lines of a contract that cancellations name."""
        for line in list(lines):
            churns = dict.fromkeys((*self._of_contract[contract], *self._of_deal[line.deal]))
            for other in line.amends:
                churns |= dict.fromkeys(self._of_deal[other.deal])
            for churn in churns:
                if churn.is_about(line) and self._lists(churn, contract, line):
                    self._end(churn, line)

    def _lists(self, churn: Churn, contract: Contract, line: Line) -> bool:
        """Whether a line is among those that a cancellation lists, or it lists none."""
        items = churn.deal.order.items
        if not items:
            return True
        if line.is_grant:
            return False
        found = False
        for place, item in enumerate(items):
            if item.ends and not self._names(item, line):
                continue
            same = (item.kind, item.stigg_id) == line.entity
            if same and (item.kind == "Plan" or self._product(churn, contract, item) == line.slot.product_id):
                churn.listed[place].append(line)
                found = True
            elif item.kind == "Plan" and self._all.catalogue.product_of(item.stigg_id) == line.slot.product_id:
                found = True  # a plan takes its parts with it
        return found

    def _names(self, item: Item, line: Line) -> bool:
        targets = [target for name in item.ends for target in self._all.names.find(name)]
        one = any(target.takes(line.deal, line.item, line.contract.contract_id) for target in targets)
        return one or any(self._names(item, other) for other in line.amends)

    def _product(self, churn: Churn, contract: Contract, item: Item) -> str | None:
        own = [plan.stigg_id for plan in churn.deal.order.of_kind("Plan")]
        has = frozenset(contract.sells.get((item.kind, item.stigg_id), ()))
        found = product_of_part(item, own, has, tuple(contract.plans), True, self._all.catalogue)
        return found if isinstance(found, str) else None

    def _end(self, churn: Churn, line: Line) -> None:
        order = churn.deal.order
        at = ending(order.end)
        if order.end is None and order.cancel == "now":
            at = starting(churn.since)
        elif order.end is None:
            at = line.natural
            if at == NO_DAY:
                at = self._with_billing_period(churn.deal.id, starting(churn.since), line)
        churn.hits[line] = at
        if at != NO_DAY:
            line.cut(at, Cause("cancelled", churn.deal.id))

    def _with_billing_period(self, deal: OpportunityId, since: Moment, line: Line) -> Moment:
        """The end of the billing period under way when something was cancelled, where it is known."""
        if line.is_grant:
            return since
        if (known := self._all.learned.ends.get((deal, line.slot))) is not None:
            return ending(known)
        if line.start > since:
            self._all.faults.append(Fault("end_unknown", tiers_of([(deal, line.deal.depth + 1)]), line.slot))
        elif line.end == NO_DAY or line.end > since:
            line.lapses = deal
        return NO_DAY

    def own_end(self, deal: Deal) -> None:
        """End the lines of a deal that its own opportunity ended."""
        end = deal.contribution.own_end
        if end is None or (deal.shadow and end.items):
            return
        for line in self._all.index.of_deal(deal):
            if end.items and not any(self._is_own(item, line) for item in end.items):
                continue
            at = starting(end.at) if end.at is not None else line.natural
            if at == NO_DAY:
                at = self._with_billing_period(deal.id, starting(end.since), line)
            if at != NO_DAY:
                line.cut(at, Cause("own", deal.id))

    def _is_own(self, item: Item, line: Line) -> bool:
        if (item.kind, item.stigg_id) == line.entity:
            return True
        return item.kind == "Plan" and self._all.catalogue.product_of(item.stigg_id) == line.slot.product_id

    # Renewals

    def renewed_ends(self, renewal: Contract) -> Ends:
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
        names = [name for item in renewal.items for name in item.renews]
        if not names or any(not item.renews for item in renewal.items):
            names = [*renewal.root.order.amends, *names]
        found: dict[Line, None] = {}
        narrow: dict[Contract, None] = {}
        for name in dict.fromkeys(names):
            for target in self._all.names.find(name):
                if target.deal is renewal.root:
                    continue
                if not target.names_lines:
                    for root in self._all.names.roots([target]):
                        for contract in self._all.contracts_of(root):
                            found |= dict.fromkeys(contract.lines)
                    continue
                ahead = self._all.index.of(target)
                while ahead:
                    line = ahead.pop()
                    if line not in found:
                        found[line] = None
                        narrow[line.contract] = None
                        ahead += line.amended_by
        for contract in narrow:
            found |= dict.fromkeys(self._unnamed(contract, found))
        return found

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

    def renew(self, renewals: Sequence[Contract]) -> None:
        """End what renewals name: where their own first line of the same place starts, or where they start."""
        for renewal in renewals:
            own = [line for line in renewal.lines if line.ever and not line.is_grant]
            if not own:
                continue  # it cuts only if a line of its own really starts
            gives: dict[tuple[Slot, Place], Moment] = {}
            for line in own:
                key = (line.slot, line.place)
                gives[key] = min(gives.get(key, NO_DAY), line.start)
            for line in self._covered(renewal):
                self._covers[line].append((renewal, gives.get((line.slot, line.place))))
        touched = {line: None for renewal in renewals for line in self._covered(renewal)}
        for line in touched:
            covers = self._covers.get(line, [])
            giving = [(start, renewal) for renewal, start in covers if start is not None]
            # What one renewal leaves out, and another one gives, ends where that one starts.
            for at, renewal in giving or [(renewal.start, renewal) for renewal, _ in covers]:
                line.cut(at, Cause("renewed", renewal.root.id))
            if len(giving) > 1:
                self._note_twice(line, [renewal for _, renewal in giving])

    def _note_twice(self, line: Line, renewals: list[Contract]) -> None:
        """Two renewals, neither renewing the other, that give one place at one time."""
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
        ours, theirs = (
            [o for o in contract.lines if (o.slot, o.place) == (line.slot, line.place) and o.ever]
            for contract in (one, other)
        )
        return any(a.start < b.end and b.start < a.end for a in ours for b in theirs)

    def renewed_from(self, contract: Contract) -> dict[Slot, Moment]:
        """By slot, from when the plan of a contract has been renewed; slots whose plan it goes on giving left out."""
        last: dict[Slot, list[Line]] = defaultdict(list)
        for line in contract.lines:
            if line.is_plan and line.item.quantity > 0 and line.ever:
                last[line.slot].append(line)
        found: dict[Slot, Moment] = {}
        for slot, lines in last.items():
            end = max(line.end for line in lines)
            if any(c.kind == "renewed" for line in lines if line.end == end for c in line.causes):
                found[slot] = end
        return found

    # Amendments, and what nobody sold

    def whole_amendments(self, contract: Contract) -> None:
        """End what a whole amendment replaces: the lines of its contract that took effect before it."""
        for at, deal in contract.wholes:
            for line in contract.lines:
                if replaces(deal, line) and not line.is_grant:
                    line.cut(at, Cause("amended", deal.id))

    def stop(self, contract: Contract) -> None:
        """End what Stigg or billing ended."""
        for stopped in self._all.learned.stopped:
            for line in contract.lines:
                if line.slot == stopped.slot and line.start <= starting(stopped.at):
                    line.cut(ending(stopped.at), Cause("stopped"))

    # What is left to say once all is built

    def finish(self) -> None:
        """Note what does not fit: cancellations that end nothing, amendments of what is over, unknown renewals."""
        for churn in self.churns:
            self._judge(churn)
        for contract in self._all.contracts:
            self._judge_amendments(contract)
        self._judge_unknown_renewals()

    def _judge(self, churn: Churn) -> None:
        deal = churn.deal
        if not churn.contracts and not churn.named:
            return
        for place, item in enumerate(deal.order.items):
            lines = churn.listed.get(place, [])
            at = max((churn.hits.get(line, NO_DAY) for line in lines), default=ending(deal.order.end))
            there = [line for line in lines if line.start < at <= line.end or (at == NO_DAY and line.end == NO_DAY)]
            if not lines:
                self._all.fault("nothing_to_end", deal, at=at, item=item.stigg_id)
            elif item.quantity and there and not any(line.item.unlimited for line in there):
                total = sum(line.item.quantity for line in there)
                if total != item.quantity:
                    self._all.fault(
                        "quantity_mismatch",
                        deal,
                        at=at,
                        slot=there[0].slot,
                        item=item.stigg_id,
                        quantity=item.quantity,
                        there=total,
                    )
        if churn.hits and not self.effective(churn):
            by = {id for line in churn.hits for id in line.ended_by("renewed")}
            renewals = [renewal for id in by if (renewal := self._all.names.deals.get(id)) is not None]
            later = [one for one in renewals if one.sold and deal.sold and one.sold < deal.sold]
            if later and len(later) == len(renewals):
                self._all.fault("renewed_meanwhile", deal, other=min(one.id for one in later))

    def effective(self, churn: Churn) -> list[tuple[Line, Moment]]:
        """The lines that a cancellation really ends, each with the moment; NO_DAY: one that is not known yet."""
        cause = Cause("cancelled", churn.deal.id)
        return [
            (line, at)
            for line, at in churn.hits.items()
            if line.lapses == churn.deal.id
            or (cause in line.causes and not any(other.kind == "renewed" for other in line.causes))
        ]

    def _judge_amendments(self, contract: Contract) -> None:
        """What amends a contract that was over by then."""
        over: dict[Slot, Moment] = {}
        for line in contract.lines:
            if line.is_plan and line.item.quantity > 0 and line.deal is contract.root:
                over[line.slot] = max(over.get(line.slot, BEGINNING), line.end)
        for line in contract.lines:
            if line.deal is contract.root or line.is_grant or line.start < over.get(line.slot, NO_DAY):
                continue
            if line.deal.is_whole_amendment and over[line.slot] <= line.deal.effective and self._replaced(contract):
                continue
            if any(
                other.is_plan and other.slot == line.slot and other.at(line.start) and other.deal is not line.deal
                for other in contract.lines
            ):
                continue
            if over[line.slot] != BEGINNING and not self._cancelled_along(line):
                self._all.fault("contract_over", line.deal, at=line.start, slot=line.slot, other=contract.root.id)

    def _cancelled_along(self, line: Line) -> bool:
        """Whether a line was sold before what ended it was: then it was cancelled, and does not amend what is over."""
        deals = self._all.names.deals
        by = [deals.get(cause.by or "") for cause in line.causes if cause.kind == "cancelled"]
        return any(one and one.sold and line.deal.sold and line.deal.sold < one.sold for one in by)

    def _replaced(self, contract: Contract) -> bool:
        return any(cause.kind == "amended" for line in contract.lines for cause in line.causes)

    def _judge_unknown_renewals(self) -> None:
        """A renewal of something unknown would count double where another contract gives its plan."""
        plans: dict[Slot, list[Line]] = defaultdict(list)
        if self._all.unknown_renewals:
            for line in self._all.lines:
                if line.is_plan and line.ever:
                    plans[line.slot].append(line)
        for deal, names in self._all.unknown_renewals.items():
            for contract in self._all.by_root[deal]:
                for line in contract.lines:
                    others = [o for o in plans[line.slot] if o.contract.root is not deal and o.at(line.start)]
                    if line.is_plan and line.ever and others:
                        facts = {"reference": names[0], "plan": line.item.stigg_id, "other": others[0].deal.id}
                        self._all.fault("renews_unknown", deal, at=line.start, slot=line.slot, **facts)
                        break


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
