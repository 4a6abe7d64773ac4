"""Standing: of deals that contradict each other, who makes way. Pure.

A deal stands when it was settled and something of it has begun; what is only agreed may step down: to what was settled
before, then to nothing. Those that refer make way before those they refer to, and equals together: nobody wins by an
ID. Levels only fall, so that it ends, and the result depends on the facts alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.components import Components
from closedwon.domain.contract.contracts import Contracts, Learned
from closedwon.domain.contract.currencies import asking, billed_in, currency_faults
from closedwon.domain.contract.facts import NOTHING, Contribution, History
from closedwon.domain.contract.faults import APPROVABLE, Fault, Hold, hold_of, tiers_of
from closedwon.domain.contract.guards import Gross, Guard
from closedwon.domain.contract.judging import contract_faults
from closedwon.domain.contract.references import Deal
from closedwon.domain.contract.sharing import slot_faults
from closedwon.domain.contract.terms import ContractTerms
from closedwon.domain.contract.timeline import Timeline
from closedwon.domain.desired import Policy, Slot
from closedwon.domain.former_approvals import former_approval_of
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import Instant, day_of, from_milliseconds
from closedwon.domain.on_offer import catalogue_problems
from closedwon.domain.order import Order, Problem


@dataclass(frozen=True)
class World:
    """What the facts of a customer are judged by.

    catalogue, policy: of the stack. learned: what only Stigg knows. approvals: what somebody let through.
    subscriptions: the ID of what stands in a slot, which older approvals name. currency: the customer's, as Stigg said;
    None where it is not known. now: only for a trial that nobody ever had, and for what has begun: no other rule looks
    at it.
    """

    catalogue: Catalogue
    policy: Policy
    now: Instant
    learned: Learned = field(default_factory=Learned)
    approvals: Collection[str] = frozenset()
    subscriptions: Mapping[Slot, str] = field(default_factory=dict)
    currency: str | None = None


class Evaluation:
    """What some contributions come to: contracts, timeline, terms and faults."""

    def __init__(
        self,
        histories: Sequence[History],
        contributions: Mapping[OpportunityId, Contribution],
        held: Iterable[Order],
        world: World,
    ) -> None:
        deals = [deal for history in histories for deal in deals_of(history, contributions[history.id])]
        known = [order for history in histories for order in orders_of(history)]
        self.contributions = contributions
        self.contracts = Contracts(deals, known, held, world.catalogue, world.policy, world.learned)
        self.timeline = Timeline(self.contracts, world.now)
        self.terms = ContractTerms(self.contracts)
        self.faults: tuple[Fault, ...] = (
            *self.contracts.faults,
            *contract_faults(self.timeline),
            *slot_faults(self.timeline, self.terms, world.catalogue),
        )

        self._gross: dict[Slot, Gross] = {}

    @property
    def deals(self) -> Mapping[str, Deal]:
        """The deals that contribute, by their opportunities."""
        return self.contracts.names.deals

    def gross(self, slot: Slot) -> Gross:
        """All that is given in a slot, before anybody takes of it."""
        if slot not in self._gross:
            self._gross[slot] = Gross(self.timeline.slots[slot])
        return self._gross[slot]


def deals_of(history: History, contribution: Contribution) -> Iterable[Deal]:
    """An opportunity as it takes part in a timeline: its order, and the trial that it grew from."""
    fresh = not (history.settled is not None and history.settled.digest == contribution.digest)
    sold = None if history.first is None else from_milliseconds(history.first.modified)
    order, trial = contribution.order, contribution.trial
    if order is not None:
        yield Deal(history.id, order, contribution, fresh, sold)
    if order is not None and trial is not None and order.start is not None:
        # A sale without a start takes the trial's place when it is provisioned.
        until = replace(trial, trial_end=order.start, trial_end_behavior="CANCEL_SUBSCRIPTION")
        yield Deal(history.id, until, contribution, False, sold, shadow=True)


def orders_of(history: History) -> Iterable[Order]:
    """All that was ever read of an opportunity, as far as it is kept."""
    yield history.newest.order
    if history.sells is not None and history.sells is not history.newest:
        yield history.sells.order
    if history.settled is not None and history.settled.order is not None:
        yield history.settled.order


FEW = 8
"""How many deals that are held are tried one by one: each costs an evaluation of what it can have to do with."""

OF_ITS_OWN = ("removal_guard", "reopened", "trial_missed", "others_hang_on_it", "currency_differs")
"""What holds a deal whoever else makes way."""


class Standing:
    """Who makes way for whom, among a customer's opportunities.

    In: their histories; the world; pinned: opportunities that contribute something else and are not judged, with which
    nothing is guarded: what would be agreed then. steps: how far others have stepped down before.
    Out: `evaluation` of what is left; `held`: opportunity to the faults its newest facts made way for; `refused`: to
    what is wrong with its newest order; `unsettled`: faults for which nobody can make way; `lapsed`: those that a guard
    held until nothing was left that they would take.
    """

    def __init__(
        self,
        histories: Sequence[History],
        world: World,
        pinned: Mapping[OpportunityId, Contribution] = {},
        steps: Mapping[OpportunityId, int] = {},
    ) -> None:
        self.histories = sorted(histories, key=lambda history: history.id)
        self.world = world
        self._levels = {history.id: self._levels_of(history) for history in self.histories}
        self._levels |= {id: [contribution] for id, contribution in pinned.items()}
        self._settled = {history.id for history in self.histories if history.settled is not None}
        self._pinned = pinned
        self._components: Components | None = None
        self._otherwise: dict[tuple[Any, ...], Evaluation] = {}
        self._level = {**dict.fromkeys(self._levels, 0), **steps}
        self.refused: dict[OpportunityId, tuple[Problem, ...]] = {}
        self.held: dict[OpportunityId, list[Fault]] = {}
        self.unsettled: tuple[Fault, ...] = ()
        self.lapsed: set[OpportunityId] = set()
        self.evaluation = self._settle()

    def _levels_of(self, history: History) -> list[Contribution]:
        """What an opportunity contributes: by its newest readings; as it was settled; nothing, if it has not begun."""
        levels = [history.contribution]
        if history.settled is not None and not history.stands:
            levels.append(history.settled)
        if (history.settled is None or not history.begun) and levels[-1].digest != NOTHING.digest:
            levels.append(NOTHING)
        return levels

    def contribution(self, id: OpportunityId) -> Contribution:
        """What an opportunity contributes as far as it stands."""
        return self._levels[id][self._level[id]]

    @property
    def currency(self) -> str | None:
        """What the customer is billed in, as far as anybody says."""
        return billed_in(self)

    @property
    def asking(self) -> frozenset[OpportunityId]:
        """The deals that ask for money as far as they stand."""
        return asking(self)

    def _settle(self) -> Evaluation:
        for history in self.histories:
            if history.id not in self._pinned:
                self._refuse(history)
        guard = Guard(self)
        releases = 0
        while True:
            evaluation = self.evaluate()
            if self._moved(evaluation):
                continue
            if releases == 0:  # the guards compare with what really stands
                releases += 1
                if self._release(evaluation.faults):
                    continue
            if self._made_way_for_guards(guard, evaluation):
                continue
            first, releases = releases == 1, 2
            if not self._stood_again(guard, evaluation.faults, first):
                self.unsettled = evaluation.faults
                return evaluation

    def _moved(self, evaluation: Evaluation) -> bool:
        """Let deals make way for the faults there are. Out: whether any did."""
        return self._hang(evaluation, unwon=True) or self._make_way(evaluation.faults) or self._hang(evaluation)

    def _made_way_for_guards(self, guard: Guard, evaluation: Evaluation) -> bool:
        """Let deals make way for the guards. Out: whether any did."""
        if self._pinned:
            return False
        guarded = (fault for fault in guard.faults(evaluation) if not self._approved(fault))
        return self._make_way(guarded) or self._make_way(list(currency_faults(self)))

    def _stood_again(self, guard: Guard, known: Sequence[Fault], first: bool) -> bool:
        """Let deals stand again once the guards have spoken: what made way for a deal that a guard holds, the first
        time; and what a guard needs to hold no longer. Out: whether any does.
        """
        return (first and self._release(known)) or self._lapse(guard, known)

    def _lapse(self, guard: Guard, known: Sequence[Fault]) -> bool:
        """Let one deal stand again that only a guard held, and that has nothing left to take beside what stands: of
        several that would take the same, none is let go for the sake of the others. Out: whether any does.
        """
        for history in self.histories:
            id = history.id
            if self._level[id] != 1 or {fault.code for fault in self.held.get(id, ())} != {"removal_guard"}:
                continue
            if self._unhurt({id}, known) and guard.has_lapsed(history, self.evaluate({id: self._levels[id][0]})):
                self._level[id] = 0
                del self.held[id]
                self.lapsed.add(id)
                return True
        return False

    def _release(self, known: Sequence[Fault]) -> bool:
        """Let deals stand again that made way together with others that are held anyway: nobody waits for a deal that
        is itself held. All of them at once, so that no order matters, and then those that fit beside them. Out: whether
        any do.
        """
        any_do = False
        while able := self._releasable(known):
            any_do = True
            for id in able:
                self._level[id] = 0
                del self.held[id]
        return any_do

    def _releasable(self, known: Sequence[Fault]) -> set[OpportunityId]:
        """The deals that can stand again as it is now."""
        able = {id for id in self.held if self._waits_for_others(id)}
        standing = {id for id in able if self.contribution(id).digest != NOTHING.digest}
        # All that may; else those that stand as they were settled, not those that give nothing; else each by itself.
        found = self._unhurt(able, known) or self._unhurt(standing, known)
        return found or self._unhurt(self._fitting(able, known), known)

    def _waits_for_others(self, id: OpportunityId) -> bool:
        """Whether a held deal made way, and for nothing that is wrong with itself."""
        if not self._level[id] or id in self.refused:
            return False
        return all(fault.code not in OF_ITS_OWN for fault in self.held[id])

    def _fitting(self, able: set[OpportunityId], known: Sequence[Fault]) -> set[OpportunityId]:
        """Of deals that are held together, those that fit if all others of them stay held; of many, nobody tries."""
        if not 1 < len(able) <= FEW:
            return set()
        there = {fault.identity for fault in known}
        alone = {id: self.evaluate({id: self._levels[id][0]}, self._with(id)) for id in able}
        return {id for id, again in alone.items() if all(fault.identity in there for fault in again.faults)}

    def _unhurt(self, able: set[OpportunityId], known: Sequence[Fault]) -> set[OpportunityId]:
        """Of deals that are held, those that can stand by their newest facts without a fault that was not there."""
        there = {fault.identity for fault in known}
        while able:
            again = self.evaluate({id: self._levels[id][0] for id in able})
            hurting = [fault for fault in again.faults if fault.identity not in there and fault.deals & able]
            hurt = _hurt(hurting, able)
            if not hurt:
                break
            able = able - hurt
        return able

    def _refuse(self, history: History) -> None:
        """Deals that cannot be provisioned whatever others say: refused, or a trial that is over before it began."""
        newest, given = history.newest.order, history.contribution.order
        # A cancellation that names nothing has no lines: what it leaves, as a trial that comes back, is judged as well.
        judged = () if history.stands else (newest,) if given is None or given is newest else (newest, given)
        problems = newest.problems or tuple(
            p for order in judged for p in catalogue_problems(order, self.world.catalogue)
        )
        if problems:
            self.refused[history.id] = problems
            self._step_down(history.id)
        elif self._trial_missed(history):
            self.held[history.id] = [Fault("trial_missed", tiers_of([(history.id, 0)]))]
            self._step_down(history.id)

    def _step_down(self, id: OpportunityId) -> None:
        if self.may_step(id):
            self._level[id] += 1

    def _trial_missed(self, history: History) -> bool:
        order = history.contribution.order
        if history.settled is not None or order is None or order.trigger != "trial" or order.trial_end is None:
            return False
        return order.trial_end_behavior == "CONVERT_TO_PAID" and order.trial_end <= self.world.now

    def evaluate(
        self,
        instead: Mapping[OpportunityId, Contribution] = {},
        among: Collection[OpportunityId] | None = None,
    ) -> Evaluation:
        """What the opportunities come to at their levels, some of them with another contribution instead; among: only
        these of them.
        """
        histories = [history for history in self.histories if among is None or history.id in among]
        contributions = {history.id: instead.get(history.id, self.contribution(history.id)) for history in histories}
        held = [h.newest.order for h in histories if self._level[h.id] and h.newest.order.trigger == "renewal"]
        return Evaluation(histories, contributions, held, self.world)

    def _with(self, id: OpportunityId) -> set[OpportunityId]:
        """The opportunities that can have to do with one."""
        if self._components is None:
            orders = [order for history in self.histories for order in orders_of(history)]
            found = Components(orders, self.evaluate().contracts)
            self._components = found.with_members(self._levels)
        return self._components.of(id)

    def otherwise(self, id: OpportunityId, contribution: Contribution) -> Evaluation:
        """What would be agreed if an opportunity contributed something else. What a guard holds of others is held."""
        concerned = self._with(id)
        steps = frozenset((other, self._level[other]) for other in concerned - {id} if self._guarded(other))
        key = (id, contribution.digest, steps)
        if key not in self._otherwise:
            histories = [history for history in self.histories if history.id in concerned]
            self._otherwise[key] = Standing(histories, self.world, {id: contribution}, dict(steps)).evaluation
        return self._otherwise[key]

    def _guarded(self, id: OpportunityId) -> bool:
        """Whether a guard holds an opportunity."""
        return any(fault.code in APPROVABLE for fault in self.held.get(id, ()))

    def may_step(self, id: OpportunityId) -> bool:
        """Whether a deal may step down."""
        return self._level[id] + 1 < len(self._levels[id])

    def level(self, id: OpportunityId) -> int:
        return self._level[id]

    def levels(self, id: OpportunityId) -> list[Contribution]:
        return self._levels[id]

    def _approved(self, fault: Fault) -> bool:
        return all(self._lets_through(deal, fault) for deal in fault.deals)

    def _lets_through(self, deal: OpportunityId, fault: Fault) -> bool:
        hold = self.hold_of(deal, fault)
        # What was approved before approvals had codes still counts.
        return not {hold.approval, former_approval_of(hold.reason)}.isdisjoint(self.world.approvals)

    def hold_of(self, deal: OpportunityId, fault: Fault) -> Hold:
        """The hold of a deal that made way for a fault."""
        slot = fault.slot if fault.code in APPROVABLE else None  # former approvals name what stands in it
        subscription = self.world.subscriptions.get(slot) if slot else None
        instant = fault.at.instant if fault.at else None
        day = None if instant is None else day_of(instant, self.world.policy.time_zone)
        return hold_of(deal, fault, subscription=subscription, day=day)

    def _make_way(self, faults: Iterable[Fault]) -> bool:
        """Let the first tier of each fault make way that has a deal that may. Out: whether any did."""
        down: dict[OpportunityId, None] = {}
        for fault in faults:
            for id in fault.first(self.may_step):
                # Why the newest facts wait. What then sends away those settled before has no say in it: whoever lets
                # the newest through, or corrects them, is done.
                if not self._level[id]:
                    self.held.setdefault(id, []).append(fault)
                down[id] = None
        for id in down:
            self._level[id] += 1
        return bool(down)

    def _hang(self, evaluation: Evaluation, unwon: bool = False) -> bool:
        """Deals whose change leaves others in a fault step down, with the list of those: where nobody else can make
        way; and what is not won any more as soon as others were settled on it, begun or not.
        """
        if not evaluation.faults:
            return False
        hanging = {history.id: self._hanging(history, evaluation.faults, unwon) for history in self._changed(unwon)}
        down = {id: others for id, others in hanging.items() if others is not None}
        for id, others in down.items():
            facts: dict[str, Any] = {"others": sorted(others)}
            self.held.setdefault(id, []).append(Fault("others_hang_on_it", tiers_of([(id, 0)]), facts=facts))
            self._level[id] += 1
        return bool(down)

    def _hanging(self, history: History, faults: Iterable[Fault], unwon: bool) -> set[OpportunityId] | None:
        """The deals that hang on one as it was settled; None where its change harms nobody who counts."""
        # A deal that never stood makes way by itself: what is not won any more is not held for its sake.
        gone = [fault for fault in self._brought(history, faults) if not unwon or self._settled_move(fault)]
        hanging = {deal for fault in gone for deal in fault.deals} - {history.id}
        return hanging if gone and (not unwon or hanging & self._settled) else None

    def _settled_move(self, fault: Fault) -> bool:
        """Whether a deal that was settled would have to make way for a fault, or nobody can."""
        moving = fault.first(self.may_step)
        return not moving or not moving.isdisjoint(self._settled)

    def _changed(self, unwon: bool) -> list[History]:
        """The deals that changed after they were settled, and have not stepped down. unwon: only those not won now."""
        return [
            history
            for history in self.histories
            if self._level[history.id] == 0
            and history.settled is not None
            and not history.stands
            and history.id not in self._pinned
            and (history.contribution.unwon or not unwon)
        ]

    def _brought(self, history: History, faults: Iterable[Fault]) -> list[Fault]:
        """Of the faults there are, those that a changed deal brought: as it was settled, they are not there."""
        concerned = self._with(history.id)
        here = [fault for fault in faults if not fault.deals.isdisjoint(concerned)]
        if not here:
            return []
        before = self.evaluate({history.id: self._levels[history.id][1]}, concerned)
        left = {fault.identity for fault in before.faults}
        return [fault for fault in here if fault.identity not in left]


def _hurt(faults: Iterable[Fault], able: Collection[OpportunityId]) -> set[OpportunityId]:
    """Of deals that might stand again, those that go first for faults they would bring: who does not fit with what
    stands, else who fits with nothing, for what met only with them fits then; else who refers to others.
    """
    ways: tuple[set[OpportunityId], ...] = (set(), set(), set())
    for fault in faults:
        some = fault.deals.intersection(able)
        ways[0 if fault.deals - some and len(some) == 1 else 1 if len(some) == 1 else 2].update(
            fault.first(some.__contains__)
        )
    return next((some for some in ways if some), set())
