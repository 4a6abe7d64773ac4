"""Previews the deals of one customer: what provisioning would do now and later. Pure.

It decides nothing by itself: the rule of acceptance, the fold, the plan and the outcomes are provisioning's own,
applied to a customer that nobody stored. What happens later is the fold again, at the moments it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from closedwon.domain.acceptance import Acceptance
from closedwon.domain.catalogue import Catalogue
from closedwon.domain.codes import Facts, Reason
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.customer import Customer, Outcome
from closedwon.domain.desired import Desired, Policy, Slot, Subscription
from closedwon.domain.identifiers import CustomerId, OpportunityId, SubscriptionId
from closedwon.domain.instants import EndOfBillingPeriod, Instant, Never, from_iso, iso_utc, milliseconds, starting
from closedwon.domain.marks import Backlinks, metadata_of
from closedwon.domain.order import Order, Problem, same_deal
from closedwon.domain.outcome import applied
from closedwon.domain.plan import (
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
    ending_of,
    is_ours,
    subscription_id,
)
from closedwon.domain.planned import planned, records_of
from closedwon.domain.records import SlotRecord
from closedwon.domain.results import Applied
from closedwon.domain.world import world_of
from closedwon.intake.answers import errors_of
from closedwon.intake.deal import Deal
from closedwon.intake.mapping import unmapped
from closedwon.preview.answers import (
    PreviewedAddon,
    PreviewedChange,
    PreviewedCharges,
    PreviewedEntitlement,
    PreviewedGrant,
    PreviewedInvoices,
    PreviewedMoment,
    PreviewedPrice,
    PreviewResult,
)
from closedwon.preview.charging import compared
from closedwon.stigg.answers import actual_of
from closedwon.stigg.bodies import provision_body
from closedwon.words.changes import Calendar, changed, created, differences, granted, later, listed, lowered
from closedwon.words.reasons import in_words, sentence, told

MOST_MOMENTS = 12
"""How many later moments are shown: a ramp of three years has three."""

COSTS_NOTHING = {"end", "end of trial", "links"}
"""Changes of a subscription that do not change its invoices."""

Json = dict[str, Any]


class InStigg(NamedTuple):
    """Stigg's answers about the customer. answered: whether it answered. customer: None where it is unknown."""

    answered: bool
    customer: Mapping[str, Any] | None = None
    subscriptions: Sequence[Mapping[str, Any]] = ()


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
    moments, in order.
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
        """Whether a change concerns a deal: every change of its chain does, which a deal changes as a whole."""
        return not self.relatives_of(opportunity_id).isdisjoint(self.behind(change))

    def behind(self, change: Change | Keep | Hold) -> set[str]:
        """The deals that a change comes from, and those that gave the present subscription."""
        return {*_opportunities(change), *self.given(_slot(change))}

    @cached_property
    def asked_about(self) -> frozenset[str]:
        """The deals of the request with their chains."""
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
    standing = records_after(found.plan, records, actual, customer.bound_id, at)
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


# The preview of one deal


def preview_of(
    foresight: Foresight,
    deal: Deal,
    order: Order,
    acceptance: Acceptance,
    customer_changes: Sequence[str] = (),
    invoices: Mapping[Slot, PreviewedInvoices] = {},
    refusals: Mapping[Slot, str] = {},
) -> PreviewResult:
    """The answer to one deal.

    In: its customer's future; the deal as it was sent and compiled; how the ledger would answer it; what of the
    customer itself would be made or changed in Stigg, in sentences; by slot, Stigg's invoices, and why Stigg refused
    to compute them.
    """
    state = foresight.customer.opportunities.get(order.opportunity_id)
    if acceptance.problems or state is None:
        return invalid(order.opportunity_id, acceptance.problems)
    # Of several revisions in one request only the newest was planned for.
    if acceptance.status == "superseded" or not same_deal(state.order, order):
        return PreviewResult(
            opportunity_id=order.opportunity_id,
            status="ok",
            summary=["Nothing is done for this deal as it was sent."],
            warnings=["A newer revision of this deal was accepted: this older one is ignored."],
            customer_id=foresight.customer.customer_id,
        )
    return _PreviewWriter(foresight, deal, order, refusals).result(customer_changes, invoices)


def _would_go_down(facts: Facts) -> Iterator[str]:
    """What a deal would take away that waits for approval."""
    before, after = facts.get("before"), facts.get("after")
    if isinstance(before, Facts) and isinstance(after, Facts):
        lost = ", ".join(f"{id} {amount} -> {after.get(id) or 'none'}" for id, amount in before.items())
        yield f"{facts.get('plan', 'The subscription')} would go down: {lost}."


def invalid(opportunity_id: str | None, problems: Iterable[Problem], warnings: Sequence[str] = ()) -> PreviewResult:
    problems = list(problems)
    return PreviewResult(
        opportunity_id=opportunity_id,
        status="invalid",
        errors=errors_of(problems),
        warnings=list(warnings),
        reasons=[str(problem) for problem in problems],
        codes=[problem.code for problem in problems],
    )


class _PreviewWriter:
    """Writes the preview of one deal."""

    def __init__(self, foresight: Foresight, deal: Deal, order: Order, refusals: Mapping[Slot, str]) -> None:
        self.foresight = foresight
        self.deal = deal
        self.refusals = refusals
        self.order = order
        self.id = order.opportunity_id
        self.outcome = foresight.after.outcomes[self.id]
        self.calendar = foresight.stack.calendar
        to_do = foresight.plan
        self.changes = [change for change in to_do.changes if foresight.concern(change, self.id)]
        self.holds = [hold for hold in to_do.holds if foresight.concern(hold, self.id)]
        self.kept = [keep for keep in to_do.kept if foresight.concern(keep, self.id)]
        self.grants = [grant for grant in to_do.grants if grant.opportunity_id in self.relatives]

    @property
    def known_already(self) -> bool:
        """Whether the ledger has this very deal."""
        state = self.foresight.known.opportunities.get(self.id)
        return state is not None and same_deal(state.order, self.order)

    @property
    def relatives(self) -> frozenset[str]:
        return self.foresight.relatives_of(self.id)

    def result(self, customer_changes: Sequence[str], invoices: Mapping[Slot, PreviewedInvoices]) -> PreviewResult:
        # To a callout this comes later, as the deal's status: the catalogue is not read for its answer.
        if self.id in self.foresight.desired.refused:
            refusal = invalid(self.id, self.foresight.desired.refused[self.id], self.warnings())
            return refusal.model_copy(update={"customer_id": self.foresight.customer.customer_id})
        later_changes = list(self.later_changes())
        return PreviewResult(
            opportunity_id=self.id,
            status="held" if self.outcome.status == "Held" else "ok",
            summary=self.summary(customer_changes, later_changes),
            warnings=self.warnings(),
            reasons=[sentence(why) for why in self.whys()],
            codes=[code for why in self.whys() for code in why.codes],
            customer_id=self.foresight.customer.customer_id,
            changes=self.data(),
            scheduled=[*self.starts(), *later_changes],
            charges=self.charges(),
            invoices=[invoices[_slot(change)] for change in self.changes if _slot(change) in invoices],
        )

    def charges(self) -> list[PreviewedCharges]:
        """What one billing period charges before and after, where this deal, or one it is linked with, has a part."""
        foresight = self.foresight
        moments = [at for at, _ in foresight.moments]
        return list(compared(foresight.before, foresight.agreement, moments, self.relatives, self.calendar))

    # Sentences

    def summary(self, customer_changes: Sequence[str], later_changes: Sequence[PreviewedMoment]) -> list[str]:
        status = self.foresight.agreement.status(OpportunityId(self.id))
        waits = self.outcome.status == "Held"
        said = list(customer_changes) if self.changes or self.grants else []
        if status.kind == "Scheduled" and status.at.instant:
            said.append(f"Takes effect on {self.calendar.first(status.at.instant)}.")
        for change in self.changes:
            said += self.sentences(change)
        said += [granted(grant, self.calendar) for grant in self.grants]
        if not self.changes and not self.grants and not later_changes:
            said.append(self.unchanged())
        said += [
            # Without a day where only Stigg knows it: when the billing period ends.
            later(moment.what, self.calendar.first(from_iso(moment.at))) if moment.at else moment.what
            for moment in later_changes
        ]
        said += self.term()
        return [*(["This deal waits; the warnings say what for."] if waits else []), *said]

    def unchanged(self) -> str:
        if self.outcome.status == "Held":
            return "Until then nothing changes."
        if self.outcome.status == "Provisioned" and self.outcome.why:
            return told(self.outcome)
        return "Nothing changes: the customer has what this deal says already."

    def sentences(self, change: Change) -> list[str]:
        """The preview of one change."""
        match change:
            case Create(wanted, _, replaces, start):
                said = created(wanted, self.foresight.begins(start), self.calendar)
                standing = next((s for s in self.foresight.actual if s.id == replaces), None)
                if standing is not None:
                    said.insert(1, f"It takes the place of {standing.plan_id} (subscription {standing.id}).")
                elif any(isinstance(other, End) and other.makes_way for other in self.of_slot(wanted.slot)):
                    said.insert(1, "It takes the place of one that has not started.")
                return said
            case Update(wanted, id, aspects):
                if change.adopts:
                    return [f"Takes over the subscription {id} to {wanted.plan_id}, which is as this deal wants it."]
                said = changed(self.was(change), wanted, self.calendar)
                if not said and aspects == ("links",):
                    return [f"Links {wanted.plan_id} to this deal."]
                # Nothing that was sold changes: what is written anew was changed in Stigg, or is not shown there.
                return said or [f"Brings {wanted.plan_id} in line with its deals: {listed(aspects)}."]
            case End(makes_way=makes_way):
                if makes_way:  # said with what takes its place
                    return []
                return [f"{_what(change)} {self.when(change)}."]

    def of_slot(self, slot: Slot) -> list[Change]:
        return [change for change in self.foresight.plan.changes if _slot(change) == slot]

    def when(self, end: End) -> str:
        if end.at is not None:
            return "with the billing period that is under way"
        return "when the paid subscription starts" if end.after else "at once"

    def was(self, change: Create | Update) -> Subscription:
        """A subscription before a change: as it was last written, except where Stigg shows other values."""
        wanted = change.subscription
        standing = next(
            (s for s in self.foresight.actual if isinstance(change, Update) and s.id == change.subscription_id), None
        )
        # Where nothing was written yet, only what Stigg shows can differ.
        last = self.foresight.records.get(wanted.slot, SlotRecord()).applied or wanted
        if standing is None:
            return last
        ends = standing.cancellation
        # Once it is cancelled for the end of its billing period, Stigg shows that day: this is no other end.
        if ends != Never() and EndOfBillingPeriod() in (wanted.cancellation, last.cancellation):
            ends = EndOfBillingPeriod()
        # Entitlements stay as they were written: Stigg's answers have no values of them.
        return replace(
            last,
            plan_id=standing.plan_id,
            addons=standing.addons,
            prices=standing.prices,
            cancellation=ends,
            trial_end=standing.trial_end,
        )

    def starts(self) -> Iterator[PreviewedMoment]:
        """What begins later. The sentence about its making, or an earlier preview, said so."""
        for wanted in self.foresight.desired.subscriptions.values():
            if wanted.start and wanted.start > self.foresight.now and self.relatives & {*wanted.opportunities}:
                yield PreviewedMoment(at=iso_utc(wanted.start), what=_starts(wanted))

    def later_changes(self) -> Iterator[PreviewedMoment]:
        """What happens later by itself, by the folds at the next moments."""
        before = self.foresight.desired.subscriptions
        grants = {grant.key for grant in self.foresight.desired.grants}
        for at, desired in self.foresight.moments:
            now = desired.subscriptions
            # Sorted, so that the same deal is told in the same order each time.
            for slot in sorted({*before, *now}, key=lambda slot: slot.key):
                was, wanted = before.get(slot), now.get(slot)
                givers = {id for found in (was, wanted) if found for id in found.opportunities}
                if self.relatives & givers:
                    for what in self.changes_at(slot, was, wanted, now):
                        yield PreviewedMoment(at=iso_utc(at), what=what)
            for grant in desired.grants:
                # Every later fold has the grant, too: it is told at the first.
                if grant.key not in grants and grant.opportunity_id in self.relatives:
                    yield PreviewedMoment(at=iso_utc(at), what=granted(grant, self.calendar))
            grants |= {grant.key for grant in desired.grants}
            before = now
        # No fold has this moment: only Stigg knows when a billing period ends.
        for wanted in self.foresight.desired.subscriptions.values():
            if isinstance(wanted.cancellation, EndOfBillingPeriod) and self.relatives & {*wanted.opportunities}:
                what = f"Access to {wanted.plan_id} ends with the billing period that is under way."
                yield PreviewedMoment(at=None, what=what)

    def changes_at(
        self, slot: Slot, was: Subscription | None, wanted: Subscription | None, now: Mapping[Slot, Subscription]
    ) -> list[str]:
        """What becomes of a slot at a later moment."""
        if wanted is None and was is not None:
            if slot.trial and was.trial_end_behavior == "CONVERT_TO_PAID" and slot._replace(trial=False) in now:
                return [f"The trial of {was.plan_id} becomes a paid subscription."]
            return [f"The trial of {was.plan_id} ends." if slot.trial else f"Access to {was.plan_id} ends."]
        if was is None and wanted is not None:
            # Where a trial becomes it, the trial's slot says so.
            return [] if slot._replace(trial=True) in self.foresight.desired.subscriptions else [_starts(wanted)]
        if was is None or wanted is None:
            return []
        # Ends are moments of their own: as a difference they would be told twice.
        return changed(replace(was, cancellation=Never()), replace(wanted, cancellation=Never()), self.calendar)

    def term(self) -> list[str]:
        """What becomes of access at the end of the term, where the stack's policy keeps it."""
        ends = self.order.end
        if (
            self.order.trigger not in ("closed_won", "renewal")
            or self.foresight.stack.policy.end_of_term != "keep"
            or ends is None
            or not any(
                isinstance(change, Create) and change.subscription.cancellation == Never() for change in self.changes
            )
        ):
            return []
        return [f"Its term ends on {self.calendar.last(ends)}; without a renewal access goes on."]

    # Warnings

    def warnings(self) -> list[str]:
        return [
            *self.left_out(),
            *([KNOWN] if self.known_already else []),
            *self.waiting(),
            *self.taken_away(),
            *self.taken_away_later(),
            *self.beyond_the_last_moment(),
            *self.superseding(),
            *self.foreign(),
            *self.to_be_refused(),
            *self.to_be_paid(),
            *self.elsewhere(),
            *([] if self.foresight.in_stigg.answered else [NOT_ANSWERED]),
        ]

    def left_out(self) -> Iterator[str]:
        if lines := unmapped(self.deal):
            numbers = listed(str(line) for line in lines)
            if len(lines) == 1:
                yield f"Line {numbers} has no Stigg Type: it is not provisioned."
            else:
                yield f"Lines {numbers} have no Stigg Type: they are not provisioned."

    def whys(self) -> list[Reason]:
        """The reasons for which the deal would wait, now or on a later day, or other deals because of it."""
        reasons = [self.outcome.why if self.outcome.status in ("Held", "Superseded") else None]
        reasons += [outcome.why for _, outcome in self.waiting_for_it()]
        return [why for why in reasons if why is not None]

    def waiting(self) -> Iterator[str]:
        """Why the deal is held, or other deals are held because of it."""
        if self.outcome.status in ("Held", "Superseded"):
            yield told(self.outcome)
        for id, outcome in self.waiting_for_it():
            yield f"Opportunity {id} would wait: {told(outcome)}"

    def waiting_for_it(self) -> Iterator[tuple[str, Outcome]]:
        """The deals that would be held because of this one."""
        for id in sorted(self.foresight.customer.opportunities):
            outcome, before = self.foresight.after.outcomes[id], self.foresight.known.opportunities.get(id)
            # What was held before does not wait because of this deal.
            waits = outcome.status == "Held" and (before is None or before.outcome.status != "Held")
            if id != self.id and waits and self.related_to(id):
                yield id, outcome

    def related_to(self, id: str) -> bool:
        """Whether another deal is of its chain, or gives something to the same subscriptions."""
        together = [wanted.opportunities for wanted in self.foresight.desired.subscriptions.values()]
        together += [hold.opportunities for hold in self.foresight.plan.holds]
        return id in self.relatives or any(id in ids and self.relatives & {*ids} for ids in together)

    def taken_away(self) -> Iterator[str]:
        for change in self.changes:
            # That something ends is said in the summary.
            if isinstance(change, End):
                continue
            if lost := lowered(differences(self.was(change), change.subscription)):
                yield f"{change.subscription.plan_id} goes down: {lost}."
        # A held change is none of the changes, and who approves it has to know what goes.
        for hold in self.holds:
            held = self.foresight.desired.subscriptions.get(hold.slot)
            last = self.foresight.records.get(hold.slot, SlotRecord()).applied
            if held and last and (lost := lowered(differences(last, held))):
                yield f"{held.plan_id} would go down: {lost}."
        if (own := self.foresight.agreement.held.get(OpportunityId(self.id))) is not None and own.approval is not None:
            yield from _would_go_down(own.facts)

    def taken_away_later(self) -> Iterator[str]:
        """What is lowered at later moments."""
        for at, was, wanted in self.later_differences():
            if lost := lowered(differences(was, wanted)):
                # Said now, because on that day nobody looks at a preview.
                yield f"On {self.calendar.first(at)} {wanted.plan_id} goes down: {lost}."

    def later_differences(self) -> Iterator[tuple[Instant, Subscription, Subscription]]:
        """The subscriptions of this deal that go on at later moments: when, as they were, as they are then."""
        before = self.foresight.desired.subscriptions
        for at, desired in self.foresight.moments:
            for slot, wanted in desired.subscriptions.items():
                was = before.get(slot)
                if was is not None and self.relatives & {*was.opportunities, *wanted.opportunities}:
                    yield at, was, wanted
            before = desired.subscriptions

    def beyond_the_last_moment(self) -> Iterator[str]:
        if self.foresight.moments and self.foresight.moments[-1][1].next_change is not None:
            yield f"What happens after {self.calendar.first(self.foresight.moments[-1][0])} is not shown here."

    def superseding(self) -> Iterator[str]:
        """The deals that this deal replaces or ends, now or later."""
        # Sent again, it replaces nothing that it did not replace before.
        if self.known_already:
            return
        named = set()
        agreement = self.foresight.agreement
        for at in (None, *(at for at, _ in self.foresight.moments)):
            for id, status in agreement.statuses(at).items():
                if id == self.id or id in named or status.by != self.id or status.kind != "Superseded":
                    continue
                named.add(id)
                does = "ends" if status.why == "cancelled" else "takes the place of"
                from_when = f" from {self.calendar.first(status.at.instant)} on" if status.at.instant else ""
                yield f"This deal {does} opportunity {id}{from_when}."

    def foreign(self) -> Iterator[str]:
        """Warnings about foreign subscriptions that are adopted or ended; one in the way is a hold instead."""
        for change in self.changes:
            if isinstance(change, Update) and change.adopts:
                plan_id = change.subscription.plan_id
                yield f"Somebody else made {plan_id} (subscription {change.subscription_id}); closed-won takes it over."
            if isinstance(change, Create) and change.replaces:
                slot, id = change.subscription.slot, change.replaces
                if id != self.foresight.records.get(slot, SlotRecord()).subscription_id and not is_ours(
                    self.foresight.customer_id, slot, id
                ):
                    yield f"The subscription {id}, which somebody else made, ends for this deal."

    def to_be_refused(self) -> Iterator[str]:
        for change in self.changes:
            # Only probably: its preview takes no entitlements and no price overrides, so it was not asked about these.
            if not isinstance(change, End) and (refusal := self.refusals.get(_slot(change))):
                yield f"Stigg would probably refuse {change.subscription.plan_id}, as it does in its preview: {refusal}"

    def to_be_paid(self) -> Iterator[str]:
        known = self.foresight.in_stigg.customer or {}
        on_file = known.get("defaultPaymentMethod") or known.get("paymentMethodId")
        for change in self.changes:
            if not isinstance(change, Create) or change.subscription.slot.trial:
                continue
            wanted = change.subscription
            sold = self.foresight.catalogue.plan(wanted.plan_id)
            if sold is None or sold.pricing_type != "PAID" or wanted.payment_collection != "CHARGE":
                continue
            # Whether that customer has a payment method was not asked.
            if wanted.paying_customer_id:
                yield f"{wanted.plan_id} is charged to {wanted.paying_customer_id}, who may have to pay first."
            elif not on_file:
                yield f"The customer has to pay for {wanted.plan_id} first: a checkout link is shown on the deal."

    def elsewhere(self) -> Iterator[str]:
        """Warnings about other changes that are due for this customer: provisioning makes them too."""
        # One sentence each: it is not what this preview is about.
        if said := [sentence for change in self.foresight.also_due for sentence in self.sentences(change)[:1]]:
            yield f"Something else is due for this customer, too: {' '.join(said)}"

    # Data

    def data(self) -> list[PreviewedChange]:
        found = [self.change(change) for change in self.changes]
        found += [
            _described("keep", keep.subscription, keep.subscription_id, start=keep.subscription.start)
            for keep in self.kept
        ]
        found += [
            PreviewedChange(
                action="grant",
                resource_id=grant.resource_id,
                start=_text(grant.effective_at),
                opportunities=[grant.opportunity_id],
                grant=PreviewedGrant(
                    currency_id=grant.currency_id,
                    amount=grant.amount,
                    cost=grant.cost,
                    currency=grant.money,
                    expire_at=_text(grant.expire_at),
                ),
            )
            for grant in self.grants
        ]
        found += [self.hold(hold) for hold in self.holds]
        # A deal that the fold holds back comes to no slot, so that no hold of the plan stands for it.
        if self.id in self.foresight.desired.held:
            said, code = told(self.outcome), self.outcome.code
            found.append(PreviewedChange(action="hold", opportunities=[self.id], reason=said, code=code))
        return found

    def change(self, change: Change) -> PreviewedChange:
        match change:
            case Create(wanted, generation, _, start):
                id = subscription_id(self.foresight.customer_id, wanted.slot, generation)
                return _described("create", wanted, id, start=self.foresight.begins(start))
            case Update(wanted, id):
                return _described("update", wanted, id, start=wanted.start, differs=list(change.changes))
            case End(slot, id, plan_id, opportunities):
                return PreviewedChange(
                    action="end",
                    plan_id=plan_id,
                    subscription_id=id,
                    resource_id=slot.resource_id,
                    trial=slot.trial,
                    opportunities=list(opportunities),
                    reason="makes way for the new one" if change.makes_way else self.when(change),
                )

    def hold(self, hold: Hold) -> PreviewedChange:
        wanted = self.foresight.desired.subscriptions.get(hold.slot)
        record = self.foresight.records.get(hold.slot, SlotRecord())
        said, code = in_words(hold.reason), hold.reason.code
        if wanted is not None:
            id = record.subscription_id
            return _described("hold", wanted, id, start=wanted.start, reason=said, code=code)
        return PreviewedChange(
            action="hold",
            plan_id=record.applied.plan_id if record.applied else None,
            subscription_id=record.subscription_id,
            resource_id=hold.slot.resource_id,
            trial=hold.slot.trial,
            opportunities=list(hold.opportunities),
            reason=said,
            code=code,
        )


KNOWN = "This deal was accepted before, as it is: sending it again changes nothing that it did not change then."

NOT_ANSWERED = (
    "Stigg did not answer in time: this compares with what closed-won provisioned last, without what others "
    "changed in Stigg and without invoices."
)


def _described(
    action: str, wanted: Subscription, id: str | None, *, start: Instant | None, **more: Any
) -> PreviewedChange:
    """A change with the whole subscription it leads to."""
    if isinstance(wanted.cancellation, EndOfBillingPeriod):
        # Not instead of a hold's reason, which says what somebody has to decide.
        more.setdefault("reason", "ends with the billing period that is under way")
    return PreviewedChange.model_validate(
        {
            "action": action,
            "plan_id": wanted.plan_id,
            "subscription_id": id,
            "resource_id": wanted.slot.resource_id,
            "trial": wanted.slot.trial,
            "start": _text(start),
            "end": _text(wanted.cancellation.instant),
            "trial_end": _text(wanted.trial_end),
            "units": wanted.unit_quantity,
            "addons": [PreviewedAddon(id=addon, quantity=quantity) for addon, quantity in wanted.addons],
            "entitlements": [PreviewedEntitlement(**asdict(entitlement)) for entitlement in wanted.entitlements],
            "prices": [PreviewedPrice(**asdict(price)) for price in wanted.prices],
            "billing_period": wanted.billing_period,
            "opportunities": list(wanted.opportunities),
            **more,
        }
    )


def _slot(change: Change | Keep | Hold) -> Slot:
    return change.slot if isinstance(change, End | Hold) else change.subscription.slot


def _opportunities(change: Change | Keep | Hold) -> tuple[str, ...]:
    return change.opportunities if isinstance(change, End | Hold) else change.subscription.opportunities


def _what(end: End) -> str:
    return f"Ends the trial of {end.plan_id}" if end.slot.trial else f"Ends {end.plan_id}"


def _starts(wanted: Subscription) -> str:
    return f"The trial of {wanted.plan_id} starts." if wanted.slot.trial else f"Access to {wanted.plan_id} starts."


def _text(at: Instant | None) -> str | None:
    return None if at is None else iso_utc(at)


# Stigg's own preview of the invoices

PREVIEWED = (
    "customerId",
    "planId",
    "addons",
    "appliedCoupon",
    "billingPeriod",
    "payingCustomerId",
    "resourceId",
    "scheduleStrategy",
    "startDate",
    "trialOverrideConfiguration",
    "unitQuantity",
)
"""The fields that Stigg's preview takes: no entitlements, no price overrides, no spending terms."""


def invoice_question(foresight: Foresight, change: Create | Update) -> Json:
    """The body of Stigg's preview: of a new subscription, or of what a changed one is as a whole."""
    start = foresight.begins(change.start) if isinstance(change, Create) else None
    # Stigg previews new subscriptions only, so an update is asked about as one. The generation is not sent.
    body = provision_body(foresight.customer_id, Create(change.subscription, 1, start=start), foresight.stack.links)
    return {name: body[name] for name in PREVIEWED if name in body}


def not_included(foresight: Foresight, change: Create | Update) -> list[str]:
    """The parts of a subscription that Stigg's invoice preview leaves out, in words."""
    wanted = change.subscription
    said = []
    if wanted.prices:
        said.append("price overrides: Stigg's preview shows list prices")
    if wanted.entitlements:
        said.append("entitlements: Stigg's preview takes none")
    if wanted.minimum_spend is not None:
        said.append("the minimum spend: Stigg's preview takes none")
    if wanted.budget is not None:
        said.append("the budget: it limits usage, which nobody knows yet")
    if any(grant.opportunity_id in wanted.opportunities for grant in foresight.plan.grants):
        said.append("credit grants: they are charged apart")
    if isinstance(change, Update):
        said.append("what the change costs at once: Stigg previews new subscriptions only")
    return said
