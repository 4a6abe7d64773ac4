"""The plan: the list of changes from the actual state to the desired one. Pure.

Provisioning applies it, a preview shows it, drift is a plan that is not empty: there is no second comparer. What a
change is in Stigg's API, `stigg.bodies` knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal

from closedwon.domain.codes import Reason, approval_of
from closedwon.domain.desired import (
    Desired,
    Entitlement,
    Grant,
    Policy,
    Price,
    Slot,
    Subscription,
)
from closedwon.domain.former_approvals import former_approval_of
from closedwon.domain.identifiers import CustomerId, OpportunityId, SubscriptionId
from closedwon.domain.instants import EndOfBillingPeriod, Instant, Never, Until, from_milliseconds
from closedwon.domain.marks import TERMS_KEY, Backlinks, metadata_of
from closedwon.domain.records import GrantRecord, SlotRecord
from closedwon.domain.upgrade import differences

LIVE = ("ACTIVE", "IN_TRIAL", "NOT_STARTED", "PAYMENT_PENDING")
"""States of a subscription that holds its slot, now or later. Every other state is an end."""


@dataclass(frozen=True)
class Actual:
    """One subscription as Stigg holds it. Entitlement values and the billing period are not in its answers.

    period: when the billing period under way began, and when it ends.
    """

    id: SubscriptionId
    slot: Slot
    plan_id: str
    pricing_type: str
    status: str
    addons: tuple[tuple[str, int], ...]
    entitlement_ids: tuple[str, ...]
    prices: tuple[Price, ...]
    cancellation: Until
    metadata: dict[str, str]
    start: Instant | None = None
    trial_end: Instant | None = None
    coupons: tuple[str, ...] = ()
    period: tuple[Instant, Instant] | None = None

    @property
    def ends(self) -> Instant | None:
        """When it ends by itself; None where it does not, or nobody knows when."""
        return self.trial_end if self.slot.trial else self.cancellation.instant


@dataclass(frozen=True)
class Create:
    """Make a subscription; Stigg ends the paid one that stands in its slot (replaces: its ID). start: the start date
    it is sent with, None for none.
    """

    subscription: Subscription
    generation: int
    replaces: SubscriptionId | None = None
    start: Instant | None = None


Aspect = Literal["add-ons", "prices", "entitlements", "end", "coupon", "end of trial", "terms", "links"]
"""What of a subscription can differ in place. Terms: what no answer of Stigg shows."""


@dataclass(frozen=True)
class Update:
    """Change a subscription in place.

    aspects: what is written anew. metadata: what stands on it, with what others keep there. withdrawn: spending terms
    that were written and no deal says any more; what no deal ever said is left alone. adopts: whether somebody else
    made it, and from here on it is closed-won's.
    """

    subscription: Subscription
    subscription_id: SubscriptionId
    aspects: tuple[Aspect, ...]
    metadata: Mapping[str, str]
    withdrawn: tuple[Literal["budget", "minimum_spend"], ...] = ()
    adopts: bool = False

    @property
    def changes(self) -> tuple[str, ...]:
        """What is done, in words."""
        return ("adopted",) if self.adopts else self.aspects

    @property
    def sets_values(self) -> bool:
        """Whether the values of entitlements are written anew: they go with every other term that is not shown."""
        return not {"entitlements", "terms"}.isdisjoint(self.aspects)


@dataclass(frozen=True)
class End:
    """End a subscription. at: now (None), or with its billing period. after: of a trial that was won, the slot of the
    paid subscription that must stand first, so that there is no gap. converts: whether a trial would become a paid
    subscription at its end. makes_way: whether it was not started yet and comes before a Create in its slot.
    """

    slot: Slot
    subscription_id: SubscriptionId
    plan_id: str
    opportunities: tuple[OpportunityId, ...]
    at: EndOfBillingPeriod | None = None
    after: Slot | None = None
    converts: bool = False
    makes_way: bool = False


@dataclass(frozen=True)
class AtOnce:
    """A subscription is cancelled now."""


@dataclass(frozen=True)
class TrialUntil:
    """A trial is given another end: it is not cancelled, so that there is no gap."""

    at: Instant


Ending = AtOnce | EndOfBillingPeriod | TrialUntil
"""How a subscription ends, once it is known what stands beside it."""


@dataclass(frozen=True)
class Keep:
    """Nothing to do: it stands as it should."""

    subscription: Subscription
    subscription_id: SubscriptionId
    status: str


@dataclass(frozen=True)
class Hold:
    """Nothing is done until somebody decides. approval: what somebody can approve, None where something else has to
    change. foreign: the subscription in the way that closed-won did not make.
    """

    slot: Slot
    opportunities: tuple[OpportunityId, ...]
    reason: Reason
    approval: str | None = None
    foreign: SubscriptionId | None = None


Change = Create | Update | End


@dataclass(frozen=True)
class Plan:
    """From actual to desired: the changes in the order they are made, the credits to grant, what stays, what waits.

    approved: the approvals that let a change through, by its slot.
    """

    changes: tuple[Change, ...] = ()
    kept: tuple[Keep, ...] = ()
    holds: tuple[Hold, ...] = ()
    grants: tuple[Grant, ...] = ()
    approved: Mapping[Slot, str] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not self.changes and not self.holds and not self.grants


def plan(
    customer_id: CustomerId,
    desired: Desired,
    actual: Iterable[Actual],
    records: Mapping[Slot, SlotRecord],
    policy: Policy,
    links: Backlinks,
    now: int,
    approved: Container[str] = (),
    granted: Mapping[str, GrantRecord] = {},
    untouched: Container[Slot] = (),
) -> Plan:
    """Compare and decide.

    In: the customer's ID in Stigg; what it should have; its subscriptions in Stigg (with those that ended, where they
    are known: their IDs are not used again); what the ledger remembers of each slot; the stack's policy; the way back
    to Salesforce; now in epoch milliseconds; what somebody approved; the credits that were granted; the slots in which
    a difference is the upgrade's alone (`domain.upgrade`).
    Out: the plan. Applied, and planned again from what Stigg then holds, it is empty but for what is held.
    """
    planner = _Planner(customer_id, desired, list(actual), records, policy, links, now, approved, untouched)
    for slot, wanted in desired.subscriptions.items():
        planner.decide(slot, wanted)
    for slot in records:
        if slot not in desired.subscriptions:
            planner.without_deal(slot)
    due = tuple(g for g in desired.grants if granted.get(g.key, GrantRecord(0)).grant_id is None)
    return Plan(
        tuple(sorted(planner.changes, key=_order_of_change)),
        tuple(planner.kept),
        tuple(planner.holds),
        due,
        planner.used,
    )


def _standing(ours: Iterable[Actual], record: SlotRecord) -> Actual | None:
    """The one of our subscriptions that stands in a slot: the one that is remembered, else the newest."""
    return max(ours, key=lambda s: (s.id == record.subscription_id, _generation(s.id)), default=None)


def _ended_with_billing_period(wanted: Subscription, record: SlotRecord) -> bool:
    """Whether what is to end with its billing period did so, or never began: none of ours stands in its slot."""
    at_period_end = EndOfBillingPeriod()
    gone = record.applied is None or record.applied.cancellation == at_period_end
    return wanted.cancellation == at_period_end and gone


def _opportunities_of(standing: Actual) -> tuple[OpportunityId, ...]:
    """The opportunities that a subscription of ours says it is made of; see `Backlinks.of_subscription`."""
    told = standing.metadata.get("salesforceOpportunityIds", "").split(",")
    return tuple(OpportunityId(id) for id in told if id)


def _order_of_change(change: Change) -> int:
    """What was not started makes way first; what is left ends last, so that there is no gap."""
    if isinstance(change, End):
        return 0 if change.makes_way else 2
    return 1


class _Planner:
    """Decides slot by slot."""

    def __init__(
        self,
        customer_id: CustomerId,
        desired: Desired,
        actual: list[Actual],
        records: Mapping[Slot, SlotRecord],
        policy: Policy,
        links: Backlinks,
        now: int,
        approved: Container[str],
        untouched: Container[Slot],
    ) -> None:
        self.customer_id = customer_id
        self.desired = desired
        self.actual = actual
        self.live = [subscription for subscription in actual if subscription.status in LIVE]
        self.records = records
        self.policy = policy
        self.links = links
        self.now = from_milliseconds(now)
        self.approved = approved
        self.untouched = untouched
        self.changes: list[Change] = []
        self.kept: list[Keep] = []
        self.holds: list[Hold] = []
        self.used: dict[Slot, str] = {}

    def decide(self, slot: Slot, wanted: Subscription) -> None:
        """What to do in a slot that a deal gives something."""
        if slot.trial and wanted.trial_end and wanted.trial_end <= self.now:
            return  # Stigg is about to make a paid subscription of it
        if (became := self._became_paid(slot)) is not None:
            why = Reason.of("trial_became_paid", subscription=became.id)
            self.holds.append(Hold(slot, wanted.opportunities, why))
            return
        record = self.records.get(slot, SlotRecord())
        ours = self._ours_in(slot, record)
        foreign = [s for s in self.live if s.slot == slot and s not in ours]
        standing = _standing(ours, record)
        if standing is not None:
            self._where_ours_stands(slot, wanted, standing, foreign)
        elif not _ended_with_billing_period(wanted, record):
            self._where_none_stands(slot, wanted, foreign)

    def _became_paid(self, slot: Slot) -> Actual | None:
        """A trial of ours in a slot that became a paid subscription by itself."""
        made = next((s for s in self.live if slot.trial and is_ours(self.customer_id, slot, s.id)), None)
        return None if made is None or made.slot.trial else made

    def _where_ours_stands(self, slot: Slot, wanted: Subscription, standing: Actual, foreign: list[Actual]) -> None:
        """What to do in a slot in which a subscription of ours stands. foreign: those of others beside it."""
        record = self.records.get(slot, SlotRecord())
        same = standing.plan_id == wanted.plan_id and units_of(standing, record, wanted) == wanted.unit_quantity
        hold = _unchangeable(wanted, standing, record) if same else None
        if hold is None and self._upgrades(slot, wanted, standing, wanted.opportunities):
            return
        if self._makes_way(wanted, standing, record, fits=same and hold is None):
            end = End(slot, standing.id, standing.plan_id, wanted.opportunities, makes_way=True)
            self.changes += [end, self._create(wanted, record)]
        elif hold:
            self.holds.append(hold)
        elif same:
            self._difference(wanted, standing, record.applied)
        elif not self._tramples(wanted, foreign):
            self.changes.append(self._create(wanted, record, replaces=standing.id))

    def _makes_way(self, wanted: Subscription, standing: Actual, record: SlotRecord, fits: bool) -> bool:
        """Whether what stands ends before another is made. fits: whether it can become what is wanted in place."""
        if standing.status == "NOT_STARTED" and (not fits or standing.start != (wanted.start or self.now)):
            return True
        return self._gap(wanted, standing, record)

    def _where_none_stands(self, slot: Slot, wanted: Subscription, foreign: list[Actual]) -> None:
        """What to do in a slot in which no subscription of ours stands. foreign: those of others."""
        if match := next((other for other in foreign if _matches(other, wanted)), None):
            self.changes += _adoption(wanted, match)
        elif not self._tramples(wanted, foreign) and not self._upgrades(slot, wanted, None, wanted.opportunities):
            record = self.records.get(slot, SlotRecord())
            self.changes.append(self._create(wanted, record, replaces=foreign[0].id if foreign else None))

    def _gap(self, wanted: Subscription, standing: Actual, record: SlotRecord) -> bool:
        """Whether what runs was ended, and what comes next in its slot begins later. A start that was merely moved
        takes nothing back.
        """
        if standing.status != "ACTIVE" or record.applied is None or wanted.start is None or wanted.start <= self.now:
            return False
        return bool(set(wanted.milestones) - set(record.applied.milestones))

    def _ours_in(self, slot: Slot, record: SlotRecord) -> list[Actual]:
        """The subscriptions that closed-won keeps in a slot: one, but for what a step that died left behind."""
        # Ours are known by their ID: their plan, and with it their product, may have left the catalogue.
        return [subscription for subscription in self.live if self._ours(subscription, slot, record)]

    def _ours(self, subscription: Actual, slot: Slot, record: SlotRecord) -> bool:
        """Whether a subscription is the one closed-won keeps in a slot: a trial of its own that became paid too."""
        if subscription.slot.trial != slot.trial:
            return False
        if subscription.id == record.subscription_id or is_ours(self.customer_id, slot, subscription.id):
            return True
        return not slot.trial and is_ours(self.customer_id, slot._replace(trial=True), subscription.id)

    def without_deal(self, slot: Slot) -> None:
        """What to do with what stands in a slot that no deal gives anything any more."""
        record = self.records[slot]
        ours = self._named_after(slot, record)
        standing = _standing(ours, record)
        if standing is None or self._is_left_alone(slot, standing):
            return
        gave = record.applied.opportunities if record.applied else _opportunities_of(standing)
        ended, end = self.desired.ended.get(slot), self._end(slot, standing, gave)
        if ended is not None:
            self._expected_end(end, standing, ours)
        elif slot.trial and not self.desired.trials.intersection(gave):
            self._end_of_a_trial_that_was_won(end, standing)
        elif standing.cancellation == Never():
            why = Reason.of("no_deal_left", plan=standing.plan_id)
            if not self._waits(slot, end.opportunities, why):
                self.changes.append(end)

    def _named_after(self, slot: Slot, record: SlotRecord) -> list[Actual]:
        """The subscriptions that a slot's record or their own ID says were made for it, whatever they became."""
        return [s for s in self.live if s.id == record.subscription_id or is_ours(self.customer_id, slot, s.id)]

    def _is_left_alone(self, slot: Slot, standing: Actual) -> bool:
        """Whether what stands in a slot that no deal gives anything needs nothing: it is another slot's, or about to
        be ended by Stigg itself.
        """
        # A trial of ours that became a paid subscription belongs to the paid slot, where a deal gives that something.
        if standing.slot.trial != slot.trial and (not slot.trial or self._given(slot._replace(trial=False), standing)):
            return True
        return standing.ends is not None and standing.ends <= self.now

    def _end(self, slot: Slot, standing: Actual, gave: tuple[OpportunityId, ...]) -> End:
        """The end of what stands in a slot that no deal gives anything. gave: the deals it is made of."""
        ended = self.desired.ended.get(slot)
        opportunities = tuple(dict.fromkeys((*gave, *(ended.opportunities if ended else ()))))
        applied = self.records[slot].applied  # None: made by a step that died, and since then no deal gives it any more
        converts = applied is None or applied.trial_end_behavior == "CONVERT_TO_PAID"
        return End(slot, standing.id, standing.plan_id, opportunities, converts=converts)

    def _expected_end(self, end: End, standing: Actual, ours: Iterable[Actual]) -> None:
        """End what was agreed to end. ours: all of ours that are known by its slot."""
        if self._upgrades(end.slot, None, standing, end.opportunities):
            return
        self.changes.append(end)
        # One that was to take another's place later leaves that one behind.
        others = (s for s in ours if s is not standing and s.slot.trial == standing.slot.trial)
        self.changes += [replace(end, subscription_id=s.id) for s in others]

    def _given(self, slot: Slot, standing: Actual) -> bool:
        """Whether a slot is given something by a deal, or remembers a subscription as its own."""
        known = self.records.get(slot, SlotRecord()).subscription_id
        return slot in self.desired.subscriptions or known == standing.id

    def _end_of_a_trial_that_was_won(self, end: End, trial: Actual) -> None:
        """It ends once the paid subscription has taken its place: with its start, or at once where it stands."""
        paid_slot = end.slot._replace(trial=False)
        wanted = self.desired.subscriptions.get(paid_slot)
        if wanted is None or not set(wanted.opportunities) & set(end.opportunities):
            self.changes.append(end)
            return
        if any(isinstance(c, Create) and c.subscription.slot == paid_slot for c in self.changes):
            self.changes.append(replace(end, after=paid_slot))
            return
        ours = next(iter(self._ours_in(paid_slot, self.records.get(paid_slot, SlotRecord()))), None)
        if ours is None or ours.status == "PAYMENT_PENDING":
            return  # held, or until it is paid for: the trial is all the customer has
        if _ends_in_time(trial, ours, end.converts):
            self._keep_end(end.slot, trial)
            return
        # What runs needs no waiting for, whatever is remembered of it: a hold may have kept that from being told.
        self.changes.append(end if ours.status == "ACTIVE" else replace(end, after=paid_slot))

    def _keep_end(self, slot: Slot, trial: Actual) -> None:
        """Keep the end that a trial was given, where a step died before it was recorded: it is not to be taken for
        somebody's change by hand.
        """
        applied = self.records[slot].applied
        if applied is not None and applied.trial_end != trial.trial_end:
            self.kept.append(Keep(replace(applied, trial_end=trial.trial_end), trial.id, trial.status))

    def _upgrades(
        self, slot: Slot, wanted: Subscription | None, standing: Actual | None, opportunities: tuple[OpportunityId, ...]
    ) -> bool:
        """Whether it is the upgrade alone that would change what is in a slot: then that waits."""
        if slot not in self.untouched:
            return False
        applied = self.records.get(slot, SlotRecord()).applied
        found = differences(applied, wanted, standing is not None and standing.status == "NOT_STARTED")
        if found is None:
            return False
        before, after = found
        return self._waits(slot, opportunities, Reason.of("changed_by_upgrade", before=before, after=after))

    def _waits(
        self,
        slot: Slot,
        opportunities: tuple[OpportunityId, ...],
        reason: Reason | None,
        foreign: SubscriptionId | None = None,
    ) -> bool:
        """Whether something waits for somebody's approval; notes what was approved."""
        if reason is None:
            return False
        record = self.records.get(slot, SlotRecord())
        reason = reason.knowing(slot=slot.key, subscription=record.subscription_id, foreign=foreign)
        approval = approval_of(reason)
        # What was approved before approvals had codes still counts.
        given = next((id for id in (approval, former_approval_of(reason)) if id in self.approved), None)
        if given is not None:
            self.used[slot] = given
            return False
        self.holds.append(Hold(slot, opportunities, reason, approval, foreign))
        return True

    def _tramples(self, wanted: Subscription, foreign: list[Actual]) -> bool:
        """Whether a new subscription would end one that somebody else made and the policy protects: then it waits.

        All of them count: which of several Stigg ends is not for us to choose.
        """
        replaceable = {"hold": (), "replace-free": ("FREE",), "replace": ("FREE", "PAID", "CUSTOM")}[
            self.policy.foreign_subscription
        ]
        protected = next((s for s in foreign if s.pricing_type not in replaceable), None)
        if protected is None:
            return False
        reason = Reason.of("foreign_subscription", plan=protected.plan_id)
        return self._waits(wanted.slot, wanted.opportunities, reason, protected.id)

    def _create(self, wanted: Subscription, record: SlotRecord, replaces: SubscriptionId | None = None) -> Create:
        """A new subscription of the next generation.

        One that takes another's place begins at once: Stigg bills a start in the past from the next period only. Over
        a trial it says when it begins, or Stigg would wait for the trial's end.
        """
        begun = wanted.start is None or wanted.start <= self.now
        start = None if replaces and begun else wanted.start
        if start is None and not wanted.slot.trial and self._is_tried(wanted.slot):
            start = self.now
        return Create(wanted, self._next_generation(wanted.slot, record, replaces), replaces, start)

    def _is_tried(self, slot: Slot) -> bool:
        """Whether a trial stands beside a paid slot, or should."""
        trial_slot = slot._replace(trial=True)
        return trial_slot in self.desired.subscriptions or any(s.slot == trial_slot for s in self.live)

    def _next_generation(self, slot: Slot, record: SlotRecord, replaces: SubscriptionId | None) -> int:
        """The generation of the next subscription in a slot: one that was raised and never used is used."""
        used = max((_generation(s.id) for s in self.actual if is_ours(self.customer_id, slot, s.id)), default=0)
        unused = record.generation if record.generation and not record.made else record.generation + 1
        return max(record.generation, used) + 1 if replaces else max(unused, used + 1)

    def _difference(self, wanted: Subscription, standing: Actual, applied: Subscription | None) -> None:
        """What differs in place."""
        aspects: tuple[tuple[Aspect, bool], ...] = (
            ("add-ons", standing.addons == wanted.addons),
            ("prices", standing.prices == tuple(sorted(wanted.prices, key=price_order))),
            ("entitlements", standing.entitlement_ids == tuple(sorted(e.id for e in wanted.entitlements))),
            ("end", _ends_as(standing, wanted)),
            ("coupon", wanted.coupon is None or wanted.coupon in standing.coupons),
            ("end of trial", not wanted.slot.trial or standing.trial_end == wanted.trial_end),
            ("terms", standing.metadata.get(TERMS_KEY) == wanted.fingerprint),
            ("links", metadata_of(wanted, self.links).items() <= standing.metadata.items()),
        )
        differs = [aspect for aspect, same in aspects if not same]
        if "terms" in differs and metadata_of(wanted, self.links).items() - standing.metadata.items() == {
            (TERMS_KEY, wanted.fingerprint)
        }:
            differs.remove("links")  # the fingerprint is in the metadata too: it alone is no difference of links
        if differs:
            self.changes.append(_update(wanted, standing, tuple(differs), applied))
        else:
            self.kept.append(Keep(wanted, standing.id, standing.status))
        self.changes += _ends_with_billing_period(wanted, standing)


def _ends_in_time(trial: Actual, paid: Actual, converts: bool) -> bool:
    """Whether a trial has the end already that it is to have before a paid subscription that has not started yet."""
    if paid.status != "NOT_STARTED" or not paid.start:
        return False
    return trial.trial_end == trial_end_before(paid.start, converts)


def trial_end_before(start: Instant, converts: bool) -> Instant:
    """When a trial is to end that a paid subscription follows at `start`.

    One that would become a paid subscription itself must not get there: it is given a day more, and cancelled once the
    other has started.
    """
    return start + timedelta(days=1) if converts else start


def units_of(standing: Actual, record: SlotRecord, wanted: Subscription) -> int:
    """The units a subscription was written with, which no answer of Stigg shows: its metadata knows, even where a step
    died between its write and the ledger's. Where nobody knows, those wanted.
    """
    units = standing.metadata.get(TERMS_KEY, "").partition("-")[0]
    if units.isdecimal():
        return int(units)
    return record.applied.unit_quantity if record.applied else wanted.unit_quantity


UNCHANGEABLE = (
    ("payment_collection", "payment collection"),
    ("paying_customer_id", "the paying customer"),
    ("trial_end_behavior", "what becomes of a trial at its end"),
    ("coupon", "the coupon"),  # another can take its place; it cannot be taken away
)
"""What Stigg's PATCH cannot change, and starting anew would bill or try anew: it is held."""


def _unchangeable(wanted: Subscription, standing: Actual, record: SlotRecord) -> Hold | None:
    """The hold where a deal changes what Stigg cannot change on a subscription that stands; else None."""
    applied = record.applied
    if applied is None or applied.slot != wanted.slot:
        return None
    if standing.metadata.get(TERMS_KEY) == wanted.fingerprint:  # made so by a step that died before it was recorded
        return None
    for name, words in UNCHANGEABLE:
        was, is_now = getattr(applied, name), getattr(wanted, name)
        if was != is_now and (name != "coupon" or is_now is None):
            why = Reason.of(
                "cannot_change",
                term=words,
                before=was or None,
                after=is_now or None,
                plan=wanted.plan_id,
                subscription=standing.id,
                slot=wanted.slot.key,
            )
            return Hold(wanted.slot, wanted.opportunities, why)
    return None


def _matches(foreign: Actual, wanted: Subscription) -> bool:
    """Whether a subscription somebody else made already is what the deal wants, as far as Stigg shows it."""
    return (
        foreign.plan_id == wanted.plan_id
        and foreign.addons == wanted.addons
        and set(foreign.entitlement_ids) == {entitlement.id for entitlement in wanted.entitlements}
        and foreign.prices == wanted.prices
    )


def _update(
    wanted: Subscription, standing: Actual, aspects: tuple[Aspect, ...], applied: Subscription | None
) -> Update:
    """A change in place. applied: what was written last, None where that is not known."""
    spending: tuple[Literal["budget", "minimum_spend"], ...] = ("budget", "minimum_spend")
    withdrawn = tuple(
        name for name in spending if applied and getattr(applied, name) is not None and getattr(wanted, name) is None
    )
    return Update(wanted, standing.id, aspects, standing.metadata, withdrawn)


def _adoption(wanted: Subscription, standing: Actual) -> Iterable[Change]:
    """From here on a subscription that somebody else made is closed-won's: it gets its marks, its end, and what cannot
    be seen to be the same.
    """
    aspects: tuple[Aspect, ...] = ("terms",)
    if wanted.coupon:
        aspects += ("coupon",)
    if not _ends_as(standing, wanted):
        aspects += ("end",)
    yield Update(wanted, standing.id, aspects, standing.metadata, adopts=True)
    yield from _ends_with_billing_period(wanted, standing)


def _ends_as(standing: Actual, wanted: Subscription) -> bool:
    """Whether it ends on the day that is wanted, or no day is: an `End` tells it to end with its billing period."""
    return isinstance(wanted.cancellation, EndOfBillingPeriod) or standing.cancellation == wanted.cancellation


def _ends_with_billing_period(wanted: Subscription, standing: Actual) -> Iterable[End]:
    """The end of one that is to end with its billing period, and has no end yet."""
    match wanted.cancellation, standing.cancellation:
        case EndOfBillingPeriod() as at, Never():
            yield End(wanted.slot, standing.id, wanted.plan_id, wanted.opportunities, at=at)


def ending_of(end: End, paid: SlotRecord | None, now: Instant) -> Ending | None:
    """How a subscription ends.

    In: the change; of a trial that was won, what is known of the paid subscription; now.
    Out: None while the paid subscription does not stand: the trial is all the customer has.
    """
    if end.at is not None:
        return end.at
    if not end.slot.trial or end.makes_way:
        return AtOnce()
    until = _trial_until(end, paid, now)
    if until is None:
        return None
    if end.converts and until == now:  # its end would make it a paid subscription
        return AtOnce()
    return TrialUntil(until)


def _trial_until(end: End, paid: SlotRecord | None, now: Instant) -> Instant | None:
    """Until when a trial is to run; None while the paid subscription that is to follow it does not stand."""
    if end.after is None:
        return now
    if paid is None or paid.applied is None or paid.status not in ("ACTIVE", "NOT_STARTED"):
        return None
    if paid.status == "NOT_STARTED" and paid.applied.start:
        return trial_end_before(paid.applied.start, end.converts)
    return now


def after_end(record: SlotRecord, ending: Ending, status: str) -> SlotRecord:
    """What to remember of a slot whose subscription was told to end.

    In: what was remembered; how it was told to; the status Stigg answered with: later, it stands until then. The end
    that a trial was given is remembered: whoever finds another one there knows that somebody changed it by hand.
    """
    if status not in LIVE:
        return replace(record, status=status, checkout_url=None, applied=None)
    applied = record.applied
    if applied is not None and isinstance(ending, TrialUntil):
        applied = replace(applied, trial_end=ending.at)
    return replace(record, status=status, applied=applied)


def price_order(price: Price) -> str:
    """The place of a price among those of a subscription: the base price, then by add-on."""
    return price.addon_id or ""


def subscription_id(customer_id: CustomerId, slot: Slot, generation: int) -> SubscriptionId:
    """The ID of a subscription closed-won makes: its slot and generation, so that the same wish has the same name."""
    return SubscriptionId(f"{_stem(customer_id, slot)}-{generation}")


def is_ours(customer_id: CustomerId, slot: Slot, id: SubscriptionId) -> bool:
    """Whether an ID is one that `subscription_id` gives for this slot, of whatever generation."""
    stem, _, generation = id.rpartition("-")
    return generation.isdecimal() and stem in (_stem(customer_id, slot), _former_stem(customer_id, slot))


def _generation(id: SubscriptionId) -> int:
    """The generation in an ID of ours; 0 for an adopted one's."""
    generation = id.rpartition("-")[2]
    return int(generation) if generation.isdecimal() else 0


def _stem(customer_id: CustomerId, slot: Slot) -> str:
    # An @, which a customer's ID may have, is taken of no other ID (`identifiers.ENTITY_ID`).
    return _former_stem(customer_id, slot).replace("@", "-")


def _former_stem(customer_id: CustomerId, slot: Slot) -> str:
    """As it was made before that was known."""
    # The hash keeps IDs apart that would read the same once joined; the rest is for people.
    name = hashlib.sha256(f"{customer_id}|{slot.key}".encode()).hexdigest()[:8]
    return f"{customer_id[:80]}-{slot.product_id[:80]}-{name}"


def amount_of(entitlement: Entitlement) -> float:
    """How much an entitlement gives; a granted feature counts as one."""
    if entitlement.unlimited:
        return float("inf")
    return 1 if entitlement.limit is None else entitlement.limit
