"""Contracts: the deals of one customer, dated and put together. Pure.

Contracts are built in the order of their renewals: one is complete, with its amendments and what ends it, before what
renews it is dated. Nothing else depends on an order: ends are cuts, and the earliest counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from typing import Any

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.cuts import Cuts, replaces
from closedwon.domain.contract.faults import Code, Fault, tiers_of
from closedwon.domain.contract.pieces import (
    TERM,
    Contract,
    Line,
    LineIndex,
    Unresolved,
    part_key,
    product_of_part,
)
from closedwon.domain.contract.references import Deal, Names, Target
from closedwon.domain.desired import Policy, Slot
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import BEGINNING, NO_DAY, Instant, Moment, ending, starting
from closedwon.domain.order import Item, Order

CONVERSION = timedelta(minutes=1)
"""How long Stigg is given to make a paid subscription of a trial that converts: looked for any earlier, it would be
missing, and made a second time.
"""


@dataclass(frozen=True)
class Stopped:
    """What Stigg or billing ended by itself: not given back by another deal. reason: Stigg's own word for it."""

    slot: Slot
    generation: int
    reason: str
    at: Instant


@dataclass(frozen=True)
class Learned:
    """What only Stigg knows, and the resolved products of settled parts.

    ends: by cancellation and slot, when the billing period ended that was under way when it was cancelled. stopped:
    what Stigg or billing ended. products: by `part_key`, where settled parts belong: a later catalogue moves nothing.
    """

    ends: Mapping[tuple[OpportunityId, Slot], Instant] = field(default_factory=dict)
    stopped: tuple[Stopped, ...] = ()
    products: Mapping[str, str] = field(default_factory=dict)


class Contracts:
    """The contracts of some deals.

    In: the deals that contribute; every order ever read; the renewals that are held, whose contracts keep their term;
    the catalogue; the stack's policy; what was learned.
    Out: `contracts`, their `lines`, `churns` with what they end, and `faults`.
    """

    def __init__(
        self,
        deals: Sequence[Deal],
        known: Iterable[Order],
        held_renewals: Iterable[Order],
        catalogue: Catalogue,
        policy: Policy,
        learned: Learned,
    ) -> None:
        self.catalogue = catalogue
        self.policy = policy
        self.learned = learned
        self.names = Names([deal for deal in deals if not deal.shadow], known)
        self.faults: list[Fault] = []
        self.index = LineIndex()
        self.contracts: list[Contract] = []
        self.products: dict[str, str] = {}
        self.lost: set[OpportunityId] = set()
        """Deals of whose plans the catalogue knows none any more."""
        self.unknown_renewals: dict[Deal, list[str]] = {}
        self.by_root: dict[Deal, list[Contract]] = {}
        circle = set(self.names.set_depths())
        for deal in circle:
            self.fault("reference_circle", deal)
        placed = [deal for deal in deals if deal not in circle]
        self._customer_has_resources = any(deal.order.resource_id for deal in placed)
        for deal in placed:
            if deal.is_root:
                self._open(deal)
        for deal in placed:
            if deal.is_renewal:
                self._link(deal)
        self._keep_terms(held_renewals)
        self._amendments: dict[Contract, list[tuple[Deal, Item]]] = defaultdict(list)
        for deal in placed:
            if deal.order.trigger == "amendment":
                self._attach(deal)
        self.cuts = Cuts(self, [deal for deal in placed if deal.is_churn])
        for _, same in groupby(sorted(self.contracts, key=_rank), key=_rank):
            self._build(list(same))
        self.cuts.finish()

    @property
    def lines(self) -> Iterable[Line]:
        return (line for contract in self.contracts for line in contract.lines)

    def fault(self, code: Code, deal: Deal, at: Moment | None = None, slot: Slot | None = None, **facts: Any) -> None:
        """Note a fault of one deal: it makes way, and nobody else does."""
        self.faults.append(Fault(code, tiers_of([(deal.id, deal.depth)]), slot, at, facts))

    # Who belongs to whom

    def _open(self, deal: Deal) -> None:
        """The contracts that a root begins."""
        items: dict[str | None, list[Item]] = {}
        for item in deal.order.items:
            items.setdefault(item.contract_id or deal.order.contract_id, []).append(item)
        items = items or {deal.order.contract_id: []}
        self.by_root[deal] = [
            Contract(deal, contract_id, tuple(some), deal.order.resource_id) for contract_id, some in items.items()
        ]
        self.contracts += self.by_root[deal]

    def contracts_of(self, target: Target) -> list[Contract]:
        """The contracts that a name of a root leads to."""
        contracts = self.by_root.get(target.deal, [])
        if target.contract_id is not None:
            return [contract for contract in contracts if contract.contract_id == target.contract_id] or contracts
        if target.names_lines:
            return [
                contract
                for contract in contracts
                if any(target.takes(target.deal, item, contract.contract_id) for item in contract.items)
            ]
        return contracts

    def _found(self, names: Iterable[str], deal: Deal, code: Code) -> tuple[Target, ...]:
        """What names lead to; what they do not is a fault of the deal that says them: code, where nobody knows it."""
        found: list[Target] = []
        for name in names:
            targets = [target for target in self.names.find(name) if target.deal is not deal]
            found += targets
            if not targets and self.names.says(name):
                self.fault("waits_for", deal, reference=name, other=name.partition("/")[0])
            elif not targets:
                self.fault(code, deal, reference=name)
        return tuple(dict.fromkeys(found))

    def _link(self, deal: Deal) -> None:
        """Say what a renewal renews."""
        unknown: list[str] = []
        for contract in self.by_root[deal]:
            names = [name for item in contract.items for name in item.renews]
            if not names or any(not item.renews for item in contract.items):
                names = [*deal.order.amends, *names]
            renewed: dict[Contract, None] = {}
            for name in dict.fromkeys(names):
                targets = [target for target in self.names.find(name) if target.deal is not deal]
                if not targets and self.names.says(name):
                    self.fault("waits_for", deal, reference=name, other=name.partition("/")[0])
                elif not targets:
                    unknown.append(name)
                for root in self.names.roots(targets):
                    renewed |= dict.fromkeys(self.contracts_of(root))
            contract.renews = tuple(renewed)
            for other in renewed:
                other.renewed_by.append(contract)
            contract.rank = deal.depth
            resources = {other.resource_id for other in renewed}
            if contract.resource_id is None and len(resources) == 1:
                contract.resource_id = next(iter(resources))
            elif contract.resource_id is None and len(resources) > 1:
                self.fault("reference_ambiguous", deal, others=sorted(str(one) for one in resources))
            if unknown and contract.resource_id is None and not renewed and self._customer_has_resources:
                self.fault("reference_unknown", deal, reference=unknown[0])
        if unknown:
            self.unknown_renewals[deal] = unknown

    def _keep_terms(self, held: Iterable[Order]) -> None:
        """While a deal that would renew a contract is held, its term goes on."""
        for order in held:
            names = [*order.amends, *(name for item in order.items for name in item.renews)]
            targets = [target for name in names for target in self.names.find(name)]
            for root in self.names.roots(targets):
                for contract in self.contracts_of(root):
                    contract.keeps = True

    def _attach(self, deal: Deal) -> None:
        """Say to which contract each line of an amendment belongs."""
        order = deal.order
        roots = self.names.roots(self._found(order.amends, deal, "no_base"))
        own = list(dict.fromkeys(contract for root in roots for contract in self.contracts_of(root)))
        if order.amends and not own and not self._faulty(deal):
            self.fault("no_base", deal, reference=order.amends[0])
        for item in order.items:
            among = own
            if item.amends:
                targets = self.names.roots(self._found(item.amends, deal, "reference_unknown"))
                among = list(dict.fromkeys(c for root in targets for c in self.contracts_of(root)))
            if len(among) > 1:
                among = self._with_place(item, among)
            if len(among) == 1:
                self._amendments[among[0]].append((deal, item))
            elif among:
                self.fault("reference_ambiguous", deal, item=item.stigg_id, others=sorted({c.root.id for c in among}))
        if deal.is_whole_amendment:
            for contract in own:
                contract.wholes.append((BEGINNING, deal))
        for contract in own:
            if order.currency != contract.root.order.currency:
                before = contract.root.order.currency
                self.fault("currency_conflict", deal, before=before, after=order.currency, other=contract.root.id)
                break

    def _faulty(self, deal: Deal) -> bool:
        return bool(self.faults) and deal.id in self.faults[-1].deals

    def _with_place(self, item: Item, among: list[Contract]) -> list[Contract]:
        """Of several contracts, those that have an item's place; of a new one, those that have its plan."""
        product = self.catalogue.product_of
        if item.kind == "Plan":
            wanted = product(item.stigg_id)
            return [c for c in among if any(product(i.stigg_id) == wanted for i in c.items if i.kind == "Plan")]
        having = [contract for contract in among if (item.kind, item.stigg_id) in contract.entities]
        if item.plan_id is not None and len(having or among) > 1:
            product_id = product(item.plan_id)
            plans = [
                c
                for c in having or among
                if any(product(i.stigg_id) == product_id for i in c.items if i.kind == "Plan")
            ]
            return plans or having
        return having or among

    # Dates

    def _build(self, contracts: list[Contract]) -> None:
        """Build contracts between which no renewal leads."""
        for contract in contracts:
            self._date_root(contract)
            self.cuts.own_end(contract.root)
            self.cuts.cancel(contract, contract.lines)
        self.cuts.renew([contract for contract in contracts if contract.renews])
        moving = dict.fromkeys(other for contract in contracts for other in contract.renews)
        for other in moving:
            self._move(other)
        for contract in contracts:
            self._amend(contract)
            self._end_of_term(contract)
            self.cuts.whole_amendments(contract)
            self.cuts.stop(contract)

    def _date_root(self, contract: Contract) -> None:
        """Date the lines of a base, trial or renewal."""
        deal, order = contract.root, contract.root.order
        slots = [(item, self._slot(deal, item, contract, contract.is_trial)) for item in contract.items]
        known = [(item, slot) for item, slot in slots if slot is not None]
        starts = [starting(order.start)] * len(known)
        if deal.is_renewal and order.start is None:
            ends = self.cuts.renewed_ends(contract)
            starts = [end for item, slot in known if (end := ends.of(slot, item)) != NO_DAY]
            if len(starts) < len(known) or not starts:
                self.fault("start_unknown", deal, others=sorted({other.root.id for other in contract.renews}))
                return
        contract.start = deal.effective = min(starts, default=starting(order.start))
        over = ending(_trial_over(order))
        for (item, slot), own in zip(known, starts, strict=True):
            begins, sold = max(starting(item.start), own), ending(item.end or order.end)
            if not contract.is_trial:
                self._add(Line(deal, item, contract, slot, begins, sold))
                continue
            self._add(Line(deal, item, contract, slot, begins, min(over, ending(item.end))))
            if order.trial_end_behavior == "CONVERT_TO_PAID" and not deal.shadow and item.kind != "Credit grant":
                self._add(Line(deal, item, contract, slot._replace(trial=False), max(begins, over), sold))

    def _add(self, line: Line) -> None:
        # A credit grant is no line: its expiry is not its end.
        line.end = NO_DAY if line.is_grant else line.natural
        line.causes = () if line.end == NO_DAY else (TERM,)
        line.contract.add(line)
        self.index.add(line)

    def _slot(self, deal: Deal, item: Item, contract: Contract, trial: bool) -> Slot | None:
        """The slot of an item; None where that is not known, which is noted."""
        resource_id = deal.order.resource_id or contract.resource_id
        if item.kind == "Credit grant":
            return Slot("", resource_id)
        if not item.quantity and not item.value:
            return None
        key = part_key(deal.id, item)
        product = None if deal.fresh else self.learned.products.get(key)
        if product is None:
            found = self._product(deal, item, contract)
            if isinstance(found, Unresolved):
                self._unresolved(deal, item, found)
                return None
            product = found
        self.products[key] = product
        return Slot(product, resource_id, trial)

    def _product(self, deal: Deal, item: Item, contract: Contract) -> str | Unresolved:
        if item.kind == "Plan":
            return self.catalogue.product_of(item.stigg_id) or Unresolved("no_plan", (item.stigg_id,))
        order = deal.order
        sign = item.quantity >= 0
        own = [plan.stigg_id for plan in order.of_kind("Plan") if plan.quantity >= 0 or not sign]
        if not order.differences:
            own = [plan.stigg_id for plan in order.of_kind("Plan") if plan in contract.items or not deal.is_root] or own
        amends = order.differences
        has = frozenset(contract.sells.get((item.kind, item.stigg_id), ()) if amends else ())
        plans = tuple(contract.plans) if amends else ()
        return product_of_part(item, own, has, plans, amends, self.catalogue)

    def _unresolved(self, deal: Deal, item: Item, why: Unresolved) -> None:
        if deal.fresh:
            self.fault(why.code, deal, item=item.stigg_id, plans=list(why.plans))
        elif item.kind == "Plan":
            self.lost.add(deal.id)  # provisioned once, unknown to Stigg since: what stands stays as it is

    def _amend(self, contract: Contract) -> None:
        """Date the lines that amendments add to a contract, those it got from what it renewed included."""
        first = _latest_end(contract)
        wholes: dict[Deal, Moment] = {}
        for _, deal in contract.wholes:
            deal.effective = max(starting(deal.order.start), contract.start)
            wholes[deal] = ending(deal.order.end) if deal.order.end else NO_DAY
        contract.wholes = sorted(((deal.effective, deal) for deal in wholes), key=lambda one: (one[0], one[1].depth))
        ends = [(at, ending(deal.order.end)) for at, deal in contract.wholes if deal.order.end]

        def over(moment: Moment) -> Moment:
            """When the contract is over, for what starts at a moment."""
            return next((end for at, end in reversed(ends) if at <= moment), first)

        def place(one: tuple[Deal, Item]) -> tuple[int, Moment]:
            return (one[0].depth, starting(one[0].order.start))

        added: list[Line] = []
        for _, same in groupby(sorted(self._amendments.pop(contract, ()), key=place), key=place):
            new: list[Line] = []
            for deal, item in same:
                deal.effective = max(starting(deal.order.start), contract.start)
                slot = self._slot(deal, item, contract, contract.is_trial)
                if slot is None:
                    continue
                begins = max(starting(item.start), deal.effective)
                said = item.end or deal.order.end
                until = over(begins)
                if begins >= until and (self.policy.end_of_term == "keep" or contract.keeps):
                    until = NO_DAY  # the term went on
                natural = ending(said) if said and (deal.is_whole_amendment or ending(said) < until) else until
                new.append(Line(deal, item, contract, slot, begins, natural))
            for line in new:  # of one day and depth, all see the same contract
                self._add(line)
                self._follow(line)
            added += new
        for deal in dict.fromkeys(line.deal for line in added):
            self.cuts.own_end(deal)
        self.cuts.cancel(contract, added)

    def _follow(self, line: Line) -> None:
        """Remember which lines a line adds to, where it names them."""
        named = [target for name in line.item.amends for target in self.names.find(name) if target.names_lines]
        line.amends = tuple(other for target in named for other in self.index.of(target) if other is not line)
        for other in line.amends:
            other.amended_by.append(line)

    def _move(self, contract: Contract) -> None:
        """Move amendments that start when their contract has been renewed to the renewal that has their slot."""
        over = self.cuts.renewed_from(contract)
        moving = [
            line
            for line in contract.lines
            if line.deal is not contract.root and not line.is_grant and line.start >= over.get(line.slot, NO_DAY)
        ]
        for line in moving:
            takers = [
                other for other in contract.renewed_by if any(o.is_plan and o.slot == line.slot for o in other.lines)
            ]
            line.cut(line.start, TERM)
            line.moved = True
            if len(takers) == 1:
                self._amendments[takers[0]].append((line.deal, line.item))
                if line.deal.is_whole_amendment and all(deal is not line.deal for _, deal in takers[0].wholes):
                    takers[0].wholes.append((BEGINNING, line.deal))
            else:
                others = sorted({other.root.id for other in contract.renewed_by})
                self.fault("contract_over", line.deal, at=line.start, slot=line.slot, others=others)
        if moving:
            contract.lines = [line for line in contract.lines if not line.moved]

    def _end_of_term(self, contract: Contract) -> None:
        """End what lasts as long as the contract by the policy, and what ends before it on its day."""
        last: dict[Slot, Moment] = {}
        all_plans: list[Moment] = []
        for line in contract.lines:
            # What a whole amendment replaces before its end says nothing of when the contract ends.
            gone = any(replaces(deal, line) and at < line.natural for at, deal in contract.wholes)
            if line.is_plan and not gone:
                last[line.slot] = max(last.get(line.slot, BEGINNING), line.natural)
                all_plans.append(line.natural)
        latest = max(all_plans, default=ending(contract.root.order.end))
        for line in contract.lines:
            if line.slot.trial or line.is_grant or line.natural == NO_DAY:
                continue
            if line.natural >= last.get(line.slot, latest):
                self._by_policy(line, contract.keeps)

    def _by_policy(self, line: Line, keeps: bool) -> None:
        if TERM not in line.causes or line.end != line.natural:
            return  # something ended it before
        if self.policy.end_of_term == "keep" or keeps:
            others = tuple(cause for cause in line.causes if cause != TERM)
            line.end, line.causes = (line.natural, others) if others else (NO_DAY, ())
        elif self.policy.end_of_term == "grace" and line.natural.instant is not None and line.causes == (TERM,):
            line.end = ending(_after(line.natural.instant, self.policy.grace_days))


def _latest_end(contract: Contract) -> Moment:
    """When the last of a contract's lines ends by what was sold."""
    ends = [line.natural for line in contract.lines if not line.is_grant]
    return max(ends, default=ending(contract.root.order.end))


def _after(instant: Instant, days: int) -> Instant:
    return Instant(instant + timedelta(days=days))


def _rank(contract: Contract) -> int:
    return contract.rank


def _trial_over(order: Order) -> Instant | None:
    """When a trial is over; one that becomes paid, once Stigg has done that."""
    if order.trial_end is None or order.trial_end_behavior != "CONVERT_TO_PAID":
        return order.trial_end
    return Instant(order.trial_end + CONVERSION)
