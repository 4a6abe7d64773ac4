"""The agreement: what a customer agreed to, from all its deals, at any instant. Pure. This is the way into the package.

agreement = Agreement(histories, world)
agreement.desired(now)             what the customer should have now, or will have on a day
agreement.status(opportunity_id)   what a deal says, and why
agreement.intervals(slot)          what stands in a slot from when until when, its charge and where it comes from
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from closedwon.domain.contract.charges import Charge, charge_at, has_price
from closedwon.domain.contract.contracts import Stopped
from closedwon.domain.contract.ended import ended_slots, former_slots
from closedwon.domain.contract.facts import Contribution, History
from closedwon.domain.contract.faults import Fault, Hold
from closedwon.domain.contract.grants import Grants
from closedwon.domain.contract.money import Holding
from closedwon.domain.contract.pieces import Cause, Entity
from closedwon.domain.contract.relatives import relatives_of
from closedwon.domain.contract.standing import Standing, World
from closedwon.domain.contract.statuses import Status, Statuses
from closedwon.domain.contract.subscriptions import Subscriptions
from closedwon.domain.contract.timeline import Giving, SlotTimeline, charge_of
from closedwon.domain.desired import Desired, Ended, Slot, Subscription
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import NO_DAY, Instant, Moment, milliseconds, starting
from closedwon.domain.order import Problem


class Origin(NamedTuple):
    """What one deal adds to an amount: how many, until when, and why not longer."""

    deal: OpportunityId
    quantity: int
    until: Moment
    causes: tuple[Cause, ...]


class Lapse(NamedTuple):
    """An end that only Stigg knows: the end of the billing period in which a slot's subscription was at a moment."""

    cancellation: OpportunityId
    slot: Slot
    since: Instant


@dataclass(frozen=True, eq=False)
class Interval:
    """A time in which nothing of a slot changes.

    end: NO_DAY for never. stands: whether there is a subscription. charge: what one billing period charges, in the
    contract's currency; None where some of it is at the catalogue's price.
    """

    slot: Slot
    start: Moment
    end: Moment
    timeline: SlotTimeline

    @cached_property
    def given(self) -> list[tuple[Giving, Holding]]:
        """What each contract gives in it."""
        return self.timeline.given(self.start)

    @cached_property
    def charged(self) -> frozenset[str]:
        """The features that its plan charges by the unit."""
        return self.timeline.charged_at(self.start)

    @property
    def stands(self) -> bool:
        return any(giving.is_plan for giving, _ in self.given)

    @property
    def charge(self) -> Fraction | None:
        # Of what has no price of its own, there is nothing to charge.
        return charge_of((g, holding) for g, holding in self.given if has_price(g.entity, self.charged))

    @property
    def origins(self) -> dict[Entity, list[Origin]]:
        """Where each amount comes from: 105 = 100 of the base + 5 of the amendment, until the renewal."""
        found: dict[Entity, list[Origin]] = defaultdict(list)
        for giving, _ in self.given:
            for line in giving.lines(self.start):
                found[giving.entity].append(Origin(line.deal.id, line.item.quantity, line.end, line.causes))
        return dict(found)


class Agreement:
    """What a customer's deals come to. In: their histories; the world they are judged by.

    Out: see the properties. It is worked out once; asking for a day costs what stands on that day.
    """

    def __init__(self, histories: Sequence[History], world: World) -> None:
        self.histories: Mapping[OpportunityId, History] = {history.id: history for history in histories}
        self.world = world
        self._standing = Standing(list(self.histories.values()), world)
        self._evaluation = self._standing.evaluation
        self._subscriptions = Subscriptions(self._evaluation, world)
        self._grants = Grants(self._evaluation)

    def knowing(self, ends: Mapping[Lapse, Instant]) -> Agreement:
        """The agreement with more ends that were learned from Stigg."""
        learned = self.world.learned
        more = {(lapse.cancellation, lapse.slot): at for lapse, at in ends.items()}
        world = replace(self.world, learned=replace(learned, ends={**learned.ends, **more}))
        return Agreement(list(self.histories.values()), world)

    def stopping(self, stopped: Iterable[Stopped]) -> Agreement:
        """The agreement with more that was ended elsewhere."""
        return self._with_stopped((*self.world.learned.stopped, *stopped))

    def without(self, stop: Stopped) -> Agreement:
        """The agreement as if something had not been ended elsewhere."""
        return self._with_stopped(one for one in self.world.learned.stopped if one != stop)

    def _with_stopped(self, stopped: Iterable[Stopped]) -> Agreement:
        learned = replace(self.world.learned, stopped=tuple(stopped))
        return Agreement(list(self.histories.values()), replace(self.world, learned=learned))

    # What there is

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots that any deal gives something at any time."""
        return tuple(sorted(self._evaluation.timeline.slots, key=lambda slot: slot.key))

    def intervals(self, slot: Slot) -> list[Interval]:
        """The times in which nothing of a slot changes, in order."""
        found = self._evaluation.timeline.slots.get(slot)
        if found is None:
            return []
        edges = [*found.moments, NO_DAY][1:]
        return [Interval(slot, start, end, found) for start, end in zip(found.moments, edges, strict=True)]

    def charge(self, slot: Slot, at: Moment) -> Charge | None:
        """What one billing period of a slot charges at a moment, by line and deal; None where nothing stands in it."""
        found = self._evaluation.timeline.slots.get(slot)
        return None if found is None else charge_at(found, at, self._evaluation.terms)

    def subscription(self, slot: Slot, at: Moment) -> Subscription | None:
        """What should stand in a slot at a moment, or where that is nothing, what comes next."""
        return self._subscriptions.at(slot, at)

    @cached_property
    def moments(self) -> tuple[Moment, ...]:
        """When anything changes by itself: a subscription, a status, credits that are granted."""
        found = {moment for slot in self._evaluation.timeline.slots.values() for moment in slot.moments}
        for line in self._evaluation.contracts.lines:
            # Credits are given once: that they run out changes nothing.
            found |= {line.start} if line.is_grant else {line.start, line.end, line.natural}
        return tuple(sorted(moment for moment in found if moment.instant is not None))

    def next_change(self, at: Moment) -> Instant | None:
        """When something changes by itself after a moment."""
        place = bisect_right(self.moments, at)
        return self.moments[place].instant if place < len(self.moments) else None

    # What became of deals

    @property
    def refused(self) -> Mapping[OpportunityId, tuple[Problem, ...]]:
        """Opportunity to what is wrong with its newest order."""
        return self._standing.refused

    @cached_property
    def held(self) -> dict[OpportunityId, Hold]:
        """Opportunity to why it is held."""
        statuses = Statuses(self._standing, starting(self.world.now))
        holds = ((id, statuses.hold(history)) for id, history in self.histories.items())
        return {id: hold for id, hold in holds if hold is not None and id not in self.refused}

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What does not fit and nobody can make way for: all of its deals have begun."""
        return self._standing.unsettled

    @property
    def currency(self) -> str | None:
        """What the customer is billed in, as far as Stigg or a deal says."""
        return self._standing.currency

    @property
    def asking(self) -> frozenset[OpportunityId]:
        """The deals that ask for money as far as they stand."""
        return self._standing.asking

    def status(self, id: OpportunityId, at: Instant | None = None) -> Status:
        """What a deal says now, or on a day."""
        return Statuses(self._standing, starting(at or self.world.now)).of(self.histories[id])

    def statuses(self, at: Instant | None = None) -> dict[OpportunityId, Status]:
        """What all deals say."""
        found = Statuses(self._standing, starting(at or self.world.now))
        return {id: found.of(history) for id, history in self.histories.items()}

    def contribution(self, id: OpportunityId) -> Contribution:
        """What a deal contributes as far as it stands: by its newest readings, as it was settled before, or nothing."""
        return self._standing.contribution(id)

    def gives(self, id: OpportunityId) -> bool:
        """Whether a deal gives something, now or later."""
        deal = self._evaluation.deals.get(id)
        now = starting(self.world.now)
        lines = () if deal is None else self._evaluation.contracts.index.of_deal(deal)
        return any(line.ever and line.end > now and not line.moved for line in lines)

    def contributes(self, id: OpportunityId) -> bool:
        """Whether a deal takes part at all, as far as it stands."""
        return id in self._evaluation.deals

    @cached_property
    def relatives(self) -> Mapping[OpportunityId, frozenset[OpportunityId]]:
        """By deal, itself and all that it is linked with by what they amend, renew or cancel."""
        return relatives_of(self.histories.values())

    @cached_property
    def roots(self) -> Mapping[tuple[Slot, OpportunityId], OpportunityId]:
        """By slot and deal, the base or renewal whose contract the deal's lines belong to in that slot."""
        lines = (line for line in self._evaluation.contracts.lines if line.ever and not line.moved)
        return {(line.slot, line.deal.id): line.contract.root.id for line in lines}

    # What is to be stored

    @cached_property
    def settles(self) -> dict[OpportunityId, Contribution]:
        """What each deal contributes that is neither held nor refused: settled once Stigg stands for it."""
        return {
            id: history.contribution
            for id, history in self.histories.items()
            if id not in self.refused and id not in self.held and not self._standing.level(id)
        }

    @cached_property
    def begun(self) -> frozenset[OpportunityId]:
        """The deals of which something has begun, as they stand."""
        statuses = Statuses(self._standing, starting(self.world.now))
        return frozenset(id for id, history in self.histories.items() if statuses.begun(history))

    @property
    def products(self) -> Mapping[str, str]:
        """By `part_key`, the product of each part: stored when it is settled, so that no later catalogue moves it."""
        return self._evaluation.contracts.products

    def products_of(self, id: OpportunityId) -> dict[str, str]:
        """Those of one deal's parts."""
        return self._evaluation.contracts.products_of(id)

    @cached_property
    def lapses(self) -> tuple[Lapse, ...]:
        """The ends to be learned from Stigg: read, recorded, and then dates like any other."""
        found: dict[Lapse, None] = {}
        for line in self._evaluation.contracts.lines:
            if line.lapses is not None and not line.is_grant:
                since = self._since(line.lapses)
                if since is not None:
                    found[Lapse(line.lapses, line.slot, since)] = None
        return tuple(sorted(found, key=lambda lapse: (lapse.cancellation, lapse.slot.key)))

    @property
    def forgotten(self) -> frozenset[tuple[OpportunityId, Slot]]:
        """The learned ends of cancellations that do not say so any more: gone with them, so that another one of the
        same opportunity is asked about anew. One that is only held keeps its own.
        """
        return frozenset(key for key in self.world.learned.ends if not self._still_ends(key[0]))

    def _still_ends(self, id: OpportunityId) -> bool:
        history = self.histories.get(id)
        if history is None:
            return False
        return any(one is not None and one.ends_with_term for one in (history.contribution, history.settled))

    def _since(self, cancellation: OpportunityId) -> Instant | None:
        contribution = self._standing.contribution(cancellation)
        if contribution.own_end is not None:
            return contribution.own_end.since
        order = contribution.order
        return contribution.since or (order.as_of if order is not None else None)

    # What Stigg should hold

    def desired(self, at: Instant | None = None) -> Desired:
        """What the customer should have now, or on a day: as the plan takes it."""
        moment = starting(at or self.world.now)
        subscriptions = {
            slot: found for slot in self.slots if (found := self._subscriptions.at(slot, moment)) is not None
        }
        change = self.next_change(moment)
        lapsing: dict[Slot, tuple[str, ...]] = {}
        for lapse in self.lapses:
            lapsing[lapse.slot] = (*lapsing.get(lapse.slot, ()), lapse.cancellation)
        return Desired(
            subscriptions=subscriptions,
            refused=dict(self._standing.refused),
            held={id: hold.reason for id, hold in self.held.items()},
            withheld=frozenset(id for id in self.held if not self.contributes(id)),
            ended=self._ended(subscriptions, moment),
            grants=self._grants.at(moment),
            trials=self._trials(),
            lapsing=lapsing,
            next_change=None if change is None else milliseconds(change),
            time_zone=self.world.policy.time_zone,
        )

    def _trials(self) -> frozenset[str]:
        orders = ((id, self._standing.contribution(id).order) for id in self.histories)
        return frozenset(id for id, order in orders if order is not None and order.trigger == "trial")

    def _ended(self, subscriptions: Mapping[Slot, Subscription], at: Moment) -> dict[Slot, Ended]:
        """What stood or was sold once, and nothing gives now or later. All of it was agreed: the guards let it pass."""
        found = ended_slots(self._evaluation.timeline, self._subscriptions.never, at)
        as_read = (
            history for id, history in self.histories.items() if not self._standing.level(id) and id not in self.held
        )
        for slot, id in former_slots(as_read, self.world.catalogue):
            found.setdefault(slot, set()).add(id)
        return {slot: Ended(tuple(sorted(ids))) for slot, ids in found.items() if slot not in subscriptions}
