"""Cuts: what ends what. Pure.

A cut is an instant from which another deal ends a line. A line's end is the earliest of its cuts, so that their order
cannot matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from closedwon.domain.contract.faults import Fault, tiers_of
from closedwon.domain.contract.pieces import Cause, Contract, Line, product_of_part
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
        for deal in churns:
            self._add_churn(deal)

    def _add_churn(self, deal: Deal) -> None:
        listed = [name for item in deal.order.items for name in item.ends]
        contracts: set[Contract] = set()
        named: list[Target] = []
        for name in dict.fromkeys(deal.order.amends or listed):
            targets = self._all.links.found([name], deal, "reference_unknown")
            for target in targets:
                if target.deal.is_root and not target.names_lines:
                    contracts |= set(self._all.links.contracts_of(target))
                elif not target.deal.is_churn:
                    named.append(target)
        if deal.order.amends:  # what lines name beside it narrows what is ended, and has to be known as well
            self._all.links.found(listed, deal, "reference_unknown")
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
        """Note what does not fit: cancellations that end nothing, amendments of what is over."""
        for churn in self.churns:
            self._judge(churn)
        for contract in self._all.contracts:
            self._judge_amendments(contract)

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
