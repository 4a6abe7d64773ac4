"""The outcome of each deal: from the fold, the plan and Stigg's answers to a status and a reason. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from closedwon.domain.chain import Fate
from closedwon.domain.codes import Facts, Reason
from closedwon.domain.customer import Customer, OpportunityState, Outcome, SubscriptionLink
from closedwon.domain.desired import REOPENED, Desired, Grant, Slot
from closedwon.domain.due import LOOK_AGAIN
from closedwon.domain.identifiers import OpportunityId, SubscriptionId
from closedwon.domain.instants import day_of, milliseconds
from closedwon.domain.order import Order, refusal
from closedwon.domain.plan import End, Plan
from closedwon.domain.records import GrantRecord, SlotRecord
from closedwon.domain.results import Applied

STIGG_FIRST = 60_000
"""Milliseconds after a start at which Stigg is read again: Stigg itself starts the subscription, and has by then."""

STARTED_AT_LAST = 86_400_000
"""Milliseconds for which a subscription that should have started is checked again."""


def applied(
    customer: Customer,
    desired: Desired,
    plan: Plan,
    records: Mapping[Slot, SlotRecord],
    refusals: Mapping[Slot, Facts],
    now: int,
    grants: Mapping[str, GrantRecord] = {},
    refused_grants: Mapping[str, Facts] = {},
) -> Applied:
    """What to record after a plan was applied.

    In: the customer as it was folded; the fold and the plan; what is known of each slot after it; by slot, what Stigg
    refused of its change (plan, said); now in epoch milliseconds; what is known of credits; by grant, what Stigg
    refused of it (item, said).
    Out: an outcome for every opportunity, not in words yet, and what to remember.
    """
    written = _Written(customer, desired, plan, records, refusals, grants, refused_grants)
    outcomes = {id: written.outcome(state) for id, state in customer.opportunities.items()}
    provisioned = frozenset(id for id, outcome in outcomes.items() if written.stands(id, outcome))
    again = [*written.looks(now), desired.next_change]
    # A reopened deal waits for people, not for other deals: looking again would find the same.
    if written.changed & provisioned and any(reason != REOPENED for reason in desired.held.values()):
        again.append(now)  # deals wait for others, and what those stand on has just changed
    return Applied(
        slots={slot.key: record for slot, record in records.items()},
        outcomes=outcomes,
        provisioned=provisioned,
        ensured=bool(desired.subscriptions or desired.grants),  # where there was any, the step before made the customer
        look_again_at=min((at for at in again if at is not None), default=None),
        grants=dict(grants),
        # What Stigg refused was not made: its approval must still count when it is tried again.
        approved=frozenset(approval for slot, approval in plan.approved.items() if slot not in refusals),
    )


class _Written:
    """A plan after it was applied, as one customer's deals see it. In: as in `applied`."""

    def __init__(
        self,
        customer: Customer,
        desired: Desired,
        plan: Plan,
        records: Mapping[Slot, SlotRecord],
        refusals: Mapping[Slot, Facts],
        grants: Mapping[str, GrantRecord],
        refused_grants: Mapping[str, Facts],
    ) -> None:
        self.desired = desired
        self.plan = plan
        self.records = records
        self.refusals = refusals
        self.grants = grants
        self.refused_grants = refused_grants
        self.changed = {id for id, state in customer.opportunities.items() if not state.stands}
        self.waits = {
            # A hold concerns what is new in its slot: a deal that stands there as provisioned waits for nothing.
            opportunity: hold
            for hold in plan.holds
            for opportunity in self.changed.intersection(hold.opportunities) or hold.opportunities
        }

    def outcome(self, state: OpportunityState) -> Outcome:
        """What became of a deal."""
        id = state.order.opportunity_id
        slots = [slot for slot, wanted in self.desired.subscriptions.items() if id in wanted.opportunities]
        here = [self.records[slot] for slot in slots if slot in self.records]
        links = _links(here)
        # In this order: what is refused or held here was not sent to Stigg, so what Stigg refused is something else.
        if id in self.desired.refused:
            return Outcome.because("Failed", refusal(self.desired.refused[id]), links)
        if id in self.desired.held:
            return Outcome.because("Held", self.desired.held[id], links)
        if id in self.waits:
            return Outcome.because("Held", self.waits[id].reason, links, self.waits[id].approval)
        if refused := self._refused(id, slots):
            return Outcome.because("Failed", Reason.of("refused_by_stigg", refusals=refused), links)
        settled = _settled(state, self.desired, here, links)
        if settled.status == "Held":
            return settled
        return _with_grants(settled, self._grants(id), self.grants)

    def _refused(self, id: OpportunityId, slots: Iterable[Slot]) -> list[Facts]:
        """Why Stigg refused what concerns a deal: what it gives, ends or lets end, and its credits."""
        # A cancellation gives nothing, so its slots are found by what it ends.
        concerned = {*slots, *self._ending(id)}
        refused = [why for slot, why in self.refusals.items() if slot in concerned]
        return refused + [self.refused_grants[g.key] for g in self._grants(id) if g.key in self.refused_grants]

    def _ending(self, id: OpportunityId) -> Iterator[Slot]:
        """The slots in which a deal ends something, now or with a billing period."""
        for change in self.plan.changes:
            if isinstance(change, End) and id in change.opportunities:
                yield change.slot
        for slot, cancellations in self.desired.lapsing.items():
            if id in cancellations:
                yield slot

    def _grants(self, id: OpportunityId) -> list[Grant]:
        return [grant for grant in self.desired.grants if grant.opportunity_id == id]

    def stands(self, id: str, outcome: Outcome) -> bool:
        """Whether a deal's order is what Stigg stands for now."""
        waits = id in self.desired.refused or id in self.desired.held or id in self.waits
        return not waits and outcome.status not in ("Held", "Failed")

    def looks(self, now: int) -> Iterator[int | None]:
        """When Stigg is to be read again because of what stands there, in epoch milliseconds."""
        for slot, record in self.records.items():
            if slot in self.desired.subscriptions:  # another one is about to end: reading it again shows nothing new
                yield _look_again(record, now)
        for hold in self.plan.holds:
            if hold.slot in self.records:
                yield _own_end(self.records[hold.slot], now)


def _links(records: Iterable[SlotRecord]) -> tuple[SubscriptionLink, ...]:
    return tuple(_link(record, record.subscription_id) for record in records if record.subscription_id)


def _settled(
    state: OpportunityState, desired: Desired, records: list[SlotRecord], links: tuple[SubscriptionLink, ...]
) -> Outcome:
    """The outcome of a deal that nothing stands in the way of, by what became of its order."""
    order = state.order
    fate = desired.fates.get(order.opportunity_id)
    if fate is None:
        return Outcome.because("Provisioned", Reason("nothing_to_do"), links)
    day = day_of(fate.at.instant, desired.time_zone) if fate.at.instant else None
    match fate.kind:
        case "scheduled":
            return _scheduled(order, fate, day, links)
        case "replaced":
            return Outcome.because("Superseded", Reason.of("replaced", other=fate.by, day=day), links)
        # A cancellation that took effect did what it says: nothing has taken its place.
        case "cancelled" if order.trigger == "cancellation" and fate.by == order.opportunity_id:
            return Outcome.because("Provisioned", Reason.of("access_ended", day=day), links)
        case "cancelled":
            return Outcome.because("Superseded", Reason.of("cancelled", other=fate.by, day=day), links)
        case "trial over":
            return Outcome.because("Provisioned", Reason.of("trial_over", day=day), links)
        case "over":
            # A term that was over before anything was provisioned gave the customer nothing: somebody has to look.
            if state.provisioned:
                return Outcome.because("Provisioned", Reason.of("term_over", day=day), links)
            return Outcome.because("Held", Reason.of("term_missed", day=day), links)
        case "in force" | "past its term":
            return _in_force(order, desired, fate, day, records, links)


def _scheduled(order: Order, fate: Fate, day: str | None, links: tuple[SubscriptionLink, ...]) -> Outcome:
    """The outcome of a deal that takes effect on a day to come, or with a billing period."""
    if fate.at.instant is None:
        return Outcome.because("Scheduled", Reason("ends_with_billing_period"), links)
    code = {"closed_won": "starts", "trial": "starts", "cancellation": "access_ends"}.get(order.trigger, "takes_effect")
    return Outcome.because("Scheduled", Reason.of(code, day=day), links, due_at=milliseconds(fate.at.instant))


def _in_force(
    order: Order,
    desired: Desired,
    fate: Fate,
    day: str | None,
    records: list[SlotRecord],
    links: tuple[SubscriptionLink, ...],
) -> Outcome:
    """The outcome of a deal that gives something now. day: on which its term ended, where access goes on after it."""
    sells = order.trigger != "cancellation" and not order.differences and order.of_kind("Plan")
    # Sold, and in no slot that stands: either it ended before it began, or the catalogue lost its plan.
    if sells and not records:
        if any(order.opportunity_id in wanted.opportunities for wanted in desired.subscriptions.values()):
            return Outcome.because("Provisioned", Reason("cancelled_before_start"))
        gone = Reason.of("plan_gone", plan=order.of_kind("Plan")[0].stigg_id)
        return Outcome.because("Held", gone, links)
    outcome = _standing(records, links, desired.time_zone)
    if fate.kind == "past its term" and outcome.status == "Provisioned":
        return Outcome.because("Provisioned", Reason.of("past_term", day=day), links)
    return outcome


def _with_grants(outcome: Outcome, grants: Iterable[Grant], known: Mapping[str, GrantRecord]) -> Outcome:
    """Credits that were granted are never taken back or corrected by themselves: where the deal says others now,
    people must know.
    """
    differ = [g for g in grants if g.key in known and known[g.key].amount != g.amount]
    if not differ:
        return outcome
    credits = [{"item": g.currency_id, "before": known[g.key].amount, "after": g.amount} for g in differ]
    why = Reason.of("credits_differ", credits=credits)
    return Outcome.because("Held", why.beside(outcome.why) if outcome.why else why, outcome.subscriptions)


def _standing(records: list[SlotRecord], links: tuple[SubscriptionLink, ...], time_zone: str) -> Outcome:
    """The outcome of a deal whose subscriptions stand."""
    if any(record.status == "PAYMENT_PENDING" for record in records):
        return Outcome.because("Payment required", Reason("payment_required"), links)
    # Only if all of them: a deal one of whose subscriptions has started gives access already.
    if records and all(record.status == "NOT_STARTED" for record in records):
        starts = sorted({record.applied.start for record in records if record.applied and record.applied.start})
        days = [day_of(start, time_zone) for start in starts]
        why = Reason.of("starts", days=days)
        return Outcome.because("Scheduled", why, links, due_at=milliseconds(starts[0]) if starts else None)
    return Outcome("Provisioned", "", links)


def _look_again(record: SlotRecord, now: int) -> int | None:
    if record.status == "PAYMENT_PENDING":
        return now + LOOK_AGAIN
    if record.status == "NOT_STARTED" and record.applied and record.applied.start:
        starts = milliseconds(record.applied.start) + STIGG_FIRST
        if starts > now:
            return starts
        # Stigg is late: looked at every hour for a day, and then left to reconciliation.
        return now + LOOK_AGAIN if now < starts + STARTED_AT_LAST else None
    return None


def _own_end(record: SlotRecord, now: int) -> int | None:
    """When a held slot's subscription will have ended by the dates it was written with. No deal may name that day any
    more, but what was held because of the subscription can be done then.
    """
    applied = record.applied
    if applied is None or applied.ends is None:
        return None
    # Stigg ends it by itself on that day: looked at any sooner, it might still stand.
    ended = milliseconds(applied.ends) + STIGG_FIRST
    return ended if ended > now else None


def _link(record: SlotRecord, id: SubscriptionId) -> SubscriptionLink:
    plan_id = record.applied.plan_id if record.applied else ""
    return SubscriptionLink(plan_id, id, record.status or "", record.checkout_url)
