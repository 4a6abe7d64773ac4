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

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.cuts import Cuts, replaces
from closedwon.domain.contract.faults import Code, Fault, tiers_of
from closedwon.domain.contract.linking import Links
from closedwon.domain.contract.pieces import (
    TERM,
    Contract,
    Line,
    LineIndex,
    Unresolved,
    part_key,
    product_of_part,
)
from closedwon.domain.contract.references import Deal, Names
from closedwon.domain.contract.renewals import Renewals
from closedwon.domain.desired import Policy, Slot
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import BEGINNING, NO_DAY, Instant, Moment, ending, starting
from closedwon.domain.order import Item, Order

_BY_TERM = (TERM,)

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
        self._products: dict[OpportunityId, list[tuple[Item, str]]] = defaultdict(list)
        self._slots: dict[Slot, Slot] = {}
        self._parts: dict[tuple[str, str, str | None, bool, tuple[str, ...]], str | Unresolved] = {}
        self.added_to: dict[Line, list[Line]] = defaultdict(list)
        """By line, those that were added to it by name."""
        self.lost: set[OpportunityId] = set()
        """Deals of whose plans the catalogue knows none any more."""
        circle = set(self.names.set_depths())
        for deal in circle:
            self.fault("reference_circle", deal, others=self.names.ahead_of(deal))
        placed = [deal for deal in deals if deal not in circle]
        self.links = Links(placed, self.names, catalogue, self.fault)
        self.links.keep_terms(held_renewals)
        self.contracts = self.links.contracts
        self.cuts = Cuts(self, [deal for deal in placed if deal.is_churn])
        self.renewals = Renewals(self)
        for _, same in groupby(sorted(self.contracts, key=_rank), key=_rank):
            self._build(list(same))
        self.cuts.finish()
        self.renewals.finish()

    @property
    def lines(self) -> Iterable[Line]:
        return (line for contract in self.contracts for line in contract.lines)

    @property
    def products(self) -> dict[str, str]:
        """By `part_key`, the product of each part."""
        return {key: product for id in self._products for key, product in self.products_of(id).items()}

    def products_of(self, id: OpportunityId) -> dict[str, str]:
        """Those of one deal's parts."""
        return {part_key(id, item): product for item, product in self._products.get(id, ())}

    def fault(
        self, code: Code, deal: Deal, /, at: Moment | None = None, slot: Slot | None = None, **facts: object
    ) -> None:
        """Note a fault of one deal: it makes way, and nobody else does."""
        self.faults.append(Fault(code, tiers_of([(deal.id, deal.depth)]), slot, at, facts))

    # Dates

    def _build(self, contracts: list[Contract]) -> None:
        """Build contracts between which no renewal leads."""
        for contract in contracts:
            self._date_root(contract)
            self.cuts.own_end(contract.root)
            self.cuts.cancel(contract, contract.lines)
        self.renewals.cut([contract for contract in contracts if contract.renews])
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
        deal = contract.root
        slots = [(item, self._slot(deal, item, contract, contract.is_trial)) for item in contract.items]
        known = [(item, slot) for item, slot in slots if slot is not None]
        starts = self._starts(contract, known)
        if starts is None:
            return
        contract.start = deal.effective = min(starts, default=starting(deal.order.start))
        over = ending(deal.order.end)
        for (item, slot), since in zip(known, starts, strict=True):
            for line in _root_lines(contract, item, slot, since, over):
                self._add(line)

    def _starts(self, contract: Contract, known: Sequence[tuple[Item, Slot]]) -> list[Moment] | None:
        """From when a root gives each of its items; None where a renewal does not say and nothing tells, which is
        noted.
        """
        deal = contract.root
        if not deal.is_renewal or deal.order.start is not None:
            return [starting(deal.order.start)] * len(known)
        ends = self.renewals.ends(contract)
        starts = [end for item, slot in known if (end := ends.of(slot, item)) != NO_DAY]
        renews_unknown = not contract.renews and deal in self.links.unknown_renewals
        if renews_unknown or not starts or len(starts) < len(known):
            self._without_start(contract)
            return None
        return starts

    def _without_start(self, renewal: Contract) -> None:
        """Note why a renewal without a start has none: what it renews is unknown, or ends differently or never."""
        if unknown := self.links.unknown_renewals.get(renewal.root):
            self.fault("reference_unknown", renewal.root, does="renews", reference=unknown[0])
        else:
            others = sorted({other.root.id for other in renewal.renews})
            self.fault("start_unknown", renewal.root, others=others)

    def _add(self, line: Line) -> None:
        # A credit grant is no line: its expiry is not its end.
        line.end = NO_DAY if line.is_grant else line.natural
        line.causes = () if line.end == NO_DAY else _BY_TERM
        line.contract.add(line)
        self.index.add(line)

    def _slot(self, deal: Deal, item: Item, contract: Contract, trial: bool) -> Slot | None:
        """The slot of an item; None where that is not known, which is noted."""
        resource_id = deal.order.resource_id or contract.resource_id
        if item.kind == "Credit grant":
            return Slot("", resource_id)
        if not item.quantity and not item.value:
            return None
        product = None if deal.fresh else self.learned.products.get(part_key(deal.id, item))
        if product is None:
            found = self._product(deal, item, contract)
            if isinstance(found, Unresolved):
                self._unresolved(deal, item, found)
                return None
            product = found
        self._products[deal.id].append((item, product))
        slot = Slot(product, resource_id, trial)
        return self._slots.setdefault(slot, slot)

    def _product(self, deal: Deal, item: Item, contract: Contract) -> str | Unresolved:
        if item.kind == "Plan":
            return self.catalogue.product_of(item.stigg_id) or Unresolved("no_plan", (item.stigg_id,))
        own = contract.sold_plans if deal is contract.root else _plans_for(item, deal)
        if deal.order.differences:
            has = contract.sells.get((item.kind, item.stigg_id), frozenset())
            return product_of_part(item, own, has, tuple(contract.plans), True, self.catalogue)
        part = (
            item.kind,
            item.stigg_id,
            item.plan_id,
            item.price is not None,
            own,
        )  # what sells all there is sells the same again and again
        if part not in self._parts:
            self._parts[part] = product_of_part(item, own, frozenset(), (), False, self.catalogue)
        return self._parts[part]

    def _unresolved(self, deal: Deal, item: Item, why: Unresolved) -> None:
        if deal.fresh:
            self.fault(why.code, deal, item=item.stigg_id, plans=list(why.plans))
        elif item.kind == "Plan":
            self.lost.add(deal.id)  # provisioned once, unknown to Stigg since: what stands stays as it is

    def _amend(self, contract: Contract) -> None:
        """Date the lines that amendments add to a contract, those it got from what it renewed included."""
        first = _latest_end(contract)
        _date_wholes(contract)
        added: list[Line] = []
        for _, same in groupby(sorted(self.links.amendments.pop(contract, ()), key=_turn), key=_turn):
            dated = [self._amending(deal, item, contract, first) for deal, item in same]
            new = [line for line in dated if line is not None]
            for line in new:  # of one day and depth, all see the same contract
                self._add(line)
                self._follow(line)
            added += new
        for deal in dict.fromkeys(line.deal for line in added):
            self.cuts.own_end(deal)
        self.cuts.cancel(contract, added)

    def _amending(self, deal: Deal, item: Item, contract: Contract, first: Moment) -> Line | None:
        """The line that an amendment adds to a contract; None where its slot is not known. first: see `_over`."""
        deal.effective = max(starting(deal.order.start), contract.start)
        slot = self._slot(deal, item, contract, contract.is_trial)
        if slot is None:
            return None
        begins = max(starting(item.start), deal.effective)
        said = item.end or deal.order.end
        until = _over(contract, begins, first)
        if begins >= until and self._goes_on(contract):
            until = NO_DAY  # the term went on
        natural = ending(said) if said and (deal.is_whole_amendment or ending(said) < until) else until
        return Line(deal, item, contract, slot, begins, natural)

    def _follow(self, line: Line) -> None:
        """Remember which lines a line adds to, where it names them."""
        named = [target for name in line.item.amends for target in self.names.find(name) if target.names_lines]
        line.amends = tuple(other for target in named for other in self.index.of(target) if other is not line)
        for other in line.amends:
            self.added_to[other].append(line)

    def _move(self, contract: Contract) -> None:
        """Move amendments that start when their contract has been renewed to the renewal that has their slot."""
        over = self.renewals.renewed_from(contract)
        moving = [
            line
            for line in contract.lines
            if line.deal is not contract.root
            and not line.is_grant
            and _amends_from(line) >= over.get(line.slot, NO_DAY)
        ]
        for line in moving:
            line.cut(line.start, TERM)
            line.moved = True
            self._hand_on(line)
        if moving:
            contract.lines = [line for line in contract.lines if not line.moved]

    def _hand_on(self, line: Line) -> None:
        """Give a line of an amendment to the one renewal of its contract that has its slot."""
        renewals = line.contract.renewed_by
        takers = [one for one in renewals if any(o.is_plan and o.slot == line.slot for o in one.lines)]
        if len(takers) != 1:
            others = sorted({one.root.id for one in renewals})
            self.fault("contract_over", line.deal, at=line.start, slot=line.slot, others=others)
            return
        taker = takers[0]
        self.links.amendments[taker].append((line.deal, line.item))
        if line.deal.is_whole_amendment and all(deal is not line.deal for _, deal in taker.wholes):
            taker.wholes.append((BEGINNING, line.deal))

    def _goes_on(self, contract: Contract) -> bool:
        """Whether a contract goes on when its term is over."""
        return self.policy.end_of_term == "keep" or contract.keeps

    def _end_of_term(self, contract: Contract) -> None:
        """End what lasts as long as the contract by the policy, and what ends before it on its day."""
        last = _last_plans(contract)
        latest = max(last.values(), default=ending(contract.root.order.end))
        for line in contract.lines:
            if line.slot.trial or line.is_grant or line.natural == NO_DAY:
                continue
            if line.natural >= last.get(line.slot, latest):
                self._by_policy(line)

    def _by_policy(self, line: Line) -> None:
        if TERM not in line.causes or line.end != line.natural:
            return  # something ended it before
        if self._goes_on(line.contract):
            others = tuple(cause for cause in line.causes if cause != TERM)
            line.end, line.causes = (line.natural, others) if others else (NO_DAY, ())
        elif self.policy.end_of_term == "grace" and line.natural.instant is not None and line.causes == (TERM,):
            line.end = ending(_after(line.natural.instant, self.policy.grace_days))


def _amends_from(line: Line) -> Moment:
    """From when a line amends its contract: one of a whole amendment, a later segment of a ramp too, with its deal."""
    return line.deal.effective if line.deal.is_whole_amendment else line.start


def _root_lines(contract: Contract, item: Item, slot: Slot, since: Moment, over: Moment) -> list[Line]:
    """What an item of a root gives: one line; of a trial that converts, what is paid from its end on as well.

    since: from when its root gives it, unless the item starts later; over: until when, unless it says an end.
    """
    deal, order = contract.root, contract.root.order
    begins = since if item.start is None else max(starting(item.start), since)
    sold = over if item.end is None else ending(item.end)
    if not contract.is_trial:
        return [Line(deal, item, contract, slot, begins, sold)]
    tried = ending(_trial_over(order))
    lines = [Line(deal, item, contract, slot, begins, min(tried, ending(item.end)))]
    if order.trial_end_behavior == "CONVERT_TO_PAID" and not deal.shadow and item.kind != "Credit grant":
        lines.append(Line(deal, item, contract, slot._replace(trial=False), max(begins, tried), sold))
    return lines


def _plans_for(item: Item, deal: Deal) -> tuple[str, ...]:
    """The plans of an amendment that may take one of its parts: what differences add is never taken by a plan that they
    take away.
    """
    return tuple([plan.stigg_id for plan in deal.plans if plan.quantity >= 0 or item.quantity < 0])


def _date_wholes(contract: Contract) -> None:
    """Say from when each whole amendment of a contract counts, and put them in this order."""
    wholes = dict.fromkeys(deal for _, deal in contract.wholes)
    for deal in wholes:
        deal.effective = max(starting(deal.order.start), contract.start)
    contract.wholes = sorted(((deal.effective, deal) for deal in wholes), key=lambda one: (one[0], one[1].depth))


def _over(contract: Contract, moment: Moment, first: Moment) -> Moment:
    """When a contract is over for what starts at a moment: by the last whole amendment until then that says an end.

    first: when it is over without one.
    """
    ends = (ending(deal.order.end) for at, deal in reversed(contract.wholes) if deal.order.end and at <= moment)
    return next(ends, first)


def _turn(one: tuple[Deal, Item]) -> tuple[int, Moment]:
    """When it is an amendment's turn: what it refers to comes before it, then the earlier day."""
    deal, _ = one
    return (deal.depth, starting(deal.order.start))


def _last_plans(contract: Contract) -> dict[Slot, Moment]:
    """By slot, when the last plan of a contract ends by what was sold."""
    last: dict[Slot, Moment] = {}
    for line in contract.lines:
        if not line.is_plan:
            continue
        # What a whole amendment replaces before its end says nothing of when the contract ends.
        if not any(replaces(deal, line) and at < line.natural for at, deal in contract.wholes):
            last[line.slot] = max(last.get(line.slot, BEGINNING), line.natural)
    return last


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
