"""What became of each deal: from the fold, the plan and Stigg's answers to a status and a reason people understand.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from closedwon.customer import LOOK_AGAIN, Applied, Customer, Outcome, Status, SubscriptionLink
from closedwon.desired import Desired, Slot
from closedwon.plan import Plan, SlotRecord


def applied(
    customer: Customer,
    desired: Desired,
    plan: Plan,
    records: Mapping[Slot, SlotRecord],
    refusals: Mapping[Slot, str],
    now: int,
) -> Applied:
    """What to record after a plan was applied.

    In: the customer as it was folded; the fold and the plan; what is known of each slot after it; by slot, why Stigg
    refused its change; now in epoch milliseconds.
    Out: an outcome for every opportunity, and what to remember.
    """
    changed = {id for id, state in customer.opportunities.items() if not state.stands}
    waits = {
        opportunity: hold.reason
        for hold in plan.holds
        # A hold is about what is new in its slot: who stands there as provisioned waits for nothing.
        for opportunity in changed.intersection(hold.opportunities) or hold.opportunities
    } | desired.held
    outcomes = {}
    provisioned = set()
    for id in customer.opportunities:
        slots = [slot for slot, wanted in desired.subscriptions.items() if id in wanted.opportunities]
        links = tuple(_link(records[slot]) for slot in slots if slot in records and records[slot].subscription_id)
        refused = [refusals[slot] for slot in slots if slot in refusals]
        if id in desired.refused:
            reason = "\n".join(str(problem) for problem in desired.refused[id])
            outcomes[id] = Outcome("Failed", reason, links)
        elif id in waits:
            outcomes[id] = Outcome("Held", _sentence(waits[id]), links)
        elif refused:
            outcomes[id] = Outcome("Failed", "\n".join(refused), links)
        elif id in desired.over:
            status: Status = "Provisioned" if customer.opportunities[id].provisioned else "Held"
            outcomes[id] = Outcome(status, f"The term of this deal is over: access ended on {desired.over[id]}.", links)
        elif not any(slot in records for slot in slots):
            outcomes[id] = Outcome("Held", "The plan of this deal is no longer in Stigg's catalogue.", links)
        else:
            provisioned.add(id)
            outcomes[id] = _provisioned([records[slot] for slot in slots if slot in records], links)
    return Applied(
        slots={slot.key: record for slot, record in records.items()},
        outcomes=outcomes,
        provisioned=frozenset(provisioned),
        ensured=bool(desired.subscriptions),
        look_again_at=min(
            (at for record in records.values() if (at := _look_again(record, now)) is not None), default=None
        ),
    )


def _provisioned(records: list[SlotRecord], links: tuple[SubscriptionLink, ...]) -> Outcome:
    if any(record.status == "PAYMENT_PENDING" for record in records):
        return Outcome("Payment required", "The customer has not paid yet: send them the checkout link.", links)
    if all(record.status == "NOT_STARTED" for record in records):
        starts = sorted({record.applied.start[:10] for record in records if record.applied and record.applied.start})
        return Outcome("Scheduled", f"Access starts on {' and '.join(starts)}.", links)
    return Outcome("Provisioned", "", links)


def _look_again(record: SlotRecord, now: int) -> int | None:
    if record.status == "PAYMENT_PENDING":
        return now + LOOK_AGAIN
    if record.status == "NOT_STARTED" and record.applied and record.applied.start:
        start = datetime.fromisoformat(record.applied.start)
        return max(now, round(start.timestamp() * 1000)) + 60_000  # a minute later, so that Stigg has started it
    return None


def _link(record: SlotRecord) -> SubscriptionLink:
    plan_id = record.applied.plan_id if record.applied else ""
    return SubscriptionLink(plan_id, record.subscription_id or "", record.status or "", record.checkout_url)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
