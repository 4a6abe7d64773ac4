"""Learning ends that only Stigg knows: of the billing period under way when somebody cancelled. Pure.

Stigg's answers have `currentBillingPeriodStart` and `currentBillingPeriodEnd` (the types of its SDK). What is learned
is recorded, and then is a date like any other: when somebody happened to ask makes no difference.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Mapping

from closedwon.domain.changes import Actual
from closedwon.domain.contract.agreement import Agreement, Lapse
from closedwon.domain.desired import Slot
from closedwon.domain.instants import Instant, instant_of
from closedwon.domain.records import SlotRecord

RUNNING = ("ACTIVE", "IN_TRIAL")


def ends_to_learn(
    agreement: Agreement, actual: Iterable[Actual], records: Mapping[Slot, SlotRecord]
) -> dict[Lapse, Instant]:
    """The ends that Stigg's answers tell, of those that are not learned yet.

    In: what the customer agreed to; its subscriptions in Stigg; what the ledger remembers of each slot.
    """
    known = agreement.world.learned.ends
    running = [one for one in actual if one.status in RUNNING and one.period is not None]
    found: dict[Lapse, Instant] = {}
    for lapse in agreement.lapses:
        if (lapse.cancellation, lapse.slot) in known:
            continue
        one = _subscription_of(lapse.slot, running, records)
        if one is not None and one.period is not None:
            found[lapse] = end_of_period(*one.period, lapse.since)
    return found


def _subscription_of(slot: Slot, running: Iterable[Actual], records: Mapping[Slot, SlotRecord]) -> Actual | None:
    """The subscription that runs for a slot: ours before one that somebody else made; there is at most one of each."""
    here = [one for one in running if one.slot == slot]
    ours = records[slot].subscription_id if slot in records else None
    return min(here, key=lambda one: one.id != ours, default=None)


def end_of_period(start: Instant, end: Instant, at: Instant) -> Instant:
    """When the billing period ends, or ended, that was under way at a moment. In: a period that is under way later."""
    months = max(1, round((end - start).days / 30.4))
    back = 0
    while _months_before(end, (back + 1) * months) > at:
        back += 1
    return _months_before(end, back * months)


def _months_before(day: Instant, months: int) -> Instant:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    last = monthrange(year, month + 1)[1]
    return instant_of(day.replace(year=year, month=month + 1, day=min(day.day, last)))
