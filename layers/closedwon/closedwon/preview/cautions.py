"""What somebody should look at before a deal is sent, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from closedwon.domain.changes import Create, End, Update, slot_of
from closedwon.domain.codes import Facts
from closedwon.domain.desired import Subscription
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import Instant
from closedwon.domain.records import SlotRecord
from closedwon.domain.subscription_ids import is_ours
from closedwon.intake.mapping import unmapped
from closedwon.preview.deal_view import DealView
from closedwon.preview.summary import Summary
from closedwon.words.changes import differences, listed, lowered
from closedwon.words.reasons import told

KNOWN = "This deal was accepted before, as it is: sending it again changes nothing that it did not change then."


NOT_ANSWERED = (
    "Stigg did not answer in time: this compares with what closed-won provisioned last, without what others "
    "changed in Stigg and without invoices."
)


class Warnings:
    """Says what somebody should look at before a deal is sent."""

    def __init__(self, view: DealView) -> None:
        self.view, self.foresight, self.calendar = view, view.foresight, view.calendar

    def told(self) -> list[str]:
        """All of them, in sentences."""
        return [
            *self.left_out(),
            *([KNOWN] if self.view.known_already else []),
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
        if lines := unmapped(self.view.deal):
            numbers = listed(str(line) for line in lines)
            if len(lines) == 1:
                yield f"Line {numbers} has no Stigg Type: it is not provisioned."
            else:
                yield f"Lines {numbers} have no Stigg Type: they are not provisioned."

    def waiting(self) -> Iterator[str]:
        """Why the deal is held, or other deals are held because of it."""
        if self.view.outcome.status in ("Held", "Superseded"):
            yield told(self.view.outcome)
        for id, outcome in self.view.waiting_for_it():
            yield f"Opportunity {id} would wait: {told(outcome)}"

    def taken_away(self) -> Iterator[str]:
        for change in self.view.changes:
            # That something ends is said in the summary.
            if isinstance(change, End):
                continue
            if lost := lowered(differences(self.view.was(change), change.subscription)):
                yield f"{change.subscription.plan_id} goes down: {lost}."
        # A held change is none of the changes, and who approves it has to know what goes.
        for hold in self.view.holds:
            held = self.foresight.desired.subscriptions.get(hold.slot)
            last = self.foresight.records.get(hold.slot, SlotRecord()).applied
            if held and last and (lost := lowered(differences(last, held))):
                yield f"{held.plan_id} would go down: {lost}."
        if (
            own := self.foresight.agreement.held.get(OpportunityId(self.view.id))
        ) is not None and own.approval is not None:
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
                if was is not None and self.view.relatives & {*was.opportunities, *wanted.opportunities}:
                    yield at, was, wanted
            before = desired.subscriptions

    def beyond_the_last_moment(self) -> Iterator[str]:
        if self.foresight.moments and self.foresight.moments[-1][1].next_change is not None:
            yield f"What happens after {self.calendar.first(self.foresight.moments[-1][0])} is not shown here."

    def superseding(self) -> Iterator[str]:
        """The deals that this deal replaces or ends, now or later."""
        # Sent again, it replaces nothing that it did not replace before.
        if self.view.known_already:
            return
        named = set()
        agreement = self.foresight.agreement
        for at in (None, *(at for at, _ in self.foresight.moments)):
            for id, status in agreement.statuses(at).items():
                if id == self.view.id or id in named or status.by != self.view.id or status.kind != "Superseded":
                    continue
                named.add(id)
                does = "ends" if status.why == "cancelled" else "takes the place of"
                from_when = f" from {self.calendar.first(status.at.instant)} on" if status.at.instant else ""
                yield f"This deal {does} opportunity {id}{from_when}."

    def foreign(self) -> Iterator[str]:
        """Warnings about foreign subscriptions that are adopted or ended; one in the way is a hold instead."""
        for change in self.view.changes:
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
        for change in self.view.changes:
            # Only probably: its preview takes no entitlements and no price overrides, so it was not asked about these.
            if not isinstance(change, End) and (refusal := self.view.refusals.get(slot_of(change))):
                yield f"Stigg would probably refuse {change.subscription.plan_id}, as it does in its preview: {refusal}"

    def to_be_paid(self) -> Iterator[str]:
        known = self.foresight.in_stigg.customer or {}
        on_file = known.get("defaultPaymentMethod") or known.get("paymentMethodId")
        for change in self.view.changes:
            if not isinstance(change, Create) or change.subscription.slot.trial:
                continue
            wanted = change.subscription
            sold = self.foresight.catalogue.plan(wanted.plan_id)
            if sold is None or sold.pricing_type != "PAID" or wanted.payment_collection not in (None, "CHARGE"):
                continue
            # Whether that customer has a payment method was not asked.
            if wanted.paying_customer_id:
                yield f"{wanted.plan_id} is charged to {wanted.paying_customer_id}, who may have to pay first."
            elif not on_file:
                yield f"The customer has to pay for {wanted.plan_id} first: a checkout link is shown on the deal."

    def elsewhere(self) -> Iterator[str]:
        """Warnings about other changes that are due for this customer: provisioning makes them too."""
        # One sentence each: it is not what this preview is about.
        if said := [
            sentence for change in self.foresight.also_due for sentence in Summary(self.view).sentences(change)[:1]
        ]:
            yield f"Something else is due for this customer, too: {' '.join(said)}"


def _would_go_down(facts: Facts) -> Iterator[str]:
    """What a deal would take away that waits for approval."""
    before, after = facts.get("before"), facts.get("after")
    if isinstance(before, Facts) and isinstance(after, Facts):
        lost = ", ".join(f"{id} {amount} -> {after.get(id) or 'none'}" for id, amount in before.items())
        yield f"{facts.get('plan', 'The subscription')} would go down: {lost}."
