"""Foresight: the customer as it would be after the deals of a request, now and later. Pure.

It decides nothing by itself: the rule of acceptance, the agreement, the plan and the outcomes are provisioning's own,
applied to a customer that nobody stored. What happens later is the same agreement at the moments it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.changes import (
    LIVE,
    Actual,
    AtOnce,
    Change,
    Create,
    End,
    Hold,
    Keep,
    Plan,
    TrialUntil,
    Update,
    opportunities_of,
    slot_of,
)
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.customer import Customer
from closedwon.domain.desired import Desired, Policy, Slot, Subscription
from closedwon.domain.endings import ending_of
from closedwon.domain.identifiers import CustomerId, OpportunityId, SubscriptionId
from closedwon.domain.instants import Instant, milliseconds, starting
from closedwon.domain.marks import Backlinks, metadata_of
from closedwon.domain.outcome import applied
from closedwon.domain.planned import currency_to_say, planned, records_of
from closedwon.domain.records import SlotRecord
from closedwon.domain.results import Applied
from closedwon.domain.subscription_ids import subscription_id
from closedwon.domain.world import world_of
from closedwon.stigg.answers import actual_of, currency_of
from closedwon.words.changes import Calendar

MOST_MOMENTS = 12
"""How many later moments are shown: a ramp of three years has three."""

COSTS_NOTHING = {"end", "end of trial", "links"}
"""Changes of a subscription that do not change its invoices."""


class InStigg(NamedTuple):
    """Stigg's answers about the customer. answered: whether it answered. customer: None where it is unknown. archived:
    whether it is unknown because somebody archived it.
    """

    answered: bool
    customer: Mapping[str, Any] | None = None
    subscriptions: Sequence[Mapping[str, Any]] = ()
    archived: bool = False

    def told(self, customer: Customer) -> Customer:
        """The customer with what its step would learn before anything is provisioned."""
        if not self.answered:
            return customer
        return replace(customer, currency=currency_of(self.customer or {}) or customer.currency, archived=self.archived)


@dataclass(frozen=True)
class Choices:
    """What a stack chooses, as far as a preview needs it. links: the way back to this account in Salesforce."""

    policy: Policy
    links: Backlinks
    calendar: Calendar


@dataclass(frozen=True)
class Foresight:
    """The customer as it would be after the request's deals.

    known: as the ledger has it; customer: with the deals that were asked about. before, agreement: what those come to;
    desired: what there should be now. after: what provisioning would record. moments: what there should be at later
    moments, in order. currency: what Stigg would be told that it bills the customer in, None for nothing.
    """

    asked: frozenset[str]
    known: Customer
    customer: Customer
    before: Agreement
    agreement: Agreement
    desired: Desired
    catalogue: Catalogue
    actual: tuple[Actual, ...]
    records: Mapping[Slot, SlotRecord]
    plan: Plan
    after: Applied
    moments: tuple[tuple[Instant, Desired], ...]
    currency: str | None
    in_stigg: InStigg
    stack: Choices
    now: Instant

    @property
    def customer_id(self) -> CustomerId:
        return self.customer.bound_id

    def given(self, slot: Slot) -> frozenset[str]:
        """The deals that gave a slot its present subscription."""
        standing = self.records.get(slot, SlotRecord()).applied
        return frozenset(standing.opportunities if standing else ())

    def begins(self, start: Instant | None) -> Instant | None:
        """When a new subscription begins, None for at once."""
        # Over a trial the plan says this moment, or Stigg would wait for the trial's end: for people, that is at once.
        return None if start == self.now else start

    def concern(self, change: Change | Keep | Hold, opportunity_id: str) -> bool:
        """Whether a change concerns a deal: every change of what it is linked with does."""
        return not self.relatives_of(opportunity_id).isdisjoint(self.behind(change))

    def behind(self, change: Change | Keep | Hold) -> set[str]:
        """The deals that a change comes from, and those that gave the present subscription."""
        return {*opportunities_of(change), *self.given(slot_of(change))}

    @cached_property
    def asked_about(self) -> frozenset[str]:
        """The deals of the request with those they are linked with."""
        return self.asked.union(*(self.relatives_of(id) for id in self.asked))

    def relatives_of(self, opportunity_id: str) -> frozenset[str]:
        """A deal with those it is linked with."""
        own = frozenset({opportunity_id})
        return own | self.agreement.relatives.get(OpportunityId(opportunity_id), frozenset())

    @cached_property
    def also_due(self) -> list[Change]:
        """The changes that provisioning would make besides, for other deals of this customer."""
        return [change for change in self.plan.changes if self.asked_about.isdisjoint(self.behind(change))]

    def invoiced(self) -> list[Create | Update]:
        """The changes of the request's deals that have a price."""
        return [
            change
            for change in self.plan.changes
            # Each is a call to Stigg while a person waits: none for what leaves the price as it is.
            if not isinstance(change, End)
            and not (isinstance(change, Update) and {*change.changes} <= COSTS_NOTHING)
            and not self.asked_about.isdisjoint(self.behind(change))
        ]


def foresee(
    asked: Iterable[str],
    known: Customer,
    customer: Customer,
    agreement: Agreement,
    in_stigg: InStigg,
    stack: Choices,
) -> Foresight:
    """Plan for a customer and look ahead.

    In: the opportunities that were asked about; the customer as the ledger has it, and with their deals accepted; what
    it agreed to then; what Stigg said; what the stack chooses.
    """
    at, catalogue = agreement.world.now, agreement.world.catalogue
    records = records_of(customer)
    if in_stigg.answered:
        actual = tuple(actual_of(subscription, catalogue) for subscription in in_stigg.subscriptions)
    else:
        actual = remembered(records, catalogue, stack.links)
    found = planned(customer, agreement, actual, stack.links)
    standing = records_after(found.plan, found.records, actual, customer.bound_id, at)
    desired = found.agreement.desired()
    # As it would go on without these deals: with what Stigg says of ends that are not known yet, or they would differ.
    without = Agreement(
        [state.prepared_history for state in known.opportunities.values()],
        world_of(known, catalogue, stack.policy, milliseconds(at)),
    )
    return Foresight(
        asked=frozenset(asked),
        known=known,
        customer=customer,
        before=planned(known, without, actual, stack.links).agreement,
        agreement=found.agreement,
        desired=desired,
        catalogue=catalogue,
        actual=actual,
        records=records,
        plan=found.plan,
        # Without refusals: Stigg refuses only what it is asked to write.
        after=applied(customer, found, standing, {}, milliseconds(at), customer.grants),
        moments=tuple(look_ahead(found.agreement)),
        currency=currency_to_say(customer, found),
        in_stigg=in_stigg,
        stack=stack,
        now=at,
    )


def remembered(records: Mapping[Slot, SlotRecord], catalogue: Catalogue, links: Backlinks) -> tuple[Actual, ...]:
    """What stands in Stigg as far as the ledger knows: what was written last."""
    found = []
    for record in records.values():
        wanted, id, status = record.applied, record.subscription_id, record.status
        if wanted is None or id is None or status not in LIVE:
            continue
        sold = catalogue.plan(wanted.plan_id)
        found.append(
            Actual(
                id=id,
                slot=wanted.slot,
                plan_id=wanted.plan_id,
                pricing_type=sold.pricing_type if sold else "CUSTOM",
                status=status,
                addons=wanted.addons,
                entitlement_ids=tuple(sorted(entitlement.id for entitlement in wanted.entitlements)),
                prices=wanted.prices,
                cancellation=wanted.cancellation,
                # With the fingerprint as it was written, or the plan would find changed terms everywhere.
                metadata=metadata_of(wanted, links),
                start=wanted.start,
                trial_end=wanted.trial_end,
                coupons=(wanted.coupon,) if wanted.coupon else (),
            )
        )
    return tuple(found)


def records_after(
    to_do: Plan, records: Mapping[Slot, SlotRecord], actual: Iterable[Actual], customer_id: CustomerId, at: Instant
) -> dict[Slot, SlotRecord]:
    """The slot records after the plan, if Stigg made every change and nobody had to pay first."""
    found = dict(records)
    statuses = {subscription.id: subscription.status for subscription in actual}

    def stands(wanted: Subscription, id: SubscriptionId, status: str) -> None:
        record = found.get(wanted.slot, SlotRecord())
        found[wanted.slot] = replace(record, subscription_id=id, status=status, applied=wanted)

    for keep in to_do.kept:
        stands(keep.subscription, keep.subscription_id, keep.status)
    for change in to_do.changes:
        match change:
            case Create(wanted, generation, _, start):
                begun = "IN_TRIAL" if wanted.slot.trial else "ACTIVE"
                status = "NOT_STARTED" if start is not None and start > at else begun
                stands(wanted, subscription_id(customer_id, wanted.slot, generation), status)
            case Update(wanted, id):
                stands(wanted, id, statuses[id])
            case End(slot, after=after):
                # The plan makes the paid subscription before it ends the trial, so that it is in `found` by now.
                ending = ending_of(change, found.get(after) if after else None, at)
                # What was given a later end stands until then.
                if ending in (AtOnce(), TrialUntil(at)):
                    ended = found.get(slot, SlotRecord())
                    found[slot] = replace(ended, status="CANCELED", checkout_url=None, applied=None)
    return found


def look_ahead(agreement: Agreement) -> Iterator[tuple[Instant, Desired]]:
    """The desired states at the next moments at which something changes by itself, if nothing else is sold."""
    coming = (moment.instant for moment in agreement.moments if moment > starting(agreement.world.now))
    for moment in islice((at for at in coming if at is not None), MOST_MOMENTS):
        yield moment, agreement.desired(moment)
