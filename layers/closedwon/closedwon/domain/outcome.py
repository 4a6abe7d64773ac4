"""The outcome of each deal: from the fold, the plan and Stigg's answers to a status and a reason. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property

from closedwon.domain.changes import Create, End, Hold
from closedwon.domain.codes import Facts, Reason
from closedwon.domain.contract.agreement import Agreement, Lapse
from closedwon.domain.contract.facts import Contribution
from closedwon.domain.contract.faults import Hold as DealHold
from closedwon.domain.customer import Customer, OpportunityState, Outcome, SubscriptionLink, learned_key
from closedwon.domain.desired import Grant, Slot
from closedwon.domain.due import LOOK_AGAIN
from closedwon.domain.identifiers import OpportunityId, SubscriptionId
from closedwon.domain.instants import EndOfBillingPeriod, Instant, day_of, milliseconds
from closedwon.domain.order import Order, refusal
from closedwon.domain.planned import Planned
from closedwon.domain.records import EndedElsewhere, GrantRecord, SlotRecord
from closedwon.domain.results import Applied
from closedwon.domain.stops import CODES as STOPS
from closedwon.domain.stops import approval_of_stop, stops_of

STIGG_FIRST = 60_000
"""Milliseconds after a start at which Stigg is read again: Stigg itself starts the subscription, and has by then."""

_MENDED_IN_STIGG = {"trial_not_wanted": LOOK_AGAIN, "customer_archived": 86_400_000}
"""What only people in Stigg can mend, and in how many milliseconds it is looked at again."""

STARTED_AT_LAST = 86_400_000
"""Milliseconds for which a subscription that should have started is checked again."""


def applied(
    customer: Customer,
    planned: Planned,
    records: Mapping[Slot, SlotRecord],
    refusals: Mapping[Slot, Facts],
    now: int,
    grants: Mapping[str, GrantRecord] = {},
    refused_grants: Mapping[str, Facts] = {},
) -> Applied:
    """What to record after a plan was applied.

    In: the customer as it was folded; what was agreed and planned; what is known of each slot after it; by slot, what
    Stigg refused of its change (plan, said); now in epoch milliseconds; what is known of credits; by grant, what Stigg
    refused of it (item, said).
    Out: an outcome for every opportunity, not in words yet, and what to remember.
    """
    agreement = planned.agreement
    written = _Written(customer, planned, records, refusals, grants, refused_grants)
    sold_again = _sold_again(customer, planned, records, refusals)
    outcomes = {id: written.outcome(state) for id, state in customer.opportunities.items() if id in agreement.histories}
    settles = written.settles(outcomes)
    again = [*written.looks(now), written.desired.next_change]
    if _may_make_way(customer, agreement, settles, records):
        again.append(now)
    return Applied(
        slots=_marked(records, planned.plan.holds, sold_again),
        outcomes=outcomes,
        settles=settles,
        # Where there was anything, the step before made the customer.
        ensured=bool(written.desired.subscriptions or written.desired.grants),
        look_again_at=min((at for at in again if at is not None), default=None),
        grants=dict(grants),
        approved=_used(customer, planned, refusals, settles) | {*sold_again.values()},
        learned=_learned(planned.learned, records),
        begun=agreement.begun,
        products={id: products for id in settles if (products := agreement.products_of(id))},
    )


def _may_make_way(
    customer: Customer,
    agreement: Agreement,
    settles: Mapping[OpportunityId, Contribution],
    records: Mapping[Slot, SlotRecord],
) -> bool:
    """Whether what was just scheduled beside deals that are held may have to make way too, once it is settled: then it
    is not to start, and is looked at again at once.
    """
    if not agreement.held or all(record.status != "NOT_STARTED" for record in records.values()):
        return False
    known = {id: state.settled.digest for id, state in customer.opportunities.items() if state.settled is not None}
    return any(known.get(id) != settled.digest for id, settled in settles.items())


def _used(
    customer: Customer, planned: Planned, refusals: Container[Slot], settles: Iterable[OpportunityId]
) -> frozenset[str]:
    """The approvals whose change is made by now. settles: the deals that are settled."""
    settled = {customer.opportunities[id].outcome.approval for id in settles}
    # What Stigg refused was not made: its approval must still count when it is tried again.
    made = (approval for slot, approval in planned.plan.approved.items() if slot not in refusals)
    return frozenset([*made, *(approval for approval in customer.approved if approval in settled)])


def _sold_again(
    customer: Customer, planned: Planned, records: Mapping[Slot, SlotRecord], refusals: Container[Slot]
) -> dict[tuple[Slot, EndedElsewhere], str]:
    """What was ended elsewhere and stands again, each with the approval by which it was sold again."""
    stands = {keep.subscription.slot for keep in planned.plan.kept}
    stands |= {change.subscription.slot for change in planned.plan.changes if not isinstance(change, End)}
    approvals = {(slot, one): approval_of_stop(slot, one) for slot, one in stops_of(records) if slot in stands}
    return {
        key: approval for key, approval in approvals.items() if approval in customer.approved and key[0] not in refusals
    }


def _marked(
    records: Mapping[Slot, SlotRecord], holds: Iterable[Hold], sold_again: Container[tuple[Slot, EndedElsewhere]]
) -> dict[str, SlotRecord]:
    """What to remember of each slot, with whether its upgrade waits, and without what was sold again."""
    waiting = {hold.slot for hold in holds if hold.reason.code == "changed_by_upgrade"}
    slots = {slot: records.get(slot, SlotRecord()) for slot in dict.fromkeys((*records, *waiting))}
    return {
        slot.key: replace(
            record,
            upgrades=slot in waiting,
            ended=tuple(one for one in record.ended if (slot, one) not in sold_again),
        )
        for slot, record in slots.items()
    }


def _learned(ends: Mapping[Lapse, Instant], records: Mapping[Slot, SlotRecord]) -> dict[str, dict[str, Instant]]:
    """The learned ends as they are recorded: by cancellation, slot and generation."""
    found: dict[str, dict[str, Instant]] = {}
    for lapse, at in ends.items():
        generation = records.get(lapse.slot, SlotRecord()).generation
        found.setdefault(lapse.cancellation, {})[learned_key(lapse.slot.key, generation)] = at
    return found


class _Written:
    """A plan after it was applied, as one customer's deals see it. In: as in `applied`."""

    def __init__(
        self,
        customer: Customer,
        planned: Planned,
        records: Mapping[Slot, SlotRecord],
        refusals: Mapping[Slot, Facts],
        grants: Mapping[str, GrantRecord],
        refused_grants: Mapping[str, Facts],
    ) -> None:
        self.agreement, self.plan = planned.agreement, planned.plan
        self.desired = self.agreement.desired()
        self.statuses = self.agreement.statuses()
        self.records = records
        self.refusals = refusals
        self.grants = grants
        self.refused_grants = refused_grants
        self.archived = customer.archived
        self.changed = {id for id, state in customer.opportunities.items() if not state.stands}
        self.stopped = {id: hold for hold in self.plan.holds if hold.reason.code in STOPS for id in hold.opportunities}
        self.waits = {
            # A hold concerns what is new in its slot: a deal that stands there as provisioned waits for nothing.
            opportunity: hold
            for hold in self.plan.holds
            if hold.reason.code not in STOPS
            for opportunity in self._waiting_for(hold)
        }

    def _waiting_for(self, hold: Hold) -> Iterable[str]:
        """The deals that a hold concerns: those that are new in its slot, or all of them."""
        new = self.changed.intersection(hold.opportunities)
        return hold.opportunities if hold.reason.code == "trial_not_wanted" or not new else new

    def outcome(self, state: OpportunityState) -> Outcome:
        """What became of a deal."""
        id = state.order.opportunity_id
        slots = [slot for slot, wanted in self.desired.subscriptions.items() if id in wanted.opportunities]
        here = [self.records[slot] for slot in slots if slot in self.records]
        links = _links(here)
        # In this order: what is refused or held here was not sent to Stigg, so what Stigg refused is something else.
        if id in self.desired.refused:
            return Outcome.because("Failed", refusal(self.desired.refused[id]), links)
        if (waiting := self._held_here(OpportunityId(id), links)) is not None:
            return waiting
        if refused := self._refused(id, slots):
            return Outcome.because("Failed", Reason.of("refused_by_stigg", refusals=refused), links)
        if (why := self._to_be_mended(id, slots)) is not None:
            return Outcome.because("Held", why, links)
        return _with_grants(self._settled(state, here, links), self._grants(id), self.grants)

    def _held_here(self, id: OpportunityId, links: tuple[SubscriptionLink, ...]) -> Outcome | None:
        """What became of a deal that waits for somebody before anything of it is sent to Stigg."""
        # What was ended elsewhere leaves amendments without their plan: that is not theirs to mend.
        if (ended := self.stopped.get(id)) is not None:
            return Outcome.because("Held", ended.reason, links, ended.approval)
        if (hold := self.agreement.held.get(id)) is not None:
            return self._held(id, hold, links)
        if id in self.waits:
            return Outcome.because("Held", self.waits[id].reason, links, self.waits[id].approval)
        return None

    def _held(self, id: str, hold: DealHold, links: tuple[SubscriptionLink, ...]) -> Outcome:
        """The outcome of a deal that is held. It also says where what it gave runs on meanwhile."""
        reason, links, waits = hold.reason, links or self._concerned(id, hold), self.waits.get(id)
        if id not in self.desired.withheld or waits is None or waits.reason.code != "no_deal_left":
            return Outcome.because("Held", reason, links, hold.approval)
        return Outcome.because("Held", waits.reason.beside(reason), links, waits.approval)

    def _concerned(self, id: str, hold: DealHold) -> tuple[SubscriptionLink, ...]:
        """What a deal that gives nothing yet would change: whoever settles its hold looks at it. A subscription of
        which nothing belongs to the deal's contracts is none of it.
        """
        found = (slot for slot in self.desired.subscriptions if slot.key == hold.facts.get("slot"))
        relatives = self.agreement.relatives[OpportunityId(id)]
        return _links(
            self.records[slot]
            for slot in found
            if slot in self.records and relatives.intersection(self.desired.subscriptions[slot].opportunities)
        )

    def _settled(
        self, state: OpportunityState, records: list[SlotRecord], links: tuple[SubscriptionLink, ...]
    ) -> Outcome:
        """The outcome of a deal that nothing stands in the way of."""
        order, status = state.order, self.statuses[state.order.opportunity_id]
        day = day_of(status.at.instant, self.desired.time_zone) if status.at.instant else None
        match status.kind, status.why:
            case "Scheduled", why:
                return self._to_come(order, why, status.at.instant, day, links)
            case "Superseded", why:
                return Outcome.because("Superseded", Reason.of(_SUPERSEDED[why], other=status.by, day=day), links)
            case "Ended", "term over" if state.settled is None:
                # A term that was over before anything was provisioned gave the customer nothing: somebody has to look.
                return Outcome.because("Held", Reason.of("term_missed", day=day), links)
            case "Ended", why:
                return Outcome.because("Ended", Reason.of(_ENDED[why], day=day), links)
            case "Held", _:
                return Outcome.because("Held", Reason.of("plan_gone", plan=_first_plan(order)), links)
            case _, "ended" | "nothing to end" | "not won" as why:
                return Outcome.because("Provisioned", Reason.of(_DONE[why], day=day), links)
            case _:
                return self._in_force(state, status.why == "past its term", day, records, links)

    def _in_force(
        self,
        state: OpportunityState,
        past_term: bool,
        day: str | None,
        records: list[SlotRecord],
        links: tuple[SubscriptionLink, ...],
    ) -> Outcome:
        """The outcome of a deal that gives something now. day: on which its term ended, where access goes on."""
        id = state.order.opportunity_id
        if not records and any(id in self._givers(slot) for slot in self._never_stood):
            return Outcome.because("Superseded", Reason("cancelled_before_start"))
        outcome = _standing(records, links, self.desired.time_zone)
        if outcome.status != "Provisioned":
            return outcome
        if past_term:
            return Outcome.because("Provisioned", Reason.of("past_term", day=day), links)
        own_end = self.agreement.contribution(OpportunityId(id)).own_end
        if own_end is not None and own_end.at is not None:
            day = day_of(own_end.at, self.desired.time_zone)
            return Outcome.because("Provisioned", Reason.of("access_ends", day=day), links)
        return outcome

    def _to_be_mended(self, id: OpportunityId, slots: Iterable[Slot]) -> Reason | None:
        """What only people in Stigg can mend: credits for a customer that is archived, a sale that became a trial."""
        if self.archived and any(grant.key not in self.grants for grant in self._grants(id)):
            return Reason("customer_archived")
        tried = next((slot for slot in slots if self._tried_unwanted(slot)), None)
        if tried is None:
            return None
        return Reason.of("trial_not_wanted", subscription=self.records[tried].subscription_id)

    def _tried_unwanted(self, slot: Slot) -> bool:
        """Whether Stigg answered a sale with a trial."""
        return not slot.trial and slot in self.records and self.records[slot].status == "IN_TRIAL"

    @cached_property
    def _never_stood(self) -> frozenset[Slot]:
        """The slots that were to end with their billing period, in which nothing was ever made: nothing is, then."""
        wanted = ((slot, self.desired.subscriptions.get(slot)) for slot in self.desired.lapsing)
        ending = (slot for slot, one in wanted if one is not None and one.cancellation == EndOfBillingPeriod())
        return frozenset(slot for slot in ending if slot not in self.records)

    def _to_come(
        self, order: Order, why: str, at: Instant | None, day: str | None, links: tuple[SubscriptionLink, ...]
    ) -> Outcome:
        """The outcome of a deal that takes effect on a day to come, or with a billing period: done, if nothing of what
        that ends was ever made.
        """
        if at is not None:
            sold = order.trigger in ("closed_won", "trial")
            code = "access_ends" if why == "ends" else "starts" if sold else "takes_effect"
            return Outcome.because("Scheduled", Reason.of(code, day=day), links, due_at=milliseconds(at))
        ends = {slot for slot, cancellations in self.desired.lapsing.items() if order.opportunity_id in cancellations}
        if ends and ends <= self._never_stood:
            return Outcome.because("Provisioned", Reason("cancelled_before_start"))
        return Outcome.because("Scheduled", Reason("ends_with_billing_period"), links)

    def _givers(self, slot: Slot) -> tuple[OpportunityId, ...]:
        wanted = self.desired.subscriptions.get(slot)
        return wanted.opportunities if wanted is not None else ()

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

    def settles(self, outcomes: Mapping[str, Outcome]) -> dict[OpportunityId, Contribution]:
        """What the deals contribute that Stigg stands for now. In: what became of each."""
        return {
            id: contribution
            for id, contribution in self.agreement.settles.items()
            if id in outcomes and self._stands(id, outcomes[id])
        }

    def _stands(self, id: str, outcome: Outcome) -> bool:
        """Whether a deal's order is what Stigg stands for now."""
        waits = any(id in some for some in (self.desired.refused, self.stopped, self.agreement.held, self.waits))
        return not waits and outcome.status not in ("Held", "Failed")

    def looks(self, now: int) -> Iterator[int | None]:
        """When Stigg is to be read again because of what stands there, in epoch milliseconds."""
        for slot, record in self.records.items():
            if slot in self.desired.subscriptions:  # another one is about to end: reading it again shows nothing new
                yield now + LOOK_AGAIN if self._tried_unwanted(slot) else _look_again(record, now)
        yield from self._looks_at_holds(now)
        # Of one that was made just now, Stigg knows the billing period: it is read, or nobody would learn its end.
        made = {change.subscription.slot for change in self.plan.changes if isinstance(change, Create)}
        if any(lapse.slot in made and lapse.slot not in self.refusals for lapse in self.agreement.lapses):
            yield now + STIGG_FIRST

    def _looks_at_holds(self, now: int) -> Iterator[int | None]:
        """When Stigg is to be read again because of what waits there."""
        for hold in self.plan.holds:
            if hold.reason.code in _MENDED_IN_STIGG:
                yield now + _MENDED_IN_STIGG[hold.reason.code]
            elif hold.slot in self.records:
                yield _own_end(self.records[hold.slot], now)


def _links(records: Iterable[SlotRecord]) -> tuple[SubscriptionLink, ...]:
    return tuple(_link(record, record.subscription_id) for record in records if record.subscription_id)


def _first_plan(order: Order) -> str | None:
    """The plan that a deal is named by, where it sells one."""
    return next((plan.stigg_id for plan in order.of_kind("Plan")), None)


_SUPERSEDED = {"renewed": "replaced", "amended": "replaced", "cancelled": "cancelled"}
_ENDED = {"trial over": "trial_over", "term over": "term_over", "stopped": "stopped"}
_DONE = {"ended": "access_ended", "nothing to end": "nothing_to_do", "not won": "unwon"}
"""Codes, by the cause of a status."""


def _with_grants(outcome: Outcome, grants: Iterable[Grant], known: Mapping[str, GrantRecord]) -> Outcome:
    """Credits that were granted are never taken back or corrected by themselves: where the deal says others now,
    people must know.
    """
    differ = [g for g in grants if g.key in known and known[g.key].amount != g.amount]
    if not differ or outcome.status == "Held":
        return outcome
    credits = [{"item": g.currency_id, "before": known[g.key].amount, "after": g.amount} for g in differ]
    why = Reason.of("credits_differ", credits=credits)
    return Outcome.because("Held", why.beside(outcome.why) if outcome.why else why, outcome.subscriptions)


def _standing(records: list[SlotRecord], links: tuple[SubscriptionLink, ...], time_zone: str) -> Outcome:
    """The outcome of a deal whose subscriptions stand."""
    if any(record.status == "PAYMENT_PENDING" for record in records):
        return Outcome.because("Payment required", Reason("payment_required"), links)
    # It gives access all the same: what becomes of that, Stigg and billing decide.
    if (unpaid := next((record for record in records if record.payment is not None), None)) is not None:
        return Outcome.because("Payment required", _unpaid(unpaid), links)
    # Only if all of them: a deal one of whose subscriptions has started gives access already.
    if records and all(record.status == "NOT_STARTED" for record in records):
        return _to_start(records, links, time_zone)
    return Outcome("Provisioned", "", links)


def _unpaid(record: SlotRecord) -> Reason:
    """Why a subscription that gives access is not paid."""
    assert record.payment is not None
    code = "payment_failed" if record.payment.collection == "FAILED" else "payment_action_required"
    plan = record.applied.plan_id if record.applied else None
    return Reason.of(code, plan=plan, subscription=record.subscription_id, invoice=record.payment.invoice or None)


def _to_start(records: list[SlotRecord], links: tuple[SubscriptionLink, ...], time_zone: str) -> Outcome:
    """The outcome of a deal none of whose subscriptions has started."""
    starts = sorted({record.applied.start for record in records if record.applied and record.applied.start})
    why = Reason.of("starts", days=[day_of(start, time_zone) for start in starts])
    return Outcome.because("Scheduled", why, links, due_at=milliseconds(starts[0]) if starts else None)


def _look_again(record: SlotRecord, now: int) -> int | None:
    if record.status == "PAYMENT_PENDING" or record.payment is not None:
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
