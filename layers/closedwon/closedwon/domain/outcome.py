"""The outcome of each deal: from the fold, the plan and Stigg's answers to a status and a reason in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from closedwon.domain.chain import Fate
from closedwon.domain.customer import LOOK_AGAIN, Applied, Customer, OpportunityState, Outcome, Status, SubscriptionLink
from closedwon.domain.desired import REOPENED, Desired, Grant, Slot
from closedwon.domain.identifiers import SubscriptionId
from closedwon.domain.instants import day_of, milliseconds
from closedwon.domain.order import Order
from closedwon.domain.plan import End, Plan
from closedwon.domain.records import GrantRecord, SlotRecord

STIGG_FIRST = 60_000
"""Milliseconds after a start at which Stigg is read again: Stigg itself starts the subscription, and has by then."""

STARTED_AT_LAST = 86_400_000
"""Milliseconds for which a subscription that should have started is checked again."""


def applied(
    customer: Customer,
    desired: Desired,
    plan: Plan,
    records: Mapping[Slot, SlotRecord],
    refusals: Mapping[Slot, str],
    now: int,
    grants: Mapping[str, GrantRecord] = {},
    refused_grants: Mapping[str, str] = {},
) -> Applied:
    """What to record after a plan was applied.

    In: the customer as it was folded; the fold and the plan; what is known of each slot after it; by slot, why Stigg
    refused its change; now in epoch milliseconds; what is known of credits; by grant, why Stigg refused it.
    Out: an outcome for every opportunity, and what to remember.
    """
    changed = {id for id, state in customer.opportunities.items() if not state.stands}
    waits = {
        # A hold concerns what is new in its slot: a deal that stands there as provisioned waits for nothing.
        opportunity: hold
        for hold in plan.holds
        for opportunity in changed.intersection(hold.opportunities) or hold.opportunities
    }
    ends = {change.slot: change.opportunities for change in plan.changes if isinstance(change, End)}
    outcomes: dict[str, Outcome] = {}
    provisioned = set()
    for state in customer.opportunities.values():
        id = state.order.opportunity_id
        slots = [slot for slot, wanted in desired.subscriptions.items() if id in wanted.opportunities]
        here = [records[slot] for slot in slots if slot in records]
        links = tuple(_link(record, record.subscription_id) for record in here if record.subscription_id)
        concerned = {*slots, *(slot for slot, opportunities in ends.items() if id in opportunities)}
        concerned |= {slot for slot, cancellations in desired.lapsing.items() if id in cancellations}
        refused = [why for slot, why in refusals.items() if slot in concerned]
        refused += [refused_grants[g.key] for g in desired.grants if g.opportunity_id == id and g.key in refused_grants]
        if id in desired.refused:
            reason = "\n".join(str(problem) for problem in desired.refused[id])
            outcomes[id] = Outcome("Failed", reason, links)
        elif id in desired.held:
            outcomes[id] = Outcome("Held", _sentence(desired.held[id]), links)
        elif id in waits:
            outcomes[id] = Outcome("Held", _sentence(waits[id].reason), links, waits[id].approval)
        elif refused:
            outcomes[id] = Outcome("Failed", "\n".join(refused), links)
        else:
            known = [records[slot] for slot in slots if slot in records]
            outcomes[id] = _settled(state, desired, known, links)
            if outcomes[id].status != "Held":
                provisioned.add(id)
                outcomes[id] = _with_grants(outcomes[id], (g for g in desired.grants if g.opportunity_id == id), grants)
    # A subscription in another slot is about to end: reading it again shows nothing new.
    again = [_look_again(record, now) for slot, record in records.items() if slot in desired.subscriptions]
    again.append(desired.next_change)
    again += [_own_end(records[hold.slot], now) for hold in plan.holds if hold.slot in records]
    if changed & provisioned and any(reason != REOPENED for reason in desired.held.values()):
        again.append(now)  # deals wait for others, and what those stand on has just changed
    return Applied(
        slots={slot.key: record for slot, record in records.items()},
        outcomes=outcomes,
        provisioned=frozenset(provisioned),
        ensured=bool(desired.subscriptions or desired.grants),
        look_again_at=min((at for at in again if at is not None), default=None),
        grants=dict(grants),
        approved=frozenset(approval for slot, approval in plan.approved.items() if slot not in refusals),
    )


def _settled(
    state: OpportunityState, desired: Desired, records: list[SlotRecord], links: tuple[SubscriptionLink, ...]
) -> Outcome:
    """The outcome of a deal that nothing stands in the way of, by what became of its order."""
    order = state.order
    fate = desired.fates.get(order.opportunity_id)
    if fate is None:
        return Outcome("Provisioned", "Nothing was provisioned for this deal, so there is nothing to end.", links)
    day = day_of(fate.at.instant, desired.time_zone) if fate.at.instant else ""
    match fate.kind:
        case "scheduled":
            return _scheduled(order, fate, day, links)
        case "replaced":
            since = f"Since {day} opportunity" if day else "Opportunity"  # no day: it names none, nor does that one
            return Outcome("Superseded", f"{since} {fate.by} takes its place.", links)
        case "cancelled" if order.trigger == "cancellation" and fate.by == order.opportunity_id:
            return Outcome("Provisioned", f"Access ended on {day}.", links)
        case "cancelled":
            return Outcome("Superseded", f"Access ended on {day}: opportunity {fate.by} cancelled it.", links)
        case "trial over":
            return Outcome("Provisioned", f"The trial ended on {day}.", links)
        case "over":
            status: Status = "Provisioned" if state.provisioned else "Held"
            return Outcome(status, f"The term of this deal is over: access ended on {day}.", links)
        case "in force" | "past its term":
            return _in_force(order, desired, fate, day, records, links)


def _scheduled(order: Order, fate: Fate, day: str, links: tuple[SubscriptionLink, ...]) -> Outcome:
    """The outcome of a deal that takes effect on a day to come, or with a billing period."""
    if fate.at.instant is None:
        return Outcome("Scheduled", "Access ends with the billing period that is under way.", links)
    what = "Access ends" if order.trigger == "cancellation" else "It takes effect"
    starts = order.trigger in ("closed_won", "trial")
    said = f"Access starts on {day}." if starts else f"{what} on {day}."
    return Outcome("Scheduled", said, links, due_at=milliseconds(fate.at.instant))


def _in_force(
    order: Order,
    desired: Desired,
    fate: Fate,
    day: str,
    records: list[SlotRecord],
    links: tuple[SubscriptionLink, ...],
) -> Outcome:
    """The outcome of a deal that gives something now. day: on which its term ended, where access goes on after it."""
    sells = order.trigger != "cancellation" and not order.differences and order.of_kind("Plan")
    if sells and not records:
        if any(order.opportunity_id in wanted.opportunities for wanted in desired.subscriptions.values()):
            said = "It was cancelled for the end of a billing period before anything was provisioned."
            return Outcome("Provisioned", said)
        return Outcome("Held", "The plan of this deal is no longer in Stigg's catalogue.", links)
    outcome = _standing(records, links, desired.time_zone)
    if fate.kind == "past its term" and outcome.status == "Provisioned":
        said = f"Its term ended on {day} and no renewal came; access goes on, as the stack's policy says."
        return Outcome("Provisioned", said, links)
    return outcome


def _with_grants(outcome: Outcome, grants: Iterable[Grant], known: Mapping[str, GrantRecord]) -> Outcome:
    """Credits that were granted are never taken back or corrected by themselves: where the deal says others now,
    people must know.
    """
    differ = [g for g in grants if g.key in known and known[g.key].amount != g.amount]
    if not differ:
        return outcome
    said = " ".join(
        f"{known[grant.key].amount} of {grant.currency_id} were granted, and the deal says {grant.amount} now: what "
        "was granted is not corrected by itself."
        for grant in differ
    )
    return Outcome("Held", f"{outcome.reason}\n{said}".strip(), outcome.subscriptions)


def _standing(records: list[SlotRecord], links: tuple[SubscriptionLink, ...], time_zone: str) -> Outcome:
    """The outcome of a deal whose subscriptions stand."""
    if any(record.status == "PAYMENT_PENDING" for record in records):
        return Outcome("Payment required", "The customer has not paid yet: send them the checkout link.", links)
    if records and all(record.status == "NOT_STARTED" for record in records):
        starts = sorted({record.applied.start for record in records if record.applied and record.applied.start})
        days = " and ".join(day_of(start, time_zone) for start in starts)
        return Outcome(
            "Scheduled", f"Access starts on {days}.", links, due_at=milliseconds(starts[0]) if starts else None
        )
    return Outcome("Provisioned", "", links)


def _look_again(record: SlotRecord, now: int) -> int | None:
    if record.status == "PAYMENT_PENDING":
        return now + LOOK_AGAIN
    if record.status == "NOT_STARTED" and record.applied and record.applied.start:
        starts = milliseconds(record.applied.start) + STIGG_FIRST
        if starts > now:
            return starts
        return now + LOOK_AGAIN if now < starts + STARTED_AT_LAST else None
    return None


def _own_end(record: SlotRecord, now: int) -> int | None:
    """When a held slot's subscription will have ended by the dates it was written with. No deal may name that day any
    more, but what was held because of the subscription can be done then.
    """
    applied = record.applied
    if applied is None or applied.ends is None:
        return None
    ended = milliseconds(applied.ends) + STIGG_FIRST
    return ended if ended > now else None


def _link(record: SlotRecord, id: SubscriptionId) -> SubscriptionLink:
    plan_id = record.applied.plan_id if record.applied else ""
    return SubscriptionLink(plan_id, id, record.status or "", record.checkout_url)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
