"""Stops: what Stigg, billing or a person ended, and no deal. Pure.

No deal gives it back: it is held on the deals that sold it, and whoever approves that sells it again. Source of the
reasons: `cancelReason` in the types of Stigg's SDK.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

from closedwon.domain.changes import LIVE, Actual, Hold
from closedwon.domain.codes import Reason, approval_of
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.contract.contracts import Stopped
from closedwon.domain.desired import Desired, Slot, Subscription
from closedwon.domain.identifiers import CustomerId
from closedwon.domain.instants import EndOfBillingPeriod, Instant, day_of
from closedwon.domain.records import EndedElsewhere, SlotRecord
from closedwon.domain.subscription_ids import is_ours

CHECKOUT_EXPIRED = "PENDING_PAYMENT_EXPIRED"

BY_PEOPLE = ("Immediate", "ScheduledCancellation", "UPGRADE_OR_DOWNGRADE")
"""Reasons for which somebody changed something in Stigg by hand, where closed-won did not."""

CODES = ("ended_in_stigg", "checkout_expired")
"""The codes of what was ended elsewhere."""


class Observed(NamedTuple):
    """What became of subscriptions of ours that do not stand any more.

    stopped: by slot, what was ended elsewhere and is not known yet. records: what to remember of each slot, with that.
    """

    stopped: Mapping[Slot, EndedElsewhere]
    records: Mapping[Slot, SlotRecord]


def observe(
    customer_id: CustomerId,
    desired: Desired,
    actual: Iterable[Actual],
    records: Mapping[Slot, SlotRecord],
    now: Instant,
) -> Observed:
    """Look for what stood by the ledger and has ended in Stigg.

    In: the customer's ID in Stigg; what it should have; its subscriptions in Stigg, with those that ended; what the
    ledger remembers of each slot; now.
    """
    by_id = {subscription.id: subscription for subscription in actual}
    live = [subscription for subscription in by_id.values() if subscription.status in LIVE]
    stopped: dict[Slot, EndedElsewhere] = {}
    known = dict(records)
    for slot, record in records.items():
        gone = _gone(record, by_id)
        if gone is None or _succeeded(customer_id, slot, live):
            continue
        if slot not in desired.subscriptions:
            # Ended as was agreed, by a step that did not live to record it: won again later, it is sold again.
            known[slot] = _over(record, gone.status)
        elif _unexpected(record, gone, now):
            at = _since(record, gone, now)
            stopped[slot] = EndedElsewhere(record.generation, gone.cancel_reason or "", at, gone.id)
            known[slot] = replace(_over(record, gone.status), ended=(*record.ended, stopped[slot]))
    return Observed(stopped, known)


def _gone(record: SlotRecord, by_id: Mapping[str, Actual]) -> Actual | None:
    """What stood by a slot's record and no longer does."""
    gone = by_id.get(record.subscription_id) if record.subscription_id else None
    return gone if gone is not None and gone.status not in LIVE and _stood(record) else None


def _unexpected(record: SlotRecord, gone: Actual, now: Instant) -> bool:
    """Whether what this program made ended otherwise than on the day that was agreed."""
    return record.made and record.applied is not None and not _on_its_day(record.applied, gone, now)


def _stood(record: SlotRecord) -> bool:
    """Whether a slot's subscription stands, as far as the ledger knows."""
    return record.applied is not None and record.status in LIVE


def _succeeded(customer_id: CustomerId, slot: Slot, live: Iterable[Actual]) -> bool:
    """Whether another subscription stands in a slot: what becomes of it, the plan decides."""
    return any(one.slot == slot or is_ours(customer_id, slot, one.id) for one in live)


def _over(record: SlotRecord, status: str) -> SlotRecord:
    return replace(record, status=status, checkout_url=None, payment=None, applied=None)


def _on_its_day(applied: Subscription, gone: Actual, now: Instant) -> bool:
    """Whether it ended by the dates that it was written with."""
    if isinstance(applied.cancellation, EndOfBillingPeriod):  # only Stigg knows the day: by then it was cancelled
        return gone.cancel_reason in (None, "ScheduledCancellation", "EXPIRED")
    return applied.ends is not None and (gone.ended or now) >= applied.ends - timedelta(minutes=1)


def _since(record: SlotRecord, gone: Actual, now: Instant) -> Instant:
    """When it ended; one that had not started, when it was to start: it gave nothing before either."""
    at = gone.ended or now
    start = record.applied.start if record.applied is not None and record.status == "NOT_STARTED" else None
    return at if start is None else max(at, start)


def stops_of(records: Mapping[Slot, SlotRecord]) -> Iterator[tuple[Slot, EndedElsewhere]]:
    """What was ended elsewhere, as far as it is recorded."""
    for slot, record in records.items():
        for one in record.ended:
            yield slot, one


def approval_of_stop(slot: Slot, one: EndedElsewhere) -> str:
    """The approval that sells again what was ended elsewhere."""
    return approval_of(_reason(slot, one))


def _reason(slot: Slot, one: EndedElsewhere) -> Reason:
    code = "checkout_expired" if one.reason == CHECKOUT_EXPIRED else "ended_in_stigg"
    return Reason.of(code, slot=slot.key, subscription=one.subscription)


def holds_of(agreement: Agreement, records: Mapping[Slot, SlotRecord]) -> Iterator[Hold]:
    """What waits because it was ended elsewhere: for the deals that would give something if it had not been."""
    given = agreement.desired().subscriptions
    for slot, one in stops_of(records):
        stop = stopped_of(slot, one)
        if stop not in agreement.world.learned.stopped:
            continue  # somebody approved that it is sold again
        wanted = agreement.without(stop).desired().subscriptions.get(slot)
        standing = given[slot].opportunities if slot in given else ()
        opportunities = tuple(id for id in wanted.opportunities if id not in standing) if wanted else ()
        if wanted is not None and opportunities:
            day = day_of(one.at, agreement.world.policy.time_zone)
            reason = _reason(slot, one).knowing(plan=wanted.plan_id, cause=one.reason or None, day=day)
            yield Hold(slot, opportunities, reason, approval_of_stop(slot, one))


def stopped_of(slot: Slot, one: EndedElsewhere) -> Stopped:
    """As the contract model reads it."""
    return Stopped(slot, one.generation, one.reason, one.at)
