"""What provisioning would do for one deal, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from closedwon.domain.changes import Change, Create, End, Update
from closedwon.domain.desired import Slot, Subscription
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import EndOfBillingPeriod, Never, from_iso, iso_utc
from closedwon.preview.answers import PreviewedMoment
from closedwon.preview.deal_view import DealView
from closedwon.words.changes import changed, created, granted, later, listed
from closedwon.words.reasons import told


class Summary:
    """Says what provisioning would do for one deal, now and later, in sentences."""

    def __init__(self, view: DealView) -> None:
        self.view, self.foresight, self.calendar = view, view.foresight, view.calendar

    def told(self, customer_changes: Sequence[str], later_changes: Sequence[PreviewedMoment]) -> list[str]:
        """All of it. In: what becomes of the customer itself, in sentences; what happens later by itself."""
        waits = ["This deal waits; the warnings say what for."] if self.view.outcome.status == "Held" else []
        done = list(self.done(customer_changes))
        if not self.view.changes and not self.view.grants and not later_changes:
            done.append(self.unchanged())
        happens = [
            # Without a day where only Stigg knows it: when the billing period ends.
            later(moment.what, self.calendar.first(from_iso(moment.at))) if moment.at else moment.what
            for moment in later_changes
        ]
        return [*waits, *done, *happens, *self.term()]

    def done(self, customer_changes: Sequence[str]) -> Iterator[str]:
        """What is done at once."""
        if self.view.changes or self.view.grants:
            yield from customer_changes
        status = self.foresight.agreement.status(OpportunityId(self.view.id))
        if status.kind == "Scheduled" and status.at.instant:
            yield f"Takes effect on {self.calendar.first(status.at.instant)}."
        for change in self.view.changes:
            yield from self.sentences(change)
        yield from (granted(grant, self.calendar) for grant in self.view.grants)

    def unchanged(self) -> str:
        if self.view.outcome.status == "Held":
            return "Until then nothing changes."
        if self.view.outcome.status == "Provisioned" and self.view.outcome.why:
            return told(self.view.outcome)
        return "Nothing changes: the customer has what this deal says already."

    def sentences(self, change: Change) -> list[str]:
        """The preview of one change."""
        match change:
            case Create(wanted, _, replaces, start):
                said = created(wanted, self.foresight.begins(start), self.calendar)
                standing = next((s for s in self.foresight.actual if s.id == replaces), None)
                if standing is not None:
                    said.insert(1, f"It takes the place of {standing.plan_id} (subscription {standing.id}).")
                elif any(isinstance(other, End) and other.makes_way for other in self.view.of_slot(wanted.slot)):
                    said.insert(1, "It takes the place of one that has not started.")
                return said
            case Update(wanted, id, aspects):
                if change.adopts:
                    return [f"Takes over the subscription {id} to {wanted.plan_id}, which is as this deal wants it."]
                said = changed(self.view.was(change), wanted, self.calendar)
                if not said and aspects == ("links",):
                    return [f"Links {wanted.plan_id} to this deal."]
                # Nothing that was sold changes: what is written anew was changed in Stigg, or is not shown there.
                return said or [f"Brings {wanted.plan_id} in line with its deals: {listed(aspects)}."]
            case End(makes_way=makes_way):
                if makes_way:  # said with what takes its place
                    return []
                return [f"{_what(change)} {when(change)}."]

    def starts(self) -> Iterator[PreviewedMoment]:
        """What begins later. The sentence about its making, or an earlier preview, said so."""
        for wanted in self.foresight.desired.subscriptions.values():
            if wanted.start and wanted.start > self.foresight.now and self.view.relatives & {*wanted.opportunities}:
                yield PreviewedMoment(at=iso_utc(wanted.start), what=_starts(wanted))

    def later_changes(self) -> Iterator[PreviewedMoment]:
        """What happens later by itself, by what is agreed for the next moments."""
        before = self.foresight.desired.subscriptions
        grants = {grant.key for grant in self.foresight.desired.grants}
        for at, desired in self.foresight.moments:
            now = desired.subscriptions
            # Sorted, so that the same deal is told in the same order each time.
            for slot in sorted({*before, *now}, key=lambda slot: slot.key):
                was, wanted = before.get(slot), now.get(slot)
                givers = {id for found in (was, wanted) if found for id in found.opportunities}
                if self.view.relatives & givers:
                    for what in self.changes_at(slot, was, wanted, now):
                        yield PreviewedMoment(at=iso_utc(at), what=what)
            for grant in desired.grants:
                # Every later moment has the grant, too: it is told at the first.
                if grant.key not in grants and grant.opportunity_id in self.view.relatives:
                    yield PreviewedMoment(at=iso_utc(at), what=granted(grant, self.calendar))
            grants |= {grant.key for grant in desired.grants}
            before = now
        # No moment of the agreement is this one: only Stigg knows when a billing period ends.
        for wanted in self.foresight.desired.subscriptions.values():
            if isinstance(wanted.cancellation, EndOfBillingPeriod) and self.view.relatives & {*wanted.opportunities}:
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
        ends = self.view.order.end
        if (
            self.view.order.trigger not in ("closed_won", "renewal")
            or self.foresight.stack.policy.end_of_term != "keep"
            or ends is None
            or not any(
                isinstance(change, Create) and change.subscription.cancellation == Never()
                for change in self.view.changes
            )
        ):
            return []
        return [f"Its term ends on {self.calendar.last(ends)}; without a renewal access goes on."]


def when(end: End) -> str:
    """When something ends, in a sentence."""
    if end.at is not None:
        return "with the billing period that is under way"
    return "when the paid subscription starts" if end.after else "at once"


def _what(end: End) -> str:
    return f"Ends the trial of {end.plan_id}" if end.slot.trial else f"Ends {end.plan_id}"


def _starts(wanted: Subscription) -> str:
    return f"The trial of {wanted.plan_id} starts." if wanted.slot.trial else f"Access to {wanted.plan_id} starts."
