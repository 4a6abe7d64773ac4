"""The plan: what to do, from the actual state to the desired one. Pure.

Provisioning applies it, a preview shows it, drift is a plan that is not empty: there is no second comparer.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

from closedwon.domain.changes import Actual, Change, Create, End, Hold, Keep, Plan
from closedwon.domain.codes import Reason, approval_of
from closedwon.domain.comparison import (
    adoption,
    differing,
    ends_with_billing_period,
    matches,
    read_differently,
    tiered_override,
    unchangeable,
    update_of,
)
from closedwon.domain.desired import Desired, Policy, Slot, Subscription
from closedwon.domain.endings import ends_in_time
from closedwon.domain.former_approvals import former_approval_of
from closedwon.domain.identifiers import CustomerId, OpportunityId, SubscriptionId
from closedwon.domain.in_stigg import InStigg
from closedwon.domain.instants import EndOfBillingPeriod, Never, from_milliseconds
from closedwon.domain.marks import Backlinks
from closedwon.domain.records import GrantRecord, SlotRecord
from closedwon.domain.subscription_ids import generation_of
from closedwon.domain.upgrade import differences


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
    planner = _Planner(customer_id, desired, actual, records, policy, links, now, approved, untouched)
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
    return max(ours, key=lambda s: (s.id == record.subscription_id, generation_of(s.id)), default=None)


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
        actual: Iterable[Actual],
        records: Mapping[Slot, SlotRecord],
        policy: Policy,
        links: Backlinks,
        now: int,
        approved: Container[str],
        untouched: Container[Slot],
    ) -> None:
        self.customer_id = customer_id
        self.desired = desired
        self.in_stigg = InStigg(customer_id, actual)
        self.records = records
        self.policy = policy
        self.links = links
        self.now = from_milliseconds(now)
        self.approved = approved
        self.untouched = untouched
        self.changes: list[Change] = []
        self.made: set[Slot] = set()
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
        if (tried := self._tried(slot, record)) is not None:
            why = Reason.of("trial_not_wanted", subscription=tried.id)
            self.holds.append(Hold(slot, wanted.opportunities, why))
            return
        ours = self.in_stigg.ours_in(slot, record)
        foreign = [s for s in self.in_stigg.in_slot(slot) if s not in ours]
        standing = _standing(ours, record)
        if standing is not None:
            self._where_ours_stands(slot, wanted, standing, foreign)
        elif not _ended_with_billing_period(wanted, record):
            self._where_none_stands(slot, wanted, foreign)

    def _became_paid(self, slot: Slot) -> Actual | None:
        """A trial of ours in a slot that became a paid subscription by itself."""
        made = next(iter(self.in_stigg.named_after(slot, SlotRecord())), None) if slot.trial else None
        return None if made is None or made.slot.trial else made

    def _tried(self, slot: Slot, record: SlotRecord) -> Actual | None:
        """A sale of ours that Stigg made a trial of: to make it once more would make another trial."""
        ours = () if slot.trial else self.in_stigg.named_after(slot, record)
        return next((one for one in ours if one.slot.trial), None)

    def _where_ours_stands(self, slot: Slot, wanted: Subscription, standing: Actual, foreign: list[Actual]) -> None:
        """What to do in a slot in which a subscription of ours stands. foreign: those of others beside it."""
        record = self.records.get(slot, SlotRecord())
        same = standing.plan_id == wanted.plan_id  # other units are changed in place: to replace it would cancel it
        hold, otherwise = _what_waits(wanted, standing, record)
        if self._waits(slot, wanted.opportunities, otherwise):
            return
        # What is read differently tells all that would change: no second approval of the same.
        if otherwise is None and hold is None and self._upgrades(slot, wanted, standing, wanted.opportunities):
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
        if match := next((other for other in foreign if matches(other, wanted)), None):
            self.changes += adoption(wanted, match)
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

    def without_deal(self, slot: Slot) -> None:
        """What to do with what stands in a slot that no deal gives anything any more."""
        record = self.records[slot]
        ours = self.in_stigg.named_after(slot, record)
        standing = _standing(ours, record)
        if standing is None or self._is_left_alone(slot, standing):
            return
        gave = record.applied.opportunities if record.applied else _opportunities_of(standing)
        end = self._end(slot, standing, gave)
        if slot in self.desired.ended:
            self._expected_end(end, standing, ours)
        elif not self.desired.withheld.isdisjoint(gave):
            self._end_of_what_is_withheld(end, standing)
        elif slot.trial and not self.desired.trials.intersection(gave):
            self._end_of_a_trial_that_was_won(end, standing)
        elif not slot.trial or standing.cancellation == Never():
            self._end_if_approved(end)

    def _end_of_what_is_withheld(self, end: End, standing: Actual) -> None:
        """End what its deals, held now, do not give any more, before it starts; what runs waits for somebody."""
        if standing.status == "NOT_STARTED":
            # Stigg would start what nobody agreed to. It is made anew when one of its deals is not held any more.
            self.changes.append(end)
        else:
            self._end_if_approved(end)

    def _end_if_approved(self, end: End) -> None:
        """End what no deal gives any more, once somebody said so."""
        if not self._waits(end.slot, end.opportunities, Reason.of("no_deal_left", plan=end.plan_id)):
            self.changes.append(end)

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
        if paid_slot in self.made:
            self.changes.append(replace(end, after=paid_slot))
            return
        ours = next(iter(self.in_stigg.ours_in(paid_slot, self.records.get(paid_slot, SlotRecord()))), None)
        if ours is None or ours.status == "PAYMENT_PENDING":
            return  # held, or until it is paid for: the trial is all the customer has
        if ends_in_time(trial, ours, end.converts):
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
            self.kept.append(Keep(replace(applied, trial_end=trial.trial_end), trial.id, trial.status, trial.payment))

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
        self.made.add(wanted.slot)
        return Create(wanted, self._next_generation(wanted.slot, record, replaces), replaces, start)

    def _is_tried(self, slot: Slot) -> bool:
        """Whether a trial stands beside a paid slot, or should."""
        trial_slot = slot._replace(trial=True)
        return trial_slot in self.desired.subscriptions or bool(self.in_stigg.in_slot(trial_slot))

    def _next_generation(self, slot: Slot, record: SlotRecord, replaces: SubscriptionId | None) -> int:
        """The generation of the next subscription in a slot: one that was raised and never used is used."""
        used = self.in_stigg.generation(slot)
        unused = record.generation if record.generation and not record.made else record.generation + 1
        return max(record.generation, used) + 1 if replaces else max(unused, used + 1)

    def _difference(self, wanted: Subscription, standing: Actual, applied: Subscription | None) -> None:
        """What differs in place."""
        differs = differing(wanted, standing, self.links, applied)
        if (hold := tiered_override(wanted, standing, differs)) is not None:
            self.holds.append(hold)
            return
        if differs:
            self.changes.append(update_of(wanted, standing, differs, applied))
        else:
            self.kept.append(Keep(wanted, standing.id, standing.status, standing.payment))
        self.changes += ends_with_billing_period(wanted, standing)


def _what_waits(wanted: Subscription, standing: Actual, record: SlotRecord) -> tuple[Hold | None, Reason | None]:
    """What cannot be changed in a subscription that stands, and why it waits where it is read differently: neither
    where it has another plan than is wanted.
    """
    if standing.plan_id != wanted.plan_id:
        return None, None
    return unchangeable(wanted, standing, record), read_differently(wanted, standing, record.applied)
