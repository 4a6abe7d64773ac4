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
        churn = self._churn_of(deal)
        self.churns.append(churn)
        for contract in churn.contracts:
            self._of_contract[contract].append(churn)
        for named_deal in dict.fromkeys(target.deal for target in churn.named):
            self._of_deal[named_deal].append(churn)

    def _churn_of(self, deal: Deal) -> Churn:
        """What a cancellation names: what the deal says, or else what its lines do."""
        listed = [name for item in deal.order.items for name in item.ends]
        contracts: set[Contract] = set()
        named: list[Target] = []
        for target in self._all.links.found(dict.fromkeys(deal.order.amends or listed), deal, "reference_unknown"):
            if target.deal.is_root and not target.names_lines:
                contracts |= set(self._all.links.contracts_of(target))
            elif not target.deal.is_churn:
                named.append(target)
        if deal.order.amends:  # what lines name beside it narrows what is ended, and has to be known as well
            self._all.links.found(listed, deal, "reference_unknown")
        return Churn(deal, frozenset(contracts), tuple(named))

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
            elif self._takes_along(item, line):
                found = True
        return found

    def _names(self, item: Item, line: Line) -> bool:
        targets = [target for name in item.ends for target in self._all.names.find(name)]
        one = any(target.takes(line.deal, line.item, line.contract.contract_id) for target in targets)
        return one or any(self._names(item, other) for other in line.amends)

    def _product(self, churn: Churn, contract: Contract, item: Item) -> str | None:
        own = [plan.stigg_id for plan in churn.deal.order.of_kind("Plan")]
        has = contract.sells.get((item.kind, item.stigg_id), frozenset())
        found = product_of_part(item, own, has, tuple(contract.plans), True, self._all.catalogue)
        return found if isinstance(found, str) else None

    def _end(self, churn: Churn, line: Line) -> None:
        order = churn.deal.order
        if order.end is not None:
            at = ending(order.end)
        elif order.cancel == "now":
            at = starting(churn.since)
        else:
            at = self._by_itself(churn.deal.id, starting(churn.since), line)
        churn.hits[line] = at
        if at != NO_DAY:
            line.cut(at, Cause("cancelled", churn.deal.id))

    def _by_itself(self, deal: OpportunityId, since: Moment, line: Line) -> Moment:
        """When a line ends that a deal cancelled without a day: as it was sold, or else with the billing period."""
        return line.natural if line.natural != NO_DAY else self._with_billing_period(deal, since, line)

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
            at = starting(end.at) if end.at is not None else self._by_itself(deal.id, starting(end.since), line)
            if at != NO_DAY:
                line.cut(at, Cause("own", deal.id))

    def _is_own(self, item: Item, line: Line) -> bool:
        return (item.kind, item.stigg_id) == line.entity or self._takes_along(item, line)

    def _takes_along(self, item: Item, line: Line) -> bool:
        """Whether an item is a plan that takes a line with it when it ends: one of its product."""
        return item.kind == "Plan" and self._all.catalogue.product_of(item.stigg_id) == line.slot.product_id

    # Amendments, and what nobody sold

    def whole_amendments(self, contract: Contract) -> None:
        """End what a whole amendment replaces: the lines of its contract that took effect before it."""
        for at, deal in contract.wholes:
            for line in contract.lines:
                if replaces(deal, line) and not line.is_grant:
                    line.cut(at, Cause("amended", deal.id))

    def stop(self, contract: Contract) -> None:
        """End what was ended elsewhere: what had begun by then, and what was sold by then and would only begin, such as
        the next step of a ramp. What is sold later is not touched by it.
        """
        for stopped in self._all.learned.stopped:
            since = starting(stopped.at)
            for line in contract.lines:
                sold = line.deal.sold is not None and starting(line.deal.sold) <= since
                if line.slot == stopped.slot and (sold or line.start <= since):
                    line.cut(ending(stopped.at), Cause("stopped"))

    # What is left to say once all is built

    def finish(self) -> None:
        """Note what does not fit: cancellations that end nothing, amendments of what is over."""
        for churn in self.churns:
            self._judge(churn)
        for contract in self._all.contracts:
            self._judge_amendments(contract)

    def _judge(self, churn: Churn) -> None:
        if not churn.contracts and not churn.named:
            return
        for place, item in enumerate(churn.deal.order.items):
            self._judge_item(churn, item, churn.listed.get(place, []))
        if churn.hits and not self.effective(churn):
            self._judge_renewed(churn)

    def _judge_item(self, churn: Churn, item: Item, lines: Sequence[Line]) -> None:
        """Note that an item of a cancellation ends nothing, or another quantity than it says."""
        at = max((churn.hits.get(line, NO_DAY) for line in lines), default=ending(churn.deal.order.end))
        if not lines:
            self._all.fault("nothing_to_end", churn.deal, at=at, item=item.stigg_id)
            return
        there = _there(lines, at)
        if not item.quantity or not there or any(line.item.unlimited for line in there):
            return
        total = sum(line.item.quantity for line in there)
        if total != item.quantity:
            facts = {"item": item.stigg_id, "quantity": item.quantity, "there": total}
            self._all.fault("quantity_mismatch", churn.deal, at=at, slot=there[0].slot, **facts)

    def _judge_renewed(self, churn: Churn) -> None:
        """Note that renewals which were all sold before a cancellation renewed what it would end."""
        by = {id for line in churn.hits for id in line.ended_by("renewed")}
        renewals = [renewal for id in by if (renewal := self._all.names.deals.get(id)) is not None]
        earlier = [one.id for one in renewals if _sold_before(one, churn.deal)]
        if earlier and len(earlier) == len(renewals):
            self._all.fault("renewed_meanwhile", churn.deal, other=min(earlier))

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
        """Note what amends a contract that was over by then."""
        over = _plans_over(contract)
        for line in contract.lines:
            if line.deal is contract.root or line.is_grant or line.start < over.get(line.slot, NO_DAY):
                continue
            if not self._may_follow(line, over[line.slot]):
                self._all.fault("contract_over", line.deal, at=line.start, slot=line.slot, other=contract.root.id)

    def _may_follow(self, line: Line, over: Moment) -> bool:
        """Whether a line may start although the plan it was sold for is over: that never was, or another plan is there,
        or the line was cancelled along with it, or comes with a whole amendment of a contract that is replaced.
        """
        if over == BEGINNING or self._cancelled_along(line) or _has_other_plan(line):
            return True
        return line.deal.is_whole_amendment and over <= line.deal.effective and _is_replaced(line.contract)

    def _cancelled_along(self, line: Line) -> bool:
        """Whether a line was sold before what ended it was: then it was cancelled, and does not amend what is over."""
        deals = self._all.names.deals
        by = [deals.get(cause.by or "") for cause in line.causes if cause.kind == "cancelled"]
        return any(one is not None and _sold_before(line.deal, one) for one in by)


def _sold_before(deal: Deal, other: Deal) -> bool:
    """Whether a deal was sold before another one; no, where that is not known."""
    return deal.sold is not None and other.sold is not None and deal.sold < other.sold


def _there(lines: Iterable[Line], at: Moment) -> list[Line]:
    """The lines that are there until a moment; NO_DAY: those that do not end."""
    return [line for line in lines if line.start < at <= line.end or (at == NO_DAY and line.end == NO_DAY)]


def _plans_over(contract: Contract) -> dict[Slot, Moment]:
    """By slot, when the last plan that a contract's root sold is over."""
    over: dict[Slot, Moment] = {}
    for line in contract.lines:
        if line.is_plan and line.item.quantity > 0 and line.deal is contract.root:
            over[line.slot] = max(over.get(line.slot, BEGINNING), line.end)
    return over


def _has_other_plan(line: Line) -> bool:
    """Whether another deal gives the contract a plan in a line's slot when the line starts."""
    return any(
        other.is_plan and other.slot == line.slot and other.at(line.start) and other.deal is not line.deal
        for other in line.contract.lines
    )


def _is_replaced(contract: Contract) -> bool:
    """Whether a whole amendment replaces anything of a contract."""
    return any(cause.kind == "amended" for line in contract.lines for cause in line.causes)
