"""What was agreed and what is to be done, together: the one comparison that provisioning, preview, reconciliation and
backfill share. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from closedwon.domain.changes import Actual, Create, Hold, Plan, opportunities_of, slot_of
from closedwon.domain.codes import Reason
from closedwon.domain.contract.agreement import Agreement, Lapse
from closedwon.domain.contract.learning import ends_to_learn
from closedwon.domain.customer import Customer
from closedwon.domain.desired import Slot
from closedwon.domain.instants import Instant, milliseconds
from closedwon.domain.marks import Backlinks
from closedwon.domain.plan import plan
from closedwon.domain.records import EndedElsewhere, SlotRecord
from closedwon.domain.stops import holds_of, observe, stopped_of
from closedwon.domain.upgrade import untouched


class Planned(NamedTuple):
    """What is to be done for a customer.

    agreement: what it agreed to, with what was learned from Stigg; learned: that, to be recorded. records: what is to
    be remembered of each slot before anything is changed; stopped: what of that is new: it was ended elsewhere.
    """

    agreement: Agreement
    plan: Plan
    learned: Mapping[Lapse, Instant] = {}
    records: Mapping[Slot, SlotRecord] = {}
    stopped: Mapping[Slot, EndedElsewhere] = {}


def _left_alone(found: Plan) -> Plan:
    """The plan of a customer that somebody archived: nothing is written to it."""
    holds = (Hold(slot_of(change), opportunities_of(change), Reason("customer_archived")) for change in found.changes)
    return replace(found, changes=(), grants=(), holds=(*found.holds, *holds))


def currency_to_say(customer: Customer, found: Planned) -> str | None:
    """What Stigg is to be told that it bills a customer in, before a plan is applied; None where it knows, or nothing
    is made. The step before has read the customer: where the ledger knows no currency, Stigg has none.
    """
    if customer.currency is not None or not any(isinstance(change, Create) for change in found.plan.changes):
        return None
    charged = {
        id for slot, one in found.records.items() if one.applied and not slot.trial for id in one.applied.opportunities
    }
    # What runs already and asks for money was sold by a version that said none, and Stigg charges it as it chose.
    return found.agreement.currency if charged.isdisjoint(found.agreement.asking) else None


def records_of(customer: Customer) -> dict[Slot, SlotRecord]:
    """What the ledger remembers of each slot."""
    return {Slot.of_key(key): record for key, record in customer.slots.items()}


def planned(customer: Customer, agreement: Agreement, actual: Collection[Actual], links: Backlinks) -> Planned:
    """Plan for a customer.

    In: the customer; what it agreed to; its subscriptions in Stigg, with those that ended; the way back to Salesforce.
    """
    records = records_of(customer)
    if learned := ends_to_learn(agreement, actual, records):
        agreement = agreement.knowing(learned)
    now = agreement.world.now
    seen = observe(customer.bound_id, agreement.desired(), actual, records, now)
    if seen.stopped:
        agreement = agreement.stopping(stopped_of(slot, one) for slot, one in seen.stopped.items())
    desired, records = agreement.desired(), dict(seen.records)
    found = plan(
        customer.bound_id,
        desired,
        actual,
        records,
        agreement.world.policy,
        links,
        milliseconds(now),
        customer.approved,
        customer.grants,
        untouched(customer, agreement, desired, records),
    )
    if customer.archived:
        found = _left_alone(found)
    found = replace(found, holds=(*found.holds, *holds_of(agreement, records)))
    return Planned(agreement, found, learned, records, seen.stopped)
