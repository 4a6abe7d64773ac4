"""What of a customer's future concerns one deal. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from closedwon.domain.changes import Change, Create, Update, slot_of
from closedwon.domain.codes import Reason
from closedwon.domain.customer import Outcome
from closedwon.domain.desired import Slot, Subscription
from closedwon.domain.instants import EndOfBillingPeriod, Never
from closedwon.domain.order import Order, same_deal
from closedwon.domain.records import SlotRecord
from closedwon.intake.deal import Deal
from closedwon.preview.foresight import Foresight


class DealView:
    """What concerns one deal: of the plan its changes, holds, grants and what is kept, and its outcome.

    In: its customer's future; the deal as it was sent and compiled; by slot, why Stigg refused to preview it.
    """

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

    def of_slot(self, slot: Slot) -> list[Change]:
        return [change for change in self.foresight.plan.changes if slot_of(change) == slot]

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

    def whys(self) -> list[Reason]:
        """The reasons for which the deal would wait, now or on a later day, or other deals because of it."""
        reasons = [self.outcome.why if self.outcome.status in ("Held", "Superseded") else None]
        reasons += [outcome.why for _, outcome in self.waiting_for_it()]
        return [why for why in reasons if why is not None]

    def waiting_for_it(self) -> Iterator[tuple[str, Outcome]]:
        """The deals that would be held because of this one."""
        for id in sorted(self.foresight.customer.opportunities):
            outcome, before = self.foresight.after.outcomes[id], self.foresight.known.opportunities.get(id)
            # What was held before does not wait because of this deal.
            waits = outcome.status == "Held" and (before is None or before.outcome.status != "Held")
            if id != self.id and waits and self.related_to(id):
                yield id, outcome

    def related_to(self, id: str) -> bool:
        """Whether another deal is linked with it, or gives something to the same subscriptions."""
        together = [wanted.opportunities for wanted in self.foresight.desired.subscriptions.values()]
        together += [hold.opportunities for hold in self.foresight.plan.holds]
        return id in self.relatives or any(id in ids and self.relatives & {*ids} for ids in together)
